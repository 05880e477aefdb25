"""Masks in every form that people save them in."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from persam.errors import PersamError
from persam.masks import read_alpha, read_mask, read_mask_values

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)).filter(
    lambda mask: mask.any() and not mask.all()
)


def stored(picture: Image.Image, kind: str = "PNG", **options: object) -> Image.Image:
    """Write a picture and open it again, as a file would be."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return Image.open(buffer)


def palette_picture(labels: np.ndarray, colours: list[int], **options: object) -> Image.Image:
    picture = Image.fromarray(labels.astype(np.uint8), "L")
    picture.putpalette(colours + [0] * (768 - len(colours)))
    return stored(picture, **options)


def rgba(mask: np.ndarray, inside: tuple[int, ...], outside: tuple[int, ...]) -> Image.Image:
    return stored(Image.fromarray(np.where(mask[:, :, None], inside, outside).astype(np.uint8)))


def cut_out(mask: np.ndarray) -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3))
    return stored(Image.fromarray(np.dstack([colours, mask * 255]).astype(np.uint8)))


FORMS = {
    "bool array": lambda mask: mask,
    "0/1 array": lambda mask: mask.astype(np.uint8),
    "0/1 int64 array": lambda mask: mask.astype(np.int64),
    "0/255 array": lambda mask: mask.astype(np.uint8) * 255,
    "float array": lambda mask: mask.astype(np.float32),
    "0/1": lambda mask: stored(Image.fromarray(mask.astype(np.uint8))),
    "0/128": lambda mask: stored(Image.fromarray(mask.astype(np.uint8) * 128)),
    "0/255": lambda mask: stored(Image.fromarray(mask.astype(np.uint8) * 255)),
    "1-bit": lambda mask: stored(Image.fromarray(mask)),
    "16-bit 0/1": lambda mask: stored(Image.fromarray(mask.astype(np.uint16))),
    "16-bit 0/65535": lambda mask: stored(Image.fromarray(mask.astype(np.uint16) * 65535)),
    "32-bit TIFF": lambda mask: stored(Image.fromarray(mask.astype(np.int32) * 255), "TIFF"),
    "float TIFF": lambda mask: stored(Image.fromarray(mask.astype(np.float32)), "TIFF"),
    "red 128 on black": lambda mask: stored(Image.fromarray(np.dstack([mask * 128, mask * 0, mask * 0]).astype("u1"))),
    "blue on black": lambda mask: stored(Image.fromarray(np.dstack([mask * 0, mask * 0, mask * 255]).astype("u1"))),
    "palette as DAVIS": lambda mask: palette_picture(mask, [0, 0, 0, 128, 0, 0]),
    "palette of nothing but black": lambda mask: palette_picture(mask, []),
    "palette with a see-through ground": lambda mask: palette_picture(mask, [0, 0, 0, 128, 0, 0], transparency=0),
    "white, see-through ground": lambda mask: rgba(mask, (255, 255, 255, 255), (255, 255, 255, 0)),
    "black, see-through ground": lambda mask: rgba(mask, (0, 0, 0, 255), (0, 0, 0, 0)),
    "half-opaque red, see-through ground": lambda mask: rgba(mask, (255, 0, 0, 120), (0, 0, 0, 0)),
    "white on black, all opaque": lambda mask: rgba(mask, (255, 255, 255, 255), (0, 0, 0, 255)),
    "cut-out of a photo": cut_out,
    "grey with alpha": lambda mask: stored(Image.fromarray(mask.astype(np.uint8) * 255).convert("LA")),
    "WebP": lambda mask: stored(Image.fromarray(mask).convert("RGB"), "WEBP", lossless=True),
    "GIF": lambda mask: stored(Image.fromarray(mask.astype(np.uint8) * 255), "GIF"),
}


@pytest.mark.parametrize("form", FORMS)
@given(mask=masks)
def test_every_form_gives_the_mask_back(form, mask):
    np.testing.assert_array_equal(read_mask(FORMS[form](mask)), mask)


def test_arrays_with_one_more_axis(scene):
    mask = scene[1]
    np.testing.assert_array_equal(read_mask(mask[None]), mask)
    np.testing.assert_array_equal(read_mask(mask[:, :, None]), mask)
    np.testing.assert_array_equal(read_mask(mask[60:61, :, None]), mask[60:61])


@given(mask=masks)
def test_jpeg_noise_is_cut_off(mask):
    large = np.kron(mask, np.ones((16, 16), bool))
    noisy = stored(Image.fromarray(large.astype(np.uint8) * 255), "JPEG", quality=70)
    assert (read_mask(noisy) == large).mean() > 0.97


def test_soft_edges_are_cut_in_the_middle():
    ramp = np.tile(np.linspace(0, 255, 101).round().astype(np.uint8), (4, 1))
    edge = np.pad(np.pad(ramp, ((0, 0), (150, 0))), ((0, 0), (0, 150)), constant_values=255)
    assert read_mask(edge).sum(axis=1).tolist() == [50 + 150] * 4


