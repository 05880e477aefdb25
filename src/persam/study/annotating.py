"""One person at work on one category of a study: which photo is next, what is done, and where a mask goes."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from persam.errors import PersamError, UsageError, write_error
from persam.files import safe_name, write_text
from persam.images import read_image
from persam.reports.pictures import write_mask
from persam.study.layout import ANNOTATORS, GOLD, Study, StudyCategory, read
from persam.study.times import NOTHING, MaskTime, read_times, record_time

ORDER_FILE = "order.json"  # in the study's folder


@dataclass(frozen=True)
class PhotoOrder:
    """In which order photos are shown.

    Attributes:
        seed: of the shuffling, in which everybody has an order of their own; None: as they are named.
    """

    seed: int | None = None

    def of(self, category: StudyCategory, annotator: str) -> tuple[Path, ...]:
        """The photos of a category as this annotator gets to see them: the same on every machine and every day."""
        if self.seed is None:
            return category.photos

        def drawn(photo: Path) -> str:
            return hashlib.sha256(f"{self.seed}/{annotator}/{category.name}/{photo.stem}".encode()).hexdigest()

        return tuple(sorted(category.photos, key=drawn))


def photo_order(study: Study) -> PhotoOrder:
    """The order that was recorded for a study; as the photos are named where there is none.

    Raises:
        PersamError: the record is damaged.
    """
    file = study.folder / ORDER_FILE
    if not file.exists():
        return PhotoOrder()
    try:
        recorded = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = None
    seed = recorded.get("seed") if isinstance(recorded, dict) else None
    if not isinstance(seed, int):
        raise PersamError(f'{file} is damaged; it should be such as {{"seed": 7}}: mend or remove it.')
    return PhotoOrder(seed)


def shuffle(study: Study, seed: int | None = None) -> PhotoOrder:
    """Have the photos of a study shown to everybody in an order of their own, and record that; once is enough.

    Args:
        study: whose photos.
        seed: of the shuffling; drawn if none is given.

    Raises:
        UsageError: another order is recorded and masks may have been made in it.
        PersamError: it cannot be written.
    """
    recorded = photo_order(study)
    if recorded.seed is not None and seed in {None, recorded.seed}:
        return recorded
    timed = [
        category.times_file(who)
        for category in study.categories
        for who in study.annotators
        if category.times_file(who).exists()
    ]
    if timed:
        raise UsageError(
            f"Masks of {study.folder} were made in another order already, see {timed[0]}; a study keeps its order."
        )
    order = PhotoOrder(secrets.randbelow(2**31) if seed is None else seed)
    write_text(study.folder / ORDER_FILE, json.dumps({"seed": order.seed}) + "\n")
    return order


def add_annotator(study: Study, name: str) -> tuple[Study, str]:
    """Make room for the masks of somebody, who may be there already.

    Args:
        study: to add to.
        name: as typed; what a folder cannot be called is replaced.

    Returns:
        The study as it is now, and the annotator's name in it.

    Raises:
        UsageError: there is no name, or it is the one kept for the truth.
        PersamError: the folder cannot be made.
    """
    clean = safe_name(name, otherwise="").strip()
    if not clean:
        raise UsageError("Type the name of the person who masks the photos.")
    if clean.casefold() == GOLD:
        raise UsageError(f"An annotator cannot be called {GOLD!r}, which stands for the truth; choose another name.")
    clean = next((known for known in study.annotators if known.casefold() == clean.casefold()), clean)
    for category in study.categories:
        home = category.folder / ANNOTATORS / clean
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(home, error) from error
    return read(study.folder), clean


@dataclass(frozen=True)
class Annotation:
    """What one annotator does in one category.

    Attributes:
        category: whose photos are masked.
        annotator: by whom.
        photos: in the order in which they are shown.
        reference: the first by name, which the model will be shown with this annotator's mask.
    """

    category: StudyCategory
    annotator: str
    photos: tuple[Path, ...]

    @classmethod
    def of(cls, study: Study, category: str, annotator: str) -> Annotation:
        """Look up a category and an annotator of a study.

        Raises:
            UsageError: it has no such category or no photo in it, or nobody of that name.
            PersamError: the recorded order is damaged.
        """
        home = next((one for one in study.categories if one.name == category), None)
        if home is None:
            raise UsageError(f"There is no category {category!r} in {study.folder}; choose one of the list.")
        if annotator not in study.annotators:
            raise UsageError(f"Nobody is called {annotator!r} in {study.folder}; choose a name of the list, or add it.")
        if not home.photos:
            raise UsageError(f"{category} has no photos; put some into {home.folder / 'images'}.")
        return cls(home, annotator, photo_order(study).of(home, annotator))

    @property
    def study_folder(self) -> Path:
        """Of the study that the category is of."""
        return self.category.folder.parent

    @property
    def reference(self) -> Path:
        """The photo that `persam.study.run` shows the model by default."""
        return self.category.photos[0]

    def mask_file(self, photo: Path) -> Path:
        """Where this annotator's mask of a photo belongs."""
        return self.category.mask_file(self.annotator, photo)

    def done(self) -> set[Path]:
        """Photos that have a mask, or of which it was said that there is nothing to mark."""
        times = read_times(self.category.times_file(self.annotator), self.category.name, self.annotator).times
        empty = {time.photo for time in times if time.made == NOTHING}
        return {photo for photo in self.photos if self.mask_file(photo).is_file() or photo.stem in empty}

    def next_open(self, after: int = -1, *, without: Collection[Path] = ()) -> int | None:
        """The place of the next photo that is not done, from 0, first behind `after`, then from the start; or None.

        Args:
            after: a place.
            without: photos that are passed over.
        """
        done = self.done().union(without)
        places = [*range(after + 1, len(self.photos)), *range(after + 1)]
        return next((place for place in places if self.photos[place] not in done), None)

    def save(self, photo: Path, mask: np.ndarray, time: MaskTime, *, anew: bool = False) -> MaskTime:
        """Write a mask, whole or not at all, and record how long it took.

        Args:
            photo: one of `photos`.
            mask: (H, W) bool, of the photo's size as it is seen, upright.
            time: of this sitting.
            anew: whether nothing of an earlier mask is in this one.

        Returns:
            The line of this mask in ``times.csv``, earlier sittings with it.

        Raises:
            UsageError: nothing or everything is marked, or the mask has another size than the photo.
            PersamError: it cannot be written; or the mask is, but not its time.
        """
        shape = read_image(photo).shape[:2]
        if mask.shape != shape:
            raise UsageError(
                f"The mask is {mask.shape[1]} x {mask.shape[0]} pixels and {photo.name} {shape[1]} x {shape[0]}; "
                "a study compares masks of the photo's size only."
            )
        if not mask.any():
            raise UsageError(
                f"Nothing is marked in {photo.name}. Mark the object; if the photo does not show it, "
                'choose "It is not in this photo".'
            )
        if mask.all():
            raise UsageError(f"All of {photo.name} is marked; leave out what is not the object.")
        write_mask(self.mask_file(photo), mask)
        return self._record(photo, time, anew=anew)

    def save_nothing(self, photo: Path, time: MaskTime) -> MaskTime:
        """Record that a photo does not show the object. A study expects no mask of it then; an earlier one goes.

        Raises:
            PersamError: it cannot be written.
        """
        recorded = self._record(photo, replace(time, made=NOTHING))
        file = self.mask_file(photo)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(file, error) from error
        return recorded

    def _record(self, photo: Path, time: MaskTime, *, anew: bool = False) -> MaskTime:
        own = replace(
            time,
            annotator=self.annotator,
            category=self.category.name,
            photo=photo.stem,
            place=self.photos.index(photo) + 1,
        )
        return record_time(self.category.times_file(self.annotator), own, anew=anew)
