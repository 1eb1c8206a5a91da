"""Figures from made-up results: the data they show, gaps, and files that repeat byte for byte."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulated
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lpwd.analysis import protocols
from lpwd.config.compose import scale_config
from lpwd.config.rates import RateGrid
from lpwd.draw import figures, words
from lpwd.draw.figures import common
from lpwd.store.frames import Results

SMOKE = scale_config("smoke")
TOP1 = simulated.top1_of


@pytest.fixture(scope="module")
def results() -> Results:
    """Three fresh seeds of every run; WD diverges under the strongest penalty with SGDM."""
    return simulated.make(
        SMOKE,
        seeds=3,
        top1=lambda run: TOP1(run) - run["seed"] % 2,
        diverges=lambda run: (
            (run["method"], run["optimizer"]) == ("wd", "sgdm")
            and (run["lr_factor"], run["rate_factor"]) == (10, 50)
        ),
    )


@pytest.fixture(scope="module")
def empty() -> Results:
    return simulated.make(SMOKE, keep=lambda run: False)


@pytest.mark.parametrize("target", figures.DRAWINGS)
def test_a_figure_is_csv_png_and_pdf_and_identical_when_redrawn(
    target: str, results: Results, tmp_path: Path
) -> None:
    before = figures.draw(target, results, SMOKE, tmp_path / "before")
    after = figures.draw(target, results, SMOKE, tmp_path / "after")
    assert {path.suffix for path in before} == {".csv", ".png", ".pdf"}
    assert [path.name for path in before] == [path.name for path in after]
    assert [path.read_bytes() for path in before] == [path.read_bytes() for path in after]


@pytest.mark.parametrize("target", figures.DRAWINGS)
def test_without_runs_a_figure_names_the_command_that_fills_it(
    target: str, empty: Results, tmp_path: Path
) -> None:
    assert all(path.stat().st_size for path in figures.draw(target, empty, SMOKE, tmp_path))
    figure = figures.plot(target, figures.data(target, empty, SMOKE), SMOKE)
    assert f"make {target} SCALE=smoke" in texts(figure)


@pytest.mark.parametrize("target", figures.DRAWINGS)
def test_every_figure_says_its_scale(target: str, results: Results) -> None:
    figure = figures.plot(target, figures.data(target, results, SMOKE), SMOKE)
    assert "smoke scale: digits" in texts(figure)
    assert "not the paper's setting" in texts(figure)


@pytest.mark.parametrize(
    ("target", "kept", "missing"),
    [("figure1", "wd", 2), ("figure2", "lpwd", 24), ("figure3", "rwd", 5), ("figure4", "wd", 24)],
)
def test_missing_runs_are_counted_with_the_command(target: str, kept: str, missing: int) -> None:
    results = simulated.make(SMOKE, keep=lambda run: run["method"] == kept)
    figure = figures.plot(target, figures.data(target, results, SMOKE), SMOKE)
    assert f"{missing} runs are missing: make {target} SCALE=smoke" in texts(figure)


@pytest.mark.parametrize("target", figures.DRAWINGS)
def test_a_whole_figure_misses_nothing(target: str, results: Results) -> None:
    figure = figures.plot(target, figures.data(target, results, SMOKE), SMOKE)
    assert "missing" not in texts(figure)


def texts(figure: Figure) -> str:
    found = [figure.get_suptitle(), *(text.get_text() for ax in figure.axes for text in ax.texts)]
    return " ".join("\n".join(found).split())


def test_figure1_shows_the_strongest_penalty_only(results: Results) -> None:
    frame = figures.data("figure1", results, SMOKE)["figure1"]
    assert set(frame["lr"]) == {0.005}
    assert set(frame["rate"]) == {1.0}
    assert set(frame["optimizer"]) == {"adam"}
    assert set(frame["method"]) == {"wd", "lpwd"}
    assert set(frame["model"]) == {"convnext_micro", "swin_micro"}
    assert len(frame) == 2 * 2 * 4 * SMOKE.epochs


def test_figure1_averages_fresh_seeds_and_leaves_seed_0_out(results: Results) -> None:
    frames_ = figures.data("figure1", results, SMOKE)
    top1 = figures.plot("figure1", frames_, SMOKE).axes[2]
    wd = next(line for line in top1.get_lines() if str(line.get_label()).startswith("WD"))
    last = 61 - 1 - 2 * np.log10(50)
    assert wd.get_ydata()[-1] == pytest.approx(last - 2 / 3)  # seeds 1 and 3 lose a point


def test_figure2_is_wd_alone_and_keeps_both_readings(results: Results) -> None:
    found = figures.data("figure2", results, SMOKE)
    means = found["figure2b"]
    assert set(means["method"]) == {"wd"}
    assert len(means) == 2 * 2 * 6
    assert means["r_op_size"].tolist() == pytest.approx((means["r_op_share"] / 2).tolist())
    diverged = means["status"] == "diverged"
    assert diverged.sum() == 2
    assert len(found["figure2a"]) == (~diverged).sum() * SMOKE.epochs + 2 * 2


def test_figure3a_is_the_best_baseline_and_its_fresh_seeds(results: Results) -> None:
    curve = figures.data("figure3", results, SMOKE)["figure3a"]
    assert set(curve["lr"]) == {5e-4}
    assert len(curve) == 2 * 4 * 101
    first = curve[(curve["model"] == "swin_micro") & (curve["seed"] == 0)]
    assert first["test_top1"].tolist() == [max(10.0, 60.0 - step) for step in range(101)]


def test_figure3b_is_pwd_minus_rwd_seed_by_seed(results: Results) -> None:
    gains = figures.data("figure3", results, SMOKE)["figure3b"]
    assert sorted(set(gains["rate"])) == [0.01, 0.1, 1.0]
    assert len(gains) == 3 * 4
    assert gains["gain"].tolist() == pytest.approx([1.0] * 12)


def test_figure4_circles_the_best_and_centres_the_difference(results: Results) -> None:
    figure = figures.plot("figure4", figures.data("figure4", results, SMOKE), SMOKE)
    wd, difference = figure.axes[0], figure.axes[8]
    (circle,) = [patch for patch in wd.patches if isinstance(patch, Circle)]
    assert circle.center == (0, 1)  # smallest λ, base η
    norm = difference.images[0].norm
    assert norm.vmin == -norm.vmax
    assert not [patch for patch in difference.patches if isinstance(patch, Circle)]


def test_figure4_hatches_what_diverged(results: Results) -> None:
    figure = figures.plot("figure4", figures.data("figure4", results, SMOKE), SMOKE)
    hatched = [sum(bool(patch.get_hatch()) for patch in ax.patches) for ax in figure.axes[:12]]
    assert hatched == [0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1]  # WD and the difference, SGDM


def test_figure5_takes_every_model_at_the_first_ones_rates(results: Results) -> None:
    frame = figures.data("figure5", results, SMOKE)["figure5"]
    assert len(frame) == 2 * 3 * 4
    for method, runs in frame.groupby("method"):
        first = {"data": "digits", "model": "convnext_micro", "optimizer": "adam"}
        lr, rate = protocols.chosen_rates(results, **first, method=str(method)) or (0, 0)
        assert set(runs["lr"]) == {lr}
        assert set(runs["rate"]) == {rate}


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
