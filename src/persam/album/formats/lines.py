"""The lines of an album as the writers of formats go through them: photo by photo, as often as needed, never all held.

A line is what `persam segment` writes into ``results.jsonl`` for a photo and a concept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, takewhile
from pathlib import PurePath
from typing import Any

from persam.errors import UsageError
from persam.files import UniqueNames, safe_name

Line = dict[str, Any]


@dataclass
class Written:
    """What a format wrote.

    Attributes:
        files: Their paths from the folder on, with slashes.
        failures: Photo and sentence for each photo that could not be done.
    """

    files: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class PhotoLines:
    """The lines of one photo.

    Attributes:
        path: Of the photo, absolute.
        name: Of its files, without a suffix; no other photo has it.
        width: Of the upright photo, pixels.
        height: Likewise.
        lines: One a concept.
    """

    path: str
    name: str
    width: int
    height: int
    lines: tuple[Line, ...]

    @property
    def found(self) -> list[tuple[Line, dict[str, Any]]]:
        """Every found thing, with the line that it belongs to. Those that are not there are not among them."""
        return [(line, one) for line in self.lines for one in found_in(line)]


class ResultLines:
    """The lines of an album.

    Args:
        again: Gives them from the start, those of one photo together.
    """

    def __init__(self, again: Callable[[], Iterable[Line]]) -> None:
        self._again = again

    def __iter__(self) -> Iterator[Line]:
        return iter(self._again())

    def photos(self) -> Iterator[PhotoLines]:
        """The lines, photo by photo.

        Raises:
            UsageError: The lines of a photo do not come together; its files would hold only some of them.
        """
        seen: set[str] = set()
        for path, lines in groupby(self, key=lambda line: line["image"]):
            if path in seen:
                raise UsageError(f"The lines of {path} do not come together; sort them by their photo.")
            seen.add(path)
            group = tuple(lines)
            yield PhotoLines(path, group[0]["name"], group[0]["width"], group[0]["height"], group)

    @property
    def home(self) -> str:
        """The deepest folder of all photos; empty where there is none."""
        return self._survey[0]

    @property
    def size(self) -> int:
        """How many photos there are."""
        return self._survey[1]

    @property
    def concepts(self) -> dict[str, int]:
        """Names of the concepts, each with its number from 0 on, in the order in which they first come."""
        return self._survey[2]

    @cached_property
    def folders(self) -> dict[str, str]:
        """For each concept a name that a folder can have, no two the same on any disk."""
        names = UniqueNames()
        return {concept: names.of(concept, [safe_name(concept)], safe_name(concept)) for concept in self.concepts}

    def below_home(self, photo: PhotoLines) -> str:
        """A photo's path from `home` on, with slashes."""
        return below(self.home, photo.path)

    @cached_property
    def _survey(self) -> tuple[str, int, dict[str, int]]:
        images: set[str] = set()
        concepts: dict[str, int] = {}
        for line in self:
            images.add(line["image"])
            concepts.setdefault(line["concept"], len(concepts))
        return common_folder(images), len(images), concepts


def found_in(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The found things of a line."""
    return [one for one in line["instances"] if one["box"] is not None]


def common_folder(images: Iterable[str]) -> str:
    """The deepest folder that has all photos; empty where there is none, as in two buckets or on two disks."""
    every = list(images)
    if any("://" in image for image in every):  # an address, which is no path: that would have one slash there
        folders = [image.split("/")[:-1] for image in every]
        pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(folders), max(folders), strict=False))
        parts = [part for part, _ in pairs]
        return "/".join(parts) if len(parts) > len(("s3:", "")) else ""
    try:
        return os.path.commonpath({str(PurePath(image).parent) for image in every})
    except ValueError:
        return ""


def below(home: str, image: str) -> str:
    """A photo's path from its `common_folder` on, with slashes."""
    if "://" in home:
        return image[len(home) + 1 :]
    return PurePath(image).relative_to(home).as_posix() if home else image
