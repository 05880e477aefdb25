"""What PerSAM costs on this machine: time by stage, time and memory over plain SAM, beside the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, cast

import numpy as np

from persam.benchmark.suites.memory import JOBS, Memory, measure_memory
from persam.benchmark.suites.suite import Findings, headline
from persam.benchmark.suites.timing import (
    Spread,
    about_timing,
    drawn_scene,
    fresh,
    now,
    open_persam,
    plain_mask,
    rounds_of,
    timed,
)
from persam.concept import Concept
from persam.models.base import Decoded, EncodedImage, Guidance, PromptableModel, Prompts
from persam.persam import PerSAM
from persam.reports.tables import Table

SIDE = 1024  # of the drawn photo, pixels
MEMORY_ROUNDS = 2
REPEATS_AFTER_ENCODING = 3  # the part after the encoder is short, so it is timed more often

#: The paper's photos a second, and memory in MB.
PUBLISHED_FPS = {"SAM": 2.16, "PerSAM": 2.08, "PerSAM-F": 1.98}
PUBLISHED_MEMORY = {"SAM": 5731, "PerSAM": 5788, "PerSAM-F": 5832}
PUBLISHED_ON = "SAM ViT-H on one NVIDIA A100"

#: Stages of one photo, in order; together they are all of its time.
STAGES = ("encode", "location", "first pass", "refinements", "mask at photo size")


def steps_of(rounds: int, *, memory: bool) -> int:
    """How often `measure_efficiency` reports progress."""
    return 2 * (rounds + 1) + (MEMORY_ROUNDS * len(JOBS) if memory else 0)


def measure_efficiency(
    name: str, *, rounds: int = 5, memory: bool = True, progress: Callable[[], object] = lambda: None, **order: Any
) -> Findings:
    """Time by stage, time and memory over plain SAM, on a drawn photo of 1024 x 1024 pixels.

    Args:
        name: of the model.
        rounds: that count; one more warms up.
        memory: measure it, too; on a CPU every number needs a process that loads the model anew.
        progress: called after every round and every measured peak.
        order: what else `open_persam` takes; memory is measured without another encoder.

    Raises:
        PersamError: the model is not to be had, or the system does not tell a process's peak memory.
        UsageError: an unknown mode, device or dtype.
    """
    persam = open_persam(name, **order)
    about, title = _about(persam, SIDE, rounds)
    times = time_stages(persam, *drawn_scene(SIDE), rounds, progress)
    rows: list[Mapping[str, Any]] = [
        {"stage": stage, "persam": asdict(plain), "persam_f": None if tuned is None else asdict(tuned)}
        for stage, plain, tuned in times.rows()
    ]
    tables = [
        Table(
            f"Seconds by stage, median [quartiles]: {title}",
            ("stage", "PerSAM", "PerSAM-F"),
            tuple(
                (stage, plain.text(4), "–" if tuned is None else tuned.text(4)) for stage, plain, tuned in times.rows()
            ),
        )
    ]
    added = measure_overhead(persam, SIDE, rounds, progress)
    rows += added.rows
    tables += added.tables
    notes = [f"Machine: {about['machine']}, {about['dtype']}.", *added.notes]
    if memory:
        order = order | {"device": persam.model.device.type, "encoder": None}
        del persam  # the processes that measure memory on a CPU load it themselves
        peaks = measure_memory(name, side=SIDE, rounds=MEMORY_ROUNDS, progress=progress, **order)
        rows += [{"memory": job, "bytes": peaks.peaks[job], "added": peaks.added(job)} for job in JOBS]
        tables.append(_memory_sheet(peaks, title))
        notes.append(f"Memory: {peaks.how}, the model in it; every single number in metrics.json.")
    return Findings("efficiency", about | {"every_round": added.about["every_round"]}, rows, tables, notes)


def _about(persam: PerSAM, side: int, rounds: int) -> tuple[dict[str, Any], str]:
    """What the times were measured with and on, and the same as the end of a title."""
    about = about_timing(persam) | {"photo": side, "rounds": rounds}
    return about, f"{headline(about)}, one photo of {side} x {side}, {rounds} rounds"


def _memory_sheet(memory: Memory, title: str) -> Table:
    def cells(job: str) -> tuple[str, ...]:
        ours, paper = memory.peak(job) / 1e6, PUBLISHED_MEMORY[job]
        over = f"{memory.added(job) / 1e6:+.1f} MB ({memory.added(job) / memory.peak('SAM'):+.1%})"
        paper_over = f"{paper - PUBLISHED_MEMORY['SAM']:+d} MB ({paper / PUBLISHED_MEMORY['SAM'] - 1:+.1%})"
        return job, f"{ours:.1f} MB", over, f"{paper} MB", paper_over

    columns = ("", "peak", "over plain SAM", f"paper ({PUBLISHED_ON})", "over plain SAM")
    return Table(f"Memory at its peak: {title}", columns, tuple(cells(job) for job in JOBS))


# ---------------------------------------------------------------- time by stage


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
    for number in rounds_of(rounds, progress):
        concept, learn = timed(lambda: persam.learn(image, mask), persam.model)
        tuned, tune = timed(partial(persam.tune, concept), persam.model)
        encoded, encode = timed(lambda: persam.encode(image), persam.model)
        for each, kept in ((concept, times.photo), (tuned, times.tuned_photo)):
            watched.passes.clear()
            photo = fresh(encoded)
            begin = now(persam.model)
            persam.segment(photo, each)
            stages = (encode, *_split(begin, watched.passes, now(persam.model)))
            if number:
                for stage, seconds in zip(STAGES, stages, strict=True):
                    kept[stage].append(seconds)
        if number:
            times.learn.append(learn)
            times.tune.append(tune)
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
        start = now(self._model)
        decoded = self._model.decode(encoding, prompts, multimask=multimask, guidance=guidance)
        self.passes.append((start, now(self._model)))
        return decoded


# -------------------------------------------------------- time over plain SAM


@dataclass(frozen=True)
class Round:
    """Seconds of one round on one photo, its parts one right after the other.

    Attributes:
        plain_encode, plain_rest: plain SAM: encode; one decoder pass and the mask at the photo's size.
        persam_encode, persam_rest: PerSAM on a photo that it has not seen: encode; all that follows.
        tuned_rest: what follows in PerSAM-F.
    """

    plain_encode: float
    plain_rest: float
    persam_encode: float
    persam_rest: float
    tuned_rest: float

    @property
    def plain(self) -> float:
        """All of plain SAM."""
        return self.plain_encode + self.plain_rest

    @property
    def persam(self) -> float:
        """All of PerSAM."""
        return self.persam_encode + self.persam_rest


@dataclass(frozen=True)
class AddedTime:
    """What PerSAM adds to plain SAM on one photo.

    The encoder takes most of the time and is the same in both, so on a busy machine its noise can hide what is added.
    Therefore two figures: the whole of PerSAM against the whole of plain SAM, and the same with one time for the
    encoder in both, where only the parts after it differ.
    """

    rounds: tuple[Round, ...]

    @property
    def whole(self) -> Spread:
        """(PerSAM - plain) / plain of every round, each with its own encoding."""
        return Spread.of([r.persam / r.plain - 1 for r in self.rounds])

    @property
    def after_encoding(self) -> Spread:
        """(PerSAM after encoding - plain after encoding) / plain of every round."""
        return Spread.of([(r.persam_rest - r.plain_rest) / r.plain for r in self.rounds])

    @property
    def tuned_after_encoding(self) -> Spread:
        """The same of PerSAM-F."""
        return Spread.of([(r.tuned_rest - r.plain_rest) / r.plain for r in self.rounds])

    def seconds(self, part: str) -> float:
        """Median of a part of `Round`."""
        return median(getattr(each, part) for each in self.rounds)


def added_time(
    persam: PerSAM,
    concept: Concept,
    image: np.ndarray,
    rounds: int = 5,
    progress: Callable[[], object] | None = None,
    plain_job: Callable[[PromptableModel, EncodedImage], object] = plain_mask,
) -> AddedTime:
    """Time plain SAM, PerSAM and PerSAM-F on one photo, in turns, so that a busy machine slows all of them.

    Who comes first changes from round to round; the first round warms up and does not count.

    Args:
        persam: model and settings.
        concept: fresh from `PerSAM.learn`.
        image: (H, W, 3) uint8 RGB.
        rounds: that count.
        progress: called after every round, the warm-up too.
        plain_job: what plain SAM does with an encoded photo.
    """
    model, tuned = persam.model, persam.tune(concept)

    def plain() -> tuple[float, float]:
        encoding, seconds = timed(lambda: model.encode(image), model)
        return seconds, _shortest(lambda photo: plain_job(model, photo), encoding, model)

    def personal() -> tuple[float, float, float]:
        encoded, seconds = timed(lambda: persam.encode(image), model)
        rest = _shortest(lambda photo: persam.segment(photo, concept), encoded, model)
        return seconds, rest, _shortest(lambda photo: persam.segment(photo, tuned), encoded, model)

    measured = []
    for number in rounds_of(rounds, progress):
        if number % 2:
            first, second = plain(), personal()
        else:
            second = personal()
            first = plain()
        if number:
            measured.append(Round(*first, *second))
    return AddedTime(tuple(measured))


def _shortest(job: Callable[[EncodedImage], Any], encoding: EncodedImage, model: PromptableModel) -> float:
    """Least of a few times that a job on an encoded photo takes: what the work takes when nothing else happens."""
    return min(timed(partial(job, fresh(encoding)), model)[1] for _ in range(REPEATS_AFTER_ENCODING))


def measure_overhead(
    persam: PerSAM, side: int = SIDE, rounds: int = 5, progress: Callable[[], object] | None = None
) -> Findings:
    """The table of what PerSAM adds, on a drawn photo of `side` pixels, beside what the paper's numbers say."""
    image, mask = drawn_scene(side)
    added = added_time(persam, persam.learn(image, mask), image, rounds, progress)
    parts = {
        "plain SAM: encode": "plain_encode",
        "plain SAM: all that follows": "plain_rest",
        "PerSAM: encode": "persam_encode",
        "PerSAM: all that follows": "persam_rest",
        "PerSAM-F: all that follows": "tuned_rest",
    }
    shares = {
        "PerSAM adds, encoder timed once for both": (added.after_encoding, "PerSAM"),
        "PerSAM adds, each with its own encoding": (added.whole, "PerSAM"),
        "PerSAM-F adds, encoder timed once for both": (added.tuned_after_encoding, "PerSAM-F"),
    }
    about, title = _about(persam, side, rounds)
    tables = [
        Table(
            f"Seconds: {title}",
            ("part", "median"),
            tuple((name, f"{added.seconds(part):.4f}") for name, part in parts.items()),
        ),
        Table(
            f"Share of plain SAM's time that is added: {title}",
            ("", "median of the rounds' ratios [quartiles]", f"paper ({PUBLISHED_ON})"),
            tuple((name, percent(spread), f"{published_share(form):+.1%}") for name, (spread, form) in shares.items()),
        ),
    ]
    rows = [
        *({"part": name, "seconds": added.seconds(part)} for name, part in parts.items()),
        *(
            {"part": name, "share": asdict(spread), "published_share": published_share(form)}
            for name, (spread, form) in shares.items()
        ),
    ]
    every = [asdict(each) for each in added.rounds]
    said = (
        f"PerSAM adds {percent(added.after_encoding)} to plain SAM's {added.seconds('plain'):.3f} s a photo. The "
        "encoder does the same in both, so this leaves out how its time varies; the row with its own encoding holds "
        "that, too."
    )
    notes = [said]
    if persam.encoder is not None:
        notes.append(f"The time of {persam.encoder.name} counts only where each has its own encoding.")
    about |= {"added": added.after_encoding.median, "every_round": every}
    return Findings("overhead", about, rows, tables, notes)


def percent(spread: Spread) -> str:
    """``+3.1 % [+2.9, +3.4]``."""
    return f"{100 * spread.median:+.1f} % [{100 * spread.low:+.1f}, {100 * spread.high:+.1f}]"


def published_share(form: str) -> float:
    """What the paper's photos a second say of a form's time: that of plain SAM is 0."""
    return PUBLISHED_FPS["SAM"] / PUBLISHED_FPS[form] - 1
