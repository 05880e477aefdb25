"""Masks of other tools, scored by the same protocols."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.methods_for_tests import ByColour, drawn_episodes

from persam.benchmark.episodes import Episode, MaskFile, Sample
from persam.benchmark.running.run import run
from persam.benchmark.running.run_folder import RunFolder
from persam.benchmark.score import MISSING, bench_score, score_predictions
from persam.errors import UsageError


@pytest.fixture
def predicted(tmp_path):
    """Episodes, and the predictions of a run on them."""
    episodes = drawn_episodes(tmp_path / "data")
    records = run(episodes, [ByColour(shift=4)], store=RunFolder(tmp_path / "run", {}))
    return episodes, tmp_path / "run/predictions/colour", records


def test_our_own_predictions_get_our_own_numbers(predicted):
    episodes, folder, records = predicted
    scored = score_predictions(episodes, folder)
    assert [(r.query, r.counts, r.boundary, r.contour, r.digest) for r in scored] == [
        (r.query, r.counts, r.boundary, r.contour, r.digest) for r in records
    ]
    assert {record.method for record in scored} == {"colour"}


def test_what_is_missing_is_named_and_counted(predicted):
    episodes, folder, records = predicted
    (folder / "mug/02.png").unlink()
    scored = score_predictions(episodes, folder, "theirs")
    assert [record.failure for record in scored] == [None, MISSING, None, None]
    assert scored[1].iou == 0
    assert scored[1].counts.target == records[1].counts.target
    assert scored[0].counts == records[0].counts  # nothing has shifted


def test_nothing_at_all(predicted, tmp_path):
    episodes, folder, _ = predicted
    with pytest.raises(UsageError, match="There is no folder of predictions"):
        score_predictions(episodes, folder / "gone")
    with pytest.raises(UsageError, match=r"has none of the 4 masks; looked for such as .*mug/01.png"):
        score_predictions(episodes, tmp_path)


@pytest.mark.parametrize("form", ["red", "one", "bool", "palette", "tif", "grey"])
def test_forms(predicted, form):
    episodes, folder, records = predicted
    path = folder / "cat/01.png"
    mask = np.asarray(Image.open(path)) > 0
    if form == "red":  # as the published code writes them
        colours = np.zeros((*mask.shape, 3), np.uint8)
        colours[mask, 2] = 128
        Image.fromarray(colours).save(path)
    elif form == "one":
        Image.fromarray(mask.astype(np.uint8)).save(path)
    elif form == "bool":
        Image.fromarray(mask).save(path)
    elif form == "palette":
        picture = Image.fromarray(mask.astype(np.uint8), "P")
        picture.putpalette([0, 0, 0, 128, 0, 0])
        picture.save(path)
    elif form == "tif":
        path.unlink()
        Image.fromarray(mask).save(path.with_suffix(".tif"))
    else:  # a probability in 0..255
        Image.fromarray(np.where(mask, 230, 25).astype(np.uint8)).save(path)
    scored = score_predictions(episodes, folder)
    assert scored[2].failure is None
    expected = records[2].counts
    if form == "grey":  # two levels are labels: 25 of 230 lies below an eighth
        expected = records[2].counts
    assert scored[2].counts == expected


@pytest.mark.parametrize(("value", "iou"), [(0, 0.0), (255, None)])
def test_empty_and_full_masks_are_answers(predicted, value, iou):
    episodes, folder, _ = predicted
    Image.fromarray(np.full((60, 80), value, np.uint8)).save(folder / "mug/01.png")
    record = score_predictions(episodes, folder)[0]
    assert record.failure is None
    assert record.present is (value > 0)
    assert record.iou == pytest.approx(iou if iou is not None else record.counts.target / 4800)


def test_another_size_and_damage_are_named(predicted):
    episodes, folder, _ = predicted
    Image.new("L", (40, 30)).save(folder / "mug/01.png")
    (folder / "mug/02.png").write_bytes(b"\x89PNG")
    first, second, *_ = score_predictions(episodes, folder)
    assert "mug/01.png is 40 x 30 pixels, its photo 80 x 60" in str(first.failure)
    assert "mug/02.png is truncated or damaged" in str(second.failure)
    assert first.iou == second.iou == 0


def test_objects_of_one_palette_picture(tmp_path):
    """As DAVIS 2017's tools write them: SEQUENCE/FRAME.png with the objects' numbers."""
    labels = np.zeros((20, 30), np.uint8)
    labels[2:8, 2:8], labels[10:18, 10:28] = 1, 2
    for folder in ("truth/bear", "theirs/bear"):
        (tmp_path / folder).mkdir(parents=True)
        picture = Image.fromarray(labels, "P")
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(tmp_path / folder / "00001.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "00001.jpg")
    episodes = []
    for value in (1, 2):
        sample = Sample(
            f"bear/{value}/00001", tmp_path / "00001.jpg", MaskFile(tmp_path / "truth/bear/00001.png", value)
        )
        episodes.append(Episode("davis", f"bear/{value}", (sample,), (sample,), "bear"))
    records = score_predictions(episodes, tmp_path / "theirs")
    assert [record.counts.predicted for record in records] == [36, 144]
    assert [record.iou for record in records] == [1.0, 1.0]


def test_report(data, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(data / "perseg/Annotations", theirs)
    (theirs / "mug/02.png").unlink()
    report = bench_score("perseg", data / "perseg", theirs, out=tmp_path / "out")
    assert report.figure("theirs", "iou") == pytest.approx(3 / 4)
    assert report.missing == {"theirs": {"mug/02": MISSING}}
    assert any("theirs has no answer for 1 of 4 photos (mug/02)" in note for note in report.table().notes)
    assert (tmp_path / "out/worst.png").is_file()
