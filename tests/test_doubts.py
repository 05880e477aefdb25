"""A word before learning: masks of nothing, inverted, of several labels, of photos that are turned; else none."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.conftest import draw_scene

from persam import Reference
from persam.errors import PersamError, PersamWarning, UsageError

PERSEG = Path(__file__).parents[2] / "shared" / "data" / "perseg"


def words_of(*arguments: object, **forms: object) -> tuple[Reference, list[str]]:
    """A reference, and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reference = Reference.read(*arguments, **forms)
    assert {each.category for each in caught} <= {PersamWarning}
    words = [str(each.message) for each in caught]
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in words)
    return reference, words


class TestMasks:
    @pytest.mark.parametrize("count", [1, 5, 15])
    def test_a_few_pixels(self, scene, count):
        mask = np.zeros(scene[1].shape, bool)
        mask.flat[5000 : 5000 + count] = True
        marked = "1 pixel" if count == 1 else f"{count} pixels"
        assert words_of(scene[0], mask)[1] == [
            f"The mask marks {marked} of the photo, hardly enough to learn from; paint all of the object."
        ]

    def test_next_to_nothing_of_a_large_photo(self):
        mask = np.zeros((2000, 3000), bool)
        mask[1000:1020, 1500:1520] = True
        assert "marks 400 pixels of the photo" in words_of(np.zeros((2000, 3000, 3), np.uint8), mask)[1][0]

    @pytest.mark.parametrize("scale", [2, 0.5])
    def test_one_of_another_size_is_scaled(self, scene, scale):
        photo, mask = scene
        height, width = photo.shape[:2]
        other = Image.fromarray(mask).resize((int(width * scale), int(height * scale)))
        for form, what in ({"mask": other}, "mask"), ({"scribble": other}, "scribble"):
            (sentence,) = words_of(photo, **form)[1]
            assert sentence == (
                f"The {what} is {other.width} x {other.height} pixels, the photo {width} x {height}, so it is scaled "
                "to fit; if its outline matters, give one of the photo's size."
            )

    def test_inverted(self, scene, photo_file, tmp_path):
        Image.fromarray(~scene[1]).save(tmp_path / "m.png")
        (sentence,) = words_of(photo_file, tmp_path / "m.png")[1]
        assert sentence == (
            f"The mask {tmp_path / 'm.png'} covers 87% of the photo and 100% of its border, as if it were inverted; "
            "paint the object white and all else black."
        )

    def test_a_thing_that_fills_the_photo_is_no_inverted_mask(self, scene):
        near = np.zeros(scene[1].shape, bool)
        near[10:, 12:150] = True  # cut by one side of the photo
        lower = np.zeros(scene[1].shape, bool)
        lower[30:] = True  # a table below, cut by three
        for mask in (near, lower):
            assert words_of(scene[0], mask)[1] == []

    @given(
        radius=st.integers(4, 58), x=st.integers(20, 140), y=st.integers(20, 100), value=st.sampled_from([1, 128, 255])
    )
    def test_a_disc_anywhere_gets_no_word(self, radius, x, y, value):
        image, mask = draw_scene(center=(x, y), radius=radius)
        assert words_of(image, mask.astype(np.uint8) * value)[1] == []

    @pytest.mark.skipif(not PERSEG.is_dir(), reason="the data set is not here")
    def test_the_references_of_a_data_set_get_no_word(self):
        masks = sorted((PERSEG / "Annotations").glob("*/*.png"))
        assert masks
        for mask in masks:
            photo = PERSEG / "Images" / mask.parent.name / f"{mask.stem}.jpg"
            if photo.is_file():
                assert words_of(photo, mask)[1] == [], mask

    @pytest.mark.parametrize("kind", ["soft", "jpeg", "palette", "gif", "quarter tones"])
    def test_soft_edges_are_no_labels(self, kind, tmp_path):
        image, mask = draw_scene(240, 320, center=(120, 140), radius=60)
        grey = Image.fromarray(mask).convert("L").resize((640, 480), Image.Resampling.BICUBIC)
        path = tmp_path / f"m.{ {'jpeg': 'jpg', 'gif': 'gif'}.get(kind, 'png') }"
        if kind == "quarter tones":
            grey = Image.fromarray((np.asarray(grey) // 64 * 85).astype(np.uint8))
        (grey.convert("P") if kind == "palette" else grey).save(path)
        assert words_of(np.array(Image.fromarray(image).resize((640, 480))), path)[1] == []


@pytest.mark.parametrize(("box", "size"), [((10, 10, 11, 11), "1 x 1"), ((0.1, 0.2, 0.6, 0.9), "0.5 x 0.7")])
def test_a_box_of_next_to_nothing(scene, box, size):
    (sentence,) = words_of(scene[0], box=box)[1]
    assert f"is {size} pixels, too small to learn from" in sentence
    assert "not in shares of it" in sentence
    assert words_of(scene[0], box=(10, 10, 40, 14))[1] == []


class TestLabels:
    @pytest.fixture
    def labels(self) -> np.ndarray:
        labels = np.zeros((120, 160), np.uint8)
        labels[10:40, 10:50], labels[60:100, 20:80], labels[50:110, 100:150] = 1, 2, 5
        return labels

    @pytest.mark.parametrize("kind", ["array", "int64", "grey", "16 bit", "palette", "palette of black"])
    def test_are_named_and_can_be_chosen(self, labels, kind, scene, tmp_path):
        source: object = labels.astype(np.int64) if kind == "int64" else labels
        name = "The mask"
        if kind not in ("array", "int64"):
            picture = Image.fromarray(labels.astype(np.uint16) if kind == "16 bit" else labels)
            if "palette" in kind:
                colours = [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128] if kind == "palette" else []
                picture.putpalette(colours + [0] * (768 - len(colours)))
            picture.save(tmp_path / "m.png")
            source = tmp_path / "m.png"
            name = f"The mask {source}"
        reference, (sentence,) = words_of(scene[0], source)
        np.testing.assert_array_equal(reference.mask, labels > 0)
        assert sentence == (
            f"{name} has the labels 1, 2, 5, and all of them are taken as one object; choose one with --label 1 "
            "(in Python: label=1)."
        )
        for label in (5, "5", " 5"):
            reference, words = words_of(scene[0], source, label=label)
            np.testing.assert_array_equal(reference.mask, labels == 5)
            np.testing.assert_array_equal(reference.mask_values[:, :, 0], (labels == 5) * 255)
            assert words == []
        with pytest.raises(UsageError, match=r"has no label 3; it has 1, 2, 5\."):
            Reference.read(scene[0], source, label=3)

    def test_colours(self, labels, scene, tmp_path):
        colours = np.zeros((6, 3), np.uint8)
        colours[1], colours[2], colours[5] = (255, 128, 0), (0, 0, 255), (10, 200, 30)
        Image.fromarray(colours[labels]).save(tmp_path / "m.png")
        reference, words = words_of(scene[0], tmp_path / "m.png")
        np.testing.assert_array_equal(reference.mask, labels > 0)
        assert "has the labels #0000ff, #0ac81e, #ff8000, and all of them" in words[0]
        assert "--label '#0000ff'" in words[0]
        np.testing.assert_array_equal(Reference.read(scene[0], tmp_path / "m.png", label="#FF8000").mask, labels == 1)

    def test_a_palette_whose_black_is_not_its_first(self, labels, scene):
        picture = Image.fromarray(labels)
        picture.putpalette([255, 255, 255, 0, 0, 0, 0, 255, 0, 9, 9, 9, 9, 9, 9, 0, 0, 255] + [0] * 750)
        reference, words = words_of(scene[0], picture)
        np.testing.assert_array_equal(reference.mask, labels != 1)
        assert "has the labels 0, 2, 5, and" in words[0]
        np.testing.assert_array_equal(Reference.read(scene[0], picture, label=0).mask, labels == 0)

    def test_one_label_of_a_smaller_mask(self, labels, scene):
        reference, _ = words_of(scene[0], labels[::2, ::2], label=2)
        np.testing.assert_array_equal(reference.mask, np.kron(labels[::2, ::2] == 2, np.ones((2, 2), bool)))

    @pytest.mark.parametrize(
        ("mask", "label", "words"),
        [
            (np.eye(120, 160), "mug", "A label is a number such as 3 or a colour such as #ff8000, not 'mug'"),
            (np.eye(120, 160, dtype=bool), 1, "The mask has no labels to choose from; leave --label out"),
            (None, 1, "A label chooses a part of a mask; give the mask too"),
        ],
    )
    def test_wrong_ones(self, scene, mask, label, words):
        with pytest.raises(UsageError, match=words):
            Reference.read(scene[0], mask, label=label, box=None if mask is not None else (1, 2, 30, 40))


class TestTurnedPhotos:
    """What people have: a phone's photo, and a mask that some tool drew on it, turned or not."""

    def stored(self, folder: Path, orientation: int, square: bool = False) -> tuple[Path, np.ndarray, np.ndarray]:
        """A photo file with this EXIF orientation, its object as it is stored and as it is shown."""
        image, mask = draw_scene(160 if square else 120, 160, center=(40, 30), radius=22)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(image).save(folder / "photo.png", exif=exif)
        shown = np.asarray(Image.open(folder / "photo.png").convert("RGB"))
        assert shown.shape == image.shape  # Pillow shows it as it is stored
        upright = Reference.read(folder / "photo.png", box=(0, 0, 60, 60)).image
        return folder / "photo.png", mask, np.abs(upright.astype(int) - (200, 30, 40)).sum(-1) < 60

    @pytest.mark.parametrize(
        ("orientation", "square"), [*((n, False) for n in (2, 3, 4)), *((n, True) for n in (2, 5, 6, 7, 8))]
    )
    def test_a_mask_that_fits_both_ways(self, tmp_path, orientation, square):
        photo, stored, red = self.stored(tmp_path, orientation, square)
        Image.fromarray(stored).save(tmp_path / "m.png")
        (taken, words) = words_of(photo, tmp_path / "m.png")
        np.testing.assert_array_equal(taken.mask, stored)
        (sentence,) = words
        assert "is taken as drawn on the photo as it is shown, which is not as it is stored" in sentence
        assert "but the photo's edges say otherwise" in sentence
        assert "add --mask-as-stored (in Python: mask_as_stored=True)" in sentence
        (turned, words) = words_of(photo, tmp_path / "m.png", mask_as_stored=True)
        assert words == []
        assert (turned.mask & red).sum() == red.sum()
        np.testing.assert_array_equal(turned.mask_values[:, :, 0] > 0, turned.mask)
        Image.fromarray(turned.mask).save(tmp_path / "shown.png")
        again, (sentence,) = words_of(photo, tmp_path / "shown.png")
        np.testing.assert_array_equal(again.mask, turned.mask)
        assert "the photo's edges agree" in sentence

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_a_mask_whose_sides_tell(self, tmp_path, orientation):
        photo, stored, red = self.stored(tmp_path, orientation)
        for forms in ({}, {"mask_as_stored": True}):
            reference, words = words_of(photo, stored, **forms)
            assert words == []
            assert (reference.mask & red).sum() == red.sum()
            np.testing.assert_array_equal(reference.mask_values[:, :, 0] > 0, reference.mask)
        upright, words = words_of(photo, reference.mask)
        assert words == []
        np.testing.assert_array_equal(upright.mask, reference.mask)
        with pytest.raises(PersamError, match="lies on its side"):
            Reference.read(photo, reference.mask, mask_as_stored=True)

    @pytest.mark.parametrize("forms", [{}, {"mask_as_stored": True}])
    def test_a_mask_that_says_itself_how_it_is_turned(self, tmp_path, forms):
        photo, stored, red = self.stored(tmp_path, 3)
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(stored).convert("L").save(tmp_path / "m.png", exif=exif)
        reference, words = words_of(photo, tmp_path / "m.png", **forms)
        assert words == []
        assert (reference.mask & red).sum() == red.sum()

    def test_a_scribble(self, tmp_path):
        photo, stored, red = self.stored(tmp_path, 2)
        _, (sentence,) = words_of(photo, scribble=stored)
        assert sentence.startswith("The scribble is taken as drawn")
        reference, words = words_of(photo, scribble=stored, mask_as_stored=True)
        assert words == []
        assert (reference.scribble & red).sum() == red.sum()

    def test_a_photo_that_is_stored_upright(self, scene, photo_file):
        for forms in ({}, {"mask_as_stored": True}):
            reference, words = words_of(photo_file, scene[1], **forms)
            assert words == []
            np.testing.assert_array_equal(reference.mask, scene[1])

    def test_a_mask_that_is_the_same_either_way(self, tmp_path):
        photo, *_ = self.stored(tmp_path, 2)
        mask = np.zeros((120, 160), bool)
        mask[20:100, 40:120] = True
        assert words_of(photo, mask)[1] == []
