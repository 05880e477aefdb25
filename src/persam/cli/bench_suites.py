"""`persam bench` modes, ablation, robustness, encoders, efficiency, tuning, overhead: sets of measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from persam.benchmark.suites.suite import Findings
    from persam.persam import PerSAM

Data = Annotated[
    Path, typer.Option("--data", help="Folder that holds perseg/, fss/ and/or davis/; or that of --data-set.")
]
DataSet = Annotated[
    str | None, typer.Option("--data-set", help="One data set alone: --data is its folder. See persam bench --help.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="No more photos than this, in turns from every object: a quick look."),
]
Model = Annotated[str, typer.Option("--model", help="Bundled: tiny; else a hub id, a folder, or a .pth of SAM.")]
TimedModel = Annotated[
    str, typer.Option("--model", help="As elsewhere, or vit-b, vit-l, vit-h with random weights: nothing to download.")
]
Encoder = Annotated[str | None, typer.Option("--encoder", help="Another encoder for the confidence map.")]
Mode = Annotated[str, typer.Option("--mode", help="persam, official or paper.")]
Solver = Annotated[str, typer.Option("--solver", help="Of PerSAM-F: direct, or adamw as published.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option("--dtype", help="Of the image encoder: auto, float32, bfloat16 or float16.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write metrics.json, table.md and pictures to this folder, too.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
Rounds = Annotated[int, typer.Option("--rounds", "--repeats", min=1, help="That count; one more warms up.")]


def register(app: typer.Typer) -> None:
    """Add the commands of the suites to `persam bench`."""
    for command in (modes, ablation, robustness, encoders, efficiency, tuning, overhead):
        app.command(command.__name__)(command)


def modes(
    data: Data,
    data_set: DataSet = None,
    model: Model = "tiny",
    encoder: Encoder = None,
    solver: Solver = "direct",
    device: Device = "auto",
    limit: Limit = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Compare official, paper and persam, PerSAM and PerSAM-F: accuracy, and how their masks differ step by step.

    Example: persam bench modes --data ~/data
    """
    from persam.benchmark.suites.modes import compare_modes
    from persam.benchmark.suites.suite import read_photos
    from persam.cli.progress import progress_bar

    _check(out, "modes")
    photos = read_photos(data, data_set, limit)
    persam = _load(model, device, encoder)
    with progress_bar("measuring", photos.count) as advance:
        found = compare_modes(photos, persam.model, persam.encoder, solver, advance)
    _show(found, out, as_json)


