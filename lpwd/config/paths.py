"""TODO lpwd.config.paths."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


def names_in(group: str) -> tuple[str, ...]:
    """The configs of a group, as in configs/<group>/<name>.yaml."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("[!_]*.yaml")))


SCALES = names_in("scale")


def is_folder(name: str) -> bool:
    """Is there such a folder? No name at all, as one too long, is no reason to fail."""
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, RuntimeError):
        return False
