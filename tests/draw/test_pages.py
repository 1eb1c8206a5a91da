"""What the pages tell of the results is what is stored, and nothing else."""

import math
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import simulated
from conftest import REPOSITORY, committed

from lpwd.analysis import claims, leads, paper, rivals, robustness
from lpwd.analysis.findings import Finding, in_ablation, in_the_mean
from lpwd.analysis.gains import gains
from lpwd.analysis.intervals import Interval, interval
from lpwd.analysis.kinds import CWD, CWD_MIRRORED, LPWD, PWD, RWD, SCALED_LPWD, WD
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import HELD_OUT, PAPERS, PROTOCOLS
from lpwd.config.compose import scale_config
from lpwd.draw import answer, pages, regimes, words
from lpwd.draw import claims as verdicts
from lpwd.draw.figures import gains as gains_figure
from lpwd.draw.figures import leads as leads_figure
from lpwd.draw.pages import filled
from lpwd.store.frames import read_rows

MINI = scale_config("mini")
MINI.grid.datasets = ["cifar100"]
MINI.grid.lr_factors = [10, 1]


@pytest.mark.parametrize("scale", pages.PAGES)
def test_pages_tell_what_is_committed(
    scale: str, mains: dict[str, MainGrid], tmp_path: Path
) -> None:
    """Else results were committed without `make draw SCALE=<scale>`."""
    main = mains[scale]
    blocks = pages.blocks(main)
    for page, names in pages.PAGES[scale].items():
        told = committed(page, tmp_path).read_text()
        for name in names:
            assert f"<!-- {scale}: {name} -->\n{blocks[name]}\n<!-- /{scale}: {name} -->" in told
    outcome = committed(f"results/{scale}/outcome.md", tmp_path)
    assert outcome.read_text().endswith(f"\n\n{pages.text(main)}\n")
    every = pd.read_csv(committed("results/gains.csv", tmp_path))
    mine = every[every["scale"] == scale].drop(columns="scale").reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, gains(main), check_dtype=False)


def test_the_first_page_tells_what_is_committed(mains: dict[str, MainGrid], tmp_path: Path) -> None:
    told = committed("README.md", tmp_path).read_text()
    table = pages.both_regimes(mains)
    assert f"<!-- both regimes -->\n{table}\n<!-- /both regimes -->" in told