def test_several_labels_are_all_object():
    np.testing.assert_array_equal(read_mask(np.array([[0, 1, 2], [0, 0, 3]])), [[0, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(read_mask(np.array([[0, 38, 75, 113]], np.uint8)), [[0, 1, 1, 1]])


class TestSize:
    @given(mask=masks, scale=st.integers(2, 5))
    def test_same_aspect_is_resized_without_soft_edges(self, mask, scale):
        size = mask.shape[0] * scale, mask.shape[1] * scale
        np.testing.assert_array_equal(read_mask(mask, size), np.kron(mask, np.ones((scale, scale), bool)))

    def test_one_percent_of_aspect_is_forgiven(self):
        mask = np.zeros((480, 640), bool)
        mask[100:200, 100:200] = True
        assert read_mask(mask, (1080, 1430)).shape == (1080, 1430)

    def test_another_aspect_names_both_sizes(self, tmp_path):
        mask = np.zeros((480, 640), bool)
        mask[:9] = True
        Image.fromarray(mask).save(tmp_path / "m.png")
        with pytest.raises(PersamError, match=r"m\.png is 640 x 480 pixels, the photo 1920 x 1080: another aspect"):
            read_mask(tmp_path / "m.png", (1080, 1920))

    def test_lying_on_its_side(self):
        mask = np.zeros((30, 90), bool)
        mask[:9] = True
        with pytest.raises(PersamError, match="lies on its side"):
            read_mask(mask, (90, 30))

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    @pytest.mark.parametrize("scale", [1, 2])
    def test_mask_of_the_stored_photo_is_turned_with_it(self, orientation, scale):
        mask = np.zeros((30, 90), bool)
        mask[:9, :20] = True
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = read_mask(stored(Image.fromarray(mask), exif=exif))  # as Pillow turns the photo
        turned = read_mask(mask, (90 * scale, 30 * scale), photo_orientation=orientation)
        np.testing.assert_array_equal(turned, np.kron(upright, np.ones((scale, scale), bool)))

    def test_object_that_a_smaller_photo_loses(self):
        mask = np.zeros((400, 400), bool)
        mask[0, 0] = True
        with pytest.raises(PersamError, match="no object"):
            read_mask(mask, (4, 4))


class TestBadMasks:
    @pytest.mark.parametrize("value", [False, 0, 0.0, np.nan])
    def test_no_object(self, value):
        with pytest.raises(PersamError, match="has no object: every pixel is background"):
            read_mask(np.full((5, 6), value))

    @pytest.mark.parametrize("value", [True, 1, 255, 0.7])
    def test_everything(self, value):
        with pytest.raises(PersamError, match="covers everything"):
            read_mask(np.full((5, 6), value))

    def test_one_pixel(self):
        with pytest.raises(PersamError, match="covers everything"):
            read_mask(np.ones((1, 1), bool))

    def test_words_of_another_use(self):
        with pytest.raises(PersamError, match="The scribble has no object"):
            read_mask(np.zeros((5, 6)), what="scribble")

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            (np.zeros((2, 3, 4, 5)), "shape"),
            (np.zeros((0, 3)), "shape"),
            (np.array([["a", "b"]]), "array of <U1"),
            ([[0, 1]], "not list"),
        ],
    )
    def test_no_mask_at_all(self, source, words):
        with pytest.raises(PersamError, match=words):
            read_mask(source)

    def test_files(self, tmp_path):
        (tmp_path / "empty.png").touch()
        (tmp_path / "text.png").write_text("no picture")
        for name, words in [("gone.png", "no mask at"), ("empty.png", "is empty"), ("text.png", "not a picture")]:
            with pytest.raises(PersamError, match=words):
                read_mask(tmp_path / name)


class TestRawValues:
    @pytest.mark.parametrize("form", ["0/1", "0/128", "0/255", "red 128 on black", "palette as DAVIS"])
    def test_files_as_opencv_reads_them(self, tmp_path, form, scene):
        path = tmp_path / "m.png"
        picture = FORMS[form](scene[1])
        picture.save(path)
        expected = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(read_mask_values(path), expected)
        np.testing.assert_array_equal(read_mask_values(picture), expected)

    def test_arrays(self, scene):
        mask = scene[1]
        assert read_mask_values(mask).max() == 255
        np.testing.assert_array_equal(read_mask_values(mask.astype(np.uint8) * 128)[:, :, 2], mask * 128)
        assert read_mask_values(mask[None]).shape == (*mask.shape, 3)

    def test_missing(self, tmp_path):
        with pytest.raises(PersamError, match="no mask at"):
            read_mask_values(tmp_path / "gone.png")


class TestAlpha:
    def test_cut_out(self, scene):
        np.testing.assert_array_equal(read_alpha(cut_out(scene[1])), scene[1])
        np.testing.assert_array_equal(read_alpha(np.dstack([scene[0], scene[1].astype(np.uint8) * 255])), scene[1])

    def test_none_where_it_tells_nothing(self, scene):
        assert read_alpha(scene[0]) is None
        assert read_alpha(Image.fromarray(scene[0])) is None
        assert read_alpha(Image.fromarray(scene[0]).convert("RGBA")) is None


def test_a_photo_in_the_place_of_the_mask_is_refused():
    y, x = np.mgrid[:60, :80]
    photo = np.stack([40 + 2 * x, 60 + 2 * y, 90 + x + y], -1).astype(np.uint8)
    with pytest.raises(PersamError, match="looks like a photo"):
        read_mask(photo)
    with pytest.raises(PersamError, match="looks like a photo"):
        read_mask(Image.fromarray(photo))


def test_soft_edges_are_no_photo():
    y, x = np.mgrid[:80, :80]
    soft = np.clip(255 * (25 - np.hypot(x - 40, y - 40)) / 8 + 128, 0, 255).astype(np.uint8)
    assert len(np.unique(soft)) > 64
    np.testing.assert_array_equal(read_mask(soft), soft > 127)
