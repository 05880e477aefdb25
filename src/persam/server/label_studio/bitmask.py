"""Masks as Label Studio's bitmask regions hold them: a PNG in a ``data:`` address, opaque where the object is."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from persam.errors import PersamError
from persam.geometry import Size
from persam.images import open_header, open_picture
from persam.masks import read_mask
from persam.server.uploads import alone_if_large

_HEAD, _SIGNATURE = "data:image/png;base64,", b"\x89PNG\r\n\x1a\n"
_MOST_A_PIXEL, _MOST_BESIDE = 8, 100_000  # characters of an address; a PNG that was not packed has fewer
_WHAT = "bitmask region"


def encode_bitmask(mask: np.ndarray) -> str:
    """A mask (H, W) bool as an address: black where it is, transparent elsewhere, as Label Studio draws it."""
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette([0, 0, 0] * 2)
    stream = io.BytesIO()
    picture.save(stream, "PNG", bits=1, transparency=0)
    return _HEAD + base64.b64encode(stream.getvalue()).decode()


def decode_bitmask(address: str, size: Size) -> np.ndarray:
    """The mask (H, W) bool of a bitmask region.

    Args:
        address: that holds the PNG.
        size: (H, W) of the photo; a smaller copy of it may have been drawn on.

    Raises:
        PersamError: it holds something else, is damaged, or of a photo of another size.
    """
    most = size[0] * size[1]
    if not isinstance(address, str) or not address.startswith(_HEAD):
        raise PersamError(f"A {_WHAT} has no PNG in its imageDataURL; draw the region again.")
    if len(address) > _MOST_BESIDE + _MOST_A_PIXEL * most:
        raise PersamError(f"A {_WHAT} is larger than its photo; draw the region again.")
    try:
        data = base64.b64decode(address[len(_HEAD) :], validate=True)
        if not data.startswith(_SIGNATURE):  # nor is any other kind looked at
            raise ValueError(data[:8])  # noqa: TRY301
        with alone_if_large(most):
            width, height = open_header(io.BytesIO(data), Path("bitmask"), _WHAT, most).size
            picture = None if width * height > most else open_picture("bitmask", what=_WHAT, max_pixels=most, data=data)
    except (PersamError, ValueError) as error:
        raise PersamError(f"The PNG of a {_WHAT} is damaged; draw the region again.") from error
    if picture is None:
        raise PersamError(f"A {_WHAT} was drawn on a photo of another size; draw the region again.")
    return read_mask(picture, size, what=_WHAT, may_be_trivial=True)
