"""FSS-1000 as unpacked, and with images/ and masks/."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.datasets.checks import check_sound, described
from tests.benchmark.datasets.lookalikes import box_mask, random_box, write_grey, write_photo

from persam.benchmark.datasets.catalog import read
from persam.errors import UsageError

CLASSES = ("abacus", "ab_wheel", "bee_house")


@pytest.fixture
def unpacked(tmp_path):
    """`fewshot_data/fewshot_data/CLASS/1.jpg` and 1.png to 10, as the archive has it; masks in three channels."""
    for place, name in enumerate(CLASSES):
        for number in range(1, 11):
            folder = tmp_path / "download" / "fewshot_data" / "fewshot_data" / name
            write_photo(folder / f"{number}.jpg", 100 * place + number)
            mask = box_mask(random_box(np.random.default_rng(number)))
            write_grey(folder / f"{number}.png", np.repeat(mask[:, :, None] * 255, 3, axis=2))
    return tmp_path / "download"


def test_as_unpacked(unpacked):
    loaded = read("fss", unpacked)
    check_sound(loaded)
    assert [episode.object for episode in loaded.episodes] == ["ab_wheel", "abacus", "bee_house"]
    for episode in loaded.episodes:
        assert [each.photo.stem for each in episode.references] == ["1"]
        assert [each.photo.stem for each in episode.tests] == [str(number) for number in range(2, 11)]
        for each in episode.tests:
            number = int(each.photo.stem)
            assert np.array_equal(each.read()[1], box_mask(random_box(np.random.default_rng(number))))
    assert loaded.notes[0].startswith("there is no list of the 240 test classes (such as ")
    assert "all classes here (no list of test classes), 3 classes" in loaded.protocol


def test_soft_masks_are_cut_at_half(unpacked):
    """As HSNet does: 128 and above is the class."""
    path = unpacked / "fewshot_data/fewshot_data/abacus/2.png"
    soft = np.where(box_mask((5, 5, 15, 15)), 255, 0)
    soft[4, 5:15], soft[15, 5:15], soft[5:15, 4] = 128, 127, np.arange(20, 200, 18)
    write_grey(path, soft)
    sample = next(each for each in read("fss", unpacked).samples if each.name == "abacus/2")
    assert np.array_equal(sample.read()[1], soft >= 128)


def test_folders_of_images_and_masks(data):
    (episode,) = read("fss", data / "fss").episodes
    assert episode.object == "abacus"
    assert episode.references[0].photo.name == "0.jpg"
    assert len(episode.tests) == 2


def test_shots(unpacked):
    loaded = read("fss", unpacked, shots=5)
    check_sound(loaded, shots=5)
    assert {len(episode.tests) for episode in loaded.episodes} == {5}


class TestEpisodes:
    """HSNet's protocol."""

    def test_every_photo_is_the_query_once(self, unpacked):
        loaded = read("fss", unpacked, protocol="episodes")
        check_sound(loaded)
        assert len(loaded.episodes) == 30
        queries = [episode.tests[0].name for episode in loaded.episodes]
        assert Counter(queries) == Counter(f"{name}/{number}" for name in CLASSES for number in range(1, 11))
        for episode in loaded.episodes:
            assert len(episode.tests) == 1
            assert episode.references[0].photo.parent == episode.tests[0].photo.parent
            assert episode.tests[0].photo.parent.name == episode.object

    def test_seed(self, unpacked):
        def draw(seed):
            return described(read("fss", unpacked, protocol="episodes", seed=seed))

        assert draw(3) == draw(3)
        assert draw(3) != draw(4)

    def test_a_class_is_drawn_alike_whatever_else_is_there(self, unpacked):
        whole = described(read("fss", unpacked, protocol="episodes"))
        list_ = unpacked / "fewshot_data/fewshot_data/fss_test.txt"
        list_.write_text("bee_house\n")
        assert described(read("fss", unpacked, protocol="episodes")) == [
            each for each in whole if each[0] == "bee_house"
        ]

    def test_shots(self, unpacked):
        check_sound(read("fss", unpacked, protocol="episodes", shots=9), shots=9)

    def test_references_come_from_the_whole_class(self, unpacked):
        drawn = Counter()
        for seed in range(60):
            for episode in read("fss", unpacked / "fewshot_data", protocol="episodes", seed=seed).episodes[:10]:
                drawn[episode.references[0].photo.stem] += 1
        assert len(drawn) == 10
        assert min(drawn.values()) > 30  # 60 expected of each


