"""The ready questions of `persam bench`: modes, ablation, light, small things, presence, instances, costs, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.benchmark.suites.amounts import ALBUM_PHOTOS, CORRECTIONS, LOTS
from persam.cli.bench_options import (
    Data,
    DataSet,
    Dtype,
    Encoder,
    Fitted,
    Limit,
    Mode,
    Model,
    Output,
    Solver,
    TimedModel,
    options_of,
    with_options,
)
from persam.cli.console import out as console
from persam.cli.console import print_json, say
from persam.cli.options import Device, Json, load_model, quiet_libraries
from persam.cli.progress import progress_bar
from persam.errors import UsageError
from persam.lazy import library

if TYPE_CHECKING:
    from persam.benchmark.suites.suite import Findings

AlbumPhotos = Annotated[
    int, typer.Option(min=1, help="Of the object in its album, at most; as many of others beside them.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="That count; one more warms up.")]


def register(app: typer.Typer) -> None:
    """Add the commands of the suites to `persam bench`."""
    app.command("encoders")(encoders)
    for work, suites in (
        (_on_photos, (modes, ablation, robustness, light, portraits, small, presence, references)),
        (_on_photos, (instances, corrections, finds)),
        (_timed, (efficiency, tuning, overhead, speed, album)),
    ):
        shared = [each for each in options_of(work) if each.kind is each.KEYWORD_ONLY]
        for suite in suites:
            app.command(suite.__name__)(with_options(suite, shared))


def _on_photos(
    suite: str,
    measure: Callable[..., Any],
    reading: Mapping[str, Any] | None = None,
    *,
    data: Data,
    data_set: DataSet = None,
    model: Model = "tiny",
    encoder: Encoder = None,
    fitted: Fitted = None,
    solver: Solver = "direct",
    device: Device = "auto",
    limit: Limit = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Run a suite of one model; what stands after the star are the options that all of them have.

    `reading` are options of the data set.
    """
    from persam.benchmark.suites.suite import Trial, claimed_out, read_photos

    with claimed_out(output, suite):
        photos = read_photos(data, data_set, limit, **(reading or {}))
        persam = load_model(model, device=device, dtype="auto", encoder=encoder, fitted=fitted)
        numbers = None if fitted is None else persam.fitted
        with progress_bar("measuring", photos.count) as advance:
            found = measure(Trial(photos, persam.model, persam.encoder, solver, advance, numbers))
        show(found, output, json)


def modes(**shared: Any) -> None:
    """Compare official, paper and persam, PerSAM and PerSAM-F: accuracy, and how their masks differ step by step.

    Example: persam bench modes --data ~/data
    """
    from persam.benchmark.suites.modes import compare_modes

    _on_photos("modes", compare_modes, **shared)


def ablation(mode: Mode = "persam", **shared: Any) -> None:
    """Show what each technique is worth: the paper's build-up beside its numbers, and a mode with one set otherwise.

    Example: persam bench ablation --data ~/data --mode persam
    """
    from persam.benchmark.suites.ablation import ablate

    _on_photos("ablation", partial(ablate, mode=mode), **shared)


def robustness(
    mode: Mode = "persam",
    sizes: Annotated[
        str, typer.Option(help="Areas of the reference mask, as shares of the true one.")
    ] = "0.25,0.5,0.75,1.25,1.5,2",
    seed: Annotated[int, typer.Option(min=0, help="Of the places of scribbles and clicks.")] = 0,
    **shared: Any,
) -> None:
    """Find out how rough the reference may be: masks too small or too large; a box, a scribble or clicks instead.

    Example: persam bench robustness --data ~/data --output rough
    """
    from persam.benchmark.suites.robustness import read_sizes, roughen
    from persam.reports.figures import check_plots

    _check(shared["output"], "robustness")
    if shared["output"] is not None:
        check_plots()
    _on_photos("robustness", partial(roughen, mode=mode, sizes=read_sizes(sizes), seed=seed), **shared)


