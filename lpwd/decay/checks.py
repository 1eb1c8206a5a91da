"""What arguments must be, and the nearest known name to one that is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import Any


def check_choice(key: str, value: object, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest known name, if `value` is none of them."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{key}={value!r} is unknown{did_you_mean(value, known)}")


def check_flag(key: str, value: object) -> None:
    """Raise ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{key}={value!r} must be True or False")


def check_rate(key: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else -1.0
    except OverflowError:  # a whole number beyond every float
        number = math.inf
    if not 0 <= number < math.inf:
        raise ValueError(f"{key}={value!r} must be a finite number of at least 0")


class SetOnce:
    """What it was made with stays as it is: another value would be read by nobody.

    Nor would a value of another name, once its maker has set ``_is_made``.
    """

    _is_made = False

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self).__name__
        if name in vars(self) and not name.startswith("_"):
            raise AttributeError(f"{kind}.{name} is fixed; call remove() and make another {kind}")
        if self._is_made and not hasattr(self, name):
            known = [known for known in dir(self) if not known.startswith("_")]
            raise AttributeError(f"{kind} has no {name!r}{did_you_mean(name, known)}")
        super().__setattr__(name, value)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or the first of them."""
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known[:10])}{', …' if len(known) > 10 else ''}"
