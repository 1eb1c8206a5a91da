"""Figures from made-up results: the data they show, gaps, and files that repeat byte for byte."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulated
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lpwd.analysis import figures as analysis
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import PAPERS
from lpwd.config.compose import scale_config
from lpwd.config.rates import RateGrid
from lpwd.draw import figures, words
from lpwd.draw.figures import common
from lpwd.draw.words import LOOKS

SMOKE = scale_config("smoke")
TOP1 = simulated.top1_of


@pytest.fixture(scope="module")
def results() -> MainGrid:
    """Three fresh seeds of every run; WD diverges under the strongest penalty with SGDM."""
    return simulated.main(
        SMOKE,
        seeds=3,
        top1=lambda run: TOP1(run) - run["seed"] % 2,
        diverges=lambda run: (
            (run["method"], run["optimizer"]) == ("wd", "sgdm")
            and (run["lr_factor"], run["rate_factor"]) == (10, 50)
        ),
    )


@pytest.fixture(scope="module")
def empty() -> MainGrid:
    return simulated.main(SMOKE, keep=lambda run: False)


@pytest.mark.parametrize("target", figures.PLOTS)
def test_a_figure_is_csv_png_and_pdf_and_identical_when_redrawn(
    target: str, results: MainGrid
) -> None:
    files = figures.files(target, results)
    assert {Path(name).suffix for name in files} == {".csv", ".png", ".pdf"}
    assert files == figures.files(target, results)


@pytest.mark.parametrize("target", figures.PLOTS)
def test_without_runs_a_figure_names_the_command_that_fills_it(
    target: str, empty: MainGrid
) -> None:
    assert all(figures.files(target, empty).values())
    figure = figures.plot(target, empty)
    assert f"make {target} SCALE=smoke" in texts(figure)


@pytest.mark.parametrize("target", figures.PLOTS)
def test_every_figure_says_its_scale(target: str, results: MainGrid) -> None:
    figure = figures.plot(target, results)
    assert "smoke scale: digits" in texts(figure)
    assert "not the paper's setting" in texts(figure)
    assert ("missing" in texts(figure)) == (target == "figure6")


@pytest.mark.parametrize(
    ("target", "kept", "missing"),
    [
        ("figure1", "wd", 2),
        ("figure2", "lpwd", 24),
        ("figure3", "rwd", 4 + 3),
        ("figure4", "wd", 24),
        ("figure5", "wd", 6),
    ],
)
def test_missing_runs_are_counted_with_the_command(target: str, kept: str, missing: int) -> None:
    results = simulated.main(SMOKE, keep=lambda run: run["method"] == kept)
    figure = figures.plot(target, results)
    assert f"{missing} runs are missing: make {target} SCALE=smoke" in texts(figure)


def texts(figure: Figure) -> str:
    found = [figure.get_suptitle(), *(text.get_text() for ax in figure.axes for text in ax.texts)]
    return " ".join("\n".join(found).split())


def test_figure1_shows_the_strongest_penalty_only(results: MainGrid) -> None:
    frame = analysis.data("figure1", results)["figure1"]
    assert set(frame["lr"]) == {0.005}
    assert set(frame["rate"]) == {1.0}
    assert set(frame["optimizer"]) == {"adam"}
    assert set(frame["method"]) == {"wd", "lpwd"}
    assert set(frame["model"]) == {"convnext_micro", "swin_micro"}
    assert len(frame) == 2 * 2 * 4 * SMOKE.epochs


def test_figure1_averages_fresh_seeds_and_leaves_seed_0_out(results: MainGrid) -> None:
    top1 = figures.plot("figure1", results).axes[2]
    wd = next(line for line in top1.get_lines() if str(line.get_label()).startswith("WD"))
    last = 61 - 1 - 2 * np.log10(50)
    assert wd.get_ydata()[-1] == pytest.approx(last - 2 / 3)  # seeds 1 and 3 lose a point


def test_a_curve_ends_where_the_first_of_its_seeds_diverges() -> None:
    """A mean of those that are left would flatter: it is of survivors."""
    rows = [(seed, epoch, 10.0 * seed) for seed in (1, 2, 3) for epoch in (1, 2, 3, 4)]
    frame = pd.DataFrame(rows, columns=["seed", "epoch", "test_top1"])
    frame.loc[(frame["seed"] == 1) & (frame["epoch"] == 3), "test_top1"] = math.nan
    frame = frame[(frame["seed"] > 1) | (frame["epoch"] < 4)]  # seed 1 ends at its third epoch
    axes = Figure().subplots()
    common.curve(axes, frame, "epoch", "test_top1", "WD", LOOKS["wd"])
    line, cross = axes.get_lines()
    assert list(line.get_xdata()) == [1, 2]
    assert list(line.get_ydata()) == [20, 20]
    assert (list(cross.get_xdata()), cross.get_marker()) == ([2], "x")


def test_figure2_is_wd_alone_and_keeps_both_readings(results: MainGrid) -> None:
    found = analysis.data("figure2", results)
    means = found["figure2b"]
    assert set(means["method"]) == {"wd"}
    assert len(means) == 2 * 2 * 6
    assert means["r_op_size"].tolist() == pytest.approx((means["r_op_share"] / 2).tolist())
    diverged = means["status"] == "diverged"
    assert diverged.sum() == 2
    assert len(found["figure2a"]) == (~diverged).sum() * SMOKE.epochs + 2 * 2


def test_figure3a_is_the_best_baseline_and_its_fresh_seeds(results: MainGrid) -> None:
    curve = analysis.data("figure3", results)["figure3a"]
    assert set(curve["lr"]) == {5e-4}
    assert len(curve) == 2 * 4 * 101
    first = curve[(curve["model"] == "swin_micro") & (curve["seed"] == 0)]
    assert first["test_top1"].tolist() == [max(10.0, 60.0 - step) for step in range(101)]


def test_figure3b_is_pwd_minus_rwd_seed_by_seed(results: MainGrid) -> None:
    gains = analysis.data("figure3", results)["figure3b"]
    assert sorted(set(gains["rate"])) == [0.01, 0.1, 1.0]
    assert len(gains) == 3 * 4
    assert gains["gain"].tolist() == pytest.approx([1.0] * 12)


def test_figure4_circles_the_best_and_centres_the_difference(results: MainGrid) -> None:
    figure = figures.plot("figure4", results)
    wd, _, difference, *_ = figure.axes
    (circle,) = [patch for patch in wd.patches if isinstance(patch, Circle)]
    assert circle.center == (0, 1)  # smallest λ, base η
    norm = difference.images[0].norm
    assert norm.vmin == -norm.vmax
    assert not [patch for patch in difference.patches if isinstance(patch, Circle)]


def test_figure4_hatches_what_diverged(results: MainGrid) -> None:
    figure = figures.plot("figure4", results)
    hatched = [sum(bool(patch.get_hatch()) for patch in ax.patches) for ax in figure.axes[:12]]
    assert hatched == [0, 0, 0, 1, 0, 1] * 2  # WD and the difference, SGDM


def test_nothing_is_circled_while_a_run_is_missing() -> None:
    """The best of a part may be far from the best of all; of equals the smaller rates are it."""
    rates = RateGrid([0.01, 0.1], [1.0, 2.0])
    runs = pd.DataFrame([(lr, rate, 5.0) for lr in (0.01, 0.1) for rate in (1.0, 2.0)])
    runs = runs.set_axis(["lr", "rate", "value"], axis="columns")

    def circles(runs: pd.DataFrame) -> list[Any]:
        values, axes = common.matrix(runs, "value", rates), Figure().subplots()
        common.heatmap(axes, values, Normalize(0, 9), values > 99, str)
        return [patch.center for patch in axes.patches if isinstance(patch, Circle)]

    assert circles(runs) == [(0, 1)]  # the smallest η is at the bottom
    assert circles(runs[:3]) == []


def test_figure3b_counts_a_diverged_seed_as_nothing() -> None:
    """As the claim on it does; and has no pair of runs that are not there."""

    def keep(run: simulated.Run) -> bool:
        return run["seed"] == 0 or run["rate_factor"] == 50

    def diverges(run: simulated.Run) -> bool:
        return (run["method"], run["rate_factor"], run["seed"]) == ("pwd", 50, 2)

    main = simulated.main(SMOKE, seeds=3, keep=keep, diverges=diverges)
    pairs = analysis.data("figure3", main)["figure3b"]
    assert len(pairs) == len(SMOKE.grid.rate_factors) + 3
    of_seed = pairs[pairs["rate"] == pairs["rate"].max()].set_index("seed")
    assert of_seed.loc[2, "pwd"] == 0
    assert of_seed.loc[2, "gain"] == -of_seed.loc[2, "rwd"] < -10


def test_figure5_takes_every_model_at_the_first_ones_rates(results: MainGrid) -> None:
    frame = analysis.data("figure5", results)["figure5"]
    assert len(frame) == 2 * 3 * 4
    for method, runs in frame.groupby("method"):
        cell = results.cell(Column("digits", "convnext_micro", "adam"), str(method))
        (chosen,) = cell.choice(PAPERS)[["lr", "rate"]].to_numpy().tolist()
        assert [set(runs["lr"]), set(runs["rate"])] == [{value} for value in chosen]


def test_the_matrix_has_the_grids_cells_in_order_and_gaps_as_nan() -> None:
    runs = pd.DataFrame({"lr": [0.1, 0.01], "rate": [1.0, 2.0], "value": [5.0, 7.0]})
    found = common.matrix(runs, "value", RateGrid([0.01, 0.1], [2.0, 1.0]))
    assert found.index.tolist() == [0.1, 0.01]
    assert found.columns.tolist() == [1.0, 2.0]
    np.testing.assert_equal(found.to_numpy(), [[5.0, np.nan], [np.nan, 7.0]])


def test_cells_are_raw_and_legible() -> None:
    """No interpolation, and white numbers on dark cells only."""
    ax = Figure().subplots()
    values = pd.DataFrame([[0.0, 1.0]], index=[0.1], columns=[1.0, 2.0])
    common.heatmap(ax, values, Normalize(0, 1), values > 2, str)
    assert ax.images[0].get_interpolation() in ("none", "auto", "nearest")
    assert [text.get_color() for text in ax.texts] == ["white", "black"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.43, "8.4"), (12.0, "12"), (0.1, "0.10"), (0.0461, "0.046"), (3e-4, "3e-4")],
)
def test_numbers_fit_in_a_cell(value: float, text: str) -> None:
    assert words.short(value) == text
