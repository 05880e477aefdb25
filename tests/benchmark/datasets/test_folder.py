"""A plain folder of photos and masks, and a study's folder."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.checks import check_sound
from tests.benchmark.datasets.lookalikes import SIZE, box_mask, random_box, write_grey, write_photo

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError


def mask_of(number: int) -> np.ndarray:
    return box_mask(random_box(np.random.default_rng(number)))


def fill(folder, photo="images/{:02}.jpg", mask="masks/{:02}.png", count=4, value=255):
    for number in range(count):
        write_photo(folder / photo.format(number), number)
        path = folder / mask.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_grey(path, mask_of(number) * value)
    return folder


def stems(samples):
    return [each.photo.stem for each in samples]


def check_masks(loaded):
    for each in loaded.samples:
        assert np.array_equal(each.read()[1], mask_of(int(each.photo.stem)))


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("images/{:02}.jpg", "masks/{:02}.png"),
        ("images/{:02}.jpg", "masks/{:02}_mask.png"),
        ("Images/{:02}.JPG", "Masks/{:02}.png"),
        ("photos/{:02}.webp", "annotations/{:02}.bmp"),
        ("{:02}.jpg", "{:02}_mask.png"),
        ("{:02}.png", "{:02}-mask.png"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_layouts(tmp_path, photo, mask, several):
    root = tmp_path / "mugs"
    for name in ("red_mug", "blue mug") if several else (".",):
        fill(root / name, photo, mask)
    loaded = read("folder", root)
    check_sound(loaded)
    check_masks(loaded)
    assert [each.object for each in loaded.episodes] == (["blue mug", "red_mug"] if several else ["mugs"])
    assert [each.category for each in loaded.episodes] == (["blue mug", "red mug"] if several else ["mugs"])
    for episode in loaded.episodes:
        assert stems(episode.references) == ["00"]
        assert stems(episode.tests) == ["01", "02", "03"]
    assert loaded.notes == ()


@pytest.mark.parametrize("value", [1, 2, 128, 255])
def test_any_brightness_is_the_object(tmp_path, value):
    check_masks(read("folder", fill(tmp_path, value=value)))


def test_a_jpeg_s_noise_is_not(tmp_path):
    """Kvasir-SEG and others hand out their masks as JPEG."""
    fill(tmp_path)
    for number in range(4):
        (tmp_path / f"masks/{number:02}.png").unlink()
        mask = Image.fromarray(np.kron(mask_of(number), np.ones((8, 8), np.uint8)) * 255)
        mask.save(tmp_path / f"masks/{number:02}.jpg", quality=60)
        write_photo(tmp_path / f"images/{number:02}.jpg", number, (160, 240))
    for each in read("folder", tmp_path).samples:
        expected = np.kron(mask_of(int(each.photo.stem)), np.ones((8, 8), bool))
        assert np.array_equal(each.read()[1], expected)


def test_a_test_photo_may_be_without_the_object_or_full_of_it(tmp_path):
    fill(tmp_path)
    write_grey(tmp_path / "masks/01.png", np.zeros(SIZE))
    write_grey(tmp_path / "masks/02.png", np.full(SIZE, 255))
    (episode,) = read("folder", tmp_path).episodes
    assert [each.read()[1].mean() for each in episode.tests[:2]] == [0, 1]


@pytest.mark.parametrize("reference", ["02", "02.jpg"])
def test_reference_by_name(tmp_path, reference):
    (episode,) = read("folder", fill(tmp_path), reference=reference, shots=2).episodes
    assert stems(episode.references) == ["02", "03"]
    assert stems(episode.tests) == ["00", "01"]


def test_photos_that_lie_on_their_side(tmp_path):
    """A phone's photo with EXIF rotation: the mask may be drawn on what viewers show, or on what is stored."""
    fill(tmp_path)
    shown = np.zeros((40, 60), bool)
    shown[5:20, 30:55] = True
    stored = np.rot90(shown)  # orientation 6: viewers turn by 90 degrees clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, mask in (("10", shown), ("11", stored)):
        photo = np.zeros((*stored.shape, 3), np.uint8)
        photo[stored] = 255
        Image.fromarray(photo).save(tmp_path / f"images/{name}.png", exif=exif)
        write_grey(tmp_path / f"masks/{name}.png", mask * 255)
    for each in read("folder", tmp_path).samples[-2:]:
        pixels, truth = each.read()
        assert np.array_equal(pixels[:, :, 0] > 128, shown)
        assert np.array_equal(truth, shown)


