"""References: every form of showing the object, and one sentence for what does not fit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.finders import ScriptedFinder

from persam.errors import PersamError, PersamWarning, UsageError
from persam.reference import Reference


class TestForms:
    def test_mask(self, scene, photo_file, mask_file):
        reference = Reference.read(photo_file, mask_file)
        np.testing.assert_array_equal(reference.image, scene[0])
        np.testing.assert_array_equal(reference.mask, scene[1])
        np.testing.assert_array_equal(reference.mask_values[:, :, 0], scene[1] * 255)
        assert reference.size == (120, 160)
        assert reference.source == str(photo_file)
        assert reference.sha256 == hashlib.sha256(photo_file.read_bytes()).hexdigest()

    def test_from_memory(self, scene):
        reference = Reference.read(*scene)
        assert reference.source == ""
        assert reference.sha256 == Reference.read(Image.fromarray(scene[0]), scene[1]).sha256
        assert reference.sha256 != Reference.read(scene[0][::-1], scene[1]).sha256

    def test_smaller_mask_keeps_its_raw_values(self, scene):
        small = scene[1][::2, ::2].astype(np.uint8) * 128
        reference = Reference.read(scene[0], small)
        assert reference.mask.shape == (120, 160)
        np.testing.assert_array_equal(reference.mask_values[:, :, 1], small)

    def test_box_and_points_go_together(self, scene):
        reference = Reference.read(scene[0], box=(32, 42, 89, 99), points=[(60, 70), (5, 5)], labels=[1, 0])
        assert reference.box == (32, 42, 89, 99)
        assert reference.points.tolist() == [[60, 70], [5, 5]]
        assert reference.labels.tolist() == [1, 0]
        assert reference.mask is None

    def test_points_are_positive_by_default(self, scene):
        assert Reference.read(scene[0], points=(60, 70)).labels.tolist() == [1]

    def test_whole_photo_is_a_box(self, scene):
        assert Reference.read(scene[0], box=[0, 0, 160, 120]).box == (0, 0, 160, 120)

    def test_transparent_cut_out(self, scene, tmp_path):
        Image.fromarray(np.dstack([scene[0], scene[1].astype(np.uint8) * 255])).save(tmp_path / "cut.png")
        reference = Reference.read(tmp_path / "cut.png")
        np.testing.assert_array_equal(reference.mask, scene[1])
        assert (reference.image[~scene[1]] == 255).all()

    def test_mask_of_a_photo_as_stored_before_its_rotation(self, scene, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(scene[0]).save(tmp_path / "a.jpg", exif=exif)
        reference = Reference.read(tmp_path / "a.jpg", scene[1])
        assert reference.mask.shape == reference.size == (160, 120)
        np.testing.assert_array_equal(reference.mask, np.rot90(scene[1], -1))

    def test_scribble(self, scene):
        strokes = np.zeros((120, 160), bool)
        strokes[70:73, 40:80] = True
        reference = Reference.read(scene[0], scribble=strokes)
        points = reference.scribble_points(3)
        assert points.dtype == np.float32
        assert points[0, 1] == 71  # in the middle of the stroke
        assert sorted(points[1:, 0]) == [40, 79]  # then at its ends

    @given(count=st.integers(1, 40), seed=st.integers(0, 99))
    def test_scribble_points_lie_on_the_strokes_and_differ(self, count, seed):
        strokes = np.random.default_rng(seed).random((9, 14)) < 0.15
        strokes[0, 0], strokes[1, 1] = True, False
        points = Reference(np.zeros((9, 14, 3), np.uint8), scribble=strokes).scribble_points(count)
        assert len(points) == min(count, strokes.sum())
        assert len({tuple(point) for point in points.tolist()}) == len(points)
        assert all(strokes[int(y), int(x)] for x, y in points)

    def test_no_scribble_no_points(self, scene):
        assert Reference.read(*scene).scribble_points(4).shape == (0, 2)


class TestText:
    """What a finder finds by a word or two is the mask; the words are kept, whatever shows the object."""

    LEFT, RIGHT = ((0.25, 0.25, 0.5, 0.75), 0.9), ((0.5, 0.0, 1.0, 1.0), 0.6)

    def test_the_only_thing(self, scene, photo_file, recwarn):
        finder = ScriptedFinder(self.LEFT)
        reference = Reference.read(photo_file, text="  red \t disc ", finder=finder)
        assert finder.asked == [((120, 160), "red disc")]
        wanted = np.zeros((120, 160), bool)
        wanted[30:90, 40:80] = True
        np.testing.assert_array_equal(reference.mask, wanted)
        np.testing.assert_array_equal(reference.mask_values[:, :, 0], wanted * 255)
        assert (reference.text, reference.source) == ("red disc", str(photo_file))
        assert not recwarn

    def test_of_several_the_surest_which_is_said(self, scene):
        with pytest.warns(PersamWarning, match=r"script finds 2 things that 'disc' may mean in the photo \(scores 0.9"):
            reference = Reference.read(scene[0], text="disc", finder=ScriptedFinder(self.RIGHT, self.LEFT))
        assert reference.mask.sum() == 60 * 40

    def test_of_several_another(self, scene, recwarn):
        reference = Reference.read(scene[0], text="disc", finder=ScriptedFinder(self.LEFT, self.RIGHT), text_index=2)
        assert reference.mask.sum() == 120 * 80
        assert not recwarn

    @pytest.mark.parametrize("index", [0, 2, -1])
    def test_an_index_beyond(self, scene, index):
        with pytest.raises(UsageError, match=f"script finds one thing that 'disc' may mean .*, so there is no {index}"):
            Reference.read(scene[0], text="disc", finder=ScriptedFinder(self.LEFT), text_index=index)

    def test_nothing(self, photo_file):
        with pytest.raises(PersamError, match=r"script finds no 'disc' in .*photo\.png; try another word") as caught:
            Reference.read(photo_file, text="disc", finder=ScriptedFinder())
        assert caught.value.exit_code == 1

    def test_kept_beside_a_mask_and_not_looked_for(self, scene):
        finder = ScriptedFinder(self.LEFT)
        for finder_or_none in (finder, None):
            reference = Reference.read(*scene, text="disc", finder=finder_or_none)
            np.testing.assert_array_equal(reference.mask, scene[1])
            assert reference.text == "disc"
        assert Reference.read(scene[0], box=(1, 2, 30, 40), text="disc", finder=finder).mask is None
        cut_out = np.dstack([scene[0], scene[1].astype(np.uint8) * 255])
        np.testing.assert_array_equal(Reference.read(cut_out, text="disc", finder=finder).mask, scene[1])
        assert finder.asked == []


@pytest.mark.parametrize(
    ("forms", "words"),
    [
        ({}, "Nothing shows where the object is in the photo"),
        ({"mask": np.eye(120, 160), "box": (1, 2, 3, 4)}, "one of a mask and a box or points, not both"),
        ({"mask": np.eye(120, 160), "scribble": np.eye(120, 160)}, "one of a mask and a scribble, not both"),
        ({"box": (1, 2, 3)}, "four numbers"),
        ({"box": (30, 2, 10, 40)}, "is empty"),
        ({"box": (-1, 2, 10, 40)}, "reaches out of the photo, which is 160 x 120 pixels"),
        ({"box": (1, 2, 161, 40)}, "reaches out of the photo"),
        ({"box": (1, 2, float("nan"), 40)}, "four numbers"),
        ({"points": [(160, 5)]}, "The point 160,5 lies outside the photo, which is 160 x 120 pixels"),
        ({"points": [(1, 2, 3)]}, "pairs of numbers"),
        ({"points": []}, "pairs of numbers"),
        ({"points": [(1, 2)], "labels": [1, 0]}, "one number a point"),
        ({"points": [(1, 2)], "labels": [2]}, "one number a point"),
        ({"points": [(1, 2)], "labels": [0]}, "Every point lies beside the object"),
        ({"labels": [1]}, "Labels belong to points"),
        ({"text": "disc"}, "Nothing shows where the object is in the photo; .* or a text and a finder"),
        ({"finder": ScriptedFinder()}, "A finder looks for a text; say with text what the object is"),
        ({"text_index": 1}, "A finder looks for a text"),
        ({"text": "  ", "finder": ScriptedFinder()}, "names nothing"),
        ({"mask": np.eye(120, 160), "text": ""}, "names nothing"),
        (
            {"mask": np.eye(120, 160), "text": "disc", "text_index": 1},
            "but here something else",
        ),
    ],
)
def test_wrong_calls(scene, forms, words):
    with pytest.raises(UsageError, match=words) as caught:
        Reference.read(scene[0], **forms)
    assert caught.value.exit_code == 2


def test_bad_files_are_named(photo_file, tmp_path):
    with pytest.raises(PersamError, match=r"no photo at .*gone\.jpg"):
        Reference.read(tmp_path / "gone.jpg", box=(1, 2, 3, 4))
    with pytest.raises(PersamError, match=r"no mask at .*gone\.png"):
        Reference.read(photo_file, tmp_path / "gone.png")
    with pytest.raises(PersamError, match="Nothing shows where the object is in .*photo.png") as caught:
        Reference.read(photo_file)
    assert caught.value.exit_code == 2
