"""Prepare photos of a subject for training: find it in each, cut the photo around it, and write both for a look.

Nothing is written before all photos were looked at; what goes wrong in a new folder leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from persam.concept import Concept
from persam.dreambooth.framing import Framing, doubts_of, framed
from persam.dreambooth.layouts import DIFFUSERS, KOHYA
from persam.dreambooth.review import IMAGES, MASKS, LeftOut, Prepared, held, is_as_written, settle
from persam.dreambooth.subjects import Subject, TrainingPhoto
from persam.dreambooth.wording import caption_of, check_counts, check_words, class_word_of, next_identifier, reworded
from persam.errors import PersamError, UsageError
from persam.files import UniqueNames, expanded, safe_name, write_bytes
from persam.finding import find_images
from persam.geometry import fit_mask, shrink
from persam.images import IMAGE_SUFFIXES, open_picture, read_image, read_orientation
from persam.ledger import Ledger
from persam.masks import read_mask
from persam.places import Place
from persam.reports.pictures import encoded, mask_file
from persam.segmentation import SURE_ENOUGH, Segmentation

if TYPE_CHECKING:
    from persam.persam import PerSAM

OnPhoto = Callable[[Place, str | None], object]
_SMALL = 480  # pixels of a picture on the sheet
_LEFT_OUT_SHOWN = 60  # pictures of photos that are left out


@dataclass(frozen=True)
class _Taken:
    """A photo that is trained on, as files."""

    image: bytes
    mask: bytes
    score: float | None
    doubts: tuple[str, ...]


@dataclass
class _Gathered:
    """The photos of one subject, by where they came from, in their order."""

    taken: dict[str, _Taken] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)


def prepare(
    model: PerSAM,
    photos: str | Path | Iterable[str | Place],
    concepts: Concept | Sequence[Concept],
    folder: str | Path,
    *,
    identifiers: Sequence[str] = (),
    class_words: Sequence[str] = (),
    caption: str | None = None,
    framing: Framing | None = None,
    threshold: float = SURE_ENOUGH,
    overwrite: bool = False,
    on_photo: OnPhoto = lambda photo, problem: None,
) -> Prepared:
    """Find subjects in photos and write a folder that training reads: photos, masks, captions, and a sheet to look at.

    A folder that was prepared before gets these photos in addition; what a person corrected there stays.

    Args:
        model: that the concepts were made with.
        photos: files, folders and globs.
        concepts: what a model is to be taught, one a subject. Each is looked for in all photos.
        folder: of the result.
        identifiers: a rare word for each subject; by default ``t@y``, ``s@z``, ...
        class_words: what kind of thing each is, such as ``mug``; by default the words it was learned with, or its name.
        caption: of each photo, with ``{identifier}`` and ``{class}`` to be filled in.
        framing: how photos are cut; by default a square of 512 pixels around the subject.
        threshold: score from which on a photo is taken, 0 to 1.
        overwrite: replace corrected masks, too, and files of others.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        UsageError: there are no photos, or names or words will not do; a file of others is in the way.
        PersamError: a concept is of another model, a subject is in none of the photos, or it cannot be written.
    """
    given: list[Concept] = [concepts] if isinstance(concepts, Concept) else [*concepts]
    if not given:
        raise UsageError("No concept was given; learn one first, or give masks.")
    for concept in given:
        if not isinstance(concept, Concept):
            raise UsageError(f"A concept is wanted, not {concepts!r}; read a file with Concept.load(...).")
        model.check(concept)
    places = find_images([photos] if isinstance(photos, str | Path) else photos)
    words = [concept.text for concept in given]
    with held(folder, overwrite=overwrite) as (ledger, known):
        subjects = _subjects([concept.name for concept in given], known, identifiers, class_words, words, caption)
        gathered = {subject.name: _Gathered() for subject in subjects}

        def look(place: Place) -> None:
            photo = read_image(place)
            found = model.segment(photo, given, threshold=threshold)
            for subject, one in zip(subjects, found, strict=True):
                _sort_in(gathered[subject.name], subject, _source(place), photo, one, framing or Framing())

        failures = _each(places, look, on_photo)
        for subject in subjects:
            _check_found(subject, gathered[subject.name], known, failures)
        return _written(ledger, subjects, gathered, known, caption, failures)


def prepare_masked(
    photos: str | Path | Iterable[str | Place],
    masks: str | Path,
    folder: str | Path,
    *,
    name: str,
    identifier: str | None = None,
    class_word: str | None = None,
    caption: str | None = None,
    framing: Framing | None = None,
    overwrite: bool = False,
    on_photo: OnPhoto = lambda photo, problem: None,
) -> Prepared:
    """The same with masks that there are already: of `persam segment` or an album, or drawn by hand. No model is used.

    Args:
        photos: files, folders and globs.
        masks: a folder of masks that are named like the photos; or one of results, with one concept.
        folder: of the result.
        name: of the subject.
        identifier: the rare word for it; by default ``t@y``.
        class_word: what kind of thing it is; by default its name.
        caption: as of `prepare`.
        framing: likewise.
        overwrite: likewise.
        on_photo: likewise.

    Raises:
        UsageError, PersamError: as `prepare`; no photo has a mask.
    """
    places, by_stem = find_images([photos] if isinstance(photos, str | Path) else photos), masks_in(masks)
    identifiers, class_words = ([each] if each is not None else [] for each in (identifier, class_word))
    with held(folder, overwrite=overwrite) as (ledger, known):
        (subject,) = _subjects([name], known, identifiers, class_words, [None], caption)
        gathered = _Gathered()

        def look(place: Place) -> None:
            file = by_stem.get(Path(place.name).stem)
            if file is None:
                why = f"There is no mask of that name in {expanded(masks)}."
                gathered.left_out[_source(place)] = LeftOut(subject.name, str(place), why)
                return
            picture = open_picture(place)
            photo = read_image(picture)
            height, width = photo.shape[:2]
            mask = read_mask(file, (height, width), photo_orientation=read_orientation(picture), may_be_trivial=True)
            if not mask.any():
                why = "Its mask is black: the subject is not there."
                gathered.left_out[_source(place)] = LeftOut(subject.name, str(place), why, shrink(photo, _SMALL))
                return
            _take(gathered, _source(place), photo, mask, None, framing or Framing())

        failures = _each(places, look, on_photo)
        if failures and not gathered.taken:
            raise PersamError(f"None of the {len(places)} photos can be used: {failures[0][1]}")
        if not gathered.taken:
            raise UsageError(
                f"None of the {len(places)} photos has a mask in {expanded(masks)} that shows something; masks are "
                "named like their photos, mug.png for mug.jpg."
            )
        return _written(ledger, [subject], {subject.name: gathered}, known, caption, failures)


def masks_in(folder: str | Path) -> dict[str, Path]:
    """The masks in a folder, by the stem of their names; of a folder of results those of its one concept.

    Raises:
        UsageError: there are none, or of several concepts.
    """
    home = expanded(folder)
    if not home.is_dir():
        raise UsageError(f"There is no folder {home}; give the folder of the masks.")
    if (home / MASKS).is_dir():
        inner = sorted(each for each in (home / MASKS).iterdir() if each.is_dir())
        if len(inner) > 1:
            raise UsageError(f"{home} has masks of several concepts; give one folder, such as {inner[0]}.")
        home = inner[0] if inner else home / MASKS
    found = {file.stem: file for file in sorted(home.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES}
    if not found:
        raise UsageError(f"There are no masks in {home}; they are pictures that are named like their photos.")
    return found


# ------------------------------------------------------------------------------------------------- the subjects


def _subjects(
    names: Sequence[str],
    known: Sequence[Subject],
    identifiers: Sequence[str],
    class_words: Sequence[str],
    words: Sequence[str | None],
    caption: str | None,
) -> list[Subject]:
    """The subjects that are asked for, without photos, with words of their own."""
    safe = [_folder_name(name) for name in names]
    if len({name.casefold() for name in safe}) < len(safe):
        raise UsageError(f"Two subjects have one name ({', '.join(safe)}); learn one again with another --name.")
    check_counts(len(safe), identifiers, class_words, safe)
    before = {subject.name: subject for subject in known}
    taken = [*identifiers, *(subject.identifier for subject in known)]
    subjects = []
    for number, name in enumerate(safe):
        old = before.get(name)
        identifier = identifiers[number] if identifiers else old.identifier if old else next_identifier(taken)
        kind = class_words[number] if class_words else old.class_word if old else words[number] or class_word_of(name)
        taken.append(identifier)
        subjects.append(Subject(name, identifier, kind, ()))
    check_words([*(subject for subject in known if subject.name not in safe), *subjects])
    for subject in subjects:
        caption_of(subject, caption)  # says what is wrong with it before the work
    return subjects


def _folder_name(name: str) -> str:
    safe = safe_name(name)
    if safe.casefold() in (KOHYA, DIFFUSERS) or safe.startswith("."):
        raise UsageError(f"A subject cannot be called {name!r}, which names a folder for other trainers; say --name.")
    return safe


# --------------------------------------------------------------------------------------------------- the photos


def _source(place: Place) -> str:
    return str(place.absolute()) if isinstance(place, Path) else str(place)


def _each(places: Sequence[Place], look: Callable[[Place], None], on_photo: OnPhoto) -> list[tuple[str, str]]:
    """Look at every photo; those that cannot be read are told and counted."""
    failures = []
    for place in places:
        problem = None
        try:
            look(place)
        except PersamError as error:
            problem = str(error)
            failures.append((str(place), problem))
        on_photo(place, problem)
    return failures


def _sort_in(
    gathered: _Gathered, subject: Subject, source: str, photo: np.ndarray, found: Segmentation, framing: Framing
) -> None:
    if found.found:
        _take(gathered, source, photo, found.mask, found.score, framing)
        return
    guess = found.assumed_mask
    where = " there is a guess, drawn as an outline" if guess.any() else " nothing like it was found"
    why = f"persam does not think that it is there (score {found.score:.2f});{where}."
    small = shrink(photo, _SMALL) if len(gathered.left_out) < _LEFT_OUT_SHOWN else None
    outline = fit_mask(guess, small) if small is not None and guess.any() else None
    gathered.left_out[source] = LeftOut(subject.name, source, why, small, outline, found.score)


def _take(
    gathered: _Gathered, source: str, photo: np.ndarray, mask: np.ndarray, score: float | None, framing: Framing
) -> None:
    made = framed(photo, mask, framing)
    files = encoded(made.image, "PNG", compress_level=4), mask_file(made.mask)
    gathered.taken[source] = _Taken(*files, score, doubts_of(made, score))


def _check_found(
    subject: Subject, gathered: _Gathered, known: Sequence[Subject], failures: Sequence[tuple[str, str]]
) -> None:
    if gathered.taken or any(old.name == subject.name and old.photos for old in known):
        return
    looked = list(gathered.left_out.values())
    if not looked:
        first = f": {failures[0][1]}" if failures else "."
        raise PersamError(f"None of the photos can be read{first}")
    best = max(looked, key=lambda each: each.score or 0.0)
    raise PersamError(
        f"{subject.name} was found in none of {len(looked)} photos (the best score is {best.score:.2f}, in "
        f"{Path(best.photo).name}); see with `persam segment --sheet` what is found, learn it from more references, or "
        "lower --threshold."
    )


# ---------------------------------------------------------------------------------------------------- the folder


def _written(
    ledger: Ledger,
    subjects: Sequence[Subject],
    gathered: dict[str, _Gathered],
    known: Sequence[Subject],
    caption: str | None,
    failures: list[tuple[str, str]],
) -> Prepared:
    """Write what was gathered, beside what was there."""
    done = Prepared(ledger.folder, failures=failures)
    before = {subject.name: _without_removed(subject) for subject in known}
    files: dict[Path, bytes] = {}
    for subject in subjects:
        old = before.get(subject.name, subject)
        words = reworded([old], [subject.identifier], [subject.class_word], caption)[0]
        before[subject.name] = _merged(ledger, words, gathered[subject.name], caption, files, done)
        done.left_out += gathered[subject.name].left_out.values()
    ledger.check(file.relative_to(ledger.folder) for file in files)
    for file, data in files.items():
        write_bytes(file, data)
    done.subjects = list(before.values())
    settle(ledger, done, known)
    return done


def _without_removed(subject: Subject) -> Subject:
    photos = (photo for photo in subject.photos if photo.image.is_file() and photo.mask.is_file())
    return replace(subject, photos=tuple(photos))


def _merged(
    ledger: Ledger,
    subject: Subject,
    gathered: _Gathered,
    caption: str | None,
    files: dict[Path, bytes],
    done: Prepared,
) -> Subject:
    """A subject with its photos of before and those that are new; gives the files to be written."""
    home = ledger.folder / subject.name
    names = UniqueNames()
    photos = {}
    for number, photo in enumerate(subject.photos):
        key = photo.source or f"by hand {number}"
        names.keep(key, photo.image.stem)
        photos[key] = replace(photo, corrected=photo.corrected or not is_as_written(ledger, photo.mask))
    for source in [source for source in gathered.left_out if source in photos and not photos[source].corrected]:
        del photos[source]
    for source, taken in gathered.taken.items():
        if source in photos and photos[source].corrected and not ledger.overwrite:
            done.kept.append(photos[source].mask)
            continue
        stem = safe_name(Path(source).stem, otherwise="photo")
        name = names.of(source, [stem], stem)
        image, mask = home / IMAGES / f"{name}.png", home / MASKS / f"{name}.png"
        files[image], files[mask] = taken.image, taken.mask
        told = photos[source].caption if source in photos else caption_of(subject, caption)
        photos[source] = TrainingPhoto(image, mask, told, source, taken.score)
        done.doubts[image] = taken.doubts
    return replace(subject, photos=tuple(photos.values()))
