"""The commands a user types, end to end, on a real (small) sweep."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from conftest import REPOSITORY
from faults import Warm

from lpwd.reproduce import CANNOT_START, main
from lpwd.store.files import write_whole
from lpwd.store.store import Store
from lpwd.sweep import recheck, workers

SWEEP = "-m scale=smoke decay=baseline,wd decay.rate_factor=5,0.5 optimizer.lr_factor=1".split()
SMALL = "scale.epochs=2 scale.images.train=64 scale.images.test=40 scale.zero_shot_images=5".split()
FAILING = "-m scale=smoke decay=wd decay.rate=0.1,9999".split()


def command(*args: str, results: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LPWD_RESULTS": str(results), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", *args],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Reproduce = Callable[..., Done]


@pytest.fixture
def reproduce(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Reproduce:
    """`python -m lpwd.reproduce`, without the seconds that a new Python takes to import."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # put back when the test ends

    def run(*args: str, results: Path) -> Done:
        monkeypatch.setenv("LPWD_RESULTS", str(results))
        with pytest.raises(SystemExit) as end:
            main(args)
        assert isinstance(end.value.code, int)
        return Done(end.value.code, *capfd.readouterr())

    return run


def rows(results: Path) -> pd.DataFrame:
    return pd.read_csv(results / "smoke" / "runs.csv")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the four runs of Figure 1."""
    folder = tmp_path_factory.mktemp("results")
    done = command("lpwd.reproduce", "figure1", "--scale", "smoke", results=folder)
    assert done.returncode == 0, done.stderr
    assert "4 runs at scale smoke: 0 stored" in done.stdout
    return folder


def test_figure1_is_drawn_from_the_runs_that_it_trained(results: Path) -> None:
    assert len(rows(results)) == 4
    for ending in ("csv", "png", "pdf"):
        assert (results / "smoke" / f"figure1.{ending}").stat().st_size > 500
    assert not list((results / "smoke" / "work").glob("*/checkpoint.pt"))


def test_a_second_call_trains_nothing_and_draws_the_same(
    results: Path, reproduce: Reproduce
) -> None:
    files = sorted(path for path in (results / "smoke").glob("*.*"))
    before = [path.read_bytes() for path in files]
    done = reproduce("figure1", "--scale", "smoke", results=results)
    assert "4 runs at scale smoke: 4 stored" in done.stdout
    assert [path.read_bytes() for path in files] == before


def test_stored_runs_trained_again_are_the_same_and_a_changed_number_is_found(
    results: Path, tmp_path: Path, reproduce: Reproduce
) -> None:
    shutil.copytree(results, tmp_path / "results")
    store = Store("smoke", tmp_path / "results" / "smoke")
    names = sorted(store.stored())
    record = store.read(names[1])
    assert record is not None
    for name in names[1:]:
        store.forget(name)
    record["epochs"][2]["train_loss"] *= 1 + 1e-15
    store.save(record)
    done = reproduce("recheck", "--scale", "smoke", results=tmp_path / "results")
    assert done.returncode == 1, done.stderr
    said = {f"{names[0]} the same to the bit", f"{names[1]} differs in epochs.train_loss"}
    assert said <= set(done.stdout.splitlines())
    assert "2 runs trained again, 1 differ" in done.stdout
    unknown = "recheck", "--scale", "smoke", "--run", "ffff"
    said = reproduce(*unknown, results=tmp_path / "results").stderr
    assert "no run of scale smoke begins with ffff" in said


def test_an_interrupted_recheck_goes_on_with_what_it_had_drawn(
    results: Path, tmp_path: Path, reproduce: Reproduce
) -> None:
    shutil.copytree(results, tmp_path / "results")
    store = Store("smoke", tmp_path / "results" / "smoke")
    drawn = sorted(store.stored())[:2]
    folder = store.root / "work" / "recheck"
    done = Store("smoke", folder / "smoke")
    record = store.read(drawn[0])
    assert record is not None
    record["epochs"][0]["test_top1"] += 1  # seen if, and only if, it is not trained once more
    done.save(record)
    write_whole(folder / recheck.DRAWN, "\n".join(drawn).encode())
    said = reproduce(*("recheck", "--scale", "smoke", "--runs", "2"), results=tmp_path / "results")
    assert f"trained again: {' '.join(drawn)}" in said.stdout
    assert f"{drawn[0]} differs in epochs.test_top1" in said.stdout
    assert f"{drawn[1]} the same to the bit" in said.stdout
    assert not folder.exists()


def test_clean_results_says_what_it_drops(
    results: Path, tmp_path: Path, reproduce: Reproduce
) -> None:
    shutil.copytree(results, tmp_path / "results")
    done = reproduce("clean-results", "--scale", "smoke", results=tmp_path / "results")
    assert "4 runs of scale smoke are dropped" in done.stdout
    assert not (tmp_path / "results" / "smoke").exists()


def test_forgetting_one_run_trains_exactly_that_one(results: Path, reproduce: Reproduce) -> None:
    before = rows(results).set_index("hash")
    run = before.index[2]
    done = reproduce("forget", "--scale", "smoke", "--run", run, results=results)
    assert done.returncode == 0, done.stderr
    assert run not in set(rows(results)["hash"])
    done = reproduce("figure1", "--scale", "smoke", results=results)
    assert "4 runs at scale smoke: 3 stored" in done.stdout
    numbers = ["best_mean", "heldout_mean", "final_loss", "r_op_share", "weight_norm"]
    after = rows(results).set_index("hash")
    pd.testing.assert_frame_equal(after[numbers], before[numbers])
    kept = before.index != run
    assert (after.loc[kept, "finished"] == before.loc[kept, "finished"]).all()
    assert after.loc[run, "finished"] > before.loc[run, "finished"]


def test_claims_and_tables_say_what_is_missing(results: Path, reproduce: Reproduce) -> None:
    done = reproduce("claims", "--scale", "smoke", results=results)
    assert done.returncode == 0, done.stderr
    assert "not measured" in (results / "smoke" / "claims.md").read_text()


def test_plan_counts(results: Path, reproduce: Reproduce) -> None:
    done = reproduce("plan", "--scale", "smoke", results=results)
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.split()}
    needed, shared, stored, running, left = map(int, lines["figure1"][1:6])
    assert (needed, stored, running, left) == (4, 4, 0, 0)
    assert shared == 4  # with Table 1
    assert re.search(r"✓ disk: .* GB", done.stdout)


def test_both_launchers_train_baseline_once_and_nothing_twice(warm: Warm, tmp_path: Path) -> None:
    done = command("lpwd.train", *SWEEP, *SMALL, results=tmp_path / "local")
    assert done.returncode == 0, done.stderr
    assert "3 runs at scale smoke: 0 stored" in done.stdout
    for stored in (0, 3):  # Hydra's own launcher
        code, said = warm.run(*SWEEP, *SMALL, results=tmp_path / "basic")
        assert code == 0, said
        assert f"3 runs at scale smoke: {stored} stored" in said
    local, basic = rows(tmp_path / "local"), rows(tmp_path / "basic")
    assert sorted(local["method"]) == ["baseline", "wd", "wd"]
    numbers = ["hash", "best_mean", "final_loss", "weight_norm"]
    pd.testing.assert_frame_equal(local[numbers], basic[numbers])


def test_a_failing_run_is_named_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = command("lpwd.train", *FAILING, *SMALL, results=tmp_path)
    assert done.returncode == 1
    assert len(rows(tmp_path)) == 1
    assert "decay.rate=9999" in done.stderr
    assert "ηλ_i" in done.stderr
    assert "1 of 2 runs failed" in done.stderr.splitlines()[-1]


def test_runs_that_fail_alike_stop_the_sweep(tmp_path: Path) -> None:
    """The reason is said at once and at the end; the fourth run is not tried."""
    sweep = "-m scale=smoke decay=wd decay.rate=9999 seed=0,1,2,3 machine.runs=1".split()
    done = command("lpwd.train", *sweep, *SMALL, results=tmp_path)
    assert done.returncode == 2, done.stderr
    assert re.search(r"\bfailed: decay.*ηλ_i.*\n  the run: .* seed=0 ", done.stderr)
    assert re.search(r"\b3 failed: decay.*ηλ_i", done.stderr)
    assert done.stderr.splitlines()[-1].startswith("error: 3 runs in a row failed alike")


def test_make_all_ends_with_the_first_experiment_that_cannot_start(
    tmp_path: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses, begun = iter([1, CANNOT_START]), []

    def run_sweep(*arguments: str) -> int:
        begun.append(arguments[0])
        return next(statuses)

    monkeypatch.setattr(workers, "run_sweep", run_sweep)
    assert reproduce("all", "--scale", "smoke", results=tmp_path).returncode == CANNOT_START
    assert begun == ["+experiment=table1", "+experiment=table3"]  # failed runs end no `make`


def test_one_run_and_its_second_call(warm: Warm, tmp_path: Path) -> None:
    results, arguments = tmp_path / "results", ("scale=smoke", "seed=3", *SMALL)
    first = warm.run(*arguments, results=results)[1]
    said = r"[0-9a-f]{12} test top-1 [\d.]+ \(of the best epoch\), last [\d.]+, on \S.*; stored in "
    assert re.match(said, first)
    second = warm.run(*arguments, results=results)[1].partition("\n")[0]
    told = first.partition("; stored in ")[0]
    assert second == f"{told}; stored already, another seed= trains anew"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["scale=smoke", "decay=lpwdd"], "decay=lpwdd is unknown; did you mean 'lpwd'?"),
        (["smoke"], "smoke: write key=value, as in scale=smoke"),
        (["scale=smoke", "decay=wd,,lpwd"], "decay=wd,,lpwd: write key=value"),
        (["scale=smoke", "decay.ratee=1"], "no config key decay.ratee; did you mean 'decay.rate'?"),
        (["-m", "scale=smoke,mini"], "scale: one sweep is of one scale"),
        (["-m", "scale=smoke", "decay.ratee=1,2"], "did you mean 'decay.rate'?"),
    ],
)
def test_bad_input_ends_in_one_line(warm: Warm, args: list[str], said: str, tmp_path: Path) -> None:
    code, printed = warm.run(*args, results=tmp_path / "results")
    assert code == 2
    line, *rest = printed.splitlines()
    assert said in line
    assert rest == ["changes: 0"]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["tabel1", "--scale", "smoke"], "did you mean 'table1'?"),
        (["table1", "--scale", "smok"], "did you mean 'smoke'?"),
        (["table1", "--scale", "smoke", "--seeds", "x"], "SEEDS=x"),
        (["forget", "--scale", "smoke", "--run", "00"], "no runs of scale smoke"),
        (["forget", "--scale", "smoke"], "which RUN?"),
        (["forget", "--run", "00"], "which SCALE?"),
        (["clean-results"], "which SCALE?"),
        (["recheck", "--scale", "smoke", "--runs", "0"], "RUNS=0 must be a whole number from 1 on"),
    ],
)
def test_wrong_targets_end_in_one_line(
    args: list[str], said: str, tmp_path: Path, reproduce: Reproduce
) -> None:
    done = reproduce(*args, results=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_results_folder_that_cannot_be_written(tmp_path: Path, reproduce: Reproduce) -> None:
    (tmp_path / "file").write_text("in the way")
    done = reproduce("table2", "--scale", "smoke", results=tmp_path / "file")
    assert done.returncode == 2
    assert "cannot write" in done.stderr
