"""What the parts of a running service share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from persam.concept import Concept
from persam.errors import PersamError
from persam.server.engine import Engine
from persam.server.refusals import OtherModelError
from persam.server.settings import ServerSettings
from persam.server.store import ConceptStore
from persam.server.telemetry import Telemetry
from persam.server.uploads import UploadFolder


@dataclass(eq=False)
class Service:
    """What the routes share, as ``request.app.state.service``.

    Attributes:
        settings: how it is set up.
        engine: runs the model.
        concepts: what was learned.
        uploads: where files lie while their request lasts.
        telemetry: what it tells of itself.
        jobs: long work, a `persam.server.jobs.runner.JobRunner`.
        stopping: no new requests are taken.
        requests: how many are being answered.
    """

    settings: ServerSettings
    engine: Engine
    concepts: ConceptStore
    uploads: UploadFolder
    telemetry: Telemetry
    jobs: Any = None
    stopping: bool = False
    requests: int = 0
    _changes: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @property
    def photos_at_once(self) -> int:
        """Photos that one request may ask about: never more than may wait."""
        return min(self.settings.limits.photos_per_request, self.settings.limits.waiting)

    def fits(self, concept: Concept) -> bool:
        """Whether a concept was made with the service's model."""
        try:
            self.engine.model.check(concept)
        except PersamError:
            return False
        return True

    def fitting_concept(self, name: str) -> Concept:
        """A concept that the service's model can look for.

        Raises:
            NoConceptError: there is none of that name.
            OtherModelError: it was made with another model.
        """
        concept = self.concepts.load(name)
        self.check(concept)
        return concept

    def check(self, concept: Concept) -> None:
        """See that a concept was made with the service's model.

        Raises:
            OtherModelError: with another.
        """
        try:
            self.engine.model.check(concept)
        except PersamError as error:
            raise OtherModelError(str(error)) from error

    def changing(self, name: str) -> asyncio.Lock:
        """To be held while a concept is read, changed and written: of two changes none gets lost."""
        return self._changes.setdefault(self.concepts.path(name).stem, asyncio.Lock())
