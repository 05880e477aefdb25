"""A lesson: what one browser tab teaches. A photo, the mask on it, what the doctor says, the concept in the making."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from persam.concept import Concept
from persam.doctor import Diagnosis, check
from persam.errors import PersamError, PersamWarning, UsageError
from persam.files import safe_name
from persam.images import open_picture, read_image
from persam.masks import read_alpha
from persam.reference import Reference
from persam.segmentation import Segmentation
from persam.studio.canvas.prompts import CanvasPrompts, check_mask, mask_of
from persam.studio.workshop import Shown, Workshop

if TYPE_CHECKING:
    from persam.models.base import EncodedImage

T = TypeVar("T")
MaskKind = Literal["mask", "scribble"]

_one_listens = threading.Lock()  # Python's warnings are of the whole process


class Teaching:
    """The state of the tab Teach in one browser tab; its methods do the work, and raise one sentence.

    Attributes:
        file, name: the photo's file here, and what the user calls it.
        shown: the photo on the page, or None.
        mask: what is marked on it now, (H, W) bool, or None.
        prompts: the drawing that the mask belongs to.
        concept: what was learned last, or None.
    """

    def __init__(self) -> None:
        self.file: Path | None = None
        self.name = ""
        self.shown: Shown | None = None
        self.mask: np.ndarray | None = None
        self.prompts: CanvasPrompts | None = None
        self.concept: Concept | None = None
        self._start: np.ndarray | None = None  # a mask that was given, on which one draws
        self._encoded: EncodedImage | None = None
        self._doubts: list[str] = []  # what was said of the given mask
        self._examined: tuple[np.ndarray, Diagnosis] | None = None  # the last mask that the doctor saw

    # ---------------------------------------------------------------- what is marked

    def open(self, workshop: Workshop, file: str | Path) -> None:
        """Take a photo; a transparent cut-out brings its mask.

        Raises:
            PersamError: it cannot be read.
        """
        path = Path(file)
        try:
            picture = open_picture(path)
            pixels, alpha = read_image(picture), read_alpha(picture)
        except PersamError as error:
            raise named_by_user(error, path) from error
        encoded = workshop.encode(pixels)
        self.file, self.name, self._encoded = path, path.name, encoded
        self.shown = workshop.show(pixels)
        self._start = self.mask = alpha
        self.prompts, self._doubts = None, []

    def take_mask(self, workshop: Workshop, file: str | Path, kind: MaskKind) -> None:
        """Take a mask or a scribble for the photo from a picture; one may draw on it.

        Raises:
            PersamError: it cannot be read, does not fit the photo, or the model finds nothing under the scribble.
            UsageError: there is no photo yet.
        """
        photo, path = self._photo(), Path(file)

        def read() -> Reference:
            return Reference.read(photo, path) if kind == "mask" else Reference.read(photo, scribble=path)

        try:
            reference, self._doubts = _heard(read)
            self._start = workshop.ask(lambda model: model.mask_of(reference))
        except PersamError as error:
            raise named_by_user(error, photo, path) from error
        self._doubts = [each.replace(str(path), path.name) for each in self._doubts]
        self.mask, self.prompts = self._start, None

    def draw(self, workshop: Workshop, value: object) -> CanvasPrompts | None:
        """Take a drawing, and make the mask that it means; None where it is of a photo that is no more shown.

        Raises:
            PersamError: the model finds nothing there; then nothing is marked.
        """
        if self.shown is None or self._encoded is None:
            return None
        prompts = CanvasPrompts.of(value, self.shown)
        if prompts.photo != self.shown.url:
            return None
        self.prompts, self.mask = prompts, None
        self.mask = mask_of(workshop.engine, self._encoded, prompts, self._start)
        return prompts

    def reference(self) -> Reference:
        """Photo and mask as they are now.

        Raises:
            PersamError: nothing, or everything, is marked.
            UsageError: there is no photo yet.
        """
        photo, mask = self._photo(), check_mask(self.mask)
        reference, _ = _heard(lambda: Reference.read(photo, mask))  # the doctor says what there is to say
        return replace(reference, source=self.name)

    def examine(self, workshop: Workshop) -> Diagnosis | None:
        """What the reference doctor says; None where nothing is marked yet.

        Raises:
            PersamError: nothing can be learned from it.
        """
        if self.mask is None or not self.mask.any() or self.mask.all():
            return None
        mask = self.mask
        if self._examined is None or self._examined[0] is not mask:
            reference, doubts = self.reference(), list(self._doubts)
            self._examined = mask, workshop.ask(lambda model: check(model, [reference], doubts=[doubts]))
        return self._examined[1]

    def _photo(self) -> Path:
        if self.file is None:
            raise UsageError("There is no photo yet; drop one, or choose it.")
        return self.file

    # ---------------------------------------------------------------- what is learned

    def learn(self, workshop: Workshop, name: str, *, keep: bool, overwrite: bool = False) -> Concept:
        """Learn a new concept and save it.

        Args:
            workshop: that learns and keeps it.
            name: what to call it.
            keep: also keep photo and mask in it, so that it can be tuned and learned from again.
            overwrite: take the place of the one of that name.

        Raises:
            NameTakenError: there is one of that name.
            PersamError: nothing can be learned from what is marked, or the folder cannot be written.
            UsageError: no name.
        """
        name, reference = checked_name(name), self.reference()
        concept = workshop.ask(lambda model: model.learn(reference, name=name, keep_references=keep))
        return self._saved(workshop, concept, overwrite=overwrite)

    def add(self, workshop: Workshop, name: str, *, keep: bool) -> Concept:
        """Add photo and mask to a concept as another shot; one that was tuned is tuned again.

        Raises:
            NoConceptError: there is none of that name.
            PersamError: it is of another model, or was tuned and does not keep its photos.
            UsageError: no name.
        """
        base, reference = self._known(workshop, checked_name(name)), self.reference()
        concept = workshop.ask(lambda model: model.learn(reference, base=base, keep_references=keep))
        if base.tuned:
            concept = workshop.ask(lambda model: model.tune(concept))
        return self._saved(workshop, concept, overwrite=True)

    def tune(self, workshop: Workshop) -> Concept:
        """Tune what was learned last (PerSAM-F) and save it.

        Raises:
            PersamError: it does not keep its photos.
            UsageError: nothing was learned yet.
        """
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
        (found,) = workshop.engine.segment(pixels, [concept]).result()
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


def _heard(read: Callable[[], T]) -> tuple[T, list[str]]:
    """What is read, and what persam warned of meanwhile."""
    with _one_listens, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", PersamWarning)
        result = read()
    return result, [str(each.message) for each in heard if issubclass(each.category, PersamWarning)]
