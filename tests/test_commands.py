"""The commands a user types, end to end, on a real (small) sweep."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY

from lpwd.store.files import write_whole
from lpwd.store.store import Store
from lpwd.sweep import recheck

SWEEP = "-m scale=smoke decay=baseline,wd decay.rate_factor=5,0.5 optimizer.lr_factor=1".split()
SMALL = "scale.epochs=2 scale.images.train=64 scale.images.test=40 scale.zero_shot_images=5".split()
FAILING = "-m scale=smoke decay=wd decay.rate=0.1,9999".split()


def command(*args: str, results: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LPWD_RESULTS": str(results), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *args], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )


def train(*args: str, results: Path) -> subprocess.CompletedProcess[str]:
    return command("-m", "lpwd.train", *args, results=results)


def reproduce(*args: str, results: Path) -> subprocess.CompletedProcess[str]:
    return command("-m", "lpwd.reproduce", *args, results=results)


def rows(results: Path) -> pd.DataFrame:
    return pd.read_csv(results / "smoke" / "runs.csv")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the four runs of Figure 1."""
    folder = tmp_path_factory.mktemp("results")
    done = reproduce("figure1", "--scale", "smoke", results=folder)
    assert done.returncode == 0, done.stderr
    assert "4 runs at scale smoke: 0 stored" in done.stdout
    return folder


def test_figure1_is_drawn_from_the_runs_that_it_trained(results: Path) -> None:
    assert len(rows(results)) == 4
    for ending in ("csv", "png", "pdf"):
        assert (results / "smoke" / f"figure1.{ending}").stat().st_size > 500
    assert not list((results / "smoke" / "work").glob("*/checkpoint.pt"))


def test_a_second_call_trains_nothing_and_draws_the_same(results: Path) -> None:
    files = sorted(path for path in (results / "smoke").glob("*.*"))
    before = [path.read_bytes() for path in files]
    done = reproduce("figure1", "--scale", "smoke", results=results)
    assert "4 runs at scale smoke: 4 stored" in done.stdout
    assert [path.read_bytes() for path in files] == before


def test_stored_runs_trained_again_are_the_same_and_a_changed_number_is_found(
    results: Path, tmp_path: Path
) -> None:
    shutil.copytree(results, tmp_path / "results")
    store = Store("smoke", tmp_path / "results" / "smoke")
    names = sorted(store.stored())
    record = store.read(names[1])
    assert record is not None
    store.forget(names[1])
    record["epochs"][2]["train_loss"] *= 1 + 1e-15
    store.save(record)
    done = reproduce("recheck", "--scale", "smoke", results=tmp_path / "results")
    assert done.returncode == 1, done.stderr
    same = {f"{name} the same to the bit" for name in names if name != names[1]}
    assert same | {f"{names[1]} differs in epochs.train_loss"} <= set(done.stdout.splitlines())
    assert "4 runs trained again, 1 differ" in done.stdout
    assert (
        "no run of scale smoke begins with ffff"
        in reproduce(
            *("recheck", "--scale", "smoke", "--run", "ffff"), results=tmp_path / "results"
        ).stderr
    )


def test_an_interrupted_recheck_goes_on_with_what_it_had_drawn(
    results: Path, tmp_path: Path
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


def test_clean_results_says_what_it_drops(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "results")
    done = reproduce("clean-results", "--scale", "smoke", results=tmp_path / "results")
    assert "4 runs of scale smoke are dropped" in done.stdout
    assert not (tmp_path / "results" / "smoke").exists()


def test_forgetting_one_run_trains_exactly_that_one(results: Path) -> None:
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


def test_claims_and_tables_say_what_is_missing(results: Path) -> None:
    done = reproduce("claims", "--scale", "smoke", results=results)
    assert done.returncode == 0, done.stderr
    assert "not measured" in (results / "smoke" / "claims.md").read_text()


def test_plan_counts(results: Path) -> None:
    done = reproduce("plan", "--scale", "smoke", results=results)
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.split()}
    needed, shared, stored, running, left = map(int, lines["figure1"][1:6])
    assert (needed, stored, running, left) == (4, 4, 0, 0)
    assert shared == 4  # with Table 1
    assert re.search(r"room on disk .* GB", done.stdout)


