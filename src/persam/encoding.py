"""From photos to encodings: one, or any number, which are read in threads while those before are worked on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from persam.geometry import Size, shrink
from persam.images import ImageSource, read_image
from persam.masks import check_copy
from persam.method.find import detail_side
from persam.method.segment import OUTLINE_SIDE
from persam.models.base import EncodedImage, FeatureEncoder, PromptableModel, check_encoding, encode_all

PHOTOS_AT_ONCE = 4  # that a GPU encodes
HELD = 512 << 20  # bytes of photos that wait to be encoded, beyond which no further one is read

Photo = ImageSource | EncodedImage
NamedPixels = tuple[str | None, np.ndarray]
Read = TypeVar("Read")


def read_photo(image: ImageSource) -> NamedPixels:
    """A photo's name, if it has one, and its pixels, (H, W, 3) uint8 RGB."""
    source = str(image) if isinstance(image, (str, os.PathLike)) else getattr(image, "filename", None) or None
    return source, read_image(image)


def _read_unless_encoded(photo: Photo) -> NamedPixels | EncodedImage:
    return photo if isinstance(photo, EncodedImage) else read_photo(photo)


class Unread:
    """What went wrong with a photo, be it read or encoded, to be raised when it is the photo's turn."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class PhotoEncoder:
    """Encodes photos with all that finding something in them takes.

    Args:
        model: the promptable model.
        encoder: another one for the confidence map, or None.
        closer_looks: also keep the pixels that a closer look needs.
        finder_side: pixels of the longest side of the copy that a finder by words is shown; 0: none is kept.
    """

    def __init__(
        self, model: PromptableModel, encoder: FeatureEncoder | None, closer_looks: bool, finder_side: int = 0
    ) -> None:
        self.model, self.encoder, self.closer_looks, self.finder_side = model, encoder, closer_looks, finder_side
        self._is_short = False  # of memory for several photos

    def encode_one(self, photo: ImageSource, size: Size | None = None) -> EncodedImage:
        """Read a photo and encode it.

        Args:
            photo: a path, a PIL image, an (H, W, 3) uint8 array.
            size: (H, W) of the photo, where this is a smaller copy.

        Raises:
            PersamError: the photo cannot be read.
            UsageError: a `size` of another aspect.
        """
        source, pixels = read_photo(photo)
        if size is not None:
            check_copy(pixels.shape, size)
        (encoded,) = self.encode([(source, pixels)])
        return encoded if size is None else encoded.of_photo(size)

    @property
    def at_once(self) -> int:
        """Photos of one pass: one on a CPU, which is no faster with more."""
        return 1 if self.model.device.type == "cpu" else PHOTOS_AT_ONCE

    @property
    def readers(self) -> int:
        """Threads that read photos for it: what is encoded in one pass takes several of them."""
        return min(self.at_once, os.cpu_count() or 1)

    def encode(self, photos: Sequence[NamedPixels | EncodedImage | Unread]) -> Iterator[EncodedImage]:
        """As `encode_each`, but what is wrong with one is raised when it is its turn."""
        for each in self.encode_each(photos):
            if isinstance(each, Unread):
                raise each.error
            yield each

    @torch.inference_mode()
    def encode_each(self, photos: Sequence[NamedPixels | EncodedImage | Unread]) -> Iterator[EncodedImage | Unread]:
        """Photos that are read, in one pass of each encoder; others come out as they are, and all in order.

        Where a pass fails, be it for memory or for one odd photo, each is encoded alone: the others are none the worse
        for it. After a lack of memory, all are from then on.
        """
        together = iter(self._together([each[1] for each in photos if isinstance(each, tuple)]))
        for each in photos:
            found: EncodedImage | Unread
            if not isinstance(each, tuple):
                found = each
            else:
                try:
                    found = self._one(*each, next(together, None))
                except Exception as error:
                    found = Unread(error)
            yield found

    def _together(self, pictures: Sequence[np.ndarray]) -> list[tuple[EncodedImage, EncodedImage | None]]:
        """What one pass makes of several; nothing, where they are to be encoded one by one."""
        if len(pictures) < 2 or self._is_short:
            return []
        try:
            return self._passes(pictures)
        except Exception as error:  # who is to blame is told by its own pass
            self._is_short = isinstance(error, MemoryError | torch.OutOfMemoryError)
            return []

    def _one(
        self, source: str | None, pixels: np.ndarray, made: tuple[EncodedImage, EncodedImage | None] | None
    ) -> EncodedImage:
        """One photo's encoding, made with others already or now, with all else that is to be known of the photo."""
        encoded, other = made or self._passes([pixels])[0]
        small = shrink(pixels, OUTLINE_SIDE)
        detail = shrink(pixels, detail_side(encoded.frame.canvas)) if self.closer_looks else None
        shown = shrink(pixels, self.finder_side) if self.finder_side else None
        encoded = replace(encoded, other=other, source=source, pixels=small, detail=detail, for_finder=shown)
        return check_encoding(encoded, self.model.name)

    def _passes(self, pictures: Sequence[np.ndarray]) -> list[tuple[EncodedImage, EncodedImage | None]]:
        """What the model and the other encoder, if there is one, make of every picture, in one pass of each."""
        others = [None] * len(pictures) if self.encoder is None else encode_all(self.encoder, pictures)
        return list(zip(encode_all(self.model, pictures), others, strict=True))

    def encode_ahead(self, photos: Iterable[Photo], batch: int) -> Iterator[EncodedImage]:
        """Any photos, in order: up to `batch` of those that are read already in one pass."""
        # Of other sources nobody knows whether they, or Pillow images that they give, bear several threads.
        are_paths = isinstance(photos, (list, tuple)) and all(isinstance(each, (str, os.PathLike)) for each in photos)
        readers = self.readers if are_paths and batch > 1 else 1
        for group in read_ahead(photos, _read_unless_encoded, batch, readers=readers):
            yield from self.encode(group)


