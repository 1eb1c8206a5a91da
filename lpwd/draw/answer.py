"""The answer in a few sentences; their numbers are of stored runs."""

from __future__ import annotations

import math
from typing import NamedTuple

from lpwd.analysis import paper, robustness
from lpwd.analysis.claims import effects
from lpwd.analysis.findings import Finding, in_ablation, in_the_mean
from lpwd.analysis.intervals import Interval, equivalence, interval
from lpwd.analysis.kinds import CWD, CWD_MIRRORED, LPWD, PWD, RWD, SCALED_LPWD, WD, Kind
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import HELD_OUT, PAPERS, PROTOCOLS, difference
from lpwd.config.rates import number, rate_grid
from lpwd.draw import words


class Part(NamedTuple):
    """What may gain, and the kinds of runs in Table 3's column that tell: `run` less `other`."""

    what: str
    run: Kind
    run_name: str
    other: Kind
    other_name: str


#: LPWD's second part, the layers alone, and a rival.
PARTS = [
    Part(
        "decaying deeper layers more",
        SCALED_LPWD,
        "Scaled so that λ is the mean of λ_i over the weights, and tuned anew, LPWD",
        PWD,
        "PWD",
    ),
    Part(
        "decaying only what the update does not move away from zero",
        CWD,
        "Cautious Weight Decay (CWD), a rival,",
        WD,
        "WD",
    ),
    Part(
        "which weights those are",
        CWD,
        "CWD",
        CWD_MIRRORED,
        "a control, tuned as well, that leaves as many weights undecayed, but not by their own"
        " updates",
    ),
]


def sentences(main: MainGrid) -> list[str]:
    """What came out at a scale, for readers who know what weight decay is.

    Of the columns of Table 1 that are whole and have fresh seeds; none while there are none.
    """
    led = in_the_mean(main, "lpwd", "wd")
    if not led.columns:
        return []
    fine_tuning = ", fine-tuning," * paper.from_scratch(main.scale.name)
    prints = f"the paper{fine_tuning} prints"
    held_out = in_the_mean(main, "lpwd", "wd", HELD_OUT)
    worth = in_the_mean(main, "wd", "baseline")
    worth_held_out = in_the_mean(main, "wd", "baseline", HELD_OUT)
    found = [
        f"**Tuned LPWD against tuned WD: {words.signed_span(led.ours)} points** of test top-1 (95 %"
        f" interval) {_settings(led)}; {prints} {words.signed(led.reported)}. That is"
        f" with rates chosen on the test images, as in the paper; chosen on other images"
        f" (*held-out*) it is {words.signed_span(held_out.ours)}{_where(held_out, led)}."
        f"{_equivalent(led.ours, held_out.ours)}",
        f"**Weight decay itself is worth {words.signed_span(worth.ours)} points** here, tuned WD"
        f" against none{_where(worth, led)}, held-out {words.signed_span(worth_held_out.ours)};"
        f" {prints} {words.signed(worth.reported)}."
        f"{_room(worth.ours, led)}",
    ]
    return [*found, *_l2(main, led, prints), *_moments(main), *_parts(main), *_robust(main)]


def _settings(found: Finding) -> str:
    """Which columns of Table 1 a mean is of, and whether it lacks some."""
    so_far = " trained so far" * (len(found.columns) < found.of)
    if len(found.columns) > 1:
        return f"in the mean of {len(found.columns)} settings{so_far}"
    return f"in the one setting{so_far}, {', '.join(paper.column_names(found.columns[0]))}"


def _where(found: Finding, led: Finding) -> str:
    """The settings of a finding, if they are others than those of the first."""
    return f" {_settings(found)}" if found.columns and found.columns != led.columns else ""


def _room(worth: Interval, led: Finding) -> str:
    """Could a better decay show, if decay is worth this? It would be one with the paper's lead."""
    if not worth.known or math.isnan(led.reported):
        return ""
    if worth.high < led.reported:
        return " So small a gain leaves little by which to tell one such decay from another."
    if worth.low <= led.reported:
        return ""
    resolved = led.ours.high - led.ours.mean
    return f" So a better decay has room to show, if by more than the ±{resolved:.1f} found above."


def _l2(main: MainGrid, led: Finding, prints: str) -> list[str]:
    """L2 against WD, where that is clear: Adam divides L2's penalty, so it is another decay."""
    found = in_the_mean(main, "l2", "wd")
    if not (found.ours.low > 0 or found.ours.high < 0):
        return []
    held_out = in_the_mean(main, "l2", "wd", HELD_OUT).ours
    agreed = _gain(found.ours, held_out) in ("A gain", "A loss")
    alone = ", by the paper's protocol alone" * (not agreed)
    return [
        f"**Plain L2 is {'ahead of' if found.ours.low > 0 else 'behind'} WD{alone}**:"
        f" {words.signed_span(found.ours)}{_where(found, led)},"
        f" held-out {words.signed_span(held_out)};"
        f" {prints} {words.signed(found.reported)}."
    ]


