"""`persam video`: a clip and masks of some of its frames, or concepts, in; labels of every frame and a video out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.cli.console import heard_warnings, print_json, say
from persam.cli.options import CONCEPT_SUFFIX, Backend, Device, Dtype, Fitted, Json, load_model, model_of
from persam.cli.photos import ConceptsEncoder, ConceptsModel, concepts_in
from persam.cli.progress import progress_bar
from persam.cli.video_masks import masks_of
from persam.errors import UsageError, printable
from persam.words import counted

if TYPE_CHECKING:
    from persam.concept import Concept


def video(
    items: Annotated[
        list[str],
        typer.Argument(
            metavar="CLIP [CONCEPT.safetensors...]",
            help="A video file, a folder of frames, a stream's URL or a camera's number; and concept files.",
            show_default=False,
        ),
    ],
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "--mask",
            metavar="[FRAME=]FILE",
            help="Mask of the first frame; several labels are several objects. Repeat it with FRAME=, a frame's number "
            "from 0 or its file's name, for masks of other frames.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path("tracked"),
    name: Annotated[list[str] | None, typer.Option("--name", help="Names of the objects, one --name each.")] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write overlay.mp4, with the clip's sound.")] = False,
    masks: Annotated[
        bool, typer.Option("--masks", help="Also write masks.mp4: white on black, several objects in colours.")
    ] = False,
    cutout: Annotated[
        bool, typer.Option("--cutout", help="Also write cutout.webm: the objects alone, transparent beside them.")
    ] = False,
    cutout_as: Annotated[
        str | None, typer.Option(help="webm, or mov (ProRes 4444, for video editors); also asks for the cut-out.")
    ] = None,
    coco: Annotated[bool, typer.Option("--coco", help="Also write coco.json.")] = False,
    tune: Annotated[bool, typer.Option("--tune", help="Also fit the scale weights on the masks.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score from which on an object counts as present; default: 0.5."),
    ] = None,
    track_points: Annotated[
        str | None,
        typer.Option("--track-points", help="Carry points of the objects along: lk or cotracker; default: none."),
    ] = None,
    mode: Annotated[str | None, typer.Option(help="persam, official or paper; default: persam.")] = None,
    propagator: Annotated[
        str | None,
        typer.Option(
            help="SAM 2, EdgeTAM or SAM 3 for videos, whose memory carries the objects: a hub id or a folder. Mode "
            "persam alone."
        ),
    ] = None,
    model: ConceptsModel = None,
    encoder: ConceptsEncoder = None,
    fitted: Fitted = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")] = False,
    json: Json = False,
) -> None:
    """Follow objects through a clip. Labels, results.jsonl and a timeline are always written.

    Stopped or killed, it goes on where it was when the same command is given again.

    With --track-points cotracker it begins anew; a camera needs --overwrite.

    [bold]Examples[/bold]

    persam video clip.mp4 --mask first.png -o tracked --overlay

    persam video clip.mp4 mug.safetensors cat.safetensors --overlay --cutout

    persam video clip.mp4 --mask first.png --mask 12=corrected.png -o mended

    persam video clip.mp4 mug.safetensors --propagator facebook/sam2.1-hiera-tiny
    """
    from persam.video.carry import propagator_for
    from persam.video.clips import open_clip
    from persam.video.folder import track_into
    from persam.video.layout import Outputs

    clip_name, concepts = _clip_and_concepts(items, mask, mode, fitted)
    is_camera = clip_name.isdecimal() and not Path(clip_name).exists()  # folders of frames have numbers for names, too
    clip = open_clip(int(clip_name) if is_camera else clip_name)
    start = concepts or masks_of(mask or [], clip)
    outputs = Outputs(
        output,
        overlay=overlay,
        masks=masks,
        cutout=cutout or cutout_as is not None,
        cutout_as=cutout_as or "webm",
        coco=coco,
        overwrite=overwrite,
    )
    if concepts:
        named, other = model_of(concepts[0], model, encoder)
        loaded = load_model(
            named, device=device, dtype=dtype, backend=backend, encoder=other, settings=concepts[0].settings
        )
    else:
        loaded = load_model(
            model or "tiny",
            device=device,
            dtype=dtype,
            backend=backend,
            encoder=encoder,
            fitted=fitted,
            mode=mode or "persam",
        )
    carrier = None if propagator is None else propagator_for(loaded, propagator, dtype)
    started = time.perf_counter()
    with heard_warnings() as warned, progress_bar("Frames", clip.count) as advance:

        def goes_on(done: int) -> None:
            say(f"It goes on after {counted(done, 'frame')}.")
            advance(before=done)

        report = track_into(
            loaded,
            clip,
            start,
            outputs,
            names=name or None,
            tune=tune,
            threshold=threshold,
            propagator=carrier,
            points=track_points,
            on_look=lambda _: advance(),
            on_earlier=goes_on,
            on_drawn=lambda number: advance(done=number),
        )
    seconds = time.perf_counter() - started
    if json:
        print_json(
            {
                "output": str(output),
                "frames": report.frames,
                "done_before": report.done_before,
                "seconds": round(seconds, 2),
                "present": report.present,
                "least_sure": {one: {"frame": at, "score": score} for one, (at, score) in report.least_sure.items()},
                "files": report.files,
                "warnings": warned,
            }
        )
        return
    for one, count in report.present.items():
        number, score = report.least_sure.get(one, (0, 1.0))
        least = f" Least sure in frame {number} ({score:.2f})." if score < 1 else ""
        say(f"{one}: in {count} of {report.frames} frames.{least}")
    if report.done_before == report.frames:
        before = ", done already"
    else:
        before = f", {report.done_before} of them done before" if report.done_before else ""
    say(f"{counted(report.frames, 'frame')}{before}; {seconds:.1f} s; all of it in {output}/")


def _clip_and_concepts(
    items: list[str], mask: list[str] | None, mode: str | None, fitted: Path | None
) -> tuple[str, list[Concept]]:
    """The clip and the concepts among what was named.

    Raises:
        UsageError: there is not one clip, or nothing to start with, or too much.
    """
    clips = [item for item in items if not item.lower().endswith(CONCEPT_SUFFIX)]
    if len(clips) != 1:
        from persam.labels import listed
        from persam.places import without_secrets

        given = f"{len(clips)} ({listed([printable(without_secrets(each)) for each in clips])})" if clips else "none"
        raise UsageError(f"Name one clip, not {given}; concepts are files that end in {CONCEPT_SUFFIX}.")
    named: Any = len(items) > 1
    if named and mask:
        raise UsageError("Start from --mask or from concepts, not from both.")
    if named and mode is not None:
        raise UsageError("Concepts have the mode that they were learned with; leave --mode out.")
    if named and fitted is not None:
        raise UsageError("Concepts have the numbers that they were learned with; leave --fitted out.")
    if not named and not mask:
        raise UsageError("Say what to follow: --mask with a mask of the first frame, or concept files.")
    return clips[0], concepts_in(items)[0] if named else []
