"""The controls that the paper lacks: what each part of LPWD contributes.

    controls.draw("controls", results, scale, folder)
    writes controls.md, and controls.csv and controls_series.csv, the frames of its two tables

Each row of the first holds one kind of runs against another that differs from it in one part: the
layers, the moment, the amount of decay, what counts as a layer, what is decayed, or where the
weights come from. All are of Table 3's column (configs/experiment/controls.yaml), over every λ at
ten and one times the base η. The second is Figure 5 with both methods at the same λ. Runs that are
compared share seed, order and augmentation, so their differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import cells, intervals, main_grid, paper, protocols
from lpwd.analysis.protocols import DIVERGED
from lpwd.config.rates import number, rate_grid, strong_penalty
from lpwd.decay.rates import METHODS
from lpwd.store import frames, identity
from lpwd.store.frames import Results

#: Multiples of the base η that the controls are trained at.
LR_FACTORS = (10, 1)


class Kind(NamedTuple):
    """One kind of runs: a decay, and where the weights came from."""

    method: str
    profile: str = ""  # the method's own
    normalize: str = "none"
    layers: str = "block"
    exclude: str = ""
    scratch: bool = False

    @property
    def name(self) -> str:
        changes = {
            f" × {self.profile}": self.profile,
            ", mean over weights λ": self.normalize == "params",
            f", a layer is a {self.layers}": self.layers != "block",
            ", no norms and biases": self.exclude,
            ", from scratch": self.scratch,
        }
        return paper.METHODS[self.method] + "".join(text for text, said in changes.items() if said)


class Part(NamedTuple):
    """A question, and the two kinds of runs whose difference answers it."""

    question: str
    run: Kind
    reference: Kind


WD, RWD, PWD, LPWD = (Kind(method) for method in ("wd", "rwd", "pwd", "lpwd"))

PARTS = [
    Part("All of it", LPWD, WD),
    Part("The layers, decayed before the update", Kind("wd", "linear"), WD),
    Part("The layers, decayed after the update", Kind("rwd", "linear"), RWD),
    Part("The layers, decayed before the forward pass", LPWD, PWD),
    Part("The moment: after the update", RWD, WD),
    Part("The moment: before the forward pass", PWD, WD),
    Part("The moment, with layers", LPWD, Kind("wd", "linear")),
    Part("The layers, as much decay in all", Kind("lpwd", normalize="params"), PWD),
    Part("More decay in all, the same layers", LPWD, Kind("lpwd", normalize="params")),
    Part("Deep layers more rather than shallow ones", LPWD, Kind("pwd", "reversed")),
    Part(
        "Deep layers more rather than shallow ones, as much decay in all",
        Kind("lpwd", normalize="params"),
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


def select(results: Results, scale: DictConfig, kind: Kind) -> Results:
    """The runs of a kind in Table 3's column, at the controls' rates, all seeds."""
    column, grid = paper.ablation_column(scale), rate_grid(scale, "adam")
    lrs = [lr for lr, f in zip(grid.lrs, scale.grid.lr_factors, strict=True) if f in LR_FACTORS]
    setting = identity.default_setting(scale.name, *column, pretrained=not kind.scratch)
    wanted = {
        **column._asdict(),
        **{"method": kind.method, "profile": kind.profile or METHODS[kind.method][1]},
        **{"normalize": kind.normalize, "layers": kind.layers, "exclude": kind.exclude},
        **{"coupled": True, "setting": setting},
    }
    frame = results.runs
    kept = frame["lr"].isin(lrs) & frame["rate"].isin(grid.rates)
    for name, value in wanted.items():
        kept &= frame[name] == value
    return frames.only(results, set(frame.loc[kept, "hash"]))


def data(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a part; differences are run − reference in points of test top-1.

    cells: η and λ at which both are stored · won, lost: of them, where the run is better, or worse
    · median: of the differences over them · rates_*: η and λ that the paper's protocol chose ·
    best_*: each at them · heldout_rates_*, heldout_*: the same by the held-out protocol · seeds_*,
    heldout_seeds_*: fresh seeds at each one's chosen rates by either protocol, paired by seed, with
    a 95 % interval (`stats.interval`) · strong, strong_seeds_*: under the strongest penalty, the
    same η and λ for both.
    """
    return pd.DataFrame([_row(part, results, scale) for part in PARTS])


