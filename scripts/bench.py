"""Measure what lpwd costs, each time against what does without it, side by side in one process.

    python scripts/bench.py              all of it; writes results/bench/ and docs/performance.md
    python scripts/bench.py step loader  some of it; prints only

A value is a ratio of seconds, ours ÷ theirs, the two measured in turns: the median over the turns
with its quartiles, after a warm-up. Absolute seconds are this machine's. Run it while nothing else
runs: the ratios are sound on a busy machine, the sweeps' are not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import lpwd
from lpwd.config import compose, machine
from lpwd.config.check import without_hydra
from lpwd.config.paths import ROOT
from lpwd.draw.readme import filled
from lpwd.inputs import data, models
from lpwd.inputs.loaders import device_batches
from lpwd.store import identity, run_file, store
from lpwd.store.files import write_whole
from lpwd.store.store import Store
from lpwd.sweep import cost, plan
from lpwd.training import build, loop, record

FOLDER = ROOT / "results" / "bench"
PAGE = ROOT / "docs" / "performance.md"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

#: The real images where they are, else the digits: what is in the images changes no timing.
DATA = "cifar100" if os.environ.get("LPWD_DATA") else "digits"
SHORT = ["scale.images.train=1280", "scale.images.heldout=200", "scale.images.test=300"]


class Row(NamedTuple):
    """One measurement: ours ÷ theirs, or what `case` says; `must` is its target."""

    work: str
    case: str
    against: str
    ratio: float
    must: str
    low: float = float("nan")
    high: float = float("nan")
    ours: float = float("nan")  # seconds
    theirs: float = float("nan")
    turns: int = 1

    @property
    def met(self) -> bool | None:
        """Does the ratio keep its target? None where there is none."""
        if not self.must:
            return None
        bound = float(self.must[1:].strip())
        return self.ratio <= bound if self.must[0] == "≤" else self.ratio >= bound


# -- measuring ------------------------------------------------------------------------------------


def seconds(function: Callable[[], Any]) -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def side_by_side(
    work: str,
    case: str,
    against: str,
    must: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    turns: int = 30,
    speed: bool = False,
) -> Row:
    """Both in turns; `speed` turns the ratio around: how many times faster ours is."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(turns)]
    ratios = [b / a if speed else a / b for a, b in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    # Of medians, not the median ratio: one slow turn of either must not pull it.
    ratio = other / mine if speed else mine / other
    return Row(work, case, against, ratio, must, low, high, mine, other, turns)


def config(*overrides: str) -> DictConfig:
    return compose.composed([f"machine.device={DEVICE.type}", *overrides])


def training(*overrides: str) -> loop.Training:
    """A run of scale mini, ready to train, its batches and models as there."""
    return build.prepare(config("scale=mini", f"data={DATA}", *SHORT, *overrides))


# -- the optimizer's step -------------------------------------------------------------------------

#: AdamW and SGD with their own decay: what a decay costs that torch fuses into its step.
FUSED = {"adam": torch.optim.AdamW, "sgdm": torch.optim.SGD}
STEP_MUST = {"adam": "≤ 1.35", "sgdm": "≤ 1.45"}


def bench_step() -> Iterator[Row]:
    """The step and its decay pass, wherever it runs, over ConvNeXt-T's weights.

    Both of a pair step the same weights: where these lie in memory shows in the seconds.
    """
    for name in FUSED:
        against = f"fused {FUSED[name].__name__}"
        for method in ("wd", "rwd", "pwd", "lpwd"):
            must = "≤ 1.05" if (method, name) == ("wd", "adam") else STEP_MUST[name]
            model = _with_gradients()
            pair = _step(model, method, name), _step(model, "torch", name)
            yield side_by_side("optimizer step", f"{name} {method}", against, must, *pair)
        pair = _step(_with_gradients(), "lpwd", name), _step(_with_gradients(), "pwd", name)
        yield side_by_side("optimizer step", f"{name} lpwd", f"{name} pwd", "≤ 1.05", *pair)


def _with_gradients() -> nn.Module:
    """ConvNeXt-T with gradients that stay."""
    model = models.create(config("model=convnext_tiny", "model.pretrained=false").model, 100)
    model = cast(nn.Module, model.to(DEVICE, memory_format=torch.channels_last))  # pyright: ignore
    for p in model.parameters():
        p.grad = torch.randn_like(p) * 1e-3
    return model


def _step(model: nn.Module, method: str, name: str) -> Callable[[], Any]:
    """A step of the model by torch's own decay, or by ours."""
    momentum: Any = {"momentum": 0.9} if name == "sgdm" else {}
    own = {"weight_decay": 0.01} if method == "torch" else {}
    kind: Any = FUSED[name] if method == "torch" or name == "sgdm" else torch.optim.Adam
    optimizer = kind(model.parameters(), lr=1e-5, fused=True, **momentum, **own)
    if method == "torch":
        return optimizer.step
    decay = lpwd.WeightDecay(optimizer, model, method, 0.01)

    def step() -> None:
        decay.before_forward()
        optimizer.step()

    return step


# -- a training step, an epoch --------------------------------------------------------------------


def bench_training() -> Iterator[Row]:
    """A whole training step with LPWD, against the same loop with torch's AdamW."""
    cases = [("convnext_micro", 64, 60), ("swin_micro", 64, 60), ("convnext_tiny", 512, 4)]
    for model, batch, turns in cases:
        x, y = torch.randn(batch, 3, 32, 32, device=DEVICE), torch.zeros(batch, device=DEVICE)
        x, y = x.to(memory_format=torch.channels_last), y.long()
        ours, theirs = (_loop(model, x, y, method) for method in ("lpwd", "torch"))
        case = f"{model}, batch {batch}"
        yield side_by_side("training step", case, "AdamW", "≤ 1.02", ours, theirs, turns)


def _loop(name: str, x: Tensor, y: Tensor, method: str) -> Callable[[], Any]:
    torch.manual_seed(0)
    model = models.create(config(f"model={name}", "model.pretrained=false").model, 100)
    model = cast(nn.Module, model.to(DEVICE, memory_format=torch.channels_last))  # pyright: ignore
    kind = torch.optim.AdamW if method == "torch" else torch.optim.Adam
    own: Any = {"weight_decay": 0.01} if method == "torch" else {}
    optimizer = kind(model.parameters(), lr=1e-4, fused=True, **own)
    if method != "torch":
        lpwd.WeightDecay(optimizer, model, method, 0.01)

    def step() -> None:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bench_epoch() -> Iterator[Row]:
    """An epoch of the trainer, evaluation included, against a bare loop and a usual one."""
    for model in ("convnext_micro", "swin_micro"):
        mine = training(f"model={model}", "decay=lpwd")
        ours = _epoch(mine)
        bare = _bare_epoch(training(f"model={model}", "decay=baseline"))
        case = f"{model}, decay lpwd"
        yield side_by_side("epoch", case, "bare loop, AdamW", "≤ 1.05", ours, bare, 12)
        as_usual = ["decay=baseline", "machine.channels_last=false"]
        usual = _usual_epoch(training(f"model={model}", *as_usual))
        against = "DataLoader, 2 workers, albumentations"
        yield side_by_side("epoch", case, against, "≥ 1.3", ours, usual, 8, speed=True)
        # What a trainer could reach whose own work took no time at all.
        yield side_by_side(
            "epoch", f"{model}, bare loop, AdamW", against, "", bare, usual, 8, speed=True
        )


def bench_shares() -> Iterator[Row]:
    """What an epoch of the trainer is spent on: its parts timed alone, the rest is the model's."""
    for model in ("convnext_micro", "swin_micro"):
        t = training(f"model={model}", "decay=lpwd")
        _epoch(t)()
        whole = _median_seconds(_epoch(t))
        x, y = next(iter(t.loader.epoch(t.epoch)))
        F.cross_entropy(t.model(x), y).backward()  # gradients for the optimizer
        shares = {name: _median_seconds(part) / whole for name, part in _parts(t).items()}
        shares["forward and backward"] = 1 - sum(shares.values())
        for name, share in shares.items():
            yield Row("share of an epoch", f"{model}: {name}", "–", share, "", ours=share * whole)


def _parts(t: loop.Training) -> dict[str, Callable[[], Any]]:
    def step() -> None:
        t.decay.before_forward()
        t.optimizer.step()

    return {
        "batches": lambda: [None for _ in t.loader.epoch(t.epoch)],
        "decay and optimizer": lambda: [step() for _ in range(len(t.loader))],
        "evaluation": lambda: [record.correct(t, s) for s in (t.images.test, t.images.heldout)],
    }


def _median_seconds(function: Callable[[], Any], turns: int = 8) -> float:
    return statistics.median(seconds(function) for _ in range(turns))


def bench_r_op() -> Iterator[Row]:
    """The trainer's epoch with R_op measured on its default steps, against none measured."""
    for model in ("convnext_micro", "swin_micro"):
        with_r_op = training(f"model={model}", "decay=wd")
        without = training(f"model={model}", "decay=wd")
        assert without.opposing is not None
        without.opposing.remove()
        without.opposing = None
        pair = _epoch(with_r_op), _epoch(without)
        case = f"{model}, every {with_r_op.cfg.scale.r_op_every} steps"
        yield side_by_side("R_op measured", case, "the same epoch without", "≤ 1.03", *pair, 12)


def _epoch(t: loop.Training) -> Callable[[], Any]:
    return lambda: loop.train_epoch(t, lambda: None)


def _batches(t: loop.Training, images: data.Images, size: int) -> list[tuple[Tensor, Tensor]]:
    made = device_batches(
        images, batch_size=size, mean=t.cfg.data.mean, std=t.cfg.data.std, device=t.device
    )
    return [(x.clone(memory_format=torch.channels_last), y) for x, y in made]


def _bare_epoch(t: loop.Training) -> Callable[[], Any]:
    """The same work on tensors that are ready in memory, with torch's AdamW."""
    scale = t.cfg.scale
    training_set = _batches(t, t.images.train, scale.batch_size)
    test_sets = [_batches(t, s, scale.eval_batch_size) for s in (t.images.test, t.images.heldout)]
    optimizer = torch.optim.AdamW(t.model.parameters(), lr=5e-4, weight_decay=0.02, fused=True)

    def epoch() -> None:
        _train_on(t.model, optimizer, training_set)
        for batches in test_sets:
            _evaluate_on(t.model, batches)

    return epoch


def _train_on(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any) -> float:
    model.train()
    total = torch.zeros((), device=DEVICE)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach() * len(y)
    return float(total)


@torch.inference_mode()
def _evaluate_on(model: nn.Module, batches: Any) -> float:
    model.eval()
    return float(torch.cat([model(x).argmax(1) == y for x, y in batches]).float().mean())


class Usual(torch.utils.data.Dataset):
    """Images as a usual PyTorch project reads them: one at a time, through albumentations."""

    def __init__(self, images: data.Images, cfg: DictConfig, train_set: bool) -> None:
        import albumentations

        normalize = albumentations.Normalize(mean=cfg.mean, std=cfg.std)
        flip = [albumentations.HorizontalFlip(p=0.5)] if train_set else []
        chain = [*flip, normalize, albumentations.ToTensorV2()]
        self.images, self.transform = images, albumentations.Compose(chain)

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.transform(image=np.asarray(self.images.pixels[index]))["image"]
        return image, int(self.images.labels[index])


def _usual_loader(t: loop.Training, images: data.Images, train_set: bool) -> Any:
    scale = t.cfg.scale
    size = scale.batch_size if train_set else scale.eval_batch_size
    return torch.utils.data.DataLoader(
        Usual(images, t.cfg.data, train_set),
        batch_size=size,
        shuffle=train_set,
        num_workers=2,
        persistent_workers=True,
        pin_memory=DEVICE.type == "cuda",
    )


def _usual_epoch(t: loop.Training) -> Callable[[], Any]:
    loader = _usual_loader(t, t.images.train, True)
    test_sets = [_usual_loader(t, s, False) for s in (t.images.test, t.images.heldout)]
    optimizer = torch.optim.AdamW(t.model.parameters(), lr=5e-4, weight_decay=0.02)

    def moved(batches: Any) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x.to(DEVICE), y.to(DEVICE)) for x, y in batches)

    def epoch() -> None:
        _train_on(t.model, optimizer, moved(loader))
        for batches in test_sets:
            _evaluate_on(t.model, moved(batches))

    return epoch


