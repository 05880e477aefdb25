"""Photos in which things cannot be recognised, and files that tell nothing of them."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.conftest import draw_scene

from persam.album.formats import write_formats
from persam.album.formats.hidden import BLOCKS, blanked, blurred
from persam.album.formats.lines import below, common_folder
from persam.album.outputs import OutputFolder
from persam.instance import Instance
from persam.segmentation import Segmentation

HIDE = {"blur": blurred, "blank": blanked}
FOLDERS = {"blur": "blurred", "blank": "blanked"}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def disc(height: int, width: int, x: int, y: int, radius: int) -> np.ndarray:
    return cv2.circle(np.zeros((height, width), np.uint8), (x, y), radius, 1, -1).astype(bool)


@pytest.mark.parametrize("hide", HIDE.values(), ids=HIDE)
class TestBoth:
    @given(x=st.integers(-5, 95), y=st.integers(-5, 85), radius=st.integers(0, 45))
    def test_all_of_the_thing_and_a_margin_changes_and_nothing_else(self, hide, x, y, radius):
        photo, mask = noise(80, 90), disc(80, 90, x, y, radius)
        out = hide(photo, mask)
        apart = cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        changed = (out != photo).any(axis=2)
        if not mask.any():
            assert not changed.any()
            return
        margin = max(4, 0.06 * (2 * radius + 1))
        assert not changed[apart > margin + 1].any()
        assert (changed[apart <= margin - 1].mean()) > 0.9  # a pixel of noise may happen to be right
        assert (photo == noise(80, 90)).all()

    def test_holes_are_hidden_too(self, hide):
        """Eyes that a mask of a face leaves out."""
        photo, mask = noise(200, 200), disc(200, 200, 100, 100, 80) & ~disc(200, 200, 100, 100, 40)
        assert (hide(photo, mask) != photo).any(axis=2)[80:120, 80:120].mean() > 0.9

    def test_an_empty_mask_changes_nothing(self, hide):
        photo = noise(20, 30)
        assert (hide(photo, np.zeros((20, 30), bool)) == photo).all()

    def test_a_mask_as_it_comes_from_a_run_length_code(self, hide):
        photo, mask = noise(60, 50), disc(60, 50, 20, 30, 10)
        assert (hide(photo, np.asfortranarray(mask)) == hide(photo, mask)).all()


class TestBlurred:
    def test_only_the_means_of_few_blocks_are_told(self):
        """All that is in a block can be shuffled: the result is the same to the bit. Nothing more is told."""
        photo, mask = noise(72, 96), np.ones((72, 96), bool)
        rng = np.random.default_rng(1)
        other, side = photo.copy(), 96 // BLOCKS
        for y, x in itertools.product(range(0, 72, side), range(0, 96, side)):
            block = other[y : y + side, x : x + side]
            block[:] = rng.permutation(block.reshape(-1, 3)).reshape(block.shape)
        assert (blurred(photo, mask) == blurred(other, mask)).all()
        assert (photo != other).any(axis=2).mean() > 0.9

    def test_letters_are_gone(self):
        """The picture in a thing has no more contrast than the blocks have: strokes finer than them are gone."""
        photo = np.full((200, 400, 3), 255, np.uint8)
        cv2.putText(photo, "B 5872", (40, 130), cv2.FONT_HERSHEY_SIMPLEX, 3, (0, 0, 0), 12)
        mask = np.zeros((200, 400), bool)
        mask[30:170, 20:380] = True
        inside = blurred(photo, mask)[30:170, 20:380]
        fine = inside.astype(float) - cv2.GaussianBlur(inside, (0, 0), 8)
        assert np.abs(fine).max() < 12 < 100 < np.abs(photo - cv2.GaussianBlur(photo, (0, 0), 8).astype(float)).max()

    def test_small_things_are_hidden_too(self):
        photo, mask = noise(40, 40), disc(40, 40, 20, 20, 3)
        out = blurred(photo, mask)
        inside = out[17:24, 17:24].reshape(-1, 3).astype(float)
        assert inside.std(axis=0).max() < 30 < photo.reshape(-1, 3).std(axis=0).min()


class TestBlanked:
    @given(seed=st.integers(0, 1000))
    def test_nothing_of_the_thing_is_left(self, seed):
        photo, mask = noise(60, 70), disc(60, 70, 30, 30, 15)
        other = photo.copy()
        other[mask] = noise(60, 70, seed)[mask]
        out = blanked(photo, mask)
        assert (out == blanked(other, mask)).all()
        assert len(np.unique(out[mask], axis=0)) == 1

    def test_the_colour_is_that_of_the_surroundings(self):
        photo, mask = draw_scene()
        photo[~mask] = (10, 200, 30)
        assert (blanked(photo, mask)[mask] == (10, 200, 30)).all()

    def test_where_nothing_is_around_it_is_grey(self):
        assert (blanked(noise(20, 20), np.ones((20, 20), bool)) == 128).all()


def line_of(photo: Path, mask: np.ndarray) -> dict:
    found = Segmentation("face", str(photo), mask, 0.9).to_dict()
    return found | {"name": "a.b", "files": {}, "instances": [{key: found[key] for key in ("score", "box", "rle")}]}


@pytest.mark.parametrize("name", HIDE)
class TestFiles:
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif"])
    def test_the_photos_own_format(self, tmp_path, name, suffix):
        pixels, mask = draw_scene()
        photo = tmp_path / f"photo{suffix}"
        Image.fromarray(pixels).save(photo)
        written = write_formats([name], lambda: [line_of(photo, mask)], tmp_path)
        assert written.files == [f"{FOLDERS[name]}/a.b{suffix}"]
        before, after = Image.open(photo), Image.open(tmp_path / written.files[0])
        assert after.format == before.format
        assert after.size == before.size
        far = disc(*mask.shape, 60, 70, 36)
        apart = np.abs(np.asarray(after.convert("RGB"), int) - np.asarray(before.convert("RGB"), int))
        if suffix in (".png", ".tif", ".bmp"):
            assert (apart[~far] == 0).all()
        elif suffix != ".gif":  # it chooses its colours anew
            assert apart[~far].mean() < 4
        assert apart[mask].mean() > 8

    def test_exif_with_place_and_small_picture_is_dropped_and_the_profile_kept(self, tmp_path, name):
        pixels, mask = draw_scene()
        photo = tmp_path / "photo.jpg"
        small = io.BytesIO()
        Image.fromarray(pixels).resize((40, 30)).save(small, "JPEG")
        exif = Image.Exif()
        exif[0x010F] = "Camera"
        exif[0x0112] = 6
        exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 0.0)})
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        # The small picture of a camera: a segment of its own, which Pillow does not write.
        hidden = exif.tobytes() + small.getvalue()
        Image.fromarray(np.rot90(pixels)).save(photo, exif=hidden, icc_profile=profile, comment=b"at home")
        assert photo.read_bytes().count(b"\xff\xd8\xff") == 2
        written = write_formats([name], lambda: [line_of(photo, mask)], tmp_path)
        assert written.failures == []
        file = tmp_path / written.files[0]
        after = Image.open(file)
        assert dict(after.getexif()) == {}
        assert after.info.get("icc_profile") == profile
        assert file.read_bytes().count(b"\xff\xd8\xff") == 1
        assert not any(word in file.read_bytes() for word in (b"Exif", b"Camera", b"at home"))
        assert after.size == (160, 120)  # upright, since nothing says any more how to turn it
        assert np.abs(np.asarray(after, int) - pixels)[~disc(120, 160, 60, 70, 40)].mean() < 8

    def test_a_profile_of_other_colours_is_left_behind(self, tmp_path, name):
        pixels, mask = draw_scene()
        profile = bytes(16) + b"CMYK" + bytes(108)
        Image.fromarray(pixels).convert("CMYK").save(tmp_path / "photo.jpg", icc_profile=profile)
        written = write_formats([name], lambda: [line_of(tmp_path / "photo.jpg", mask)], tmp_path)
        after = Image.open(tmp_path / written.files[0])
        assert (after.mode, after.info.get("icc_profile")) == ("RGB", None)

    @pytest.mark.parametrize(("suffix", "kind"), [(".jpg", "MPO"), (".gif", "GIF"), (".tif", "TIFF")])
    def test_further_frames_which_would_show_it_are_left_behind(self, tmp_path, name, suffix, kind):
        pixels, mask = draw_scene()
        frames = [Image.fromarray(each) for each in (pixels, pixels[::-1].copy())]
        frames[0].save(tmp_path / f"photo{suffix}", kind, save_all=True, append_images=frames[1:])
        written = write_formats([name], lambda: [line_of(tmp_path / f"photo{suffix}", mask)], tmp_path)
        assert Image.open(tmp_path / f"photo{suffix}").n_frames == 2
        after = Image.open(tmp_path / written.files[0])
        assert getattr(after, "n_frames", 1) == 1
        assert after.format == ("JPEG" if kind == "MPO" else kind)

    def test_grey_stays_grey(self, tmp_path, name):
        pixels, mask = draw_scene()
        Image.fromarray(pixels).convert("L").save(tmp_path / "photo.png")
        write_formats([name], lambda: [line_of(tmp_path / "photo.png", mask)], tmp_path)
        assert Image.open(tmp_path / FOLDERS[name] / "a.b.png").mode == "L"

    def test_a_photo_without_the_thing_is_written_too(self, tmp_path, name, album):
        written = write_formats([name], lambda: album.lines, tmp_path)
        assert len(written.files) == len(album.photos)

    def test_a_photo_that_was_changed_since_is_not_written(self, tmp_path, name):
        pixels, mask = draw_scene()
        Image.fromarray(pixels[:50]).save(tmp_path / "photo.png")
        written = write_formats([name], lambda: [line_of(tmp_path / "photo.png", mask)], tmp_path)
        assert written.files == []
        assert "another size than when it was segmented; segment it again" in written.failures[0][1]

    @pytest.mark.parametrize("kind", ["album", "segment"])
    def test_another_photo_of_equal_size_is_not_written(self, tmp_path, name, kind):
        pixels, mask = draw_scene()
        photo = tmp_path / "photo.bmp"  # whose files are of equal length, too
        Image.fromarray(pixels).save(photo)
        status = photo.stat()
        made = {
            "album": {"content": hashlib.blake2b(photo.read_bytes(), digest_size=16).hexdigest()},
            "segment": {"photo": {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "ctime_ns": 0}},
        }[kind]
        others = line_of(photo, mask & False) | {"concept": "cat"}  # of the photo as it is now, or of unknown age
        lines = [others, line_of(photo, mask) | {"made": made}]
        assert len(write_formats([name], lambda: lines, tmp_path).files) == 1
        Image.fromarray(np.roll(pixels, 60, axis=1)).save(photo)
        time = status.st_mtime_ns + (kind == "segment")
        os.utime(photo, ns=(time, time))
        written = write_formats([name], lambda: lines, tmp_path)
        sentence = f"The photo {photo} was changed since it was looked at; run persam {kind} again."
        assert (written.files, written.failures) == ([], [(str(photo), sentence)])

    def test_what_may_be_the_thing_is_hidden_too(self, tmp_path, name):
        pixels, mask = draw_scene()
        photo = tmp_path / "photo.png"
        Image.fromarray(pixels).save(photo)
        unsure = Segmentation("face", str(photo), mask & False, 0.4, present=False, candidate=Instance(mask, 0.4))
        with OutputFolder(tmp_path / "out") as output:
            line = output.write(unsure)
        written = write_formats([name], lambda: [line], tmp_path)
        after = np.asarray(Image.open(tmp_path / written.files[0]))
        assert (after != pixels).any(axis=2)[mask].mean() > 0.9


def test_photos_on_two_disks_have_no_common_folder():
    assert common_folder(["/a/b/1.jpg", "c/2.jpg"]) == ""


def test_the_common_folder_of_photos_elsewhere_is_an_address():
    photos = ["s3://bucket/a/1 #?.jpg", "s3://bucket/ab/c/2.jpg"]
    assert common_folder(photos) == "s3://bucket"
    assert common_folder(photos[:1]) == "s3://bucket/a"
    assert [below("s3://bucket", photo) for photo in photos] == ["a/1 #?.jpg", "ab/c/2.jpg"]
    assert common_folder([*photos, "s3://another/1.jpg"]) == common_folder([*photos, "/a/1.jpg"]) == ""
    assert below("", "/a/b/1.jpg") == "/a/b/1.jpg"