def test_the_first_page_reads_its_table_right(mains: dict[str, MainGrid]) -> None:
    """Its sentences are written by hand: each must follow from the numbers above it."""
    page = " ".join((REPOSITORY / "README.md").read_text().split())

    def gains_clearly(found: Finding) -> bool:
        return found.ours.low > 0

    tuned, scratch = mains["mini"], mains["scratch"]
    assert "weight decay itself is worth next to nothing" in page
    assert in_the_mean(tuned, "wd", "baseline").ours.high < 0.15
    assert "From scratch, where [weight decay is worth points]" in page
    assert in_the_mean(scratch, "wd", "baseline").ours.low > 1
    assert "LPWD is behind WD, by about half a point in the mean of CIFAR-10 and CIFAR-100" in page
    led = [in_the_mean(scratch, "lpwd", "wd", protocol) for protocol in PROTOCOLS]
    assert all(found.ours.high < 0 and len(found.columns) == 2 for found in led)
    assert all(0.3 < -found.ours.mean < 0.7 for found in led)
    assert "by both protocols; on neither alone is that clear" in page
    for column in paper.columns(scratch.scale):
        alone = (leads.lead(scratch, column, protocol, "lpwd", "wd") for protocol in PROTOCOLS)
        assert all(interval(by_seed.drop(0)).high > 0 for by_seed in alone)
    assert "*fresh seeds* there, five fine-tuned and ten from scratch" in page
    for main, seeds in ((tuned, 5), (scratch, 10)):
        pairs = [(main, *pair, p) for pair in regimes.MEANS.values() for p in PROTOCOLS]
        found = [in_the_mean(*pair) for pair in pairs]
        found += [in_ablation(main, *k, p) for k in regimes.STEPS.values() for p in PROTOCOLS]
        assert {one.ours.n for one in found} <= {0, seeds}
    assert "of the first two are wide enough to hide gains of the paper's size" in page
    steps = [in_ablation(scratch, kind) for kind in (RWD, PWD)]
    assert all(step.ours.low < 0 < step.reported < step.ours.high for step in steps)
    assert "the third costs by the paper's protocol, and is undecided held-out" in page
    layers = [in_ablation(scratch, SCALED_LPWD, PWD, protocol).ours for protocol in PROTOCOLS]
    assert layers[0].high < 0
    assert layers[1].low < 0 < layers[1].high
    assert "Nor is it seen that LPWD there bears a wider range of λ (three seeds)" in page
    ratio = robustness.ratio_of_widths(scratch, LPWD, WD)
    assert ratio.low < 1 < ratio.high
    assert ratio.n == 3
    assert "(CWD), shows no clear gain on WD either" in page
    for main in (tuned, scratch):
        held_against_wd = [in_the_mean(main, "lpwd", "wd", protocol) for protocol in PROTOCOLS]
        held_against_wd += [
            in_ablation(main, *kinds, protocol)
            for kinds in regimes.STEPS.values()
            for protocol in PROTOCOLS
            if kinds != (CWD, CWD_MIRRORED)
        ]
        assert not any(map(gains_clearly, held_against_wd))
    assert "it is ahead from scratch by the paper's protocol and behind held-out" in page
    ahead, behind = (in_ablation(scratch, CWD, CWD_MIRRORED, p).ours for p in PROTOCOLS)
    assert ahead.low > 0 > behind.high
    assert all(in_ablation(scratch, *kinds).ours.known for kinds in regimes.STEPS.values())
    assert (
        "Plain L2 is behind WD from scratch, by more than two points; fine-tuned it is ahead in the"
        " mean by the paper's protocol alone, but on CIFAR-100 with Adam by both" in page
    )
    behind = [in_the_mean(scratch, "l2", "wd", protocol).ours for protocol in PROTOCOLS]
    assert all(found.high < -2 for found in behind)
    ahead, held_out = (in_the_mean(tuned, "l2", "wd", protocol).ours for protocol in PROTOCOLS)
    assert ahead.low > 0
    assert held_out.low < 0 < held_out.high
    for column in paper.adam_columns(tuned.scale):
        both = (leads.lead(tuned, column, protocol, "l2", "wd") for protocol in PROTOCOLS)
        assert all(interval(by_seed.drop(0)).low > 0 for by_seed in both)


def test_the_table_of_both_regimes() -> None:
    """A mean names its settings where it is not of all; what is missing is a dash."""

    def top1(run: simulated.Run) -> float:
        return simulated.top1_of(run) + 0.1 * (run["method"] == "lpwd") * run["seed"]

    def keep(run: simulated.Run) -> bool:
        return (run["method"], run["model"]) != ("l2", "swin_micro")

    whole = simulated.main(MINI, seeds=3, top1=top1)
    part = simulated.main(MINI, seeds=3, top1=top1, keep=keep)
    lines = regimes.table({"one": whole, "other": part}).splitlines()
    assert lines[0] == "| test top-1, points | one | other | the paper |"
    assert lines[2] == "| *number of settings averaged:* | 4 | 4 | 4 |"
    # WD is 61, LPWD 64 and 0.1, 0.2, 0.3 more: mean 3.2, deviation 0.1, t's 4.303
    lead = "+3.20 [+2.95, +3.45]"
    assert f"| **LPWD over WD** | {lead}<br>*{lead}* | {lead}<br>*{lead}* | +0.58 |" in lines
    l2 = next(line for line in lines if line.startswith("| L2 over WD |"))
    two, of = "−2.00 [−2.00, −2.00]", "(2 of 4)"
    assert f"| {two}<br>*{two}* | {two} {of}<br>*{two} {of}* |" in l2
    rwd = next(line for line in lines if line.startswith("| decay after the update"))
    assert rwd.endswith("+1.00 [+1.00, +1.00]<br>*+1.00 [+1.00, +1.00]* | +0.31 |")
    assert lines[-1].endswith("| — | — | – |")  # no rival was simulated


