"""Pages and pictures: everything is escaped, cells read well, and what is small stays to be seen."""

from __future__ import annotations

import base64
import doctest
import io

import numpy as np
import pytest
from PIL import Image

from persam import lazy
from persam.geometry import fit, fit_mask, shrink
from persam.reports import page, pictures, tables
from persam.reports.page import cell, duration, render
from persam.reports.pictures import GridStyle, Tile, draw_grid, embedded


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.912 [0.90, 0.93]", "<b>0.912</b> <small>[0.90, 0.93]</small>"),
        ("1.17 [1.14, 1.21] over-segments", "<b>1.17</b> <small>[1.14, 1.21]</small> <small>over-segments</small>"),
        ("-", '<span class="soft">–</span>'),
        ("<b> & co", "&lt;b&gt; &amp; co"),
        ("<b> [1, 2] <i>", "<b>&lt;b&gt;</b> <small>[1, 2]</small> <small>&lt;i&gt;</small>"),
    ],
)
def test_cells(text: str, shown: str) -> None:
    assert str(cell(text)) == shown


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.0123, 0.9, 12.345)] == ["12 ms", "900 ms", "12.3 s"]


def test_a_page_is_escaped_whole_and_for_light_and_dark() -> None:
    html = render("reports/contact_sheet.html.j2", title="<script>alert(1)</script>", entries=[])
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 2
    assert "color-scheme: light dark" in html
    assert html.rstrip().endswith("</html>")


def test_pictures_fit_and_small_ones_stay() -> None:
    photo = np.zeros((30, 90, 3), np.uint8)
    assert fit(photo, 60).shape == (20, 60, 3)
    assert fit(photo, 180).shape == (60, 180, 3)
    assert shrink(photo, 180) is photo
    assert fit(np.zeros((1, 900), np.float32), 3).shape == (1, 3)


def test_a_thing_smaller_than_a_pixel_stays_and_nothing_stays_nothing() -> None:
    mask, small = np.zeros((900, 900), bool), np.zeros((30, 30, 3), np.uint8)
    assert not fit_mask(mask, small).any()
    mask[451, 452] = True
    assert fit_mask(mask, small).sum() == 1
    assert fit_mask(np.ones((7, 9), bool), small).all()


def test_an_embedded_picture_is_the_picture() -> None:
    head, data = embedded(np.full((40, 80, 3), 200, np.uint8), 20).split(",")
    assert head == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (20, 10)


@pytest.mark.parametrize("above", [False, True])
def test_a_grid_has_room_for_every_tile(above: bool) -> None:
    style = GridStyle(cell=100, gap=10, text=40, letters=(14, 13), above=above)
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    tiles = [Tile(np.full((30 * n + 30, 100, 3), colours[n], np.uint8), f"猫 {n}", "note") for n in range(3)]
    drawn = draw_grid("a title " * 30, [tiles[:2], tiles[2:]], style)
    assert drawn.shape == (50 + 60 + 90 + 2 * 50, 360, 3)
    for tile, colour in zip(tiles, colours, strict=True):
        assert (drawn == colour).all(2).sum() == tile.picture.shape[0] * 100
    assert draw_grid("nothing", [], style).shape == (50, 360, 3)


@pytest.mark.parametrize("module", [lazy, page, pictures, tables], ids=lambda module: module.__name__)
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_a_name_that_a_package_does_not_have() -> None:
    get, _ = lazy.lazy_names("persam", {"persam.errors": "PersamError"})
    with pytest.raises(AttributeError, match="module 'persam' has no attribute 'gone'"):
        get("gone")
