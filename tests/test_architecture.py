"""The rules of docs/architecture.md, read from the code's own imports."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from conftest import REPOSITORY

#: From the bottom up: a folder imports from itself and from folders before it.
ORDER = (
    "decay",
    "config",
    "inputs",
    "store",
    "training",
    "analysis",
    "sweep",
    "draw",
    "report",
)
#: What only some folders may import: drawing stays out of training and analysis.
DRAWING = {"matplotlib", "altair", "jinja2", "vl_convert", "itables"}
DRAWERS = {"draw", "report"}


class Import(NamedTuple):
    importer: str
    module: str  # lpwd's, or the first part of another package's
    name: str
    lazy: bool  # inside a function, or for types alone


def modules() -> dict[str, Path]:
    paths = [*(REPOSITORY / "lpwd").rglob("*.py"), *(REPOSITORY / "hydra_plugins").rglob("*.py")]
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths]
    return {n.removesuffix(".__init__"): path for n, path in zip(names, paths, strict=True)}


MODULES = modules()


def imports() -> Iterator[Import]:
    for importer, path in MODULES.items():
        tree = ast.parse(path.read_text())
        top = {id(node) for node in tree.body}
        for node in ast.walk(tree):
            lazy = id(node) not in top
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(importer, _own(alias.name), "", lazy)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    module = full if full in MODULES else _own(node.module)
                    yield Import(importer, module, alias.name, lazy)


def _own(name: str) -> str:
    return name if name in MODULES else name.partition(".")[0]


def folder(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "lpwd" and len(parts) > 1 else ""


def test_folders_import_downwards_only() -> None:
    upwards = [
        i
        for i in imports()
        if folder(i.importer) in ORDER
        and i.module in MODULES
        and (
            folder(i.module) not in ORDER[: ORDER.index(folder(i.importer)) + 1]
            # the package itself: its version and the library's three names
            and not (i.module == "lpwd" and folder(i.importer) != "decay")
        )
    ]
    assert upwards == []


def test_no_module_imports_in_a_circle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for i in imports():
        if i.module in MODULES and i.module not in ("lpwd", i.importer):
            graph[i.importer].add(i.module)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_library_needs_torch_alone() -> None:
    needed = {
        (i.module, i.lazy)
        for i in imports()
        if folder(i.importer) == "decay" and i.module not in MODULES
    }
    others = {need for need in needed if need[0] not in {*sys.stdlib_module_names, "torch"}}
    assert others <= {("timm", True)}


def test_training_and_analysis_do_not_draw() -> None:
    drawing = {i.importer for i in imports() if i.module in DRAWING}
    assert {folder(importer) for importer in drawing} <= DRAWERS


def test_private_names_stay_in_their_module() -> None:
    private = [i for i in imports() if i.module in MODULES and i.name.startswith("_")]
    assert [i for i in private if i.name != "__version__"] == []


def test_modules_can_be_read_in_a_sitting() -> None:
    scripts = (REPOSITORY / "scripts").rglob("*.py")
    lines = {path: len(path.read_text().splitlines()) for path in [*MODULES.values(), *scripts]}
    assert {path.name: n for path, n in lines.items() if n > 300} == {}
    assert lines[MODULES["lpwd.training.loop"]] < 200
