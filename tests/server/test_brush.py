"""Label Studio's brush code: against a plain reading of the published algorithm, and back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persam.errors import PersamError
from persam.instance import mask_box
from persam.server.label_studio.brush import decode_brush, encode_brush


def unpacked(code: list[int]) -> list[int]:
    """The values of a code, read as thi.ng's `rle-pack` and Label Studio's converter do: bit by bit."""
    bits = iter("".join(f"{byte:08b}" for byte in code))

    def read(size: int) -> int:
        return int("".join(next(bits) for _ in range(size)), 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    return values


def packed(records: list[tuple[bool, list[int]]], *, word: int = 8, sizes: Sequence[int] = (3, 4, 8, 16)) -> list[int]:
    """A code of these records, whose lengths are written with the last of the sizes."""
    count = sum(len(values) for _, values in records)
    text = f"{count:032b}{word - 1:05b}" + "".join(f"{each - 1:04b}" for each in sizes)
    for repeated, values in records:
        written = values[:1] if repeated else values
        text += f"{int(repeated)}11{len(values) - 1:0{sizes[3]}b}" + "".join(f"{value:0{word}b}" for value in written)
    text += "0" * (-len(text) % 8)
    return [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]


MASKS = st.tuples(st.integers(1, 9), st.integers(1, 12)).flatmap(
    lambda size: st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
        lambda pixels: np.array(pixels, bool).reshape(size)
    )
)


@given(MASKS)
def test_a_mask_is_written_so_that_the_published_algorithm_reads_it(mask: np.ndarray) -> None:
    code = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in code)
    assert unpacked(code) == np.repeat(mask.reshape(-1) * 255, 4).tolist()
    assert np.array_equal(decode_brush(code, mask.shape), mask)


def test_a_vector_worked_out_by_hand() -> None:
    """One row of two pixels, the second on the object: 4 values of 0, 4 of 255; lengths of up to 8 have 3 bits."""
    head = f"{8:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    records = "1" + "00" + f"{3:03b}" + f"{0:08b}" + "1" + "00" + f"{3:03b}" + f"{255:08b}"
    text = head + records
    text += "0" * (-len(text) % 8)
    expected = [int(text[place : place + 8], 2) for place in range(0, len(text), 8)]
    assert encode_brush(np.array([[False, True]])) == expected
    assert expected[:4] == [0, 0, 0, 8]


def test_runs_longer_than_a_length_can_say_are_split() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100:, :] = True  # 40,000 and 80,000 pixels: 160,000 and 320,000 values
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_a_short_code_of_a_large_photo_takes_no_more_than_its_mask() -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[500:] = True
    code = encode_brush(mask)
    tracemalloc.start()
    try:
        found = decode_brush(code, mask.shape)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * mask.size
    finally:
        tracemalloc.stop()
    assert np.array_equal(found, mask)


def test_what_a_browser_writes_is_read() -> None:
    """The editor's regions have colours, soft edges, single values one by one, and other sizes of lengths."""
    pixels = np.zeros((3, 4, 4), np.uint8)
    pixels[1, 1:3] = (200, 10, 20, 255)
    pixels[2, 0] = (200, 10, 20, 40)  # a soft edge
    values = pixels.reshape(-1).tolist()
    records = [(True, values[:20]), (False, values[20:40]), (True, values[40:44]), (False, values[44:])]
    for word, sizes in ((8, (2, 3, 5, 7)), (12, (1, 1, 1, 16))):
        found = decode_brush(packed(records, word=word, sizes=sizes), (3, 4))
        assert np.array_equal(found, pixels[:, :, 3] > 0)


def test_a_stroke_that_was_drawn_in_label_studio_is_read() -> None:
    """Drawn with the mouse in its editor (1.23.2), on a photo of 640 x 480 pixels, and had by its API."""
    code = list((Path(__file__).parents[1] / "data" / "label-studio-1.23-brush.bin").read_bytes())
    mask = decode_brush(code, (480, 640))
    assert np.array_equal(mask.reshape(-1) * 255 > 0, np.array(unpacked(code)[3::4]) > 0)
    assert mask_box(mask) == (164, 215, 309, 315)
    assert mask.sum() == 4376


@pytest.mark.parametrize(
    "code",
    [
        [],
        [0, 0, 0],
        encode_brush(np.eye(6, dtype=bool))[:-3],
        packed([(True, [0] * 150)]),
        [*(144).to_bytes(4, "big"), 0x3F, 0xFF, 0xFF, *[0xFF] * 9],
        [300, 2, 5],
        10_000_000_000,
        ["a"],
        None,
    ],
    ids=[
        "empty",
        "no head",
        "cut off",
        "another size",
        "a run beyond the end",
        "no byte",
        "one number",
        "no numbers",
        "nothing",
    ],
)
def test_a_damaged_code_is_refused_in_a_sentence(code: object) -> None:
    with pytest.raises(PersamError, match="draw the region again"):
        decode_brush(code, (6, 6))  # type: ignore[arg-type]
