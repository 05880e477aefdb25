"""A study on disk: photos by category, and the masks that several people drew on them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from persam.errors import UsageError
from persam.files import expanded
from persam.images import IMAGE_SUFFIXES

IMAGES, ANNOTATORS, GOLD = "images", "annotators", "gold"
MASK_SUFFIX = ".png"
TIMES_FILE = "times.csv"  # beside an annotator's masks: how long each took

LAYOUT = "STUDY/CATEGORY/images/* and STUDY/CATEGORY/annotators/NAME/*.png, if there is a truth also gold/*.png"


@dataclass(frozen=True)
class StudyCategory:
    """Photos of one kind of thing, and who masked them.

    Attributes:
        name: of its folder.
        folder: where it lies.
        photos: sorted by name; no two have the same stem, because a mask is named by it.
        has_gold: whether there is a folder of true masks.
    """

    name: str
    folder: Path
    photos: tuple[Path, ...]
    has_gold: bool

    def mask_file(self, who: str, photo: Path) -> Path:
        """Where an annotator's mask of a photo belongs, or the true one of ``gold``, whether it is there or not."""
        home = self.folder / GOLD if who == GOLD else self.folder / ANNOTATORS / who
        return home / f"{photo.stem}{MASK_SUFFIX}"

    def times_file(self, who: str) -> Path:
        """Where `persam.study.times` records how long an annotator took for each mask; it may be missing."""
        return self.folder / ANNOTATORS / who / TIMES_FILE

    def photo(self, name: str) -> Path | None:
        """The photo of that stem or file name, or None."""
        return next((photo for photo in self.photos if name in {photo.stem, photo.name}), None)


@dataclass(frozen=True)
class Study:
    """Several people's masks of the same photos.

    Attributes:
        folder: where it lies.
        categories: sorted by name.
        annotators: everybody who has a folder in any category, sorted.
    """

    folder: Path
    categories: tuple[StudyCategory, ...]
    annotators: tuple[str, ...]

    @property
    def photo_count(self) -> int:
        """Photos of all categories."""
        return sum(len(category.photos) for category in self.categories)

    def who(self, category: StudyCategory) -> list[str]:
        """Whose masks a category should have: the annotators', and ``gold`` if there is a truth."""
        return [*self.annotators, *([GOLD] if category.has_gold else [])]

    def digest(self) -> str:
        """SHA-256 over the names and contents of all that a report is made of: photos, masks and recorded times."""
        total = hashlib.sha256()
        for category in self.categories:
            masks = [category.mask_file(who, photo) for photo in category.photos for who in self.who(category)]
            times = [category.times_file(who) for who in self.annotators]
            for file in sorted(file for file in (*category.photos, *masks, *times) if file.is_file()):
                total.update(file.relative_to(self.folder).as_posix().encode() + b"\0")
                with file.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def read(folder: str | Path) -> Study:
    """Look at a study's folder. No picture is opened; `persam.study.check` does that.

    Raises:
        UsageError: there is no such folder, no category or no annotator in it, an annotator is called ``gold``, or two
            photos have one name.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise UsageError(f"There is no study at {root}; make one with `persam study new`.")
    homes = [home for home in subfolders(root) if (home / IMAGES).is_dir() or (home / ANNOTATORS).is_dir()]
    if not homes:
        raise UsageError(_no_study(root))
    annotators = sorted({person.name for home in homes for person in subfolders(home / ANNOTATORS)})
    if not annotators:
        raise UsageError(f"Nobody has a folder for masks in {root}: looked for {LAYOUT}.")
    if GOLD in annotators:
        raise UsageError(f"In {root} an annotator is called {GOLD!r}, a name kept for the truth; rename those folders.")
    categories = tuple(
        StudyCategory(home.name, home, _photos(home / IMAGES), has_gold=(home / GOLD).is_dir()) for home in homes
    )
    return Study(root, categories, tuple(annotators))


def _no_study(root: Path) -> str:
    """What a folder is instead, as far as one can see."""
    if (root / IMAGES).is_dir() and (root / ANNOTATORS).is_dir():
        return f"{root} is one category of a study; the study is the folder above it, {root.parent}."
    if any(is_photo(file) for file in entries(root)):
        return f"{root} holds photos and is no study; make one with `persam study new`."
    return f"{root} is not laid out as a study: looked for {LAYOUT}."


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, sorted; none if it is not there."""
    return [entry for entry in entries(folder) if entry.is_dir()]


def entries(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, sorted; nothing if it is not there."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def is_photo(file: Path) -> bool:
    """Whether a file is a photo by its suffix."""
    return file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES


def check_distinct(photos: list[Path]) -> None:
    """See that masks named by the photos' stems are told apart.

    Raises:
        UsageError: two photos have the same stem.
    """
    seen: dict[str, Path] = {}
    for photo in photos:
        other = seen.setdefault(photo.stem.casefold(), photo)
        if other is not photo:
            raise UsageError(
                f"{other} and {photo.name} would have masks of one name, {photo.stem}{MASK_SUFFIX}; rename one of them."
            )


def _photos(folder: Path) -> tuple[Path, ...]:
    photos = [file for file in entries(folder) if is_photo(file)]
    check_distinct(photos)
    return tuple(photos)
