"""What is measured of a reference, on drawn scenes of which it is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.doctor.conftest import reference_of

from persam import Reference
from persam.doctor.measures import Measures, examine


@pytest.fixture(scope="module")
def disc(colours):
    return examine(colours, reference_of()).measures


def measured(colours, image: np.ndarray, mask: np.ndarray) -> Measures:
    return examine(colours, Reference.read(image, mask)).measures


def test_a_disc_on_a_plain_ground(disc):
    assert disc.area == pytest.approx(np.pi * 28**2 / (120 * 160), rel=0.02)
    assert disc.cells == pytest.approx(disc.area * 16 * 12, rel=0.1)  # 16 x 16 cells, a quarter of them padding
    assert (disc.border, disc.cut, disc.parts, disc.main_part) == (0, 0, 1, 1)
    assert disc.edges > 2
    assert disc.lost == 0
    assert disc.colours < 0.1
    assert disc.separation > 0.99
    assert disc.mistaken == 0


def test_what_is_found_is_compared_with_the_mask(colours):
    examined = examine(colours, reference_of())
    both = examined.mask & examined.found.assumed_mask
    either = examined.mask | examined.found.assumed_mask
    assert examined.measures.own_iou == pytest.approx(both.sum() / either.sum())
    assert examined.measures.own_size == pytest.approx(examined.found.assumed_mask.sum() / examined.mask.sum())


def test_an_object_that_the_photo_cuts_off(colours):
    cut = measured(colours, *draw_scene(center=(60, 0)))
    assert cut.cut == pytest.approx(56 / (56 + np.pi * 28), abs=0.08)  # the diameter, of a half disc's outline
    assert 0 < cut.border < 0.15


def test_parts_that_count(colours):
    image, mask = draw_scene()
    mask[5:30, 120:150] = True
    mask[100, 3] = True  # a slip of the brush
    found = measured(colours, image, mask)
    assert found.parts == 2
    assert found.main_part == pytest.approx(1 - 25 * 30 / mask.sum(), abs=0.01)


def test_a_shifted_mask_lies_on_no_edges_and_is_not_told_apart(colours, disc):
    image, mask = draw_scene()
    shifted = measured(colours, image, np.roll(mask, 40, axis=1))
    assert shifted.edges < 1.3 < disc.edges
    assert shifted.separation < disc.separation
    assert shifted.colours > 2 * disc.colours


def test_blur_and_light(colours, disc):
    image, mask = draw_scene()
    assert measured(colours, cv2.GaussianBlur(image, (0, 0), 5), mask).sharpness < 0.5 * disc.sharpness
    assert measured(colours, (image * 0.03).astype(np.uint8), mask).lost == 1
    white = np.where(mask[:, :, None], np.uint8(255), image)
    assert measured(colours, white, mask).lost == 1


def test_the_size_of_a_photo_is_no_matter(colours):
    def enlarged(by: int) -> Measures:
        image, mask = draw_scene()
        large = cv2.resize(image, None, fx=by, fy=by, interpolation=cv2.INTER_LINEAR)
        return measured(colours, large, np.kron(mask, np.ones((by, by), bool)))

    once, twice = enlarged(2), enlarged(4)
    for name in ("cells", "area", "edges", "sharpness", "colours", "own_iou"):
        assert getattr(once, name) == pytest.approx(getattr(twice, name), rel=0.1, abs=0.05), name


def test_a_mask_of_nearly_everything_has_nothing_beside_it(colours):
    image, mask = draw_scene()
    found = examine(colours, Reference(image, mask=~np.eye(*mask.shape, dtype=bool))).measures
    assert (found.separation, found.mistaken) == (1.0, 0.0)


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_other_modes_are_measured_too(mode):
    from tests.fakes import random_sam

    from persam import PerSAM, Settings

    found = examine(PerSAM(random_sam(), settings=Settings.of(mode)), reference_of()).measures
    assert all(np.isfinite(value) for value in vars(found).values())
