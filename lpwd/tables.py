"""Tables 1, 2 and 3 in the paper's layout, with the paper's numbers beside ours.

    tables.draw("table1", results, scale, folder)   writes table1.csv, .md and .tex
    print(tables.show("table1", results, scale))    the same for a terminal

A table is first a frame (the CSV, a row a cell, all it rests on), then a layout of texts, then
Markdown, LaTeX or plain text. Runs that are missing leave gaps and a line with the command that
fills them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from lpwd import paper, stats
from lpwd.paper import Column, number
from lpwd.runs import Results, canonical_number, only, write_whole

GAP, NONE = "—", "–"  # runs are missing | the paper has no such cell
TICK = "✓"

TABLE1_METHODS = ("baseline", "l2", "wd", "lpwd")
TABLE3_METHODS = ("wd", "rwd", "pwd", "lpwd")


class Layout(NamedTuple):
    """A table as texts. The header may have several rows: equal neighbours in one row are one."""

    name: str  # "Table 1"
    title: str
    header: list[list[str]]
    body: list[list[str]]
    notes: list[str]


# -- Tables 1 and 3: the cells ---------------------------------------------------------------------


def table1(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a cell of Table 1, method by method: see `cell`."""
    return _cells(results, scale, "table1", TABLE1_METHODS, paper.columns(scale))


def table3(results: Results, scale: DictConfig) -> pd.DataFrame:
    """A row a method of Table 3, the ablation: see `cell`."""
    return _cells(results, scale, "table3", TABLE3_METHODS, [paper.ablation_column(scale)])


def _cells(
    results: Results,
    scale: DictConfig,
    table: str,
    methods: Sequence[str],
    columns: Sequence[Column],
) -> pd.DataFrame:
    rows = [cell(results, scale, table, m, column) for m in methods for column in columns]
    return pd.DataFrame(rows)


def cell(
    results: Results, scale: DictConfig, table: str, method: str, column: Column
) -> dict[str, Any]:
    """All that is known of one method in one column; accuracies in percent.

    Nothing is chosen until the grid is whole: the best of a part may be far from the best of all.

    mean, std: the paper's protocol, of the run `hash` at lr and rate · heldout: the held-out
    protocol, of the runs `heldout_hash` · seeds_*: fresh seeds at the rates the paper's protocol
    chose, by its statistic (n without diverged ones) · heldout_seeds_*: the same by and at the
    rates of the held-out protocol · over_wd_*, heldout_over_wd_*: these less WD's in the same
    column, paired by seed (a diverged one counts as 0 %) · runs, diverged, expected: seed-0 runs
    stored, of which diverged, and how many the grid has · paper_*: the paper's own numbers.
    """
    which = {**column._asdict(), "method": method}
    runs = stats.grid(results, **which)
    among = if_whole(results, scale, **which)
    best = stats.chosen(among, **which)
    held_out = stats.held_out_choice(among, **which)
    seeds, held_out_seeds = stats.fresh_values(among, **which), stats.fresh_held_out(among, **which)
    paper_mean, paper_std = paper.reported_cell(table, method, column)
    nan = math.nan
    return {
        **{"method": method, **column._asdict()},
        "mean": nan if best is None else best["best_mean"],
        "std": nan if best is None else best["best_std"],
        "lr": nan if best is None else best["lr"],
        "rate": nan if best is None else best["rate"],
        "hash": "" if best is None else best["hash"],
        "runs": len(runs),
        "diverged": int((runs["status"] == "diverged").sum()),
        "expected": paper.grid_size(scale, column.optimizer, method),
        "heldout": held_out["report"].mean(),
        "heldout_lr": " ".join(map(number, held_out["lr"].unique())),
        "heldout_rate": " ".join(map(number, held_out["rate"].dropna().unique())),
        "heldout_hash": " ".join(held_out["hash"].unique()),
        **interval_of("seeds", seeds),
        "seeds_diverged": int(seeds.isna().sum()),
        **interval_of("heldout_seeds", held_out_seeds),
        **interval_of("over_wd", _over_wd(seeds, stats.fresh_values, results, scale, which)),
        **interval_of(
            "heldout_over_wd",
            _over_wd(held_out_seeds, stats.fresh_held_out, results, scale, which),
        ),
        **{"paper_mean": paper_mean, "paper_std": paper_std},
    }


