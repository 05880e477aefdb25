"""Masks as Label Studio's brush regions hold them: the bit-packed run-length code of thi.ng's ``rle-pack``.

It is read from the highest bit of the first byte on. A head: 32 bits with the number of values, 5 with the bits of a
value less 1, and four times 4 with the bits of a length less 1. Then records: 1 bit that says whether one value is
repeated, 2 that choose one of the four kinds of length, the length less 1, and then the value, or so many values. The
values are the photo's pixels, row by row, as red, green, blue and alpha; the mask is in the alpha.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from persam.errors import PersamError

_VALUE_BITS, _LENGTH_BITS = 8, (3, 4, 8, 16)  # as Label Studio's own converter writes them
_LONGEST = 1 << _LENGTH_BITS[-1]
_CHANNELS, _ALPHA, _OPAQUE = 4, 3, 255
_DAMAGED = "A brush region's run-length code is damaged; draw the region again."


def encode_brush(mask: np.ndarray) -> list[int]:
    """A mask (H, W) bool as the bytes of a brush region, each 0 to 255."""
    bits = [f"{mask.size * _CHANNELS:032b}", f"{_VALUE_BITS - 1:05b}", *(f"{each - 1:04b}" for each in _LENGTH_BITS)]
    for value, length in _runs(mask):
        choice = next(number for number, each in enumerate(_LENGTH_BITS) if length <= 1 << each)
        bits.append(f"1{choice:02b}{length - 1:0{_LENGTH_BITS[choice]}b}{value:0{_VALUE_BITS}b}")
    text = "".join(bits)
    size = -(-len(text) // 8)
    return list((int(text, 2) << (size * 8 - len(text))).to_bytes(size, "big"))


def _runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """(value, length) of the runs of equal values, all channels counted, none longer than a length can say."""
    flat = mask.reshape(-1)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        value, left = (_OPAQUE if flat[start] else 0), (end - start) * _CHANNELS
        while left > 0:
            yield value, min(left, _LONGEST)
            left -= _LONGEST


def decode_brush(code: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of a brush region: whatever is not fully transparent, as Label Studio exports it.

    Args:
        code: bytes, each 0 to 255.
        size: (H, W) of the photo on which it was drawn; so many bytes are taken for the mask, however short the code.

    Raises:
        PersamError: the code ends early, or is of a photo of another size.
    """
    height, width = size
    try:
        if not isinstance(code, Sequence):  # of a number, so many bytes would be made
            raise TypeError(code)  # noqa: TRY301
        bits = _Bits(bytes(code))
        count, value_bits = bits.read(32), bits.read(5) + 1
        if count != height * width * _CHANNELS:
            raise PersamError(
                f"A brush region holds {count} values, but a photo of {width} x {height} pixels has "
                f"{height * width * _CHANNELS}; draw the region again."
            )
        length_bits = [bits.read(4) + 1 for _ in range(4)]
        mask = np.zeros(height * width, bool)
        start = 0
        while start < count:
            repeated = bits.read(1)
            end = start + 1 + bits.read(length_bits[bits.read(2)])
            if end > count:
                raise PersamError(_DAMAGED)
            pixels = slice(start // _CHANNELS, end // _CHANNELS)  # those whose alpha is among these values
            if repeated:
                mask[pixels] = bits.read(value_bits) > 0
            else:
                first = pixels.start * _CHANNELS + _ALPHA - start
                mask[pixels] = bits.read_whether(end - start, value_bits)[first::_CHANNELS]
            start = end
    except (TypeError, ValueError) as error:
        raise PersamError(_DAMAGED) from error
    return mask.reshape(height, width)


class _Bits:
    """Numbers of any number of bits, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self.text = (self.bits + ord("0")).tobytes()  # Python reads a number from its digits at once
        self.place = 0

    def read(self, size: int) -> int:
        """The next number; ValueError where the data ends in it."""
        digits = self.text[self.place : self.place + size]
        if len(digits) != size:
            raise ValueError(size)
        self.place += size
        return int(digits, 2)

    def read_whether(self, count: int, size: int) -> np.ndarray:
        """Whether the next numbers are more than 0, (count,) bool."""
        part = self.bits[self.place : self.place + count * size]
        self.place += count * size
        whether: np.ndarray = part.reshape(count, size).any(axis=1)
        return whether
