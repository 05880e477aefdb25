"""A folder of results: masks, overlays and cut-outs under names that never collide, and ``results.jsonl``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from persam.drawing import colours_of
from persam.errors import PersamError, UsageError
from persam.files import Held, UniqueNames, expanded, safe_name, stays_below, write_bytes
from persam.instance import Instance
from persam.journal import Journal, json_line
from persam.ledger import HIDDEN, Ledger
from persam.places import Place, is_remote, place_of
from persam.reports.pictures import mask_file, write_image, write_mask
from persam.segmentation import Segmentation

RESULTS = "results.jsonl"
FORMAT = 2  # of its lines
INDEX = "index.sqlite"  # of an album, beside the ledger's files
_NEEDED = frozenset(("width", "height", "present", "score", "box", "instances"))  # by whoever sums up all lines
#: For each kind of file its folder and suffix.
PLACES = {
    "mask": ("masks", ".png"),
    "overlay": ("overlays", ".jpg"),
    "cutout": ("cutouts", ".png"),
    "explain": ("explain", ".png"),
    "instances": ("instances", ".png"),
}


class LineStore(Protocol):
    """Where the lines of a folder are kept, one a photo and concept."""

    def line(self, image: str, concept: str) -> dict[str, Any] | None:
        """The line of a photo, named by its absolute path, and a concept."""

    def has_line(self, image: str, concept: str) -> bool:
        """Whether `line` would have one."""

    def put(self, line: dict[str, Any]) -> None:
        """Add a line, or replace that of the same photo and concept."""

    def drop(self, image: str, concept: str | None = None) -> list[dict[str, Any]]:
        """Remove the lines of a photo, or the one of a concept, and return them."""

    def lines(self) -> Iterable[dict[str, Any]]:
        """All lines."""


class OutputFolder(Held):
    """Where the results of a run go. Use it in a ``with`` block, or `close` it; until then no other may write there.

    Files are named ``masks/CONCEPT/PHOTO.png``, ``overlays/CONCEPT/PHOTO.jpg``, ``cutouts/CONCEPT/PHOTO.png``. Photos
    of equal names in different folders get the folder's name in front, or a number; so do concepts whose names differ
    only in letters that no file name can have. ``results.jsonl`` has one line per photo and concept; a photo that comes
    again, in this run or a later one, keeps its names and replaces its line. Files of others are never touched.

    Args:
        folder: Made if it is missing.
        overwrite: Replace files of others, too, and take nothing for done.
        store: Gives what keeps the lines, for the folder of persam's own files, once nobody else writes here; by
            default ``results.jsonl`` itself, which an album writes at the end.

    Attributes:
        ledger: Says which files are persam's own.
        outdated: Photos and concepts of another persam's lines, which are not kept: lines of two formats are no file.

    Raises:
        PersamError: The folder cannot be made or written, or another command is writing there.
        UsageError: It has a ``results.jsonl`` of something else.
    """

    def __init__(
        self, folder: str | Path, *, overwrite: bool = False, store: Callable[[Path], LineStore] | None = None
    ) -> None:
        self.folder = expanded(folder)
        self.ledger = Ledger(self.folder, overwrite=overwrite)
        self.outdated: set[tuple[str, str]] = set()
        self._photo_names, self._concept_names = UniqueNames(), UniqueNames()
        try:
            self._store = self._read() if store is None else store(self.folder / HIDDEN)
            for line in self._store.lines():
                self._keep_names(line)
            self.ledger.sweep([HIDDEN, *(place for place, _ in PLACES.values())])
        except BaseException:
            self.ledger.close()
            raise

    @property
    def results_path(self) -> Path:
        """The file of one line per photo and concept."""
        return self.folder / RESULTS

    @property
    def lines(self) -> Iterable[dict[str, Any]]:
        """All lines of the folder, those of earlier runs first."""
        return self._store.lines()

    def line(self, image: str | Place, concept: str) -> dict[str, Any] | None:
        """The line of a photo and concept, if there is one."""
        return self._store.line(full_path(image), concept)

    def has_line(self, image: str | Place, concept: str) -> bool:
        """Whether `line` would have one; it is not read for that, which takes long where masks are large."""
        return self._store.has_line(full_path(image), concept)

    def name_of(self, image: str | Place) -> str:
        """Return the name for a photo's outputs: its stem if that is free, else with its folder or a number."""
        full = full_path(image)
        path = Path(full)
        stem = safe_name(path.stem, otherwise="photo")
        parent = safe_name(path.parent.name, otherwise="folder")
        choices = [stem, safe_name(f"{stem}_{path.suffix[1:]}"), safe_name(f"{parent}_{stem}")]
        return self._photo_names.of(full, choices, f"{parent}_{stem}")

    def is_done(self, image: str | Place, concept: str, made: dict[str, Any]) -> bool:
        """Whether an earlier run did the same, and its files are there.

        Args:
            image: The photo.
            concept: The concept's name.
            made: What the line depends on, JSON values, and under ``outputs`` the kinds of files that are wanted.
        """
        line = self.line(image, concept)
        if self.ledger.overwrite or line is None or not isinstance(line.get("made"), dict):
            return False
        earlier = line["made"]
        return (
            {**earlier, "outputs": None} == {**made, "outputs": None}
            and set(made["outputs"]) <= set(earlier.get("outputs") or ())
            and all(_is_written(self.folder / file) for file in _files_of(line))
        )

    def planned(self, image: str | Place, concept: str, outputs: Iterable[str], max_instances: int) -> list[str]:
        """The files that `write` may write for a photo and concept."""
        one_each = [self._file(kind, image, concept) for kind in outputs if kind != "instances"]
        each = [self._file("instances", image, concept, number) for number in range(1, max_instances + 1)]
        return one_each + (each if "instances" in outputs else [])

    def write(
        self,
        found: Segmentation,
        image: np.ndarray | None = None,
        *,
        overlay: bool = False,
        cutout: bool = False,
        per_instance: bool = False,
        explanation: np.ndarray | None = None,
        made: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the files of one segmentation and its line in ``results.jsonl``.

        Files of an earlier line for the same photo and concept that are not written now are removed.

        Args:
            found: Its ``image`` names the photo.
            image: (H, W, 3) uint8, needed for an overlay or a cut-out.
            overlay: Also write ``overlays/CONCEPT/PHOTO.jpg``.
            cutout: Also write ``cutouts/CONCEPT/PHOTO.png``, if anything was found.
            per_instance: Also write ``instances/CONCEPT/PHOTO-1.png`` and so on, a mask for every found thing.
            explanation: A picture of the way to the mask, (H, W, 3) uint8, for ``explain/CONCEPT/PHOTO.png``.
            made: What the line depends on; see `is_done`.

        Returns:
            The line that was written; the files in it are relative to the folder.
        """
        source, concept = full_path(found.image or "image"), found.concept
        self._file("mask", source, concept)  # so that its name is known
        pictures = {}
        if overlay and image is not None:
            pictures["overlay"] = found.overlay(image, colours_of(self._concept_names.keys)[concept])
        if cutout and image is not None and found.found:
            pictures["cutout"] = found.cutout(image)
        if explanation is not None:
            pictures["explain"] = explanation
        files: dict[str, Any] = {kind: self._file(kind, source, concept) for kind in ("mask", *pictures)}
        objects = _objects(found)
        numbers = range(1, len(objects) + 1) if per_instance else ()
        if per_instance:
            files["instances"] = [self._file("instances", source, concept, number) for number in numbers]
        line = {"format": FORMAT} | found.to_dict(rle=False) | {"instances": [one.to_dict() for one in objects]}
        if found.candidate is not None and found.verdict == "unsure":  # what one should look at
            line["candidate"] = found.candidate.to_dict()
        line |= {"image": source, "name": self.name_of(source), "files": files, "made": made}
        with self._replacing(line):
            write_bytes(self.folder / files["mask"], mask_file(found.mask))
            for kind, picture in pictures.items():
                write_image(self.folder / files[kind], picture)
            for number in numbers:
                write_mask(self.folder / files["instances"][number - 1], objects[number - 1].mask)
        return line

    def write_as_found(self, find: dict[str, Any], image: str | Place, mask: bytes, made: dict[str, Any]) -> None:
        """Write what `write` would of a find and its mask, without the pixels, of which there are many.

        Args:
            find: `Segmentation.to_dict` of what `PerSAM.segment` found, with instances if it is there.
            image: The photo.
            mask: The file of its mask, see `persam.reports.pictures.mask_file`.
            made: What the line depends on; see `is_done`.
        """
        source, rejected = full_path(image), find["candidate"]
        if rejected is not None and find["verdict"] != "unsure":
            rejected = {key: value for key, value in rejected.items() if key != "rle"}
        line = {"format": FORMAT} | {key: value for key, value in find.items() if key != "rle"}
        line |= {"candidate": rejected, "image": source, "name": self.name_of(source)}
        line |= {"files": {"mask": self._file("mask", source, find["concept"])}, "made": made}
        with self._replacing(line):
            write_bytes(self.folder / line["files"]["mask"], mask)

    @contextlib.contextmanager
    def _replacing(self, line: dict[str, Any]) -> Iterator[None]:
        """Put a line into the place of an earlier one when the block, in which its files are written, ends well.

        If it ends too early (Ctrl-C, no room) and the earlier line's mask is another one already, that line goes.
        """
        key = line["image"], line["concept"]
        earlier = self._store.line(*key)
        mask = self.folder / (earlier or line)["files"]["mask"]
        before = _identity(mask)
        try:
            yield
            if earlier is not None:  # before its line goes: a run that is killed here does this photo again
                self.ledger.remove(set(_files_of(earlier)) - set(_files_of(line)))
            self._store.put(line)
            self.outdated.discard(key)
        except BaseException:
            if earlier is None:
                raise
            if _identity(mask) != before and self._store.line(*key) == earlier:
                with contextlib.suppress(PersamError):
                    self._store.drop(*key)
                    self.ledger.remove(_files_of(earlier))
            raise

    def drop(self, image: str | Place, concept: str | None = None) -> None:
        """Forget a photo, or what one concept found in it, and remove what was written for it."""
        lines = self._store.drop(full_path(image), concept)
        self.ledger.remove({file for line in lines for file in _files_of(line)})

    def close(self) -> None:
        """Leave ``results.jsonl`` in order, and let others write."""
        try:
            if isinstance(self._store, _ResultsFile):
                self._store.tidy(self.ledger)
        finally:
            self.ledger.close()

    def _file(self, kind: str, image: str | Place, concept: str, number: int | None = None) -> str:
        place, suffix = PLACES[kind]
        folder = safe_name(concept)
        name = self.name_of(image) + ("" if number is None else f"-{number}")
        return f"{place}/{self._concept_names.of(concept, [folder], folder)}/{name}{suffix}"

    def _read(self) -> _ResultsFile:
        """Take over the lines of earlier runs."""
        if (self.folder / HIDDEN / INDEX).exists() and not self.ledger.overwrite:
            raise UsageError(f"{self.folder} is an album; go on with `persam album`, or choose another --output.")
        journal = Journal(self.results_path)
        ours = [line for line in journal.lines if _is_line(line)]
        strange = self.results_path.is_symlink() or (not ours and bool(journal.lines or journal.damaged))
        if strange and not self.ledger.overwrite:
            raise UsageError(f"{self.results_path} was not written by persam and would be lost; {self.ledger.advice}.")
        store = _ResultsFile(journal, strange)
        for line in ours:
            key = full_path(line["image"]), line["concept"]
            if line.get("format") == FORMAT and line.keys() >= _NEEDED:
                store.kept[key] = line
            else:
                self.outdated.add(key)
                self._keep_names(line)
        self.outdated -= set(store.kept)
        if self.ledger.is_new:  # of a persam without a ledger
            self.ledger.adopt(file for line in ours for file in _files_of(line))
        return store

    def _keep_names(self, line: dict[str, Any]) -> None:
        if not _is_line(line):  # an index may have come from elsewhere
            raise PersamError(
                f"The album's index {self.folder / HIDDEN / INDEX} names files that no album has; remove it, and all "
                "photos are done again."
            )
        self._photo_names.keep(full_path(line["image"]), line["name"])
        self._concept_names.keep(line["concept"], PurePosixPath(line["files"]["mask"]).parts[1])


class _ResultsFile:
    """The lines of a ``results.jsonl``. One is added at once, so that a run that is stopped keeps what it did."""

    def __init__(self, journal: Journal, is_strange: bool) -> None:
        self.kept: dict[tuple[str, str], dict[str, Any]] = {}
        self._journal = journal
        self._is_strange = is_strange  # it is of something else, and goes when there is a line
        self._grew = False  # what was only looked at is not tidied

    def line(self, image: str, concept: str) -> dict[str, Any] | None:
        return self.kept.get((image, concept))

    def has_line(self, image: str, concept: str) -> bool:
        return (image, concept) in self.kept

    def put(self, line: dict[str, Any]) -> None:
        path = self._journal.path
        if self._is_strange or not path.exists():
            write_bytes(path, b"")  # so that the ledger knows it
            self._journal, self._is_strange = Journal(path), False
        # Before it is on the disk: a signal that comes while it is written must find it here.
        self.kept[line["image"], line["concept"]] = line
        self._grew = True
        self._journal.append([line])

    def drop(self, image: str, concept: str | None = None) -> list[dict[str, Any]]:
        self._grew = True
        return [self.kept.pop(key) for key in list(self.kept) if key[0] == image and concept in (None, key[1])]

    def lines(self) -> list[dict[str, Any]]:
        return list(self.kept.values())

    def tidy(self, ledger: Ledger) -> None:
        """Leave one line per photo and concept in the file, the last one written."""
        if self._grew and (self._journal.damaged or self._journal.lines != self.lines()):
            # No room, for example: then some lines are there twice, and the last counts.
            with contextlib.suppress(PersamError, OSError):
                ledger.adopt([RESULTS])  # it grew since
                write_bytes(self._journal.path, b"".join(map(json_line, self.lines())))


def full_path(image: str | Place) -> str:
    """The absolute path of a photo, or its URL: what it is known by, in whatever folder the command was called.

    Links are not followed, for people know a photo by the name that they gave it.
    """
    if is_remote(image):
        return str(place_of(image))
    path = Path(str(image))
    short = os.path.abspath(path)  # noqa: PTH100 (resolve() follows links)
    if ".." in path.parts:  # beyond a link it leads elsewhere than the name says
        try:
            return short if path.samefile(short) else str(path.absolute())
        except OSError:
            return short
    return short


def _objects(found: Segmentation) -> list[Instance]:
    """Every found object by itself."""
    return [
        one if isinstance(one, Instance) else Instance(one.mask, one.score, one.similarity, one.predicted_iou)
        for one in found.found_objects
    ]


def _files_of(line: dict[str, Any]) -> Iterator[str]:
    for files in line["files"].values():
        yield from [files] if isinstance(files, str) else files


def _is_written(file: Path) -> bool:
    """Whether a file is there, and not empty, as it may be after a loss of power."""
    try:
        return file.is_file() and file.stat().st_size > 0
    except OSError:
        return False


def _identity(file: Path) -> tuple[int, int] | None:
    """Another one whenever a file was replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _is_line(line: dict[str, Any]) -> bool:
    """Whether a line is of persam, and names no file outside the folder."""
    if not all(isinstance(line.get(key), str) for key in ("image", "concept", "name")):
        return False
    files = line.get("files")
    if (
        not isinstance(files, dict)
        or "mask" not in files
        or not all(isinstance(each, str | list) for each in files.values())
    ):
        return False
    inner = all(stays_below(str(file)) and str(file).count("/") == 2 for file in _files_of(line))
    return inner and stays_below(line["name"]) and "/" not in line["name"]
