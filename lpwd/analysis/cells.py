"""TODO lpwd.analysis.cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import intervals, paper, protocols
from lpwd.analysis.intervals import Interval
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import DIVERGED
from lpwd.config.rates import canonical_number, grid_size, number
from lpwd.store.frames import Results, only

TABLE1_METHODS = ("baseline", "l2", "wd", "lpwd")
TABLE3_METHODS = ("wd", "rwd", "pwd", "lpwd")


# -- Tables 1 and 3: the cells ---------------------------------------------------------------------


def table1(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a cell of Table 1, method by method: see `cell`."""
    return _cells(results, scale, "table1", TABLE1_METHODS, paper.columns(scale))


def table3(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a method of Table 3, the ablation: see `cell`."""
    return _cells(results, scale, "table3", TABLE3_METHODS, [paper.ablation_column(scale)])


def _cells(
    results: Results,
    scale: DictConfig,
    table: str,
    methods: Sequence[str],
    columns: Sequence[Column],
) -> pd.DataFrame:
    rows = [cell(results, scale, table, m, column) for m in methods for column in columns]
    return pd.DataFrame(rows)


def cell(
    results: Results, scale: DictConfig, table: str, method: str, column: Column
) -> dict[str, Any]:
    """All that is known of one method in one column; accuracies in percent.

    Nothing is chosen until the grid is whole: the best of a part may be far from the best of all.

    mean, std: the paper's protocol, of the run `hash` at lr and rate · heldout: the held-out
    protocol, of the runs `heldout_hash` · seeds_*: fresh seeds at the rates the paper's protocol
    chose, by its statistic (n without diverged ones) · heldout_seeds_*: the same by and at the
    rates of the held-out protocol · over_wd_*, heldout_over_wd_*: these less WD's in the same
    column, paired by seed (a diverged one counts as 0 %) · runs, diverged, expected: seed-0 runs
    stored, of which diverged, and how many the grid has · paper_*: the paper's own numbers.
    """
    which = {**column._asdict(), "method": method}
    runs = protocols.grid(results, **which)
    among = if_whole(results, scale, **which)
    best = protocols.chosen(among, **which)
    held_out = protocols.held_out_choice(among, **which)
    seeds, held_out_seeds = (
        protocols.fresh_values(among, **which),
        protocols.fresh_held_out(among, **which),
    )
    paper_mean, paper_std = paper.reported_cell(table, method, column)
    nan = math.nan
    return {
        **{"method": method, **column._asdict()},
        "mean": nan if best is None else best["best_mean"],
        "std": nan if best is None else best["best_std"],
        "lr": nan if best is None else best["lr"],
        "rate": nan if best is None else best["rate"],
        "hash": "" if best is None else best["hash"],
        "runs": len(runs),
        "diverged": int((runs["status"] == "diverged").sum()),
        "expected": grid_size(scale, column.optimizer, method),
        "heldout": held_out["report"].mean(),
        "heldout_lr": " ".join(map(number, held_out["lr"].unique())),
        "heldout_rate": " ".join(map(number, held_out["rate"].dropna().unique())),
        "heldout_hash": " ".join(held_out["hash"].unique()),
        **interval_of("seeds", seeds),
        "seeds_diverged": int(seeds.isna().sum()),
        **interval_of("heldout_seeds", held_out_seeds),
        **interval_of("over_wd", _over_wd(seeds, protocols.fresh_values, results, scale, which)),
        **interval_of(
            "heldout_over_wd",
            _over_wd(held_out_seeds, protocols.fresh_held_out, results, scale, which),
        ),
        **{"paper_mean": paper_mean, "paper_std": paper_std},
    }


def if_whole(results: Results, scale: DictConfig, **which: str) -> Results:
    """`results` if the grid of a method in a column is whole, else none of them."""
    expected = grid_size(scale, which["optimizer"], which["method"])
    return results if len(protocols.grid(results, **which)) >= expected else only(results, set())


def _over_wd(
    values: pd.Series,
    of: Callable[..., pd.Series],
    results: Results,
    scale: DictConfig,
    which: dict[str, str],
) -> pd.Series:
    """By seed, less what `of` gives for WD in the same column; empty for WD itself."""
    if which["method"] == "wd":
        return values.iloc[:0]
    wd = {**which, "method": "wd"}
    others = of(if_whole(results, scale, **wd), **wd)
    return (values.fillna(DIVERGED) - others.fillna(DIVERGED)).dropna()


def interval_of(prefix: str, values: pd.Series) -> dict[str, float]:
    """n, mean and interval of fresh seeds as <prefix>_n, _mean, _low and _high."""
    found = intervals.interval(values.tolist())
    return {
        f"{prefix}_n": found.n,
        f"{prefix}_mean": found.mean,
        f"{prefix}_low": found.low,
        f"{prefix}_high": found.high,
    }


def interval_in(row: Any, prefix: str) -> Interval:
    """What `interval_of` put into a row."""
    return Interval(*(getattr(row, f"{prefix}_{end}") for end in Interval._fields))


# -- Table 2 ---------------------------------------------------------------------------------------

PARAMETERS = {"lr_base": "η base", "rate_base": "λ base", "lr": "η", "rate": "λ"}


def table2(results: Results, scale: DictConfig) -> pd.DataFrame:
    """The rates that the scale's config gives, a row a value; no runs are needed.

    Columns: parameter, optimizer, factor (times the base), value, paper (the value at the same
    factor in the paper's Table 2).
    """
    rows = []
    for parameter in PARAMETERS:
        kind = parameter.removesuffix("_base")
        for optimizer in scale.grid.optimizers:
            factors = [1.0] if parameter.endswith("base") else scale.grid[f"{kind}_factors"]
            for factor in factors:
                rows.append(
                    {
                        "parameter": parameter,
                        "optimizer": optimizer,
                        "factor": float(factor),
                        "value": float(canonical_number(scale.base[optimizer][kind] * factor)),
                        "paper": _paper_rate(parameter, optimizer, factor),
                    }
                )
    return pd.DataFrame(rows)


def _paper_rate(parameter: str, optimizer: str, factor: float) -> float:
    """The paper's rate at this multiple of its base; NaN where its Table 2 has none."""
    reported = paper.reported("table2").set_index(["parameter", "optimizer"])["value"]
    kind = parameter.removesuffix("_base")
    base = reported.loc[[(f"{kind}_base", optimizer)]].iloc[0]
    values = reported.loc[[(parameter, optimizer)]]
    same = values[(values / base).map(canonical_number) == canonical_number(factor)]
    return float(same.iloc[0]) if len(same) else math.nan
