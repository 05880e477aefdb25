"""One annotator at the desk: the photo that is open, what is drawn on it, and how long that takes.

It knows of no page: the tab "Study" (`persam.studio.study.tab`) shows it. Each browser tab has a sitting of its own.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persam import __version__
from persam.errors import PersamError
from persam.images import read_image
from persam.masks import read_mask
from persam.studio.canvas import CanvasPrompts, mask_of
from persam.studio.workshop import Shown, Workshop
from persam.study import BOTH, BY_HAND, CORRECTED, HAND, PROMPTS, PROPOSAL, Annotation, MaskTime

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.models.base import EncodedImage

#: Seconds without a movement after which time no longer counts.
IDLE_LIMIT = 30.0
#: Where the annotator is: at a photo, at the end of the category, or back at the choice of name and category.
AT_DESK, AT_END, AWAY = "desk", "end", "away"


@dataclass(eq=False)
class Visit:
    """A photo on the desk.

    Attributes:
        photo: its file.
        shown: as the page gets it.
        encoded: by the model; None where the model does not help.
        start: (H, W) bool that the drawing changes: the annotator's earlier mask, or the model's proposal.
        proposed: whether it is a proposal.
        started: when it was first shown in this sitting.
        active, wall: seconds of earlier looks at it in this sitting.
        since: when this look began, by a clock that only goes forward.
        prompts: what is drawn.
        undos: how often something was taken back.
        answer: the mask of `prompts`, once it is known.
    """

    photo: Path
    shown: Shown
    encoded: EncodedImage | None
    start: np.ndarray | None = None
    proposed: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    active: float = 0.0
    wall: float = 0.0
    since: float = field(default_factory=time.monotonic)
    prompts: CanvasPrompts = field(default_factory=lambda: CanvasPrompts((1, 1)))
    undos: int = 0
    answer: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool as far as it is known: the drawing's, or what it begins with."""
        return self.start if self.answer is None else self.answer

    @property
    def changed(self) -> bool:
        """Whether there is something to save: a drawing, a proposal, or an earlier mask that was thrown away."""
        return self.proposed or self.start is None or not self.prompts.is_empty

    @property
    def made(self) -> str:
        """How its mask comes about, one of `persam.study.times.MADE`."""
        if self.proposed:
            return CORRECTED
        if self.prompts.asks_model:
            return BOTH if self.prompts.strokes else PROMPTS
        return HAND