def _moments(main: MainGrid) -> list[str]:
    """LPWD's first part: when the weights decay."""
    kinds = RWD, PWD
    steps, held_out = (
        [in_ablation(main, kind, WD, protocol).ours for kind in kinds] for protocol in PROTOCOLS
    )
    if not all(step.known for step in steps):
        return []
    rwd, pwd = (
        f"{words.signed_span(ours)}{over}, held-out {words.signed_span(other)}"
        for ours, other, over in zip(steps, held_out, (" over WD", ""), strict=True)
    )
    gain = "A gain" if "A gain" in map(_gain, steps, held_out) else "No clear gain"
    column = paper.ablation_column(main.scale)
    setting = ", ".join(paper.column_names(column))
    rates = effects.chosen_lambdas(main, column, ("wd", "rwd", "pwd"), PAPERS)
    return [
        f"**{gain} from when the weights decay.** In the one setting with RWD and PWD ({setting}),"
        f" decaying after the update (RWD) gives {rwd}; decaying before the forward pass (PWD)"
        f" {pwd}. By the paper's protocol the three were compared {rates}.{_at_wds_rates(main)}"
    ]


def _at_wds_rates(main: MainGrid) -> str:
    """RWD and PWD less WD where all are at the η and λ that WD chose, if they chose others."""
    column = paper.ablation_column(main.scale)
    rates = {
        method: main.cell(column, method).choice(PAPERS)[["lr", "rate"]].iloc[0].tolist()
        for method in ("wd", "rwd", "pwd")
    }
    said = []
    for method in ("rwd", "pwd"):
        one, wd = (main.at(column, name, *rates["wd"]) for name in (method, "wd"))
        fresh = interval(difference(one, wd).drop(0, errors="ignore"))
        if rates[method] != rates["wd"] and fresh.known:
            said.append(f"{paper.METHOD_NAMES[method]} gives {words.signed_span(fresh)}")
    return f" With WD's η and λ, {' and '.join(said)}." * bool(said)


def _parts(main: MainGrid) -> list[str]:
    lines = []
    told = {WD}
    for part in PARTS:
        kinds = part.run, part.other
        found, held_out = (in_ablation(main, *kinds, protocol).ours for protocol in PROTOCOLS)
        if found.known:
            ends = "".join(_end(kind, main) for kind in kinds if kind not in told)
            told.update(kinds)
            lines.append(
                f"**{_gain(found, held_out)} from {part.what}.** {part.run_name} gives"
                f" {words.signed_span(found)} there over {part.other_name},"
                f" held-out {words.signed_span(held_out)}.{ends}"
            )
    return lines


def _gain(found: Interval, held_out: Interval, none: float = 0) -> str:
    """What both protocols say; `none`: what it is without a difference."""
    signs = [(one.low > none) - (one.high < none) for one in (found, held_out)]
    if 0 in signs:
        return "No clear gain"
    first, second = ("gain" if sign > 0 else "loss" for sign in signs)
    return f"A {first}" + f" by the paper's protocol and a {second} held-out" * (first != second)


def _robust(main: MainGrid) -> list[str]:
    """LPWD's robustness to λ against WD's, by Figure 6."""
    ratio = robustness.ratio_of_widths(main, LPWD, WD)
    if not ratio.known:
        return []
    widths = robustness.widths(main).set_index("name")
    wd, lpwd = (
        f"{of.factor_mean:.1f} [{of.factor_low:.1f}, {of.factor_high:.1f}]"
        for of in (widths.loc[WD.name], widths.loc[LPWD.name])
    )
    return [
        f"**{_gain(ratio, ratio, none=1)} in robustness to λ.** Each at its best η there, top-1"
        f" stays within a point of its own best while λ varies by a factor of {wd} for WD, and of"
        f" {lpwd} for LPWD; LPWD's is {ratio.mean:.1f} times WD's"
        f" [{ratio.low:.1f}, {ratio.high:.1f}]. In"
        f" the mean of these {ratio.n} seeds LPWD's best is"
        f" {widths.loc[LPWD.name, 'top1']:.1f} %, and WD's {widths.loc[WD.name, 'top1']:.1f} %."
    ]


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
    name = "that control" if kind == CWD_MIRRORED else kind.name
    said = f" The λ of {name} is the {'largest' if is_largest else 'smallest'} of the grid"
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


def _equivalent(*found: Interval) -> str:
    """What each is shown to be within; `found`: LPWD − WD by the paper's protocol, and held-out."""
    effect = paper.reported_gain("table1", "lpwd", "wd")
    margins = [equivalence(one, effect)[0] for one in found]
    shown = [
        f"within ±{margin:.2f}{protocol}"
        for protocol, margin in zip(("", " held-out"), margins, strict=True)
        if not math.isnan(margin)
    ]
    return f" By equivalence tests the two are {' and '.join(shown)}, in that mean." * bool(shown)
