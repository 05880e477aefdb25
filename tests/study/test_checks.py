"""Checking a study: what is missing is named, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.study.people import save

from persam.study import Problem, check, read


def problems(folder: Path) -> list[Problem]:
    return list(check(read(folder)).problems)


def only(folder: Path) -> Problem:
    found = problems(folder)
    assert len(found) == 1, found
    return found[0]


def test_a_whole_study(folder: Path) -> None:
    steps: list[int] = []
    report = check(read(folder), lambda: steps.append(1))
    assert report.complete
    assert report.usable == {(c, who): 6 for c in ("disc", "plate") for who in ("anna", "ben", "cleo", "gold")}
    assert len(steps) == 12


def test_a_missing_mask_is_named(folder: Path) -> None:
    (folder / "plate" / "annotators" / "ben" / "03.png").unlink()
    problem = only(folder)
    assert (problem.kind, problem.category, problem.who, problem.photo) == ("missing", "plate", "ben", "03")
    assert problem.sentence == (
        f"plate/03.png has no mask by ben: looked for {folder / 'plate' / 'annotators' / 'ben' / '03.png'}."
    )
    assert check(read(folder)).usable["plate", "ben"] == 5


def test_a_missing_gold_mask_and_a_missing_person_are_named(folder: Path) -> None:
    (folder / "disc" / "gold" / "00.png").unlink()
    shutil.rmtree(folder / "plate" / "annotators" / "cleo")
    found = [(problem.kind, problem.category, problem.who, problem.photo) for problem in problems(folder)]
    assert found == [
        ("missing", "disc", "gold", "00"),
        *(("missing", "plate", "cleo", f"{number:02}") for number in range(6)),
    ]


def test_no_gold_at_all_is_no_problem(folder: Path) -> None:
    for category in ("disc", "plate"):
        shutil.rmtree(folder / category / "gold")
    assert problems(folder) == []


def test_a_mask_of_another_size(folder: Path) -> None:
    """Also of the same aspect, which `persam learn` would resize."""
    save(folder / "disc" / "annotators" / "anna" / "02.png", np.eye(30, 40, dtype=bool))
    problem = only(folder)
    assert problem.kind == "size"
    assert "is 40 x 30 pixels, its photo 80 x 60; save it at the photo's size." in problem.sentence


@pytest.mark.parametrize("value", [0, 255])
def test_an_empty_or_full_mask(folder: Path, value: int) -> None:
    Image.new("L", (80, 60), value).save(folder / "disc" / "annotators" / "anna" / "02.png")
    problem = only(folder)
    assert problem.kind == "unusable"
    assert ("has no object" if value == 0 else "covers everything") in problem.sentence


def test_files_that_are_no_pictures(folder: Path) -> None:
    (folder / "disc" / "annotators" / "anna" / "02.png").write_text("later")
    (folder / "disc" / "images" / "03.png").write_bytes(b"")
    kinds = [(problem.kind, problem.photo) for problem in problems(folder)]
    assert kinds == [("unusable", "02"), ("photo", "03")]


def test_stray_files(folder: Path) -> None:
    home = folder / "disc"
    mask = home / "annotators" / "anna" / "00.png"
    shutil.copy(mask, mask.with_name("0O.png"))
    shutil.copy(mask, mask.with_name("01.jpg"))
    shutil.copy(mask, home / "annotators" / "00.png")
    shutil.copy(mask, home / "gold" / "99.png")
    (home / "images" / "notes.txt").write_text("dear diary")
    (home / "mask").mkdir()
    (home / ".DS_Store").touch()
    (folder / "old").mkdir()
    found = problems(folder)
    assert {problem.kind for problem in found} == {"stray"}
    text = "\n".join(problem.sentence for problem in found)
    assert len(found) == 7
    for part in (
        "old is no category",
        "mask is not used: only images/, annotators/ and gold/ are",
        "notes.txt is not a photo",
        "00.png lies beside the annotators' folders",
        "0O.png belongs to no photo: there is no 0O.* in images/",
        "01.jpg is not used: masks are files that end in .png",
        "99.png belongs to no photo",
    ):
        assert part in text


def test_a_report_in_the_studys_folder_is_no_stray(folder: Path) -> None:
    (folder / "report").mkdir()
    (folder / "report" / "report.html").touch()
    assert problems(folder) == []


@pytest.mark.parametrize(("count", "words"), [(0, "has no photos in"), (1, "has 1 photo in")])
def test_too_few_photos(folder: Path, count: int, words: str) -> None:
    for number in range(count, 6):
        (folder / "disc" / "images" / f"{number:02}.png").unlink()
        for mask in (folder / "disc").glob(f"*/**/{number:02}.png"):
            mask.unlink()
    problem = only(folder)
    assert problem.kind == "photo"
    assert words in problem.sentence
    assert "at least one more is needed" in problem.sentence
