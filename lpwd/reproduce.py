"""The one command behind the Makefile: train what a target needs and is not stored, then draw it.

python -m lpwd.reproduce table1 --scale smoke
python -m lpwd.reproduce all --scale mini --seeds 5
python -m lpwd.reproduce plan --scale paper
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from lpwd.analysis.main_grid import MainGrid
from lpwd.config import compose
from lpwd.config.errors import ConfigError, one_line_errors, reworded
from lpwd.config.paths import ROOT, SCALES
from lpwd.decay.checks import check_choice
from lpwd.draw import drawings
from lpwd.store import store
from lpwd.store.files import results_dir, write_whole
from lpwd.store.store import Store
from lpwd.sweep import cost, doctor, plan, recheck, workers

DRAWINGS = (*plan.PAPER, "claims", "report")
OTHERS = ("all", "draw", "demo", "doctor", "plan", "recheck", "forget", "clean-results")
COMMANDS = (*DRAWINGS, *plan.FURTHER, *OTHERS)
#: The exit status of a sweep with wrong input, or one that was stopped since all runs failed alike.
CANNOT_START = 2


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", help=", ".join(COMMANDS))
    parser.add_argument("--scale", default="", help=", ".join(SCALES))
    parser.add_argument("--seeds", default="0", help="fresh seeds at the chosen rates")
    parser.add_argument("--run", default="", help="for forget and recheck: the hash of a run")
    parser.add_argument("--runs", default="10", help="for recheck: how many runs")
    args = parser.parse_args(arguments)
    with one_line_errors():
        reworded(check_choice, "target", args.target, COMMANDS)
        seeds, count = whole("SEEDS", args.seeds), whole("RUNS", args.runs, least=1)
        scale = "smoke" if args.target == "demo" else args.scale or default_scale(args.target)
        reworded(check_choice, "SCALE", scale, SCALES)
        if args.target == "recheck":
            sys.exit(show_recheck(scale, count, args.run))
        sys.exit(perform(args.target, scale, seeds, args.run))


def perform(target: str, scale: str, seeds: int, run: str) -> int:
    """Do what was asked for; the exit code."""
    if target == "doctor":
        return show_doctor(scale, seeds or 5)
    if target == "plan":
        return show_plan(scale, seeds)
    if target == "forget":
        dropped = Store(scale).forget(run)
        print(f"{dropped} is dropped; the next `make` that needs it trains it again")
        return 0
    if target == "clean-results":
        return clean(scale)
    beside = ("controls", "rivals", "figure6") if target == "draw" else ()
    targets = ("table1", "figure1") if target == "demo" else (target,)
    if target in ("all", "draw"):
        targets = (*DRAWINGS, *beside, "outcome", *pages_of(scale))
    doctor.check_writable(results_dir(scale))
    failed = 0 if target == "draw" else train(targets, scale, seeds)
    with without_collection():
        main = draw(targets, scale)
    if target in ("demo", "table1"):
        from lpwd.draw import tables

        print(tables.show("table1", main))
    return failed


def pages_of(scale: str) -> tuple[str, ...]:
    """The repository's pages, where they tell of this scale and its committed results."""
    from lpwd.draw import pages  # with it comes matplotlib, half a second to import

    own = scale in pages.PAGES and results_dir(scale) == ROOT / "results" / scale
    return ("pages",) if own else ()


def train(targets: Sequence[str], scale: str, seeds: int) -> int:
    """One Hydra multirun for each experiment that has runs left; the worst of their exit codes.

    Ends with the first that cannot start, or was stopped: the next would fare no better.
    """
    worst = 0
    for name in [target for target in targets if target in plan.EXPERIMENTS]:
        print(f"\n{name}", flush=True)
        if count := stored_runs(name, scale, seeds):
            print(f"{count} runs at scale {scale}: {count} stored")
            continue
        arguments = f"+experiment={name}", f"scale={scale}", f"hydra.sweeper.seeds={seeds}"
        status = workers.run_sweep(*arguments)
        if status == CANNOT_START:
            sys.exit(status)
        worst = max(worst, status)
    return worst


def stored_runs(target: str, scale: str, seeds: int) -> int:
    """How many runs a target needs if all of them are stored; 0 if some are left."""
    stored = Store(scale).stored()
    if not stored:
        return 0
    need = plan.needs(target, scale, seeds, store.load(scale))
    names = {job.run for job in need.jobs}
    return 0 if need.waiting or names - stored else len(names)


