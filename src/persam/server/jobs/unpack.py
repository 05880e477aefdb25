"""A zip of photos, which comes from anywhere, unpacked into a folder.

Its names lead nowhere but into the folder; what it says of its sizes is held against the limits before anything is
unpacked, and what comes out of it is counted while it is; what cannot be used of it is left out, and said.
"""

from __future__ import annotations

import io
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from persam.errors import printable, write_error
from persam.files import safe_name
from persam.images import IMAGE_SUFFIXES
from persam.server.refusals import Refused, TooLargeError
from persam.server.settings import Limits

if TYPE_CHECKING:
    from persam.server.uploads import Upload, UploadFolder

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".cab", ".iso", ".jar")
_JUNK = frozenset(("__macosx", "thumbs.db", "desktop.ini"))
_ENTRY = 46 + 300  # bytes of a zip's list for an entry: what the format needs, and a long name
_PIECE = 1 << 20  # bytes that are unpacked at a time
_NAMED = 3  # entries of a kind that are named, the others counted
_DEEPEST = 8  # folders in folders
# What `zipfile` raises of an entry that is not what it should be.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
# Of others, such as bzip2 and LZMA, `zipfile` unpacks whole pieces, however much comes out: 80 bytes may be 140 MB.
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Intake:
    """What was taken for a job: how many photos or clips, their bytes, and sentences about what was left out."""

    files: int
    size: int
    notes: tuple[str, ...] = ()


class DistinctNames:
    """Names of files, each another one on any disk, with their suffixes: ``mug.jpg``, ``mug_2.jpg``."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}  # number of each name, in the form in which file systems compare them

    def of(self, name: str, folder: str = "") -> str:
        """A name in a folder, perhaps with a number."""
        parts = [_no_photo(part) for part in folder.split("/")]
        wanted = file = PurePosixPath(*parts, name)
        number = self._last.get(_compared(wanted), 1)
        while _compared(file) in self._last:
            number += 1
            file = wanted.with_stem(f"{wanted.stem}_{number}")
        self._last[_compared(wanted)] = number
        self._last.setdefault(_compared(file), 1)
        return str(file)


def _no_photo(folder: str) -> str:
    """A folder must not have the name of a photo that may lie beside it."""
    return f"{folder}_" if PurePosixPath(folder).suffix.lower() in IMAGE_SUFFIXES else folder


def _compared(file: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(file)).casefold()


def check_count(count: int, limits: Limits) -> None:
    """See that a job may have so many photos.

    Raises:
        TooLargeError: it may not.
    """
    if count > limits.job_files:
        raise TooLargeError(f"{count} photos are more than the {limits.job_files} that a job may have; send fewer.")


class _ListTooLongError(Exception):
    """The list of a zip's entries is larger than it is read."""


class _SparingFile(io.FileIO):
    """A file of which no large piece is read at once: `zipfile` reads a zip's list whole, however long."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self._most:
            raise _ListTooLongError
        return super().read(-1 if size is None else size) or b""


def unpack(archive: Upload, folder: Path, room: UploadFolder, limits: Limits) -> Intake:
    """Unpack the photos of a zip into a folder, which is made.

    Args:
        archive: the zip.
        folder: where they go.
        room: counts what is written.
        limits: of the service.

    Raises:
        Refused: it is damaged, leads out of the folder, has no photo that could be taken, or too much.
        PersamError: a photo cannot be written.
    """
    most = limits.job_files * _ENTRY + _PIECE
    try:
        with _SparingFile(archive.path, most) as stream, zipfile.ZipFile(stream) as zipped:
            return _Unpacking(zipped, archive.name, folder, room, limits).run()
    except _ListTooLongError as error:
        raise TooLargeError(
            f"{archive.name} lists more entries than a job may have photos ({limits.job_files}); send fewer."
        ) from error
    except _DAMAGED as error:
        raise Refused(f"{archive.name} is a damaged zip; make it anew, or send the photos themselves.") from error


class _Unpacking:
    """One zip on its way into a folder."""

    def __init__(self, zipped: zipfile.ZipFile, name: str, folder: Path, room: UploadFolder, limits: Limits) -> None:
        self.zipped, self.name, self.folder, self.room, self.limits = zipped, name, folder, room, limits
        self.names = DistinctNames()
        self.left_out: dict[str, list[str]] = {}

    def run(self) -> Intake:
        """Unpack all photos."""
        photos = list(self._photos())
        check_count(len(photos), self.limits)
        said = sum(each.file_size for each in photos)
        if said > self.limits.job_upload_bytes:
            raise TooLargeError(
                f"{self.name} unpacks to {said / 1e6:,.0f} MB, more than the {self.limits.job_upload_bytes / 1e6:,.0f} "
                "MB that a job may have; send fewer photos."
            )
        sizes = [size for each in photos if (size := self._unpack_one(each)) is not None]
        notes = tuple(self._notes())
        if not sizes:
            raise Refused(" ".join([f"{self.name} has no photo that could be taken.", *notes]))
        return Intake(len(sizes), sum(sizes), notes)

    def _photos(self) -> Iterator[zipfile.ZipInfo]:
        """The entries that are photos; the others are noted."""
        for entry in self.zipped.infolist():
            parts = _parts_of(entry.orig_filename)
            if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", parts[0]) or "\0" in entry.orig_filename:
                raise Refused(
                    f"{self.name} has an entry that leads out of it ({printable(entry.orig_filename)}); make it anew "
                    "from a folder of photos."
                )
            if entry.is_dir() or any(part.startswith(".") or part.lower() in _JUNK for part in parts):
                continue
            why = self._why_not(entry)
            if why is None:
                yield entry
            else:
                self._leave_out(entry, why)

    def _why_not(self, entry: zipfile.ZipInfo) -> str | None:
        suffix = PurePosixPath(entry.filename).suffix.lower()
        if entry.flag_bits & 1:
            return "encrypted"
        if stat.S_ISLNK(entry.external_attr >> 16):
            return "a link"
        if entry.compress_type not in _BOUNDED:
            return "packed by another method than deflate"
        if suffix in _ARCHIVES:
            return "an archive in the archive"
        if suffix not in IMAGE_SUFFIXES:
            return "no photo by its name"
        if entry.file_size > self.limits.photo_bytes:
            return f"larger than the {self.limits.photo_bytes / 1e6:,.0f} MB that a photo may have"
        return None

    def _unpack_one(self, entry: zipfile.ZipInfo) -> int | None:
        """Write one photo; its bytes, or None if it is damaged."""
        *folders, name = filter(None, _parts_of(entry.filename))
        file = self.folder / self.names.of(safe_name(name), "/".join(map(safe_name, folders[-_DEEPEST:])))
        size = 0
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with self.zipped.open(entry) as source, file.open("xb") as target:
                while piece := source.read(_PIECE):  # no more comes than the zip's list says
                    self.room.take(len(piece))
                    target.write(piece)
                    size += len(piece)
        except _DAMAGED:
            file.unlink(missing_ok=True)
            self._leave_out(entry, "damaged")
            return None
        except OSError as error:
            raise write_error(entry.filename, error) from error
        return size

    def _leave_out(self, entry: zipfile.ZipInfo, why: str) -> None:
        self.left_out.setdefault(why, []).append(printable(entry.filename))

    def _notes(self) -> Iterator[str]:
        for why, names in self.left_out.items():
            named = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            yield f"Left out of {self.name} as {why}: {len(names)} ({named})."


def _parts_of(name: str) -> list[str]:
    return re.split(r"[/\\]", name)
