"""The cells of Tables 1, 2 and 3: all that is known of each, a row a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import paper, protocols
from lpwd.analysis.intervals import columns_of, equivalence, interval
from lpwd.analysis.main_grid import MainGrid
from lpwd.analysis.paper import Column
from lpwd.analysis.protocols import HELD_OUT, PAPERS, PROTOCOLS, Candidates
from lpwd.config.rates import canonical_number, number

TABLE1_METHODS = ("baseline", "l2", "wd", "lpwd")
TABLE3_METHODS = ("wd", "rwd", "pwd", "lpwd")


@cache
def table1(main: MainGrid) -> pd.DataFrame:
    """A row a cell of Table 1, method by method: see `cell`."""
    return _cells(main, "table1", TABLE1_METHODS, paper.columns(main.scale))


@cache
def table3(main: MainGrid) -> pd.DataFrame:
    """A row a method of Table 3, the ablation: see `cell`."""
    return _cells(main, "table3", TABLE3_METHODS, [paper.ablation_column(main.scale)])


def _cells(
    main: MainGrid, table: str, methods: Sequence[str], columns: Sequence[Column]
) -> pd.DataFrame:
    return pd.DataFrame([cell(main, table, m, column) for m in methods for column in columns])


def cell(main: MainGrid, table: str, method: str, column: Column) -> dict[str, Any]:
    """All that is known of one method in one column, and the paper's own numbers as paper_*."""
    paper_mean, paper_std = paper.reported_cell(table, method, column)
    effect = paper_mean - paper.reported_cell(table, "wd", column)[0]
    return {
        "method": method,
        **column._asdict(),
        **found(main.cell(column, method), main.cell(column, "wd"), effect),
        "paper_mean": paper_mean,
        "paper_std": paper_std,
    }


def found(candidates: Candidates, wd: Candidates, effect: float) -> dict[str, Any]:
    """What is known of runs among which rates are chosen; accuracies in percent.

    `wd`: WD's runs of the same column · `effect`: the paper's own difference from WD.

    mean, std: the paper's protocol, of the run `hash` at lr and rate · heldout: the held-out
    protocol, of the runs `heldout_hash` · seeds_*: fresh seeds at the rates the paper's protocol
    chose, by its statistic (n without diverged ones) · heldout_seeds_*: the same by and at the
    rates of the held-out protocol · over_wd_*, heldout_over_wd_*: these less WD's in the same
    column, paired by seed (a diverged one counts as 0 %), and *_margin: the smaller of
    `intervals.MARGINS`, times `effect`, that it is within · runs, diverged, expected: seed-0 runs
    stored, of which diverged, and how many the grid has.
    """
    best = candidates.runs.merge(candidates.choice(PAPERS)[["hash"]], on="hash")
    chosen: Any = best.iloc[0] if len(best) else dict.fromkeys(best, math.nan) | {"hash": ""}
    held_out = candidates.choice(HELD_OUT)
    seeds, held_out_seeds = candidates.fresh(PAPERS), candidates.fresh(HELD_OUT)
    return {
        "mean": chosen["best_mean"],
        "std": chosen["best_std"],
        "lr": chosen["lr"],
        "rate": chosen["rate"],
        "hash": chosen["hash"],
        "runs": len(candidates.first),
        "diverged": int((candidates.first["status"] == "diverged").sum()),
        "expected": candidates.expected,
        "heldout": held_out["report"].mean(),
        "heldout_lr": " ".join(map(number, held_out["lr"].unique())),
        "heldout_rate": " ".join(map(number, held_out["rate"].dropna().unique())),
        "heldout_hash": " ".join(held_out["hash"].unique()),
        **columns_of("seeds", seeds),
        "seeds_diverged": int(seeds.isna().sum()),
        **columns_of("heldout_seeds", held_out_seeds),
        **_over_wd("over_wd", candidates, wd, PAPERS, effect),
        **_over_wd("heldout_over_wd", candidates, wd, HELD_OUT, effect),
    }


def _over_wd(
    prefix: str, candidates: Candidates, wd: Candidates, protocol: str, effect: float
) -> dict[str, float]:
    """Fresh seeds less WD's in the same column, and their margin; empty for WD itself."""
    mine = candidates.fresh(protocol)
    values = protocols.difference(mine.iloc[:0] if candidates is wd else mine, wd.fresh(protocol))
    margin, _ = equivalence(interval(values), effect)
    return {**columns_of(prefix, values), f"{prefix}_margin": margin}


@cache
def by_seed(main: MainGrid) -> pd.DataFrame:
    """Top-1 (%) at the chosen rates, a row a seed of a method in a column by a protocol.

    Columns: data, model, optimizer, method, protocol, seed (0 chose the rates), top1 (NaN:
    diverged). Cells whose grid is not whole have no row.
    """
    found = [
        {**column._asdict(), "method": method, "protocol": protocol, "seed": seed, "top1": top1}
        for column in paper.columns(main.scale)
        for method in paper.METHOD_NAMES
        for protocol in PROTOCOLS
        for seed, top1 in main.by_seed(column, method, protocol).items()
    ]
    return pd.DataFrame(found, columns=[*Column._fields, "method", "protocol", "seed", "top1"])


#: The rows of Table 2; those of L2 where it has a λ_base of its own.
PARAMETERS = ("lr_base", "rate_base", "lr", "rate", "l2_base", "l2")


def table2(scale: DictConfig) -> pd.DataFrame:
    """The rates that the scale's config gives, a row a value; no runs are needed.

    Columns: parameter, optimizer, factor (times the base), value, paper (the value at the same
    factor in the paper's Table 2).
    """
    rows = []
    for parameter in PARAMETERS:
        kind = parameter.removesuffix("_base")
        axis = "lr_factors" if kind == "lr" else "rate_factors"
        for optimizer in scale.grid.optimizers:
            if kind not in scale.base[optimizer]:
                continue
            factors = [1.0] if parameter.endswith("base") else scale.grid[axis]
            for factor in factors:
                rows.append(
                    {
                        "parameter": parameter,
                        "optimizer": optimizer,
                        "factor": float(factor),
                        "value": float(canonical_number(scale.base[optimizer][kind] * factor)),
                        # NaN where its Table 2 has none
                        "paper": _paper_rates().get(
                            (parameter, optimizer, canonical_number(factor)), math.nan
                        ),
                    }
                )
    return pd.DataFrame(rows)


@cache
def _paper_rates() -> dict[tuple[str, str, float], float]:
    """{(parameter, optimizer, multiple of its base): value} of the paper's Table 2."""
    rows = list(paper.reported("table2").itertuples(index=False, name=None))
    bases = {(parameter, optimizer): value for parameter, optimizer, value in rows}
    found = {}
    for parameter, optimizer, value in rows:
        base = bases[f"{parameter.removesuffix('_base')}_base", optimizer]
        found[parameter, optimizer, canonical_number(value / base)] = value
    return found
