"""What the bench and the tests of faults write; what they measure is not tested."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY))
from scripts import reliability
from scripts.bench import __main__ as bench
from scripts.bench.measure import Row, side_by_side

ROWS = [
    Row("a", "x", "y", 1.0, "≤ 1.05", 0.9, 1.1),
    Row("b", "x", "y", 1.2, "≥ 1.3"),
    Row("c", "x", "y", 3.0, ""),
]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS).assign(met=[row.met for row in ROWS], device="here")


def test_a_target_is_met_or_not() -> None:
    assert [row.met for row in ROWS] == [True, False, None]


def test_one_is_as_fast_as_itself() -> None:
    row = side_by_side("w", "c", "a", "", lambda: sum(range(9999)), lambda: None, turns=5)
    assert row.ratio == pytest.approx(row.ours / row.theirs)
    assert row.ratio > 1
    assert side_by_side("w", "c", "a", "", int, int, turns=5, speed=True).ratio > 0


def test_page_and_files_hold_every_row(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    monkeypatch.setattr(bench, "PAGE", page)
    monkeypatch.setattr(bench, "FILE", tmp_path / "bench.csv")
    bench.write(frame)
    bench.write(frame)  # again, over what it wrote
    text = page.read_text()
    assert "| a | x | y | 1 | 0.9 … 1.1 | ≤ 1.05 | ✓ |" in text
    assert "| b | x | y | 1.2 |  | ≥ 1.3 | **no** |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert pd.read_csv(tmp_path / "bench.csv")["ratio"].tolist() == [1.0, 1.2, 3.0]


def test_the_command() -> None:
    command = [sys.executable, "-m", "scripts.bench"]
    done = subprocess.run([*command, "start"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| starting a run | seconds, " in done.stdout
    wrong = subprocess.run([*command, "stat"], cwd=REPOSITORY, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "no bench is called stat" in wrong.stderr


REPORT = """<testsuites><testsuite><testcase name="one"><properties>
<property name="kills: at random" value="700" />
<property name="kills: ended as" value="5 → 6 MB" />
</properties></testcase><testcase name="two"><properties>
<property name="kills: at random" value="600" />
</properties>{more}</testcase></testsuite></testsuites>
"""


def test_figures_of_reliability_come_from_the_tests_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, report = tmp_path / "reliability.md", tmp_path / "report.xml"
    page.write_text("before\n<!-- reliability -->\n<!-- /reliability -->\n")
    report.write_text(REPORT.format(more=""))
    monkeypatch.setattr(reliability, "PAGE", page)
    monkeypatch.setattr(reliability, "FILE", tmp_path / "reliability.csv")
    monkeypatch.setattr(sys, "argv", ["reliability.py", str(report)])
    reliability.main()
    text = page.read_text()
    assert "| kills | at random | 1,300 |\n|  | ended as | 5 → 6 MB |\n<!-- /reliab" in text
    assert pd.read_csv(tmp_path / "reliability.csv")["value"].tolist() == ["1300", "5 → 6 MB"]
    report.write_text(REPORT.format(more="<failure/>"))
    with pytest.raises(SystemExit, match="tests failed; the page stays as it was"):
        reliability.main()
    assert page.read_text() == text
