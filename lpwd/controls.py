"""The controls that the paper lacks: what each part of LPWD contributes.

    controls.draw("controls", results, scale, folder)   writes controls.csv and .md

Each row holds one kind of runs against another that differs from it in one part: the layers, the
moment, the amount of decay, what counts as a layer, what is decayed, or where the weights come
from. All are of Table 3's column (configs/experiment/controls.yaml), over every λ at ten and one
times the base η. The two share seed, order and augmentation, so their differences are paired.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd
from omegaconf import DictConfig

from lpwd import paper, runs, stats, tables
from lpwd.claims.measures import DIVERGED
from lpwd.decay import METHODS
from lpwd.runs import Results, write_whole
from lpwd.tables import Layout

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
    Part("A layer is a module", Kind("lpwd", layers="module"), LPWD),
    Part("A layer is a tensor", Kind("lpwd", layers="tensor"), LPWD),
    Part("Norms and biases left out, LPWD", Kind("lpwd", exclude="bias,norm"), LPWD),
    Part("Norms and biases left out, WD", Kind("wd", exclude="bias,norm"), WD),
    Part("All of it, from scratch", Kind("lpwd", scratch=True), Kind("wd", scratch=True)),
]


def select(results: Results, scale: DictConfig, kind: Kind) -> Results:
    """The runs of a kind in Table 3's column, at the controls' rates, all seeds."""
    column, grid = paper.ablation_column(scale), paper.rates(scale, "adam")
    lrs = [lr for lr, f in zip(grid.lrs, scale.grid.lr_factors, strict=True) if f in LR_FACTORS]
    setting = runs.default_setting(scale.name, *column, pretrained=not kind.scratch)
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
    return runs.only(results, set(frame.loc[kept, "hash"]))


def data(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a part; differences are run − reference in points of test top-1.

    cells: η and λ at which both are stored · won: of them, where the run is better · median: of the
    differences over them · best_*: each at its own best rates, by the paper's protocol · heldout_*:
    the same by the held-out protocol · seeds_*, heldout_seeds_*: fresh seeds at each one's chosen
    rates by either protocol, paired by seed, with a 95 % interval (`stats.interval`).
    """
    return pd.DataFrame([_row(part, results, scale) for part in PARTS])


def _row(part: Part, results: Results, scale: DictConfig) -> dict[str, Any]:
    run, reference = (select(results, scale, kind) for kind in (part.run, part.reference))
    cells = _differences(run, reference)
    pairs = (run, part.run, reference, part.reference)
    return {
        **{"part": part.question, "run": part.run.name, "reference": part.reference.name},
        **{"cells": len(cells), "won": int((cells > 0).sum()), "median": cells.median()},
        **{"best_run": _best(run), "best_reference": _best(reference)},
        "heldout_run": stats.held_out_value(run, **_profile(part.run)),
        "heldout_reference": stats.held_out_value(reference, **_profile(part.reference)),
        **tables.interval_of("seeds", _paired(stats.fresh_values, *pairs)),
        **tables.interval_of("heldout_seeds", _paired(stats.fresh_held_out, *pairs)),
    }


def _profile(kind: Kind) -> dict[str, str]:
    return {"profile": kind.profile or METHODS[kind.method][1]}


def _differences(run: Results, reference: Results) -> pd.Series:
    """Paired by η and λ, of seed 0; a diverged run has no value and drops its cell."""
    mine, other = (
        frame[frame["seed"] == 0].set_index(["lr", "rate"])["best_mean"]
        for frame in (run.runs, reference.runs)
    )
    return (mine - other).dropna()


def _best(results: Results) -> float:
    frame = results.runs
    return float(frame.loc[frame["seed"] == 0, "best_mean"].max())


def _paired(
    values: Callable[..., pd.Series], run: Results, kind: Kind, reference: Results, other: Kind
) -> pd.Series:
    """By seed; a diverged run counts as 0 %."""
    mine = values(run, **_profile(kind)).fillna(DIVERGED)
    return (mine - values(reference, **_profile(other)).fillna(DIVERGED)).dropna()


def layout(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """The table's texts."""
    head = [
        "Part",
        "Runs",
        "against",
        "Best of these η",
        "held-out",
        "Fresh seeds",
        "Fresh seeds, held-out",
        "Cells won",
        "median",
    ]
    body = [
        [
            *(row.part, row.run, row.reference),
            _signed(row.best_run - row.best_reference),
            _signed(row.heldout_run - row.heldout_reference),
            _interval(row, "seeds"),
            _interval(row, "heldout_seeds"),
            f"{row.won} of {row.cells}" if row.cells else tables.GAP,
            _signed(row.median),
        ]
        for row in cast(Any, frame.itertuples(index=False))
    ]
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    return Layout("Controls", f"What each part contributes: {where}", [head], body, _notes(scale))


def _notes(scale: DictConfig) -> list[str]:
    note = paper.scale_note(scale)
    factors = " and ".join(map(str, LR_FACTORS))
    return [
        f"{note[:1].upper()}{note[1:]}.",
        f"Differences in points of test top-1, over all λ at {factors} times the base η.",
        "Best of these η: each at those of these rates that are best for it, chosen on the test set"
        " (the paper's protocol); held-out: rates and epoch chosen without the images that are"
        " reported on. Over all η of the grid, Table 3 and README.md compare the methods.",
        "Fresh seeds: mean [95 % interval] of the difference of independent runs at the rates that"
        " the one or the other protocol chose, paired by seed.",
        "Cells won, median: over pairs of runs with the same η and λ (seed 0).",
        f"`make controls SCALE={scale.name} SEEDS=5` trains what is missing.",
    ]


def _signed(value: float) -> str:
    return tables.GAP if math.isnan(value) else f"{value:+.2f}"


def _interval(row: Any, prefix: str) -> str:
    n, mean, low, high = (getattr(row, f"{prefix}_{end}") for end in ("n", "mean", "low", "high"))
    if not n:
        return tables.GAP
    return f"{mean:+.2f}" + ("" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]")


DRAWINGS = ("controls",)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write controls.csv and controls.md into `folder`; `results` are all runs of the scale."""
    frame = data(results, scale)
    contents = {
        folder / f"{target}.csv": frame.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}.md": tables.markdown(layout(frame, scale)),
    }
    for path, text in contents.items():
        write_whole(path, text.encode())
    return list(contents)
