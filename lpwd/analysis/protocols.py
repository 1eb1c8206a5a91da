"""Choosing rates, and what the chosen runs report, by the paper's protocol and the held-out one.

The paper's protocol chooses rates, and takes the best epochs, on the test set. The held-out
protocol chooses both without the images it reports on: on held-out training images where the scale
has them, else on one half of the test set for the other, in turns (cross-fit). Accuracies are in
percent.

Nothing is chosen while a run of the grid is missing: the best of a part may be far from the best.
"""

from __future__ import annotations

from functools import cached_property

import pandas as pd

#: The two protocols, by the names they have in claims.csv.
PAPERS, HELD_OUT = PROTOCOLS = ("paper's", "held-out")

#: What a diverged run's accuracy (%) counts as where methods are compared.
DIVERGED = 0.0

#: The columns of a choice.
CHOICE = ["hash", "lr", "rate", "fold", "report"]


class Candidates:
    """The runs of one kind: one method in one column, at all rates of its grid and all seeds.

    runs: rows of runs.csv in their order · folds: `summary.held_out` of at least these runs ·
    expected: how many runs of seed 0 the grid has.
    """

    def __init__(self, runs: pd.DataFrame, folds: pd.DataFrame, expected: int) -> None:
        self.runs = runs
        self.folds = folds
        self.expected = expected
        self._choices: dict[str, pd.DataFrame] = {}
        self._by_seed: dict[str, pd.Series] = {}

    @cached_property
    def first(self) -> pd.DataFrame:
        """The runs of seed 0: those to choose among."""
        return self.runs[self.runs["seed"] == 0]

    @property
    def missing(self) -> int:
        """How many runs of seed 0 are not stored."""
        return max(0, self.expected - len(self.first))

    def choice(self, protocol: str) -> pd.DataFrame:
        """The chosen runs, a row a fold (the paper's protocol has one); empty while one is missing.

        Columns: hash, lr, rate, fold, report (its top-1 by the protocol). On ties the smaller η and
        λ: the order of runs.csv. Diverged runs cannot be chosen.
        """
        if protocol not in self._choices:
            done = self.first[self.first["status"] == "done"]
            choose = _by_test_set if protocol == PAPERS else self._by_held_out_images
            self._choices[protocol] = choose(done.iloc[:0] if self.missing else done)[CHOICE]
        return self._choices[protocol]

    def _by_held_out_images(self, runs: pd.DataFrame) -> pd.DataFrame:
        folds = runs.merge(self.folds, on="hash")
        return folds.loc[folds.groupby("fold")["choose"].idxmax()].reset_index(drop=True)

    def by_seed(self, protocol: str) -> pd.Series:
        """Top-1 at the chosen rates by seed: 0 is the run that was chosen; NaN: diverged.

        Empty while a run of the grid is missing. Where two folds chose different rates, only seeds
        that were trained at both have a value; one that diverged at one of them has 0 % there.
        """
        if protocol not in self._by_seed:
            self._by_seed[protocol] = self._mean_of_folds(protocol)
        return self._by_seed[protocol]

    def _mean_of_folds(self, protocol: str) -> pd.Series:
        folds = [
            self._reports(self.at(float(row["lr"]), float(row["rate"])), protocol, row["fold"])
            for _, row in self.choice(protocol).iterrows()
        ]
        if not folds:
            return pd.Series(dtype=float, index=pd.Index([], dtype=int, name="seed"))
        table = pd.concat(folds, axis=1, join="inner")
        diverged = table.isna().all(axis=1)
        return table.fillna(DIVERGED).mean(axis=1).mask(diverged)

    def _reports(self, runs: pd.DataFrame, protocol: str, fold: int) -> pd.Series:
        if protocol == PAPERS:
            return runs["best_mean"]
        of_fold = self.folds[self.folds["fold"] == fold].set_index("hash")["report"]
        return runs["hash"].map(of_fold).astype(float).where(runs["status"] == "done")

    def fresh(self, protocol: str) -> pd.Series:
        """`by_seed` without the seed that chose the rates."""
        return self.by_seed(protocol).drop(0, errors="ignore")

    def at(self, lr: float, rate: float) -> pd.DataFrame:
        """The runs with this η and λ (NaN: Baseline's), by seed."""
        of_rate = self.runs["rate"].isna() if pd.isna(rate) else self.runs["rate"] == rate
        return self.runs[(self.runs["lr"] == lr) & of_rate].set_index("seed").sort_index()


def _by_test_set(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs.dropna(subset=["best_mean"]).assign(fold=0)
    runs["report"] = runs["best_mean"]
    # A mean of the same counts may differ in its last bit: that is a tie.
    return runs.iloc[[int(runs["report"].round(9).argmax())]] if len(runs) else runs


def difference(one: pd.Series, other: pd.Series) -> pd.Series:
    """By what both are indexed by (seeds, say); a diverged run counts as 0 %."""
    return (one.fillna(DIVERGED) - other.fillna(DIVERGED)).dropna()


def fresh_or_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of fresh seeds if there are any, else those of seed 0."""
    fresh = frame[frame["seed"] > 0]
    return frame if fresh.empty else fresh