def ablation(
    data: Data,
    data_set: DataSet = None,
    model: Model = "tiny",
    encoder: Encoder = None,
    mode: Mode = "persam",
    solver: Solver = "direct",
    device: Device = "auto",
    limit: Limit = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Show what each technique is worth: the paper's build-up beside its numbers, and a mode with one set otherwise.

    Example: persam bench ablation --data ~/data --mode persam
    """
    from persam.benchmark.suites.ablation import ablate
    from persam.benchmark.suites.suite import read_photos
    from persam.cli.progress import progress_bar

    _check(out, "ablation")
    photos = read_photos(data, data_set, limit)
    persam = _load(model, device, encoder)
    with progress_bar("measuring", photos.count) as advance:
        found = ablate(photos, persam.model, persam.encoder, mode, solver, advance)
    _show(found, out, as_json)


def robustness(
    data: Data,
    data_set: DataSet = None,
    model: Model = "tiny",
    encoder: Encoder = None,
    mode: Mode = "persam",
    solver: Solver = "direct",
    sizes: Annotated[
        str, typer.Option("--sizes", help="Areas of the reference mask, as shares of the true one.")
    ] = "0.25,0.5,0.75,1.25,1.5,2",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the places of scribbles and clicks.")] = 0,
    device: Device = "auto",
    limit: Limit = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Find out how rough the reference may be: masks too small or too large; a box, a scribble or clicks instead.

    Example: persam bench robustness --data ~/data --out rough
    """
    from persam.benchmark.reporting.plots import check_plots
    from persam.benchmark.suites.robustness import read_sizes, roughen
    from persam.benchmark.suites.suite import read_photos
    from persam.cli.progress import progress_bar

    _check(out, "robustness")
    if out is not None:
        check_plots()
    areas = read_sizes(sizes)
    photos = read_photos(data, data_set, limit)
    persam = _load(model, device, encoder)
    with progress_bar("measuring", photos.count) as advance:
        found = roughen(
            photos, persam.model, persam.encoder, mode, solver=solver, sizes=areas, seed=seed, progress=advance
        )
    _show(found, out, as_json)


def encoders(
    data: Data,
    data_set: DataSet = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Repeat it for several: tiny, a hub id, a folder, a .pth.")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option("--encoder", help="Repeat it for several, beside each model's own features.")
    ] = None,
    mode: Mode = "persam",
    method: Annotated[str, typer.Option("--method", help="persam or persam-f.")] = "persam",
    device: Device = "auto",
    dtype: Dtype = "auto",
    limit: Limit = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Compare models and encoders: accuracy and seconds of every pair. What is not to be had is left out, and named.

    Example: persam bench encoders --data ~/data --model tiny --model facebook/sam-vit-base
    --encoder facebook/dinov2-small
    """
    from persam.benchmark.suites.encoders import compare_encoders, encoder_findings, is_tuned
    from persam.benchmark.suites.suite import read_photos
    from persam.cli.options import quiet_libraries
    from persam.cli.progress import progress_bar
    from persam.method.settings import Settings

    _check(out, "encoders")
    settings, tuned = Settings.of(mode), is_tuned(method)
    photos = read_photos(data, data_set, limit)
    models = list(dict.fromkeys(model or ["tiny"]))
    quiet_libraries()
    with progress_bar("measuring", photos.count * len(models)) as advance:
        results = compare_encoders(
            models,
            encoder or [],
            photos.episodes,
            settings,
            tuned=tuned,
            device=device,
            dtype=dtype,
            progress=advance,
        )
    _show(encoder_findings(results, photos, mode, tuned), out, as_json)


def efficiency(
    model: TimedModel = "vit-b",
    encoder: Encoder = None,
    mode: Mode = "persam",
    device: Device = "auto",
    dtype: Dtype = "auto",
    rounds: Rounds = 5,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure memory, too.")] = True,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Show what PerSAM costs on this machine: time by stage, time and memory over plain SAM.

    Example: persam bench efficiency --model vit-h --device cuda
    """
    from persam.benchmark.suites.efficiency import measure_efficiency, steps_of
    from persam.cli.options import quiet_libraries
    from persam.cli.progress import progress_bar

    _check(out, "efficiency")
    quiet_libraries()
    with progress_bar("measuring", steps_of(rounds, memory=memory)) as advance:
        found = measure_efficiency(
            model,
            device=device,
            dtype=dtype,
            mode=mode,
            encoder=encoder,
            rounds=rounds,
            memory=memory,
            progress=advance,
        )
    _show(found, out, as_json)


def tuning(
    model: TimedModel = "tiny",
    device: Device = "auto",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of the published procedure.")] = 1000,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Time PerSAM-F's direct solver against the published 1,000 epochs, on the same model and reference.

    Example: persam bench tuning
    """
    from persam.benchmark.suites.speed import open_persam
    from persam.benchmark.suites.tuning_speed import measure_tuning
    from persam.cli.options import quiet_libraries

    _check(out, "tuning")
    quiet_libraries()
    _show(measure_tuning(open_persam(model, device=device), epochs), out, as_json)


def overhead(
    model: TimedModel = "vit-b",
    mode: Mode = "persam",
    device: Device = "auto",
    dtype: Dtype = "float32",
    rounds: Rounds = 5,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Time that PerSAM adds to plain SAM (encode, one decoder pass, mask), per photo.

    Example: persam bench overhead --model vit-b
    """
    from persam.benchmark.suites.overhead import measure_overhead
    from persam.benchmark.suites.speed import open_persam
    from persam.cli.options import quiet_libraries
    from persam.cli.progress import progress_bar

    _check(out, "overhead")
    quiet_libraries()
    persam = open_persam(model, device=device, dtype=dtype, mode=mode)
    with progress_bar("measuring", rounds + 1) as advance:
        found = measure_overhead(persam, rounds=rounds, progress=advance)
    _show(found, out, as_json)


def _load(model: str, device: str, encoder: str | None) -> PerSAM:
    from persam.cli.options import load_model

    return load_model(model, device=device, dtype="auto", encoder=encoder)


def _check(out: Path | None, suite: str) -> None:
    """See before a long run that it can be written down."""
    from persam.benchmark.suites.suite import check_out

    if out is not None:
        check_out(out, suite)


def _show(found: Findings, out: Path | None, as_json: bool) -> None:
    from persam.cli.console import out as console
    from persam.cli.console import print_json, say

    written = [] if out is None else found.write(out)
    if as_json:
        print_json(found.to_dict())
    else:
        for each in found.tables:
            each.print(console())
            console().print()
        for note in found.below():
            console().print(note, style="dim", markup=False)
    if written:
        say(f"Written: {', '.join(str(path) for path in written)}.")