def test_leads_are_paired_by_seed_and_stand_beside_the_papers() -> None:
    def top1(run: simulated.Run) -> float:
        return simulated.top1_of(run) - run["seed"] + 0.1 * (run["method"] == "lpwd") * run["seed"]

    lines = pages.text(simulated.main(MINI, seeds=3, top1=top1)).splitlines()
    lead = next(line for line in lines if line.startswith("| CIFAR-100, Swin-micro, SGDM |"))
    paper, seeds, both, grid, held_out = [cell.strip() for cell in lead.split("|")[2:-1]]
    assert (paper, grid, held_out) == ("+0.53", "+3.00", "+3.00")
    # 3 + 0.1, 0.2 and 0.3: mean 3.2, deviation 0.1, and t's 4.303 for two degrees of freedom
    assert (seeds, both) == ("+3.20 [+2.95, +3.45]", "+3.20 [+2.95, +3.45]")
    assert "| the mean of these 4 | +0.58 | +3.20 [+2.95, +3.45] |" in "".join(lines)
    resolved = pages.resolution(leads.leads(simulated.main(MINI, seeds=3, top1=top1)))
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


def test_gains_are_fresh_seeds_less_baselines() -> None:
    def top1(run: simulated.Run) -> float:
        return 50 + 0.1 * run["seed"] + {"wd": 1, "lpwd": 3}.get(str(run["method"]), 0)

    main = simulated.main(MINI, seeds=3, top1=top1)
    found = gains(main).set_index("name")
    wd, lpwd = found.loc["WD"], found.loc["LPWD"]
    assert (wd["seeds_mean"], lpwd["seeds_mean"]) == pytest.approx((1, 3))
    assert (wd["reported"], lpwd["reported"]) == pytest.approx((0.82, 1.42))
    assert found.loc[["RWD", "PWD"], "reported"].tolist() == pytest.approx([1.13, 1.23])
    assert found.loc["CWD", "seeds_n"] == 0  # no rival was simulated
    chosen = main.cell(paper.ablation_column(MINI), "wd").choice(PAPERS).iloc[0]
    assert wd["total"] == pytest.approx(chosen["lr"] * chosen["rate"])  # a simulated run is a step
    assert math.isnan(found.loc["L2", "total"])
    drawn = gains_figure.plot({"mini": gains(main), "scratch": gains(main)})
    assert [ax.get_title() for ax in drawn.axes] == [
        "fine-tuned (mini scale, 3 fresh seeds)",
        "from scratch (scratch scale, 3 fresh seeds)",
    ]
    some = gains(main).assign(seeds_n=[10, 10, 5, 5, 10, 0, 0])
    (title, _) = (ax.get_title() for ax in gains_figure.plot({"mini": some, "scratch": some}).axes)
    assert title == "fine-tuned (mini scale, 5 to 10 fresh seeds)"
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert names == ["L2", "WD", "RWD", "PWD", "LPWD"]  # no line for what is trained nowhere


def test_the_answer_follows_from_the_numbers() -> None:
    """Decay worth more than the paper's lead, or less; a column that is not whole is left out."""

    def told(gain: float, **kwargs: Any) -> str:
        def top1(run: simulated.Run) -> float:
            return simulated.top1_of(run) + gain * (run["method"] != "baseline")

        return answer.text(simulated.main(MINI, seeds=3, top1=top1, **kwargs))

    assert "So a better decay has room to show, if by more than the ±0.0 found above." in told(9)
    assert "little by which to tell one such decay from another" in told(-9)
    assert "in the mean of 4 settings; " in told(9)
    part = told(9, keep=lambda run: run["model"] != "swin_micro")
    assert "in the mean of 2 settings trained so far; " in part
    assert told(9, keep=lambda run: run["method"] != "wd") == "Not trained yet."


def test_l2_is_told_of_where_its_difference_is_clear() -> None:
    def told(lead: float, noise: float = 0, **kwargs: Any) -> str:
        def top1(run: simulated.Run) -> float:
            is_l2 = run["method"] == "l2"
            return 50 + 0.1 * run["seed"] + is_l2 * (lead + noise * (run["seed"] % 2))

        return answer.text(simulated.main(MINI, seeds=3, top1=top1, **kwargs))

    assert "**Plain L2 is ahead of WD**: +1.00 [+1.00, +1.00], held-out" in told(1)
    assert "**Plain L2 is behind WD**: −1.00 [−1.00, −1.00], held-out" in told(-1)
    assert "Plain L2" not in told(0, noise=1)
    part = told(1, keep=lambda run: (run["method"], run["model"]) != ("l2", "swin_micro"))
    assert "[+1.00, +1.00] in the mean of 2 settings trained so far, held-out" in part
    assert "Plain L2" not in told(1, keep=lambda run: run["method"] != "l2")


