"""What a decay does to a model, layer by layer, as text; λ_i itself is made in `parameters`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lpwd.decay.parameters import Entry

HEADER = ("layer", "parameters", "weights", "λ_i", "ηλ_i", "first parameter")


def table(entries: Iterable[Entry], etas: Sequence[float], layer_count: int) -> str:
    """One line a layer: its parameters that train, their weights, λ_i and ηλ_i.

    `etas`: what λ_i is multiplied by, for each of the optimizer's groups. What a layer leaves
    undecayed is a line of its own, as is what another group decays in steps of another size.
    """
    lines: dict[tuple[int, float, float], list[Entry]] = {}
    for entry in entries:
        step = etas[entry.group] * entry.rate
        lines.setdefault((entry.layer, -entry.rate, -step), []).append(entry)
    rows: list[Sequence[str]] = [HEADER]
    for (layer, rate, step), members in sorted(lines.items(), key=lambda item: item[0]):
        weights = sum(entry.parameter.numel() for entry in members)
        rows.append(
            (
                f"{layer} of {layer_count}",
                str(len(members)),
                f"{weights:,}",
                f"{-rate:.4g}" if rate else "none",
                f"{-step:.3g}" if rate else "none",
                members[0].name,
            )
        )
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: numbers to the right, the last one, of names, to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [*(cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]]
        )
        for row in rows
    )
