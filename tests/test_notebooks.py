"""The notebooks open without results, choose their scale first, and hold no logic or output.

That they run in a kernel is nbmake's to show: `python -m pytest --nbmake notebooks`.
"""

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

from lpwd.draw import figures

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path: Path) -> list[str]:
    notebook: Any = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [source.removeprefix("%matplotlib inline\n") for source in sources]


def test_there_is_one_for_every_figure_and_for_tables_and_claims() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert names == {*figures.PLOTS, "claims", "tables"}
    text = (FOLDER / "tables.ipynb").read_text()
    assert all(f'\\"{target}\\"' in text for target in ("table1", "table2", "table3"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_without_any_results(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LPWD_RESULTS", str(tmp_path))
    monkeypatch.setenv("SCALE", "smoke")
    names: dict[str, Any] = {}
    for source in code_cells(path):
        exec(compile(source, path.name, "exec"), names)
    assert names["SCALE"] == "smoke"
    assert not list(tmp_path.rglob("*.*"))  # reading leaves nothing behind


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_output_and_without_logic(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (not cell.outputs and cell.execution_count is None)
    first, *others = [ast.parse(source) for source in code_cells(path)]
    assert "SCALE" in ast.unparse(first)
    logic = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Lambda)
    assert not [node for tree in others for node in ast.walk(tree) if isinstance(node, logic)]
