"""The rivals: which runs the experiment trains, and what the table says of them."""

from typing import Any

import pytest
import simulated

from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.rivals import rivals
from lpwd.config.compose import scale_config
from lpwd.draw import answer, tables
from lpwd.store import frames, identity
from lpwd.sweep import plan

NOTHING = frames.of_records([])


def settings_of(scale: str, *targets: str) -> list[dict[str, Any]]:
    jobs = [job for target in targets for job in plan.needs(target, scale, 0, NOTHING).jobs]
    return list({identity.run_id(job.settings): job.settings for job in jobs}.values())


def level(row: dict[str, Any]) -> float:
    """2 points for cwd, half a point a seed, less far from the base rates."""
    return 50 + 2 * (row["method"] == "cwd") + 0.5 * row["seed"] - (row["rate"] or 0) - row["lr"]


@pytest.mark.parametrize(("scale", "names"), [("mini", 10), ("scratch", 8)])
def test_the_experiment_fills_the_table(scale: str, names: int) -> None:
    config = scale_config(scale)
    every = simulated.stored(settings_of(scale, "rivals"), config, level, seeds=3)
    main = MainGrid(every, config)
    table = rivals(main)
    assert len(table) == names
    assert (table["runs"] == table["expected"]).all()
    by_name = table.set_index("name")
    assert by_name.loc["CWD", "over_wd_mean"] == pytest.approx(2)
    assert by_name.loc["CWD × linear", "heldout_over_wd_mean"] == pytest.approx(2)
    assert by_name.loc["CWD, mask mirrored", "over_wd_mean"] == pytest.approx(0)


def test_the_answer_has_the_layers_alone_and_cwd() -> None:
    def told(best_rate: float, jobs: list[dict[str, Any]]) -> str:
        def top1(row: dict[str, Any]) -> float:
            beside = abs((row["rate"] or 0) - best_rate)
            return level({**row, "rate": beside}) - (row["normalize"] == "params")

        return answer.text(MainGrid(simulated.stored(jobs, config, top1, seeds=3), config))

    config = scale_config("scratch")
    jobs = settings_of("scratch", "rivals", "table3")
    said = told(0.8, jobs)
    assert "**A loss from decaying deeper layers more.**" in said
    assert "LPWD gives −1.00 [−1.00, −1.00] there over PWD" in said
    assert "**A gain from decaying only what the update does not move away from zero.**" in said
    assert "(CWD), a rival, gives +2.00 [+2.00, +2.00] there over WD" in said
    assert "**A gain from which weights those are.** CWD gives +2.00 [+2.00, +2.00] there" in said
    assert "of the grid" not in said
    assert told(0, jobs).count("smallest of the grid: a better one may lie beyond.") == 4
    assert told(9, jobs).count("largest of the grid: a better one may lie beyond.") == 4
    beyond = [
        {**job, "decay": {**job["decay"], "rate": rate}}
        for job in jobs
        for rate in (8, 16)
        if job["decay"]["method"] == "cwd" and job["decay"].get("rate") == 4
    ]
    said = told(9, [*jobs, *beyond])
    assert "largest of the grid, 4, where one run reaches 44.0 %; at 8 it reaches 48.0 %." in said


def test_the_answer_has_no_part_whose_grid_is_not_whole() -> None:
    config = scale_config("scratch")
    every = simulated.stored(settings_of("scratch", "rivals"), config, level, seeds=3)
    said = answer.text(MainGrid(frames.only(every, set(every.runs["hash"][::2])), config))
    assert "deeper layers" not in said
    assert "CWD" not in said


def test_towards_pretrained_is_no_rival_of_models_from_scratch() -> None:
    def targets(scale: str) -> set[str | None]:
        return {settings["decay"].get("towards") for settings in settings_of(scale, "rivals")}

    assert targets("mini") == {None, "pretrained"}
    assert targets("scratch") == {None}


def test_gaps_name_what_fills_them() -> None:
    layout = tables.layout("rivals", MainGrid(NOTHING, scale_config("scratch")))
    assert {row.cells[0].text for row in layout.rows} == {"—"}
    assert "`make rivals SCALE=scratch` trains them." in layout.notes[-1]


def test_a_method_of_the_papers_is_held_to_its_own_difference_and_a_rival_to_lpwds(
    mains: dict[str, MainGrid],
) -> None:
    margins = rivals(mains["mini"]).set_index("name")["over_wd_margin"]
    assert margins["Baseline"] == pytest.approx(0.82 / 2)  # Table 1's
    assert margins["LPWD"] == margins["CWD"] == pytest.approx(0.60)
