"""A tracked clip as one COCO file: its frames are the images, its objects the categories and the tracks.

The keys that COCO does not know (``videos``, ``video_id``, ``frame_id``, ``track_id``) are those of CocoVID, in which
MMTracking, TAO and BURST keep clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from persam.files import atomic_path
from persam.journal import json_line
from persam.places import Place
from persam.reports.coco import DESCRIPTION, coco_categories, coco_entries, coco_shape
from persam.video.results import is_on_screen

COCO = "coco.json"

Line = dict[str, Any]


def write_coco(
    path: Path, lines: Callable[[], Iterable[Line]], length: int, clip: str, files: Sequence[Place] | None = None
) -> None:
    """Write a clip's lines, whole or not at all.

    Args:
        path: the file.
        lines: gives those of ``results.jsonl`` from the start; called again and again, so that they are never all held.
        length: how many lines these are.
        clip: what it is called.
        files: of its frames, if it is a folder; those of a video are named as they are taken out of it for DAVIS.

    Raises:
        PersamError: the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(_pieces(lines, length, clip, files))


def _pieces(
    lines: Callable[[], Iterable[Line]], length: int, clip: str, files: Sequence[Place] | None
) -> Iterator[bytes]:
    objects = next(iter(lines()))["objects"]
    size = {"width": objects[0]["width"], "height": objects[0]["height"]}
    yield b'{"info": ' + json_line({"description": DESCRIPTION})
    yield b', "licenses": [], "videos": [\n' + json_line({"id": 1, "name": clip, **size, "length": length})
    yield b'], "categories": [\n'
    yield from coco_categories(one["concept"] for one in objects)
    yield b'], "images": [\n'
    yield from coco_entries(
        {"id": number, "file_name": _file_of(line, files), **size, "video_id": 1, "frame_id": number - 1}
        for number, line in enumerate(lines(), start=1)
    )
    yield b'], "annotations": [\n'
    yield from coco_entries(
        {"id": number, "image_id": image, "video_id": 1, "category_id": track, "track_id": track, **coco_shape(one)}
        for number, (image, track, one) in enumerate(_found(lines()), start=1)
    )
    yield b"]}\n"


def _found(lines: Iterable[Line]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Every object in every frame that it is in: the frame's id, the object's, and what was found."""
    for image, line in enumerate(lines, start=1):
        for track, one in enumerate(line["objects"], start=1):
            if is_on_screen(one):
                yield image, track, one


def _file_of(line: Line, files: Sequence[Place] | None) -> str:
    return f"{Path(line['labels']).stem}.jpg" if files is None else files[line["frame"]].name
