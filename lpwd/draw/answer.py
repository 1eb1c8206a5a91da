"""The answer in a few sentences, as the README opens with it; its numbers are of stored runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.claims import effects
from lpwd.analysis.intervals import Interval, equivalence, interval
from lpwd.analysis.kinds import Kind
from lpwd.analysis.leads import lead, reported
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import HELD_OUT, PAPERS, difference
from lpwd.config.rates import number, rate_grid
from lpwd.draw import words

#: Beside the printed methods, held against WD in Table 3's column: {part: its runs, its name}.
PARTS = {
    "decaying deeper layers more": (
        Kind("lpwd", normalize="params"),
        "Scaled to as much decay in all as WD at the same λ (the mean over the weights), LPWD",
    ),
    "decaying only what the update does not move away from zero": (
        Kind("cwd"),
        "Cautious Weight Decay (CWD), a rival,",
    ),
}


def sentences(main: MainGrid) -> list[str]:
    """What came out at a scale, for readers who know what weight decay is.

    Of the columns of Table 1 that are whole and have fresh seeds; none while there are none.
    """
    columns = [c for c in paper.columns(main.scale) if _mean(main, [c], "lpwd", "wd").known]
    if not columns:
        return []
    where = _settings(columns, main)
    fine_tuning = ", fine-tuning," * paper.from_scratch(main.scale.name)
    prints = f"the paper{fine_tuning} prints"
    ours, theirs = in_the_mean(main, columns, "lpwd", "wd")
    held_out = _mean(main, columns, "lpwd", "wd", HELD_OUT)
    worth, worth_reported = in_the_mean(main, columns, "wd", "baseline")
    found = [
        f"**Tuned LPWD against tuned WD: {words.signed_span(ours)} points** of test top-1 (95 %"
        f" interval) {where}; {prints} {words.signed(theirs)}. That is with rates chosen on the"
        f" test images, as in the paper; chosen on other images (*held-out*) it is"
        f" {words.signed_span(held_out)}.{_equivalent(theirs, ours, held_out)}",
        f"**Weight decay itself is worth {words.signed_span(worth)} points** here, tuned WD against"
        f" none; {prints} {words.signed(worth_reported)}.{_room(worth, theirs)}",
    ]
    return [*found, *_l2(main, columns, prints), *_moments(main), *_parts(main)]


def _settings(columns: list[Column], main: MainGrid) -> str:
    """Which columns of Table 1 a mean is of, and how many it lacks."""
    of = len(paper.columns(main.scale))
    so_far = " trained so far" * (len(columns) < of)
    if len(columns) > 1:
        return f"in the mean of {len(columns)} settings{so_far}"
    return f"in the one setting{so_far}, {', '.join(paper.column_names(columns[0]))}"


def _room(worth: Interval, lead: float) -> str:
    """Could a better decay show, if decay is worth this, and the paper's lead is `lead`?"""
    if not worth.known:
        return ""
    if worth.high < lead:
        return " So small a gain leaves little by which to tell one such decay from another."
    return " So a better decay could show." * (worth.low > lead)


def _l2(main: MainGrid, columns: list[Column], prints: str) -> list[str]:
    """L2 against WD, where that is clear: Adam divides L2's penalty, so it is another decay."""
    whole = [c for c in columns if _mean(main, [c], "l2", "wd").known]
    if not whole:
        return []
    ours, theirs = in_the_mean(main, whole, "l2", "wd")
    if ours.low <= 0 <= ours.high:
        return []
    held_out = words.signed_span(_mean(main, whole, "l2", "wd", HELD_OUT))
    where = f" {_settings(whole, main)}" * (whole != columns)
    return [
        f"**Plain L2 is {'ahead of' if ours.low > 0 else 'behind'} WD**:"
        f" {words.signed_span(ours)}{where}, held-out {held_out}; {prints} {words.signed(theirs)}."
    ]


