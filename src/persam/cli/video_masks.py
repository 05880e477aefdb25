"""Masks of a clip's frames on the command line: ``FILE`` is the first frame's, ``FRAME=FILE`` that of any other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persam.errors import UsageError
from persam.files import expanded
from persam.places import is_remote

if TYPE_CHECKING:
    from persam.video.clips import Clip


def masks_of(texts: Sequence[str], clip: Clip) -> str | dict[int, str]:
    """Masks by the numbers of their frames, as they were typed; one of the first frame alone is itself.

    Raises:
        UsageError: no such frame, or several of a frame.
    """
    pairs = [_pair_of(text, clip) for text in texts]
    if len(pairs) == 1 and pairs[0][0] is None:
        return pairs[0][1]
    masks: dict[int, str] = {}
    for frame, file in pairs:
        number = _first_of(clip) if frame is None else frame
        if number in masks:
            raise UsageError(f"--mask gives two masks of frame {number}, {masks[number]} and {file}; leave one out.")
        masks[number] = file
    return masks


def _pair_of(text: str, clip: Clip) -> tuple[int | None, str]:
    """A frame's number, None if none was named, and its mask. Names of files may have ``=`` in them, so they decide."""
    places = [place for place, letter in enumerate(text) if letter == "="]
    if not places or _is_file(text):
        return None, text
    # The frame's own name may have one, too.
    place = next((place for place in places if _is_file(text[place + 1 :])), places[0])
    frame, file = text[:place], text[place + 1 :]
    if not file:
        raise UsageError(f"--mask {text} names no file; write --mask {text}mask.png, say.")
    return _number_of(frame, clip, text), file


def _first_of(clip: Clip) -> int:
    """The number of the first frame, as it is called by whoever names a mask alone: pictures may be damaged."""
    from persam.video.clips import FrameFolder

    if not isinstance(clip, FrameFolder):
        return 0
    with warnings.catch_warnings(action="ignore"):  # which are told when it is followed
        return next(iter(clip)).number


def _is_file(text: str) -> bool:
    return bool(text) and (is_remote(text) or expanded(text).exists())


def _number_of(frame: str, clip: Clip, text: str) -> int:
    """The number of a frame that is named by it, or by its file.

    Raises:
        UsageError: there is none, or it may be two.
    """
    from persam.video.clips import FrameFolder

    files = [Path(file.name) for file in clip.files] if isinstance(clip, FrameFolder) else []
    called = [place for place, file in enumerate(files) if file.name == frame]
    called = called or [place for place, file in enumerate(files) if file.stem == frame]
    if frame.isascii() and frame.isdecimal():
        number = int(frame)
        if frame == str(number):  # 00040 is a name, where there is one; 40 may be meant as one
            like = [place for place, file in enumerate(files) if file.stem.isdecimal() and int(file.stem) == number]
            called = sorted({*like, *[number] * (number < len(files))})
        called = called or [number]
    if not called:
        named = ", nor is it the name of one" if files else ""
        raise UsageError(
            f"--mask {text} is no file, and {frame or 'nothing'} is no number of a frame{named}; write --mask FILE, or "
            "--mask N=FILE with N counted from 0."
        )
    if len(called) > 1:
        meant = " or ".join(f"frame {place} ({files[place]})" for place in called)
        raise UsageError(f"--mask {text} may mean {meant}; name the frame's file, with its suffix.")
    return called[0]
