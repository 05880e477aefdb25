"""COCO's instances format, all of the album in one file."""

from __future__ import annotations

from pathlib import Path

from persam.album.formats.lines import ResultLines, Written
from persam.coco import write_coco

NAME = "coco.json"


def write(lines: ResultLines, folder: Path) -> Written:
    """Write ``coco.json``; see `persam.coco`."""
    write_coco(folder / NAME, lines)
    return Written([NAME])
