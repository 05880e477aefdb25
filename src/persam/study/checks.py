"""Check a study: which masks are there, which are missing, and which files cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from persam.errors import PersamError
from persam.images import read_image
from persam.masks import read_mask
from persam.study.layout import (
    ANNOTATORS,
    GOLD,
    IMAGES,
    MASK_SUFFIX,
    TIMES_FILE,
    Study,
    StudyCategory,
    entries,
    is_photo,
)
from persam.study.times import NOTHING, MaskTime, read_times, saw_nothing

#: What can be wrong, from what stops a study to what is merely odd, and how it is counted.
KINDS = {
    "photo": "photos or categories that cannot be used",
    "missing": "missing masks",
    "size": "masks of another size than their photo",
    "unusable": "masks that cannot be used",
    "times": "recorded times that cannot be used",
    "stray": "stray files",
}
REPORT_FILE = "report.html"  # by this a report that was written into the study's folder is known


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a study.

    Attributes:
        kind: ``photo`` (cannot be read, or there are too few), ``missing`` (no mask), ``size`` (a mask of another size
            than its photo), ``unusable`` (a mask that is empty, covers everything, or cannot be read), ``times`` (a
            record of how long masks took, or a line of it), ``stray`` (a file that belongs to nothing).
        category: where, or "" for the study's own folder.
        who: whose mask: an annotator, ``gold``, or "" where it is no mask.
        photo: its stem, or "".
        sentence: what is wrong and where, for a person.
    """

    kind: str
    category: str
    who: str
    photo: str
    sentence: str


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        study: that was checked.
        usable: masks that can be used, by category and annotator (or ``gold``).
        problems: all that is wrong, in the order of the folders.
    """

    study: Study
    usable: dict[tuple[str, str], int]
    problems: tuple[Problem, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(study: Study, progress: Callable[[], object] = lambda: None) -> CheckReport:
    """Open every picture of a study and list all that is wrong.

    Args:
        study: as `read` found it.
        progress: called after every photo.
    """
    usable: dict[tuple[str, str], int] = {}
    problems = [
        Problem("stray", "", "", "", f"{entry} is no category: it has neither {IMAGES}/ nor {ANNOTATORS}/ in it.")
        for entry in entries(study.folder)
        if entry.is_dir() and entry.name not in {one.name for one in study.categories} and not _is_report(entry)
    ]
    for category in study.categories:
        usable.update({(category.name, who): 0 for who in study.who(category)})
        for _, _, masks in usable_masks(study, category, problems, progress):
            for who in masks:
                usable[category.name, who] += 1
        usable_times(study, category, problems)
        problems.extend(_strays(category))
    return CheckReport(study, usable, tuple(problems))


def usable_masks(
    study: Study,
    category: StudyCategory,
    problems: list[Problem],
    progress: Callable[[], object] = lambda: None,
    *,
    first: Path | None = None,
) -> Iterator[tuple[Path, np.ndarray, dict[str, np.ndarray]]]:
    """Open the photos of a category, and give each with its pixels and its masks that can be used.

    Args:
        study: that the category is of.
        category: whose photos are opened.
        problems: gets what is missing or cannot be used.
        progress: called after every photo.
        first: the photo to begin with; else they come by name.

    Yields:
        The photo, (H, W, 3) uint8 of it, upright, and (H, W) bool by annotator, the true mask under ``gold``.
    """
    if len(category.photos) < 2:
        problems.append(_too_few_photos(category))
    for photo in sorted(category.photos, key=lambda photo: photo != first):
        try:
            pixels = read_image(photo)
        except PersamError as error:
            problems.append(Problem("photo", category.name, "", photo.stem, str(error)))
        else:
            shape = (pixels.shape[0], pixels.shape[1])
            read = {who: read_study_mask(category, who, photo, shape) for who in study.who(category)}
            problems += [mask for mask in read.values() if isinstance(mask, Problem)]
            yield photo, pixels, {who: mask for who, mask in read.items() if not isinstance(mask, Problem)}
        progress()


def usable_times(study: Study, category: StudyCategory, problems: list[Problem]) -> list[MaskTime]:
    """Read how long everybody took for the masks of a category, where that was recorded.

    Lines that say that there is nothing to mark are of no mask and not among them.

    Args:
        study: that the category is of.
        category: whose times are read.
        problems: gets what cannot be used, such as a line that says so of a photo that has a mask.
    """
    found: list[MaskTime] = []
    for who in study.annotators:
        file = read_times(category.times_file(who), category.name, who)
        found += [time for time in file.times if time.made != NOTHING]
        problems += [Problem("times", category.name, who, "", sentence) for sentence in file.damaged]
        for time in file.times:
            photo = category.photo(time.photo) if time.made == NOTHING else None
            if photo is not None and category.mask_file(who, photo).is_file():
                sentence = (
                    f"{category.times_file(who)} says that {who} sees nothing to mark in {photo.name}, but there is a "
                    f"mask of it: remove {category.mask_file(who, photo)} or that line."
                )
                problems.append(Problem("times", category.name, who, photo.stem, sentence))
    return found


def read_study_mask(category: StudyCategory, who: str, photo: Path, shape: tuple[int, int]) -> np.ndarray | Problem:
    """Read one mask of a study, which must have its photo's size: masks that are compared are never resized.

    Args:
        category: of the photo.
        who: an annotator, or ``gold``.
        photo: one of the category's.
        shape: (H, W) of the photo, upright.

    Returns:
        (H, W) bool, or what is wrong with it.
    """
    file = category.mask_file(who, photo)

    def problem(kind: str, sentence: str) -> Problem:
        return Problem(kind, category.name, who, photo.stem, sentence)

    if not file.is_file():
        owner = "gold mask" if who == GOLD else f"mask by {who}"
        if who != GOLD and saw_nothing(category.times_file(who), photo.stem):
            return problem(
                "missing",
                f"{category.name}/{photo.name} has no {owner}, who says that the object is not in it: leave that photo "
                f"out of the study, or let {who} look again.",
            )
        return problem("missing", f"{category.name}/{photo.name} has no {owner}: looked for {file}.")
    try:
        mask = read_mask(file)
    except PersamError as error:
        return problem("unusable", str(error))
    if mask.shape != shape:
        return problem(
            "size",
            f"The mask {file} is {mask.shape[1]} x {mask.shape[0]} pixels, its photo {shape[1]} x {shape[0]}; "
            "save it at the photo's size.",
        )
    return mask


def _too_few_photos(category: StudyCategory) -> Problem:
    """What is wrong with a category of one photo or none."""
    count = len(category.photos) or "no"
    sentence = (
        f"{category.name} has {count} photo{'s' if count == 'no' else ''} in {category.folder / IMAGES}; "
        "one is shown to the model and at least one more is needed to find the object in."
    )
    return Problem("photo", category.name, "", "", sentence)


def _strays(category: StudyCategory) -> Iterator[Problem]:
    """Files that nothing will read: a typing error in a mask's name shows here."""
    names = {photo.stem for photo in category.photos}

    def stray(file: Path, who: str, why: str) -> Problem:
        return Problem("stray", category.name, who, file.stem, f"{file} {why}.")

    for entry in entries(category.folder):
        if entry.name not in {IMAGES, ANNOTATORS, GOLD}:
            yield stray(entry, "", f"is not used: only {IMAGES}/, {ANNOTATORS}/ and {GOLD}/ are")
    for file in entries(category.folder / IMAGES):
        if not is_photo(file):
            yield stray(file, "", "is not a photo")
    for person in entries(category.folder / ANNOTATORS):
        if not person.is_dir():
            yield stray(person, "", f"lies beside the annotators' folders; put it into {ANNOTATORS}/NAME/")
    for home in [*entries(category.folder / ANNOTATORS), category.folder / GOLD]:
        times = home / TIMES_FILE if home.name != GOLD else None
        for file in entries(home):
            if file != times and (file.suffix != MASK_SUFFIX or not file.is_file()):
                yield stray(file, home.name, f"is not used: masks are files that end in {MASK_SUFFIX}")
            elif file != times and file.stem not in names:
                yield stray(file, home.name, f"belongs to no photo: there is no {file.stem}.* in {IMAGES}/")


def _is_report(folder: Path) -> bool:
    return (folder / REPORT_FILE).is_file()