def if_whole(results: Results, scale: DictConfig, **which: str) -> Results:
    """`results` if the grid of a method in a column is whole, else none of them."""
    expected = paper.grid_size(scale, which["optimizer"], which["method"])
    return results if len(stats.grid(results, **which)) >= expected else only(results, set())


def _over_wd(
    values: pd.Series,
    of: Callable[..., pd.Series],
    results: Results,
    scale: DictConfig,
    which: dict[str, str],
) -> pd.Series:
    """By seed, less what `of` gives for WD in the same column; empty for WD itself."""
    if which["method"] == "wd":
        return values.iloc[:0]
    wd = {**which, "method": "wd"}
    others = of(if_whole(results, scale, **wd), **wd)
    return (values.fillna(stats.DIVERGED) - others.fillna(stats.DIVERGED)).dropna()


def interval_of(prefix: str, values: pd.Series) -> dict[str, float]:
    """n, mean and interval of fresh seeds as <prefix>_n, _mean, _low and _high."""
    found = stats.interval(values.tolist())
    return {
        f"{prefix}_n": found.n,
        f"{prefix}_mean": found.mean,
        f"{prefix}_low": found.low,
        f"{prefix}_high": found.high,
    }


# -- Tables 1 and 3: their layouts -----------------------------------------------------------------

#: What stands under a method's own row, and how it is made from a row of the frame.
LINES: dict[str, Callable[[Any], str]] = {
    "the paper": lambda c: plus_minus(c.paper_mean, c.paper_std, NONE),
    "η, λ chosen": lambda c: _rates_text(c.lr, c.rate),
    "runs": lambda c: runs_text(c),
    "held-out": lambda c: _value(c.heldout),
    "fresh seeds": lambda c: interval_text(c, "seeds"),
    "fresh seeds, held-out": lambda c: interval_text(c, "heldout_seeds"),
    "fresh seeds, less WD's": lambda c: over_wd_text(c, "over_wd"),
    "fresh seeds, held-out, less WD's": lambda c: over_wd_text(c, "heldout_over_wd"),
}

LEGEND = {
    "": "Each method's own row: {statistic} test top-1 of one run, in percent; rates chosen on the"
    " test set (the paper's protocol).",
    "the paper": f"the paper: its own number; {NONE} where it has no such column.{{elsewhere}}",
    "runs": "runs: how many stand behind the choice, of how many in the grid, and fresh seeds;"
    " nothing is chosen until the grid is whole.",
    "held-out": "held-out: rates and epoch chosen without the images that are reported on.",
    "fresh seeds": "fresh seeds: mean [95 % interval] of independent runs at the chosen rates; the"
    " seed that chose them is left out. No interval under {least} seeds. The interval says how far"
    " one method is known, not whether two differ.",
    "fresh seeds, less WD's": "less WD's: the same, differences from WD paired by seed. Where the"
    " interval includes 0, which is better is undecided.",
}


