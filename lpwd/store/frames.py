"""Runs as frames: their columns, and the collected files that hold them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lpwd.store.files import UNSEALED, from_parquet, seal, write_whole
from lpwd.store.rows import (
    EPOCH_COLUMNS,
    RUN_COLUMNS,
    ZERO_SHOT_COLUMNS,
    check_value,
    row,
    sound_rows,
)
from lpwd.store.run_file import Record


class Results(NamedTuple):
    """What tables and figures read; the columns are listed in docs/results.md."""

    runs: pd.DataFrame
    epochs: pd.DataFrame
    zero_shot: pd.DataFrame


def only(results: Results, kept: Collection[str]) -> Results:
    """The runs of these hashes."""
    names = list(kept)
    return Results(*(frame[frame["hash"].isin(names)].reset_index(drop=True) for frame in results))


#: What a decay is, but for its rate.
DECAY_COLUMNS = ("method", "profile", "normalize", "layers", "coupled", "exclude", "towards")

SORT_COLUMNS = ["data", "model", "optimizer", *DECAY_COLUMNS, "pretrained"]
SORT_COLUMNS += ["lr", "rate", "seed", "hash"]


def of_records(records: Iterable[Record]) -> Results:
    """The frames of these runs; NaN where a record has null."""
    records = list(records)
    runs = pd.DataFrame([row(record) for record in records], columns=list(RUN_COLUMNS))
    epochs = [{"hash": r["hash"], **epoch} for r in records for epoch in r["epochs"]]
    zero_shot = [
        {"hash": r["hash"], "step": step, "test_top1": top1}
        for r in records
        for step, top1 in enumerate(r["zero_shot"])
    ]
    return Results(
        runs.astype(RUN_COLUMNS),
        pd.DataFrame(epochs, columns=list(EPOCH_COLUMNS)).astype(EPOCH_COLUMNS),
        pd.DataFrame(zero_shot, columns=list(ZERO_SHOT_COLUMNS)).astype(ZERO_SHOT_COLUMNS),
    )


def write_rows(path: Path, runs: pd.DataFrame) -> None:
    """Write runs.csv, each row with its check value."""
    text = runs.astype(object).where(runs.notna(), "").map(str)
    check = [check_value(values) for values in text.itertuples(index=False)]
    write_whole(path, text.assign(check=check).to_csv(index=False).encode())


def read_rows(path: Path) -> pd.DataFrame:
    """The sound rows of runs.csv."""
    rows = sound_rows(path, lambda row: row)
    text = pd.DataFrame(rows, columns=list(RUN_COLUMNS), dtype="str")
    text["coupled"] = text["coupled"] == "True"
    numbers = [name for name, kind in RUN_COLUMNS.items() if kind in ("float64", "int64")]
    text[numbers] = text[numbers].replace("", "nan").astype("float64")
    return text[list(RUN_COLUMNS)].astype(RUN_COLUMNS)


#: Columns that a dictionary makes smaller: many rows have the same hash, or the same top-1.
REPEATED = ["hash", "test_top1", "test_a_top1", "test_b_top1", "heldout_top1"]

#: Columns of which hardly two numbers are equal: their leading bytes still are, and are
#: stored side by side.
NEVER_EQUAL = ["r_op_size", "r_op_size_layers.list.element", "weight_norm", "seconds"]


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame, sealed, so that `read_parquet` notices damage."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 19}
    options |= {"use_dictionary": REPEATED, "use_byte_stream_split": NEVER_EQUAL}
    with pq.ParquetWriter(sink, table.schema, store_schema=False, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"seal": UNSEALED.decode()})
    write_whole(path, seal(sink.getvalue().to_pybytes()))


def read_parquet(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    """The frame in a file, empty without one; a damaged file is set aside."""

    def frame(file: Any) -> pd.DataFrame:
        table = file.read(use_threads=False).replace_schema_metadata()
        return table.to_pandas(use_threads=False)[list(columns)].astype(columns)

    found = from_parquet(path, frame)
    return pd.DataFrame(columns=list(columns)).astype(columns) if found is None else found
