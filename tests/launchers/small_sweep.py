"""A sweep of three small runs, by the command that a user types, and what came of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lpwd.store.lock import newest_claim

REPOSITORY = Path(__file__).resolve().parents[2]

SMALL = "scale.images.train=64 scale.images.test=40 scale.zero_shot_images=5".split()
SWEEP = [*SMALL, "decay=baseline,lpwd", "decay.rate_factor=5,0.5", "scale.epochs=2"]
#: One run, long enough to be interrupted.
LONG = [*SMALL, "decay=lpwd", "scale.epochs=100", "machine.checkpoint_minutes=0"]
FAILING = [*SMALL, "decay=wd", "decay.rate=0.1,9999", "scale.epochs=2"]


def start(launcher: str, *args: str, results: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lpwd.train", "-m", "scale=smoke", "optimizer.lr_factor=1"]
    return subprocess.Popen(
        [*command, f"hydra/launcher={launcher}", *args],
        cwd=REPOSITORY,
        env={**os.environ, "LPWD_RESULTS": str(results), "HF_HUB_OFFLINE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sweep(
    launcher: str, *args: str, results: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    process = start(launcher, *args, results=results, **environment)
    out, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def numbers(results: Path) -> dict[str, Any]:
    """All that the runs measured, but for times: {hash: (summary, epochs, zero-shot curve)}."""
    found = {}
    for path in sorted((results / "smoke" / "runs").glob("*/run.json")):
        record = json.loads(path.read_bytes().partition(b"\n")[2])
        for times in ("seconds", "finished", "commit"):
            record["summary"].pop(times)
        for row in record["epochs"]:
            row.pop("seconds")
        found[record["hash"]] = (record["summary"], record["epochs"], record["zero_shot"])
    return found


def stamps(results: Path) -> dict[str, float]:
    """When each run was stored."""
    files = (results / "smoke" / "runs").glob("*/run.json")
    return {path.parent.name: path.stat().st_mtime for path in files}


def claimant(results: Path, other_than: int = 0) -> int:
    """The process that trains the one run, once there is a checkpoint; waits a minute for it."""
    work = results / "smoke" / "work"
    for _ in range(600):
        for checkpoint in work.glob("*/checkpoint.pt"):
            _, claim = newest_claim(checkpoint.parent)
            words = claim.read_text().split() if claim else []
            if len(words) > 1 and int(words[1]) != other_than:
                return int(words[1])
        time.sleep(0.1)
    raise AssertionError("no run began to train")


def interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Ctrl-C, and once more where Ray's own code swallowed it, as a user would."""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("Ctrl-C ended nothing")