def layout1(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """Table 1 as the paper prints it, with further lines under each method."""
    columns = paper.columns(scale)
    names = [paper.column_names(column) for column in columns]
    header = [
        ["Method", *(name[0] for name in names)],
        ["", *(name[1] for name in names)],
        ["", *(name[2] for name in names)],
    ]
    lines = _lines(frame)
    body = []
    for method in TABLE1_METHODS:
        cells = _rows(frame[frame["method"] == method])
        body.append([f"**{paper.METHODS[method]}**", *(_main(c, frame) for c in cells)])
        body += [[f"  {name}", *(LINES[name](c) for c in cells)] for name in lines]
    return Layout(
        "Table 1",
        f"Test top-1 (%) of {_names(TABLE1_METHODS)}",
        header,
        body,
        _notes(frame, scale, "table1"),
    )


def layout3(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """Table 3 as the paper prints it, with further columns."""
    lines = _lines(frame)
    ticks = [paper.METHODS[method] for method in TABLE3_METHODS]
    body = []
    for c in _rows(frame):
        name = paper.METHODS[c.method]
        marks = [TICK if tick == name else "" for tick in ticks]
        body.append(["Baseline", *marks, _main(c, frame), *(LINES[line](c) for line in lines)])
    where = ", ".join(paper.column_names(paper.ablation_column(scale)))
    return Layout(
        "Table 3",
        f"Ablation: {where}",
        [["Method", *ticks, "Top-1 (%)", *lines]],
        body,
        _notes(frame, scale, "table3"),
    )


def _rows(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples(index=False))


def _lines(frame: pd.DataFrame) -> list[str]:
    """The further lines; those of fresh seeds only where there are some."""
    has_seeds = (frame[["seeds_n", "heldout_seeds_n"]] > 0).any(axis=None)
    return [name for name in LINES if has_seeds or not name.startswith("fresh")]


def _main(c: Any, frame: pd.DataFrame) -> str:
    """mean ± std, bold where it is the best of its column."""
    if math.isnan(c.mean):
        return "diverged" if c.runs and c.diverged == c.runs else GAP
    column = frame
    for name in Column._fields:
        column = column[column[name] == getattr(c, name)]
    text = plus_minus(c.mean, c.std)
    return f"**{text}**" if c.mean == column["mean"].max() else text


def plus_minus(mean: float, std: float, missing: str = GAP) -> str:
    """mean ± std; the std of a single epoch is none."""
    if math.isnan(mean):
        return missing
    return f"{mean:.2f} ± {std:.2f}" if std else f"{mean:.2f}"


def _value(mean: float) -> str:
    return GAP if math.isnan(mean) else f"{mean:.2f}"


def _rates_text(lr: float, rate: float) -> str:
    if math.isnan(lr):
        return GAP
    return number(lr) if math.isnan(rate) else f"{number(lr)}, {number(rate)}"


def runs_text(c: Any) -> str:
    """How many runs a cell rests on, as in 34 of 35 (1 diverged) + 5 seeds."""
    text = f"{c.runs} of {c.expected}{_diverged(c.diverged)}"
    seeds = c.seeds_n + c.seeds_diverged
    plural = "seed" if seeds == 1 else "seeds"
    return f"{text} + {seeds} {plural}{_diverged(c.seeds_diverged)}" if seeds else text


def _diverged(count: int) -> str:
    return f" ({count} diverged)" if count else ""


def interval_text(c: Any, prefix: str) -> str:
    """Mean and 95 % interval of fresh seeds; `prefix`: seeds or heldout_seeds."""
    n, mean, low, high = (getattr(c, f"{prefix}_{end}") for end in ("n", "mean", "low", "high"))
    if not n:
        return GAP
    span = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{mean:.2f}{span}" + f", n={n}" * (n != c.seeds_n)


def over_wd_text(c: Any, prefix: str) -> str:
    """Mean and 95 % interval of the difference from WD; `prefix`: over_wd or heldout_over_wd."""
    if c.method == "wd":
        return NONE
    return signed_span(interval_in(c, prefix))


def interval_in(row: Any, prefix: str) -> stats.Interval:
    """What `interval_of` put into a row."""
    return stats.Interval(*(getattr(row, f"{prefix}_{end}") for end in stats.Interval._fields))


def signed(value: float) -> str:
    return GAP if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def signed_span(found: stats.Interval) -> str:
    """A difference and its interval; without one, how many seeds there are."""
    if found.known:
        return f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}]"
    return signed(found.mean) + f", n={found.n}" * (found.n > 0)


