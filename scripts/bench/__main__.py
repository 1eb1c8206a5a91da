"""Measure what lpwd costs, each time against what does without it, side by side in one process.

    python -m scripts.bench              all of it; writes results/bench/ and docs/performance.md
    python -m scripts.bench step loader  some of it; prints only

A value is a ratio of seconds, ours ÷ theirs, the two measured in turns: the median over the turns
with its quartiles, after a warm-up. Absolute seconds are this machine's. Run it while nothing else
runs: the ratios are sound on a busy machine, the sweeps' are not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Any, cast

import pandas as pd
import torch
from tqdm import tqdm

from lpwd.config.machine import machine
from lpwd.config.paths import ROOT
from lpwd.draw.formats import pipe_table
from lpwd.draw.pages import filled
from lpwd.store.files import write_whole
from scripts.bench.epochs import bench_epoch, bench_loader, bench_r_op, bench_shares
from scripts.bench.latency import bench_latency
from scripts.bench.measure import DEVICE, Row
from scripts.bench.steps import bench_memory, bench_step, bench_training
from scripts.bench.sweeps import bench_start, bench_store, bench_sweep

FILE = ROOT / "results" / "bench" / "bench.csv"
PAGE = ROOT / "docs" / "performance.md"

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
    "latency": bench_latency,
    "memory": bench_memory,
}


def table(frame: pd.DataFrame) -> str:
    """The rows as Markdown."""
    heads = ["Work", "Case", "Against", "Measured", "Quartiles", "Must reach", "Met"]
    rows = [heads, [*["---"] * 3, *["---:"] * 3, ":-:"]]
    for row in cast(Any, frame.itertuples(index=False)):
        spread = "" if pd.isna(row.low) else f"{row.low:.3g} … {row.high:.3g}"
        met = {True: "✓", False: "**no**"}.get(row.met, "")
        rows.append([row.work, row.case, row.against, f"{row.ratio:.3g}", spread, row.must, met])
    return pipe_table(rows)


def write(frame: pd.DataFrame) -> None:
    """results/bench/bench.csv, and the table in docs/performance.md."""
    write_whole(FILE, frame.to_csv(index=False, float_format="%.4g").encode())
    text = f"Measured on {machine(DEVICE)}.\n\n{table(frame)}"
    write_whole(PAGE, filled(PAGE, {"bench": text}))


def measured(benches: Iterable[str]) -> Iterator[Row]:
    for name in tqdm(benches, unit="bench"):
        for row in BENCHES[name]():
            tqdm.write(f"{row.work}, {row.case} against {row.against}: {row.ratio:.3g} {row.must}")
            yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("benches", nargs="*", help=", ".join(BENCHES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if unknown := set(args.benches) - set(BENCHES):
        sys.exit(f"error: no bench is called {unknown.pop()}; there are {', '.join(BENCHES)}")
    rows = list(measured(args.benches or BENCHES))
    frame = pd.DataFrame(rows).assign(device=machine(DEVICE))
    frame.insert(len(Row._fields), "met", [row.met for row in rows])
    if args.benches:  # a part is for looking at, not for keeping
        print(table(frame))
    else:
        write(frame)


if __name__ == "__main__":
    main()