def test_one_sweep_trains_baseline_once_and_nothing_twice(tmp_path: Path) -> None:
    done = train(*SWEEP, *SMALL, results=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 runs at scale smoke: 0 stored" in done.stdout
    assert sorted(rows(tmp_path)["method"]) == ["baseline", "wd", "wd"]
    assert "3 runs at scale smoke: 3 stored" in train(*SWEEP, *SMALL, results=tmp_path).stdout


def test_hydras_own_launcher_gives_the_same_numbers(tmp_path: Path) -> None:
    for launcher in ("local", "basic"):
        done = train(*SWEEP, *SMALL, f"hydra/launcher={launcher}", results=tmp_path / launcher)
        assert done.returncode == 0, done.stderr
    local, basic = rows(tmp_path / "local"), rows(tmp_path / "basic")
    numbers = ["hash", "best_mean", "final_loss", "weight_norm"]
    pd.testing.assert_frame_equal(local[numbers], basic[numbers])


def test_a_failing_run_is_told_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = train(*FAILING, *SMALL, results=tmp_path)
    assert done.returncode == 1
    assert len(rows(tmp_path)) == 1
    assert "decay.rate=9999" in done.stderr
    assert "ηλ_i" in done.stderr
    assert "1 of 2 runs failed" in done.stderr.splitlines()[-1]


def test_ctrl_c_in_make_lets_the_sweep_end_by_itself(tmp_path: Path) -> None:
    args = [sys.executable, "lpwd/reproduce.py", "figure1", "--scale", "smoke"]
    environment = {**os.environ, "LPWD_RESULTS": str(tmp_path)}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    stopped = subprocess.Popen(args, cwd=REPOSITORY, env=environment, **cast(Any, pipes))
    work = tmp_path / "smoke" / "work"
    for _ in range(600):
        if list(work.glob("*/claim*")):
            break
        time.sleep(0.1)
    os.killpg(stopped.pid, signal.SIGINT)  # what a terminal does
    _, errors = stopped.communicate(timeout=25)
    assert stopped.returncode == 130, errors.decode()
    assert errors.decode().count("stopped; the same command goes on from here") == 1
    assert "leaked" not in errors.decode()


def test_one_run_and_its_second_call(tmp_path: Path) -> None:
    first = train("scale=smoke", "seed=3", *SMALL, results=tmp_path)
    said = r"[0-9a-f]{12} test top-1 [\d.]+ \(of the best epoch\), last [\d.]+; stored in "
    assert re.match(said, first.stdout), first.stderr
    second = train("scale=smoke", "seed=3", *SMALL, results=tmp_path).stdout
    told = first.stdout.partition("; stored in ")[0]
    assert second.strip() == f"{told}; stored already, another seed= trains anew"


def test_ctrl_c_leaves_a_checkpoint_and_the_sweep_goes_on_from_it(tmp_path: Path) -> None:
    args = [sys.executable, "-m", "lpwd.train", "-m", "scale=smoke", "decay=lpwd", "seed=0,1"]
    args += ["scale.epochs=4000", "scale.images.train=64", "scale.images.test=40"]
    args += ["machine.checkpoint_minutes=0"]
    environment = {**os.environ, "LPWD_RESULTS": str(tmp_path)}
    sweep = subprocess.Popen(args, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE)
    claims = tmp_path / "smoke" / "work"
    for _ in range(600):
        if len(list(claims.glob("*/checkpoint.pt"))) == 2:
            break
        time.sleep(0.1)
    asked = time.time()
    sweep.send_signal(signal.SIGINT)
    _, errors = sweep.communicate(timeout=25)
    assert sweep.returncode == 130, errors.decode()
    left = list(claims.glob("*/checkpoint.pt"))
    assert len(left) == 2
    assert all(path.stat().st_mtime > asked for path in left)
    assert not list(claims.glob("*/claim-*"))
    assert not list((tmp_path / "smoke" / "runs").glob("*"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["scale=smoke", "decay=lpwdd"], "decay=lpwdd is unknown; did you mean 'lpwd'?"),
        (["scale=smoke", "model=convnext_mirco"], "did you mean 'convnext_micro'?"),
        (["smoke"], "smoke: write key=value, as in scale=smoke"),
        (["scale=smoke", "decay=wd,,lpwd"], "decay=wd,,lpwd: write key=value"),
        (["scale=smoke", "decay.ratee=1"], "no config key decay.ratee; did you mean 'decay.rate'?"),
        (["scale=smoke", "decay.rate=-1"], "decay.rate=-1 must be"),
        (["-m", "scale=smoke,mini"], "scale: one sweep is of one scale"),
        (["-m", "scale=smoke", "decay.ratee=1,2"], "did you mean 'decay.rate'?"),
    ],
)
def test_bad_input_ends_in_one_line(args: list[str], said: str, tmp_path: Path) -> None:
    done = train(*args, results=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list(tmp_path.rglob("*"))


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
def test_wrong_targets_end_in_one_line(args: list[str], said: str, tmp_path: Path) -> None:
    done = reproduce(*args, results=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_results_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = reproduce("table2", "--scale", "smoke", results=tmp_path / "file")
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_offline_wandb_keeps_one_run_each(tmp_path: Path) -> None:
    done = train(*SWEEP, *SMALL, "wandb.mode=offline", results=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "smoke" / "wandb").glob("offline-run-*"))) == 3


def test_environment_yml_agrees_with_pyproject() -> None:
    import tomllib

    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    python = next(d for d in environment["dependencies"] if str(d).startswith("python"))
    assert python.replace("python ", "") == project["requires-python"]
    pip = next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
    extras = re.fullmatch(r"-e \.\[(.*)\]", pip[0])
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_constraints_fit_pyproject() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *optional["experiments"], *optional["dev"]]
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in pins if "==" in line and line[0] != "#")
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    for requirement in map(Requirement, wanted):
        if requirement.name in pinned:
            assert pinned[requirement.name] in requirement.specifier, requirement
