"""References that a concept keeps on request, so that it can be tuned and learned again: pixels, and nothing else.

A JPEG photo stays the JPEG that it is, bit by bit, without its metadata (where and when it was taken, by which camera,
small previews); any other photo becomes a PNG.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from persam.errors import PersamError
from persam.files import expanded
from persam.images import exif_orientation, read_image
from persam.masks import read_mask
from persam.method.learn import Learned
from persam.reference import Reference
from persam.reports.pictures import encoded

_END, _SCAN = 0xD9, 0xDA  # markers of a JPEG: of its end, of compressed pixels
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
# Application data but JFIF (E0) and Adobe (EE), which tell how colours are stored; and comments.
_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}


@dataclass(frozen=True)
class KeptReference:
    """The photo and mask of a reference as the bytes of picture files.

    Attributes:
        photo: JPEG or PNG.
        mask: PNG, white on the object.
        values: PNG of the raw values of the mask's file, which mode official looks at; empty if there was none.
    """

    photo: bytes
    mask: bytes
    values: bytes = b""

    @classmethod
    def of(cls, reference: Reference, learned: Learned) -> KeptReference:
        """Keep a reference, with the mask that was learned from, also where a box or points showed the object."""
        mask = learned.mask.cpu().numpy()
        values = b"" if reference.mask_values is None else encoded(reference.mask_values, "PNG")
        return cls(_photo_bytes(reference), encoded(mask.astype(np.uint8) * 255, "PNG"), values)

    def read(self, *, source: str = "", sha256: str = "") -> Reference:
        """The reference again, the same to the pixel.

        Raises:
            PersamError: a picture in it is damaged.
        """
        photo = read_image(_open(self.photo))
        mask = read_mask(_open(self.mask), (photo.shape[0], photo.shape[1]), may_be_trivial=True)
        values = read_image(_open(self.values)) if self.values else None
        return Reference(photo, mask=mask, mask_values=values, source=source, sha256=sha256)


def _open(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        picture.load()
    except Exception as error:  # Pillow's decoders raise a dozen kinds
        raise PersamError("A reference that the concept keeps is damaged; learn the concept again.") from error
    return picture


def _photo_bytes(reference: Reference) -> bytes:
    """The photo's JPEG without metadata, if it was read from one and this gives the same pixels; else a PNG."""
    if expanded(reference.source).is_file():  # and no pipe, which gives its picture only once
        try:
            data = expanded(reference.source).read_bytes()
            bare = without_metadata(data, _orientation(data))
            if np.array_equal(read_image(_open(bare)), reference.image):
                return bare
        except (OSError, ValueError, PersamError):  # no JPEG, or gone since
            pass
    return encoded(reference.image, "PNG")


def _orientation(data: bytes) -> int:
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("no JPEG")
    return exif_orientation(Image.open(io.BytesIO(data)))


def without_metadata(data: bytes, orientation: int = 1) -> bytes:
    """A JPEG's image without metadata, previews and whatever follows it; its compressed pixels are not touched.

    Args:
        data: the file.
        orientation: EXIF orientation, 1 to 8; one that turns the picture is the only thing that is told of it.

    Raises:
        ValueError: it is no whole JPEG.
    """
    parts = [b"\xff\xd8"]
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        told = exif.tobytes()
        parts.append(b"\xff\xe1" + (len(told) + 2).to_bytes(2, "big") + told)
    parts += [part for marker, part in _segments(data) if marker not in _METADATA]
    return b"".join(parts)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of a JPEG after its first marker: (marker, bytes of the part), the end of the image included."""
    place = 2
    while True:
        if place + 4 > len(data) and data[place : place + 2] != b"\xff\xd9":
            raise ValueError("a JPEG that ends early")
        if data[place] != 0xFF:
            raise ValueError("a JPEG with something between its parts")
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker == _END:
            yield marker, b"\xff\xd9"
            return
        end = place + 2 if marker in _WITHOUT_LENGTH else place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == _SCAN:
            end = _end_of_scan(data, end)
        yield marker, data[place:end]
        place = end


def _end_of_scan(data: bytes, place: int) -> int:
    """Where the next marker begins; within compressed pixels FF is followed by 00, or restarts them."""
    while (place := data.find(b"\xff", place)) >= 0:
        if place + 1 < len(data) and data[place + 1] != 0 and not 0xD0 <= data[place + 1] < 0xD8:
            return place
        place += 2
    raise ValueError("a JPEG that ends early")
