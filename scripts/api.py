"""Write docs/api.md from the docstrings of what users call.

python -m scripts.api
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import lpwd
from lpwd import listing
from lpwd.analysis import cells, claims, controls, figures, intervals, main_grid, protocols
from lpwd.config.paths import ROOT
from lpwd.decay import opposing
from lpwd.draw import tables
from lpwd.store import summary
from lpwd.store.files import write_whole

PAGE = ROOT / "docs" / "api.md"

LIBRARY = [lpwd.WeightDecay, lpwd.OpposingRate, opposing.Opposing, lpwd.layer_index]
RESULTS = [
    main_grid.MainGrid,
    protocols.Candidates,
    cells.table1,
    figures.data,
    claims.data,
    controls.parts,
    summary.paper_statistic,
    summary.held_out,
    intervals.interval,
    tables.layout,
    listing.listing,
]

HEAD = """# API

Written from the docstrings by `python -m scripts.api`; a test keeps it so.

## The library

It needs torch alone: `import lpwd`.
"""

EXPERIMENTS = """## Stored results, in a notebook

From a clone, with the experiments' packages (`make setup`).
"""


def page() -> str:
    parts = [HEAD, *map(entry, LIBRARY), EXPERIMENTS, *map(entry, RESULTS)]
    return "\n".join(parts)


def entry(thing: Any) -> str:
    """A class with its public methods, or a function."""
    module = thing.__module__.partition(".")[2]
    name = thing.__name__ if thing in (getattr(lpwd, n) for n in lpwd.__all__) else ""
    title = f"lpwd.{name or f'{module}.{thing.__name__}'}"
    parts = [f"### {title}\n", block(thing)]
    if inspect.isclass(thing):
        parts += [f"#### .{name}\n\n{block(member)}" for name, member in members(thing)]
    return "\n".join(parts)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """What the class itself defines and explains for users, in its own order."""
    for name, member in vars(cls).items():
        explained = inspect.isfunction(member) or isinstance(member, property)
        if not name.startswith("_") and explained and member.__doc__:
            yield name, member


def block(thing: Any) -> str:
    """Signature and docstring as in the code."""
    signature = ""
    if not isinstance(thing, property):
        signature = f"{thing.__name__}{without_types(inspect.signature(thing))}\n\n"
    return f"```text\n{signature}{inspect.getdoc(thing)}\n```\n"


def without_types(signature: inspect.Signature) -> inspect.Signature:
    """Names and defaults; the text gives the types where they matter."""
    empty = inspect.Parameter.empty
    bare = [p.replace(annotation=empty) for p in signature.parameters.values() if p.name != "self"]
    return signature.replace(parameters=bare, return_annotation=empty)


if __name__ == "__main__":
    write_whole(PAGE, page().encode())
