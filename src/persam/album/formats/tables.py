"""Tables, a row for every photo and concept: CSV for spreadsheets, Parquet for data frames, with the masks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from persam.album.formats.lines import Line, ResultLines, Written, found_in
from persam.files import atomic_path, writable
from persam.lazy import library

CSV_NAME, PARQUET_NAME = "results.csv", "results.parquet"
_ROWS_AT_ONCE = 1000
#: Names of the columns, each with its type in Arrow.
COLUMNS = {
    "photo": "string",
    "concept": "string",
    "verdict": "string",
    "present": "bool_",
    "score": "float64",
    "threshold": "float64",
    "instances": "int32",
    "x0": "int32",
    "y0": "int32",
    "x1": "int32",
    "y1": "int32",
    "area": "float64",
    "width": "int32",
    "height": "int32",
    "mask": "string",
}


def write_csv(lines: ResultLines, folder: Path) -> Written:
    """Write ``results.csv``. What is not there, such as the box of an absent thing, is an empty cell."""
    with (
        atomic_path(folder / CSV_NAME) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(map(_row, lines))
    return Written([CSV_NAME])


def write_parquet(lines: ResultLines, folder: Path) -> Written:
    """Write ``results.parquet``: the columns of the CSV, and ``masks``, for every found thing its score, its box, and
    COCO's run-length code, whose size is height and width.

    Raises:
        PersamError: pyarrow is not installed.
    """
    arrow, parquet = parquet_libraries()
    box = [(side, arrow.int32()) for side in ("x0", "y0", "x1", "y1")]
    thing = arrow.struct([("score", arrow.float64()), *box, ("counts", arrow.string())])
    schema = arrow.schema(
        [*((name, getattr(arrow, kind)()) for name, kind in COLUMNS.items()), ("masks", arrow.list_(thing))]
    )
    with (
        atomic_path(folder / PARQUET_NAME) as temporary,
        parquet.ParquetWriter(temporary, schema, compression="zstd") as table,
    ):
        for rows in _batches(_row(line) | {"masks": _masks(line)} for line in lines):
            table.write_batch(arrow.RecordBatch.from_pylist(rows, schema=schema))
    return Written([PARQUET_NAME])


def parquet_libraries() -> tuple[Any, Any]:
    """pyarrow, and its part for Parquet.

    Raises:
        PersamError: It is not installed.
    """
    return library("pyarrow", "Parquet", "parquet"), library("pyarrow.parquet", "Parquet", "parquet")


def _row(line: Line) -> dict[str, Any]:
    box = line["box"] or (None, None, None, None)
    return {
        "photo": writable(line["image"]),
        "concept": writable(line["concept"]),
        "verdict": line["verdict"],
        "present": line["present"],
        "score": line["score"],
        "threshold": line["threshold"],
        "instances": len(found_in(line)),
        **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
        "area": line["area"],
        "width": line["width"],
        "height": line["height"],
        "mask": line["files"].get("mask"),
    }


def _masks(line: Line) -> list[dict[str, Any]]:
    return [
        {
            "score": one["score"],
            **dict(zip(("x0", "y0", "x1", "y1"), one["box"], strict=True)),
            "counts": one["rle"]["counts"],
        }
        for one in found_in(line)
    ]


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield some