class TestSplits:
    @pytest.mark.parametrize(
        "place",
        ["fewshot_data/fewshot_data/fss_test.txt", "fewshot_data/fewshot_data/test.txt",
         "fewshot_data/fewshot_data/splits/fss/test.txt", "fewshot_data/fss_test_set.txt",
         "fewshot_data/splits/test.txt"],
    )  # fmt: skip
    def test_list(self, unpacked, place):
        (unpacked / place).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / place).write_text("bee_house\nab_wheel\n\n")
        loaded = read("fss", unpacked)
        assert [episode.object for episode in loaded.episodes] == ["bee_house", "ab_wheel"]
        assert loaded.notes == ()
        assert f"split test of {place.split('/')[-1]}, 2 classes" in loaded.protocol

    def test_partial_copy(self, unpacked):
        (unpacked / "fewshot_data/fewshot_data/test.txt").write_text("\n".join(["abacus", *"abcdefg"]))
        loaded = read("fss", unpacked)
        assert loaded.notes == ("passed over: classes of split test that are not here (a, b, c, d, e and 2 more)",)

    def test_all(self, unpacked):
        (unpacked / "fewshot_data/fewshot_data/test.txt").write_text("abacus")
        loaded = read("fss", unpacked, split="all")
        assert len(loaded.episodes) == 3
        assert loaded.notes == ()

    def test_unknown(self, unpacked):
        with pytest.raises(UsageError, match=r"has no split val: looked for .*fss_val.txt"):
            read("fss", unpacked, split="val")

    def test_another_set_s_list(self, unpacked):
        (unpacked / "fewshot_data/fewshot_data/test.txt").write_text("cat\ndog")
        with pytest.raises(UsageError, match="None of the classes in .*test.txt is in"):
            read("fss", unpacked)

    def test_no_list_at_all(self, unpacked):
        (unpacked / "fewshot_data/fewshot_data/test.txt").write_bytes(b"\xff\xfe\x00\x81")
        with pytest.raises(UsageError, match="is no list of names"):
            read("fss", unpacked)


class TestSentences:
    def refused(self, root, **options) -> str:
        with pytest.raises(UsageError) as caught:
            read("fss", root, **options)
        return str(caught.value)

    def test_another_layout(self, tmp_path):
        (tmp_path / "a" / "b" / "c" / "d").mkdir(parents=True)
        assert self.refused(tmp_path).endswith(
            "is not laid out as expected: looked for CLASS/1.jpg and CLASS/1.png, or CLASS/images/*.jpg and "
            "CLASS/masks/*.png."
        )

    def test_several(self, data, unpacked):
        for name in ("a", "b"):
            write_photo(data / name / "cup" / "1.jpg", 0)
        assert "data holds several folders of classes: " in self.refused(data)

    def test_no_mask(self, data, unpacked):
        for root, mask in (
            (data / "fss", data / "fss/abacus/masks/0.png"),
            (unpacked, unpacked / "fewshot_data/fewshot_data/abacus/10.png"),
        ):
            mask.unlink()
            assert f"has no mask: looked for {mask}." in self.refused(root)

    def test_a_mask_without_a_photo_is_named(self, unpacked):
        photo = unpacked / "fewshot_data/fewshot_data/abacus/10.jpg"
        photo.unlink()
        assert f"passed over: masks without a photo ({photo.with_suffix('.png')})" in read("fss", unpacked).notes

    def test_empty_class(self, data):
        (data / "fss/empty/images").mkdir(parents=True)
        assert "empty has no photos in images/" in self.refused(data / "fss")

    def test_too_many_shots(self, unpacked):
        assert "each class has its references alone" in self.refused(unpacked, shots=10)

    def test_protocol(self, unpacked):
        assert "FSS-1000 has no protocol others; choose first, episodes." in self.refused(unpacked, protocol="others")


def test_real(real_data):
    for protocol, episodes in (("first", 2), ("episodes", 20)):
        loaded = read("fss", real_data / "fss", protocol=protocol)
        check_sound(loaded)
        assert len(loaded.episodes) == episodes
        assert len(loaded.samples) == 20
        for each in loaded.samples:
            mask = each.photo.parent.parent / "masks" / f"{each.photo.stem}.png"
            assert np.array_equal(each.read()[1], np.asarray(Image.open(mask).convert("L")) >= 128)
