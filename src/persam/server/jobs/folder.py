"""The folder of one job: what was sent, the concepts as they were then, and what was made.

Nobody is told where it lies: sentences and files name photos as they were sent.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import RawIOBase
from pathlib import Path
from typing import Any

from persam.concept import Concept
from persam.errors import write_error
from persam.files import stays_below
from persam.ledger import HIDDEN
from persam.server.refusals import Refused

_PIECE = 1 << 18  # bytes of a file that are sent at a time
_ZIP64 = 2**31 - 1  # bytes from which on a zip says sizes otherwise
# Files that name photos by their places; in others (pictures, videos) there are none.
_WORDS = frozenset((".csv", ".html", ".json", ".jsonl", ".txt", ".xml", ".yaml"))
# These are compressed as they are.
_PACKED = frozenset((".jpg", ".png", ".mp4", ".mov", ".webm", ".webp"))


class NoSuchFileError(Refused):
    """A job has no such file."""

    status = 404


@dataclass(frozen=True)
class MadeFile:
    """A file that a job made: its path from the results on, with slashes, and its bytes, as it is sent."""

    path: str
    bytes: int


class JobFolder:
    """The folder of a job. Made by `persam.server.jobs.intake`, filled by the job, removed with it.

    Args:
        path: of the folder, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent, self.made = path / "sent", path / "made"
        self._concepts = path / "concepts"
        self.finds = path / "finds.jsonl"  # of an album, in the photos' order

    # ------------------------------------------------------------------------------------------- what was sent

    def keep_concepts(self, concepts: Sequence[Concept]) -> None:
        """Keep concepts as they are now, whatever becomes of the service's own.

        Raises:
            PersamError: they cannot be written.
        """
        for number, concept in enumerate(concepts):
            concept.save(self._concepts / f"{number:04}.safetensors")

    def concepts(self, names: Sequence[str]) -> list[Concept]:
        """The concepts that were kept, in order."""
        return [Concept.load(file) for file, _ in zip(sorted(self._concepts.iterdir()), names, strict=True)]

    def photos(self) -> list[Path]:
        """What was sent, sorted."""
        return sorted(file for file in self.sent.rglob("*") if file.is_file())

    def name_of(self, photo: str | Path) -> str:
        """A photo's path from the folder on that was sent."""
        return Path(photo).relative_to(self.sent).as_posix()

    # -------------------------------------------------------------------------------------------- what is told

    def told(self, sentence: str) -> str:
        """A sentence without the places of this machine."""
        for place in (self.sent, self.made, self.path):
            sentence = sentence.replace(f"{place}/", "").replace(str(place), "the results")
        return sentence

    def _without_places(self, line: bytes) -> bytes:
        for place in (self.sent, self.made):
            for written in dict.fromkeys((str(place), json.dumps(str(place))[1:-1])):
                line = line.replace(f"{written}/".encode(), b"").replace(written.encode(), b"")
        return line

    # -------------------------------------------------------------------------------------------- what was made

    def files(self) -> list[MadeFile]:
        """The files that were made, sorted."""
        return [MadeFile(self._place(file), self._size(file)) for file in self._files()]

    def file(self, path: str) -> Path:
        """A file by its path, as `files` has it.

        Raises:
            NoSuchFileError: there is none.
        """
        if stays_below(path) and HIDDEN not in path.split("/"):
            with contextlib.suppress(OSError, ValueError):
                file = self.made / path
                if not file.is_symlink() and file.is_file() and file.resolve().is_relative_to(self.made.resolve()):
                    return file
        raise NoSuchFileError("The job has no such file; GET .../files lists those that it has.")

    @staticmethod
    def names_places(file: Path) -> bool:
        """Whether a file is of words, among which may be places of this machine."""
        return file.suffix in _WORDS

    def content(self, file: Path) -> Iterator[bytes]:
        """What is in a file, in pieces, without the places of this machine."""
        with file.open("rb") as stream:
            if self.names_places(file):
                for line in stream:
                    yield self._without_places(line)
                return
            while piece := stream.read(_PIECE):
                yield piece

    def archive(self) -> Iterator[bytes]:
        """All files as one zip, in pieces; no more of it is in memory than one piece."""
        pieces = _Pieces()
        with zipfile.ZipFile(pieces, "w") as zipped:
            for file in self._files():
                about = zipfile.ZipInfo(self._place(file), _moment_of(file))
                about.compress_type = zipfile.ZIP_STORED if file.suffix in _PACKED else zipfile.ZIP_DEFLATED
                about.external_attr = 0o644 << 16
                with zipped.open(about, "w", force_zip64=file.stat().st_size > _ZIP64) as entry:
                    for piece in self.content(file):
                        entry.write(piece)
                        yield from pieces.taken()
                yield from pieces.taken()
        yield from pieces.taken()

    def _files(self) -> list[Path]:
        found = (file for file in self.made.rglob("*") if file.is_file() and not file.is_symlink())
        return sorted(
            file for file in found if not any(part.startswith(".") for part in file.relative_to(self.made).parts)
        )

    def _place(self, file: Path) -> str:
        return file.relative_to(self.made).as_posix()

    def _size(self, file: Path) -> int:
        return sum(map(len, self.content(file))) if self.names_places(file) else file.stat().st_size

    # ------------------------------------------------------------------------------------------------- all of it

    def size(self) -> int:
        """Bytes of all that lies in it."""
        sizes = 0
        for file in self.path.rglob("*"):
            with contextlib.suppress(OSError):
                sizes += file.lstat().st_size if file.is_file() else 0
        return sizes

    def remove(self) -> None:
        """Remove all of it. Again: nothing.

        Raises:
            PersamError: something may not be removed.
        """
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise write_error("the files of the job", error) from error


class _Pieces(RawIOBase):
    """A stream that is written to here and read there, and has no memory of its own."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """What was written since this was last asked for, as one piece."""
        piece = b"".join(self._waiting)
        self._waiting.clear()
        if piece:
            yield piece


def media_type_of(path: str) -> str:
    """What kind of content a file has, by its name."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _moment_of(file: Path) -> tuple[int, int, int, int, int, int]:
    """When a file was written, as a zip says it."""
    time = datetime.fromtimestamp(max(file.stat().st_mtime, 315_532_800 + 86_400)).timetuple()  # noqa: DTZ006 (as zips do)
    return time[:6]
