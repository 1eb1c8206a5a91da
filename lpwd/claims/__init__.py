"""The paper's claims, each held against stored results by one rule.

claims.draw("claims", results, scale, folder)   writes claims.csv and claims.md
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from lpwd import paper
from lpwd.claims import measures
from lpwd.claims.measures import three_digits
from lpwd.claims.rule import RULE, Measured, decide
from lpwd.runs import Results, write_whole


class Claim(NamedTuple):
    """A claim, where the paper makes it, and how it is measured.

    always: it speaks of every single case, whose name is `cases` · reported: the paper's own
    effect, NaN where it prints no numbers.
    """

    place: str
    text: str
    measure: Callable[[Results, DictConfig], Measured]
    unit: str
    cases: str
    always: bool = False
    reported: float = math.nan


def _reported_gain(table: str, method: str, other: str) -> float:
    """The mean difference of two methods in the paper's own table."""
    means = paper.reported(table).groupby("method")["mean"].mean()
    return float(means[method] - means[other])


def _table1(method: str, protocol: str) -> Claim:
    name = paper.METHODS[method]
    return Claim(
        f"Table 1, Section 4.3; {protocol} protocol",
        f"LPWD is better than {name} in all columns",
        partial(measures.lpwd_over, method, protocol),
        "points",
        "columns",
        always=True,
        reported=_reported_gain("table1", "lpwd", method),
    )


PROTOCOLS = ("paper's", "held-out")


def _ablation(protocol: str) -> list[Claim]:
    place = f"Table 3, Section 4.6; {protocol} protocol"
    pairs = ("rwd", "wd"), ("pwd", "rwd"), ("lpwd", "pwd")
    rwd, pwd, lpwd = (_reported_gain("table3", *pair) for pair in pairs)
    return [
        Claim(
            place,
            "RWD is better than WD",
            partial(measures.rwd_over_wd, protocol),
            "points",
            "comparisons",
            reported=rwd,
        ),
        Claim(
            place,
            "WD < RWD < PWD < LPWD",
            partial(measures.order, protocol),
            "points a step",
            "steps",
            always=True,
            reported=(rwd + pwd + lpwd) / 3,
        ),
        Claim(
            place,
            "Of the three steps from WD to LPWD, RWD contributes most",
            partial(measures.rwd_most, protocol),
            "points more than another",
            "comparisons",
            always=True,
            reported=rwd - (pwd + lpwd) / 2,
        ),
    ]


CLAIMS = [
    *(_table1(method, p) for method in ("baseline", "l2", "wd") for p in PROTOCOLS),
    *(claim for both in zip(*map(_ablation, PROTOCOLS), strict=True) for claim in both),
    Claim(
        "Figure 3b, Section 3.2",
        f"PWD is better than RWD at large λ ({measures.LARGE_FACTOR} times the base and more)",
        measures.pwd_over_rwd,
        "points",
        "λ",
    ),
    Claim(
        "Figure 3b, Section 3.2",
        "PWD gains more on RWD at large λ than at smaller ones",
        measures.pwd_only_at_large,
        "points",
        "comparisons",
    ),
    Claim(
        "Figure 2b, Section 4.1",
        f"R_op of WD is low (its mean is below {measures.LOW_R_OP:g} %)",
        measures.r_op_low,
        f"points below {measures.LOW_R_OP:g} %",
        "columns",
    ),
    Claim(
        "Figure 2b, Section 4.1",
        "R_op of WD constantly grows with η",
        partial(measures.r_op_grows, "lr"),
        "(Spearman's ρ)",
        "steps of η",
        always=True,
    ),
    Claim(
        "Figure 2b, Section 4.1",
        "R_op of WD constantly grows with λ",
        partial(measures.r_op_grows, "rate"),
        "(Spearman's ρ)",
        "steps of λ",
        always=True,
    ),
    Claim(
        "Eq. 8, Section 3.1",
        "RWD never opposes its purpose: R_op is exactly 0 (true by construction)",
        measures.rwd_never_opposes,
        "(1: R_op is 0, −1: it is not)",
        "runs",
        always=True,
    ),
    Claim(
        "Figure 3a, Section 4.2",
        "Accuracy constantly falls along the zero-shot decay of trained Baselines",
        measures.zero_shot_falls,
        "(−Spearman's ρ)",
        "steps of 10 %",
        always=True,
    ),
    Claim(
        "Figure 4, Section 4.3",
        "LPWD is better than WD at most η and λ where they differ",
        measures.most_cells,
        "% of these cells, beyond 50 %",
        "columns",
    ),
    Claim(
        "Abstract, Figure 4",
        "LPWD is more robust to λ than WD: over all λ it loses less accuracy",
        measures.robust,
        "points",
        "columns",
    ),
    Claim(
        "Section 4, Section 4.4",
        "LPWD's lead over WD is larger under the strongest penalty than at the best rates",
        measures.lead_widens,
        "points",
        "columns",
    ),
    Claim(
        "Figure 1, Section 4.4",
        "Under the strongest penalty LPWD's training loss is always below WD's",
        partial(measures.strong_penalty, "train_loss", -1),
        "nats",
        "epochs",
        always=True,
    ),
    Claim(
        "Figure 1, Section 4.4",
        "Under the strongest penalty LPWD's test top-1 is always above WD's",
        partial(measures.strong_penalty, "test_top1", 1),
        "points",
        "epochs",
        always=True,
    ),
    Claim(
        "Figure 5, Section 4.5",
        "LPWD's lead over WD grows with the model",
        measures.gain_grows,
        "points a model",
        "series",
    ),
]

