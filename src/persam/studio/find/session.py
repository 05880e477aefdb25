"""What one browser tab has open in the tab "Find". Two tabs share the model and the concepts, and nothing else."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from persam.studio.browser_tabs import BrowserTabs
from persam.studio.canvas.prompts import CanvasPrompts, mask_of
from persam.studio.find.clip_search import ClipSearch
from persam.studio.find.results import Choice, PhotoSearch, SearchResult

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.models.base import EncodedImage
    from persam.server.engine import Engine
    from persam.studio.workshop import Shown

Detail = Literal["picture", "explain", "correct"]


@dataclass
class OpenCorrection:
    """A result whose mask is being corrected.

    Attributes:
        result: as it was when it was opened.
        shown: its photo, as the canvas has it.
        encoded: its photo for the model.
        start: the mask that is mended, (H, W) bool, or None.
        answer: a drawing and its mask, likewise; None before anything was drawn.
    """

    result: SearchResult
    shown: Shown
    encoded: EncodedImage
    start: np.ndarray | None
    answer: tuple[CanvasPrompts, np.ndarray | None] | None = None

    def prompts_of(self, value: Any) -> CanvasPrompts | None:
        """What is drawn, from the value of the canvas; None where that is of another photo.

        Raises:
            UsageError: it is no drawing.
        """
        prompts = CanvasPrompts.of(value, self.shown)
        return prompts if prompts.photo == self.shown.url else None

    def mask_of(self, engine: Engine, prompts: CanvasPrompts) -> np.ndarray | None:
        """The mask of a drawing, (H, W) bool or None; it is kept until the next one.

        Raises:
            PersamError: the model finds nothing there, or is too busy.
        """
        answer = self.answer
        if answer is None or answer[0] != prompts:
            answer = self.answer = prompts, mask_of(engine, self.encoded, prompts, self.start)
        return answer[1]


@dataclass
class FindSession:
    """One browser tab.

    Args:
        name: tells tabs apart; nobody can guess it.
        folder: for what is kept on the disk.

    Attributes:
        search: in photos; each one is another object.
        clip: the clip that was followed last, or None.
        learned: the concepts that are looked for, by the names that their results have; corrections put better ones in
            their places.
        correction: what is being corrected, or None.
        most: objects of a concept that are looked for in a photo.
        detail: which view of the chosen result is open.
        running: held while something is searched.
        prepared: `PhotoSearch.edition` of which a download is offered, or None.
        parcel: the kind of download that was chosen last, key of `persam.studio.find.downloads.PARCELS`.
    """

    name: str
    folder: Path
    search: PhotoSearch = field(init=False)
    clip: ClipSearch | None = None
    learned: dict[str, Concept] = field(default_factory=dict)
    correction: OpenCorrection | None = None
    most: int = 1
    detail: Detail = "picture"
    running: threading.Lock = field(default_factory=threading.Lock)
    prepared: tuple[str, int, Choice] | None = None
    parcel: str = ""
    _number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.search = PhotoSearch(f"{self.name}-0", self.folder / "0")

    def begin(self, photos: Sequence[tuple[Path, str]], concepts: Mapping[str, Concept], *, dropped: bool) -> None:
        """Forget what was found, and look for these concepts in these photos; see `PhotoSearch.begin`."""
        last = self.search
        self._number += 1
        choice = replace(last.choice, page=0, concepts=frozenset(), states=frozenset())
        search = PhotoSearch(f"{self.name}-{self._number}", self.folder / str(self._number), choice)
        search.begin(photos, concepts, dropped=dropped)
        self.search, self.learned, self.correction = search, dict(concepts), None
        shutil.rmtree(last.folder, ignore_errors=True)

    def stop(self) -> None:
        """End what is searched, at the next photo or frame."""
        self.search.stop.set()
        if self.clip is not None:
            self.clip.stop()

    def close(self) -> None:
        """End it, and remove what it kept on the disk."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class FindSessions(BrowserTabs[FindSession]):
    """All browser tabs that are open.

    Args:
        folder: for what they keep on the disk, each in a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(lambda name: FindSession(name, folder / name), FindSession.close)
        self.folder = folder

    def search_of(self, name: str) -> PhotoSearch | None:
        """The search in photos of this name, if it is the newest of a tab that is open."""
        session = self.if_open(name.partition("-")[0])
        return session.search if session is not None and session.search.name == name else None

    def clip_of(self, name: str) -> ClipSearch | None:
        """The clip of one that is open."""
        session = self.if_open(name)
        return None if session is None else session.clip
