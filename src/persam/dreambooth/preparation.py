"""Prepare photos of a subject for training: find it in each, cut the photo around it, and write both for a look.

Nothing is written before all photos were looked at; what goes wrong in a new folder leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from persam.concept import Concept
from persam.dreambooth.framing import Framing, doubts_of, framed
from persam.dreambooth.given_masks import MASKS, masks_for, photo_key
from persam.dreambooth.review import (
    IMAGES,
    LeftOut,
    Prepared,
    check_settling,
    held,
    is_as_written,
    settle,
    subjects_now,
)
from persam.dreambooth.sheet import LEFT_OUT_SHOWN, TILE
from persam.dreambooth.subjects import Subject, TrainingPhoto, may_name_subject
from persam.dreambooth.wording import caption_of, check_counts, check_words, class_word_of, next_identifier, reworded
from persam.errors import PersamError, UsageError
from persam.files import UniqueNames, expanded, safe_name, write_bytes
from persam.finding import find_images
from persam.geometry import fit_mask, shrink
from persam.images import open_picture, read_image, read_orientation
from persam.ledger import Ledger
from persam.masks import read_mask
from persam.places import Place
from persam.reports.pictures import encoded, mask_file
from persam.segmentation import SURE_ENOUGH, Segmentation

if TYPE_CHECKING:
    from persam.persam import PerSAM

OnPhoto = Callable[[Place, str | None], object]
_FULL = (
    "The subject fills all of what is cut out, so there is no background to tell it from; try --crop whole, or see "
    "that the mask is right."
)


@dataclass(frozen=True)
class _Taken:
    """A photo that is trained on, as files, and the name that it has."""

    stem: str
    image: bytes
    mask: bytes
    score: float | None
    doubts: tuple[str, ...]


@dataclass
class _Gathered:
    """The photos of one subject, by `photo_key`, in their order."""

    subject: str
    taken: dict[str, _Taken] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)

    def leave_out(
        self,
        place: Place,
        why: str,
        photo: np.ndarray | None = None,
        guess: np.ndarray | None = None,
        score: float | None = None,
    ) -> None:
        """Leave out a photo; if it is given, the sheet shows it, but for those beyond the first."""
        small = shrink(photo, TILE) if photo is not None and len(self.left_out) < LEFT_OUT_SHOWN else None
        outline = fit_mask(guess, small) if small is not None and guess is not None and guess.any() else None
        self.left_out[photo_key(place)] = LeftOut(self.subject, str(place), why, small, outline, score)


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
        caption: of each of these photos, with ``{identifier}`` and ``{class}`` to be filled in.
        framing: how photos are cut; by default a square of 512 pixels around the subject.
        threshold: score from which on a photo is taken, 0 to 1.
        overwrite: replace corrected masks, too, and files of others.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        UsageError: there are no photos, or names or words will not do; a file of others is in the way.
        PersamError: a concept is of another model, a subject is in none of the photos, something is wrong with a photo
            or a mask that is in the folder, or it cannot be written.
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
        again = set(map(photo_key, places))
        _now(ledger, known, Prepared(ledger.folder), lambda photo: photo_key(photo.source) in again)  # before the work
        gathered = {subject.name: _Gathered(subject.name) for subject in subjects}

        def look(place: Place) -> None:
            photo = read_image(place)
            found = model.segment(photo, given, threshold=threshold)
            for subject, one in zip(subjects, found, strict=True):
                _sort_in(gathered[subject.name], place, photo, one, framing or Framing())

        failures = _each(places, look, on_photo)
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
        masks: a folder of masks that are named like the photos; or one of results, with one concept, of which
            ``results.jsonl`` tells the photos.
        folder: of the result.
        name: of the subject.
        identifier: the rare word for it; by default ``t@y``.
        class_word: what kind of thing it is; by default its name.
        caption: as of `prepare`.
        framing: likewise.
        overwrite: likewise.
        on_photo: likewise.

    Raises:
        UsageError, PersamError: as `prepare`; no photo has a mask, or it is not known which mask is of which photo.
    """
    places = find_images([photos] if isinstance(photos, str | Path) else photos)
    there = masks_for(places, masks)
    identifiers, class_words = ([each] if each is not None else [] for each in (identifier, class_word))
    with held(folder, overwrite=overwrite) as (ledger, known):
        (subject,) = _subjects([name], known, identifiers, class_words, [None], caption)
        gathered = _Gathered(subject.name)

        def look(place: Place) -> None:
            file = there.get(photo_key(place))
            if file is None:
                gathered.leave_out(place, f"There is no mask of that name in {expanded(masks)}.")
                return
            picture = open_picture(place)
            photo = read_image(picture)
            height, width = photo.shape[:2]
            mask = read_mask(file, (height, width), photo_orientation=read_orientation(picture), may_be_trivial=True)
            if not mask.any():
                gathered.leave_out(place, "Its mask is black: the subject is not there.", photo)
                return
            _take(gathered, place, photo, mask, None, framing or Framing())

        failures = _each(places, look, on_photo)
        if failures and not gathered.taken:
            raise PersamError(f"None of the {len(places)} photos can be used: {failures[0][1]}")
        full = [each for each in gathered.left_out.values() if each.why == _FULL]
        if full and not gathered.taken:
            raise PersamError(f"No photo is left to train on, {full[0].photo} for one. {_FULL}")
        if not gathered.taken:
            raise UsageError(
                f"None of the {len(places)} photos has a mask in {expanded(masks)} that shows something; masks are "
                "named like their photos, mug.png for mug.jpg."
            )
        return _written(ledger, [subject], {subject.name: gathered}, known, caption, failures)


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
    if not may_name_subject(safe):
        raise UsageError(f"A subject cannot be called {name!r}, as something else in the folder is; say --name.")
    return safe


