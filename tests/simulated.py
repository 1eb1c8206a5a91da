"""Made-up results with known answers, for the tests of statistics, tables, figures and claims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.config.rates import rate_grid
from lpwd.store import frames, identity, summary
from lpwd.store.frames import Results
from lpwd.store.rows import row_of_settings

Run = dict[str, Any]

LEVELS = {"baseline": 60, "l2": 59, "wd": 61, "rwd": 62, "pwd": 63, "lpwd": 64}


def top1_of(run: Run) -> float:
    """Final test top-1 (%): each method's own level, lower by the distance from the base rates."""
    distance = 0 if run["method"] == "baseline" else abs(np.log10(run["rate_factor"]))
    weight = 1 if run["method"] == "lpwd" else 2
    return LEVELS[run["method"]] - abs(np.log10(run["lr_factor"])) - weight * distance


def make(
    scale: DictConfig,
    seeds: int = 0,
    top1: Callable[[Run], float] = top1_of,
    diverges: Callable[[Run], bool] = lambda run: False,
    keep: Callable[[Run], bool] = lambda run: True,
) -> Results:
    """The whole grid of a scale, all methods, with `seeds` fresh seeds of each of its runs."""
    chosen = [run for run in grid(scale, seeds) if keep(run)]
    made = [simulate(run, scale, top1(run), diverges(run)) for run in chosen]
    return Results(
        pd.DataFrame([m[0] for m in made], columns=list(frames.RUN_COLUMNS)).astype(
            frames.RUN_COLUMNS
        ),
        frame([row for m in made for row in m[1]], frames.EPOCH_COLUMNS),
        frame([row for m in made for row in m[2]], frames.ZERO_SHOT_COLUMNS),
    )


def main(scale: DictConfig, **kwargs: Any) -> MainGrid:
    """`make`, as what tables, figures and claims take."""
    return MainGrid(make(scale, **kwargs), scale)


def stored(
    jobs: Iterable[identity.Settings],
    scale: DictConfig,
    top1: Callable[[Run], float],
    seeds: int = 0,
) -> Results:
    """Every run of these settings, and `seeds` fresh seeds of each; top-1 by its row."""
    made = []
    for settings in jobs:
        for seed in range(seeds + 1):
            row = {**row_of_settings(settings), "seed": seed}
            row |= {"lr_factor": 1.0, "rate_factor": 1.0}
            row["hash"] = identity.run_id({**settings, "seed": seed})
            run_row, epochs, _ = simulate(row, scale, top1(row), diverges=False)
            made.append((run_row, [{**epoch, "hash": row["hash"]} for epoch in epochs]))
    return Results(
        frame([m[0] for m in made], frames.RUN_COLUMNS),
        frame([row for m in made for row in m[1]], frames.EPOCH_COLUMNS),
        frame([], frames.ZERO_SHOT_COLUMNS),
    )


def frame(rows: list[Run], columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def grid(scale: DictConfig, seeds: int) -> Iterator[Run]:
    """Every run, in the order of runs.csv."""
    g = scale.grid
    models = sorted({*g.models, *g.series})
    methods = sorted(LEVELS)
    for data, model, optimizer, method in product(
        sorted(g.datasets), models, g.optimizers, methods
    ):
        rates = rate_grid(scale, optimizer, "l2" if method == "l2" else "wd")
        lrs = sorted(zip(rates.lrs, g.lr_factors, strict=True))
        lambdas = sorted(zip(rates.rates, g.rate_factors, strict=True))
        if model not in g.models and (optimizer, method) not in (("adam", "wd"), ("adam", "lpwd")):
            continue
        if method == "baseline":
            lambdas = [(float("nan"), float("nan"))]
        for (lr, lr_factor), (rate, rate_factor) in product(lrs, lambdas):
            for seed in range(seeds + 1):
                yield {
                    "data": data,
                    "model": model,
                    "optimizer": optimizer,
                    "method": method,
                    "lr": lr,
                    "lr_factor": lr_factor,
                    "rate": rate,
                    "rate_factor": rate_factor,
                    "seed": seed,
                }


def simulate(
    run: Run, scale: DictConfig, top1: float, diverges: bool
) -> tuple[Run, list[Run], list[Run]]:
    """A run's row, epochs and zero-shot curve: top-1 climbs to its last value, losses fall."""
    name = "-".join(str(run[key]) for key in ("data", "model", "optimizer", "method", "seed"))
    name = f"{name}-{run['lr']}-{run['rate']}"
    of_decay = run["method"], run["lr_factor"], run["rate_factor"]
    measured, summarized = train(*of_decay, scale.epochs, scale.images.heldout > 0, top1, diverges)
    epochs = [{"hash": name, **row} for row in measured]
    row = dict.fromkeys(frames.RUN_COLUMNS, "") | {
        "hash": name,
        "profile": "linear" if run["method"] == "lpwd" else "uniform",
        "normalize": "none",
        "layers": "block",
        "coupled": True,
        "exclude": "",
        "towards": "",
        "pretrained": "true",
        "setting": identity.default_setting(scale.name, *(run[name] for name in Column._fields)),
        "batch_size": 1,
        "train_images": 1,
        "epochs": scale.epochs,
        "steps": 1,
        "seconds": 1.0,
        "threads": 1,
        "status": "diverged" if diverges else "done",
        "diverged_epoch": epochs[-1]["epoch"] if diverges else float("nan"),
        **summarized,
        **{key: value for key, value in run.items() if not key.endswith("factor")},
    }
    curve = []
    if run["method"] == "baseline" and not diverges:
        curve = [
            {"hash": name, "step": step, "test_top1": max(10.0, top1 - step)} for step in range(101)
        ]
    return row, epochs, curve


@cache
def train(
    method: str,
    lr_factor: float,
    rate_factor: float,
    epochs: int,
    heldout: bool,
    top1: float,
    diverges: bool,
) -> tuple[list[Run], Run]:
    """The epochs of a run, and their summary; the same for all seeds with the same top-1."""
    opposing = float("nan")
    if method in ("wd", "rwd", "pwd", "lpwd"):
        opposing = 0.01 * lr_factor**0.5 * rate_factor**0.25
        opposing = 0.0 if method in ("rwd", "pwd") else opposing
    rows = [
        epoch(n, top1 - 2 * (epochs - n), top1, heldout, opposing) for n in range(1, epochs + 1)
    ]
    if diverges:
        rows = rows[:2]
        rows[-1] |= dict.fromkeys(
            ("train_loss", "test_top1", "test_a_top1", "test_b_top1", "heldout_top1"), float("nan")
        )
    return rows, summary.summarize(rows, epochs)


def epoch(n: int, now: float, top1: float, heldout: bool, opposing: float) -> Run:
    return {
        "epoch": n,
        "train_loss": 10 / n - top1 / 100,
        "seconds": 1.0,
        "test_top1": now,
        "test_a_top1": now + 1,
        "test_b_top1": now - 1,
        "heldout_top1": now + 2 if heldout else float("nan"),
        "r_op_share": opposing,
        "r_op_size": opposing / 2,
        "weight_norm": 1.0,
        "r_op_share_layers": [opposing] * 2,
        "r_op_size_layers": [opposing / 2] * 2,
    }
