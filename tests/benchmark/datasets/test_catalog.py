"""The list of data sets."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys

import pytest
from tests.benchmark.conftest import write_pair

from persam.benchmark.datasets.catalog import DATASETS, read, read_recognised, read_together
from persam.errors import UsageError

YOURS = ["things", "folder", "study"]
NAMES = [
    "perseg",
    "fss",
    "davis",
    "youtube-vos",
    "lvis92i",
    "coco20i",
    "pascal-part",
    "paco-part",
    "tokyo-ms4i",
    *YOURS,
]

FOLDS = {"lvis92i": 10, "coco20i": 4, "pascal-part": 4, "paco-part": 4, "tokyo-ms4i": 4}


def test_names():
    assert list(DATASETS) == NAMES
    assert all(entry.name == name for name, entry in DATASETS.items())


@pytest.mark.parametrize("name", NAMES)
class TestEntry:
    def test_options_are_the_loader_s(self, name):
        entry = DATASETS[name]
        module, function = entry.reader.split(":")
        loader = getattr(importlib.import_module(f"persam.benchmark.datasets.{module}"), function)
        parameters = inspect.signature(loader).parameters
        assert {option.name for option in entry.options} == set(parameters) - {"root"}
        for option in entry.options:
            assert option.default == parameters[option.name].default
            assert option.help

    def test_says_all_that_a_person_needs(self, name):
        entry = DATASETS[name]
        assert all((entry.title, entry.origin, entry.layout, entry.protocol, entry.licence))
        assert "http" in entry.origin or name in YOURS
        assert FOLDS.get(name, 0) == len(next((each.choices for each in entry.options if each.name == "fold"), ()))

    def test_an_empty_folder_gets_one_sentence(self, name, tmp_path):
        with pytest.raises(UsageError, match="looked for") as caught:
            read(name, tmp_path)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)

    def test_no_folder(self, name, tmp_path):
        with pytest.raises(UsageError, match=r"There is no folder .*gone; give the folder of "):
            read(name, tmp_path / "gone")

    def test_shots(self, name, tmp_path):
        if any(option.name == "shots" for option in DATASETS[name].options):
            with pytest.raises(UsageError, match="shots of .* is at least 1, not 0"):
                read(name, tmp_path, shots=0)


def test_unknown_names(tmp_path):
    with pytest.raises(UsageError, match="There is no data set pascal; there are perseg, fss, davis"):
        read("pascal", tmp_path)
    with pytest.raises(UsageError, match="PerSeg takes no seed; it takes reference, shots"):
        read("perseg", tmp_path, seed=1)
    with pytest.raises(UsageError, match="shots of PerSeg is a whole number, not '2'"):
        read("perseg", tmp_path, shots="2")


def test_an_option_is_what_the_reader_s_signature_says():
    year, split, step = DATASETS["davis"].options
    assert (year.name, year.kind, year.default, year.choices) == ("year", int, None, (2016, 2017))
    assert (split.kind, split.default, split.choices) == (str, None, ())
    assert (step.kind, step.default, step.smallest) == (int, 1, 1)
    assert DATASETS["fss"].options[0].choices == ("first", "episodes")
    assert DATASETS["lvis92i"].options[0].choices == tuple(range(10))
    assert [option.name for option in DATASETS["paco-part"].options] == [
        "fold", "episodes", "shots", "seed", "split", "min_area",
    ]  # fmt: skip


def test_options_that_are_none_are_not_given(data):
    assert read("perseg", data / "perseg", seed=None, shots=None).settings == {"shots": 1, "reference": "auto"}


def test_nothing_heavy_is_imported_for_help():
    code = (
        "import sys; from persam.benchmark.datasets.catalog import DATASETS; "
        "print([name for name in ('numpy', 'torch', 'cv2', 'PIL', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestTogether:
    def test_what_is_there(self, data):
        assert [each.data_set for each in read_together(data)] == ["perseg", "perseg", "fss", "davis"]
        shutil.rmtree(data / "perseg")
        assert [each.data_set for each in read_together(data)] == ["fss", "davis"]

    def test_every_eighth_frame(self, data):
        assert [each.photo.stem for each in read_together(data)[-1].tests] == ["00008"]

    def test_sentences(self, tmp_path):
        with pytest.raises(UsageError, match="holds none of the folders perseg, fss, davis"):
            read_together(tmp_path)
        write_pair(tmp_path / "perseg/Images/mug/00.jpg", tmp_path / "perseg/Annotations/mug/00.png", 0)
        with pytest.raises(UsageError, match="has no photos to find the objects in"):
            read_together(tmp_path)

    def test_real(self, real_data):
        counts: dict[str, int] = {}
        for episode in read_together(real_data):
            counts[episode.data_set] = counts.get(episode.data_set, 0) + len(episode.tests)
        assert counts["perseg"] == 4
        assert counts["fss"] == 18
        assert 30 < counts["davis"] < 60


class TestRecognised:
    @pytest.mark.parametrize("name", ["perseg", "fss", "davis"])
    def test_a_known_data_set(self, data, name):
        found = read_recognised(data / name)
        # FSS's other form, CLASS/images and CLASS/masks, is also that of a folder of one's own.
        assert found.name == {"fss": "folder"}.get(name, name)
        assert found.episodes

    def test_fss_as_it_is_unpacked(self, tmp_path):
        for number in (1, 2):
            write_pair(tmp_path / f"abacus/{number}.jpg", tmp_path / f"abacus/{number}.png", number, 255)
        assert read_recognised(tmp_path).name == "fss"

    @pytest.mark.parametrize("inner", ["", "mug"])
    @pytest.mark.parametrize(("photos", "masks"), [("images", "masks"), ("Images", "Masks")])
    def test_a_plain_folder(self, tmp_path, inner, photos, masks):
        for number in range(2):
            write_pair(tmp_path / inner / photos / f"{number}.jpg", tmp_path / inner / masks / f"{number}.png", number)
        assert read_recognised(tmp_path).name == "folder"
        next(tmp_path.rglob("1.png")).unlink()
        with pytest.raises(UsageError, match="1.jpg has no mask: looked for"):
            read_recognised(tmp_path)

    def test_nothing(self, tmp_path, data):
        assert read_recognised(tmp_path / "gone") is None
        assert read_recognised(data) is None  # it holds data sets by name
        for path in data.rglob("*.*"):
            path.unlink()
        (tmp_path / "empty").mkdir()
        assert read_recognised(tmp_path / "empty") is None
