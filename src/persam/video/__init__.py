"""Video: the object through a clip, from any of its frames or from a concept; read, track, write.

>>> from persam import PerSAM
>>> for found in PerSAM.from_pretrained().track("clip.mp4", "first.png"):   # doctest: +SKIP
...     print(found.frame.number, found.labels.max(), found.segmentations[0].present)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persam.lazy import lazy_names

if TYPE_CHECKING:
    from persam.models.propagator import Carried, Propagation, Propagator, load_propagator
    from persam.video.clips import Clip, ClipFrame, ClipSource, VideoFile, open_clip, pictures_of
    from persam.video.folder import TrackReport, track_into
    from persam.video.layout import Outputs
    from persam.video.official import Faults
    from persam.video.points import PointTracker
    from persam.video.start import Start
    from persam.video.track import TrackedFrame, TrackOptions
    from persam.video.writers import drawn, video_writer, write_labels

__all__ = [
    "Carried",
    "Clip",
    "ClipFrame",
    "ClipSource",
    "Faults",
    "Outputs",
    "PointTracker",
    "Propagation",
    "Propagator",
    "Start",
    "TrackOptions",
    "TrackReport",
    "TrackedFrame",
    "VideoFile",
    "drawn",
    "load_propagator",
    "open_clip",
    "pictures_of",
    "track_into",
    "video_writer",
    "write_labels",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "persam.models.propagator": "Carried Propagation Propagator load_propagator",
        "persam.video.clips": "Clip ClipFrame ClipSource VideoFile open_clip pictures_of",
        "persam.video.folder": "TrackReport track_into",
        "persam.video.layout": "Outputs",
        "persam.video.official": "Faults",
        "persam.video.points": "PointTracker",
        "persam.video.start": "Start",
        "persam.video.track": "TrackOptions TrackedFrame",
        "persam.video.writers": "drawn video_writer write_labels",
    },
)
