"""What the tabs of the studio share: one model, the concepts, and a folder of this run that goes with it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from persam.errors import PersamError, write_error
from persam.files import Held, safe_name
from persam.geometry import shrink
from persam.images import ImageSource
from persam.reports.pictures import encoded as picture_file

if TYPE_CHECKING:
    from fastapi import APIRouter

    from persam.models.base import EncodedImage
    from persam.persam import PerSAM
    from persam.server.engine import Engine
    from persam.server.store import ConceptStore

T = TypeVar("T")

#: Pixels of the longest side of a photo as the page shows it; prompts are in pixels of the photo itself.
SHOWN_SIDE = 2048
_SHELF_BYTES = 256 * 2**20  # of pictures that pages may still ask for; a photo takes about half a megabyte
_PATIENCE = 120  # seconds for one answer of the model, after which something is wrong


@dataclass(frozen=True)
class Shown:
    """A photo that the page shows.

    Attributes:
        url: where the page gets the small copy.
        width, height: of the photo itself, in pixels; prompts are given in these.
    """

    url: str
    width: int
    height: int

    def anew(self) -> Shown:
        """The same photo by another address, so that what was drawn on it before is told from what is drawn now."""
        return replace(self, url=f"{self.url.partition('?')[0]}?{secrets.token_hex(4)}")


class PictureShelf:
    """Files that pages ask for by a name that nobody can guess; the oldest go when there are too many.

    Args:
        most: bytes that are kept.
    """

    def __init__(self, most: int = _SHELF_BYTES) -> None:
        self._most, self._size = most, 0
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, file: bytes, suffix: str) -> str:
        """Keep a picture's file, and give its name, such as ``3f..9a.jpg``."""
        name = f"{secrets.token_hex(16)}.{suffix}"
        with self._lock:
            self._files[name] = file
            self._size += len(file)
            while self._size > self._most and len(self._files) > 1:
                _, oldest = self._files.popitem(last=False)
                self._size -= len(oldest)
        return name

    def get(self, name: str) -> bytes | None:
        """The file, or None where there is none of this name (any more)."""
        with self._lock:
            return self._files.get(name)


class Workshop(Held):
    """One run of the studio. Tabs keep what is of one browser tab in `gradio.State`, and all else here.

    Args:
        engine: runs the model, one thing after another.
        concepts: what was learned.
        study: folder of a study whose photos are to be masked, or None.
        folder: of this run's own files (uploads, downloads), removed with all in it by `close`; by default a new
            temporary one.
        is_local: whether this machine alone reaches the page; then it may offer folders of this machine.

    Attributes:
        routers: addresses of the tabs' own, such as those of pictures; a tab adds them when it is laid out.
        pictures: that the page gets as ``/pictures/NAME``.
        reports: pages that may hold anything; who gives them to a browser sees to it that nothing in them runs.
    """

    def __init__(
        self,
        engine: Engine,
        concepts: ConceptStore,
        *,
        study: Path | None = None,
        folder: Path | None = None,
        is_local: bool = True,
    ) -> None:
        self.is_local = is_local
        self.routers: list[APIRouter] = []
        self.engine, self.concepts, self.study = engine, concepts, study
        self.folder = Path(tempfile.mkdtemp(prefix="persam-studio-")) if folder is None else folder
        self.uploads, self.downloads = self.folder / "uploads", self.folder / "downloads"
        for each in (self.uploads, self.downloads):
            each.mkdir(parents=True, exist_ok=True)
        self.pictures, self.reports = PictureShelf(), PictureShelf()
        self._offered: dict[str, tuple[tuple[int, int], Path]] = {}  # copies by concept, with the stamp of its file
        self._changes: dict[Path, threading.Lock] = {}

    def changing(self, name: str) -> threading.Lock:
        """To be held while a concept is read, changed and saved: of the changes of two pages none gets lost."""
        return self._changes.setdefault(self.concepts.path(name), threading.Lock())

    def close(self) -> None:
        """Remove the files of this run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, work: Callable[[PerSAM], T]) -> T:
        """Let the model do something, and wait for it.

        Raises:
            BusyError: too many are waiting.
            PersamError: what the work raised; or it took more than two minutes.
        """
        return answer_of(self.engine.call(work))

    def encode(self, photo: ImageSource) -> EncodedImage:
        """Encode a photo, once, for any number of prompts and concepts.

        Raises:
            PersamError: it cannot be read.
        """
        return self.ask(lambda model: model.encode(photo))

    def show(self, pixels: np.ndarray) -> Shown:
        """Put a photo, (H, W, 3) uint8 RGB, where the page gets it, no larger than a screen can use."""
        height, width = pixels.shape[:2]
        file = picture_file(shrink(pixels, SHOWN_SIDE), "JPEG", quality=90)
        return Shown(f"/pictures/{self.pictures.put(file, 'jpg')}", width, height)

    def download(self, name: str) -> Path:
        """A place for a file that the page offers under this name; every call gives another."""
        place = self.downloads / secrets.token_hex(8)
        place.mkdir()
        return place / safe_name(name)

    def concept_file(self, name: str) -> Path:
        """A copy of a concept's file that the page offers, made anew only when the concept changed.

        Raises:
            NoConceptError: there is none of that name.
            PersamError: it cannot be copied.
        """
        stamp = self.concepts.stamp(name)
        offered = self._offered.get(name)
        if offered is None or offered[0] != stamp:
            source = self.concepts.path(name)
            copy = self.download(source.name)
            try:
                shutil.copyfile(source, copy)
            except OSError as error:
                raise write_error(f'the download of "{name}"', error) from error
            self._offered[name] = offered = stamp, copy
        return offered[1]


def answer_of(future: Future[T]) -> T:
    """Wait for what the engine was asked.

    Raises:
        PersamError: what the work raised; or it took more than two minutes.
    """
    try:
        return future.result(timeout=_PATIENCE)
    except TimeoutError as error:
        future.cancel()
        raise PersamError("The model did not answer within two minutes; wait for other jobs to end.") from error
