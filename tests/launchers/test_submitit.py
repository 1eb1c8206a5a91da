"""submitit, really run: `make test-launchers`. Slurm's commands are played by scripts."""

import os
import signal
import sys
from pathlib import Path

import pytest
from small_sweep import FAILING, LONG, REPOSITORY, SWEEP, claimant, numbers, stamps, start, sweep

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="run by make test-launchers")

#: sbatch keeps the script, and runs each task of its array in the background.
SBATCH = """#!/bin/bash
cp "$1" "$FAKE_SLURM/script.sh"
echo x >> "$FAKE_SLURM/submissions"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
for task in $(seq 0 "$last"); do
  SLURM_JOB_ID=$((100 + task)) SLURM_ARRAY_JOB_ID=100 SLURM_ARRAY_TASK_ID=$task \\
    bash "$1" > /dev/null 2>&1 &
done
echo "Submitted batch job 100"
"""
#: srun runs what follows its options.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --output || $1 == --error ]] && shift; shift; done
exec "$@"
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same runs by the local launcher."""
    results = tmp_path_factory.mktemp("local")
    done = sweep("local", *SWEEP, results=results)
    assert done.returncode == 0, done.stderr
    return results


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Slurm's commands, for PATH."""
    folder = tmp_path_factory.mktemp("slurm")
    for name, script in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", "#!/bin/bash\n")):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


def test_submitit_trains_what_the_local_launcher_does_and_once(local: Path, tmp_path: Path) -> None:
    done = sweep("submitit_local", *SWEEP, results=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(numbers(tmp_path)) == 3
    assert numbers(tmp_path) == numbers(local)
    before = stamps(tmp_path)
    again = sweep("submitit_local", *SWEEP, results=tmp_path)
    assert "3 runs at scale smoke: 3 stored" in again.stdout
    assert stamps(tmp_path) == before


def test_a_failing_run_is_told_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = sweep("submitit_local", *FAILING, results=tmp_path)
    assert done.returncode == 1
    assert len(numbers(tmp_path)) == 1
    assert "decay.rate=9999" in done.stderr
    assert "1 of 2 runs failed" in done.stderr.splitlines()[-1]


def test_a_run_out_of_time_goes_on_in_the_next_job(tmp_path: Path) -> None:
    """SIGUSR2 is how Slurm tells; the run then equals one that nobody interrupted."""
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert sweep("local", *LONG, results=whole).returncode == 0
    process = start("submitit_local", *LONG, results=resumed)
    os.kill(claimant(resumed), signal.SIGUSR2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (log,) = (resumed / "smoke" / "submitit").glob("*/*_log.out")
    assert "Calling checkpoint method" in log.read_text()
    assert "Requeued job" in log.read_text()
    assert numbers(resumed) == numbers(whole)
    assert not list((resumed / "smoke" / "work").glob("*/checkpoint.pt"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_is_ended_fails_and_leaves_its_checkpoint(number: int, tmp_path: Path) -> None:
    process = start("submitit_local", *LONG, results=tmp_path)
    os.kill(claimant(tmp_path), number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "the job was lost" in errors
    assert "1 of 1 runs failed" in errors.splitlines()[-1]
    assert len(list((tmp_path / "smoke" / "work").glob("*/checkpoint.pt"))) == 1


def test_slurm_gets_one_array_for_a_sweep(local: Path, slurm: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{slurm}:{os.environ['PATH']}", "FAKE_SLURM": str(slurm)}
    options = ["hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90"]
    options += ["hydra.launcher.array_parallelism=2"]
    options += ["hydra.launcher.setup=['export FROM_SETUP=1']"]
    done = sweep("submitit_slurm", *SWEEP, *options, results=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == numbers(local)
    assert (slurm / "submissions").read_text().count("x") == 1
    script = (slurm / "script.sh").read_text()
    asked = {line.removeprefix("#SBATCH --") for line in script.splitlines() if "#SBATCH" in line}
    logs = tmp_path / "smoke" / "submitit"
    assert asked >= {"array=0-2%2", "time=90", "gpus-per-node=1", "partition=gpu", "mem=16GB"}
    assert asked >= {"signal=USR2@120", "open-mode=append", "job-name=lpwd", "cpus-per-task=1"}
    assert f"output={logs}/%A_%a/%A_%a_0_log.out" in asked
    assert "export FROM_SETUP=1" in script
    assert script.strip().endswith(f"{sys.executable} -u -m submitit.core._submit {logs}/%j")
    again = sweep("submitit_slurm", *SWEEP, *options, results=tmp_path, **environment)
    assert "3 stored" in again.stdout
    assert (slurm / "submissions").read_text().count("x") == 1


def test_without_slurm_there_is_one_line(tmp_path: Path) -> None:
    done = sweep("submitit_slurm", *SWEEP, results=tmp_path)
    assert done.returncode == 2
    assert "are you indeed on a slurm cluster" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_nothing_is_written_beside_the_results() -> None:
    assert not (REPOSITORY / ".submitit").exists()