def test_a_gain_is_what_both_protocols_say() -> None:
    up, down = Interval(1, 0.5, 1.5, 5), Interval(-1, -1.5, -0.5, 5)
    unclear = Interval(0.1, -1, 1.2, 5)
    assert [answer._gain(up, up), answer._gain(down, down)] == ["A gain", "A loss"]
    assert answer._gain(up, unclear) == answer._gain(unclear, down) == "No clear gain"
    assert answer._gain(up, down) == "A gain by the paper's protocol and a loss held-out"
    assert answer._gain(down, up) == "A loss by the paper's protocol and a gain held-out"


def test_robustness_is_told_where_both_tops_are_closed() -> None:
    """WD's top is half a decade wide in each seed, LPWD's a decade."""

    def told(slopes: dict[str, float]) -> str:
        def top1(run: simulated.Run) -> float:
            beside = abs(np.log10(run["rate_factor"] / 10)) if run["method"] != "baseline" else 0
            slope = slopes.get(run["method"], 9) + 0.1 * run["seed"]
            return 50 - slope * beside - abs(np.log10(run["lr_factor"]))

        return answer.text(simulated.main(MINI, seeds=4, top1=top1))

    assert "**A gain in robustness to λ.**" in told({"wd": 8, "lpwd": 2})
    assert "**A loss in robustness to λ.**" in told({"wd": 2, "lpwd": 8})
    assert "**No clear gain in robustness to λ.**" in told({"wd": 4, "lpwd": 4})
    assert "robustness" not in told({"wd": 4, "lpwd": 0})  # to both ends of the grid


def test_methods_at_other_rates_than_wds_are_told_of_at_its_own() -> None:
    """Else a difference of λ would be read as one of the moment."""

    def told(best: dict[str, float]) -> str:
        def top1(run: simulated.Run) -> float:
            away = run["rate_factor"] != best.get(str(run["method"]), 1)
            return 50 + 0.1 * run["seed"] - 5 * away - run["lr_factor"] / 100

        return answer.text(simulated.main(MINI, seeds=3, top1=top1))

    assert "With WD's η and λ" not in told({})
    said = told({"rwd": 5})
    assert "(RWD) gives 0.00 [0.00, 0.00] over WD, held-out 0.00 [0.00, 0.00]; decaying" in said
    assert said.count("With WD's η and λ, RWD gives −5.00 [−5.00, −5.00].") == 1


def test_more_decay_than_the_grids_is_told_as_it_is_stored() -> None:
    points = pd.read_csv(REPOSITORY / "results/mini/figure6_points.csv")
    wd: Any = points[(points["name"] == "WD") & points["rate"].eq(3.68)].iloc[0]
    over = [words.signed(wd[f"over_baseline_{end}"], 1) for end in ("mean", "low", "high")]
    said = f"Σηλ = {wd['total']:.2f}, costs points: WD less Baseline is"
    said += f" {over[0]} [{over[1]}, {over[2]}]"
    assert said in " ".join((REPOSITORY / "docs/reproduction.md").read_text().split())


def test_the_figure_is_drawn_of_nothing_too() -> None:
    frame = leads.leads(simulated.main(MINI, keep=lambda run: False))
    assert frame["seeds_mean"].isna().all()
    leads_figure.plot(frame, MINI).canvas.draw()


def test_gaps_and_the_command_that_fills_them() -> None:
    text = pages.text(simulated.main(MINI, keep=lambda run: run["method"] == "wd"))
    assert "56 of the 176 runs of Table 1's grid are stored, and fresh seeds of 0 of its 16" in text
    assert "`make all SCALE=mini SEEDS=5` goes on with the rest" in text
    assert "| +0.53 | — | — | — | — |" in text


def test_every_claim_is_told_once_for_each_verdict_on_it() -> None:
    """A claim that is held against both protocols is one line where they agree."""
    lines = pages.text(simulated.main(MINI, seeds=3)).splitlines()
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
    page.write_bytes(filled(page, {"x": "new\n"}))
    assert filled(page, {"x": "new"}) == page.read_bytes()
    assert page.read_text() == "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"
    with pytest.raises(ValueError, match="has no block <!-- y -->"):
        filled(page, {"y": "new"})


