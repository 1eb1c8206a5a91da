"""What the tests of faults share: sweeps that can be killed, and what a store holds at the end.

`Warm` starts sweeps without the seconds that importing torch takes: each is forked from a process
that has imported it. Run as a script, this file is that process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

REPOSITORY = Path(__file__).resolve().parents[1]

#: Settings that make a run of `smoke` last a second, with every kind of state in its checkpoint:
#: Adam's moments, the drop path of Swin, R_op, a held-out set, a zero-shot curve.
SMALL = [
    "scale=smoke",
    "scale.images.train=96",
    "scale.images.heldout=20",
    "scale.images.test=40",
    "scale.batch_size=16",
    "scale.zero_shot_images=5",
    "scale.r_op_every=2",
    "machine.checkpoint_minutes=0",
]
SWEEP = ["-m", *SMALL, "scale.epochs=5", "decay=baseline,lpwd", "model=convnext_micro,swin_micro"]
ONE_RUN = [*SMALL, "scale.epochs=2", "decay=baseline"]

#: What differs from one training of the same run to the next.
VARIES = {"seconds", "finished", "commit"}


def environment(results: Path, **more: str) -> dict[str, str]:
    own = {"LPWD_RESULTS": str(results), "NO_ALBUMENTATIONS_UPDATE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own, **more}


def same_as(whole: Path, results: Path) -> bool:
    """Equal in every number; and nothing is left behind."""
    leftovers = [*results.glob("smoke/work/*/*"), *results.glob("smoke/runs/.*")]
    assert not leftovers
    return numbers_of(results) == numbers_of(whole)


def numbers_of(results: Path) -> dict[str, Any]:
    """Every number of every run in a store: of its directories, and of the collected files."""
    from lpwd.store.store import Store

    with patch.dict(os.environ, LPWD_RESULTS=str(results)):
        store = Store("smoke")
    frames = store.collect()
    numbers: dict[str, Any] = {}
    for name, frame in zip(frames._fields, frames, strict=True):
        kept = frame.drop(columns=[c for c in VARIES if c in frame])
        numbers[name] = json.loads(kept.to_json(orient="values", double_precision=15))
    for folder in sorted(path for path in store.runs.glob("*") if ".damaged" not in path.name):
        record: Any = store.read(folder.name)
        summary = {k: v for k, v in record["summary"].items() if k not in VARIES}
        epochs = [{k: v for k, v in row.items() if k != "seconds"} for row in record["epochs"]]
        numbers[folder.name] = {**record, "summary": summary, "epochs": epochs}
    return numbers


def checkpoints(results: Path) -> list[Path]:
    return list(results.glob("smoke/work/*/checkpoint.pt"))


class Warm:
    """Starts `python -m lpwd.train` from a process in which everything is imported."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, **question: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *arguments: str, results: Path, **question: Any) -> int:
        """The number of a new process; its output goes to `results`.log.

        die_at: it kills itself just before so many changes to its results. spare: bytes of memory
        that it may still take. nobody: without the superuser's rights. env: more variables.
        """
        args = [*arguments, "hydra/launcher=basic"] if "-m" in arguments else list(arguments)
        return self._ask(arguments=args, results=str(results), **question)

    def wait(self, pid: int) -> int:
        """The exit code of a started process; negative: the signal that killed it."""
        return self._ask(wait=pid)

    def run(self, *arguments: str, results: Path, **question: Any) -> tuple[int, str]:
        """Exit code and output of a process."""
        code = self.wait(self.start(*arguments, results=results, **question))
        return code, log(results).read_text()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def log(results: Path) -> Path:
    return results.with_name(f"{results.name}.log")


def trained(results: Path) -> list[str]:
    """The runs that processes of `Warm` trained, one entry for each time that one was begun."""
    return results.with_name(f"{results.name}.trained").read_text().split()


# -- the process that has imported everything -----------------------------------------------------