def light(mode: Mode = "persam", **shared: Any) -> None:
    """Find out whether the object is still found in other light: dark, overexposed, warm, cold, faded, grey.

    Example: persam bench light --data ~/data
    """
    from persam.benchmark.suites.light import relight

    _on_photos("light", partial(relight, mode=mode), **shared)


def portraits(mode: Mode = "persam", **shared: Any) -> None:
    """Find out whether the object is still found if it fills the photo that it was learned from.

    Example: persam bench portraits --data ~/data
    """
    from persam.benchmark.suites.portraits import show_portraits

    _on_photos("portraits", partial(show_portraits, mode=mode), **shared)


def small(
    mode: Mode = "persam",
    seed: Annotated[int, typer.Option(min=0, help="Of the scenes.")] = 0,
    **shared: Any,
) -> None:
    """Find out how well small things are found, by size, and what the closer look at them is worth and costs.

    Example: persam bench small --data ~/data
    """
    from persam.benchmark.suites.small import look_for_small

    _on_photos("small", partial(look_for_small, mode=mode, seed=seed), **shared)


def presence(mode: Mode = "persam", **shared: Any) -> None:
    """Is it there, and which photos have it, as album find ranks them? Every thing in the photos of all others.

    Example: persam bench presence --data ~/data --output there
    """
    from persam.benchmark.suites.presence import ask_presence
    from persam.reports.figures import check_plots

    _check(shared["output"], "presence")
    if shared["output"] is not None:
        check_plots()
    _on_photos("presence", partial(ask_presence, mode=mode), **shared)


def references(
    mode: Mode = "persam",
    most: Annotated[int, typer.Option("--references", min=1, help="Of every object, at most.")] = 4,
    tests: Annotated[int, typer.Option(min=1, help="Other photos that each is tried on, at most.")] = 3,
    damaged: Annotated[int, typer.Option(min=0, help="Of every object, references that are also damaged.")] = 1,
    odd_ones: Annotated[
        bool, typer.Option("--odd-ones", help="Also ask which of three references is the bad one.")
    ] = False,
    **shared: Any,
) -> None:
    """Is `persam check` right? Do references with a finding do worse, and does it see damage that was done?

    Example: persam bench references --data ~/data
    """
    from persam.benchmark.suites.references import check_checks

    measure = partial(check_checks, mode=mode, references=most, tests=tests, damaged=damaged, odd_ones=odd_ones)
    _on_photos("references", measure, **shared)


def instances(
    objects: Annotated[
        str | None, typer.Option(help="JSON with the kind of every mask id; default objects.json in the folder.")
    ] = None,
    names: Annotated[str, typer.Option(help="The list in it that names the ids: classes, or objects.")] = "classes",
    part: Annotated[str | None, typer.Option(help="Photos of this part alone, as the JSON has it.")] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="Repeat it for several; default: persam, paper and official.")
    ] = None,
    max_instances: Annotated[int, typer.Option(min=1, help="Objects that are looked for in a photo.")] = 10,
    without: Annotated[int, typer.Option(min=0, help="Photos without it to ask every kind in, at most.")] = 2,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Score from which on an object is found.")] = 0.5,
    same_photo: Annotated[
        bool, typer.Option("--same-photo", help="Learn from the largest object of each photo, find all of it there.")
    ] = False,
    **shared: Any,
) -> None:
    """Several objects of one kind: are all found and counted? F1, PQ and AP by the number that is there.

    --data is laid out as for persam bench things: photos, and masks with an id for every object.

    Example: persam bench instances --data my_things --objects names.json
    """
    from persam.benchmark.suites.instances import count_instances

    shared["data_set"] = shared["data_set"] or "things"
    modes = mode or ("persam", "paper", "official")
    how: dict[str, Any] = {"most": max_instances, "without": without, "threshold": threshold, "same_photo": same_photo}
    measure = partial(count_instances, modes=modes, **how)
    _on_photos("instances", measure, {"objects": objects, "names": names, "part": part}, **shared)