# --------------------------------------------------------------------------------------------------- the photos


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


def _sort_in(gathered: _Gathered, place: Place, photo: np.ndarray, found: Segmentation, framing: Framing) -> None:
    if found.found:
        _take(gathered, place, photo, found.mask, found.score, framing)
        return
    guess = found.assumed_mask
    where = " there is a guess, drawn as an outline" if guess.any() else " nothing like it was found"
    why = f"persam does not think that it is there (score {found.score:.2f});{where}."
    gathered.leave_out(place, why, photo, guess, found.score)


def _take(
    gathered: _Gathered, place: Place, photo: np.ndarray, mask: np.ndarray, score: float | None, framing: Framing
) -> None:
    made = framed(photo, mask, framing)
    if made.mask.all():  # such a mask masks nothing, and is refused wherever the folder is read
        gathered.leave_out(place, _FULL, photo, score=score)
        return
    stem = safe_name(Path(place.name).stem, otherwise="photo")
    files = encoded(made.image, "PNG", compress_level=4), mask_file(made.mask)
    gathered.taken[photo_key(place)] = _Taken(stem, *files, score, doubts_of(made, score))


def _check_left(subject: Subject, gathered: _Gathered, failures: Sequence[tuple[str, str]]) -> None:
    """See that a subject has a photo, of those that were looked at or of those of before."""
    if subject.photos:
        return
    looked = list(gathered.left_out.values())
    if not looked:
        first = f": {failures[0][1]}" if failures else "."
        raise PersamError(f"None of the photos can be read{first}")
    best = max(looked, key=lambda each: each.score or 0.0)
    if best.why == _FULL:
        raise PersamError(f"No photo of {subject.name} is left to train on, {best.photo} for one. {_FULL}")
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
    """Write what was gathered, beside what was there; nothing, if anything is in the way."""
    done = Prepared(ledger.folder, failures=failures)
    before = {subject.name: _now_but_for(ledger, subject, gathered.get(subject.name), done) for subject in known}
    files: dict[Path, bytes] = {}
    for subject in subjects:
        old = before.get(subject.name, subject)
        words = reworded([old], [subject.identifier], [subject.class_word], None)[0]
        before[subject.name] = _merged(ledger, words, gathered[subject.name], caption, files, done)
        _check_left(before[subject.name], gathered[subject.name], failures)
        done.left_out += gathered[subject.name].left_out.values()
    done.subjects = list(before.values())
    check_settling(ledger, done, list(files))
    for file, data in files.items():
        write_bytes(file, data)
    settle(ledger, done, known)
    return done


def _now_but_for(ledger: Ledger, subject: Subject, gathered: _Gathered | None, done: Prepared) -> Subject:
    """A subject of before as it is in the folder now, but for photos that will be replaced or dropped anyhow."""
    taken, left_out = (gathered.taken, gathered.left_out) if gathered else ({}, {})

    def goes(photo: TrainingPhoto) -> bool:
        key, stays = photo_key(photo.source), _stays(ledger, photo)
        return (key in taken and (ledger.overwrite or not stays)) or (key in left_out and not stays)

    return _now(ledger, [subject], done, goes)[0]


def _now(
    ledger: Ledger, known: Sequence[Subject], done: Prepared, goes: Callable[[TrainingPhoto], bool]
) -> list[Subject]:
    """Subjects as they are in the folder now.

    Raises:
        PersamError: something is wrong with a photo or a mask there.
    """

    def passed_over(photo: TrainingPhoto) -> bool:
        # Without a source it was put in by hand; but if persam wrote it, it is of a run that did not end.
        return goes(photo) or (not photo.source and ledger.is_own(photo.image.relative_to(ledger.folder)))

    subjects = subjects_now(ledger, known, done, passed_over=passed_over)
    if done.problems:
        more = f" (and {len(done.problems) - 1} more, see: persam dreambooth prepare {quote(str(ledger.folder))})"
        raise PersamError(f"{done.problems[0]}{more if len(done.problems) > 1 else ''}")
    return subjects


def _stays(ledger: Ledger, photo: TrainingPhoto) -> bool:
    """Whether a person changed a photo or its mask, so that they are not replaced unasked."""
    is_there = photo.image.is_file() and photo.mask.is_file()
    return is_there and (photo.corrected or not is_as_written(ledger, photo))


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
        key = photo_key(photo.source) or f"by hand {number}"
        names.keep(key, photo.image.stem)
        photos[key] = photo
    for source in [key for key in gathered.left_out if key in photos and not _stays(ledger, photos[key])]:
        del photos[source]
    for source, taken in gathered.taken.items():
        old = photos.get(source)
        told = caption_of(subject, caption) if old is None or caption is not None else old.caption
        if old is not None and _stays(ledger, old) and not ledger.overwrite:
            done.kept.append(old.mask)
            photos[source] = replace(old, caption=told)
            continue
        name = names.of(source, [taken.stem], taken.stem)
        image, mask = home / IMAGES / f"{name}.png", home / MASKS / f"{name}.png"
        files[image], files[mask] = taken.image, taken.mask
        photos[source] = TrainingPhoto(image, mask, told, source, taken.score)
        done.doubts[image] = taken.doubts
    return replace(subject, photos=tuple(photos.values()))
