"""What becomes of a sweep's runs: said as it happens, and in one picture at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

import pandas as pd
from hydra.core.utils import JobReturn, JobStatus

from lpwd.config.errors import ConfigError
from lpwd.store.store import Store
from lpwd.sweep.grids import Job

#: So many runs in a row that fail alike stop a sweep.
ALIKE = 3
#: How the fault begins that a job trained another run than planned.
OTHER_RUN = "trained as run"
#: How often a run may be trained and not be found in the store.
ROUNDS = 2
#: So many runs of each data set are shown at the end.
SHOWN = 10
#: The settings that are shown where they differ.
SETTINGS = (
    *("model", "optimizer", "profile", "normalize", "layers", "coupled", "exclude"),
    "towards",
    *("lr", "rate", "pretrained", "epochs", "batch_size", "train_images", "seed"),
)


class SweepStopped(ConfigError):
    """What is wrong with these runs is wrong with those to come."""


class Outcomes:
    """The runs of a sweep that failed, and why; `ended` notes each run as soon as it ends."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.failed: dict[Job, str] = {}
        self.alike: list[str] = []  # the faults since the last run that did not fail
        self.completed: Counter[str] = Counter()

    def ended(self, job: Job, done: JobReturn) -> None:
        """Print a fault when it first happens; raises SweepStopped where going on is useless."""
        fault = self._fault(job, done)
        if not fault:
            self.alike.clear()
            return
        if fault not in self.failed.values():
            _say(f"failed: {fault}\n  the run: {' '.join(job.overrides)}")
        self.failed[job] = fault
        self.alike.append(fault)
        if fault.startswith(OTHER_RUN):
            raise SweepStopped(fault)
        if len(self.alike) >= ALIKE and len(set(self.alike[-ALIKE:])) == 1:
            raise SweepStopped(
                f"{ALIKE} runs in a row failed alike, so the others are not tried: {fault};"
                " mend it, and the same command goes on"
            )

    def _fault(self, job: Job, done: JobReturn) -> str:
        """Why a job failed; "" if it did not."""
        result = done._return_value  # the property of that name raises it
        if done.status != JobStatus.COMPLETED:
            line = " ".join(str(result).split())
            return line if isinstance(result, ConfigError) else f"{type(result).__name__}: {line}"
        trained, _, rest = str(result).partition(" ")  # the outcome begins with the run's hash
        if trained != job.run:
            return (
                f"{OTHER_RUN} {trained} where {job.run} was expected, so that nothing would be"
                " found again; was configs/ edited meanwhile?"
            )
        if not rest.startswith("is in training elsewhere"):
            self.completed[job.run] += 1
        if self.completed[job.run] > ROUNDS:  # it is given again only while it is not stored
            return f"trained {ROUNDS} times, and not in the store {self.store.root}"
        return ""

    def print_failures(self) -> None:
        for fault, count in Counter(self.failed.values()).items():
            first = next(job for job, line in self.failed.items() if line == fault)
            _say(f"{count} failed: {fault}\n  the first: {' '.join(first.overrides)}")

    def print_table(self, jobs: Iterable[Job]) -> None:
        """The accuracies of what is stored of these jobs, and where the rest of it is."""
        runs = self.store.collect().runs
        runs = runs[runs["hash"].isin([job.run for job in jobs])]
        if runs.empty:
            return
        print(table(runs))
        print(f"every run, with all its settings and numbers: {self.store.root / 'runs.csv'}")


def table(runs: pd.DataFrame) -> str:
    """The best runs of each data set in at most 80 columns, and what their numbers are."""
    k = int(runs["best_k"].max())
    lines = []
    for data, of_data in runs.groupby("data"):
        # What differs between methods alone, their names say.
        of_methods = [of_method.astype(str) for _, of_method in of_data.groupby("method")]
        keys = [key for key in SETTINGS if any(len(set(m[key])) > 1 for m in of_methods)]
        keys.insert(0, "method")
        best = of_data.sort_values("best_mean", ascending=False, kind="stable").head(SHOWN)
        shown = best[keys].astype(object).where(best[keys].notna(), "")
        for key in {"lr", "rate"} & {*keys}:
            shown[key] = [f"{value:.4g}" if value != "" else "" for value in shown[key]]
        top1 = best["best_mean"].map("{:.2f}".format)
        top1 += best["best_std"].map(" ± {:.2f}".format) if k > 1 else ""
        shown["top-1"] = top1.where(best["status"] != "diverged", "diverged")
        shown["held-out"] = best["heldout_mean"].map("{:.2f}".format).replace("nan", "")
        many = f"the best {SHOWN} of " * (len(of_data) > SHOWN)
        lines += [f"\n{data}, {many}{len(of_data)} runs"]
        lines += [shown.to_string(index=False, line_width=80)]
    of_epochs = f"mean ± std of a run's best {k} epochs" if k > 1 else "of a run's best epoch"
    return "\n".join(
        [
            *lines,
            "",
            f"top-1: test %, {of_epochs} (the paper's protocol)",
            "held-out: test %, at an epoch chosen without the images that are reported on",
        ]
    )


def _say(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)  # beside the sweep's bar, if there is one