def corrections(
    mode: Mode = "persam",
    most: Annotated[int, typer.Option("--corrections", min=1, help="In every album.")] = CORRECTIONS,
    photos: AlbumPhotos = ALBUM_PHOTOS,
    seeds: Annotated[int, typer.Option(min=1, help="Random orders, of which the mean counts.")] = LOTS,
    **shared: Any,
) -> None:
    """Which photo of an album should one correct next? Every order is followed, correction by correction.

    Example: persam bench corrections --data ~/data --output orders
    """
    from persam.benchmark.suites.corrections import order_corrections
    from persam.reports.figures import check_plots

    _check(shared["output"], "corrections")
    if shared["output"] is not None:
        check_plots()
    how: dict[str, Any] = {"mode": mode, "corrections": most, "photos": photos, "seeds": seeds}
    _on_photos("corrections", partial(order_corrections, **how), **shared)


def finds(mode: Mode = "persam", photos: AlbumPhotos = ALBUM_PHOTOS, **shared: Any) -> None:
    """Does an album get better if its own finds become further shots, without anybody looking at them?

    Example: persam bench finds --data ~/data
    """
    from persam.benchmark.suites.finds import learn_from_finds

    _on_photos("finds", partial(learn_from_finds, mode=mode, photos=photos), **shared)