DRAWINGS = ("claims",)


def data(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a claim: its verdict and all that it rests on."""
    rows = []
    for claim in CLAIMS:
        measured = claim.measure(results, scale)
        about = {"claim": claim.text, "place": claim.place, "always": claim.always}
        decision = decide(measured, claim.always, claim.reported)._asdict()
        rows.append(
            {
                **about,
                **decision,
                "case": claim.cases,
                "unit": claim.unit,
                "reported": claim.reported,
                "note": measured.note,
            }
        )
    return pd.DataFrame(rows)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write claims.csv and claims.md into `folder`; returns their paths.

    `results` are the runs of the main grid, `scale` is the scale's node of the config.
    """
    frame = data(results, scale)
    contents = {
        folder / f"{target}.csv": frame.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}.md": markdown(frame, scale),
    }
    for path, text in contents.items():
        write_whole(path, text.encode())
    return list(contents)


GAP = "–"
HEADER = ["Claim", "Where", "The paper", "Measured effect", "95 % interval", "From", "Holds in"]


def markdown(frame: pd.DataFrame, scale: DictConfig) -> str:
    """The rule, then a table of all claims."""
    return (
        f"# The paper's claims\n\nAt {paper.scale_note(scale)}. {summary(frame)}."
        f"\n\n## The rule\n\n{RULE}\n## The claims\n\n{table(frame)}\n"
    )


def summary(frame: pd.DataFrame) -> str:
    """How many verdicts of which kind; a claim has one for each protocol that it is held to."""
    counts = frame["verdict"].value_counts()
    each = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts.index))
    return f"{len(frame)} verdicts on {frame['claim'].nunique()} claims: {each}"


def verdict_text(verdict: str, reason: str) -> str:
    """A verdict in Markdown; `reason` may be empty."""
    return f"**{verdict}**" + (f": {reason}" if reason else "")


def table(frame: pd.DataFrame) -> str:
    """The claims as a Markdown table, a row each."""
    rows = [[*HEADER, "Verdict"], ["---"] * (len(HEADER) + 1)]
    rows += [texts(row) for row in frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def texts(row: Any) -> list[str]:
    """A claim in words, under HEADER and then its verdict; `row` is a row of `data`."""
    note = f"; {row.note}" if row.note else ""
    low, high, effect = map(three_digits, (row.low, row.high, row.effect))
    measured = GAP if math.isnan(row.effect) else f"{effect} {row.unit}{note}"
    interval = GAP if math.isnan(row.low) else f"[{low}, {high}]"
    return [
        row.claim,
        row.place,
        GAP if math.isnan(row.reported) else three_digits(row.reported),
        measured,
        interval,
        f"{row.basis}, n={row.n}" if row.n else GAP,
        f"{row.held} of {row.cases} {row.case}" if row.n else GAP,
        verdict_text(row.verdict, row.reason),
    ]