def _row(part: Part, results: Results, scale: DictConfig) -> dict[str, Any]:
    run, reference = (select(results, scale, kind) for kind in (part.run, part.reference))
    cells = _differences(run, reference)
    strongest = strong_penalty(scale, "adam")
    strong = _at(run, strongest) - _at(reference, strongest)
    row = {
        **{"part": part.question, "run": part.run.name, "reference": part.reference.name},
        **{"cells": len(cells), "won": int((cells > 0).sum()), "lost": int((cells < 0).sum())},
        "median": cells.median(),
    }
    run, reference = (_if_whole(frame, scale) for frame in (run, reference))
    for name, frame, kind in (("run", run, part.run), ("reference", reference, part.reference)):
        best = protocols.chosen(frame, **_profile(kind))
        held_out = protocols.held_out_choice(frame, **_profile(kind))
        row |= {
            f"rates_{name}": "" if best is None else _rates(best),
            f"best_{name}": math.nan if best is None else best["best_mean"],
            f"heldout_rates_{name}": " or ".join(_rates(c) for _, c in held_out.iterrows()),
            f"heldout_{name}": held_out["report"].mean(),
        }
    pairs = (run, part.run, reference, part.reference)
    return {
        **row,
        **cells.interval_of("seeds", _paired(protocols.fresh_values, *pairs)),
        **cells.interval_of("heldout_seeds", _paired(protocols.fresh_held_out, *pairs)),
        "strong": strong.get(0, math.nan),
        **cells.interval_of("strong_seeds", strong.drop(0, errors="ignore").dropna()),
    }


def _if_whole(results: Results, scale: DictConfig) -> Results:
    """The runs of a kind if none is missing: the best of a part may be far from the best of all."""
    stored = int((results.runs["seed"] == 0).sum())
    whole = stored >= len(LR_FACTORS) * len(scale.grid.rate_factors)
    return results if whole else frames.only(results, set())


def _profile(kind: Kind) -> dict[str, str]:
    return {"profile": kind.profile or METHODS[kind.method][1]}


def _rates(run: pd.Series) -> str:
    return f"{number(run['lr'])}, {number(run['rate'])}"


def _differences(run: Results, reference: Results) -> pd.Series:
    """Paired by η and λ, of seed 0; a diverged run counts as 0 %."""
    mine, other = (
        frame[frame["seed"] == 0].set_index(["lr", "rate"])["best_mean"].fillna(DIVERGED)
        for frame in (run.runs, reference.runs)
    )
    return (mine - other).dropna().round(9)  # 1e-16 is no difference


def _at(results: Results, rates: tuple[float, float], **where: str) -> pd.Series:
    """By seed; a diverged run counts as 0 %."""
    return protocols.at_rates(results, rates, **where).fillna(DIVERGED)


def _paired(
    values: Callable[..., pd.Series], run: Results, kind: Kind, reference: Results, other: Kind
) -> pd.Series:
    """By seed; a diverged run counts as 0 %."""
    mine = values(run, **_profile(kind)).fillna(DIVERGED)
    return (mine - values(reference, **_profile(other)).fillna(DIVERGED)).dropna()


# -- Figure 5 at equal λ ---------------------------------------------------------------------------


SERIES_COLUMNS = ["chosen_by", "lr", "rate", "model", "first"]
SERIES_COLUMNS += [f"seeds_{end}" for end in ("n", "mean", "low", "high")]


def series(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a model of Figure 5 and rates: LPWD − WD, both at those that one of them chose.

    Columns: chosen_by, lr, rate, model ("": the slope from one model to the next), first (seed 0)
    and seeds_* (fresh seeds, paired).
    """
    printed = main_grid.main_grid(results, scale.name)
    first = paper.ablation_column(scale)._replace(model=scale.grid.series[0])
    rows = []
    for method in ("wd", "lpwd"):
        which = {**first._asdict(), "method": method}
        rates = protocols.chosen_rates(cells.if_whole(printed, scale, **which), **which)
        if rates is None:
            continue
        leads = {}
        for model in scale.grid.series:
            where = first._replace(model=model)._asdict()
            wd, lpwd = (_at(printed, rates, **where, method=m) for m in ("wd", "lpwd"))
            leads[model] = lpwd - wd
        leads[""] = intervals.slopes(pd.DataFrame(leads))
        for model, lead in leads.items():
            row = {"chosen_by": method, "lr": rates[0], "rate": rates[1], "model": model}
            row |= {"first": lead.get(0, math.nan)}
            rows.append(row | cells.interval_of("seeds", lead.drop(0, errors="ignore").dropna()))
    return pd.DataFrame(rows, columns=SERIES_COLUMNS)
