"""What naming photos leaves behind: a table, lines of JSON, a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from persam.classify.descriptions import SMALL, Described
from persam.classify.naming import NamedPhoto
from persam.drawing import colour_of, draw_overlay
from persam.files import expanded, write_bytes, write_csv
from persam.geometry import fit_mask, shrink
from persam.images import read_smaller
from persam.journal import json_line
from persam.ledger import claimed
from persam.reports.contact_sheet import ContactSheet

TABLE, LINES, SHEET = "classes.csv", "classes.jsonl", "sheet"


def claimed_names(folder: str | Path, *, sheet: bool = False, overwrite: bool = False) -> AbstractContextManager[None]:
    """Hold the folder while photos are named.

    Raises:
        UsageError: a file of others has the name of one of the results.
        PersamError: it cannot be written, or another command writes there.
    """
    files = [TABLE, LINES, *((f"{SHEET}.html", f"{SHEET}.png") if sheet else ())]
    return claimed(folder, files, is_ours=lambda place: False, overwrite=overwrite)


def write_names(named: Sequence[NamedPhoto], described: Described, out: str | Path, *, sheet: bool = False) -> None:
    """Write ``classes.csv``, ``classes.jsonl`` with all probabilities, and with `sheet` ``sheet.html`` and ``.png``.

    Raises:
        PersamError: it cannot be written.
    """
    folder = expanded(out)
    lines = [one.to_dict(described.names) for one in named]
    heads = ["image", "class", "probability", "runner_up", "runner_up_probability"]
    write_csv(folder / TABLE, [heads, *([line[head] for head in heads] for line in lines)])
    write_bytes(folder / LINES, b"".join(map(json_line, lines)))
    if not sheet or not named:
        return
    pages = ContactSheet(f"{len(named)} photos, {len(described.names)} classes")
    for one in named:
        picture = shrink(read_smaller(one.described.place, SMALL)[0], SMALL)
        if one.described.mask is not None:
            picture = draw_overlay(picture, fit_mask(one.described.mask, picture), colour_of(one.name))
        note = f"{one.name} {one.probability:.2f} · {one.runner_up} {one.probabilities[one.runner_up]:.2f}"
        pages.add_picture(picture, Path(one.described.path).name, note, found=True)
    pages.write_html(folder / f"{SHEET}.html")
    pages.write_png(folder / f"{SHEET}.png")
