"""run.json: one run on disk, sealed by a checksum."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

#: The layout of run.json.
VERSION = 1
Record = dict[str, Any]


def _strict(tree: Any) -> Any:
    """The same with null for NaN and infinities, which JSON does not have."""
    if isinstance(tree, dict):
        return {key: _strict(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_strict(item) for item in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def sealed(record: Record) -> bytes:
    """run.json: a line with the version, the run and the SHA-256 of the next; the record."""
    body = json.dumps(_strict(record), separators=(",", ":")).encode()
    seal = {"version": VERSION, "run": record["hash"], "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(seal).encode() + b"\n" + body


def fault_of(seal: bytes, body: bytes, run: str) -> str | None:
    """What is wrong with a run.json, if anything."""
    try:
        said = json.loads(seal)
        version, owner, digest = said["version"], said["run"], said["sha256"]
    except (ValueError, KeyError, TypeError):
        return "run.json is truncated or has no seal"
    if version != VERSION:
        return f"run.json has version {version!r}, not {VERSION}"
    if digest != hashlib.sha256(body).hexdigest():
        return "run.json is truncated or was changed after it was stored (its checksum differs)"
    return None if owner == run else "run.json belongs to another run"


def is_hash(name: str) -> bool:
    """Could this be a run's name?"""
    return len(name) == 12 and set(name) <= set("0123456789abcdef")
