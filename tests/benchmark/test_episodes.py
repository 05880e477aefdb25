"""Samples, their truths, and the fingerprint of a data set."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.lookalikes import write_palette, write_photo

from persam.benchmark.datasets.catalog import read
from persam.benchmark.episodes import Crop, MaskFile, Sample, fingerprint
from persam.errors import PersamError

LABELS = np.array([[0, 0, 1, 1], [2, 2, 1, 255], [0, 7, 7, 255]], np.uint8)


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.png"
    write_palette(path, LABELS)
    return path


class TestMaskFile:
    @pytest.mark.parametrize("value", [0, 1, 2, 7, 9])
    def test_a_value(self, labels, value):
        truth = MaskFile(labels, value)
        assert np.array_equal(truth.read((3, 4)), value == LABELS)
        assert truth.read_ignore((3, 4)) is None

    def test_all_that_is_not_background(self, labels):
        assert np.array_equal(MaskFile(labels).read((3, 4)), LABELS > 0)

    def test_ignored_pixels(self, labels):
        for value in (None, 1):
            truth = MaskFile(labels, value, ignored=255)
            assert np.array_equal(truth.read_ignore((3, 4)), LABELS == 255)
            expected = (LABELS > 0) & (LABELS != 255) if value is None else LABELS == 1
            assert np.array_equal(truth.read((3, 4)), expected)

    @pytest.mark.parametrize(
        ("mode", "full"),
        [("1", True), ("L", 1), ("L", 128), ("L", 255), ("RGB", (128, 0, 0)), ("RGB", (0, 0, 9)), ("I;16", 65535)],
    )
    def test_forms_of_a_mask(self, tmp_path, mode, full):
        mask = LABELS == 1
        if mode == "I;16":
            Image.fromarray(mask.astype(np.uint16) * full).save(tmp_path / "mask.png")
        else:
            picture = Image.new(mode, (4, 3), 0)
            for y, x in np.argwhere(mask):
                picture.putpixel((int(x), int(y)), full)
            picture.save(tmp_path / "mask.png")
        assert np.array_equal(MaskFile(tmp_path / "mask.png").read((3, 4)), mask)

    @pytest.mark.parametrize("value", [0, 255])
    def test_nothing_and_everything(self, tmp_path, value):
        Image.new("L", (4, 3), value).save(tmp_path / "mask.png")
        assert MaskFile(tmp_path / "mask.png").read((3, 4)).mean() == (value == 255)

    @pytest.mark.parametrize("value", [None, 1])
    def test_another_size_is_an_error_and_never_resized(self, labels, value):
        with pytest.raises(PersamError, match=r"labels.png is 4 x 3 pixels, its photo 8 x 6"):
            MaskFile(labels, value).read((6, 8))
        with pytest.raises(PersamError, match=r"labels.png is 4 x 3 pixels, its photo 3 x 4"):
            MaskFile(labels, value, ignored=255).read_ignore((4, 3))

    def test_gone(self, tmp_path):
        with pytest.raises(PersamError, match="There is no mask at"):
            MaskFile(tmp_path / "gone.png").read((3, 4))


class TestSample:
    def test_crop(self, tmp_path, labels):
        write_photo(tmp_path / "photo.png", 0, (10, 12))
        sample = Sample("x", tmp_path / "photo.png", MaskFile(labels), Crop((5, 2, 9, 5), (10, 12)))
        pixels, mask = sample.read()
        assert np.array_equal(pixels, np.asarray(Image.open(sample.photo))[2:5, 5:9])
        assert mask.shape == (3, 4)
        write_photo(tmp_path / "photo.png", 0, (10, 11))
        with pytest.raises(PersamError, match="is 11 x 10 pixels, its annotation 12 x 10"):
            sample.read()

    def test_as_stored_there_is_no_rotation(self, tmp_path, labels):
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
        upright = Sample("x", tmp_path / "photo.png", MaskFile(labels))
        assert np.array_equal(upright.read_photo(), np.rot90(pixels, -1))
        assert upright.read()[0].shape == (3, 4, 3)
        stored = Sample("x", tmp_path / "photo.png", MaskFile(labels), as_stored=True)
        assert np.array_equal(stored.read_photo(), pixels)


class TestFingerprint:
    def test_equal_data_elsewhere_and_in_another_order(self, data, tmp_path):
        loaded = read("perseg", data / "perseg")
        shutil.copytree(data / "perseg", tmp_path / "copy")
        copied = read("perseg", tmp_path / "copy")
        assert len(fingerprint(loaded.samples)) == 64
        assert fingerprint(copied.samples) == fingerprint(loaded.samples)
        assert fingerprint(reversed(loaded.samples)) == fingerprint([*loaded.samples, *loaded.samples])
        assert fingerprint(read("perseg", data / "perseg", reference="01").samples) == fingerprint(loaded.samples)

    @pytest.mark.parametrize("file", ["Images/mug/01.jpg", "Annotations/mug/01.png"])
    def test_one_byte(self, data, file):
        loaded = read("perseg", data / "perseg")
        before = fingerprint(loaded.samples)
        with (data / "perseg" / file).open("ab") as stream:
            stream.write(b"x")
        assert fingerprint(loaded.samples) != before

    def test_swapped_photos_and_other_labels(self, data, labels):
        samples = read("perseg", data / "perseg").samples
        one, other = samples[:2]
        swapped = [Sample(one.name, other.photo, one.truth), Sample(other.name, one.photo, other.truth)]
        assert fingerprint(swapped) != fingerprint([one, other])
        found = {fingerprint([Sample("x", one.photo, MaskFile(labels, value))]) for value in (None, 1, 2)}
        assert len(found) == 3

    def test_a_part_of_the_data_is_other_data(self, data):
        samples = read("perseg", data / "perseg").samples
        assert fingerprint(samples[:-1]) != fingerprint(samples)

    def test_gone(self, data):
        loaded = read("perseg", data / "perseg")
        (data / "perseg/Images/mug/01.jpg").unlink()
        with pytest.raises(PersamError, match=r"There is no photo at .*01\.jpg"):
            fingerprint(loaded.samples)
