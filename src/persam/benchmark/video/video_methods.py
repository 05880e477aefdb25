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


_LK: Mapping[str, Any] = {"points": "lk"}
_CARRIED = "with points carried along by Lucas-Kanade"

VIDEO_METHODS: dict[str, VideoMethod] = {
    each.name: each
    for each in (
        VideoMethod("persam", "followed from the first mask, mode persam"),
        VideoMethod("persam-f", "followed from the first mask, mode persam, tuned on that frame", tuned=True),
        VideoMethod("official", "followed from the first mask as the published scripts do", "official"),
        VideoMethod(
            "official-f", "followed from the first mask as the published scripts of PerSAM-F do", "official", tuned=True
        ),
        VideoMethod("persam-lk", f"followed from the first mask, mode persam, {_CARRIED}", options=_LK),
        VideoMethod(
            "persam-f-lk",
            f"followed from the first mask, mode persam, tuned on that frame, {_CARRIED}",
            tuned=True,
            options=_LK,
        ),
        VideoMethod("official-lk", f"followed from the first mask, mode official, {_CARRIED}", "official", options=_LK),
        VideoMethod(
            "official-f-lk",
            f"followed from the first mask, mode official, PerSAM-F, {_CARRIED}",
            "official",
            tuned=True,
            options=_LK,
        ),
        VideoMethod("persam-photo", "a concept is learned from a photo, and looked for in the clip", shown="photo"),
        VideoMethod(
            "persam-f-photo",
            "a concept is learned from a photo and tuned, and looked for in the clip",
            tuned=True,
            shown="photo",
        ),
        VideoMethod("frames-persam", "every frame by itself, mode persam", shown="photo", by_itself=True),
        VideoMethod(
            "frames-official",
            "every frame by itself as published, but that masks of what is held to be absent are dropped",
            "official",
            shown="photo",
            by_itself=True,
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