def _moments(main: MainGrid) -> list[str]:
    """LPWD's first part: when the weights decay."""
    steps = [in_ablation(main, method) for method in ("rwd", "pwd")]
    if not all(step.known for step in steps):
        return []
    rwd, pwd = map(words.signed_span, steps)
    gain = "A gain" if any(s.low > 0 for s in steps) else "No clear gain"
    column = paper.ablation_column(main.scale)
    setting = ", ".join(paper.column_names(column))
    rates = effects.chosen_lambdas(main, column, ("wd", "rwd", "pwd"), PAPERS)
    return [
        f"**{gain} from when the weights decay.** In the one setting with RWD and PWD ({setting}),"
        f" decaying after the update (RWD) gives {rwd} over WD, and decaying before the forward"
        f" pass (PWD) {pwd}. The three were compared {rates}."
    ]


def _parts(main: MainGrid) -> list[str]:
    """LPWD's second part, the layers alone, and a rival: each tuned, against tuned WD."""
    column = paper.ablation_column(main.scale)
    wd = main.cell(column, "wd")
    lines = []
    for part, (kind, subject) in PARTS.items():
        among = main.of_kind(column, kind.columns)
        found, held_out = (
            interval(difference(among.fresh(protocol), wd.fresh(protocol)))
            for protocol in (PAPERS, HELD_OUT)
        )
        if found.known:
            gain = "A gain" if found.low > 0 else "A loss" if found.high < 0 else "No clear gain"
            lines.append(
                f"**{gain} from {part}.** {subject} gives {words.signed_span(found)} over WD there,"
                f" held-out {words.signed_span(held_out)}.{_end(kind, main)}"
            )
    return lines


def _end(kind: Kind, main: MainGrid) -> str:
    """Of a λ that was chosen at an end of the grid: what is known of those beyond."""
    column = paper.ablation_column(main.scale)
    best = main.of_kind(column, kind.columns).choice(PAPERS).iloc[0]
    rates = rate_grid(main.scale, column.optimizer, kind.method).rates
    if min(rates) < best["rate"] < max(rates):
        return ""
    is_largest = best["rate"] == max(rates)
    runs = main.at_any_rates(column, kind.columns)
    runs = runs[(runs["lr"] == best["lr"]) & (runs["seed"] == 0)]
    beyond = runs[runs["rate"].gt(best["rate"]) if is_largest else runs["rate"].lt(best["rate"])]
    said = f" Its λ is the {'largest' if is_largest else 'smallest'} of the grid"
    if beyond.empty:
        return f"{said}: a better one may lie beyond."
    nearest = beyond.loc[(beyond["rate"] - best["rate"]).abs().idxmin()]
    top1 = (
        "diverges" if nearest["status"] == "diverged" else f"reaches {nearest['best_mean']:.1f} %"
    )
    return (
        f"{said}, {number(best['rate'])}, where one run reaches {best['report']:.1f} %; at"
        f" {number(nearest['rate'])} it {top1}."
    )


def text(main: MainGrid) -> str:
    """As a list in Markdown."""
    return "\n".join(f"- {line}" for line in sentences(main)) or "Not trained yet."


def in_the_mean(
    main: MainGrid, columns: list[Column], method: str, other: str
) -> tuple[Interval, float]:
    """method − other in the mean of some columns: of fresh seeds, paired, and the paper's."""
    printed = [reported(column, method, other) for column in columns]
    return _mean(main, columns, method, other), float(np.mean(printed))


def _mean(
    main: MainGrid, columns: list[Column], method: str, other: str, protocol: str = PAPERS
) -> Interval:
    of = pd.DataFrame({c: _fresh(main, c, method, other, protocol) for c in columns})
    return interval(of.mean(axis=1, skipna=False))


def in_ablation(main: MainGrid, method: str) -> Interval:
    """A method less WD in Table 3's column: of fresh seeds, paired."""
    return interval(_fresh(main, paper.ablation_column(main.scale), method, "wd"))


def _fresh(
    main: MainGrid, column: Column, method: str, other: str, protocol: str = PAPERS
) -> pd.Series:
    return lead(main, column, protocol, method, other).drop(0, errors="ignore")


def _equivalent(reported: float, *found: Interval) -> str:
    """What each is shown to be within; `found`: by the paper's protocol, and held-out."""
    margins = [equivalence(one, reported)[0] for one in found]
    shown = [
        f"within ±{margin:.2f}{protocol}"
        for protocol, margin in zip(("", " held-out"), margins, strict=True)
        if not math.isnan(margin)
    ]
    return f" By equivalence tests the two are {' and '.join(shown)}." * bool(shown)
