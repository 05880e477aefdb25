"""A data set in PerSeg's layout from generated photos of a subject (paper, appendix E.9): masks made, to be reviewed.

The masks are what persam found, so a benchmark on them as they are measures persam against itself: review each first.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from persam.dreambooth.framing import Framed, doubts_of
from persam.dreambooth.sheet import TrainingSheet
from persam.dreambooth.wording import class_word_of
from persam.errors import PersamError, UsageError
from persam.files import expanded, safe_name, write_bytes, write_csv
from persam.finding import find_images
from persam.images import IMAGE_SUFFIXES, read_image
from persam.ledger import Ledger, written_in
from persam.masks import read_mask
from persam.places import Place
from persam.reports.pictures import encoded, mask_file
from persam.segmentation import UNSURE

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

OnPhoto = Callable[[Place, str | None], object]
IMAGES, ANNOTATIONS, REVIEW = "Images", "Annotations", "review"
_GENERATED = "generated.json"  # of a folder that persam dreambooth generate made
_LEFT_OUT_SHOWN = 60  # pictures of photos that are left out
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
        verdict: ``reference``, ``present``, ``unsure`` or ``absent``.
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
        generated: a folder that `persam dreambooth generate` made, or any pictures: folders (with those in folders
            below), files, globs.
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
            seen = list(_looked_at(model, concept, places, done.failures, on_photo))
            used = [one for one in seen if one.review.verdict == "present" or (keep_unsure and one.is_guess)]
            _check_found(concept, places, seen, used, done.failures)
            _write(ledger, done, [*_references(concept), *used], [one for one in seen if one not in used])
        except BaseException:
            if ledger.is_new:
                ledger.take_back()
            raise
    return done


def generated_photos(given: Iterable[str | Place]) -> list[Place]:
    """The pictures in a folder that `persam dreambooth generate` made, without its grids; or any pictures.

    Raises:
        UsageError: there are none.
    """
    named: list[str | Place] = []
    for each in given:
        home = Path(each).expanduser() if isinstance(each, str | Path) else None
        if home is None or not home.is_dir():
            named.append(each)
            continue
        top = home / "images" if (home / _GENERATED).is_file() else home
        below = sorted(file for file in top.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        # Named one by one: as results of persam they would be left out of a folder.
        named += [file for file in below if not any(part.startswith(".") for part in file.relative_to(top).parts)]
        if not below:
            raise UsageError(f"There are no pictures in {home}; give a folder that persam dreambooth generate made.")
    return find_images(named)


# --------------------------------------------------------------------------------------------- what is found


@dataclass(frozen=True, eq=False)
class _SeenPhoto:
    """A photo that was looked at; photo and mask as files, small pictures for what is left out."""

    review: ReviewedPhoto
    photo: bytes
    mask: bytes | None

    @property
    def is_guess(self) -> bool:
        """Whether persam is unsure, and has a mask."""
        return self.review.verdict == "unsure" and self.mask is not None


def _seen(photo: np.ndarray, mask: np.ndarray, review: ReviewedPhoto) -> _SeenPhoto:
    return _SeenPhoto(review, encoded(photo, "JPEG", quality=95), mask_file(mask) if mask.any() else None)


def _looked_at(
    model: PerSAM, concept: Concept, places: Sequence[Place], failures: list[tuple[str, str]], on_photo: OnPhoto
) -> Iterator[_SeenPhoto]:
    for place in places:
        problem = None
        try:
            photo = read_image(place)
            found = model.segment(photo, concept)
        except PersamError as error:
            problem = str(error)
            failures.append((str(place), problem))
        else:
            mask = found.assumed_mask
            doubts = doubts_of(Framed(photo, mask), found.score) if mask.any() else ()
            verdict = found.verdict if mask.any() or found.verdict == "absent" else "absent"
            yield _seen(photo, mask, ReviewedPhoto("", str(place), found.score, verdict, doubts))
        on_photo(place, problem)


def _references(concept: Concept) -> list[_SeenPhoto]:
    """The real photos that the concept keeps, with the masks that it was shown."""
    kept = concept.kept_references() if concept.keeps_references else []
    return [
        _seen(each.image, each.mask, ReviewedPhoto("", each.source, None, "reference"))
        for each in kept
        if each.mask is not None
    ]


def _check_found(
    concept: Concept,
    places: Sequence[Place],
    seen: Sequence[_SeenPhoto],
    used: Sequence[_SeenPhoto],
    failures: Sequence[tuple[str, str]],
) -> None:
    if used:
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


def _write(ledger: Ledger, done: Enlarged, used: Sequence[_SeenPhoto], left_out: Sequence[_SeenPhoto]) -> None:
    if used[0].review.verdict != "reference":  # photo 00 is what methods are shown: the surest
        surest = max(used, key=lambda one: one.review.score or 0.0)
        used = [surest, *(one for one in used if one is not surest)]
    files: dict[Path, bytes] = {}
    images, masks = (Path(home, done.object) for home in (IMAGES, ANNOTATIONS))
    for number, one in enumerate(used):
        name = f"{number:02}"
        done.photos.append(replace(one.review, name=name))
        files[images / f"{name}.jpg"] = one.photo
        files[masks / f"{name}.png"] = one.mask or b""
    done.photos += [one.review for one in left_out]
    reports = [Path(REVIEW, f"{done.object}{suffix}") for suffix in (".html", ".png", ".csv")]
    ledger.check([*files, *reports])
    ledger.sweep([IMAGES, ANNOTATIONS, REVIEW])
    earlier = [Path(file) for file in written_in(done.folder) if Path(file).parent in (images, masks)]
    ledger.remove(set(earlier) - set(files))
    for file, data in files.items():
        write_bytes(done.folder / file, data)
    _write_sheet(done, left_out)
    rows = [(one.name, one.source, one.score, one.verdict, int(one.used), " ".join(one.doubts)) for one in done.photos]
    write_csv(done.listed, [_COLUMNS, *(["" if cell is None else cell for cell in row] for row in rows)])


def _write_sheet(done: Enlarged, left_out: Sequence[_SeenPhoto]) -> None:
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
    for each in left_out[:_LEFT_OUT_SHOWN]:
        photo = read_image(Image.open(io.BytesIO(each.photo)))
        mask = np.zeros(photo.shape[:2], bool) if each.mask is None else read_mask(Image.open(io.BytesIO(each.mask)))
        word = f"{each.review.verdict} {each.review.score:.2f}"
        sheet.add(photo, mask, Path(each.review.source).name, word, "poor")
    lead = _LEAD.format(masks=done.folder / ANNOTATIONS / done.object)
    sheet.write(done.folder / REVIEW, lead, f"persam bench perseg --data {quote(str(done.folder))}")
