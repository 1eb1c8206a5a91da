"""Both regimes side by side, fine-tuned and from scratch: the table that the README opens with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from lpwd.analysis import paper
from lpwd.analysis.findings import Finding, in_ablation, in_the_mean
from lpwd.analysis.kinds import CWD, CWD_MIRRORED, LPWD, PWD, RWD, SCALED_LPWD, WD
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import PAPERS, PROTOCOLS
from lpwd.draw import words
from lpwd.draw.formats import pipe_table

#: The table's rows in the mean of Table 1's columns: {what: method, the other}.
MEANS = {
    "weight decay at all: WD over none": ("wd", "baseline"),
    "**LPWD over WD**": ("lpwd", "wd"),
    "L2 over WD": ("l2", "wd"),
}
#: And in Table 3's: {what: its runs, the others}.
STEPS = {
    "LPWD over WD": (LPWD, WD),
    "decay after the update: RWD over WD": (RWD, WD),
    "decay before the forward pass: PWD over WD": (PWD, WD),
    "more decay in deeper layers, λ the mean over weights: scaled LPWD over PWD": (
        SCALED_LPWD,
        PWD,
    ),
    "only weights that the update does not move away from zero: CWD over WD": (CWD, WD),
    "those weights rather than as many, wrongly chosen: CWD over its control": (CWD, CWD_MIRRORED),
}
#: A way to a finding, given a protocol.
Finder = Callable[[MainGrid, str], Finding]


def table(mains: Mapping[str, MainGrid]) -> str:
    """In Markdown; `mains`: {regime: its runs}.

    The paper's numbers are of the settings of the first.
    """
    of = list(mains.values())
    setting = ", ".join(paper.column_names(paper.ablation_column(of[0].scale)))
    counts = [str(len(paper.columns(main.scale))) for main in of]
    rows = [
        ["test top-1, points", *mains, "the paper"],
        ["---", *["---:"] * len(of), "---:"],
        ["*number of settings averaged:*", *counts, counts[0]],
        *(
            _row(what, of, lambda main, protocol, of=pair: in_the_mean(main, *of, protocol))
            for what, pair in MEANS.items()
        ),
        [f"*{setting}:*", *[""] * len(of), ""],
        *(
            _row(what, of, lambda main, protocol, of=pair: in_ablation(main, *of, protocol))
            for what, pair in STEPS.items()
        ),
    ]
    return pipe_table(rows)


def _row(what: str, mains: list[MainGrid], find: Finder) -> list[str]:
    """A question's answers, each by the paper's protocol and below it by the held-out one."""
    printed = find(mains[0], PAPERS).reported
    texts = []
    for main in mains:
        ours, held_out = (_cell(find(main, protocol)) for protocol in PROTOCOLS)
        texts.append(ours if ours == words.GAP else f"{ours}<br>*{held_out}*")
    return [what, *texts, words.NONE if math.isnan(printed) else words.signed(printed)]


def _cell(found: Finding) -> str:
    """A difference, with its settings where a mean is not of all."""
    count = len(found.columns)
    return words.signed_span(found.ours) + f" ({count} of {found.of})" * (0 < count < found.of)
