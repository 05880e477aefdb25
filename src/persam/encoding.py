"""From photos to encodings: one, or any number, which are read in a thread while the one before is worked on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import Empty, Queue
from typing import Any, TypeVar

import numpy as np

from persam.geometry import Size, shrink
from persam.images import ImageSource, read_image
from persam.masks import check_copy
from persam.method.find import detail_side
from persam.method.segment import OUTLINE_SIDE
from persam.models.base import EncodedImage, FeatureEncoder, PromptableModel, check_encoding, encode_all

PHOTOS_AT_ONCE = 4  # that a GPU encodes

Photo = ImageSource | EncodedImage
NamedPixels = tuple[str | None, np.ndarray]
Read = TypeVar("Read")


def read_photo(image: ImageSource) -> NamedPixels:
    """A photo's name, if it has one, and its pixels, (H, W, 3) uint8 RGB."""
    source = str(image) if isinstance(image, (str, os.PathLike)) else getattr(image, "filename", None) or None
    return source, read_image(image)


def _read_unless_encoded(photo: Photo) -> NamedPixels | EncodedImage:
    return photo if isinstance(photo, EncodedImage) else read_photo(photo)


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

    def encode(self, photos: Sequence[NamedPixels]) -> Iterator[EncodedImage]:
        """Photos that are read, in one pass of each encoder; what is wrong with one is said when it is its turn.

        Where a pass fails, be it for memory or for one odd photo, each is encoded alone: those before it are none the
        worse for it.
        """
        together = None
        if len(photos) > 1:
            with suppress(Exception):  # who is to blame is told by its own pass
                together = self._passes([pixels for _, pixels in photos])
        for number, (source, pixels) in enumerate(photos):
            ((encoded, other),) = self._passes([pixels]) if together is None else together[number : number + 1]
            small = shrink(pixels, OUTLINE_SIDE)
            detail = shrink(pixels, detail_side(encoded.frame.canvas)) if self.closer_looks else None
            shown = shrink(pixels, self.finder_side) if self.finder_side else None
            encoded = replace(encoded, other=other, source=source, pixels=small, detail=detail, for_finder=shown)
            yield check_encoding(encoded, self.model.name)

    def _passes(self, pictures: Sequence[np.ndarray]) -> list[tuple[EncodedImage, EncodedImage | None]]:
        """What the model and the other encoder, if there is one, make of every picture, in one pass of each."""
        others = [None] * len(pictures) if self.encoder is None else encode_all(self.encoder, pictures)
        return list(zip(encode_all(self.model, pictures), others, strict=True))

    def encode_ahead(self, photos: Iterable[Photo], batch: int) -> Iterator[EncodedImage]:
        """Any photos, in order: up to `batch` of those that are read already in one pass."""
        for group in read_ahead(photos, _read_unless_encoded, batch):
            encoded = self.encode([each for each in group if isinstance(each, tuple)])
            for each in group:
                if isinstance(each, Unread):
                    raise each.error
                yield each if isinstance(each, EncodedImage) else next(encoded)


_END = object()


class Unread:
    """What went wrong where a photo was to be read, to be raised when it is the photo's turn."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def read_ahead(photos: Iterable[Any], read: Callable[[Any], Read], most: int) -> Iterator[list[Read | Unread]]:
    """Photos that are read, in order and in groups: those that are ready, or the next one.

    So nobody waits for a photo that has not come, be it from a slow source or one without end. The source is asked in
    the reading thread, first when the first group is asked for.

    Args:
        photos: the source.
        read: reads one of them.
        most: photos of a group; so many are ready at most, one more is being read.
    """
    ready: Queue[Any] = Queue(maxsize=most)
    stopped = threading.Event()

    def work() -> None:
        source: Iterator[Any] | None = None
        while not stopped.is_set():
            try:
                source = iter(photos) if source is None else source
                each: Any = read(next(source))
            except StopIteration:
                each = _END
            except BaseException as error:
                each = Unread(error)
            ready.put(each)
            if each is _END or isinstance(each, Unread):
                return

    threading.Thread(target=work, name="persam-ahead", daemon=True).start()  # a source may wait for ever
    try:
        while True:
            first = ready.get()
            group: list[Any] = [first] if first is _END else [first, *_at_hand(ready, most - 1)]
            last = group[-1]
            if last is _END:
                group.pop()
            if group:
                yield group
            if last is _END or isinstance(last, Unread):  # nothing comes after them
                return
    finally:
        stopped.set()
        _at_hand(ready, most)  # whoever waits for room goes on, and sees that it is over


def _at_hand(ready: Queue[Any], most: int) -> list[Any]:
    found: list[Any] = []
    try:
        while len(found) < most and not (found and found[-1] is _END):
            found.append(ready.get_nowait())
    except Empty:
        pass
    return found