# -- images ---------------------------------------------------------------------------------------


def bench_loader() -> Iterator[Row]:
    """Images prepared a second: the device loader against albumentations in a DataLoader."""
    t = training("decay=baseline")
    usual = _usual_loader(t, t.images.train, True)
    epochs = iter(range(10**9))

    def ours() -> None:
        for _ in t.loader.epoch(next(epochs)):
            pass

    def theirs() -> None:
        for _ in usual:
            pass

    against = "DataLoader, 2 workers, albumentations"
    yield side_by_side(
        "images prepared", "device loader", against, "≥ 10", ours, theirs, 8, speed=True
    )


# -- runs and sweeps ------------------------------------------------------------------------------


@contextmanager
def folder_of_results() -> Iterator[Path]:
    """An empty results/ for a `with` block, for this process and its children."""
    before = os.environ.get("LPWD_RESULTS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LPWD_RESULTS"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("LPWD_RESULTS")
            if before is not None:
                os.environ["LPWD_RESULTS"] = before


def bench_start() -> Iterator[Row]:
    """Starting a run on cached images, after imports: until the first batch could be trained on."""
    arguments = ["scale=mini", f"data={DATA}"]
    if DATA == "digits":
        arguments += SHORT
    cfg = config(*arguments)
    build.prepare(cfg)
    times = [seconds(lambda: next(iter(build.prepare(cfg).loader.epoch(1)))) for _ in range(10)]
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    yield Row(
        "starting a run", f"seconds, {DATA}", "–", middle, "≤ 0.3", low, high, middle, turns=10
    )


SWEEP = ["decay=wd,rwd,pwd,lpwd", "optimizer.lr=1e-3,5e-4,1e-4", "seed=0,1,2,3,4"]  # 60 runs
FRESH = 6  # of them, each in a process of its own


def bench_sweep() -> Iterator[Row]:
    """60 smoke runs by two workers, against their own seconds and against a process for each."""
    with folder_of_results():
        estimate = _estimated_seconds()
        command = [sys.executable, "-m", "lpwd.train", "-m", "scale=smoke", "machine.runs=2"]
        begun = time.time()
        wall = seconds(lambda: _quiet([*command, *SWEEP]))
        stored = store.load("smoke").runs
        own = float(stored["seconds"].sum()) / 2
        first, last = _first_start_and_last_end(stored)
    against = "their training seconds ÷ 2"
    yield Row("a sweep", f"{len(stored)} smoke runs", against, wall / own, "≤ 1.10", ours=wall)
    yield Row("a sweep", "from its first run to its last", against, (last - first) / own, "")
    yield Row("a sweep", "seconds until its first run trains", "–", first - begun, "")
    for name in ("torch", "lpwd.train", "timm"):
        fresh = _median_seconds(lambda name=name: _import(name), turns=5)
        yield Row("a sweep", f"seconds to start Python and import {name}", "–", fresh, "")
    with folder_of_results():
        alone = seconds(_fresh_processes) * len(stored) / FRESH
    against = f"a process for each ({FRESH} measured)"
    ratio, case = alone / wall, f"{len(stored)} smoke runs"
    yield Row("a sweep", case, against, ratio, "≥ 3", ours=wall, theirs=alone)
    yield Row("`make plan`'s estimate", "that sweep", "the time it took", estimate / wall, "≥ 0.8")
    span = "from its first run to its last"
    yield Row("`make plan`'s estimate", "that sweep", span, estimate / (last - first), "")


def _first_start_and_last_end(stored: pd.DataFrame) -> tuple[float, float]:
    """When the first run of a store began to train, and when the last was stored."""
    folder = Store("smoke").runs
    ends = [(folder / name / "run.json").stat().st_mtime for name in stored["hash"]]
    return min(end - s for end, s in zip(ends, stored["seconds"], strict=True)), max(ends)


def _import(module: str) -> None:
    _quiet([sys.executable, "-c", f"import {module}"])


def _estimated_seconds() -> float:
    """What `make plan` would say of the sweep before anything is stored."""
    settings = identity.settings(cast(Any, _plain(config("scale=smoke", "decay=wd"))))
    return 60 * cost.seconds_of(settings, "smoke", store.load("smoke").runs) / 2


def _plain(cfg: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(without_hydra(cfg), resolve=True))


def _fresh_processes() -> None:
    """FRESH runs, two at a time, each in a new process."""
    commands = [
        [sys.executable, "-m", "lpwd.train", "scale=smoke", "decay=lpwd", f"seed={seed}"]
        for seed in range(FRESH)
    ]
    for pair in zip(commands[::2], commands[1::2], strict=True):
        for process in [subprocess.Popen(c, cwd=ROOT, stdout=subprocess.DEVNULL) for c in pair]:
            process.wait()


def _quiet(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def bench_store() -> Iterator[Row]:
    """Collecting and planning with 10,000 stored runs, against 1,000."""
    times = {}
    for count in (1_000, 10_000):
        with folder_of_results():
            _fill(Store("smoke"), count)
            times[count] = seconds(lambda: plan.table("smoke"))
            again = seconds(lambda: plan.table("smoke"))
        yield Row("collecting and planning", f"seconds, {count:,} new runs", "–", times[count], "")
        must = "≤ 5" if count == 10_000 else ""
        yield Row("planning", f"seconds, {count:,} collected runs", "–", again, must)
    ratio = times[10_000] / times[1_000]
    yield Row("collecting and planning", "10,000 runs", "1,000 runs", ratio, "≤ 10")


def _fill(store: Store, count: int) -> None:
    """A store of `count` runs that differ in their seeds."""
    settings = identity.settings(_plain(config("scale=smoke", "decay=wd")))
    t = build.prepare(config("scale=smoke", "decay=wd"))
    loop.train_epoch(t, lambda: None)
    stored = record.finish(t, "", settings)
    for seed in range(1, count + 1):
        stored["settings"] = settings | {"seed": seed}
        stored["hash"] = identity.run_id(stored["settings"])
        folder = store.runs / stored["hash"]
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(run_file.sealed(stored))


# -- memory ---------------------------------------------------------------------------------------

MEMORY = [
    *[("convnext_micro", batch) for batch in (64, 256, 1024)],
    *[("swin_micro", batch) for batch in (64, 256, 1024)],
    *[("convnext_tiny", batch) for batch in (64, 256, 512)],
]


def bench_memory() -> Iterator[Row]:
    """The peak memory of a training process by model and batch, each in a process of its own."""
    for model, batch in MEMORY:
        command = [sys.executable, __file__, "--peak", model, str(batch)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        yield Row("peak memory", f"GB, {model}, batch {batch}", "–", float(done.stdout), "")


def peak(model: str, batch: int) -> float:
    """GB that three steps with LPWD took at most, imports included; on a GPU, the GPU's.

    Not getrusage's maximum: a child process begins with its parent's.
    """
    x = torch.randn(batch, 3, 32, 32, device=DEVICE).to(memory_format=torch.channels_last)
    step = _loop(model, x, torch.zeros(batch, dtype=torch.long, device=DEVICE), "lpwd")
    for _ in range(3):
        step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kilobytes) * 1024 / 1e9


# -- what is written ------------------------------------------------------------------------------

BENCHES = {
    "step": bench_step,
    "training": bench_training,
    "epoch": bench_epoch,
    "shares": bench_shares,
    "loader": bench_loader,
    "r_op": bench_r_op,
    "start": bench_start,
    "sweep": bench_sweep,
    "store": bench_store,
    "memory": bench_memory,
}


def table(frame: pd.DataFrame) -> str:
    """The rows as Markdown."""
    lines = [
        "| Work | Case | Against | Measured | Quartiles | Must reach | Met |",
        "|---|---|---|---:|---:|---:|:-:|",
    ]
    for row in cast(Any, frame.itertuples(index=False)):
        spread = "" if np.isnan(row.low) else f"{row.low:.3g} … {row.high:.3g}"
        met = {True: "✓", False: "**no**"}.get(row.met, "")
        cells = (row.work, row.case, row.against, f"{row.ratio:.3g}", spread, row.must, met)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(frame: pd.DataFrame) -> Any:
    """Every ratio beside its target."""
    import matplotlib.style
    from matplotlib.figure import Figure

    from lpwd.draw.figures import STYLE

    shown = frame[frame["must"] != ""][::-1].reset_index(drop=True)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(7, 0.24 * len(shown) + 0.8), layout="constrained")
        axes = figure.subplots()
        colors = ["C0" if met else "C1" for met in shown["met"]]
        axes.barh(range(len(shown)), shown["ratio"], color=colors, height=0.6)
        bounds = [float(must[1:]) for must in shown["must"]]
        axes.scatter(bounds, range(len(shown)), marker="|", s=120, color="black", zorder=3)
        labels = [f"{r.work}: {r.case}\nagainst {r.against}" for r in shown.itertuples()]
        axes.set_yticks(range(len(shown)), labels, fontsize=5)
        axes.set_xscale("log")
        axes.set_xlabel("measured (bar) and what it must reach (line); orange: not met")
    return figure


def write(frame: pd.DataFrame) -> None:
    """results/bench/bench.csv and .png, and the table in docs/performance.md."""
    write_whole(FOLDER / "bench.csv", frame.to_csv(index=False, float_format="%.4g").encode())
    from io import BytesIO

    buffer = BytesIO()
    draw(frame).savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    write_whole(FOLDER / "bench.png", buffer.getvalue())
    write_whole(
        PAGE, filled(PAGE, "bench", f"Measured on {machine.machine(DEVICE)}.\n\n{table(frame)}")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("benches", nargs="*", help=", ".join(BENCHES))
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        print(peak(args.peak[0], int(args.peak[1])))
        return
    if unknown := set(args.benches) - set(BENCHES):
        sys.exit(f"error: no bench is called {unknown.pop()}; there are {', '.join(BENCHES)}")
    rows = []
    for name in tqdm(args.benches or BENCHES, unit="bench"):
        for row in BENCHES[name]():
            rows.append(row)
            tqdm.write(f"{row.work}, {row.case} against {row.against}: {row.ratio:.3g} {row.must}")
    frame = pd.DataFrame(rows).assign(met=[row.met for row in rows], device=machine.machine(DEVICE))
    if args.benches:  # a part is for looking at, not for keeping
        print(table(frame))
    else:
        write(frame)


if __name__ == "__main__":
    main()
