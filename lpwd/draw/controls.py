"""The tables of the controls: what each part of LPWD contributes."""

from __future__ import annotations

import math
from typing import Any, cast

from omegaconf import DictConfig

from lpwd.analysis import controls, paper
from lpwd.analysis.intervals import interval_in
from lpwd.analysis.main_grid import MainGrid
from lpwd.config.rates import number
from lpwd.draw import words
from lpwd.draw.formats import Layout, Row, cells, csv, markdown

HEADER = [
    "Part",
    "Runs",
    "against",
    "η, λ chosen",
    "Difference",
    "η, λ held-out",
    "Difference, held-out",
    "Under the strongest penalty",
    "Cells won : lost",
    "median",
]


def layout(main: MainGrid) -> Layout:
    """One kind of runs against another, a row a part: `controls.parts`."""
    rows = [
        Row(
            row.part,
            cells(
                row.run,
                row.reference,
                _both(row.rates_run, row.rates_reference),
                _difference(row, "seeds", row.best_run - row.best_reference),
                _both(row.heldout_rates_run, row.heldout_rates_reference),
                _difference(row, "heldout_seeds", row.heldout_run - row.heldout_reference),
                _difference(row, "strong_seeds", row.strong),
                f"{row.won} : {row.lost} of {row.cells}" if row.cells else words.GAP,
                words.signed(row.median),
            ),
        )
        for row in cast(Any, controls.parts(main).itertuples(index=False))
    ]
    where = ", ".join(paper.column_names(paper.ablation_column(main.scale)))
    title = f"What each part contributes: {where}"
    return Layout("Controls", title, [HEADER], rows, _notes(main.scale))


def _notes(scale: DictConfig) -> list[str]:
    factors = " and ".join(f"{factor:g}" for factor in scale.grid.control_lr_factors)
    lr, rate = (number(value) for value in controls.strongest(scale))
    return [
        f"{words.sentence(paper.scale_note(scale))}.",
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


def _fill_sentence(scale: DictConfig) -> str:
    return f"`make controls SCALE={scale.name} SEEDS=5` trains what is missing."


def _both(run: str, reference: str) -> str:
    if not run or not reference:
        return words.GAP
    return run if run == reference else f"{run} / {reference}"


def _difference(row: Any, prefix: str, first: float) -> str:
    """Of fresh seeds; where there are none, of seed 0 (`first`)."""
    found = interval_in(row, prefix)
    if not found.n:
        return words.signed(first) + ("" if math.isnan(first) else " (seed 0)")
    if found.low == found.high == 0:
        return "0 in every seed"
    return words.signed_span(found)


def series_layout(main: MainGrid) -> Layout:
    """Figure 5 at equal λ: a row the rates, a column a model (`controls.series`)."""
    rows = []
    for method, found in controls.series(main).groupby("chosen_by", sort=False):
        leads = cast(list[Any], list(found.itertuples(index=False)))
        rates = words.rates_text(leads[0].lr, leads[0].rate)
        name = f"{rates}, chosen by {paper.METHOD_NAMES[str(method)]}"
        rows.append(Row(name, cells(*(_difference(lead, "seeds", lead.first) for lead in leads))))
    names = [paper.model_name(model) for model in main.scale.grid.series]
    return Layout(
        "Controls for Figure 5",
        "LPWD − WD at equal η and λ, points of test top-1",
        [["η, λ of both", *names, "from one to the next"]],
        rows,
        [
            f"{words.sentence(paper.scale_note(main.scale))}.",
            "Figure 5 has each method at the rates that did best for the smallest model, which may"
            " differ widely in λ; here both have the same.",
            "Mean [95 % interval] over fresh seeds, paired; without them, seed 0 alone. From one to"
            " the next: the slope over the models, as Figure 5's claim is measured.",
            _fill_sentence(main.scale),
        ],
    )


def files(main: MainGrid) -> dict[str, bytes]:
    """controls.md, and controls.csv and controls_series.csv, the frames of its two tables."""
    layouts = layout(main), series_layout(main)
    return {
        "controls.csv": csv(controls.parts(main)),
        "controls_series.csv": csv(controls.series(main)),
        "controls.md": "\n".join(map(markdown, layouts)).encode(),
    }
