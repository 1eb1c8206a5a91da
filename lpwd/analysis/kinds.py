"""Kinds of runs beside the paper's grid: what the controls and the rivals are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from lpwd.analysis import paper
from lpwd.analysis.main_grid import printed
from lpwd.decay.methods import METHODS
from lpwd.store.frames import DECAY_COLUMNS

NAMES = {**paper.METHOD_NAMES, "cwd": "CWD", "cwd_mirrored": "CWD, mask mirrored"}


class Kind(NamedTuple):
    """One kind of runs: a decay, and where the weights came from."""

    method: str
    profile: str = ""  # the method's own
    normalize: str = "none"
    layers: str = "block"
    exclude: str = ""
    towards: str = ""
    scratch: bool = False

    @property
    def name(self) -> str:
        changes = {
            f" × {self.profile}": self.profile,
            ", mean over weights λ": self.normalize == "params",
            ", mean over layers λ": self.normalize == "mean",
            f", a layer is a {self.layers}": self.layers != "block",
            ", no norms and biases": self.exclude,
            f", towards {self.towards}": self.towards,
            ", from scratch": self.scratch,
        }
        said = "".join(text for text, applies in changes.items() if applies)
        return NAMES.get(self.method, self.method) + said

    @property
    def is_printed(self) -> bool:
        """Is it one of the paper's methods as it prints them?"""
        return self.method in paper.METHOD_NAMES and self == Kind(self.method)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of runs.csv that select its runs, but for column, rates and setting."""
        own = {name: value for name, value in self._asdict().items() if name in DECAY_COLUMNS}
        profile = self.profile or METHODS[self.method].profile
        return printed(self.method) | own | {"profile": profile}


BASELINE, L2, WD, RWD, PWD, LPWD, CWD, CWD_MIRRORED = map(
    Kind, ("baseline", "l2", "wd", "rwd", "pwd", "lpwd", "cwd", "cwd_mirrored")
)
#: LPWD that decays as much as PWD at the same η and λ; as printed it decays 1.5 times as much.
SCALED_LPWD = Kind("lpwd", normalize="params")


def names_of(runs: pd.DataFrame) -> list[str]:
    """The decay of each row of runs.csv, with all in which it differs from the printed one."""
    names = []
    for values in zip(*(runs[column] for column in DECAY_COLUMNS), strict=True):
        decay: dict[str, Any] = dict(zip(DECAY_COLUMNS, values, strict=True))
        coupled = decay.pop("coupled")
        method = METHODS.get(decay["method"])  # None: a decay of somebody's own, taken out again
        if method is None or decay["profile"] == method.profile:
            decay["profile"] = ""
        names.append(Kind(**decay).name + ("" if coupled else ", λ without η"))
    return names
