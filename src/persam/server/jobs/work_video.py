"""The work of a video job: a clip followed into a folder. It goes on by the state that the folder keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from persam.persam import PerSAM
from persam.server.jobs.folder import JobFolder
from persam.server.jobs.intake import reader_of
from persam.server.jobs.job import Job
from persam.server.jobs.progress import JobProgress
from persam.server.refusals import TooLargeError
from persam.server.settings import Limits
from persam.video import Clip, Outputs, TrackedFrame, TrackReport, VideoFile, pictures_of, track_into


def clip_in(folder: JobFolder, limits: Limits) -> Clip:
    """The clip that was sent, of which its first frame can be read.

    Raises:
        TooLargeError: it has more pixels or frames than a clip may have.
        PersamError: it is damaged, or no video.
    """
    (file,) = folder.photos()
    clip = VideoFile(file, reader_of(file, file.name))
    with clip.opened() as container:
        pictures = pictures_of(container)
        pixels = pictures.width * pictures.height
    if pixels > limits.photo_pixels:
        raise TooLargeError(
            f"The frames of {file.name} have {pixels / 1e6:,.1f} million pixels, more than the "
            f"{limits.photo_pixels / 1e6:,.1f} million that are taken here; make it smaller."
        )
    _check_frames(clip.count or 0, file.name, limits)
    frames = iter(clip)
    next(frames)
    frames.close()  # type: ignore[attr-defined]  # a generator, whose file is open
    return clip


def _check_frames(count: int, name: str, limits: Limits) -> None:
    if count > limits.clip_frames:
        raise TooLargeError(f"{name} has more than the {limits.clip_frames} frames that a clip may have; cut it.")


def work_video(job: Job, folder: JobFolder, model: PerSAM, progress: JobProgress, limits: Limits) -> dict[str, Any]:
    """Do a video job, or go on with it.

    Args:
        job: which.
        folder: of it.
        model: in pieces, see `persam.server.jobs.pieces`.
        progress: is told of every frame, and may end the job.
        limits: of the service.

    Returns:
        What was found: in how many frames every concept is, and where it is least sure.

    Raises:
        PersamError: the clip cannot be read, or nothing can go on.
        JobStopped: it was ended; what was done is kept.
    """
    options, clip = job.options, clip_in(folder, limits)
    progress.begin(0, clip.count)

    def on_frame(found: TrackedFrame) -> None:
        progress.step(f"frame {found.frame.number}")
        _check_frames(progress.done, Path(clip.source).name, limits)  # files say what they like of their length

    outputs = Outputs(
        folder.made,
        overlay=options["overlay"],
        masks=options["mask_video"],
        cutout=options["cutout"],
        cutout_as=options["cutout_as"],
        coco=options["coco"],
        # The folder is the job's alone: what cannot be gone on with, say after an update of persam, is begun anew.
        overwrite=True,
    )
    report = track_into(
        model,
        clip,
        folder.concepts(job.concepts),
        outputs,
        on_frame=on_frame,
        on_earlier=lambda done: progress.begin(done, clip.count),
        threshold=options["threshold"],
        points=options["points"],
    )
    progress.total = report.frames  # what the file says of it may be wrong
    return _found(report)


def _found(report: TrackReport) -> dict[str, Any]:
    sure = {name: {"frame": frame, "score": score} for name, (frame, score) in sorted(report.least_sure.items())}
    return {"frames": report.frames, "present": dict(sorted(report.present.items())), "least_sure": sure}