SCRATCH_PAGE = REPOSITORY / "docs" / "scratch.md"


def scratch_runs() -> pd.DataFrame:
    runs = read_rows(REPOSITORY / "results" / "scratch" / "runs.csv")
    return runs[(runs["data"] == "cifar100") & (runs["profile"] == "uniform")]


def test_the_page_of_scratch_tells_what_20_epochs_gave() -> None:
    runs, page = scratch_runs(), SCRATCH_PAGE.read_text()
    rates = runs[["method", "lr", "rate"]].fillna(0).apply(tuple, axis=1)
    compared = rates.isin([("baseline", 1.28e-3, 0), ("wd", 8e-3, 0.5)])
    of_search = read_rows(REPOSITORY / "results" / "scratch" / "runs.csv")
    of_search = of_search[of_search["epochs"] == 20]
    assert f"These {(of_search['seed'] == 0).sum()} runs and ten of fresh seeds stay" in " ".join(
        page.split()
    )
    assert (of_search["seed"] > 0).sum() == 10
    runs = runs[compared & runs["seed"].between(1, 5) & (runs["epochs"] == 20)]
    for statistic in ("best_mean", "heldout_mean"):
        table = runs.pivot_table(statistic, "seed", "method")
        assert words.signed_span(interval(table["wd"] - table["baseline"])) in page
        if statistic == "best_mean":
            assert all(f"| {table[name].mean():.2f} |" in page for name in ("baseline", "wd"))


def at_40_epochs() -> pd.DataFrame:
    """The runs of seed 0 from scratch with decays as printed, of both data sets."""
    runs = read_rows(REPOSITORY / "results" / "scratch" / "runs.csv")
    runs = runs[runs["normalize"].eq("none") & (runs["epochs"] == 40) & (runs["seed"] == 0)]
    return runs[(runs["model"] == "convnext_micro") & (runs["train_images"] == 5000)]


def test_the_page_of_scratch_tells_where_the_best_lr_lies() -> None:
    runs = at_40_epochs()
    lr = runs.loc[runs.groupby(["data", "method"])["best_mean"].idxmax()]
    lr = lr.set_index(["method", "data"])["lr"]
    page = " ".join(SCRATCH_PAGE.read_text().split())
    assert lr["baseline"].tolist() == [8e-4, 8e-4]
    assert lr["wd"].tolist() == [3.2e-3, 3.2e-3]
    assert "inside for Baseline, 8e-4, and for WD, 3.2e-3, on both data sets" in page
    assert lr["lpwd"].tolist() == [2e-2, 8e-3]
    assert "on CIFAR-10 LPWD's best is now at 2e-2, the end" in page


def test_the_page_of_scratch_tells_why_l2s_rates_were_moved() -> None:
    runs = at_40_epochs()
    l2 = runs[(runs["method"] == "l2") & (runs["data"] == "cifar100")].set_index("rate")
    assert l2[l2.index <= 2e-4]["best_mean"].idxmax() == 2e-4
    assert l2[l2.index > 2e-4]["best_mean"].idxmax() == 6e-4
    assert l2["best_mean"].idxmax() == 6e-4
    assert "Laid from 2e-6 to 2e-4 at first" in SCRATCH_PAGE.read_text()


def test_the_report_tells_which_rate_cwd_bears(mains: dict[str, MainGrid]) -> None:
    runs = at_40_epochs()
    runs = runs[(runs["data"] == "cifar100") & (runs["lr"] == 3.2e-3)]
    wd, cwd = (runs[runs["method"] == m].set_index("rate")["best_mean"] for m in ("wd", "cwd"))
    assert (wd.idxmax(), cwd.idxmax(), max(wd.index)) == (0.8, 4, 4)
    assert cwd[8] < cwd[4] - 1
    main = mains["scratch"]
    held_out = main.of_kind(paper.ablation_column(main.scale), CWD.columns).choice(HELD_OUT)
    assert held_out[["lr", "rate"]].to_numpy().tolist() == [[8e-3, 1.2]]
    said = {
        "reproduction": "its λ is five times WD's, the grid's largest, and at twice that one run",
        "choosing-rates": (
            "from scratch its best λ is five times WD's ([Figure 6](../results/scratch/figure6.png)"
            ", one seed); chosen on held-out images it is 1.5 times WD's at 2.5 times the η."
        ),
    }
    for page, words_of_it in said.items():
        assert words_of_it in text_of(page)


