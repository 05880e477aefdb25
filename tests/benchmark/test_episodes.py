"""Data sets as episodes."""

from __future__ import annotations

import shutil

import pytest
from tests.benchmark.conftest import write_pair

from persam.benchmark.episodes import read_all, read_davis, read_fss, read_perseg
from persam.errors import UsageError


def test_perseg(data):
    episodes = read_perseg(data / "perseg")
    assert [episode.name for episode in episodes] == ["dog toy", "mug"]
    for episode in episodes:
        assert episode.data_set == "perseg"
        assert [path.name for path in episode.reference] == ["00.jpg", "00.png"]
        assert [photo.name for photo, _ in episode.tests] == ["01.jpg", "02.jpg"]
        assert all(photo.stem == mask.stem for photo, mask in episode.tests)


def test_perseg_with_another_reference_and_a_root_that_holds_its_number(data, tmp_path):
    """The published evaluation drops every path with the reference's number anywhere in it."""
    root = tmp_path / "2000" / "perseg00"
    shutil.copytree(data / "perseg", root)
    (episode, _) = read_perseg(root, reference="01")
    assert episode.reference[0].name == "01.jpg"
    assert [photo.name for photo, _ in episode.tests] == ["00.jpg", "02.jpg"]


def test_fss(data):
    (episode,) = read_fss(data / "fss")
    assert episode.name == "abacus"
    assert episode.reference[0].name == "0.jpg"
    assert len(episode.tests) == 2


@pytest.mark.parametrize(("step", "frames"), [(8, [8]), (3, [3, 6, 9]), (1, list(range(1, 10)))])
def test_davis_takes_every_eighth_frame(data, step, frames):
    (episode,) = read_davis(data / "davis", step)
    assert episode.reference[0].name == "00000.jpg"
    assert [int(photo.stem) for photo, _ in episode.tests] == frames


def test_all(data):
    assert [episode.data_set for episode in read_all(data)] == ["perseg", "perseg", "fss", "davis"]
    shutil.rmtree(data / "perseg")
    assert [episode.data_set for episode in read_all(data)] == ["fss", "davis"]


def test_stray_files_do_not_matter(data):
    (data / "perseg" / "Images" / "readme.txt").write_text("x")
    (data / "perseg" / "Images" / "mug" / "Thumbs.db").write_text("x")
    (data / "fss" / "classes.txt").write_text("x")
    assert len(read_all(data)) == 4


class TestSentences:
    def refused(self, reader, root) -> str:
        with pytest.raises(UsageError) as caught:
            reader(root)
        assert caught.value.exit_code == 2
        return str(caught.value)

    def test_no_data_set(self, tmp_path):
        assert "holds none of the folders perseg, fss, davis" in self.refused(read_all, tmp_path)
        assert "holds none of the folders" in self.refused(read_all, tmp_path / "gone")

    @pytest.mark.parametrize("reader", [read_perseg, read_davis])
    def test_another_layout(self, tmp_path, reader):
        assert "is not laid out as expected: there is no folder" in self.refused(reader, tmp_path)

    def test_no_reference(self, data):
        (data / "perseg" / "Images" / "mug" / "00.jpg").unlink()
        assert "mug has no photo 00, which was to be the reference" in self.refused(read_perseg, data / "perseg")

    @pytest.mark.parametrize(
        ("reader", "mask"),
        [(read_perseg, "perseg/Annotations/mug/02.png"), (read_fss, "fss/abacus/masks/0.png"),
         (read_davis, "davis/Annotations/480p/bear/00008.png")],
    )  # fmt: skip
    def test_no_mask(self, data, reader, mask):
        (data / mask).unlink()
        sentence = self.refused(reader, data / mask.split("/")[0])
        assert f"has no mask: looked for {data / mask}" in sentence

    def test_empty_class(self, data):
        (data / "fss" / "empty" / "images").mkdir(parents=True)
        assert "empty has no photos in images/" in self.refused(read_fss, data / "fss")

    def test_empty_sequence(self, data):
        (data / "davis" / "JPEGImages" / "480p" / "ghost").mkdir()
        assert "ghost has no frames" in self.refused(read_davis, data / "davis")

    def test_references_alone(self, tmp_path):
        write_pair(tmp_path / "perseg/Images/mug/00.jpg", tmp_path / "perseg/Annotations/mug/00.png", 0)
        assert "has no photos to find the objects in" in self.refused(read_all, tmp_path)

    def test_object_without_tests(self, tmp_path):
        write_pair(tmp_path / "Images/mug/00.jpg", tmp_path / "Annotations/mug/00.png", 0)
        assert read_perseg(tmp_path)[0].tests == ()


@pytest.mark.slow
def test_real_data(real_data):
    counts: dict[str, int] = {}
    for episode in read_all(real_data):
        counts[episode.data_set] = counts.get(episode.data_set, 0) + len(episode.tests)
    assert counts["perseg"] == 4
    assert counts["fss"] == 18
    assert counts["davis"] > 30
