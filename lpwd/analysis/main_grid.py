"""TODO lpwd.analysis.main_grid."""

from __future__ import annotations

import numpy as np

from lpwd.config.rates import grid_rates
from lpwd.decay.rates import METHODS
from lpwd.store.frames import Results, only
from lpwd.store.identity import default_setting

#: The columns of runs.csv that tell kinds of runs apart: rates are chosen within one kind.
KIND = (
    *("data", "model", "optimizer", "method", "profile", "normalize", "layers", "coupled"),
    *("exclude", "setting"),
)


def main_grid(results: Results, scale: str) -> Results:
    """The runs that the paper's tables are made of: the decays as printed, settings as in configs/.

    Controls (profile, normalize, layers, exclude, coupled, from scratch), rates beside the grid,
    and runs with other epochs, images or weights than configs/ now says stay in the store but out
    of the tables.
    """
    runs, rates = results.runs, grid_rates(scale)
    columns = zip(runs["data"], runs["model"], runs["optimizer"], strict=True)
    settings = [default_setting(scale, *column, pretrained=True) for column in columns]
    cells = zip(runs["optimizer"], runs["lr"], runs["rate"].fillna(0), strict=True)
    printed = (
        (runs["profile"] == [METHODS[method][1] for method in runs["method"]])
        & (runs["normalize"] == "none")
        & (runs["layers"] == "block")
        & runs["coupled"]
        & (runs["exclude"] == "")
        & (runs["setting"].to_numpy() == np.asarray(settings, dtype=object))
        & np.asarray([cell in rates for cell in cells], dtype=bool)
    )
    return only(results, set(runs.loc[printed, "hash"]))