def read_ahead(
    photos: Iterable[Any], read: Callable[[Any], Read], most: int, *, readers: int = 1
) -> Iterator[list[Read | Unread]]:
    """Photos that are read, in order and in groups: those that are ready, or the next one.

    So nobody waits for a photo that has not come, be it from a slow source or one without end. The source is asked in
    the reading threads, by one at a time, and first when the first group is asked for. What is wrong with a photo
    stands in its place, and the others go on; where the source fails it is over.

    Args:
        photos: the source.
        read: reads one of them.
        most: photos of a group; no more than these and one for each reader are read before they are asked for, and
            fewer where they are large (`HELD`).
        readers: threads.
    """
    ahead = _Ahead(photos, read, most, readers)
    try:
        yield from iter(ahead.group, [])  # without a name for the group, which would keep its pixels
    finally:
        ahead.stop()


class _Ahead:
    """Threads that read photos ahead, and what they have read; see `read_ahead`."""

    def __init__(self, photos: Iterable[Any], read: Callable[[Any], Any], most: int, readers: int) -> None:
        self._photos, self._read = photos, read
        self._most, self._room = most, most + readers
        self._source: Iterator[Any] | None = None
        self._asking = threading.Lock()  # of whoever asks the source
        self._change = threading.Condition()  # guards all below; told whenever any of it changes
        self._ready: dict[int, Any] = {}  # by number in the source
        self._begun = self._given = self._held = self._largest = 0  # two numbers of photos, two of bytes
        self._end: int | None = None  # number of photos, once it is known
        self._is_stopped = False
        for _ in range(readers):  # daemons, because a source may wait for ever
            threading.Thread(target=self._work, name="persam-ahead", daemon=True).start()

    def group(self) -> list[Any]:
        """The next ones, of which there is at least one; none, if it is over."""
        with self._change:
            self._change.wait_for(lambda: self._given in self._ready or self._given == self._end)
            found: list[Any] = []
            while len(found) < self._most and self._given in self._ready:
                found.append(self._ready.pop(self._given))
                self._given += 1
            self._held -= sum(map(_bytes_of, found))
            self._change.notify_all()
            return found

    def stop(self) -> None:
        """Read no further one."""
        with self._change:
            self._is_stopped = True
            self._change.notify_all()

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            self._put(*turn)
            del turn

    def _next(self) -> tuple[int, Any] | None:
        """Number and photo of what is to be read now; None, if it is over."""
        with self._asking:
            with self._change:
                self._change.wait_for(lambda: self._is_over() or self._may_begin())
                if self._is_over():
                    return None
            try:
                self._source = iter(self._photos) if self._source is None else self._source
                photo = next(self._source)
            except BaseException as error:
                with self._change:
                    if not isinstance(error, StopIteration):
                        self._ready[self._begun] = Unread(error)
                        self._begun += 1
                    self._end = self._begun
                    self._change.notify_all()
                return None
            with self._change:
                self._begun += 1
                return self._begun - 1, photo

    def _is_over(self) -> bool:
        return self._is_stopped or self._end is not None

    def _may_begin(self) -> bool:
        waiting = self._begun - self._given
        if not waiting:  # however large it is, somebody may wait for it
            return True
        # Nobody knows how large a photo is before it is read: as large as the largest so far, and the first alone.
        expected = (waiting - len(self._ready) + 1) * self._largest
        is_any_read = bool(self._given or self._ready)
        return is_any_read and waiting < self._room and self._held + expected <= HELD

    def _put(self, number: int, photo: Any) -> None:
        """Read a photo. In a function of its own, after which the thread knows no pixels."""
        try:
            found = self._read(photo)
        except BaseException as error:
            found = Unread(error)
        size = _bytes_of(found)
        with self._change:
            self._ready[number] = found
            self._held += size
            self._largest = max(self._largest, size)
            self._change.notify_all()


def _bytes_of(read: object) -> int:
    """Of pixels; what is encoded already is there anyway."""
    return sum(getattr(part, "nbytes", 0) for part in read) if isinstance(read, tuple) else 0
