"""What the parts of a running service share."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from persam.concept import Concept
from persam.errors import PersamError
from persam.server.changes import ConceptChanges
from persam.server.engine import Engine
from persam.server.jobs.runner import JobRunner
from persam.server.label_studio.bridge import Bridge
from persam.server.refusals import MalformedError, OtherModelError, TooLargeError
from persam.server.schemas import ConceptInfo
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
        label_studio: learns and predicts for projects of Label Studio.
        changes: of concepts, one after another.
        jobs: long work.
        stopping: no new requests are taken.
        ends: by the monotonic clock, when a stop has to be over.
        is_hurried: nothing is finished any more.
        requests: how many are being answered.
    """

    settings: ServerSettings
    engine: Engine
    concepts: ConceptStore
    uploads: UploadFolder
    telemetry: Telemetry
    label_studio: Bridge
    changes: ConceptChanges
    jobs: JobRunner
    stopping: bool = False
    ends: float = math.inf
    is_hurried: bool = False
    requests: int = 0
    _infos: dict[str, tuple[tuple[int, int], ConceptInfo]] = field(default_factory=dict)

    def stop(self, within: float, *, hurry: bool = False) -> None:
        """Take no new requests, and be over in so many seconds; what was said before is not put off.

        Args:
            within: seconds, for requests, jobs, learning and engine together.
            hurry: finish nothing.
        """
        self.stopping = True
        self.is_hurried |= hurry
        self.ends = min(self.ends, time.monotonic() + within)

    @property
    def left(self) -> float:
        """Seconds that a stop may still take."""
        return max(0.0, self.ends - time.monotonic())

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

    def fitting_concepts(self, names: Sequence[str]) -> list[Concept]:
        """Those that a request looks for.

        Raises:
            TooLargeError: they are more than a request may look for.
            MalformedError: one is named twice.
            NoConceptError, OtherModelError: as `fitting_concept`.
        """
        most = self.settings.limits.concepts_per_request
        if len(names) > most:
            raise TooLargeError(f"A request looks for {most} concepts at most.")
        if len(set(names)) < len(names):
            raise MalformedError("A concept is named twice; once is enough.")
        return [self.fitting_concept(name) for name in names]

    def check_questions(self, photos: int, concepts: int) -> None:
        """See that a request keeps the model from the others no longer than one may.

        Further objects in a photo are not counted: nobody knows how many there are. `Limits.request_seconds` ends it.

        Raises:
            TooLargeError: its photos are searched for too many concepts.
        """
        most = self.settings.limits.questions_per_request
        if photos * concepts > most:
            raise TooLargeError(
                f"{photos} photos times {concepts} concepts are more than the {most} questions of one request; send "
                "fewer photos at once, or have them searched by an album job (POST /v1/jobs)."
            )

    def check(self, concept: Concept) -> None:
        """See that a concept was made with the service's model.

        Raises:
            OtherModelError: with another.
        """
        try:
            self.engine.model.check(concept)
        except PersamError as error:
            raise OtherModelError(str(error)) from error

    def info(self, name: str) -> ConceptInfo:
        """What a concept is made of; its file is read when it changed.

        Raises:
            NoConceptError: there is none of that name.
            PersamError: its file is damaged.
        """
        stamp = self.concepts.stamp(name)
        if (known := self._infos.get(name)) is None or known[0] != stamp:
            concept = self.concepts.load(name)
            known = self._infos[name] = stamp, ConceptInfo.of(concept, fits=self.fits(concept))
        return known[1]

    def infos(self) -> list[ConceptInfo]:
        """All concepts, by name, but for damaged ones: that is said to who asks for one by its name."""
        found = []
        for name in (names := self.concepts.names()):
            with suppress(PersamError):
                found.append(self.info(name))
        for gone in set(self._infos) - set(names):
            self._infos.pop(gone, None)
        return found

    def changing(self, name: str) -> asyncio.Lock:
        """To be held while a concept is read, changed and written: of two changes none gets lost."""
        return self.changes.lock(name)
