"""The work of a video job: a clip followed into a folder. It goes on by the state that the folder keeps."""

from __future__ import annotations

from typing import Any

from persam.persam import PerSAM
from persam.server.jobs.folder import JobFolder
from persam.server.jobs.intake import reader_of
from persam.server.jobs.job import Job
from persam.server.jobs.progress import JobProgress
from persam.video.clips import Clip, VideoFile
from persam.video.folder import TrackReport, track_into
from persam.video.layout import Outputs


def clip_in(folder: JobFolder) -> Clip:
    """The clip that was sent, of which its first frame can be read.

    Raises:
        PersamError: it is damaged, or no video.
    """
    (file,) = folder.photos()
    clip = VideoFile(file, reader_of(file, file.name))
    frames = iter(clip)
    next(frames)
    frames.close()  # type: ignore[attr-defined]  # a generator, whose file is open
    return clip


def work_video(job: Job, folder: JobFolder, model: PerSAM, progress: JobProgress) -> dict[str, Any]:
    """Do a video job, or go on with it.

    Args:
        job: which.
        folder: of it.
        model: in pieces, see `persam.server.jobs.pieces`.
        progress: is told of every frame, and may end the job.

    Returns:
        What was found: in how many frames every concept is, and where it is least sure.

    Raises:
        PersamError: the clip cannot be read, or nothing can go on.
        JobStopped: it was ended; what was done is kept.
    """
    options, clip = job.options, clip_in(folder)
    progress.begin(0, clip.count)
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
        on_frame=lambda found: progress.step(f"frame {found.frame.number}"),
        on_earlier=lambda done: progress.begin(done, clip.count),
        threshold=options["threshold"],
        points=options["points"],
    )
    progress.total = report.frames  # what the file says of it may be wrong
    return _found(report)


def _found(report: TrackReport) -> dict[str, Any]:
    sure = {name: {"frame": frame, "score": score} for name, (frame, score) in sorted(report.least_sure.items())}
    return {"frames": report.frames, "present": dict(sorted(report.present.items())), "least_sure": sure}
