"""`persam bench DATASET --propagate`: objects followed through videos; and their labels scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.benchmark.video.video_methods import VIDEO_METHODS
from persam.cli.progress import progress_bar
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.benchmark.video.video_bench import VideoSetup
    from persam.benchmark.video.video_report import VideoReport

_FOLLOW = Annotated[
    bool,
    typer.Option(
        "--propagate",
        help="Follow the objects through every sequence. Then --method is of "
        f"{', '.join(VIDEO_METHODS)}; frames-... look at every frame by itself.",
    ),
]
_SCORE = Annotated[bool, typer.Option("--propagate", help="With the protocol of objects that are followed.")]
_FRAMES = Annotated[int | None, typer.Option(min=1, help="With --propagate: of every sequence these first ones alone.")]
_SEQUENCES = Annotated[str | None, typer.Option(help="With --propagate: a,b: these alone.")]
_START = Annotated[
    str | None,
    typer.Option(
        help="With --propagate: mask (default), or photo: the first frame shows concepts, a clip begins in the middle."
    ),
]
_OWN = ("frames", "sequences", "start")


def video_options(*, score: bool) -> list[Parameter]:
    """The options that commands of data sets of videos have beside others."""
    own = {
        "propagate": (_SCORE if score else _FOLLOW, False),
        "frames": (_FRAMES, None),
        "sequences": (_SEQUENCES, None),
        "start": (_START, None),
    }
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in own.items()
    ]


def wants_video(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of video out of those of a data set: their values, or None where nothing is to be followed.

    Raises:
        UsageError: one is given without --propagate.
    """
    follows = options.pop("propagate", False)
    own = {name: options.pop(name, None) for name in _OWN}
    strange = [name for name, value in own.items() if value is not None]
    if not follows and strange:
        raise UsageError(f"--{strange[0]} belongs to --propagate; add it, or leave --{strange[0]} out.")
    return own if follows else None


def setup_of(own: Mapping[str, Any], others: Mapping[str, Any], **shared: Any) -> VideoSetup:
    """What is measured.

    Args:
        own: from `wants_video`.
        others: options that have no meaning here, by their names; none may have been given.
        shared: more of the setup.

    Raises:
        UsageError: one was.
    """
    from persam.benchmark.video.video_bench import VideoSetup

    strange = [name for name, value in others.items() if value]
    if strange:
        instead = {"mode": "name the form with --method, such as official", "limit": "use --frames and --sequences"}
        raise UsageError(
            f"--{strange[0]} has no meaning with --propagate; leave it out"
            + (f", and {instead[strange[0]]}." if strange[0] in instead else ".")
        )
    named = [part.strip() for part in (own["sequences"] or "").split(",")]
    if own["sequences"] is not None and not all(named):
        raise UsageError(
            f"--sequences takes names with commas between them, such as bear,dog, not {own['sequences']!r}."
        )
    names = [name for name in named if name]
    return VideoSetup(frames=own["frames"], sequences=names, start=own["start"] or "mask", **shared)


def follow(
    data_set: str, data: Path, setup: VideoSetup, *, out: Path | None, fresh: bool, **options: Any
) -> VideoReport:
    """Run it, with a progress bar.

    Raises:
        KeyboardInterrupt: it was stopped; says what is kept.
    """
    from persam.benchmark.video.video_bench import bench_video

    with progress_bar("frames") as advance:
        try:
            return bench_video(data_set, data, setup, out=out, fresh=fresh, progress=_counting(advance), **options)
        except KeyboardInterrupt as stop:
            kept = f"The sequences that are done are kept in {out}; run the same command again to go on."
            nothing = "Nothing was kept; with --output a run that was stopped can go on."
            raise type(stop)(nothing if out is None else kept) from None


def score(data_set: str, data: Path, predictions: Path, setup: VideoSetup, **how: Any) -> VideoReport:
    """Score labels, with a progress bar."""
    from persam.benchmark.video.video_bench import score_video

    with progress_bar("masks") as advance:
        return score_video(data_set, data, predictions, setup, progress=_counting(advance), **how)


def _counting(advance: Callable[..., None]) -> Callable[[int, int], None]:
    return lambda done, total: advance(done=done, total=total)
