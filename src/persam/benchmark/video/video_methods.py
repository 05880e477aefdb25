"""Ways to find objects in every frame of a sequence, by name. A further one is a line of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from persam.errors import UsageError

Shown = Literal["mask", "photo"]


@dataclass(frozen=True)
class VideoMethod:
    """One way.

    Attributes:
        name: what to write after ``--method``.
        about: one line on it.
        mode: of PerSAM.
        tuned: PerSAM-F.
        shown: what it is shown of an object: the mask of the clip's first frame, or a photo, which makes a concept.
        by_itself: it looks at every frame by itself, as at photos, and follows nothing.
        options: further ones of `persam.video.track.track`.
    """

    name: str
    about: str
    mode: str = "persam"
    tuned: bool = False
    shown: Shown = "mask"
    by_itself: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


VIDEO_METHODS: dict[str, VideoMethod] = {
    each.name: each
    for each in (
        VideoMethod("persam", "followed from the first mask, mode persam"),
        VideoMethod("persam-f", "the same, tuned on the first frame", tuned=True),
        VideoMethod("official", "followed from the first mask as the published scripts do", "official"),
        VideoMethod("official-f", "the same, PerSAM-F", "official", tuned=True),
        VideoMethod("persam-lk", "as persam, with points carried along by Lucas-Kanade", options={"points": "lk"}),
        VideoMethod("persam-f-lk", "the same, tuned", tuned=True, options={"points": "lk"}),
        VideoMethod("official-lk", "as official, with carried points", "official", options={"points": "lk"}),
        VideoMethod("official-f-lk", "the same, PerSAM-F", "official", tuned=True, options={"points": "lk"}),
        VideoMethod("persam-photo", "a concept is learned from a photo and looked for", shown="photo"),
        VideoMethod("persam-f-photo", "the same, tuned", tuned=True, shown="photo"),
        VideoMethod("frames-persam", "every frame by itself, mode persam", shown="photo", by_itself=True),
        VideoMethod(
            "frames-official", "every frame by itself, as published", "official", shown="photo", by_itself=True
        ),
    )
}
#: What is measured if nobody says what, by what the clip starts from.
USUAL: dict[Shown, tuple[str, ...]] = {
    "mask": ("persam", "persam-f", "official", "official-f", "frames-persam", "frames-official"),
    "photo": ("persam-photo", "persam", "official", "frames-persam", "frames-official"),
}


def find_video_method(name: str) -> VideoMethod:
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in VIDEO_METHODS:
        raise UsageError(f'There is no method "{name}" that follows objects; use {", ".join(VIDEO_METHODS)}.')
    return VIDEO_METHODS[name]