def test_the_report_tells_how_wide_its_intervals_from_scratch_are(
    mains: dict[str, MainGrid],
) -> None:
    main = mains["scratch"]
    found = [in_ablation(main, *k, p).ours for k in regimes.STEPS.values() for p in PROTOCOLS]
    found += [
        in_the_mean(main, *pair, p).ours for pair in regimes.MEANS.values() for p in PROTOCOLS
    ]
    halves = [(one.high - one.low) / 2 for one in found]
    assert (round(min(halves), 1), round(max(halves), 1)) == (0.3, 0.8)
    assert "intervals of 0.3 to 0.8 points on either side" in text_of("reproduction")


def test_the_report_tells_what_is_left_without_the_seed_of_the_search(
    mains: dict[str, MainGrid],
) -> None:
    main = mains["scratch"]
    told = []
    for protocol in PROTOCOLS:
        columns = paper.columns(main.scale)
        by_seed = [leads.lead(main, column, protocol, "lpwd", "wd") for column in columns]
        found = interval(pd.concat(by_seed, axis=1).drop([0, 1]).mean(axis=1, skipna=False))
        assert (found.n, found.high < 0) == (9, True)
        told.append(words.signed_span(found))
    said = f"LPWD − WD is {told[0]} in the mean of both data sets, held-out {told[1]}."
    assert said in text_of("reproduction")


def test_the_report_tells_how_robust_each_is(mains: dict[str, MainGrid]) -> None:
    widths = robustness.widths(mains["scratch"]).set_index("name").loc[["WD", "RWD", "PWD", "LPWD"]]
    assert widths["factor_n"].tolist() == [3] * 4
    assert widths["factor_mean"].round().tolist() == [2] * 4
    said = (
        "WD, RWD, PWD and LPWD as printed all stay within a point of their own best while λ varies"
    )
    assert f"{said} by a factor of about two" in text_of("reproduction")


def test_the_report_tells_what_cwds_control_gave(mains: dict[str, MainGrid]) -> None:
    main = mains["scratch"]
    ours, held_out = (in_ablation(main, CWD, CWD_MIRRORED, p).ours for p in PROTOCOLS)
    assert ours.low > 0 > held_out.high
    assert in_ablation(main, CWD, WD, HELD_OUT).ours.high < 0
    column = paper.ablation_column(main.scale)
    of_both = [main.of_kind(column, k.columns).choice(HELD_OUT) for k in (CWD, CWD_MIRRORED)]
    assert of_both[0][["lr", "rate"]].equals(of_both[1][["lr", "rate"]])
    said = "is [behind it by the paper's protocol and ahead of it held-out]"
    assert said in text_of("reproduction")
    assert "where both have the same η and λ. Held-out, CWD is behind WD as well" in text_of(
        "reproduction"
    )


def test_the_report_tells_what_wd_gains_held_out_on_baseline_at_its_best_lr(
    mains: dict[str, MainGrid],
) -> None:
    main = mains["scratch"]
    gains_of = []
    for column in paper.columns(main.scale):
        baseline = main.cell(column, "baseline")
        lr = baseline.choice(PAPERS)["lr"].item()
        assert lr < baseline.choice(HELD_OUT)["lr"].item()
        assert lr == 8e-4
        of_lr = main.folds.merge(baseline.at(lr, math.nan).reset_index()[["hash", "seed"]])
        fresh = of_lr[of_lr["seed"] > 0].groupby("seed")["report"].mean()
        gains_of.append(main.cell(column, "wd").fresh(HELD_OUT) - fresh)
    found = interval(pd.concat(gains_of, axis=1).mean(axis=1, skipna=False))
    assert found.n == 10
    said = f"WD's lead over it is held-out {words.signed_span(found)}."
    assert said in text_of("reproduction")


def test_the_page_on_rates_tells_how_much_decay_gains_from_scratch() -> None:
    points = pd.read_csv(REPOSITORY / "results/scratch/figure6_points.csv")
    wd = points[(points["name"] == "WD") & points["seeds_n"].eq(3)].set_index("total")
    gain = wd["over_baseline_mean"].rename(lambda total: round(total, 1))
    assert gain[[4.0, 6.1]].round().tolist() == [3, 3]
    assert 0.5 < gain[2.4] < 1
    assert max(gain[1.0], gain[10.1]) < 0
    said = "WD gains about three points on Baseline at 4 and 6 with a micro ConvNeXt, less than one"
    assert f"{said} at 2.4, and nothing at 1 or at 10" in text_of("choosing-rates")