def serve() -> None:
    import timm  # noqa: F401
    import torch

    import lpwd.sweep.workers
    import lpwd.train
    import lpwd.training.loop  # noqa: F401
    from lpwd.config.compose import composed
    from lpwd.inputs.augment import import_albumentations
    from lpwd.inputs.data import digits

    torch.set_num_threads(1)
    digits()
    import_albumentations()
    composed(["scale=smoke"])  # Hydra imports as it reads; `nobody` may not reach Python's files
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            _become(**question)
        print(json.dumps(answer), flush=True)


def _become(
    arguments: list[str],
    results: str,
    die_at: int | None = None,
    spare: int | None = None,
    nobody: bool = False,
    env: dict[str, str] | None = None,
) -> None:
    """The life of a forked process: the command, and its end."""
    code = 1
    try:
        folder = Path(results)
        output = os.open(log(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(environment(folder, **(env or {})))
        _note_trainings(folder)
        changes = _count_changes(folder, die_at)
        if spare is not None:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (taken + spare, taken + spare))
        if nobody and os.geteuid() == 0:
            os.setuid(65534)
        sys.argv = ["lpwd.train", *arguments]
        code = _command()
        print(f"changes: {len(changes)}", flush=True)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command() -> int:
    import traceback

    from lpwd.train import main

    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _note_trainings(results: Path) -> None:
    """Write down which runs this process begins to train."""
    from lpwd.training import loop

    whole = loop.train

    def noting(cfg: Any, store: Any, run: str) -> Any:
        with results.with_name(f"{results.name}.trained").open("a") as file:
            file.write(f"{run}\n")
        return whole(cfg, store, run)

    loop.train = noting


CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


def _count_changes(results: Path, die_at: int | None) -> list[str]:
    """Every change to the results as it is about to be made; at number `die_at`, SIGKILL."""
    changes: list[str] = []

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event not in CHANGES:
            return
        if str(args[0]).startswith(str(results)):
            changes.append(f"{event} {args[0]}")
            if len(changes) - 1 == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return changes


# -- killing --------------------------------------------------------------------------------------


def kill_at_random(
    warm: Warm, results: Path, rng: random.Random, kills: int, seconds: float = 3
) -> Counter[str]:
    """Start the sweep again and again and kill it, until it ends or was killed so often.

    Returns how often it was killed at which stage.
    """
    stages: Counter[str] = Counter()
    while stages.total() < kills:
        pid = warm.start(*SWEEP, results=results)
        time.sleep(rng.uniform(0.2, seconds))
        kill(pid)
        if warm.wait(pid) == 0:
            break
        stages[stage(results)] += 1
    return stages


def stage(results: Path) -> str:
    """How far a sweep had come when it was killed, from what it left."""
    if list(results.glob("smoke/work/*/.checkpoint.pt.*")):
        return "while a checkpoint was written"
    if checkpoints(results):
        return "in a run with a checkpoint"
    if list(results.glob("smoke/work/*/claim-*")):
        return "in a run without one yet"
    return "between runs, or before the first"


def kill(pid: int) -> bool:
    """SIGKILL; False if the process is no longer there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def foreign_claim(work: Path) -> Path:
    """A claim of another machine, whose heartbeat is now."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "claim-1"
    path.write_text("elsewhere.example 123 another-boot/pid:[1]")
    return path


def wait_until(true: Any, seconds: float = 120) -> bool:
    """Wait for a condition; False where it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


# -- damage ---------------------------------------------------------------------------------------

HOW = ["empty", "truncated", "bit flipped"]


def damage(path: Path, how: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if how == "empty":
        content.clear()
    elif how == "truncated":
        del content[rng.randrange(1, len(content)) :]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


class Hostile:
    """Pickled, it is a command: it makes a file."""

    def __init__(self, owned: Path) -> None:
        self.owned = owned

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.owned}",)


class Rows:
    """A training whose state is one number."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"number": 1}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = {"number": state["number"]}


if __name__ == "__main__":
    serve()
