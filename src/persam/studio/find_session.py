"""What one browser tab has open in the tab "Find". Two tabs share the model and the concepts, and nothing else."""

from __future__ import annotations

import secrets
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from persam.errors import UsageError
from persam.studio.clip_search import ClipSearch
from persam.studio.results import PhotoSearch, SearchResult

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.models.base import EncodedImage
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
        mask: as it is drawn now, likewise.
    """

    result: SearchResult
    shown: Shown
    encoded: EncodedImage
    start: np.ndarray | None
    mask: np.ndarray | None


@dataclass
class FindSession:
    """One browser tab.

    Attributes:
        search: in photos.
        clip: the clip that was followed last, or None.
        learned: the concepts that are looked for, by the names that their results have; corrections put better ones in
            their places.
        correction: what is being corrected, or None.
        most: objects of a concept that are looked for in a photo.
        detail: which view of the chosen result is open.
        running: held while something is searched.
    """

    search: PhotoSearch
    clip: ClipSearch | None = None
    learned: dict[str, Concept] = field(default_factory=dict)
    correction: OpenCorrection | None = None
    most: int = 1
    detail: Detail = "picture"
    running: threading.Lock = field(default_factory=threading.Lock)

    def stop(self) -> None:
        """End what is searched, at the next photo or frame."""
        self.search.stop.set()
        if self.clip is not None:
            self.clip.stop()


class FindSessions:
    """All browser tabs that are open.

    Args:
        folder: for what they keep on the disk, each in a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, FindSession] = {}

    def new(self) -> str:
        """Open one, and give its name, which nobody can guess."""
        name = secrets.token_hex(16)
        self._open[name] = FindSession(PhotoSearch(name, self.folder / name / "photos"))
        return name

    def get(self, name: str) -> FindSession:
        """One that is open.

        Raises:
            UsageError: it is not.
        """
        session = self._open.get(name)
        if session is None:
            raise UsageError("This page was left for too long, or the studio was started again; reload the page.")
        return session

    def search_of(self, name: str) -> PhotoSearch | None:
        """The search in photos of one that is open."""
        session = self._open.get(name)
        return None if session is None else session.search

    def clip_of(self, name: str) -> ClipSearch | None:
        """The clip of one that is open."""
        session = self._open.get(name)
        return None if session is None else session.clip

    def close(self, name: str) -> None:
        """Close one, and remove what it kept on the disk."""
        session = self._open.pop(name, None)
        if session is not None:
            session.stop()
            shutil.rmtree(self.folder / name, ignore_errors=True)