def _notes(frame: pd.DataFrame, scale: DictConfig, target: str) -> list[str]:
    lines = ["", *_lines(frame)]
    k, of = stats.best_k(scale.epochs), f"of {scale.epochs}"
    values = {
        "statistic": f"mean ± std (ddof 0) of the best {k} {of}" if k > 1 else f"the best {of}",
        "least": stats.LEAST_SEEDS,
        "elsewhere": ""
        if scale.name == "paper"
        else " Its models and data are larger: compare the order of methods, not the level.",
    }
    notes = [f"{_sentence(paper.scale_note(scale))}."]
    notes += [LEGEND[line].format(**values) for line in lines if line in LEGEND]
    lacking = int((frame["expected"] - frame["runs"]).clip(lower=0).sum())
    if lacking:
        notes.append(
            f"{lacking} of {frame['expected'].sum()} runs are missing:"
            f" `{paper.fill_command(target, scale)}` trains them."
        )
    return notes


def _names(methods: Sequence[str]) -> str:
    return ", ".join(paper.METHODS[method] for method in methods)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# -- Table 2 ---------------------------------------------------------------------------------------

PARAMETERS = {"lr_base": "η base", "rate_base": "λ base", "lr": "η", "rate": "λ"}


def table2(results: Results, scale: DictConfig) -> pd.DataFrame:
    """The rates that the scale's config gives, a row a value; no runs are needed.

    Columns: parameter, optimizer, factor (times the base), value, paper (the value at the same
    factor in the paper's Table 2).
    """
    rows = []
    for parameter in PARAMETERS:
        kind = parameter.removesuffix("_base")
        for optimizer in scale.grid.optimizers:
            factors = [1.0] if parameter.endswith("base") else scale.grid[f"{kind}_factors"]
            for factor in factors:
                rows.append(
                    {
                        "parameter": parameter,
                        "optimizer": optimizer,
                        "factor": float(factor),
                        "value": float(canonical_number(scale.base[optimizer][kind] * factor)),
                        "paper": _paper_rate(parameter, optimizer, factor),
                    }
                )
    return pd.DataFrame(rows)


def _paper_rate(parameter: str, optimizer: str, factor: float) -> float:
    """The paper's rate at this multiple of its base; NaN where its Table 2 has none."""
    reported = paper.reported("table2").set_index(["parameter", "optimizer"])["value"]
    kind = parameter.removesuffix("_base")
    base = reported.loc[[(f"{kind}_base", optimizer)]].iloc[0]
    values = reported.loc[[(parameter, optimizer)]]
    same = values[(values / base).map(canonical_number) == canonical_number(factor)]
    return float(same.iloc[0]) if len(same) else math.nan


def layout2(frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """Table 2 as the paper prints it, its own values beside ours."""
    optimizers = list(scale.grid.optimizers)
    names = [paper.OPTIMIZERS.get(name) or name for name in optimizers]
    body = []
    for parameter, name in PARAMETERS.items():
        row = [name]
        for optimizer in optimizers:
            keep = (frame["parameter"] == parameter) & (frame["optimizer"] == optimizer)
            row += [_listed(frame.loc[keep, column]) for column in ("value", "paper")]
        body.append(row)
    return Layout(
        "Table 2",
        "Learning rates η and decay rates λ",
        [
            ["Hyper-parameter", *(name for name in names for _ in range(2))],
            ["", *("here", "the paper") * len(names)],
        ],
        body,
        [f"{_sentence(paper.scale_note(scale))}."],
    )


def _listed(values: pd.Series) -> str:
    return ", ".join(NONE if math.isnan(value) else number(value) for value in values)


# -- writing ---------------------------------------------------------------------------------------


def markdown(layout: Layout) -> str:
    """As a pipe table; the header's rows are joined, for Markdown has only one."""
    heads = [", ".join(filter(None, heads)) for heads in zip(*layout.header, strict=True)]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *layout.body]
    table = "\n".join(f"| {' | '.join(map(str.strip, row))} |" for row in rows)
    notes = "\n".join(f"- {note}" for note in layout.notes)
    return f"# {layout.name}. {layout.title}\n\n{table}\n\n{notes}\n"


LATEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#"},
    **{"±": r"$\pm$", "η": r"$\eta$", "λ": r"$\lambda$", "✓": r"$\checkmark$"},
    **{"—": "---", "–": "--"},
}


def latex(layout: Layout) -> str:
    """As a booktabs table (needs the packages booktabs, amssymb and graphicx)."""
    width = len(layout.body[0])
    heads = [
        " & ".join(
            f"\\multicolumn{{{span}}}{{c}}{{{_tex(text)}}}" if span > 1 else _tex(text)
            for text, span in paper.spans(row)
        )
        for row in layout.header
    ]
    gaps = ["\\addlinespace\n" if row[0].startswith("**") else "" for row in layout.body]
    body = [gap + " & ".join(map(_tex, row)) for gap, row in zip(gaps, layout.body, strict=True)]
    lines = [
        *("\\begin{table}", "\\centering", f"\\caption{{{_tex(layout.title)}.}}"),
        "\\resizebox{\\textwidth}{!}{%",
        *(f"\\begin{{tabular}}{{l{'c' * (width - 1)}}}", "\\toprule"),
        *(f"{head} \\\\" for head in heads),
        "\\midrule",
        *(f"{row} \\\\" for row in body),
        *("\\bottomrule", "\\end{tabular}}", "\\footnotesize"),
        *(f"\\par {_tex(note)}" for note in layout.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex(text: str) -> str:
    text = "".join(LATEX.get(character, character) for character in text.strip())
    text = re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)
    return re.sub(r"`(.+?)`", r"\\texttt{\1}", text)


def plain(layout: Layout) -> str:
    """For a terminal: columns as wide as they need be, equal neighbours of the header once."""
    rows = [*layout.header, *layout.body]
    rows = [[cell.replace("**", "") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for index, row in enumerate(rows):
        if index < len(layout.header) - 1:
            row = ["" if i and row[i] == row[i - 1] else text for i, text in enumerate(row)]
        first, *others = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    lines.insert(len(layout.header), "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([f"{layout.name}. {layout.title}", *lines, *layout.notes])


TABLES = {
    "table1": (table1, layout1),
    "table2": (table2, layout2),
    "table3": (table3, layout3),
}
DRAWINGS = tuple(TABLES)


def data(target: str, results: Results, scale: DictConfig) -> pd.DataFrame:
    """The cells of a table, a row each.

    `results` are the runs of the main grid, `scale` is the scale's node of the config.
    """
    return TABLES[target][0](results, scale)


def layout(target: str, frame: pd.DataFrame, scale: DictConfig) -> Layout:
    """The texts of a table, from what `data` made."""
    return TABLES[target][1](frame, scale)


def draw(target: str, results: Results, scale: DictConfig, folder: Path) -> list[Path]:
    """Write <target>.csv, .md and .tex into `folder`; returns their paths."""
    frame = data(target, results, scale)
    texts = layout(target, frame, scale)
    contents = {
        folder / f"{target}.csv": frame.to_csv(index=False, float_format="%.10g"),
        folder / f"{target}.md": markdown(texts),
        folder / f"{target}.tex": latex(texts),
    }
    for path, text in contents.items():
        write_whole(path, text.encode())
    return list(contents)


def show(target: str, results: Results, scale: DictConfig) -> str:
    """The table as text for a terminal, without lines that tell nothing."""
    texts = layout(target, data(target, results, scale), scale)
    telling = [row for row in texts.body if set(row[1:]) - {GAP, NONE} or row[0][0] != " "]
    return plain(texts._replace(body=telling))
