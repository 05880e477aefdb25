"""Photos in every form that people have them, and what is said of those that are none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from persam.errors import PersamError, PersamWarning
from persam.images import read_image, read_orientation, read_smaller
from persam.reference import Reference


def save(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def exif_with(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


class TestForms:
    def test_rgb_keeps_its_values(self, scene, photo_file):
        np.testing.assert_array_equal(read_image(photo_file), scene[0])
        np.testing.assert_array_equal(read_image(str(photo_file)), scene[0])
        np.testing.assert_array_equal(read_image(scene[0]), scene[0])
        np.testing.assert_array_equal(read_image(Image.fromarray(scene[0])), scene[0])

    def test_result_is_a_writable_copy(self, scene):
        read = read_image(scene[0])
        read[:] = 0
        assert scene[0].any()

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".avif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_rotation_is_applied(self, tmp_path, orientation, suffix):
        stored = np.zeros((24, 48, 3), np.uint8)
        stored[:12, :24] = 255  # the top left quarter is white
        options = {"quality": 95} if suffix != ".tif" else {}
        path = save(tmp_path / f"a{suffix}", Image.fromarray(stored), exif=exif_with(orientation), **options)
        image = read_image(path)
        assert image.shape == ((24, 48, 3) if orientation < 5 else (48, 24, 3))
        height, width = image.shape[:2]
        corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
        for row in (0, 1):
            for column in (0, 1):
                quarter = image[row * height // 2 :][: height // 2, column * width // 2 :][:, : width // 2]
                assert (quarter.mean() > 128) == ((row, column) == corner)

    def test_orientation_is_told(self, tmp_path, scene):
        path = save(tmp_path / "a.jpg", Image.fromarray(scene[0]), exif=exif_with(6))
        assert read_orientation(path) == 6
        assert read_orientation(scene[0]) == 1

    @pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LA", "RGBA", "I;16"])
    def test_every_mode_gives_the_same_grey(self, tmp_path, mode):
        grey = np.zeros((20, 30), np.uint8)
        grey[5:15, 5:20] = 255
        if mode == "I;16":
            picture = Image.fromarray(grey.astype(np.uint16) * 257)
        else:
            picture = Image.fromarray(grey).convert("RGB").convert(mode)
        path = save(tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png"), picture)
        image = read_image(path)
        assert image.shape == (20, 30, 3)
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image, np.repeat(grey[:, :, None], 3, 2), atol=2)

    def test_cmyk_jpeg(self, tmp_path):
        path = save(tmp_path / "a.jpg", Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK"), quality=95)
        assert read_image(path).mean(axis=(0, 1)).round().tolist() == pytest.approx([254, 0, 0], abs=6)

    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    def test_16_bit_files_of_any_sensor_depth_use_the_whole_range(self, tmp_path, bits):
        ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
        image = read_image(save(tmp_path / "a.png", Image.fromarray(ramp)))
        np.testing.assert_allclose(image[:, :, 0], np.arange(256).reshape(16, 16), atol=1)

    def test_float_tiff(self, tmp_path):
        ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
        image = read_image(save(tmp_path / "a.tif", Image.fromarray(ramp)))
        np.testing.assert_allclose(image[:, :, 0], np.arange(256).reshape(16, 16), atol=1)

    def test_transparent_places_become_white(self, tmp_path):
        rgba = np.zeros((10, 10, 4), np.uint8)
        rgba[:5] = (10, 20, 30, 255)
        image = read_image(save(tmp_path / "a.png", Image.fromarray(rgba)))
        assert image[0, 0].tolist() == [10, 20, 30]
        assert image[9, 9].tolist() == [255, 255, 255]

    @pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
    def test_first_frame_of_an_animation(self, tmp_path, suffix):
        frames = [Image.new("RGB", (12, 8), colour) for colour in ("red", "blue", "lime")]
        options = {"lossless": True} if suffix == ".webp" else {}
        path = save(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        with pytest.warns(PersamWarning, match=rf"a{suffix} has 3 frames; only the first is taken\.$"):
            assert read_image(path)[4, 6].tolist() == [255, 0, 0]

    def test_first_page_of_a_scan(self, tmp_path):
        pages = [Image.new("L", (12, 8), grey) for grey in (10, 20)]
        path = save(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:])
        with pytest.warns(PersamWarning, match="has 2 pages; only the first is taken"):
            assert read_image(path)[4, 6].tolist() == [10, 10, 10]

    def test_a_preview_within_a_photo_is_no_page(self, tmp_path, recwarn):
        photo = Image.new("RGB", (16, 16), "red")
        path = save(tmp_path / "a.jpg", photo, format="MPO", save_all=True, append_images=[photo.resize((8, 8))])
        assert read_image(path).shape == (16, 16, 3)
        assert not recwarn

    @pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint32])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_tiff_of_values_that_pillow_has_no_mode_for(self, tmp_path, kind, channels):
        ramp = np.linspace(0, 1, 256).reshape(16, 16)
        colours = np.stack([ramp, ramp.T, 1 - ramp], axis=2)[:, :, :channels].squeeze()
        values = (colours * 60_000).astype(kind) if kind is np.uint32 else colours.astype(kind)
        bgr = values if channels == 1 else values[:, :, ::-1]
        (tmp_path / "a.tif").write_bytes(cv2.imencode(".tif", bgr)[1].tobytes())
        image = read_image(tmp_path / "a.tif")
        top = 65_535 / 60_000 if kind is np.uint32 else 1  # the sensor's
        expected = np.broadcast_to(colours.reshape(16, 16, channels), (16, 16, 3)) * 255 / top
        np.testing.assert_allclose(image, expected, atol=1)

    def test_photo_in_a_pipe(self, tmp_path, photo_file, scene):
        os.mkfifo(tmp_path / "pipe.jpg")
        writer = threading.Thread(target=(tmp_path / "pipe.jpg").write_bytes, args=[photo_file.read_bytes()])
        writer.start()
        np.testing.assert_array_equal(read_image(tmp_path / "pipe.jpg"), scene[0])
        writer.join()

    def test_reference_in_pipes(self, tmp_path, photo_file, mask_file, scene):
        pipes, writers = [], []
        for file in (photo_file, mask_file):
            pipes.append(tmp_path / f"{file.stem}.pipe")
            os.mkfifo(pipes[-1])
            writers.append(threading.Thread(target=pipes[-1].write_bytes, args=[file.read_bytes()]))
            writers[-1].start()
        reference = Reference.read(*pipes)
        np.testing.assert_array_equal(reference.image, scene[0])
        np.testing.assert_array_equal(reference.mask, scene[1])
        assert reference.source == str(pipes[0])
        for writer in writers:
            writer.join()

    def test_one_pixel(self, tmp_path):
        path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)))
        assert read_image(path).tolist() == [[[1, 2, 3]]]

    @pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
    def test_arrays(self, shape):
        assert read_image(np.full(shape, 255, np.uint8)).shape == (4, 5, 3)


class TestBadPhotos:
    def refuse(self, source: object, *words: str, **options: object) -> None:
        with pytest.raises(PersamError) as caught:
            read_image(source, **options)
        sentence = str(caught.value)
        assert sentence.endswith(".")
        assert "\n" not in sentence
        for word in words:
            assert word in sentence

    def test_missing(self, tmp_path):
        self.refuse(tmp_path / "gone.jpg", "There is no photo at", "gone.jpg", "check the path")

    def test_folder(self, tmp_path):
        self.refuse(tmp_path, "is a folder")

    def test_empty(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        self.refuse(tmp_path / "a.jpg", "is empty (0 bytes)")

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif", ".bmp"])
    @pytest.mark.parametrize("share", [0.04, 0.3, 0.6, 0.9])
    def test_truncated(self, tmp_path, suffix, share):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        path = save(tmp_path / f"a{suffix}", Image.fromarray(noise))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        self.refuse(path, "is truncated or damaged", f"a{suffix}")

    def test_no_picture(self, tmp_path):
        (tmp_path / "a.jpg").write_text("dear diary")
        self.refuse(tmp_path / "a.jpg", "is not a picture that can be read", "give a JPEG, PNG")
        (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))  # not damaged, but a video
        self.refuse(tmp_path / "a.mp4", "is not a picture that can be read", "give a JPEG, PNG")

    @pytest.mark.parametrize("name", ["a.heic", "a.jpg"])  # phones and chats rename them
    def test_heic_names_the_extra(self, tmp_path, monkeypatch, name):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
        self.refuse(tmp_path / name, "is a HEIC picture", "pip install 'persam[heic]'")

    def test_raw(self, tmp_path):
        save(tmp_path / "a.tif", Image.new("RGB", (16, 12))).rename(tmp_path / "IMG_1.CR2")  # what its preview is
        self.refuse(tmp_path / "IMG_1.CR2", "is a RAW photo", "export it as JPEG or TIFF")

    def test_tiff_that_would_be_misread(self, tmp_path):
        tifffile = pytest.importorskip("tifffile")  # comes with scikit-image
        planes = np.zeros((3, 12, 16), np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
        self.refuse(tmp_path / "a.tif", "is a TIFF of values that cannot be read; save it with 8 or 16 bits")

    @pytest.mark.parametrize("share", [0.3, 0.6])
    def test_truncated_float_tiff(self, tmp_path, share):
        whole = cv2.imencode(".tif", np.random.default_rng(0).random((32, 32, 3), np.float32))[1].tobytes()
        (tmp_path / "a.tif").write_bytes(whole[: int(len(whole) * share)])
        self.refuse(tmp_path / "a.tif", "is truncated or damaged")

    def test_float_tiff_too_large(self, tmp_path):
        (tmp_path / "a.tif").write_bytes(cv2.imencode(".tif", np.zeros((20, 30, 3), np.float32))[1].tobytes())
        self.refuse(tmp_path / "a.tif", "30 x 20 = 0 million pixels", max_pixels=599)

    def test_postscript_is_not_run(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
        self.refuse(tmp_path / "a.jpg", "is not a picture that can be read")

    def test_device(self):
        self.refuse("/dev/zero", "is a device, not a photo")

    def test_a_name_that_is_too_long(self):
        self.refuse("a" * 5000 + ".jpg", "cannot be read: File name too long")

    def test_a_home_that_is_not_there(self):
        self.refuse("~nobody-of-this-name/a.jpg", "begins with the home folder of somebody unknown")

    def test_bomb(self, tmp_path):
        path = save(tmp_path / "a.png", Image.new("1", (3000, 2000)))
        self.refuse(path, "3000 x 2000 = 6 million pixels", "1 million allowed", max_pixels=1_000_000)

    def test_bomb_beyond_pillows_own_limit(self, tmp_path):
        path = save(tmp_path / "a.png", Image.new("1", (20_000, 20_000)))
        limit = Image.MAX_IMAGE_PIXELS
        self.refuse(path, "400 million pixels", "PERSAM_MAX_PIXELS=400000000")
        assert limit == Image.MAX_IMAGE_PIXELS

    def test_limit_can_be_raised_and_lowered(self, tmp_path, monkeypatch):
        path = save(tmp_path / "a.png", Image.new("1", (200, 200)))
        monkeypatch.setenv("PERSAM_MAX_PIXELS", "39_999")
        self.refuse(path, "PERSAM_MAX_PIXELS=40000")
        monkeypatch.setenv("PERSAM_MAX_PIXELS", "40000")
        assert read_image(path).shape == (200, 200, 3)
        monkeypatch.setenv("PERSAM_MAX_PIXELS", "many")
        self.refuse(path, "must be a number of pixels")

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((3, 40, 50), np.uint8), "shape (3, 40, 50)"),
            (np.zeros((4, 5, 3), np.float32), "array of float32"),
            (np.zeros((0, 5, 3), np.uint8), "without pixels"),
            (np.zeros(7, np.uint8), "shape (7,)"),
        ],
    )
    def test_arrays(self, array, words):
        self.refuse(array, words)

    def test_another_type(self):
        self.refuse(42, "not int")


@pytest.mark.parametrize("view", [slice(None), slice(None, None, -1), slice(None, None, 2)])
def test_an_rgb_array_is_copied_as_it_is(view):
    array = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)[view, view]
    read = read_image(array)
    np.testing.assert_array_equal(read, array)
    assert read.flags.c_contiguous
    assert read.flags.writeable
    assert not np.shares_memory(read, array)


class TestReadSmaller:
    """A large JPEG is decoded at a part of its size; what is known of it stays."""

    @staticmethod
    def photo(path: Path, size: tuple[int, int], **options: object) -> Path:
        width, height = size
        y, x = np.mgrid[:height, :width]
        smooth = np.stack([127 + 120 * np.sin(x / 60), 127 + 120 * np.cos(y / 80), (x + y) % 256], axis=2)
        Image.fromarray(smooth.astype(np.uint8)).save(path, **options)
        return path

    @pytest.mark.parametrize("longest", [100, 200, 512, 700, 5000])
    def test_not_smaller_than_asked_for_and_of_the_same_content(self, tmp_path, longest):
        file = self.photo(tmp_path / "p.jpg", (1600, 1200), quality=95)
        small, size = read_smaller(file, longest)
        assert size == (1200, 1600)
        assert max(small.shape[:2]) >= min(longest, 1600)
        assert max(small.shape[:2]) < max(2 * longest, 201)
        whole = np.asarray(Image.fromarray(read_image(file)).resize(small.shape[1::-1], Image.Resampling.BOX))
        assert np.abs(small.astype(int) - whole.astype(int)).mean() < 6

    def test_turned_as_exif_says_with_its_size(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        file = self.photo(tmp_path / "p.jpg", (1600, 1200), exif=exif, quality=95)
        small, size = read_smaller(file, 400)
        assert size == (1600, 1200) == read_image(file).shape[:2]
        assert small.shape[:2] == (400, 300)

    @pytest.mark.parametrize("name", ["p.png", "p.webp", "p.bmp"])
    def test_other_formats_are_read_whole(self, tmp_path, name):
        small, size = read_smaller(self.photo(tmp_path / name, (300, 200)), 50)
        assert size == small.shape[:2] == (200, 300)

    def test_two_pictures_in_one_file_as_some_cameras_write_them(self, tmp_path):
        photo = Image.new("RGB", (1000, 800), (200, 30, 40))
        photo.save(tmp_path / "p.jpg", format="MPO", save_all=True, append_images=[photo.resize((100, 80))])
        small, size = read_smaller(tmp_path / "p.jpg", 250)
        assert size == (800, 1000)
        assert max(small.shape) <= 1000
        assert np.abs(small.astype(int) - (200, 30, 40)).max() < 8

    def test_grey_and_cmyk(self, tmp_path):
        for mode in ("L", "CMYK"):
            file = tmp_path / f"{mode}.jpg"
            Image.new(mode, (1000, 800), 90).save(file)
            small, size = read_smaller(file, 250)
            assert small.shape == (200, 250, 3)
            assert size == (800, 1000)


class TestWarnings:
    def test_reading_in_threads_leaves_the_filters_as_they_are(self, tmp_path, monkeypatch):
        """The first photo is begun before, and done before the second."""
        begun = {name: threading.Event() for name in ("first.png", "second.png")}
        first_is_read = threading.Event()

        def slowly(_size: object, _limit: int, file: Path, _what: str) -> None:
            begun[file.name].set()
            assert (begun["second.png"] if file.name == "first.png" else first_is_read).wait(100)

        monkeypatch.setattr("persam.images.check_pixels", slowly)
        before = list(warnings.filters)
        with ThreadPoolExecutor(2) as pool:
            reads = []
            for name in begun:
                reads.append(pool.submit(read_image, save(tmp_path / name, Image.new("RGB", (8, 8)))))
                assert begun[name].wait(100)
            reads[0].result()
            first_is_read.set()
            reads[1].result()
        assert list(warnings.filters) == before

    @pytest.mark.parametrize("asked", [False, True], ids=["by default", "as errors"])
    def test_pillows_are_for_who_asked_for_them(self, tmp_path, asked):
        """In a process of its own, for pytest sets the filters anew. A second frame is still told of."""
        frames = [Image.new("RGB", (12, 8), colour) for colour in ("red", "blue")]
        path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
        asking = "warnings.simplefilter('error', Image.DecompressionBombWarning)" if asked else ""
        code = f"""
import sys, warnings
from PIL import Image
Image.MAX_IMAGE_PIXELS = 50
{asking}
from persam.images import read_image
try:
    read_image(sys.argv[1])
except Exception as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        if asked:
            assert "a.gif is not read where warnings are errors: Image size (96 pixels) exceeds limit" in done.stdout
        else:
            assert "a.gif has 2 frames; only the first is taken." in done.stderr
            assert "DecompressionBomb" not in done.stderr + done.stdout
