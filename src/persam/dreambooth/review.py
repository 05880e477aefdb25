"""A prepared folder as it is now: read again after a person corrected it, checked, and its lists and sheet written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

import numpy as np
from PIL import Image

from persam.dreambooth.framing import Framed, doubts_of
from persam.dreambooth.given_masks import MASKS
from persam.dreambooth.layouts import layout_files, write_layouts
from persam.dreambooth.sheet import SHEET, TrainingSheet
from persam.dreambooth.subjects import (
    DIFFUSERS,
    KOHYA,
    PREPARED,
    Subject,
    TrainingPhoto,
    listed_subjects,
    write_prepared,
)
from persam.dreambooth.wording import caption_of, reworded
from persam.errors import PersamError
from persam.files import expanded
from persam.images import IMAGE_SUFFIXES, read_image, read_orientation
from persam.ledger import Ledger, written_in
from persam.masks import read_mask
from persam.reports.contact_sheet import sheet_pages
from persam.reports.pictures import write_mask
from persam.segmentation import UNSURE
from persam.words import counted

IMAGES = "images"
PAGE, PICTURE = f"{SHEET}.html", f"{SHEET}.png"
ADVICE = "move it away, or replace it with --overwrite"
_WHITE = 250  # a mask whose brightest grey is above it is white enough for every trainer
_LEAD = (
    "Only what is bright teaches the model. Where a mask is wrong, paint over its file in {masks} (the subject white, "
    "all else black, of the same size); a photo that is no good, delete from {images}. Then say:"
)
_LEFT_OUT = (
    "Nothing is learned from these. The outline is the best guess, if there was one. To take one all the same, draw "
    "its mask and prepare it with --masks and --name, or prepare with a lower --threshold."
)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A photo that is not trained on.

    Attributes:
        subject: in whose photos it is not.
        photo: where it is.
        why: a sentence.
        image: (h, w, 3) uint8, small, for the sheet; None where there are many.
        guess: (h, w) bool, where the subject might be.
        score: how sure persam was that it is there, 0 to 1.
    """

    subject: str
    photo: str
    why: str
    image: np.ndarray | None = None
    guess: np.ndarray | None = None
    score: float | None = None


