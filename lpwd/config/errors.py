"""Wrong input ends in one line; anything else keeps its traceback."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)

from lpwd.decay.checks import did_you_mean


class ConfigError(ValueError):
    """Wrong input from the user: one line that names the key and the mend."""


class ConfigErrors(ConfigError):
    """Several faults, each with a line of its own."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


class CannotWrite(ConfigError):
    """A folder that takes no more: full, read-only, or somebody else's."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell what the system says against writing `path` in one line, with the mend."""
    try:
        yield
    except OSError as error:
        fault = error.strerror or str(error)
        raise CannotWrite(
            f"cannot write {path}: {fault}; free room or allow writing there, or name another"
            " folder with LPWD_RESULTS; the same command then goes on"
        ) from None


def first_line(error: BaseException) -> str:
    """The first line of an error's message; of one without, its type."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Did memory run out? Python, torch, its kernels and the system each say so in other words."""
    said = ("allocate memory", "bad_alloc", "out of memory", "failed to map segment")
    said += ("_ALLOC_FAILED", "_ALLOCATION_FAILED")  # cuBLAS, cuDNN
    said += ("could not create a primitive",)  # oneDNN has no room for a kernel's code
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


@contextmanager
def one_line_errors(known_keys: Iterable[str] = ()) -> Iterator[None]:
    """End the process with one line, and status 2, on wrong input; 130 on Ctrl-C."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, and leaves the telling to us
    if isinstance(sys.stdout, TextIOWrapper):  # one that is not UTF-8 shows ? for η, ± and ✓
        sys.stdout.reconfigure(errors="replace")
    try:
        yield
    except (ConfigError, HydraException) as error:
        lines = error.lines if isinstance(error, ConfigErrors) else [one_line(error, known_keys)]
        for line in lines:
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        where, folders = error.filename or "a file", "LPWD_RESULTS, LPWD_DATA, LPWD_CACHE"
        mend = f"allow it there, or name another folder ({folders})"
        print(f"error: no permission for {where}; {mend}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def one_line(error: Exception, known_keys: Iterable[str] = ()) -> str:
    """The message of `error` in one line, with the nearest known name where one is meant."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} is unknown{did_you_mean(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return _how_to_write(str(error.override))
    cause = error.__cause__
    key = getattr(cause, "full_key", None)
    if isinstance(error, ConfigCompositionException) and key:
        fault = str(cause).splitlines()[0]
        if "not in struct" not in fault:
            return f"{key} takes no such value ({fault}); see the one in configs/"
        if key in known_keys:  # of another optimizer, say
            group = key.partition(".")[0]
            return f"{key} is no key of the chosen {group}: leave it out, or choose another {group}"
        return no_such_key(key, known_keys)
    return " ".join(str(error).split())


def no_such_key(key: str, known_keys: Iterable[str]) -> str:
    return f"there is no config key {key}{did_you_mean(key, known_keys)}"


def _how_to_write(override: str) -> str:
    key, _, value = override.partition("=")
    escaped = value.replace('"', '\\"')
    quoted = shlex.quote(f'{key}="{escaped}"')
    other = f"; other signs than letters, digits and -./: go in quotes, as in {quoted}"
    return (
        f"{override}: write key=value, as in scale=smoke; to sweep, -m and a=1,2"
        f"{other * bool(value)}"
    )


def reworded(function: Any, *args: Any) -> None:
    """Call a check of the library; its ValueError becomes a ConfigError."""
    try:
        function(*args)
    except ValueError as error:
        raise ConfigError(str(error)) from None
