"""A lesson: what one browser tab teaches. A photo, the mask on it, what the doctor says, the concept in the making."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from persam.concept import Concept
from persam.doctor import Diagnosis, check
from persam.errors import PersamError, UsageError
from persam.files import safe_name
from persam.images import open_picture, read_image
from persam.masks import read_alpha
from persam.reference import Reference
from persam.segmentation import Segmentation
from persam.server.hearing import heard_doubts
from persam.studio.canvas.prompts import CanvasPrompts, check_mask, mask_of
from persam.studio.workshop import Shown, Workshop, answer_of

if TYPE_CHECKING:
    from persam.models.base import EncodedImage
    from persam.persam import PerSAM

MaskKind = Literal["mask", "scribble"]


@dataclass(eq=False)
class MarkedPhoto:
    """A photo on the page, and what is marked on it; another photo, or another given mask, is another one of these.

    Attributes:
        file, name: the photo's file here, and what the user calls it.
        shown: as the page gets it; what is drawn says by its address what it was drawn on.
        encoded: by the model.
        start: a mask that was given, (H, W) bool, on which one draws, or None.
        doubts: what was said of that one.
        prompts: what is drawn.
        mask: what all that means, (H, W) bool, or None.
    """

    file: Path
    name: str
    shown: Shown
    encoded: EncodedImage
    start: np.ndarray | None = None
    doubts: tuple[str, ...] = ()
    prompts: CanvasPrompts = field(init=False)
    mask: np.ndarray | None = field(init=False)

    def __post_init__(self) -> None:
        self.prompts = CanvasPrompts((self.shown.height, self.shown.width), photo=self.shown.url)
        self.mask = self.start


class Teaching:
    """The state of the tab Teach in one browser tab; its methods do the work, and raise one sentence.

    Events of a page come at once, from several threads, and wait for each other but for those that only look. What is
    learned is what the page shows, so `learn` and `add` are given the canvas's value: the event of the last gesture
    may still be on its way.

    Attributes:
        concept: what was learned last, or None.
    """

    def __init__(self) -> None:
        self.concept: Concept | None = None
        self._marked: MarkedPhoto | None = None
        self._examined: tuple[np.ndarray, Diagnosis] | None = None  # the last mask that the doctor saw
        self._lock = threading.Lock()

    @property
    def shown(self) -> Shown | None:
        """The photo on the page, or None."""
        marked = self._marked
        return None if marked is None else marked.shown

    @property
    def mask(self) -> np.ndarray | None:
        """What is marked on it now, (H, W) bool, or None."""
        marked = self._marked
        return None if marked is None else marked.mask

    # ---------------------------------------------------------------- what is marked

    def open(self, workshop: Workshop, file: str | Path) -> None:
        """Take a photo; a transparent cut-out brings its mask.

        Raises:
            PersamError: it cannot be read.
        """
        path = Path(file)
        with self._lock:
            try:
                picture = open_picture(path)
                pixels, alpha = read_image(picture), read_alpha(picture)
            except PersamError as error:
                raise named_by_user(error, path) from error
            encoded = workshop.encode(pixels)
            self._marked = MarkedPhoto(path, path.name, workshop.show(pixels), encoded, alpha)

    def take_mask(self, workshop: Workshop, file: str | Path, kind: MaskKind) -> None:
        """Take a mask or a scribble for the photo from a picture; one may draw on it.

        Raises:
            PersamError: it cannot be read, does not fit the photo, or the model finds nothing under the scribble.
            UsageError: there is no photo yet.
        """
        path = Path(file)
        with self._lock:
            marked = self._photo()
            try:
                with heard_doubts() as doubts:
                    given, scribble = (path, None) if kind == "mask" else (None, path)
                    reference = Reference.read(marked.file, given, scribble=scribble)
                start = workshop.ask(lambda model: model.mask_of(reference))
            except PersamError as error:
                raise named_by_user(error, marked.file, path) from error
            told = tuple(each.replace(str(path), path.name) for each in doubts)
            # Another address, so that what was drawn on the photo before is none of this.
            self._marked = MarkedPhoto(marked.file, marked.name, marked.shown.anew(), marked.encoded, start, told)

    def draw(self, workshop: Workshop, value: object) -> tuple[CanvasPrompts, np.ndarray | None] | None:
        """Take a drawing, and make the mask that it means.

        Returns:
            What is drawn and its mask, (H, W) bool or None; None where it is of a photo that is no more shown.

        Raises:
            PersamError: the model finds nothing there; then nothing is marked.
        """
        with self._lock:
            marked = self._marked
            if marked is None:
                return None
            prompts = CanvasPrompts.of(value, marked.shown)
            if prompts.photo != marked.shown.url:
                return None
            return prompts, _mark(workshop, marked, prompts)

    def examine(self, workshop: Workshop) -> Diagnosis | None:
        """What the reference doctor says; None where nothing is marked yet.

        Raises:
            PersamError: nothing can be learned from it.
        """
        marked = self._marked  # without the lock: a click does not wait for the doctor
        mask = None if marked is None else marked.mask
        if marked is None or mask is None or not mask.any() or mask.all():
            return None
        examined = self._examined
        if examined is None or examined[0] is not mask:
            reference, doubts = _reference_of(marked, mask), marked.doubts
            examined = mask, workshop.ask(lambda model: check(model, [reference], doubts=[doubts]))
            self._examined = examined
        return examined[1]

    def _photo(self) -> MarkedPhoto:
        if self._marked is None:
            raise UsageError("There is no photo yet; drop one, or choose it.")
        return self._marked

    def _reference(self, workshop: Workshop, value: object) -> Reference:
        """The photo with the mask of what is drawn on the page, whether its event was here already or not."""
        marked = self._photo()
        prompts = CanvasPrompts.of(value, marked.shown)
        if prompts.photo != marked.shown.url:
            raise PersamError("Another photo has come meanwhile; mark your thing on the one that is shown now.")
        known = prompts == marked.prompts and (marked.mask is not None or prompts.is_empty)
        return _reference_of(marked, marked.mask if known else _mark(workshop, marked, prompts))

    # ---------------------------------------------------------------- what is learned

    def learn(self, workshop: Workshop, value: object, name: str, *, keep: bool, overwrite: bool = False) -> Concept:
        """Learn a new concept and save it.

        Args:
            workshop: that learns and keeps it.
            value: of the canvas.
            name: what to call it.
            keep: also keep photo and mask in it, so that it can be tuned and learned from again.
            overwrite: take the place of the one of that name.

        Raises:
            NameTakenError: there is one of that name.
            PersamError: nothing can be learned from what is marked, or the folder cannot be written.
            UsageError: no photo, or no name.
        """
        self._photo()  # the lack of a photo is said before that of a name
        name = checked_name(name)
        with self._lock:
            reference = self._reference(workshop, value)
            concept = workshop.ask(lambda model: model.learn(reference, name=name, keep_references=keep))
            return self._saved(workshop, concept, overwrite=overwrite)

    def add(
        self, workshop: Workshop, value: object, name: str, *, keep: bool, doubts: list[str] | None = None
    ) -> Concept:
        """Add photo and mask to a concept as another shot; one that was tuned is tuned again.

        Args:
            workshop: that learns and keeps it.
            value: of the canvas.
            name: of the concept.
            keep: as for `learn`.
            doubts: to which is added what may not be meant.

        Raises:
            NoConceptError: there is none of that name.
            PersamError: it is of another model, or was tuned and does not keep its photos.
            UsageError: no name.
        """
        name = checked_name(name)
        with self._lock, workshop.changing(name):
            base, reference = self._known(workshop, name), self._reference(workshop, value)

            def learned(model: PerSAM) -> Concept:
                with heard_doubts(doubts):
                    return model.learn(reference, base=base, keep_references=keep)

            concept = workshop.ask(learned)
            if base.tuned:
                concept = workshop.ask(lambda model: model.tune(concept))
            return self._saved(workshop, concept, overwrite=True)

    def tune(self, workshop: Workshop) -> Concept:
        """Tune what was learned last (PerSAM-F) and save it.

        Raises:
            PersamError: it does not keep its photos.
            UsageError: nothing was learned yet.
        """
        with self._lock:
            concept = self._last()
            tuned = workshop.ask(lambda model: model.tune(concept))
            return self._saved(workshop, tuned, overwrite=True)

    def try_on(self, workshop: Workshop, file: str | Path) -> tuple[np.ndarray, Segmentation]:
        """Look for what was learned last in another photo: its pixels, (H, W, 3) uint8, and what is found.

        Raises:
            PersamError: the photo cannot be read.
            UsageError: nothing was learned yet.
        """
        concept, path = self._last(), Path(file)
        try:
            pixels = read_image(path)
        except PersamError as error:
            raise named_by_user(error, path) from error
        (found,) = answer_of(workshop.engine.segment(pixels, [concept]))
        return pixels, found

    def _known(self, workshop: Workshop, name: str) -> Concept:
        """From memory where it is the last one: then it can be tuned though its file keeps no photos."""
        saved = workshop.concepts.load(name)
        last = self.concept
        return last if last is not None and last.content_hash == saved.content_hash else saved

    def _last(self) -> Concept:
        if self.concept is None:
            raise UsageError("Nothing was learned yet; mark the object, give it a name and press Learn.")
        return self.concept

    def _saved(self, workshop: Workshop, concept: Concept, *, overwrite: bool) -> Concept:
        self.concept = replace(concept, name=workshop.concepts.save(concept, overwrite=overwrite))
        return self.concept


def checked_name(name: str) -> str:
    """A name for a concept, without needless blanks.

    Raises:
        UsageError: there is none.
    """
    name = " ".join((name or "").split())
    if not name:
        raise UsageError("It has no name yet; say what it is called, such as my mug.")
    return safe_name(name)


def named_by_user(error: PersamError, *files: Path) -> PersamError:
    """The same sentence, with files called as the user calls them: where they lie here is nobody's business."""
    text = str(error)
    for file in files:
        text = text.replace(str(file), file.name)
    return type(error)(text) if type(error) in (PersamError, UsageError) else PersamError(text)


def _mark(workshop: Workshop, marked: MarkedPhoto, prompts: CanvasPrompts) -> np.ndarray | None:
    """Make the mask of a drawing, (H, W) bool or None; where that goes wrong, nothing is marked."""
    marked.prompts, marked.mask = prompts, None
    marked.mask = mask_of(workshop.engine, marked.encoded, prompts, marked.start)
    return marked.mask


def _reference_of(marked: MarkedPhoto, mask: np.ndarray | None) -> Reference:
    mask = check_mask(mask)
    with heard_doubts():  # the doctor says what there is to say
        reference = Reference.read(marked.file, mask)
    return replace(reference, source=marked.name)
