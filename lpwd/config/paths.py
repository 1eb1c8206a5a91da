"""Where the clone is, and the names of its configs."""

from __future__ import annotations

from pathlib import Path

from lpwd.config.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


def names_in(group: str) -> tuple[str, ...]:
    """The configs of a group, as in configs/<group>/<name>.yaml."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("[!_]*.yaml")))


def named(name: str) -> Path:
    """The absolute path that a user means: ~ is their home, and a relative one starts where the
    command was started. Raises ConfigError where there is no such home."""
    try:
        return Path(name).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"{name}: there is no such home folder; give the whole path") from None


SCALES = names_in("scale")