@contextmanager
def without_collection() -> Iterator[None]:
    """Drawing is a tenth faster without garbage collection, for 0.1 GB more."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def draw(targets: Sequence[str], scale: str) -> MainGrid:
    """Write each target's files from what is stored, gaps included; returns what was drawn."""
    main = MainGrid.load(scale)
    for target in targets:
        if target == "report":
            from lpwd import report  # altair and its kin take a second to import

            files = report.files(main)
        else:
            files = drawings.files(target, main)
        for name, content in files.items():
            path = results_dir(scale) / name
            write_whole(path, content)
            print(f"wrote {shown(path)}")
    return main


def clean(scale: str) -> int:
    """Drop all that is stored of a scale, and say what that was."""
    folder, count = results_dir(scale), len(Store(scale).stored())
    if folder.exists():
        shutil.rmtree(folder)
    print(f"{count} runs of scale {scale} are dropped, and all of {shown(folder)}")
    return 0


def show_plan(scale: str, seeds: int) -> int:
    at_once, where = runs_at_once(scale)
    print(f"scale {scale}, {seeds} fresh seeds\n{where}")
    print("counting, and measuring a few steps of what was never trained here\n", flush=True)
    frame = plan.table(scale, seeds)
    print(frame.assign(hours=in_words(frame["hours"] / at_once)).to_string(index=False))
    if left := int(frame.set_index("target")["left"]["all"]):
        print(f"\nhours: an estimate {plan.ESTIMATE}\n{room(scale, left, at_once)}")
    return 0


def show_doctor(scale: str, seeds: int) -> int:
    """What runs of a scale need of this machine, and the hours they would take; 1 on any fault."""
    fine = True
    for finding in doctor.examine(scale):
        print(finding, flush=True)
        fine &= finding.fine
    print("… counting the runs", flush=True)
    at_once, where = runs_at_once(scale)
    without, seeded = plan.table(scale), plan.table(scale, seeds)
    left = seeded.set_index("target")["left"]
    disk = room(scale, int(left.drop(list(plan.PAPER)).sum()), at_once)
    print(disk)
    columns = [without["target"]]
    for frame in (without, seeded):
        columns += [frame["left"], in_words(frame["hours"] / at_once)]
    heads = ["target", "runs left", "hours", f"with SEEDS={seeds}", "hours"]
    print(f"\n{where}\nhours: an estimate {plan.ESTIMATE}")
    print(pd.DataFrame(zip(*columns, strict=True), columns=heads).to_string(index=False))
    return int(not (fine and disk.fine))


def runs_at_once(scale: str) -> tuple[int, str]:
    """How many runs this machine trains at once, and on what; 1, and why, if it cannot train."""
    cfg = compose.composed([f"scale={scale}"])
    try:
        slots = workers.worker_slots(cfg)
    except ConfigError as error:
        return 1, f"no hours can be estimated here: {error}"
    return len(slots), workers.described(cfg, slots)


def room(scale: str, runs: int, at_once: int) -> doctor.Finding:
    """Room on disk for so many runs, each of the scale's largest model."""
    largest = compose.scale_config(scale).grid.series[-1]
    cfg = cost.config_of(scale, largest)
    return doctor.disk([cfg.model], cfg, runs, at_once)


def in_words(hours: pd.Series) -> pd.Series:
    return hours.map("{:.2f}".format).replace("nan", "–")


def show_recheck(scale: str, count: int, run: str) -> int:
    """Train stored runs again and print what differs; 1 where anything does."""
    frame = recheck.again(scale, count, run)
    for row in frame.itertuples():
        found = f"differs in {row.differs}" if row.differs else "the same to the bit"
        print(f"{row.hash} {found}" + (f" (stored with {row.made_with})" if row.made_with else ""))
    differing = int((frame["differs"] != "").sum())
    print(f"{len(frame)} runs trained again, {differing} differ")
    return int(differing > 0)


def default_scale(target: str) -> str:
    """`paper` where there is a GPU; elsewhere the user is asked, and before anything is dropped."""
    import torch

    if torch.cuda.is_available() and target not in ("forget", "clean-results"):
        return "paper"
    raise ConfigError(
        f"which SCALE? smoke takes minutes, mini hours, and paper a GPU (`make plan SCALE=paper`"
        f" says what it takes here); as in `make {target} SCALE=smoke`"
    )


def whole(key: str, text: str, least: int = 0) -> int:
    if not text.isdigit() or int(text) < least:
        raise ConfigError(f"{key}={text} must be a whole number from {least} on, as in {key}=5")
    return int(text)


def shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    main()
