"""The work of an album job: an album of its own, filled with what was sent. It goes on where it was by its index."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from persam.album import Album
from persam.journal import json_line
from persam.persam import PerSAM
from persam.segmentation import Segmentation
from persam.server.answers import result_of
from persam.server.jobs.folder import JobFolder
from persam.server.jobs.job import Job
from persam.server.jobs.progress import JobProgress
from persam.server.schemas import PhotoAnswer

if TYPE_CHECKING:
    from persam.album import AlbumReport
    from persam.places import Place


def work_album(job: Job, folder: JobFolder, model: PerSAM, progress: JobProgress) -> dict[str, Any]:
    """Do an album job, or go on with it.

    A photo that cannot be done has its sentence in the results, and the others go on.

    Args:
        job: which.
        folder: of it.
        model: in pieces, see `persam.server.jobs.pieces`.
        progress: is told of every photo, and may end the job.

    Returns:
        What was found: for each concept, how many photos have which verdict.

    Raises:
        PersamError: nothing can go on.
        JobStopped: it was ended; what was done is kept, and the album is in order.
    """
    options, photos = job.options, folder.photos()
    progress.begin(0, len(photos))
    with Album(folder.made) as album, _results(folder.finds) as results:

        def on_photo(photo: Place, problem: str | None) -> None:
            name = folder.name_of(str(photo))
            sentence = None if problem is None else folder.told(problem)
            if sentence is None:
                lines = [album.output.line(photo, concept) for concept in job.concepts]
                result = _result(name, [line for line in lines if line is not None], options["masks"])
            else:
                result = PhotoAnswer(photo=name, error=sentence)
            results.write(json_line({"number": progress.done + 1, **result.model_dump(mode="json")}))
            results.flush()
            progress.step(name, sentence)
            progress.check()

        try:
            report = album.fill(
                model,
                folder.concepts(job.concepts),
                photos,
                overlay=options["overlay"],
                cutout=options["cutout"],
                per_instance=options["per_instance"],
                max_instances=options["max_instances"],
                threshold=options["threshold"],
                on_photo=on_photo,
            )
        except KeyboardInterrupt as stop:
            if hasattr(stop, "report"):
                stop.counts = _counts(stop.report, progress)  # type: ignore[attr-defined]
            raise
        if options["format"]:
            album.export(options["format"], copy=True, on_format=lambda _: progress.check())
        return _counts(report, progress)


@contextmanager
def _results(path: Path) -> Iterator[BinaryIO]:
    """The job's own results, a line a photo in the order of the photos, which an album has by photo and concept.

    They are written anew when the job goes on: what was done then comes at once, and the same.
    """
    with path.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())  # a job that is done stays so, whatever happens


def _result(name: str, lines: Sequence[dict[str, Any]], masks: Any) -> PhotoAnswer:
    return result_of(name, [Segmentation.from_dict(line) for line in lines], masks)


def _counts(report: AlbumReport, progress: JobProgress) -> dict[str, Any]:
    verdicts = {name: dict(found) for name, found in sorted(report.verdicts.items())}
    return {"photos": progress.done, "problems": progress.problems, "verdicts": verdicts}
