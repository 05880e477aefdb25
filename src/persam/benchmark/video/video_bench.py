"""Conduct a benchmark of video: read sequences, follow their objects, report. See `persam bench davis --propagate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.conduct import Progress, claimed_report, counter, mode_note, title_of
from persam.benchmark.datasets.catalog import DATASETS
from persam.benchmark.episodes import Loaded, data_hash
from persam.benchmark.records import Query
from persam.benchmark.reporting.protocols import FOLLOWED, YOUTUBE_VOS, Protocol
from persam.benchmark.running.run_folder import PREDICTIONS
from persam.benchmark.score import Answers, score_folder
from persam.benchmark.suites.timing import machine
from persam.benchmark.video.finders import VideoFinder
from persam.benchmark.video.following import go_through
from persam.benchmark.video.sequences import VideoSequence, read_sequences
from persam.benchmark.video.video_folder import VideoFolder
from persam.benchmark.video.video_methods import USUAL, Shown, VideoMethod, find_video_method
from persam.benchmark.video.video_report import VIDEO_FILES, VideoReport
from persam.errors import UsageError
from persam.files import expanded, safe_name
from persam.reports.figures import check_plots
from persam.reports.provenance import versions, weights_hash


@dataclass(frozen=True)
class VideoSetup:
    """What is measured, and with what.

    Attributes:
        methods: names, see `persam.benchmark.video.video_methods.VIDEO_METHODS`; none for the usual ones of `start`.
        model: the promptable model, as `PerSAM.from_pretrained` takes it.
        encoder: another encoder for the confidence map, or None.
        fitted: file with numbers of both, as `PerSAM.from_pretrained` takes it; by default the packaged ones, if any.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        frames: the first ones of every sequence, or None for all.
        sequences: names; none for all.
        start: ``mask``: clips begin with their first frame and its mask. ``photo``: they begin in the middle, and the
            first frame is a photo from which concepts are learned.
    """

    methods: Sequence[str] = ()
    model: str = "tiny"
    encoder: str | None = None
    fitted: str | None = None
    device: str = "auto"
    frames: int | None = None
    sequences: Sequence[str] = ()
    start: Shown = "mask"

    def check(self) -> None:
        """See that what is named exists, before anything slow is done.

        Raises:
            UsageError: it does not.
        """
        if self.start not in USUAL:
            raise UsageError(f"A clip starts from {' or '.join(USUAL)}, not from {self.start}.")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"{self.frames} frames of a sequence leave nothing to measure; give 3 or more.")
        for name in self.methods:
            find_video_method(name)

    @property
    def chosen(self) -> list[VideoMethod]:
        """The methods, each once."""
        return [find_video_method(name) for name in dict.fromkeys(self.methods or USUAL[self.start])]


def bench_video(
    data_set: str,
    data: str | Path,
    setup: VideoSetup | None = None,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> VideoReport:
    """Follow objects through the sequences of a data set, and measure with its protocol.

    >>> from persam.benchmark import VideoSetup, bench_video
    >>> report = bench_video("davis", "~/data/DAVIS", VideoSetup(methods=["persam"]))  # doctest: +SKIP
    >>> report.figure("persam", "jf")                                                  # doctest: +SKIP
    0.681

    Args:
        data_set: ``davis`` or ``youtube-vos``.
        data: its folder, as unpacked.
        setup: what is measured.
        out: keep labels, records and the report in this folder; a run that was stopped goes on after the last sequence
            that was done.
        fresh: drop an earlier run in `out`.
        progress: called with the number of frames done and of all.
        options: of the data set, such as ``year=2017``.

    Raises:
        UsageError: an unknown data set, method, sequence or option; a folder that is laid out otherwise; an `out` with
            a run of other settings.
        PersamError: a model is not to be had, or `out` cannot be written.
    """
    from persam.models.fitted import fitted_in
    from persam.models.loading import choose_device, load_encoder, load_model

    setup = setup or VideoSetup()
    setup.check()
    choose_device(setup.device)
    methods = setup.chosen
    with claimed_report(out, VIDEO_FILES):
        if out is not None:
            check_plots()
        loaded, sequences = _read(data_set, data, setup, **options)
        model = load_model(setup.model, device=setup.device)
        encoder = None if setup.encoder is None else load_encoder(setup.encoder, device=setup.device)
        fitted = None if setup.fitted is None else fitted_in(setup.fitted, model, encoder)
        finders = [VideoFinder(method, model, encoder, fitted) for method in methods]
        settings = _settings(loaded, setup, finders)
        folder = None if out is None else VideoFolder(out, settings, fresh=fresh)
        total = sum(len(sequence.frames) for sequence in sequences)
        records, passages = go_through(sequences, finders, counter(progress, total), store=folder)
        works_with = model.name if encoder is None else f"{encoder.name} for matching, {model.name}"
        queries = [query for sequence in sequences for query in sequence.queries]
        report = VideoReport(
            title=_title(data_set, works_with, data, setup.start),
            data_set=data_set,
            protocol=followed_protocol(data_set),
            records=records,
            queries=queries,
            settings=settings | {"works with": works_with},
            notes=(*_notes(loaded), mode_note(settings["methods"]), *_told(methods)),
            prediction=_reader(None if folder is None else folder.folder / PREDICTIONS, queries),
            folder=None if folder is None else folder.folder,
            sequences=tuple(sequences),
            passages=tuple(passages),
            machine=machine(model.device),
        )
        if report.folder is not None:
            report.write(report.folder)
    return report


def score_video(
    data_set: str,
    data: str | Path,
    predictions: str | Path,
    setup: VideoSetup | None = None,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> VideoReport:
    """Score labels that any other tool made of the frames of sequences, with the protocol of `bench_video`.

    Args:
        data_set: as of `bench_video`.
        data: likewise.
        predictions: ``SEQUENCE/FRAME.png``, as DAVIS' tools have them, or ``SEQUENCE/labels/FRAME.png``, as `persam
            video` writes them into a folder for each; of one sequence the folder that it wrote will do.
        setup: frames, sequences and start of it count.
        name: what to call whoever made them; the folder's name by default.
        out: write the report to this folder.
        progress: called with the number of questions done and of all.
        options: as of `bench_video`.

    Raises:
        UsageError: as `bench_video`; or the folder is not there or has none of the labels.
        PersamError: a photo of the data set cannot be read, or `out` cannot be written.
    """
    setup = setup or VideoSetup()
    setup.check()
    with claimed_report(out, VIDEO_FILES):
        loaded, sequences = _read(data_set, data, setup, **options)
        scored = score_folder(loaded, predictions, name, "score, followed", progress)
        report = VideoReport(
            title=_title(data_set, scored["settings"]["predictions"], data, setup.start),
            data_set=data_set,
            protocol=followed_protocol(data_set),
            notes=_notes(loaded),
            **scored,
            folder=None if out is None else expanded(out),
            sequences=tuple(sequences),
        )
        if report.folder is not None:
            report.write(report.folder)
    return report


def followed_protocol(data_set: str) -> Protocol:
    """How a data set of videos is summed up when its objects are followed."""
    return FOLLOWED if DATASETS[data_set].measure == "j-and-f" else YOUTUBE_VOS


def _read(data_set: str, data: str | Path, setup: VideoSetup, **options: Any) -> tuple[Loaded, list[VideoSequence]]:
    return read_sequences(data_set, data, frames=setup.frames, names=setup.sequences, start=setup.start, **options)


def _title(data_set: str, works_with: str, data: str | Path, start: Shown) -> str:
    how = "followed" if start == "mask" else "followed from the middle on, after a photo"
    return f"{title_of(data_set, works_with, data)}: {how}"


def _settings(loaded: Loaded, setup: VideoSetup, finders: Sequence[VideoFinder]) -> dict[str, Any]:
    """All that the numbers depend on, JSON values."""
    model, encoder = finders[0].model, finders[0].encoder
    return {
        "data set": loaded.name,
        "question": "where is it in every frame?",
        **loaded.settings,
        "method": [finder.method.name for finder in finders],
        "model": setup.model,
        "encoder": setup.encoder,
        "device": model.device.type,
        "hash of the data": data_hash(loaded.episodes),
        "hash of the model": weights_hash(model),
        "hash of the encoder": weights_hash(encoder),
        "methods": {finder.method.name: finder.describe() for finder in finders},
        "versions": versions(),
    }


def _notes(loaded: Loaded) -> tuple[str, ...]:
    return tuple(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in (f"Data: {loaded.protocol}", *loaded.notes))


def _told(methods: Sequence[VideoMethod]) -> tuple[str, ...]:
    said = "; ".join(f"{method.name}: {method.about}" for method in methods)
    return (f"Methods: {said}.",)


def _reader(folder: Path | None, queries: Sequence[Query]) -> Callable[[str, str], np.ndarray | None]:
    """Gives the mask of (method, query) from the labels below a folder; None where none are kept."""
    by_name = {query.name: query for query in queries}
    answers: dict[str, Answers] = {}

    def read(method: str, query: str) -> np.ndarray | None:
        if folder is None:
            return None
        if method not in answers:
            answers[method] = Answers(folder / safe_name(method), queries)
        return answers[method].mask(by_name[query])

    return read
