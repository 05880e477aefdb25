"""Uploaded files: written as they come into the service's own folder, known by their content, gone with their request.

No sentence here names a place on the machine: a file is called as its sender called it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

import numpy as np
from PIL import Image

from persam.errors import NoPictureError, PersamError, write_error
from persam.files import safe_name
from persam.geometry import Size
from persam.images import open_header, open_picture, read_smaller
from persam.server.refusals import NoRoomError, TooLargeError, WrongKindError
from persam.server.settings import Limits
from persam.server.telemetry import log

T = TypeVar("T")

_HEAD = 64  # bytes of a file by which its kind is told
_LARGE = 16_000_000  # pixels; of pictures above, one is decoded at a time, for each takes hundreds of megabytes
_one_large = threading.Lock()
_DECODERS = 2  # threads that decode what requests learn from; who waits for one keeps none of those for all work
_COUNTED_ANEW = 10.0  # seconds after which the folder is looked through again
_NEARLY_FULL = 0.9  # of the room, from which on nobody is refused before it was looked again


@dataclass(eq=False)
class Upload:
    """A file that came with a request.

    Attributes:
        name: what its sender calls it, cleaned: without folders, and fit to be a file's name.
        path: where it lies while the request lasts.
        limits: of the service.
        size: bytes.
        head: its first bytes.
    """

    name: str
    path: Path
    limits: Limits
    size: int = 0
    head: bytes = b""

    @cached_property
    def pixels(self) -> tuple[int, int]:
        """(W, H) of the picture that it holds, as its header says; nothing of it is decoded.

        Raises:
            WrongKindError: it is no picture.
            TooLargeError: it has more pixels than the service takes.
            PersamError: it is damaged.
        """
        if not self.size:
            raise WrongKindError(f"The file {self.name} is empty (0 bytes); send it again.")
        limit = self.limits.photo_pixels
        try:
            with self.path.open("rb") as stream:
                header = open_header(stream, Path(self.name), "file", limit)
        except NoPictureError as error:
            raise WrongKindError(str(error)) from error
        width, height = header.size
        if width * height > limit:
            raise TooLargeError(
                f"The picture {self.name} has {width} x {height} = {width * height / 1e6:,.1f} million pixels, more "
                f"than the {limit / 1e6:,.1f} million that this service takes; make it smaller."
            )
        return width, height

    def picture(self, what: str = "photo") -> Image.Image:
        """What it holds as a decoded picture, still in its own mode and orientation.

        Raises:
            PersamError: as `pixels` does, or it is damaged.
        """
        with self._alone():
            return open_picture(self.name, what=what, max_pixels=self.limits.photo_pixels, data=self._data())

    def read(self, longest: int | None) -> tuple[np.ndarray, Size]:
        """Its pixels as a photo, see `persam.images.read_smaller`.

        Raises:
            PersamError: as `pixels` does, or it is damaged.
        """
        with self._alone():
            return read_smaller(self.name, longest, self._data())

    @cached_property
    def sha256(self) -> str:
        """Of its bytes, in hex."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def move_to(self, target: Path) -> Path:
        """Keep it: it is now `target`, on the same disk, and is not removed with the request.

        Raises:
            PersamError: that cannot be written.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.path.replace(target)
        except OSError as error:
            raise write_error(self.name, error) from error
        self.path = target
        return target

    def _data(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:  # its request is over
            raise PersamError(f"The file {self.name} is here no more; send it again.") from error

    def _alone(self) -> threading.Lock | nullcontext[None]:
        width, height = self.pixels
        return alone_if_large(width * height)


class UploadFolder:
    """Where uploads lie, and how much room the service has.

    What an earlier process left there, which was killed, is removed.

    Args:
        home: the service's folder.
        folder: that of uploads, in it.
        limits: of the service.
    """

    def __init__(self, home: Path, folder: Path, limits: Limits) -> None:
        self.home, self.folder, self.limits = home, folder, limits
        self._used, self._counted = 0, -math.inf  # bytes, and when they were counted
        self._taken, self._is_counting = 0, False  # bytes since the last count was begun
        self._lock = threading.Lock()
        self._decoders = ThreadPoolExecutor(_DECODERS, "persam-decode")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.iterdir():
                left.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error

    def new(self, name: str) -> Upload:
        """A file to be written under a name that nobody chose."""
        return Upload(clean_name(name), self.folder / uuid4().hex, self.limits)

    async def decode(self, work: Callable[[], T]) -> T:
        """Decode a picture beside the event loop, when it is its turn; what nobody waits for any more is not begun."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    def close(self) -> None:
        """Decode nothing more."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def count(self) -> None:
        """Look how much is in the service's folder, if that was not done lately.

        It takes long where there are many files, and is waited for only where the answer may depend on it.
        """
        now = time.monotonic()
        with self._lock:
            if self._is_counting or now - self._counted < _COUNTED_ANEW:
                return
            is_needed = self._counted == -math.inf or self._used > _NEARLY_FULL * self.limits.folder_bytes
            self._counted, self._taken, self._is_counting = now, 0, True
        if is_needed:
            self._count()
        else:
            threading.Thread(target=self._count, name="persam-count", daemon=True).start()

    def _count(self) -> None:
        found = sum(_sizes_below(self.home))
        with self._lock:
            self._used = found + self._taken  # which it may have seen or not
            self._is_counting = False

    def take(self, count: int) -> None:
        """Say that so many bytes more will be written.

        Raises:
            NoRoomError: the service's folder would be fuller than it may be.
        """
        with self._lock:
            if self._used + count > self.limits.folder_bytes:
                raise NoRoomError("The service has no room for more files; delete jobs or concepts, or come later.")
            self._used += count
            self._taken += count


class Writing:
    """Writes an upload as it comes: what came is looked at once, and written when somebody has time for the disk.

    Args:
        upload: to be written.
        folder: that it lies in.
        most: bytes that it may have.

    Attributes:
        waiting: bytes that are not written yet.
    """

    def __init__(self, upload: Upload, folder: UploadFolder, most: int) -> None:
        self.upload, self.folder, self.most = upload, folder, most
        self.waiting = 0
        self._pieces: list[bytes] = []
        self._stream: BinaryIO | None = None
        self._is_whole = False

    @property
    def is_written(self) -> bool:
        """Whether it is whole and on the disk."""
        return self._is_whole and self._stream is not None and self._stream.closed

    def add(self, data: bytes) -> None:
        """Take what came.

        Raises:
            TooLargeError: it is larger than it may be.
            NoRoomError: there is no room for it.
        """
        upload = self.upload
        if upload.size + len(data) > self.most:
            raise TooLargeError(
                f"The file {upload.name} has more than {self.most / 1e6:,.1f} MB, which is more than is taken here; "
                "send a smaller one."
            )
        self.folder.take(len(data))
        upload.size += len(data)
        upload.head = (upload.head + data[:_HEAD])[:_HEAD]
        self._pieces.append(data)
        self.waiting += len(data)

    def end(self) -> Upload:
        """It is whole, once it is written."""
        self._is_whole = True
        return self.upload

    def write(self) -> None:
        """Write what waits; to be called beside the event loop.

        Raises:
            NoRoomError: the disk does not take it.
        """
        try:
            if self._stream is None:
                self._stream = self.upload.path.open("wb")
            self._stream.writelines(self._pieces)
            if self._is_whole:
                self._stream.close()
        except OSError as error:
            log("upload not written", level=logging.ERROR, problem=error.strerror or type(error).__name__)
            raise NoRoomError(
                f"The file {self.upload.name} could not be stored; the service's log says why."
            ) from error
        self._pieces.clear()
        self.waiting = 0

    def drop(self) -> None:
        """Remove it, unless somebody kept it; works at any time, and twice."""
        with suppress(OSError):  # what cannot be written at the end
            if self._stream is not None:
                self._stream.close()
        if self.upload.path.parent == self.folder.folder:
            self.upload.path.unlink(missing_ok=True)


@contextmanager
def stored(folder: UploadFolder, name: str, data: bytes) -> Iterator[Upload]:
    """A photo that came otherwise than in a form, in a file while the block lasts; to be entered beside the event loop.

    Raises:
        TooLargeError: it is larger than a photo may be.
        NoRoomError: there is no room for it.
    """
    writing = Writing(folder.new(name), folder, folder.limits.photo_bytes)
    folder.count()
    try:
        writing.add(data)
        upload = writing.end()
        writing.write()
        yield upload
    finally:
        writing.drop()


def alone_if_large(pixels: int) -> threading.Lock | nullcontext[None]:
    """To be held while a picture of so many pixels is decoded: of large ones, one at a time."""
    return _one_large if pixels > _LARGE else nullcontext()


_TURNS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean_name(name: str) -> str:
    r"""A name as its sender gave it, without folders, what file systems forbid, and what turns the way of writing.

    The last shows another name than it is, such as ``exe.jpg`` for ``gpj.exe``.

    >>> clean_name("../../etc/passwd"), clean_name("C:\\photos\\mug.jpg"), clean_name("..")
    ('passwd', 'mug.jpg', 'file')
    """
    return safe_name(_TURNS.sub("", re.split(r"[\\/]", name)[-1]), otherwise="file")


def _sizes_below(folder: Path) -> Iterator[int]:
    """Sizes of all files below a folder that is being written."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from _sizes_below(Path(entry.path))
                    else:
                        yield entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # removed just now
                    continue
    except OSError:
        return