def test_what_is_passed_over_is_named(tmp_path):
    fill(tmp_path / "mug")
    fill(tmp_path / "cup", count=1)
    write_photo(tmp_path / "holiday/01.jpg", 0)
    write_grey(tmp_path / "mug/masks/77.png", mask_of(0))
    loaded = read("folder", tmp_path)
    assert [each.object for each in loaded.episodes] == ["mug"]
    assert loaded.notes == (
        f"passed over: masks without a photo ({tmp_path / 'mug/masks/77.png'})",
        f"passed over: folders of pictures without masks ({tmp_path / 'holiday'})",
        "passed over: objects with references alone (cup)",
    )


class TestSentences:
    def refused(self, root, **options) -> str:
        with pytest.raises(UsageError) as caught:
            read("folder", root, **options)
        return str(caught.value)

    def test_another_layout(self, tmp_path):
        assert "looked for images/ and masks/ of equal names, OBJECT/images/" in self.refused(tmp_path)
        (tmp_path / "a/b/images").mkdir(parents=True)
        assert "looked for images/ and masks/" in self.refused(tmp_path)

    def test_photos_alone(self, tmp_path):
        shutil.rmtree(fill(tmp_path) / "masks")
        assert f"{tmp_path} has photos but no masks" in self.refused(tmp_path)

    def test_no_photos(self, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        assert "images has no photos" in self.refused(tmp_path)

    def test_a_photo_without_a_mask(self, tmp_path):
        fill(tmp_path / "in")
        (tmp_path / "in/masks/02.png").unlink()
        assert f"02.jpg has no mask: looked for {tmp_path / 'in/masks'}/02.png." in self.refused(tmp_path / "in")
        fill(tmp_path / "beside", "{}.jpg", "{}_mask.png")
        (tmp_path / "beside/2_mask.png").unlink()
        assert f"2.jpg has no mask: looked for {tmp_path / 'beside'}/2_mask.png." in self.refused(tmp_path / "beside")

    def test_another_size(self, tmp_path):
        write_grey(fill(tmp_path) / "masks/02.png", np.ones((20, 31)))
        assert "masks/02.png is 31 x 20 pixels, its photo 30 x 20" in self.refused(tmp_path)

    def test_two_of_one_name(self, tmp_path):
        write_photo(fill(tmp_path) / "images/02.png", 0)
        assert "02.jpg and 02.png have one name" in self.refused(tmp_path)

    def test_no_picture(self, tmp_path):
        (fill(tmp_path) / "images/02.jpg").write_text("no picture")
        with pytest.raises(Exception, match=r"02\.jpg is not a picture that can be read"):
            read("folder", tmp_path)

    def test_reference(self, tmp_path):
        fill(tmp_path)
        assert "has no photo 09, which was to be the reference" in self.refused(tmp_path, reference="09")
        write_grey(tmp_path / "masks/00.png", np.zeros(SIZE))
        assert "00.jpg is empty, so it cannot be a reference; name another photo." in self.refused(tmp_path)
        assert len(read("folder", tmp_path, reference="01").samples) == 4

    def test_too_few(self, tmp_path):
        assert "each object has its references alone" in self.refused(fill(tmp_path), shots=4)


class TestStudy:
    def test_gold_comes_before_masks(self, tmp_path):
        fill(tmp_path / "polyp", mask="gold/{:02}.png")
        fill(tmp_path / "polyp", mask="annotators/anna/{:02}.png")
        fill(tmp_path / "polyp", mask="masks/{:02}.png", value=0)
        fill(tmp_path / "skin")
        loaded = read("study", tmp_path)
        check_sound(loaded)
        check_masks(loaded)
        assert [each.object for each in loaded.episodes] == ["polyp", "skin"]
        assert loaded.name == loaded.episodes[0].data_set == "study"

    def test_without_truth(self, tmp_path):
        fill(tmp_path / "polyp", mask="annotators/anna/{:02}.png")
        with pytest.raises(
            UsageError, match="polyp has photos but no masks: looked for CATEGORY/images/ and CATEGORY/gold/"
        ):
            read("study", tmp_path)


def test_real(real_data):
    for name in ("folder", "study"):
        loaded = read(name, real_data / "study")
        check_sound(loaded)
        assert [each.object for each in loaded.episodes] == ["breast", "horse", "polyp", "salt_dome", "skin"]
        assert len(loaded.samples) == 60
    for each in loaded.samples[::7]:
        mask = each.photo.parent.parent / "masks" / f"{each.photo.stem}.png"
        assert np.array_equal(each.read()[1], np.asarray(Image.open(mask)) == 255)
    (episode,) = read("folder", real_data / "study" / "polyp").episodes
    assert episode.object == "polyp"
