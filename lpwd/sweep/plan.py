"""What a target takes before anything is trained: runs, hours, disk."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd

from lpwd.config.compose import composed, composer
from lpwd.config.errors import ConfigError
from lpwd.config.paths import names_in
from lpwd.store import identity
from lpwd.store.frames import Results
from lpwd.store.lock import in_training
from lpwd.store.store import Store
from lpwd.sweep import grids
from lpwd.sweep.cost import seconds_of

#: The paper's targets. Nothing is to be trained for Table 2: it is the configs' own.
PAPER = ("table1", "table2", "table3", *(f"figure{n}" for n in range(1, 6)))
#: What hours are estimated from.
ESTIMATE = "from stored runs, else a few steps timed alone, without the wait for others"
#: What the paper lacks, and `make all` leaves out.
FURTHER = ("controls", "rivals", "figure6", "moredecay")
TARGETS = (*PAPER, *FURTHER)
EXPERIMENTS = names_in("experiment")


@dataclass
class Needs:
    """The runs of one target. `waiting`: those whose rates are yet to be chosen among others."""

    target: str
    jobs: list[grids.Job]
    waiting: dict[Hashable, identity.Settings]


def needs(
    target: str,
    scale: str,
    seeds: int,
    results: Results,
    expander: grids.Expander | None = None,
) -> Needs:
    """Every run that a target needs, stored or not; `expander` is one made for this scale."""
    expander = expander or expander_of(scale)
    jobs: dict[str, grids.Job] = {}
    waiting: dict[Hashable, identity.Settings] = {}
    if target not in EXPERIMENTS:
        return Needs(target, [], {})
    cfg = composed([f"+experiment={target}", f"scale={scale}"], f"hydra.sweeper.seeds={seeds}")
    seeds = grids.fresh_seeds(seeds, cfg.hydra.sweeper.most_seeds)
    for grid in grids.grids_of(cfg.hydra.sweeper.grids):
        jobs |= {job.run: job for job in expander.plain(grid, seeds)}
        jobs |= {job.run: job for job in expander.chosen(grid, results, seeds, waiting)}
    return Needs(target, list(jobs.values()), waiting)


def expander_of(scale: str) -> grids.Expander:
    """One serves all targets of a scale, since no run's identity knows its experiment."""
    return grids.Expander(composer(), [f"scale={scale}"])


def table(scale: str, seeds: int = 0) -> pd.DataFrame:
    """A row a target: runs needed, of those shared with the rows above, stored, running, left.

    `all` are the paper's; what it lacks comes after it. Hours are those of one run at a time; NaN
    where they cannot be measured, for want of a GPU.
    """
    store = Store(scale)
    results, stored = store.collect(), store.stored()
    expander = expander_of(scale)
    hours = _Hours(scale, results.runs)
    seen: set[Hashable] = set()
    busy: set[str] = set()
    rows = {}
    for target in TARGETS:
        need = needs(target, scale, seeds, results, expander)
        left = [job for job in need.jobs if job.run not in stored]
        to_come = {job.run: job.settings for job in left} | need.waiting
        new = [settings for key, settings in to_come.items() if key not in seen]
        names = {job.run for job in need.jobs} | need.waiting.keys()
        now = {job.run for job in left if in_training(store.work(job.run))}
        busy |= now if target in PAPER else set()
        rows[target] = {
            "needed": len(names),
            "shared": len(names & seen),
            "stored": len(need.jobs) - len(left),
            "running": len(now),
            "left": len(new),
            "hours": sum(map(hours, new)),
        }
        seen |= names
    frame = pd.DataFrame.from_dict(rows, orient="index")
    of_paper = frame.loc[list(PAPER)]
    total = of_paper.sum(skipna=False)
    total["needed"] -= total["shared"]
    total["stored"] = total["needed"] - total["left"]
    total["shared"], total["running"] = 0, len(busy)
    total = total.to_frame("all").T.astype(frame.dtypes.to_dict())
    ordered = pd.concat([of_paper, total, frame.drop(index=list(PAPER))])
    return ordered.rename_axis("target").reset_index()


class _Hours:
    """The hours of a run, looked up or measured once for all runs that take the same."""

    def __init__(self, scale: str, stored: pd.DataFrame) -> None:
        self.scale, self.stored = scale, stored
        self.known: dict[tuple[str, bool], float] = {}

    def __call__(self, settings: identity.Settings) -> float:
        key = identity.setting_id(settings), settings["decay"]["method"] == "baseline"
        if key not in self.known:
            try:
                self.known[key] = seconds_of(settings, self.scale, self.stored) / 3600
            except ConfigError:
                self.known[key] = math.nan
        return self.known[key]
