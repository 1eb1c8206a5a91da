"""The claims for a reader who never saw the paper: a plain sentence, verdicts, what to look at."""

from __future__ import annotations

import math
import re
from itertools import groupby
from typing import Any, NamedTuple

from lpwd.analysis import claims
from lpwd.analysis.claims import curves, grids, rule
from lpwd.analysis.main_grid import MainGrid
from lpwd.draw import claims as drawn_claims

PAPERS = "the paper's protocol"
HELD_OUT = "the held-out protocol"
NO_CHOICE = "no choice of rates or epochs"

#: {verdict: its sign}, so that a verdict is told by more than a colour.
SIGNS = {
    rule.SUPPORTED: "✓",
    rule.NOT_SUPPORTED: "✗",
    rule.EQUIVALENT: "≈",
    rule.INCONCLUSIVE: "?",
    rule.NOT_MEASURED: "–",
}


class Plain(NamedTuple):
    """A claim in plain words, the drawing to look at, and the protocol of its numbers."""

    topic: str
    sentence: str
    target: str
    protocol: str = PAPERS


BETTER = "Does LPWD recognise images better?"
STEPS = "Which of its three ideas helps?"
OPPOSING = "Does ordinary decay work against itself?"
ROBUST = "Is LPWD less sensitive to its rates?"
STRONG = "What happens under the strongest decay?"
LARGER = "Does it help larger models more?"

#: {the claim's text: the same in plain words}; a test holds it against lpwd.analysis.claims.
PLAIN = {
    "LPWD is better than Baseline in all columns": Plain(
        BETTER,
        "Networks trained with LPWD recognise more test images than networks trained without any"
        " decay, in every setting.",
        "table1",
    ),
    "LPWD is better than L2 in all columns": Plain(
        BETTER,
        "LPWD beats L2 regularization, the oldest way to keep weights small, in every setting.",
        "table1",
    ),
    "LPWD is better than WD in all columns": Plain(
        BETTER,
        "LPWD beats WD, the weight decay that everyone uses, in every setting.",
        "table1",
    ),
    "RWD is better than WD": Plain(
        STEPS, "Decaying after the update (RWD) is better than decaying before it (WD).", "table3"
    ),
    "WD < RWD < PWD < LPWD": Plain(
        STEPS, "Each idea adds accuracy: WD is the worst, then RWD, PWD, and LPWD.", "table3"
    ),
    "Of the three steps from WD to LPWD, RWD contributes most": Plain(
        STEPS, "Of the three ideas the first, RWD, adds the most.", "table3"
    ),
    f"PWD is better than RWD at large λ (the {curves.LARGE} largest of the grid)": Plain(
        STEPS,
        "Decaying before the forward pass (PWD) beats RWD where the decay is strong.",
        "figure3",
    ),
    "PWD gains more on RWD at large λ than at smaller ones": Plain(
        STEPS, "PWD gains more on RWD where the decay is strong than where it is weak.", "figure3"
    ),
    f"R_op of WD is low (its mean is below {grids.LOW_R_OP:g} %)": Plain(
        OPPOSING,
        "WD sometimes pushes a weight away from zero instead of towards it, but rarely. The share"
        " of such weights is called R_op.",
        "figure2",
        NO_CHOICE,
    ),
    "R_op of WD constantly grows with η": Plain(
        OPPOSING,
        "WD pushes more weights the wrong way when the learning rate η is larger.",
        "figure2",
        NO_CHOICE,
    ),
    "R_op of WD constantly grows with λ": Plain(
        OPPOSING,
        "WD pushes more weights the wrong way when the decay rate λ is larger.",
        "figure2",
        NO_CHOICE,
    ),
    "RWD never opposes its purpose: R_op is exactly 0 (true by construction)": Plain(
        OPPOSING, "RWD never pushes a weight the wrong way.", "figure2", NO_CHOICE
    ),
    "Accuracy constantly falls along the zero-shot decay of trained Baselines": Plain(
        OPPOSING,
        "Shrinking the weights of a trained network, without training it further, makes it worse"
        " and worse.",
        "figure3",
        f"Baselines chosen by {PAPERS}",
    ),
    "LPWD is better than WD at most η and λ where they differ": Plain(
        ROBUST, "LPWD beats WD not only at the best rates but at most of them.", "figure4"
    ),
    "LPWD is more robust to λ than WD: over all λ it loses less accuracy": Plain(
        ROBUST, "A badly chosen decay rate λ hurts LPWD less than WD.", "figure4"
    ),
    "LPWD's lead over WD is larger under the strongest penalty than at the best rates": Plain(
        STRONG, "The stronger the decay, the larger is LPWD's lead over WD.", "figure1"
    ),
    "Under the strongest penalty LPWD's training loss is always below WD's": Plain(
        STRONG,
        "There LPWD fits its training images better than WD, at every epoch.",
        "figure1",
        NO_CHOICE,
    ),
    "Under the strongest penalty LPWD's test top-1 is always above WD's": Plain(
        STRONG,
        "There LPWD recognises more test images than WD, at every epoch.",
        "figure1",
        NO_CHOICE,
    ),
    "LPWD's lead over WD grows with the model": Plain(
        LARGER, "The larger the network, the larger is LPWD's lead over WD.", "figure5"
    ),
}


class Verdict(NamedTuple):
    """One verdict on a claim: `texts` are claims.md's, by their heading."""

    verdict: str
    sign: str
    effect: str
    note: str
    reason: str
    protocol: str
    texts: dict[str, str]


class Question(NamedTuple):
    """A claim in plain words and in the paper's, with a verdict for each protocol it is held to."""

    plain: Plain
    wording: str
    verdicts: list[Verdict]


class Summary(NamedTuple):
    """All claims by topic, how many verdicts there are of each kind, and the rule's paragraphs."""

    topics: dict[str, list[Question]]
    counts: dict[str, int]
    rule: list[str]


def summary(main: MainGrid) -> Summary:
    """What claims.data says, in plain words."""
    frame = claims.data(main)
    rows: list[Any] = list(frame.itertuples(index=False))
    topics: dict[str, list[Question]] = {}
    for text, same in groupby(rows, key=lambda row: row.claim):
        plain = PLAIN[text]
        question = Question(plain, text, [_verdict(row, plain) for row in same])
        topics.setdefault(plain.topic, []).append(question)
    counts = {name: int((frame["verdict"] == name).sum()) for name in SIGNS}
    paragraphs = re.split(r"\n\n|\n(?=\d\.)", rule.RULE.strip())
    return Summary(topics, counts, [" ".join(text.split()) for text in paragraphs])


def _verdict(row: Any, plain: Plain) -> Verdict:
    texts = dict(zip([*drawn_claims.HEADER, "Verdict"], drawn_claims.texts(row), strict=True))
    protocol = HELD_OUT if "held-out" in row.place else plain.protocol
    effect = "" if math.isnan(row.effect) else drawn_claims.effect_text(row)
    sign = SIGNS[row.verdict]
    return Verdict(row.verdict, sign, effect, row.note, row.reason, protocol, texts)
