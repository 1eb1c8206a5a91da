"""The answer in a few sentences, as the README opens with it; its numbers are of stored runs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.controls import parts
from lpwd.analysis.intervals import Interval, equivalence, interval, interval_in
from lpwd.analysis.leads import lead, reported
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import PAPERS
from lpwd.draw import words


def sentences(main: MainGrid) -> list[str]:
    """What came out at a scale, for readers who know what weight decay is.

    None while Table 1 lacks fresh seeds.
    """
    ours, theirs = in_the_mean(main, "lpwd", "wd")
    if not ours.known:
        return []
    worth, worth_reported = in_the_mean(main, "wd", "baseline")
    steps = [in_ablation(main, method) for method in ("rwd", "pwd")]
    strong: Any = next(parts(main).itertuples(index=False))  # LPWD against WD
    count = len(paper.columns(main.scale))
    return [
        f"**Tuned LPWD against tuned WD: {words.signed_span(ours)} points** of test top-1 in the"
        f" mean of {count} settings (95 % interval); the paper prints {words.signed(theirs)}."
        f"{_equivalent(ours, theirs)}",
        f"**Weight decay itself is worth {words.signed_span(worth)} points** here, tuned WD against"
        f" none; the paper prints {words.signed(worth_reported)}. Where decay is worth so little,"
        " no better decay can show.",
        "**Neither of LPWD's other parts shows.** In the one setting that has them, decaying after"
        f" the update (RWD) gives {words.signed_span(steps[0])} over WD, and decaying before the"
        f" forward pass (PWD) {words.signed_span(steps[1])}.",
        "**Where a huge η and λ have cost half the accuracy**, LPWD as printed gives"
        f" {words.signed_span(interval_in(strong, 'strong_seeds'))} over WD (one setting).",
    ]


def text(main: MainGrid) -> str:
    """As a list in Markdown."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(sentences(main), 1))


def in_the_mean(main: MainGrid, method: str, other: str) -> tuple[Interval, float]:
    """method − other in the mean of Table 1's columns: of fresh seeds, paired, and the paper's."""
    columns = paper.columns(main.scale)
    of = pd.DataFrame({column: _fresh(main, column, method, other) for column in columns})
    printed = pd.Series([reported(column, method, other) for column in columns])
    return interval(of.mean(axis=1, skipna=False)), float(printed.mean(skipna=False))


def in_ablation(main: MainGrid, method: str) -> Interval:
    """A method less WD in Table 3's column: of fresh seeds, paired."""
    return interval(_fresh(main, paper.ablation_column(main.scale), method, "wd"))


def _fresh(main: MainGrid, column: Column, method: str, other: str) -> pd.Series:
    return lead(main, column, PAPERS, method, other).drop(0, errors="ignore")


def _equivalent(found: Interval, reported: float) -> str:
    margin, _ = equivalence(found, reported)
    if margin != margin:
        return ""
    return f" Two one-sided tests say that any difference is smaller than ±{margin:.2f}."
