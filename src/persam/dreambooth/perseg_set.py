"""A data set in PerSeg's layout from generated photos of a subject (paper, appendix E.9): masks made, to be reviewed.

The masks are what persam found, so a benchmark on them as they are measures persam against itself: review each first.
"""

from __future__ import annotations

import glob
import io
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from persam.dreambooth.framing import Framed, doubts_of
from persam.dreambooth.generated import IMAGES as PICTURES
from persam.dreambooth.generated import LIST, read_generated
from persam.dreambooth.sheet import LEFT_OUT_SHOWN, TILE, TrainingSheet
from persam.dreambooth.wording import class_word_of
from persam.errors import PersamError, PersamWarning, UsageError, write_error
from persam.files import expanded, safe_name, write_bytes, write_csv
from persam.finding import find_images
from persam.geometry import fit_mask, shrink
from persam.images import IMAGE_SUFFIXES, read_image
from persam.ledger import Ledger, written_in
from persam.masks import read_mask
from persam.places import Place
from persam.reference import sha256_of
from persam.reports.pictures import encoded, mask_file
from persam.segmentation import UNSURE

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

OnPhoto = Callable[[Place, str | None], object]
IMAGES, ANNOTATIONS, REVIEW = "Images", "Annotations", "review"
_IN_MEMORY = 64_000_000  # bytes of photos, beyond which they wait on the disk
_FULL = "The mask covers all of the photo, so there is nothing to tell the object from."
_COLUMNS = ("photo", "source", "score", "verdict", "used", "doubts")
_LEAD = (
    "Every mask is what persam found, and none was looked at by a person. Paint over those that are wrong in {masks} "
    "(the object white, all else black, of the same size); delete photo and mask of those that are no good. Then:"
)


