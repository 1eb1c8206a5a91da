"""The controls that the paper lacks: what each part of LPWD contributes.

    controls.parts(main)     one kind of runs against another that differs from it in one part
    controls.series(main)    Figure 5 with both methods at the same λ

A part is the layers, the moment, the amount of decay, what counts as a layer, what is decayed, or
where the weights come from. All are of Table 3's column (configs/experiment/controls.yaml), over
every λ at the η that the scale names for them. Runs that are compared share seed, order and
augmentation, so their differences are paired.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import paper
from lpwd.analysis.intervals import columns_of, slopes
from lpwd.analysis.kinds import LPWD, PWD, RWD, SCALED_LPWD, WD, Kind
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.protocols import HELD_OUT, PAPERS, PROTOCOLS, Candidates, difference
from lpwd.config.rates import canonical_number, number, rate_grid


class Part(NamedTuple):
    """A question, and the two kinds of runs whose difference answers it."""

    question: str
    run: Kind
    reference: Kind


PARTS = [
    Part("All of it", LPWD, WD),
    Part("The layers, decayed before the update", Kind("wd", "linear"), WD),
    Part("The layers, decayed after the update", Kind("rwd", "linear"), RWD),
    Part("The layers, decayed before the forward pass", LPWD, PWD),
    Part("The moment: after the update", RWD, WD),
    Part("The moment: before the forward pass", PWD, WD),
    Part("The moment, with layers", LPWD, Kind("wd", "linear")),
    Part("The layers, as much decay in all", SCALED_LPWD, PWD),
    Part("More decay in all, the same layers", LPWD, SCALED_LPWD),
    Part("Deep layers more rather than shallow ones", LPWD, Kind("pwd", "reversed")),
    Part(
        "Deep layers more rather than shallow ones, as much decay in all",
        SCALED_LPWD,
        Kind("pwd", "reversed", normalize="params"),
    ),
    Part("Shallow layers more", Kind("pwd", "reversed"), PWD),
    Part(
        "Shallow layers more, as much decay in all",
        Kind("pwd", "reversed", normalize="params"),
        PWD,
    ),
    Part("A layer is a module", Kind("lpwd", layers="module"), LPWD),
    Part("A layer is a tensor", Kind("lpwd", layers="tensor"), LPWD),
    Part("All of it, a layer is a module", Kind("lpwd", layers="module"), WD),
    Part("All of it, a layer is a tensor", Kind("lpwd", layers="tensor"), WD),
    Part("Norms and biases left out, LPWD", Kind("lpwd", exclude="bias,norm"), LPWD),
    Part("Norms and biases left out, WD", Kind("wd", exclude="bias,norm"), WD),
    Part(
        "All of it, norms and biases left out",
        Kind("lpwd", exclude="bias,norm"),
        Kind("wd", exclude="bias,norm"),
    ),
    Part("All of it, from scratch", Kind("lpwd", scratch=True), Kind("wd", scratch=True)),
]


def candidates(main: MainGrid, kind: Kind) -> Candidates:
    """The runs of a kind in Table 3's column, at the controls' rates, all seeds."""
    column = paper.ablation_column(main.scale)
    return main.of_kind(column, kind.columns, kind.scratch, _lrs(main.scale))


def strongest(scale: DictConfig) -> tuple[float, float]:
    """The largest η and λ of the controls."""
    return max(_lrs(scale)), max(rate_grid(scale, "adam").rates)


def _lrs(scale: DictConfig) -> list[float]:
    factors = scale.grid.control_lr_factors
    return [float(canonical_number(scale.base.adam.lr * factor)) for factor in factors]


@cache
def parts(main: MainGrid) -> pd.DataFrame:
    """A row a part; differences are run − reference in points of test top-1.

    cells: η and λ at which both are stored · won, lost: of them, where the run is better, or worse
    · median: of the differences over them · rates_*: η and λ that the paper's protocol chose ·
    best_*: each at them · heldout_rates_*, heldout_*: the same by the held-out protocol · seeds_*,
    heldout_seeds_*: fresh seeds at each one's chosen rates by either protocol, paired by seed, with
    a 95 % interval (`intervals.columns_of`) · strong, strong_seeds_*: at the controls' `strongest`,
    the same η and λ for both.
    """
    asked = [
        part for part in PARTS if not (part.run.scratch and paper.from_scratch(main.scale.name))
    ]
    found = {kind: candidates(main, kind) for part in asked for kind in (part.run, part.reference)}
    rates = strongest(main.scale)
    return pd.DataFrame(
        [_row(part, found[part.run], found[part.reference], rates) for part in asked]
    )


def _row(
    part: Part, run: Candidates, reference: Candidates, strong_rates: tuple[float, float]
) -> dict[str, Any]:
    cells = difference(_by_rates(run), _by_rates(reference)).round(9)  # 1e-16 is no difference
    strong = difference(*(kind.at(*strong_rates)["best_mean"] for kind in (run, reference)))
    row = {
        "part": part.question,
        "run": part.run.name,
        "reference": part.reference.name,
        "cells": len(cells),
        "won": int((cells > 0).sum()),
        "lost": int((cells < 0).sum()),
        "median": cells.median(),
    }
    for name, kind in (("run", run), ("reference", reference)):
        best, held_out = kind.choice(PAPERS), kind.choice(HELD_OUT)
        row |= {
            f"rates_{name}": _rates(best),
            f"best_{name}": best["report"].mean(),
            f"heldout_rates_{name}": _rates(held_out),
            f"heldout_{name}": held_out["report"].mean(),
        }
    for prefix, protocol in zip(("seeds", "heldout_seeds"), PROTOCOLS, strict=True):
        row |= columns_of(prefix, difference(run.fresh(protocol), reference.fresh(protocol)))
    return {
        **row,
        "strong": strong.get(0, math.nan),
        **columns_of("strong_seeds", strong.drop(0, errors="ignore")),
    }


def _by_rates(kind: Candidates) -> pd.Series:
    return kind.first.set_index(["lr", "rate"])["best_mean"]


def _rates(choice: pd.DataFrame) -> str:
    pairs = zip(choice["lr"], choice["rate"], strict=True)
    return " or ".join(f"{number(lr)}, {number(rate)}" for lr, rate in pairs)


SERIES_COLUMNS = ["chosen_by", "lr", "rate", "model", "first"]
SERIES_COLUMNS += [f"seeds_{end}" for end in ("n", "mean", "low", "high")]


@cache
def series(main: MainGrid) -> pd.DataFrame:
    """A row a model of Figure 5 and rates: LPWD − WD, both at those that one of them chose.

    Columns: chosen_by, lr, rate, model ("": the slope from one model to the next), first (seed 0)
    and seeds_* (fresh seeds, paired).
    """
    rows = []
    for method in ("wd", "lpwd"):
        choice = main.cell(paper.series_column(main.scale), method).choice(PAPERS)
        for lr, rate in zip(choice["lr"], choice["rate"], strict=True):
            about = {"chosen_by": method, "lr": lr, "rate": rate}
            rows += [{**about, **row} for row in _leads_at(main, lr, rate)]
    return pd.DataFrame(rows, columns=SERIES_COLUMNS)


def _leads_at(main: MainGrid, lr: float, rate: float) -> list[dict[str, Any]]:
    """LPWD − WD of every model of the series at these rates, and the slope over them."""
    leads = {}
    for model in main.scale.grid.series:
        column = paper.series_column(main.scale, model)
        leads[model] = difference(*(main.at(column, m, lr, rate) for m in ("lpwd", "wd")))
    leads[""] = slopes(pd.DataFrame(leads))
    return [
        {
            "model": model,
            "first": lead.get(0, math.nan),
            **columns_of("seeds", lead.drop(0, errors="ignore").dropna()),
        }
        for model, lead in leads.items()
    ]
