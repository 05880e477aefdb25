"""The engine's model as a job uses it: in pieces, so that requests are answered while an album or a clip is worked on.

Albums and clips are given a `PerSAM` and call it from their own thread; the engine's model may be run by the engine's
thread alone.  So a job gets a stand-in of which every verb is one piece on that thread: a photo encoded, a photo
searched, a clip followed by one more frame.  The job waits for each as any caller does, but patiently: requests come
first, as long as it gets every fourth turn.

Pieces could be cut finer, at the protocol of models (encode, decode).  A photo would then wait for its turn a dozen
times, once for each prompt, and under load a job would take as many times longer; a request would gain nothing, for
what takes long, encoding, is one piece in either case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from persam.concept import Concept
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.server.engine import Engine, StoppingError

if TYPE_CHECKING:
    from persam.video import ClipSource, Start, TrackedFrame

T = TypeVar("T")


class JobStopped(KeyboardInterrupt):
    """A job is to end here, as on Ctrl-C: albums and clips then keep what was done, and tidy up."""


class ModelInPieces(PerSAM):
    """A stand-in for an engine's model, for one job.

    Args:
        engine: whose model it is.
        check: called before every piece; raises `JobStopped` where the job is to end.
    """

    def __init__(self, engine: Engine, check: Callable[[], object] = lambda: None) -> None:
        one = engine.model
        super().__init__(one.model, encoder=one.encoder, settings=one.settings, fitted=one.fitted)
        self.finder = getattr(one, "finder", None)  # of one that also finds words: albums note its name
        vars(self).update(longest_side=one.longest_side)  # the engine knows it
        self._engine, self._check = engine, check

    def encode(self, *photo: Any, **options: Any) -> EncodedImage:
        """See `PerSAM.encode`."""
        return self._piece(lambda model: model.encode(*photo, **options))

    def learn(self, *reference: Any, **options: Any) -> Concept:
        """See `PerSAM.learn`."""
        return self._piece(lambda model: model.learn(*reference, **options))

    def mask_of(self, reference: Any) -> Any:
        """See `PerSAM.mask_of`."""
        return self._piece(lambda model: model.mask_of(reference))

    def tune(self, concept: Concept, **options: Any) -> Concept:
        """See `PerSAM.tune`."""
        return self._piece(lambda model: model.tune(concept, **options))

    def segment(self, *photo_and_concepts: Any, **options: Any) -> Any:
        """See `PerSAM.segment`."""
        return self._piece(lambda model: model.segment(*photo_and_concepts, **options))

    def segment_many(self, images: Any, concept: Any, *, batch: int | None = None, **options: Any) -> Iterator[Any]:
        """See `PerSAM.segment_many`; a photo is a piece, whatever `batch` says."""
        return (self.segment(image, concept, **options) for image in images)

    def track(self, clip: ClipSource, start: Start, **options: Any) -> Iterator[TrackedFrame]:
        """See `PerSAM.track`."""
        return self._followed(self._piece(lambda model: model.track(clip, start, **options)))

    def _followed(self, frames: Iterator[TrackedFrame]) -> Iterator[TrackedFrame]:
        try:
            while (found := self._piece(lambda _: next(frames, None))) is not None:
                yield found
        finally:
            frames.close()  # type: ignore[attr-defined]  # a generator, whose clip is open

    def _piece(self, work: Callable[[PerSAM], T]) -> T:
        self._check()
        context = copy_context()  # what is warned of in the piece is heard by the job
        try:
            return self._engine.call(lambda model: context.run(work, model), patient=True).result()
        except StoppingError as stopping:
            raise JobStopped from stopping
