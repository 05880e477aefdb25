"""Results as one COCO JSON, which pycocotools and every annotation tool load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from persam.album.formats.lines import ResultLines, Written, below, common_folder, found_in
from persam.files import atomic_path
from persam.journal import json_line
from persam.reports.coco import DESCRIPTION, coco_categories, coco_entries, coco_shape

NAME = "coco.json"


def write(lines: ResultLines, folder: Path) -> Written:
    """Write ``coco.json``, all of an album in one file."""
    write_coco(folder / NAME, lines)
    return Written([NAME])


def write_coco(path: str | Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write lines of ``results.jsonl`` as COCO's instances format, whole or not at all.

    There is an annotation for every found thing, its mask as compressed run-length code. Photos are named from their
    common folder on, which is ``info.photos``: annotation tools ask for the folder, and look for the names in it.

    Args:
        path: The file.
        lines: Gone through twice, and never held: those of a large album do not fit into memory.

    Raises:
        PersamError: The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(_pieces(lines))


def _pieces(lines: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The file, an entry a line."""
    images: dict[str, dict[str, Any]] = {}
    concepts: dict[str, int] = {}
    for line in lines:
        image = line["image"]
        images.setdefault(image, {"id": len(images) + 1, "width": line["width"], "height": line["height"]})
        concepts.setdefault(line["concept"], len(concepts) + 1)
    home = common_folder(images)
    yield b'{"info": ' + json_line({"description": DESCRIPTION, "photos": home})
    yield b', "licenses": [], "images": [\n'
    yield from coco_entries({**about, "file_name": below(home, image)} for image, about in images.items())
    yield b'], "categories": [\n'
    yield from coco_categories(concepts)
    yield b'], "annotations": [\n'
    yield from coco_entries(
        {
            "id": number,
            "image_id": images[line["image"]]["id"],
            "category_id": concepts[line["concept"]],
            **coco_shape(one),
        }
        for number, (line, one) in enumerate(((line, one) for line in lines for one in found_in(line)), start=1)
    )
    yield b"]}\n"