@dataclass
class Prepared:
    """A prepared folder, and what is to be said of it.

    Attributes:
        folder: where it is.
        subjects: what it holds now.
        doubts: sentences on each photo, by its image; none on a sound one.
        left_out: photos that are not in it.
        kept: masks that a person corrected, which were not replaced.
        failures: photo and sentence for each that could not be read.
        gone: names of photos that a person removed.
        problems: what is wrong with the folder, each in a sentence; if there is any, nothing was written.
    """

    folder: Path
    subjects: list[Subject] = field(default_factory=list)
    doubts: dict[Path, tuple[str, ...]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sheet(self) -> Path:
        """The page to look at."""
        return self.folder / PAGE


def recheck(
    folder: str | Path,
    *,
    identifiers: Sequence[str] = (),
    class_words: Sequence[str] = (),
    caption: str | None = None,
    overwrite: bool = False,
    on_photo: Callable[[], object] = lambda: None,
) -> Prepared:
    """Read a prepared folder again, after its masks, photos or captions were changed by hand.

    A mask that was painted over counts as corrected from then on; a photo that was removed is out; one that was put
    into ``SUBJECT/images`` together with its mask is in.  Captions are those in ``dreambooth.json``.

    Args:
        folder: that `prepare` made.
        identifiers: other ones, one a subject; captions change with them.
        class_words: likewise.
        caption: of all photos, with ``{identifier}`` and ``{class}``.
        overwrite: replace files that are in the way of the layouts.
        on_photo: called after each photo.

    Returns:
        What there is now. If it has `problems`, nothing was written.

    Raises:
        UsageError: it is no prepared folder.
        PersamError: its list is damaged, no photo is left, or it cannot be written.
    """
    listed_subjects(expanded(folder))  # says that it is none, before anything is made of it
    with held(folder, overwrite=overwrite) as (ledger, listed):
        known = reworded(listed, identifiers, class_words, caption)
        done = Prepared(ledger.folder)
        done.subjects = subjects_now(ledger, known, done, caption=caption, on_photo=on_photo)
        if done.problems:
            done.subjects = known
            return done
        check_settling(ledger, done)
        settle(ledger, done, known)
    return done


@contextlib.contextmanager
def held(folder: str | Path, *, overwrite: bool = False) -> Iterator[tuple[Ledger, list[Subject]]]:
    """Hold a folder while it is prepared. If it is new and the work fails, nothing is left of it.

    Yields:
        Its ledger, and the subjects that are listed in it.

    Raises:
        PersamError: another command is writing there, it cannot be written, or its list is damaged.
    """
    root = expanded(folder)
    with Ledger(root, overwrite=overwrite, advice=ADVICE) as ledger:
        is_known = (root / PREPARED).exists()
        known = listed_subjects(root) if is_known else []
        ledger.sweep([KOHYA, DIFFUSERS, *(subject.name for subject in known)])
        if is_known and ledger.is_new:  # a copy without what is hidden in it
            files = [file for subject in known for photo in subject.photos for file in (photo.image, photo.mask)]
            ledger.adopt([*(file.relative_to(root) for file in files), *layout_files(known), PAGE, PICTURE])
        if is_known:
            ledger.adopt([PREPARED])  # captions may have been changed there
        try:
            yield ledger, known
        except BaseException:
            if not is_known and ledger.is_new:
                ledger.take_back()
            raise


def is_as_written(ledger: Ledger, photo: TrainingPhoto) -> bool:
    """Whether a photo in the folder, and its mask, are still those that persam wrote."""
    return all(ledger.is_own(file.relative_to(ledger.folder)) for file in (photo.image, photo.mask))


def subjects_now(
    ledger: Ledger,
    known: Sequence[Subject],
    done: Prepared,
    *,
    caption: str | None = None,
    on_photo: Callable[[], object] = lambda: None,
    passed_over: Callable[[TrainingPhoto], bool] = lambda photo: False,
) -> list[Subject]:
    """Subjects with the photos that are in their folders now.

    Args:
        ledger: of the folder.
        known: as they are listed.
        done: gets the problems, and the names of photos that are gone.
        caption: of photos that were put in.
        on_photo: called after each photo.
        passed_over: whether a photo is not looked at, for it is going to be replaced: a listed one stays listed.
    """
    subjects = []
    for subject in known:
        photos = tuple(_photos_now(ledger, subject, done, caption, on_photo, passed_over))
        there = {photo.image for photo in photos}
        done.gone += [
            f"{subject.name}/{IMAGES}/{photo.image.name}"
            for photo in subject.photos
            if photo.image not in there and not photo.image.is_file()
        ]
        subjects.append(replace(subject, photos=photos))
    return subjects


def check_settling(ledger: Ledger, done: Prepared, more: Sequence[Path] = ()) -> None:
    """See before anything is written that `settle` can be called: it would leave photos that no list names.

    Args:
        ledger: of the folder.
        done: with its subjects, whose photos need not be there yet; those without photos are dropped.
        more: files that are going to be written besides.

    Raises:
        PersamError: there is no photo.
        UsageError: a file of others is in the way.
    """
    done.subjects = [subject for subject in done.subjects if subject.photos]
    if not done.subjects:
        raise PersamError(f"No photo is left in {done.folder}: prepare it again, from photos.")
    shown = sum(len(subject.photos) for subject in done.subjects) + len(_shown(done))
    pages = [file.relative_to(done.folder) for file in sheet_pages(done.folder / PICTURE, shown)]
    ledger.check([*(file.relative_to(done.folder) for file in more), *layout_files(done.subjects), PAGE, *pages])
    ledger.check([PREPARED])


def settle(ledger: Ledger, done: Prepared, before: Sequence[Subject] = ()) -> None:
    """Write all that follows from a folder's photos and masks, which are there: layouts, sheet and, last, the list.

    Args:
        ledger: of the folder.
        done: with its subjects, as `check_settling` left them. Gets the doubts.
        before: what it held, of which the files that are of no use now are removed.

    Raises:
        PersamError: something cannot be written.
    """
    _whiten(ledger, done.subjects)
    ledger.sweep(subject.name for subject in done.subjects)
    used = {file for subject in done.subjects for photo in subject.photos for file in (photo.image, photo.mask)}
    unused = [
        file for subject in before for photo in subject.photos for file in (photo.image, photo.mask) if file not in used
    ]
    layouts = {name for name in written_in(done.folder) if name.startswith((f"{KOHYA}/", f"{DIFFUSERS}/"))}
    layouts -= set(layout_files(done.subjects))
    ledger.remove([*(file.relative_to(done.folder) for file in unused), *sorted(layouts)])
    write_layouts(done.folder, done.subjects)
    _write_sheet(done)
    write_prepared(done.folder, done.subjects)


def _photos_now(
    ledger: Ledger,
    subject: Subject,
    done: Prepared,
    caption: str | None,
    on_photo: Callable[[], object],
    passed_over: Callable[[TrainingPhoto], bool],
) -> Iterator[TrainingPhoto]:
    """The photos of a subject that are in its folder and can be used; what is wrong with others joins the problems."""
    home = done.folder / subject.name
    known = {photo.image.name: photo for photo in subject.photos}
    listed = [photo.image for photo in subject.photos if photo.image.is_file() or passed_over(photo)]
    there = sorted((home / IMAGES).iterdir()) if (home / IMAGES).is_dir() else []
    stems: dict[str, Path] = {}
    for file in [*listed, *(file for file in there if file not in listed)]:
        mask = home / MASKS / f"{file.stem}.png"
        photo = known.get(file.name) or TrainingPhoto(file, mask, caption_of(subject, caption))
        if passed_over(photo):
            if file.name in known:
                yield photo
            continue
        try:
            _check(file, mask, stems.setdefault(file.stem, file))
        except PersamError as problem:
            done.problems.append(str(problem))
        else:
            yield replace(photo, corrected=photo.corrected or not is_as_written(ledger, photo))
        on_photo()


def _check(file: Path, mask: Path, first: Path) -> None:
    """See that a photo and its mask belong together, and that it is the `first` with that mask.

    Raises:
        PersamError: they do not.
    """
    if file.name.startswith(".") or file.suffix.lower() not in IMAGE_SUFFIXES:
        raise PersamError(f"{file} is no photo, and some trainers open every file there; move it away.")
    if first is not file:
        raise PersamError(f"{first} and {file.name} would have one mask; keep one of them.")
    if read_orientation(file) != 1:
        raise PersamError(f"{file} is turned when it is shown (EXIF), which some trainers do not do; save it upright.")
    height, width = read_image(file).shape[:2]
    if not mask.is_file():
        raise PersamError(f"{file} has no mask: looked for {mask}; put it there, or remove the photo.")
    found = read_mask(mask)
    if found.shape != (height, width):
        raise PersamError(
            f"The mask {mask} is {found.shape[1]} x {found.shape[0]} pixels, its photo {width} x {height}; save it at "
            "the photo's size."
        )


def _whiten(ledger: Ledger, subjects: Sequence[Subject]) -> None:
    """Write masks in colours, with labels or transparency as persam understands them, so that every trainer does."""
    for mask in (photo.mask for subject in subjects for photo in subject.photos):
        with Image.open(mask) as picture:
            is_plain = picture.mode == "L" and int(np.asarray(picture).max()) >= _WHITE
        if not is_plain:
            ledger.adopt([mask.relative_to(ledger.folder)])
            write_mask(mask, read_mask(mask))


# ----------------------------------------------------------------------------------------------------- the sheet


def _write_sheet(done: Prepared) -> None:
    sheet = TrainingSheet(f"Photos for training: {', '.join(subject.name for subject in done.subjects)}")
    for subject in done.subjects:
        photos = counted(len(subject.photos), "photo")
        sheet.begin(f"{subject.name}: {photos}", f"The model is taught: {subject.identifier} {subject.class_word}.")
        for photo in subject.photos:
            image = read_image(photo.image)
            mask = read_mask(photo.mask, (image.shape[0], image.shape[1]))
            doubts = done.doubts.get(photo.image)
            if doubts is None:  # of those that were written now, it is known what the square left out
                doubts = doubts_of(Framed(image, mask), None if photo.corrected else photo.score)
            if subject.identifier not in photo.caption:
                doubts += (f"Its caption does not name {subject.identifier}.",)
            done.doubts[photo.image] = doubts
            word, kind = _in_a_word(photo, doubts)
            sheet.add(image, mask, photo.image.name, word, kind, caption=photo.caption, doubts=doubts)
    sheet.begin("Left out", _LEFT_OUT)
    for each in _shown(done):
        assert each.image is not None
        guess = np.zeros(each.image.shape[:2], bool) if each.guess is None else each.guess
        word = "left out" if each.score is None else f"left out {each.score:.2f}"
        sheet.add(each.image, guess, f"{each.subject}: {Path(each.photo).name}", word, "poor", doubts=(each.why,))
    names = [subject.name for subject in done.subjects]
    homes = {kind: " or ".join(str(done.folder / name / kind) for name in names) for kind in (IMAGES, MASKS)}
    lead = _LEAD.format(masks=homes[MASKS], images=homes[IMAGES])
    sheet.write(done.folder, lead, f"persam dreambooth prepare {quote(str(done.folder))}")


def _shown(done: Prepared) -> list[LeftOut]:
    """What is left out and has a picture."""
    return [each for each in done.left_out if each.image is not None]


def _in_a_word(photo: TrainingPhoto, doubts: Sequence[str]) -> tuple[str, str]:
    if photo.corrected:
        word = "corrected"
    elif photo.score is None:
        word = "given mask"
    else:
        word = f"{'sure' if photo.score >= UNSURE[1] else 'unsure'} {photo.score:.2f}"
    return word, "fair" if doubts else "good"