class Sitting:
    """Works through a category for one annotator.

    What is drawn on a photo that is left without saving is kept until one comes back to it, with its time.

    Args:
        workshop: shows photos and runs the model.
        work: whose photos, and where masks go.
        assistance: one of `persam.study.times.ASSISTANCE`, but for ``mixed``.

    Attributes:
        place: of the photo that is open, or was last, from 0.
        visit: the photo that is open, if there is one.
        where: one of `AT_DESK`, `AT_END`, `AWAY`.
        reviewing: whether one goes through what is done already.
        unreadable: photos that could not be read, since the annotator sat down.
        turn: a page's events may come at once. Whoever does something and then shows what comes next holds this lock
            over both; otherwise another's photo could come in between.
    """

    def __init__(self, workshop: Workshop, work: Annotation, assistance: str) -> None:
        self.workshop, self.work, self.assistance = workshop, work, assistance
        self.place = 0
        self.visit: Visit | None = None
        self.where = AWAY
        self.reviewing = False
        self.unreadable: set[Path] = set()
        self.turn = threading.RLock()
        self._left: dict[Path, Visit] = {}
        self._ahead: tuple[Path, Future[EncodedImage]] | None = None
        self._concept: tuple[int, Concept] | None = None  # by when the mask that it is of was written

    @property
    def count(self) -> int:
        """How many photos there are."""
        return len(self.work.photos)

    def sit_down(self, work: Annotation) -> int | None:
        """Begin, or go on another time, with what was left as it was.

        Args:
            work: the same person's in the same category, as the study is now.

        Returns:
            The place of the first photo that is not done, or None.
        """
        with self.turn:
            self.work, self.reviewing = work, False
            self.unreadable.clear()
            return work.next_open()

    def open(self, place: int) -> Visit:
        """Put a photo on the desk; its time begins to run when this returns.

        Args:
            place: from 0, in this annotator's order.

        Raises:
            PersamError: the photo cannot be read, or the model is too busy.
        """
        with self.turn:
            self.place, self.visit, self.where = place, None, AT_DESK
            photo = self.work.photos[place]
            self.unreadable.add(photo)
            pixels = read_image(photo)
            self.unreadable.remove(photo)
            encoded = None if self.assistance == BY_HAND else self._encoded(photo, pixels)
            shown = self.workshop.show(pixels)
            visit = self._left.pop(photo, None)
            if visit is None:
                visit = Visit(photo, shown, encoded)
                self._begin(visit)
            else:
                visit.shown, visit.encoded = shown, encoded
                with suppress(PersamError):  # of what is drawn: it is said at the next gesture
                    self._mask(visit)
            visit.prompts = replace(visit.prompts, photo=shown.url, number=0)
            visit.since = time.monotonic()
            self.visit = visit
            self._look_ahead()
            return visit

    def next_place(self) -> int | None:
        """The place of the photo that comes after a save: one that is not done and can be read; None at the end."""
        following = self.work.next_open(self.place, without=self.unreadable)
        if following is None and self.reviewing and self.place + 1 < self.count:
            return self.place + 1
        return following

    def draw(self, value: Any) -> tuple[CanvasPrompts, np.ndarray | None, str]:
        """Answer a gesture on the canvas.

        Args:
            value: of the canvas.

        Returns:
            What is drawn, (H, W) bool of the mask or None, and a sentence for the annotator or "".

        Raises:
            PersamError: it is of a photo that is no longer on the desk.
        """
        with self.turn:
            visit = self._visit_of(value)
            prompts = CanvasPrompts.of(value, visit.shown)
            if _marks(prompts) < _marks(visit.prompts):
                visit.undos += 1
            visit.prompts, visit.answer = prompts, None
            if self.assistance == BY_HAND and prompts.asks_model:
                return prompts, self._mask(visit), "Without the model's help only the brush and the eraser count."
            try:
                return prompts, self._mask(visit), ""
            except PersamError as error:
                return prompts, visit.start, str(error)

    def start_over(self, value: Any) -> Visit:
        """Throw away what is drawn, and the mask that it began with; time goes on.

        Args:
            value: of the canvas.

        Raises:
            PersamError: it is of a photo that is no longer on the desk.
        """
        with self.turn:
            visit = self._visit_of(value)
            visit.undos += not visit.prompts.is_empty
            visit.start, visit.proposed, visit.answer = None, False, None
            visit.prompts = CanvasPrompts(visit.prompts.size, photo=visit.shown.url)
            return visit

    def leave(self, value: Any, active: float | None) -> None:
        """Put the photo aside as it is; where none could be opened, nothing is to be done.

        Args:
            value: of the canvas.
            active: seconds of this look at it that count; None if the page does not know.

        Raises:
            PersamError: it is of a photo that is no longer on the desk.
        """
        with self.turn:
            if self.visit is None and not _photo_of(value):
                return
            visit = self._visit_of(value)
            visit.prompts = CanvasPrompts.of(value, visit.shown)
            _spend(visit, active)
            visit.encoded = visit.answer = None  # made again when it comes back
            self._left[visit.photo] = visit
            self.visit = None

    def stand_up(self, value: Any, active: float | None) -> None:
        """Go away for a while; takes and raises what `leave` does."""
        with self.turn:
            self.leave(value, active)
            self._away(AWAY)

    def end(self) -> None:
        """Nothing is left to do in this category."""
        with self.turn:
            self.visit = None
            self._away(AT_END)

    def save(self, value: Any, active: float | None) -> bool:
        """Save the mask that is drawn.

        Args:
            value: of the canvas.
            active: as for `leave`.

        Returns:
            Whether there was something to save: not where an earlier mask was looked at only.

        Raises:
            UsageError: nothing or everything is marked.
            PersamError: it is of a photo that is no longer on the desk, or it cannot be written.
        """
        with self.turn:
            visit = self._visit_of(value)
            prompts = CanvasPrompts.of(value, visit.shown)
            if prompts != visit.prompts:  # the last gesture is still on its way
                visit.prompts, visit.answer = prompts, None
            if not visit.changed:
                return False
            mask = visit.answer if visit.answer is not None else self._mask(visit)
            empty = np.zeros((visit.shown.height, visit.shown.width), bool)
            mask = empty if mask is None else mask
            self.work.save(visit.photo, mask, self._time(visit, active), anew=visit.start is None)
            self.visit = None
            return True

    def save_nothing(self, value: Any, active: float | None) -> None:
        """Record that the photo does not show the object; takes and raises what `save` does."""
        with self.turn:
            visit = self._visit_of(value)
            self.work.save_nothing(visit.photo, self._time(visit, active))
            self.visit = None

    def unsaved(self) -> list[str]:
        """The names of photos on which something is drawn that was not saved."""
        with self.turn:
            visits = [*self._left.values(), *([] if self.visit is None else [self.visit])]
            return sorted(visit.photo.name for visit in visits if not visit.prompts.is_empty)

    def unsaved_elsewhere(self) -> bool:
        """Whether something is drawn and not saved on a photo that is not open."""
        with self.turn:
            return any(not visit.prompts.is_empty for visit in self._left.values())

    # ---------------------------------------------------------------------------------------------------- inside

    def _visit_of(self, value: Any) -> Visit:
        """The open visit, if the canvas shows its photo: a key that is pressed twice is meant once."""
        visit = self.visit
        if visit is None or _photo_of(value) != visit.shown.url:
            raise StaleError("That was of another photo; this one is open now.")
        return visit

    def _begin(self, visit: Visit) -> None:
        """What a photo that is new on the desk begins with: one's own mask, or a proposal, or nothing."""
        visit.prompts = CanvasPrompts((visit.shown.height, visit.shown.width))
        own = self.work.mask_file(visit.photo)
        if own.is_file():
            try:
                visit.start = read_mask(own, visit.prompts.size)
            except PersamError:
                return  # it is not usable: begin again
        elif self.assistance == PROPOSAL:
            visit.start = self._proposal(visit)
            visit.proposed = visit.start is not None

    def _proposal(self, visit: Visit) -> np.ndarray | None:
        """What the model finds, shown the annotator's own mask of the reference photo; None without one, or a find."""
        reference = self.work.reference
        mask = self.work.mask_file(reference)
        if visit.photo == reference or not mask.is_file() or visit.encoded is None:
            return None
        written, encoded = mask.stat().st_mtime_ns, visit.encoded
        if self._concept is None or self._concept[0] != written:
            name = self.work.category.name
            learned = self.workshop.ask(lambda model: model.learn(reference, mask, name=name))
            self._concept = written, learned
        concept = self._concept[1]
        found = self.workshop.ask(lambda model: model.segment(encoded, concept))
        return found.assumed_mask if found.assumed_mask.any() and not found.assumed_mask.all() else None

    def _mask(self, visit: Visit) -> np.ndarray | None:
        """The mask of a drawing, kept until the next gesture."""
        prompts = visit.prompts
        if visit.encoded is None:
            visit.answer = prompts.painted(visit.start) if prompts.strokes else visit.start
        else:
            visit.answer = mask_of(self.workshop.engine, visit.encoded, prompts, visit.start)
        return visit.answer

    def _time(self, visit: Visit, active: float | None) -> MaskTime:
        """What is recorded of a mask, as if it were saved now."""
        spent = replace(visit)
        _spend(spent, active)
        prompts = visit.prompts
        labels = [label for *_, label in prompts.points] if visit.encoded is not None else []
        return MaskTime(
            self.work.annotator,
            self.work.category.name,
            visit.photo.stem,
            place=self.place + 1,
            assistance=self.assistance,
            made=visit.made if visit.encoded is not None else HAND,
            active_seconds=round(spent.active, 2),
            first_active_seconds=round(spent.active, 2),
            wall_seconds=round(spent.wall, 2),
            positive_points=labels.count(1),
            negative_points=labels.count(0),
            boxes=int(prompts.box is not None and visit.encoded is not None),
            strokes=len(prompts.strokes),
            undos=visit.undos,
            started_utc=visit.started,
            ended_utc=datetime.now(UTC),
            saves=1,
            idle_limit_seconds=IDLE_LIMIT,
            persam_version=__version__,
        )

    def _encoded(self, photo: Path, pixels: np.ndarray) -> EncodedImage:
        """The photo's encoding, which may have been made already while the one before it was looked at."""
        if self._ahead is not None and self._ahead[0] == photo:
            (_, work), self._ahead = self._ahead, None
            return work.result()
        self._drop_ahead()
        return self.workshop.encode(pixels)

    def _drop_ahead(self) -> None:
        """Another photo is wanted than the one that was to come: others need the model."""
        if self._ahead is not None:
            self._ahead[1].cancel()
        self._ahead = None

    def _away(self, where: str) -> None:
        self.where = where
        self._drop_ahead()

    def _look_ahead(self) -> None:
        """Encode the next photo while this one is looked at, so that nobody's time is spent on waiting."""
        place = self.work.next_open(self.place, without=self.unreadable)
        if self.assistance == BY_HAND or place is None or place == self.place:
            return
        photo = self.work.photos[place]
        work = self.workshop.engine.call(lambda model: model.encode(photo), patient=True)
        self._ahead = photo, work


class StaleError(PersamError):
    """An event of a photo that is no longer open: the page should show what is."""


def _photo_of(value: Any) -> Any:
    """Where the photo is from that a canvas shows; "" or None if it shows none."""
    return value.get("photo") if isinstance(value, dict) else None


def _marks(prompts: CanvasPrompts) -> int:
    return len(prompts.points) + (prompts.box is not None) + len(prompts.strokes)


def _spend(visit: Visit, active: float | None) -> None:
    """Add this look at a photo to its time. A page cannot have been looked at for longer than it was open."""
    wall = time.monotonic() - visit.since
    visit.wall += wall
    visit.active += wall if active is None else min(max(active, 0.0), wall)
