"""Where the clone is, and the names of its configs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


def names_in(group: str) -> tuple[str, ...]:
    """The configs of a group, as in configs/<group>/<name>.yaml."""
    return tuple(sorted(path.stem for path in (CONFIGS / group).glob("[!_]*.yaml")))


SCALES = names_in("scale")
