"""A prepared folder: the photos of each subject, their masks and captions, as training reads them.

``dreambooth.json`` lists them; photos and masks lie in folders beside it, and may be changed there by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from persam.errors import PersamError, UsageError, first_line
from persam.files import expanded, safe_name, stays_below, writable, write_text

PREPARED = "dreambooth.json"
KOHYA, DIFFUSERS = "kohya", "diffusers"  # folders for other trainers, beside those of the subjects
FORMAT = 1
IDENTIFIER = "t@y"  # a rare token, as published


@dataclass(frozen=True)
class TrainingPhoto:
    """A photo of a subject, its mask (a PNG of the same size: white is the subject) and its caption.

    Attributes:
        image: lies in the prepared folder, as do all of them.
        mask: likewise.
        caption: what is seen in it, with the subject's identifier.
        source: where the photo came from, or "" for one that was put into the folder by hand.
        score: how sure persam was that the subject is there, 0 to 1; None for a mask that it did not make.
        corrected: whether a person changed the mask or the photo, which are then never replaced unasked.
    """

    image: Path
    mask: Path
    caption: str
    source: str = ""
    score: float | None = None
    corrected: bool = False


@dataclass(frozen=True)
class Subject:
    """What a model is taught.

    Attributes:
        name: of the subject, and of its folder.
        identifier: the rare word that will mean it, ``t@y``.
        class_word: what kind of thing it is, ``mug``; prior preservation shows others of this kind.
        photos: at least one.
    """

    name: str
    identifier: str
    class_word: str
    photos: tuple[TrainingPhoto, ...]

    @property
    def prompt(self) -> str:
        """What asks for the subject: ``a photo of t@y mug``."""
        return f"a photo of {self.identifier} {self.class_word}"

    @property
    def class_prompt(self) -> str:
        """What asks for any thing of its kind: ``a photo of mug``."""
        return f"a photo of {self.class_word}"


def write_prepared(folder: Path, subjects: Sequence[Subject]) -> Path:
    """Write the list of a prepared folder, whose photos and masks are there.

    Returns:
        The file.
    """

    def relative(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    listed = [
        {
            "name": subject.name,
            "identifier": subject.identifier,
            "class_word": subject.class_word,
            "photos": [
                asdict(photo) | {"image": relative(photo.image), "mask": relative(photo.mask)}
                for photo in subject.photos
            ],
        }
        for subject in subjects
    ]
    file = folder / PREPARED
    text = json.dumps({"format": FORMAT, "subjects": listed}, indent=1, ensure_ascii=False) + "\n"
    write_text(file, writable(text))
    return file


def read_prepared(folder: str | Path) -> list[Subject]:
    """Read a prepared folder.

    Raises:
        UsageError: it is none.
        PersamError: its list is damaged, or names a file that is not there.
    """
    subjects = listed_subjects(folder)
    file = expanded(folder) / PREPARED
    missing = [
        path
        for subject in subjects
        for photo in subject.photos
        for path in (photo.image, photo.mask)
        if not path.is_file()
    ]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise PersamError(
            f"{file} names {missing[0]}{more}, which is not there: put it back, or say persam dreambooth prepare "
            f"{folder}, which reads the folder again."
        )
    if not any(subject.photos for subject in subjects):
        raise PersamError(f"{file} lists no photo: prepare the folder again.")
    return subjects


def listed_subjects(folder: str | Path) -> list[Subject]:
    """What a prepared folder's list says, whether its photos and masks are still there or not.

    Raises:
        UsageError: it is none.
        PersamError: its list is damaged.
    """
    home = expanded(folder)
    file = home / PREPARED
    if not home.is_dir():
        raise UsageError(f"There is no folder {home}: make one with persam dreambooth prepare PHOTOS -o {home}.")
    if not file.is_file():
        how = "persam dreambooth prepare PHOTOS -o FOLDER makes one"
        raise UsageError(f"{home} has no {PREPARED}, so it is no prepared folder: {how}.")
    try:
        told = json.loads(file.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
    except OSError as error:
        raise PersamError(f"{file} cannot be read ({error.strerror or error}); change its permissions.") from error
    except UnicodeDecodeError as error:
        raise PersamError(f"{file} cannot be read ({first_line(error)}): save it as UTF-8.") from error
    except ValueError as error:
        raise PersamError(
            f"{file} cannot be read ({first_line(error)}): correct that line, or the one before."
        ) from error
    try:
        if told["format"] != FORMAT:
            raise PersamError(f"{file} has the format {told['format']!r}; this version of persam reads {FORMAT}.")
        subjects = [_subject(home, subject) for subject in told["subjects"]]
        _check_names([subject.name for subject in subjects])
    except KeyError as error:
        raise PersamError(f"{file} is damaged (there is no {error} in one of its entries): put it back.") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise PersamError(f"{file} is damaged ({first_line(error)}): correct that entry.") from error
    return subjects


def may_name_subject(name: str) -> bool:
    """Whether a subject can be called so: its photos lie in a folder of that name, beside what else is there."""
    return safe_name(name) == name and name.casefold() not in (KOHYA, DIFFUSERS, PREPARED)


def _check_names(names: Sequence[str]) -> None:
    """See that each subject has a folder of its own in the prepared one."""
    wrong = next((name for name in names if not may_name_subject(name)), None)
    if wrong is not None:
        raise ValueError(f"a subject cannot be called {wrong!r}, for its photos lie in a folder of that name")
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"two subjects have one name: {', '.join(names)}")


def _subject(folder: Path, told: dict[str, Any]) -> Subject:
    photos = tuple(
        TrainingPhoto(
            _below(folder, _text(photo, "image")),
            _below(folder, _text(photo, "mask")),
            _text(photo, "caption"),
            _text(photo, "source") if "source" in photo else "",
            None if photo.get("score") is None else float(photo["score"]),
            bool(photo.get("corrected", False)),
        )
        for photo in told["photos"]
    )
    return Subject(_text(told, "name"), _text(told, "identifier"), _text(told, "class_word"), photos)


def _text(told: dict[str, Any], key: str) -> str:
    if not isinstance(told[key], str):
        raise TypeError(f"{key!r} is {json.dumps(told[key])}, not a text in quotes")
    return str(told[key])


def _below(folder: Path, name: str) -> Path:
    if not stays_below(name):
        raise ValueError(f"{name!r} leads out of the folder")
    return folder.joinpath(*PurePosixPath(name).parts)