def text_of(page: str) -> str:
    return " ".join((REPOSITORY / "docs" / f"{page}.md").read_text().split())


def test_the_page_of_scratch_tells_what_the_search_at_40_epochs_gave() -> None:
    runs = scratch_runs()
    runs = runs[(runs["epochs"] == 40) & (runs["train_images"] == 5000)].fillna({"rate": 0})
    runs = runs[runs["model"] == "convnext_micro"]
    top1 = runs.set_index(["method", "lr", "rate", "seed"])["best_mean"]
    found = re.findall(
        r"^\| (Baseline|WD) \| (\S+) \| (\S*) ?\| \S* ?\| (\S+) \| (\S*) ?\|$",
        SCRATCH_PAGE.read_text(),
        re.MULTILINE,
    )
    assert len(found) == 10
    for method, lr, rate, *seeds in found:
        for seed, told in enumerate(filter(None, seeds)):
            at = method.lower(), float(lr), float(rate or 0), seed
            assert f"{top1[at]:.1f}" == told, at


def test_the_page_of_mini_tells_how_many_runs_there_are_and_what_the_rivals_gave(
    mains: dict[str, MainGrid],
) -> None:
    page, runs = text_of("mini"), mains["mini"].every.runs
    hours = runs["seconds"].sum() / 3600
    assert f"{len(runs):,} runs that are stored took {hours:.0f} hours of one core" in page
    assert f"{hours / 2:.0f} hours with two workers" in page
    table = rivals.rivals(mains["mini"]).set_index("name").iloc[4:].drop("CWD, mask mirrored")
    below = -table["over_wd_mean"]
    said = f"all five are {below.min():.2f} to {below.max():.2f} points below WD, two intervals off"
    assert len(table) == 5
    assert said in page
    off = table.index[table["over_wd_high"] < 0].tolist()
    assert off == ["WD × geometric", "LPWD, towards pretrained"]
    assert (table["heldout_over_wd_low"] < 0).all()
    assert (table["heldout_over_wd_high"] > 0).all()


def test_the_report_tells_how_the_steps_and_scaled_lpwd_fare_from_scratch(
    mains: dict[str, MainGrid],
) -> None:
    main = mains["scratch"]
    behind = in_ablation(main, RWD, PWD, HELD_OUT).ours
    said = f"held-out, PWD is behind RWD by {behind.mean:.2f} [{behind.low:.2f}, {behind.high:.2f}]"
    assert f"{said}, but at another η and λ" in text_of("reproduction")
    column = paper.ablation_column(main.scale)
    rates = [main.of_kind(column, k.columns).choice(HELD_OUT)[["lr", "rate"]] for k in (RWD, PWD)]
    assert (rates[0].to_numpy() != rates[1].to_numpy()).all()
    lpwd = [in_ablation(main, RWD, LPWD, p).ours for p in PROTOCOLS]
    told = " and ".join(f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in lpwd)
    assert f"and LPWD is behind RWD by both protocols, by {told}" in text_of("reproduction")
    for other in (WD, PWD):
        ours, held_out = (in_ablation(main, SCALED_LPWD, other, p).ours for p in PROTOCOLS)
        assert ours.high < 0
        assert held_out.low < 0 < held_out.high
    assert "and PWD by the paper's protocol; held-out neither is clear" in text_of("reproduction")


def test_the_page_of_scratch_tells_how_the_strongest_penalty_ends() -> None:
    runs = read_rows(REPOSITORY / "results" / "scratch" / "runs.csv")
    runs = runs[(runs["lr"] == 2e-2) & (runs["rate"] == 4) & (runs["data"] == "cifar100")]
    runs = runs[runs["method"].isin(["wd", "lpwd"]) & (runs["epochs"] == 40)]
    runs = runs[runs["normalize"].eq("none") & (runs["seed"] > 0)]
    assert len(runs) == 6
    assert (runs["final_top1"] == 1).all()  # one class of a hundred, of as many images each
    assert "both WD and LPWD end at chance" in text_of("scratch")
