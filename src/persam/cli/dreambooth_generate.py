"""`persam dreambooth generate` and `score`: pictures of the subject by every run, and how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persam.cli.console import out, print_json, say
from persam.cli.options import Device, Dtype, Json, quiet_libraries
from persam.cli.progress import progress_bar
from persam.errors import UsageError

_LARGEST_SEED = 2**63 - 1
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that persam did not write, too.")]


def generate(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders of training runs, side by side; also a model as it is, by hub id or folder.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="What to ask for, again for each; {subject} stands for the subject. Default: ten."),
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Text file with one prompt a line.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Pictures of every prompt.")] = 4,
    first_seed: Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Seed of the first of them.")] = 0,
    subject: Annotated[
        str | None, typer.Option(help="Which one {subject} means, where a run knows several; {NAME} means one by name.")
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Also the model that the runs were trained from.")] = False,
    steps: Annotated[
        int | None, typer.Option(help="Of denoising. Default: 100 as published; 28 for SD 3 and FLUX.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Weight of the prompt. Default: 10 as published; SD 3: 7; FLUX: 3.5.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="own (the model's), ddim, dpm++ or euler. Default: ddim; SD 3 and FLUX: own.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of a picture, pixels. Default: as trained.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 1,
    device: Device = "auto",
    dtype: Dtype = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Generate pictures of the subject: every prompt with every seed, by every run from the same noise.

    Pictures that are there with the same settings are not made again: a call that was cut short goes on.

    [bold]Example[/bold]

    persam dreambooth generate masked unmasked --base --prompt "a photo of {subject} in the snow" -o pictures
    """
    quiet_libraries()
    from persam.dreambooth import gallery, generated
    from persam.dreambooth.generation import SamplingChoice, plan
    from persam.dreambooth.generation import generate as make
    from persam.dreambooth.prompts import DEFAULT_PROMPTS, check_prompts, read_prompts
    from persam.dreambooth.sources import read_sources
    from persam.files import check_folder, expanded
    from persam.ledger import claimed

    asked = [*(prompt or []), *(read_prompts(prompts) if prompts is not None else [])]
    if prompt and not check_prompts(prompt):
        raise UsageError("The prompt is empty; give words, such as: a photo of {subject} in the snow.")
    choice = SamplingChoice(sampler, steps, guidance, size)
    folder = expanded(output)
    check_folder(folder)
    planned = plan(
        read_sources(runs, base=base),
        check_prompts(asked) or DEFAULT_PROMPTS,
        range(first_seed, first_seed + seeds),
        folder,
        choice=choice,
        subject=subject,
        device=device,
        dtype=dtype,
    )
    others = (generated.LIST, gallery.GRID, gallery.PAGE)
    files = [*others, *(file.relative_to(folder).as_posix() for file in planned.files)]
    ours = claimed(folder, files, is_ours=lambda home: (home / generated.LIST).is_file(), overwrite=overwrite)
    with ours, progress_bar("Pictures", planned.count) as advance:
        made, notes = make(planned, batch=batch, progress=advance)
        written = gallery.write_gallery_of(made)
    for note in notes:
        say(note)
    if json:
        print_json({"output": str(folder), "pictures": len(made.pictures), "runs": made.runs, "notes": notes})
        return
    say(f"{len(made.pictures)} pictures in {folder}; look at {written[-1]}.")


def score(
    pictures: Annotated[
        Path, typer.Argument(metavar="PICTURES", help="Folder that generate made.", show_default=False)
    ],
    references: Annotated[
        Path, typer.Option(help="Prepared folder with the subject's real photos: what the runs were trained with.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables as JSON, Markdown, LaTeX and CSV.")
    ] = None,
    clip: Annotated[str, typer.Option(help="Hub id or folder of a CLIP.")] = "openai/clip-vit-base-patch32",
    dino: Annotated[str, typer.Option(help="Hub id or folder of a DINO, DINOv2 or DINOv3.")] = "facebook/dino-vits16",
    kid: Annotated[
        str, typer.Option(help="Features of KID: inception as published, clip, dino; auto: inception if installed.")
    ] = "auto",
    real: Annotated[
        Path | None, typer.Option(help="Other real photos for KID, such as 500 of the subject's kind.")
    ] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Of the real photos, compare the subject alone, cut out by its mask.")
    ] = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Score generated pictures: text-align, image-align with CLIP and DINO, KID; by run and prompt.

    [bold]Example[/bold]

    persam dreambooth score pictures --references prepared -o scores
    """
    quiet_libraries()
    from persam.dreambooth.features import ClipFeatures, DinoFeatures, check_kid, kid_features
    from persam.dreambooth.generated import read_generated
    from persam.dreambooth.score_report import FILES, SCORES, tables, to_json, write_scores
    from persam.dreambooth.scores import Networks, steps_of
    from persam.dreambooth.scores import score as measure
    from persam.dreambooth.subjects import read_prepared
    from persam.files import check_folder, expanded
    from persam.finding import find_images
    from persam.ledger import claimed
    from persam.models.loading import choose_device

    check_kid(kid)
    made, subjects = read_generated(expanded(pictures)), read_prepared(expanded(references))
    others = [Path(str(file)) for file in find_images([real])] if real is not None else []
    folder, place = None if output is None else expanded(output), choose_device(device)
    if folder is not None:
        check_folder(folder)
    with claimed(folder, FILES, is_ours=lambda home: (home / SCORES).is_file(), overwrite=overwrite):
        networks = ClipFeatures(clip, place), DinoFeatures(dino, place)
        features, note = kid_features(kid, *networks, place)
        with progress_bar("Pictures and photos", steps_of(made, subjects, others)) as advance:
            how = Networks(*networks, features)
            found = measure(made, subjects, how, real=others, foreground=foreground, progress=advance)
        if note is not None:
            found = found.with_note(note)
        files = [] if folder is None else write_scores(found, folder)
    if json:
        print_json(to_json(found))
        return
    for table in tables(found):
        table.print(out())
        out().print()
    if files:
        say(f"The tables are in {folder}.")


def leak(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for models, pictures and the table.")],
    seeds: Annotated[int, typer.Option(min=2, help="Pictures of every prompt by every run.")] = 32,
    steps: Annotated[int, typer.Option(min=1, help="Of every personalisation.")] = 500,
    floor: Annotated[float, typer.Option(min=0, max=1, help="Of the background in the run with a soft floor.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Of all that is random.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew, and replace files that persam did not write, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure in small what masks are for: how much of its photos' background comes out with a subject.

    A small model is trained from nothing, personalised with masks and without, and asked for pictures: a few minutes
    on a CPU, and nothing is downloaded. A call that was cut short goes on.

    [bold]Example[/bold]

    persam dreambooth leak -o leak
    """
    quiet_libraries()
    from persam.dreambooth.background_leak import FILES, RESULTS, LeakSettings, table, to_json, write_leak
    from persam.dreambooth.background_leak import leak as measure
    from persam.dreambooth.small_world import SmallTraining
    from persam.files import check_folder, expanded
    from persam.ledger import claimed

    how = LeakSettings(SmallTraining(seed=seed), steps=steps, floor=floor, seeds=seeds, seed=seed)
    folder = expanded(output)
    check_folder(folder)
    ours = claimed(folder, FILES, is_ours=lambda home: (home / RESULTS).is_file(), overwrite=overwrite)
    with ours, progress_bar("Training a small model", how.small.steps) as advance:
        found = measure(folder, how, advance, overwrite=overwrite)
        files = write_leak(found, folder)
    if json:
        print_json(to_json(found))
        return
    table(found).print(out())
    say(f"Look at {files[-1]}.")
