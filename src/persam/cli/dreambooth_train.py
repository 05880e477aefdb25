"""`persam dreambooth train`: a model learns the subjects of a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from persam.cli.console import print_json, say
from persam.cli.options import Device, Json, quiet_libraries
from persam.cli.progress import progress_bar


def train(
    prepared: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A prepared folder, see `persam dreambooth prepare`.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the run.", show_default=False)],
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="The base: a hub id of Stable Diffusion 1 to 3.5 or FLUX.1, or a folder."),
    ] = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    method: Annotated[
        str, typer.Option(help="lora: small layers beside the network; full: the network itself, as published.")
    ] = "lora",
    no_mask: Annotated[
        bool, typer.Option("--no-mask", help="Plain DreamBooth, for comparison: the background teaches, too.")
    ] = False,
    floor: Annotated[float, typer.Option(help="What the background counts beside the subject, 0 to 1.")] = 0.0,
    resolution: Annotated[
        int | None, typer.Option(help="Side of a photo in pixels.", show_default="the model's own; 512 for FLUX")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps.", show_default="for each subject 500, or 1,000 with full")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="How far a step goes.", show_default="1e-4, or 1e-6 with full")
    ] = None,
    rank: Annotated[int, typer.Option(help="Of LoRA's layers.")] = 16,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder", help="Train CLIP's text encoders, too.", show_default=False)
    ] = False,
    prior: Annotated[
        float, typer.Option(help="What prior preservation counts beside the subject; 0 leaves it out.")
    ] = 1.0,
    class_count: Annotated[int, typer.Option(help="Pictures of each kind of thing for prior preservation.")] = 200,
    class_images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of these pictures, a folder for each kind; what is missing is drawn by the model.",
            show_default="class_images in the run",
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for more time.")
    ] = False,
    accumulate: Annotated[int, typer.Option(help="Photos for each step.")] = 1,
    eight_bit: Annotated[
        bool, typer.Option("--eight-bit", help="Adam in 8 bits; needs bitsandbytes and a GPU.", show_default=False)
    ] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror half of the photos.", show_default=False)] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints, from which it can go on.")] = 250,
    sample_prompt: Annotated[
        list[str] | None,
        typer.Option(help="Draw this at the end, and with --sample-every before; again for more.", show_default=False),
    ] = None,
    sample_every: Annotated[int | None, typer.Option(help="Steps between samples.", show_default="the end")] = None,
    sample_steps: Annotated[int, typer.Option(help="Of the sampler.")] = 30,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew where the folder holds another training.")
    ] = False,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16; full keeps its weights in float32.")
    ] = "auto",
    json: Json = False,
) -> None:
    """Train a text-to-image model on the subjects of a prepared folder, from their pixels alone.

    The same command goes on where it was stopped.

    [bold]Examples[/bold]

    persam dreambooth train my-mug -o my-mug-run --sample-every 100 --sample-prompt "a photo of t@y mug on the beach"

    persam dreambooth train my-mug -o published --method full

    persam dreambooth train my-mug -o flux -m black-forest-labs/FLUX.1-dev --gradient-checkpointing
    """
    quiet_libraries()
    from persam.dreambooth.training import train

    phases: list[str] = []
    with progress_bar("Training") as advance:

        def told(**what: Any) -> None:
            phases.append(what.get("what", ""))
            if what.get("what") == "Training" and what.get("done"):
                say(f"It goes on after {what['done']} steps.")
            advance(**what)

        run = train(
            prepared,
            output,
            model,
            overwrite=overwrite,
            progress=told,
            method=method,
            masked=not no_mask,
            floor=floor,
            resolution=resolution,
            steps=steps,
            learning_rate=learning_rate,
            rank=rank,
            text_encoder=text_encoder,
            prior=prior,
            class_count=class_count,
            class_images=class_images,
            gradient_checkpointing=gradient_checkpointing,
            accumulate=accumulate,
            eight_bit=eight_bit,
            flip=flip,
            seed=seed,
            device=device,
            dtype=dtype,
            checkpoint_every=checkpoint_every,
            sample_every=sample_every,
            sample_prompts=tuple(sample_prompt or ()),
            sample_steps=sample_steps,
        )
    if json:
        from persam.dreambooth.runs import run_json

        print_json(run_json(run))
        return
    names = ", ".join(f"{subject.name} ({subject.prompt!r})" for subject in run.subjects)
    before = "" if phases else ", done already"
    say(f"{run.steps} steps on {names}{before}; what was learned is in {run.learned}.")