def encoders(
    data: Data,
    data_set: DataSet = None,
    model: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="Repeat it for several: tiny, a hub id, a folder, a .pth."),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Repeat it for several, beside each model's own features.")
    ] = None,
    mode: Mode = "persam",
    method: Annotated[str, typer.Option(help="persam or persam-f.")] = "persam",
    device: Device = "auto",
    dtype: Dtype = "auto",
    limit: Limit = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Compare models and encoders: accuracy and seconds of every pair. What is not to be had is left out, and named.

    Example: persam bench encoders --data ~/data --model tiny --model facebook/sam-vit-base
    --encoder facebook/dinov2-small
    """
    from persam.benchmark.suites.encoders import compare_encoders, is_tuned
    from persam.benchmark.suites.suite import claimed_out, read_photos
    from persam.method.settings import Settings

    settings, tuned = Settings.of(mode), is_tuned(method)
    models = list(dict.fromkeys(model or ["tiny"]))
    quiet_libraries()
    with claimed_out(output, "encoders"):
        photos = read_photos(data, data_set, limit)
        with progress_bar("measuring", photos.count * len(models)) as advance:
            how: dict[str, Any] = {"tuned": tuned, "device": device, "dtype": dtype, "progress": advance}
            found = compare_encoders(models, encoder or [], photos, settings, **how)
        show(found, output, json)


def efficiency(
    model: TimedModel = "vit-b",
    encoder: Encoder = None,
    mode: Mode = "persam",
    dtype: Dtype = "auto",
    rounds: Rounds = 5,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory, too.")] = True,
    **shared: Any,
) -> None:
    """Show what PerSAM costs on this machine: time by stage, time and memory over plain SAM.

    Example: persam bench efficiency --model vit-h --device cuda
    """
    from persam.benchmark.suites.efficiency import measure_efficiency, steps_of

    how: dict[str, Any] = {"dtype": dtype, "mode": mode, "encoder": encoder, "rounds": rounds, "memory": memory}
    _timed("efficiency", steps_of(rounds, memory=memory), partial(measure_efficiency, model, **how), **shared)


def tuning(
    model: TimedModel = "tiny",
    epochs: Annotated[int, typer.Option(min=1, help="Of the published procedure.")] = 1000,
    **shared: Any,
) -> None:
    """Time PerSAM-F's direct solver against the published 1,000 epochs, on the same model and reference.

    Example: persam bench tuning
    """
    from persam.benchmark.suites.timing import open_persam
    from persam.benchmark.suites.tuning_speed import measure_tuning

    _timed("tuning", 1, lambda device, progress: measure_tuning(open_persam(model, device=device), epochs), **shared)


def overhead(
    model: TimedModel = "vit-b",
    mode: Mode = "persam",
    dtype: Dtype = "float32",
    rounds: Rounds = 5,
    **shared: Any,
) -> None:
    """Time that PerSAM adds to plain SAM (encode, one decoder pass, mask), per photo.

    Example: persam bench overhead --model vit-b
    """
    from persam.benchmark.suites.efficiency import measure_overhead
    from persam.benchmark.suites.timing import open_persam

    def measure(device: str, progress: Callable[[], object]) -> Findings:
        persam = open_persam(model, device=device, dtype=dtype, mode=mode)
        return measure_overhead(persam, rounds=rounds, progress=progress)

    _timed("overhead", rounds + 1, measure, **shared)


def speed(
    model: TimedModel = "vit-b",
    size: Annotated[int, typer.Option(min=64, help="Side of a random model's input, pixels; a multiple of 16.")] = 1024,
    photo: Annotated[
        list[Path] | None, typer.Option(help="Compare masks on it, too; repeat it. Else: drawn ones.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Without other engines, and without what needs a process of its own.")
    ] = False,
    rounds: Rounds = 3,
    **shared: Any,
) -> None:
    """Is it as fast as this machine allows? The encoder against the published code's, other engines, start-up.

    Example: persam bench speed -o speed
    """
    from persam.benchmark.suites.speed import measure_speed, steps_of

    if size % 16:
        raise UsageError(f"--size is a multiple of 16, the side of a cell in pixels, not {size}.")
    how: dict[str, Any] = {"canvas": size, "rounds": rounds, "quick": quick, "photos": photo or ()}
    _timed("speed", steps_of(rounds, quick=quick), partial(measure_speed, model, **how), **shared)


def album(
    model: Model = "tiny",
    photos: Annotated[list[int] | None, typer.Option(min=1, help="So many photos; repeat for several sizes.")] = None,
    side: Annotated[int, typer.Option(min=64, help="Width of the photos, pixels.")] = 1600,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Also several concepts, kept encodings, the published way.")
    ] = True,
    workers: Annotated[
        list[int] | None, typer.Option(min=1, help="Also with so many of Ray's workers; repeat for several numbers.")
    ] = None,
    **shared: Any,
) -> None:
    """What an album costs: photos a second and memory, against their number, with several concepts or kept encodings.

    Example: persam bench album --photos 300 --photos 1000 --photos 3000 --side 640 --no-compare

    persam bench album --photos 300 --no-compare --workers 1 --workers 2
    """
    from persam.benchmark.suites.album import FEWEST_TIMED, SIZES, measure_album, steps_of

    counts = sorted(set(photos or SIZES))
    fleets = sorted(set(workers or ()))
    if fleets:
        library("ray", "--workers", "ray")
        if counts[0] < FEWEST_TIMED:
            raise UsageError(f"Workers are timed on {FEWEST_TIMED} photos or more, not {counts[0]}; see --photos.")
    measure = partial(measure_album, model, sizes=counts, side=side, compare=compare, workers=fleets)
    _timed("album", steps_of(counts, compare=compare, workers=fleets), measure, **shared)


def _timed(
    suite: str,
    steps: int,
    measure: Callable[..., Any],
    *,
    device: Device = "auto",
    output: Output = None,
    json: Json = False,
) -> None:
    """Run a suite of times; what stands after the star are the options that all of them have."""
    from persam.benchmark.suites.suite import claimed_out

    quiet_libraries()
    with claimed_out(output, suite):
        with progress_bar("measuring", steps) as advance:
            found = measure(device=device, progress=advance)
        show(found, output, json)


def _check(output: Path | None, suite: str) -> None:
    """See before a long run that it can be written down."""
    from persam.benchmark.suites.suite import check_out

    if output is not None:
        check_out(output, suite)


def show(found: Findings, output: Path | None, json: bool) -> None:
    """Write what was found to a folder, if there is one, and print it."""
    written = [] if output is None else found.write(output)
    if json:
        print_json(found.to_dict())
    else:
        for each in found.tables:
            each.print(console())
            console().print()
        for note in found.below():
            console().print(note, style="dim", markup=False)
    if written:
        say(f"Written: {', '.join(str(path) for path in written)}.")