@dataclass(frozen=True)
class ReviewedPhoto:
    """A generated photo, and what was found in it.

    Attributes:
        name: of photo and mask in the data set, ``07``; "" for one that is left out.
        source: where the photo came from; "" for a reference that the concept kept.
        score: how sure persam is that the object is there, 0 to 1; None for a reference.
        verdict: ``reference``, ``present``, ``unsure`` or ``absent``; a ``present`` one is left out if its mask covers
            all of the photo, a ``reference`` one if it is among the photos once more.
        doubts: sentences.
    """

    name: str
    source: str
    score: float | None
    verdict: str
    doubts: tuple[str, ...] = ()

    @property
    def used(self) -> bool:
        """Whether it is in the data set."""
        return bool(self.name)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is left out though the object is there, in sentences."""
        return () if self.used or self.verdict in ("unsure", "absent") else self.doubts


@dataclass
class Enlarged:
    """What was made of generated photos.

    Attributes:
        folder: of the data set.
        object: name of the object in it.
        photos: all that were looked at, references first.
        failures: photo and sentence for each that could not be read.
    """

    folder: Path
    object: str
    photos: list[ReviewedPhoto] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def sheet(self) -> Path:
        """The page to look at."""
        return self.folder / REVIEW / f"{self.object}.html"

    @property
    def listed(self) -> Path:
        """The table of all photos."""
        return self.folder / REVIEW / f"{self.object}.csv"


def enlarge(
    model: PerSAM,
    generated: str | Path | Iterable[str | Place],
    concept: Concept,
    folder: str | Path,
    *,
    name: str | None = None,
    keep_unsure: bool = False,
    overwrite: bool = False,
    on_photo: OnPhoto = lambda photo, problem: None,
) -> Enlarged:
    """Add an object to a data set in PerSeg's layout: ``Images/OBJECT/NN.jpg``, ``Annotations/OBJECT/NN.png``.

    Photo 00, which `persam bench perseg` shows to a method, is the real one that the concept was learned from, where
    the concept keeps it; else it is the generated photo of which persam is surest.

    Args:
        model: that the concept was made with.
        generated: a folder that `persam dreambooth generate` made, of which those pictures are taken that it lists; or
            any pictures: folders (with those in folders below, but for what persam wrote), files, globs.
        concept: the object.
        folder: of the data set; other objects in it stay.
        name: of the object; by default the concept's.
        keep_unsure: take photos, too, in which persam is unsure of the object.
        overwrite: replace masks that were corrected, and files of others.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        UsageError: there are no pictures, or a file of others is in the way.
        PersamError: the concept is of another model, the object is in none of the pictures, or they cannot be written.
    """
    model.check(concept)
    places = generated_photos([generated] if isinstance(generated, str | Path) else generated)
    called = safe_name(name or class_word_of(concept.name).replace(" ", "_"))
    done = Enlarged(expanded(folder), called)
    with Ledger(done.folder, overwrite=overwrite) as ledger:
        try:
            shelf = _Shelf()
            references = _references(concept, shelf)
            shown = {record.sha256 for record in concept.references} if references else set()
            seen = list(
                _looked_at(_PhotoLook(model, concept, keep_unsure, shown), places, shelf, done.failures, on_photo)
            )
            used = [one for one in seen if one.is_taken]
            _check_found(concept, places, seen, done.failures)
            _write(ledger, done, shelf, [*references, *used], [one for one in seen if not one.is_taken])
        except BaseException:
            if ledger.is_new:
                ledger.take_back()
            raise
    return done


def generated_photos(given: Iterable[str | Place]) -> list[Place]:
    """The pictures that a folder of `persam dreambooth generate` lists, or any pictures that persam did not write.

    Warns with a `PersamWarning` of pictures of earlier calls, which are there but not listed any more.

    Raises:
        UsageError: there are none.
        PersamError: the list is damaged.
    """
    named: list[str | Place] = []
    for each in given:
        home = Path(each).expanduser() if isinstance(each, str | Path) else None
        if home is None or not home.is_dir():
            named.append(each)
            continue
        if (home / LIST).is_file():
            named += _listed_pictures(home)  # one by one: as results of persam they would be left out of a folder
        elif any(file.suffix.lower() in IMAGE_SUFFIXES for file in home.rglob("*")):
            named.append(f"{glob.escape(str(home))}/**/*")
        else:
            raise UsageError(f"There are no pictures in {home}; give a folder that persam dreambooth generate made.")
    return find_images(named)


def _listed_pictures(home: Path) -> list[Path]:
    listed = [each.file for each in read_generated(home).pictures]
    others = {file for file in (home / PICTURES).rglob("*.png") if not file.name.startswith(".")} - set(listed)
    if others:
        warnings.warn(
            f"Left out of {home}: {len(others)} pictures of earlier calls, such as {min(others)}, which {LIST} does "
            "not list; name their folder to take them.",
            PersamWarning,
            stacklevel=3,
        )
    return listed


# --------------------------------------------------------------------------------------------- what is found


@dataclass(frozen=True, eq=False)
class _SeenPhoto:
    """A photo that was looked at: the file of it on the shelf, small if it is left out, and of its mask, if any."""

    review: ReviewedPhoto
    is_taken: bool
    photo: slice | None
    mask: bytes | None

    @property
    def is_guess(self) -> bool:
        """Whether persam is unsure, and has a mask that could be taken."""
        return self.review.verdict == "unsure" and self.mask is not None


class _Shelf:
    """Files of photos that wait until all were looked at; on the disk, where there are many."""

    def __init__(self) -> None:
        self._files = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (it goes with the shelf)

    def put(self, photo: np.ndarray) -> slice:
        """Put a photo (H, W, 3) uint8 there; it is found again where it says."""
        file = encoded(photo, "JPEG", quality=95)
        try:
            start = self._files.seek(0, io.SEEK_END)
            self._files.write(file)
        except OSError as error:
            raise write_error(tempfile.gettempdir(), error) from error
        return slice(start, start + len(file))

    def get(self, place: slice) -> bytes:
        """The file that was put there."""
        self._files.seek(place.start)
        return self._files.read(place.stop - place.start)


@dataclass(frozen=True, eq=False)
class _PhotoLook:
    """How photos are looked at: for what, whether unsure finds are taken, and which photos are references."""

    model: PerSAM
    concept: Concept
    keep_unsure: bool
    shown: Collection[str]

    def at(self, place: Place) -> tuple[np.ndarray, np.ndarray, bool, ReviewedPhoto]:
        """The photo (H, W, 3) uint8, the mask (H, W) bool, whether it is taken, and what is said of it."""
        photo = read_image(place)
        if self.shown and sha256_of(place) in self.shown:
            again = ReviewedPhoto("", str(place), None, "reference", ("It is there already, as a reference.",))
            return photo, np.zeros(photo.shape[:2], bool), False, again
        found = self.model.segment(photo, self.concept)
        mask = found.assumed_mask
        verdict = found.verdict if mask.any() or found.verdict == "absent" else "absent"
        if mask.all():
            return photo, ~mask, False, ReviewedPhoto("", str(place), found.score, verdict, (_FULL,))
        doubts = doubts_of(Framed(photo, mask), found.score) if mask.any() else ()
        is_taken = verdict == "present" or (self.keep_unsure and verdict == "unsure")
        return photo, mask, is_taken, ReviewedPhoto("", str(place), found.score, verdict, doubts)


def _looked_at(
    look: _PhotoLook, places: Sequence[Place], shelf: _Shelf, failures: list[tuple[str, str]], on_photo: OnPhoto
) -> Iterator[_SeenPhoto]:
    left_out = 0
    for place in places:
        problem = None
        try:
            photo, mask, is_taken, review = look.at(place)
        except PersamError as error:
            problem = str(error)
            failures.append((str(place), problem))
        else:
            left_out += not is_taken
            if not is_taken:
                photo = shrink(photo, TILE)
                mask = fit_mask(mask, photo) if mask.any() else mask
            on_shelf = shelf.put(photo) if is_taken or left_out <= LEFT_OUT_SHOWN else None
            yield _SeenPhoto(review, is_taken, on_shelf, mask_file(mask) if mask.any() else None)
        on_photo(place, problem)


def _references(concept: Concept, shelf: _Shelf) -> list[_SeenPhoto]:
    """The real photos that the concept keeps, with the masks that it was shown."""
    kept = concept.kept_references() if concept.keeps_references else []
    return [
        _SeenPhoto(ReviewedPhoto("", each.source, None, "reference"), True, shelf.put(each.image), mask_file(each.mask))
        for each in kept
        if each.mask is not None
    ]


def _check_found(
    concept: Concept,
    places: Sequence[Place],
    seen: Sequence[_SeenPhoto],
    failures: Sequence[tuple[str, str]],
) -> None:
    if any(one.is_taken for one in seen):
        return
    if not seen:
        raise PersamError(f"None of the {len(places)} pictures can be read: {failures[0][1]}")
    unsure = sum(one.is_guess for one in seen)
    more = f"; in {unsure} of them it is unsure, which --keep-unsure takes" if unsure else ""
    raise PersamError(
        f"persam is sure of {concept.name} in none of {len(seen)} pictures{more}; see with persam segment --sheet "
        "what is found in them."
    )


# --------------------------------------------------------------------------------------------- what is written


def _write(
    ledger: Ledger, done: Enlarged, shelf: _Shelf, used: Sequence[_SeenPhoto], left_out: Sequence[_SeenPhoto]
) -> None:
    if used[0].review.verdict != "reference":  # photo 00 is what methods are shown: the surest
        surest = max(used, key=lambda one: one.review.score or 0.0)
        used = [surest, *(one for one in used if one is not surest)]
    images, masks = (Path(home, done.object) for home in (IMAGES, ANNOTATIONS))
    done.photos += [replace(one.review, name=f"{number:02}") for number, one in enumerate(used)]
    files = [file for each in done.photos for file in (images / f"{each.name}.jpg", masks / f"{each.name}.png")]
    done.photos += [one.review for one in left_out]
    reports = [Path(REVIEW, f"{done.object}{suffix}") for suffix in (".html", ".png", ".csv")]
    ledger.check([*files, *reports])
    ledger.sweep([IMAGES, ANNOTATIONS, REVIEW])
    earlier = [Path(file) for file in written_in(done.folder) if Path(file).parent in (images, masks)]
    ledger.remove(set(earlier) - set(files))
    for number, one in enumerate(used):
        assert one.photo is not None
        assert one.mask is not None
        write_bytes(done.folder / files[2 * number], shelf.get(one.photo))
        write_bytes(done.folder / files[2 * number + 1], one.mask)
    _write_sheet(done, shelf, left_out)
    rows = [(one.name, one.source, one.score, one.verdict, int(one.used), " ".join(one.doubts)) for one in done.photos]
    write_csv(done.listed, [_COLUMNS, *(["" if cell is None else cell for cell in row] for row in rows)])


def _write_sheet(done: Enlarged, shelf: _Shelf, left_out: Sequence[_SeenPhoto]) -> None:
    sheet = TrainingSheet(f"Masks to be reviewed: {done.object}", done.object)
    used = [one for one in done.photos if one.used]
    sheet.begin(f"{done.object}: {len(used)} photos", "Photo 00 is what a method is shown; it looks for it in others.")
    for one in used:
        photo = read_image(done.folder / IMAGES / done.object / f"{one.name}.jpg")
        mask = read_mask(done.folder / ANNOTATIONS / done.object / f"{one.name}.png")
        word = one.verdict if one.score is None else f"{'sure' if one.score >= UNSURE[1] else 'unsure'} {one.score:.2f}"
        kind = "fair" if one.doubts else "good"
        sheet.add(photo, mask, f"{one.name} · {Path(one.source).name}", word, kind, doubts=one.doubts)
    sheet.begin("Left out", "The outline is the best guess, if there was one.")
    for each in left_out:
        if each.photo is None:
            continue
        photo = read_image(Image.open(io.BytesIO(shelf.get(each.photo))))
        mask = np.zeros(photo.shape[:2], bool)
        if each.mask is not None:
            mask = read_mask(Image.open(io.BytesIO(each.mask)), may_be_trivial=True)
        score = "" if each.review.score is None else f" {each.review.score:.2f}"
        word = f"{each.review.verdict}{score}"
        sheet.add(photo, mask, Path(each.review.source).name, word, "poor", doubts=each.review.reasons)
    lead = _LEAD.format(masks=done.folder / ANNOTATIONS / done.object)
    sheet.write(done.folder / REVIEW, lead, f"persam bench perseg --data {quote(str(done.folder))}")
