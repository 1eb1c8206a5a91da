"""η and λ that stored runs choose for further ones: by the same rule as in tables and figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from lpwd.analysis.main_grid import KIND, MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import PAPERS, PROTOCOLS, Candidates
from lpwd.config.compose import scale_config
from lpwd.config.errors import ConfigError
from lpwd.store.frames import DECAY_COLUMNS, Results, only
from lpwd.store.identity import Settings, default_setting
from lpwd.store.rows import row_of_settings
from lpwd.store.summary import held_out


class ChoiceMissing(ConfigError):
    """Rates are to be chosen among runs that are not all stored yet."""


class AmongGrid:
    """Choices among the runs of one experiment's grid: by both protocols, within each kind."""

    def __init__(self, results: Results, grid: Iterable[tuple[str, Settings]]) -> None:
        jobs = dict(grid)
        among = only(results, set(jobs))
        self.folds = held_out(among.epochs)
        self.runs_of = dict(list(among.runs.groupby(list(KIND))))
        firsts = [settings for settings in jobs.values() if settings["seed"] == 0]
        if jobs and not firsts:
            raise ConfigError("rates are chosen among runs of seed 0, of which the grid has none")
        self.expected = Counter(map(_kind, firsts))
        self.none = among.runs.iloc[:0]

    def rates(self, settings: Settings) -> list[tuple[str, ...]]:
        """Overrides with the best rates for runs of this kind, the paper's protocol first."""
        kind = _kind(settings)
        runs = self.runs_of.get(kind, self.none)
        candidates = Candidates(runs, self.folds, self.expected[kind])
        return _overrides(candidates, PROTOCOLS, kind)


class AmongMainGrid:
    """Choices among the runs of a scale's grid, by the paper's protocol.

    Raises ConfigError for runs with other settings than the scale's: what did best there says
    nothing of them.
    """

    def __init__(self, results: Results, scale: str) -> None:
        self.main = MainGrid(results, scale_config(scale))

    def rates(
        self, settings: Settings, model: str | None, method: str | None
    ) -> list[tuple[str, ...]]:
        """Overrides with the best rates for these settings, or for another model or method."""
        row, own = self._row(settings)
        column = own._replace(model=model or own.model)
        candidates = self.main.cell(column, method or row["method"])
        return _overrides(candidates, (PAPERS,), (*column, method or row["method"]))

    def lrs(self, settings: Settings) -> list[tuple[str, ...]]:
        """An override with the best η of this kind of decay, its layers and profile too."""
        row, column = self._row(settings)
        decay = {name: row[name] for name in DECAY_COLUMNS}
        found = _overrides(self.main.of_kind(column, decay), (PAPERS,), (*column, *decay.values()))
        return [overrides[:1] for overrides in found]

    def _row(self, settings: Settings) -> tuple[dict[str, Any], Column]:
        """The settings as a row of runs.csv, and its column of Table 1."""
        row = row_of_settings(settings)
        column = Column(row["data"], row["model"], row["optimizer"])
        if row["setting"] != default_setting(self.main.scale.name, *column):
            raise ConfigError(
                "this experiment takes η and λ from the grid of the scale's own settings, and the"
                " command line has changed them; leave those overrides out, or make a scale of them"
            )
        return row, column


def _kind(settings: Settings) -> tuple[object, ...]:
    row = row_of_settings(settings)
    return tuple(row[name] for name in KIND)


def _overrides(
    candidates: Candidates, protocols: Iterable[str], kind: Iterable[object]
) -> list[tuple[str, ...]]:
    if candidates.missing:
        names = " ".join(str(name) for name in kind if isinstance(name, str) and name)
        raise ChoiceMissing(
            f"{candidates.missing} of {candidates.expected} runs of {names} are missing, so that"
            " no η and λ can be chosen among them; train those first"
        )
    pairs = [
        (float(lr), float(rate))
        for protocol in protocols
        for lr, rate in candidates.choice(protocol)[["lr", "rate"]].itertuples(index=False)
    ]
    return list(dict.fromkeys(_override(*pair) for pair in pairs))


def _override(lr: float, rate: float) -> tuple[str, ...]:
    overrides = (f"optimizer.lr={lr!r}",)
    return overrides if math.isnan(rate) else (*overrides, f"decay.rate={rate!r}")
