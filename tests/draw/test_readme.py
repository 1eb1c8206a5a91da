"""What the README tells of the results is what is stored, and nothing else."""

import subprocess
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import simulated
from conftest import REPOSITORY

from lpwd.analysis import claims, leads
from lpwd.analysis.intervals import interval
from lpwd.analysis.main_grid import MainGrid, as_printed
from lpwd.config.compose import scale_config
from lpwd.draw import answer, readme, words
from lpwd.draw import claims as verdicts
from lpwd.draw.figures import leads as leads_figure
from lpwd.draw.readme import filled
from lpwd.store.frames import read_rows
from lpwd.store.store import Store

MINI = scale_config("mini")
MINI.grid.datasets = ["cifar100"]
MINI.grid.lr_factors = [10, 1]


def committed(path: str, folder: Path) -> Path:
    """A file as it was committed last: a grid that is under way may have changed it since."""
    done = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=REPOSITORY, capture_output=True)
    if done.returncode:
        pytest.skip("not a clone of the repository")
    copy = folder / Path(path).name
    copy.write_bytes(done.stdout)
    return copy


def test_pages_tell_what_is_committed(tmp_path: Path) -> None:
    """Else results were committed without `make draw SCALE=mini`."""
    for name in ("runs.csv", "epochs.parquet", "zero_shot.parquet"):
        committed(f"results/{readme.SCALE}/{name}", tmp_path)
    stored = Store(readme.SCALE, tmp_path).collect()
    main = MainGrid(as_printed(stored, readme.SCALE), scale_config(readme.SCALE), stored)
    page, report, miniature = (committed(page, tmp_path) for page in readme.PAGES)
    assert f"<!-- answer -->\n{answer.text(main)}\n" in page.read_text()
    outcome = committed(f"results/{readme.SCALE}/outcome.md", tmp_path)
    assert outcome.read_text().endswith(f"\n\n{readme.text(main)}\n")
    table = verdicts.table(claims.data(main))
    assert f"<!-- claims -->\n{table}\n" in report.read_text()
    resolved = readme.resolution(leads.leads(main))
    assert f"<!-- resolution -->\n{resolved}\n" in miniature.read_text()


def test_leads_are_paired_by_seed_and_stand_beside_the_papers() -> None:
    def top1(run: simulated.Run) -> float:
        return simulated.top1_of(run) - run["seed"] + 0.1 * (run["method"] == "lpwd") * run["seed"]

    lines = readme.text(simulated.main(MINI, seeds=3, top1=top1)).splitlines()
    lead = next(line for line in lines if line.startswith("| CIFAR-100, Swin-micro, SGDM |"))
    paper, seeds, both, grid, held_out = [cell.strip() for cell in lead.split("|")[2:-1]]
    assert (paper, grid, held_out) == ("+0.53", "+3.00", "+3.00")
    # 3 + 0.1, 0.2 and 0.3: mean 3.2, deviation 0.1, and t's 4.303 for two degrees of freedom
    assert (seeds, both) == ("+3.20 [+2.95, +3.45]", "+3.20 [+2.95, +3.45]")
    assert "| the mean of these 4 | +0.58 | +3.20 [+2.95, +3.45] |" in "".join(lines)
    resolved = readme.resolution(leads.leads(simulated.main(MINI, seeds=3, top1=top1)))
    assert "| CIFAR-100, Swin-micro, SGDM | 3 | ±0.25 | ±0.25 | +0.53 |" in resolved


def test_the_figure_shows_the_papers_leads_and_ours() -> None:
    frame = leads.leads(simulated.main(MINI, seeds=3))
    ax = leads_figure.plot(frame, MINI).axes[0]
    paper, *ours = ax.collections[0], *ax.containers
    assert np.asarray(paper.get_offsets())[:, 0].tolist() == frame["reported"].tolist()
    for prefix, container in zip(("seeds", "heldout_seeds"), ours, strict=True):
        points, _, (bars,) = cast(Any, container)
        assert points.get_xdata().tolist() == frame[f"{prefix}_mean"].tolist()
        ends = [[low, high] for (low, _), (high, _) in bars.get_segments()]
        assert ends == pytest.approx(frame[[f"{prefix}_low", f"{prefix}_high"]].to_numpy())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == frame["column"].tolist()


def test_the_figure_is_drawn_of_nothing_too() -> None:
    frame = leads.leads(simulated.main(MINI, keep=lambda run: False))
    assert frame["seeds_mean"].isna().all()
    leads_figure.plot(frame, MINI).canvas.draw()


def test_gaps_and_the_command_that_fills_them() -> None:
    text = readme.text(simulated.main(MINI, keep=lambda run: run["method"] == "wd"))
    assert "56 of the 176 runs of Table 1's grid are stored, and fresh seeds of 0 of its 16" in text
    assert "`make all SCALE=mini SEEDS=5` goes on with the rest" in text
    assert "| +0.53 | — | — | — | — |" in text


def test_a_column_whose_grid_is_not_whole_has_no_lead() -> None:
    """The best of a part may be far from the best of all."""

    def keep(run: simulated.Run) -> bool:
        return (run["optimizer"], run["rate_factor"]) != ("adam", 50)

    text = readme.text(simulated.main(MINI, seeds=3, keep=keep))
    assert "| CIFAR-100, Swin-micro, Adam | +0.63 | — | — | — | — |" in text
    assert "| CIFAR-100, Swin-micro, SGDM | +0.53 | +" in text
    assert "| the mean of these 4 | +0.58 | — | — | — | — |" in text


def test_every_claim_is_told_once_for_each_verdict_on_it() -> None:
    """A claim that is held against both protocols is one line where they agree."""
    lines = readme.text(simulated.main(MINI, seeds=3)).splitlines()
    judged = claims.data(simulated.main(MINI, seeds=3))
    told = [line for line in lines if any(line.startswith(f"| {c} |") for c in judged["claim"])]
    assert len(told) == len(judged.groupby(["claim", "verdict", "reason"]))
    over_wd = next(line for line in told if line.startswith("| LPWD is better than WD"))
    assert over_wd == (
        "| LPWD is better than WD in all columns | Table 1, Section 4.3; both protocols"
        " | **supported** |"
    )
    assert f"{verdicts.summary(judged)}, [each by one stated rule]" in "\n".join(lines)


def test_a_block_is_replaced_and_the_rest_is_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n")
    page.write_bytes(filled(page, "x", "new\n"))
    assert filled(page, "x", "new") == page.read_bytes()
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="has no block <!-- y -->"):
        filled(page, "y", "new")


def test_the_page_of_scratch_tells_what_its_fresh_seeds_gave() -> None:
    runs = read_rows(REPOSITORY / "results" / "scratch" / "runs.csv")
    rates = runs[["method", "lr", "rate"]].fillna(0).apply(tuple, axis=1)
    compared = rates.isin([("baseline", 1.28e-3, 0), ("wd", 8e-3, 0.5)])
    runs = runs[compared & runs["seed"].between(1, 5) & (runs["epochs"] == 20)]
    page = (REPOSITORY / "docs" / "scratch.md").read_text()
    for statistic in ("best_mean", "heldout_mean"):
        table = runs.pivot_table(statistic, "seed", "method")
        assert words.signed_span(interval(table["wd"] - table["baseline"])) in page
        if statistic == "best_mean":
            assert all(f"| {table[name].mean():.2f} |" in page for name in ("baseline", "wd"))
