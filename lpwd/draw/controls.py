"""TODO lpwd.draw.controls."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pandas as pd
from omegaconf import DictConfig

from lpwd.analysis import cells, paper
from lpwd.analysis.controls import LR_FACTORS, data, series
from lpwd.config.rates import number, strong_penalty
from lpwd.draw import formats, words
from lpwd.draw.formats import Layout
from lpwd.store.files import write_whole
from lpwd.store.frames import Results


def layout(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """The first table's texts."""
    head = [
        *("Part", "Runs", "against", "η, λ chosen", "Difference", "η, λ held-out"),
        *("Difference, held-out", "Under the strongest penalty", "Cells won : lost", "median"),
    ]
    body = [
        [
            *(row.part, row.run, row.reference),
            _both(row.rates_run, row.rates_reference),
            _difference(row, "seeds", row.best_run - row.best_reference),
            _both(row.heldout_rates_run, row.heldout_rates_reference),
            _difference(row, "heldout_seeds", row.heldout_run - row.heldout_reference),
            _difference(row, "strong_seeds", row.strong),
            f"{row.won} : {row.lost} of {row.cells}" if row.cells else words.GAP,
            words.signed(row.median),
        ]
        for row in cast(Any, frame.itertuples(index=False))
    ]
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    return Layout("Controls", f"What each part contributes: {where}", [head], body, _notes(scale))


def _notes(scale: DictConfig) -> list[str]:
    factors = " and ".join(map(str, LR_FACTORS))
    lr, rate = (number(value) for value in strong_penalty(scale, "adam"))
    return [
        _scale_sentence(scale),
        f"Differences in points of test top-1, over all λ at {factors} times the base η.",
        "Difference: mean [95 % interval] over fresh seeds, paired, each kind at the rates that are"
        " best for it by the paper's protocol (on the test set); held-out: by the held-out"
        " protocol. Chosen rates may differ widely in λ: where λ hardly matters, which is best is"
        " chance, and so is the difference. Over all η of the grid, Table 3 compares the methods.",
        f"Under the strongest penalty: fresh seeds of both at η = {lr}, λ = {rate}, where nothing"
        " is chosen.",
        "Without fresh seeds: the difference of seed 0 alone.",
        "Cells won : lost, median: over pairs of runs with the same η and λ (seed 0); a diverged"
        " run counts as 0 %.",
        "Mean over weights λ: `normalize=params`, so that the mean of λ_i over the weights is λ, as"
        " WD has it; over layers it is then below λ with deep layers first, above with shallow ones"
        " first. As printed both orders have the same mean over layers.",
        _fill_sentence(scale),
    ]


def _scale_sentence(scale: DictConfig) -> str:
    note = paper.scale_note(scale)
    return f"{note[:1].upper()}{note[1:]}."


def _fill_sentence(scale: DictConfig) -> str:
    return f"`make controls SCALE={scale.name} SEEDS=5` trains what is missing."


def _both(run: str, reference: str) -> str:
    if not run or not reference:
        return words.GAP
    return run if run == reference else f"{run} / {reference}"


def _difference(row: Any, prefix: str, first: float) -> str:
    """Of fresh seeds; where there are none, of seed 0 (`first`)."""
    found = cells.interval_in(row, prefix)
    if not found.n:
        return words.signed(first) + ("" if math.isnan(first) else " (seed 0)")
    if found.low == found.high == 0:
        return "0 in every seed"
    return words.signed_span(found)


def series_layout(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """The second table's texts: a row the rates, a column a model."""
    body = []
    for method, rows in frame.groupby("chosen_by", sort=False):
        leads = cast(list[Any], list(rows.itertuples(index=False)))
        rates = f"{number(leads[0].lr)}, {number(leads[0].rate)}"
        name = f"{rates}, chosen by {paper.METHODS[str(method)]}"
        body.append([name, *(_difference(lead, "seeds", lead.first) for lead in leads)])
    names = [paper.model_name(model) for model in scale.grid.series]
    return Layout(
        "Controls for Figure 5",
        "LPWD − WD at equal η and λ, points of test top-1",
        [["η, λ of both", *names, "from one to the next"]],
        body,
        [
            _scale_sentence(scale),
            "Figure 5 has each method at the rates that did best for the smallest model, which may"
            " differ widely in λ; here both have the same.",
            "Mean [95 % interval] over fresh seeds, paired; without them, seed 0 alone. From one to"
            " the next: the slope over the models, as Figure 5's claim is measured.",
            _fill_sentence(scale),
        ],
    )


DRAWINGS = ("controls",)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write the tables and their frames into `folder`; `results` are all runs of the scale."""
    parts, at_equal = data(results, scale), series(results, scale)
    layouts = layout(parts, scale), series_layout(at_equal, scale)
    contents = {
        folder / f"{target}.csv": parts.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}_series.csv": at_equal.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}.md": "\n".join(map(formats.markdown, layouts)),
    }
    for path, text in contents.items():
        write_whole(path, text.encode())
    return list(contents)
