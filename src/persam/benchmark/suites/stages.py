"""Where the time of one photo goes: encoder, location prior, first pass, refinements, mask; and learning and tuning."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np

from persam.benchmark.suites.speed import Spread, timed, wait
from persam.models.base import Decoded, EncodedImage, PromptableModel, Prompts
from persam.models.guidance import Guidance
from persam.persam import PerSAM

#: Stages of one photo, in order; together they are all of its time.
STAGES = ("encode", "location", "first pass", "refinements", "mask at photo size")


@dataclass(frozen=True)
class StageTimes:
    """Seconds of several rounds.

    Attributes:
        photo: by stage, one number a round: PerSAM on one photo.
        tuned_photo: the same of PerSAM-F.
        learn: of a reference, its encoding in it.
        tune: PerSAM-F's direct solver.
    """

    photo: dict[str, list[float]]
    tuned_photo: dict[str, list[float]]
    learn: list[float]
    tune: list[float]

    def rows(self) -> list[tuple[str, Spread, Spread | None]]:
        """(stage, PerSAM, PerSAM-F), the stages of a photo, their sum, then learning and tuning."""
        rows: list[tuple[str, Spread, Spread | None]] = [
            (stage, Spread.of(self.photo[stage]), Spread.of(self.tuned_photo[stage])) for stage in STAGES
        ]
        whole, tuned_whole = (_sums(list(times.values())) for times in (self.photo, self.tuned_photo))
        rows.append(("one photo", Spread.of(whole), Spread.of(tuned_whole)))
        rows.append(("learn a reference", Spread.of(self.learn), Spread.of(_sums([self.learn, self.tune]))))
        return [*rows, ("of that: tune", Spread.of(self.tune), None)]


def time_stages(
    persam: PerSAM,
    image: np.ndarray,
    mask: np.ndarray,
    rounds: int = 5,
    progress: Callable[[], object] = lambda: None,
) -> StageTimes:
    """Time every stage, the first round as a warm-up.

    Args:
        persam: model, encoder and settings.
        image: (H, W, 3) uint8 RGB: reference and photo in one.
        mask: (H, W) bool.
        rounds: that count.
        progress: called after every round, the warm-up too.
    """
    watched = _Watched(persam.model)
    persam = PerSAM(cast(PromptableModel, watched), encoder=persam.encoder, settings=persam.settings)
    times = StageTimes({stage: [] for stage in STAGES}, {stage: [] for stage in STAGES}, [], [])
    for number in range(rounds + 1):
        concept, learn = timed(lambda: persam.learn(image, mask), persam.model)
        tuned, tune = timed(partial(persam.tune, concept), persam.model)
        encoded, encode = timed(lambda: persam.encode(image), persam.model)
        for each, kept in ((concept, times.photo), (tuned, times.tuned_photo)):
            watched.passes.clear()
            begin = time.perf_counter()
            persam.segment(encoded, each)
            wait(persam.model)
            stages = (encode, *_split(begin, watched.passes, time.perf_counter()))
            if number:
                for stage, seconds in zip(STAGES, stages, strict=True):
                    kept[stage].append(seconds)
        if number:
            times.learn.append(learn)
            times.tune.append(tune)
        progress()
    return times


def _split(begin: float, passes: Sequence[tuple[float, float]], end: float) -> tuple[float, float, float, float]:
    """From the times at which the decoder started and stopped to: location, first pass, refinements, the rest."""
    first_start, first_stop = passes[0]
    last_stop = passes[-1][1]
    return first_start - begin, first_stop - first_start, last_stop - first_stop, end - last_stop


def _sums(lists: Sequence[Sequence[float]]) -> list[float]:
    return [sum(each) for each in zip(*lists, strict=True)]


class _Watched:
    """A model that notes when its decoder started and stopped; everything else is the model's own."""

    def __init__(self, model: PromptableModel) -> None:
        self._model = model
        self.passes: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        wait(self._model)
        start = time.perf_counter()
        decoded = self._model.decode(encoding, prompts, multimask=multimask, guidance=guidance)
        wait(self._model)
        self.passes.append((start, time.perf_counter()))
        return decoded
