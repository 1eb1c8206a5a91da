"""What a sweep says of its runs, and when it gives up."""

from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus

from lpwd.config.errors import ConfigError
from lpwd.config.paths import ROOT
from lpwd.store.frames import read_rows
from lpwd.store.store import Store
from lpwd.sweep.grids import Job
from lpwd.sweep.outcomes import Outcomes, SweepStopped, table


def job(name: str) -> Job:
    return Job((f"seed={name}",), name, {})


def done(result: str | Exception) -> JobReturn:
    returned = JobReturn()
    failed = isinstance(result, Exception)
    returned.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
    returned.return_value = result
    return returned


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return Outcomes(Store("smoke", tmp_path))


def test_a_fault_is_said_once_when_it_happens_and_again_at_the_end(
    outcomes: Outcomes, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes.ended(job("a"), done(ConfigError("no data")))
    assert capsys.readouterr().err == "failed: no data\n  the run: seed=a\n"
    outcomes.ended(job("b"), done(ConfigError("no data")))
    assert capsys.readouterr().err == ""
    outcomes.ended(job("c"), done(RuntimeError("two\nlines")))
    assert capsys.readouterr().err == "failed: RuntimeError: two lines\n  the run: seed=c\n"
    outcomes.print_failures()
    said = capsys.readouterr().err
    assert "2 failed: no data\n  the first: seed=a\n1 failed: RuntimeError: two lines" in said


def test_three_runs_in_a_row_that_fail_alike_stop_the_sweep(outcomes: Outcomes) -> None:
    fault = ConfigError("no data")
    for name in "ab":
        outcomes.ended(job(name), done(fault))
    outcomes.ended(job("c"), done("c test top-1 …"))  # not in a row
    for name in "de":
        outcomes.ended(job(name), done(fault))
    outcomes.ended(job("f"), done(RuntimeError("another fault")))
    for name in "gh":
        outcomes.ended(job(name), done(fault))
    with pytest.raises(SweepStopped, match=r"3 runs in a row failed alike.*: no data; mend it"):
        outcomes.ended(job("i"), done(fault))
    assert len(outcomes.failed) == 8


def test_a_run_that_is_another_one_stops_the_sweep_at_once(outcomes: Outcomes) -> None:
    with pytest.raises(SweepStopped, match="trained as run b where a was expected"):
        outcomes.ended(job("a"), done("b test top-1 …"))
    assert [of.run for of in outcomes.failed] == ["a"]


def test_a_run_that_never_comes_to_be_stored_fails_in_the_end(outcomes: Outcomes) -> None:
    for _ in range(5):
        outcomes.ended(job("a"), done("a is in training elsewhere (host 1)"))
    for _ in range(2):
        outcomes.ended(job("a"), done("a test top-1 …"))
    assert not outcomes.failed
    outcomes.ended(job("a"), done("a test top-1 …"))
    assert "not in the store" in outcomes.failed[job("a")]


def test_the_table_has_what_differs_best_first_in_80_columns() -> None:
    runs = read_rows(ROOT / "results" / "mini" / "runs.csv")
    lines = table(runs).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert lines[-2].startswith("top-1: test %, mean ± std of a run's best 2 epochs (the paper's")
    first = runs.iloc[0]
    same = ["data", "model", "optimizer", "normalize", "layers", "exclude", "pretrained", "seed"]
    few = runs[(runs[same] == first[same]).all(axis=1)]
    few = few[few["method"].isin(["wd", "lpwd"])].head(8).copy()
    numbers = ["best_mean", "best_std", "heldout_mean"]
    few.loc[few.index[3], ["status", *numbers]] = ["diverged", *[float("nan")] * 3]
    _, title, heads, *rows = table(few).splitlines()[:11]
    assert title == f"{first['data']}, 8 runs"
    assert heads.split() == ["method", "lr", "rate", "top-1", "held-out"]
    shown = [float(row.split()[3]) for row in rows[:-1]]
    assert shown == sorted(shown, reverse=True)
    assert rows[-1].split()[3:] == ["diverged"]
    largest = few["best_mean"].max()
    assert rows[0].split()[3:5] == [f"{largest:.2f}", "±"]
