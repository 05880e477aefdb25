"""Pictures of a subject: every prompt with every seed, by every run, each beginning with the same noise.

The paper samples Stable Diffusion with DDIM, 100 steps, guidance 10 (appendix C.3). Models that were trained by flow
matching (Stable Diffusion 3, FLUX) have no DDIM; they take their own sampler, with the numbers that their authors use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from persam.dreambooth.generated import GeneratedFolder, GeneratedPicture, picture_file, write_generated
from persam.dreambooth.pipelines import diffusers, enough_memory, quiet
from persam.dreambooth.prompts import FilledPrompt, fill
from persam.dreambooth.sources import PictureSource, subjects_of
from persam.errors import UsageError
from persam.files import atomic_path
from persam.models.base import no_numbers
from persam.models.loading import choose_device, choose_dtype
from persam.reports.provenance import versions

SAMPLERS = {
    "own": None,  # the model's
    "ddim": "DDIMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
}
_FLOW = ("sd3", "flux")  # families that were trained by flow matching
_TIMES = 1000  # of noise, that all others were trained with
_NOTE = "persam"  # of a picture's file: what it was made with, by which it is known when generation goes on
_WITHHELD = "withheld"  # likewise: the model's safety checker made it black
_MULTIPLE = 8  # sides of pictures
_FLOW_MULTIPLE = 16  # those models see squares of 2 x 2 latents
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """How a picture is made of noise.

    Attributes:
        sampler: a key of SAMPLERS.
        steps: of denoising.
        guidance: weight of the prompt (classifier-free guidance); FLUX takes it as an input.
        size: side of the square picture, pixels; None: the model's own.
    """

    sampler: str
    steps: int
    guidance: float
    size: int | None = None


_PUBLISHED = Sampling("ddim", 100, 10.0)
_USUAL = {"sd3": Sampling("own", 28, 7.0), "flux": Sampling("own", 28, 3.5)}  # else as published
_DISTILLED = Sampling("own", 4, 0.0)  # FLUX.1 schnell


@dataclass(frozen=True)
class SamplingChoice:
    """What the user says of the sampling; None: what is usual for the family.

    Raises:
        UsageError: a value out of range, or an unknown sampler.
    """

    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise UsageError(f'There is no sampler "{self.sampler}"; use {", ".join(SAMPLERS)}.')
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"{self.steps} steps make no picture; give 1 or more.")
        if self.guidance is not None and not 0 <= self.guidance < float("inf"):
            raise UsageError(f"A guidance of {self.guidance} is out of range; give 0 or more, such as 10.")
        if self.size is not None and (self.size < 1 or self.size % _MULTIPLE):
            raise UsageError(f"A picture of {self.size} pixels cannot be made; give a multiple of {_MULTIPLE}.")

    def for_source(self, source: PictureSource) -> Sampling:
        """The sampling for a run or model.

        Raises:
            UsageError: a sampler that its family does not have, or steps that it cannot take.
        """
        usual = _USUAL.get(source.family, _PUBLISHED)
        if source.family == "flux" and "schnell" in Path(source.model).name.lower():
            usual = _DISTILLED
        sampler = self.sampler or usual.sampler
        if source.family in _FLOW and sampler != "own":
            raise UsageError(f"{source.name} was trained by flow matching, for which there is no {sampler}; use own.")
        steps = self.steps or usual.steps
        if source.family not in _FLOW:
            _check_spread(steps, source.name)
        size = self.size or (None if source.run is None else source.run.resolution)
        return Sampling(sampler, steps, usual.guidance if self.guidance is None else self.guidance, size)


def _check_spread(steps: int, name: str) -> None:
    """See that steps reach nearly to the largest noise: diffusers puts them a whole number of times apart, rounded
    down, so that 600 steps of 1,000 times would begin with the noise of the 600th.

    Raises:
        UsageError: they do not.
    """
    apart = _TIMES // steps
    if apart < 2 or steps * apart < 0.8 * _TIMES:
        near = [_TIMES // 2] if apart < 2 else [_TIMES // (apart + 1), _TIMES // apart]
        raise UsageError(
            f"{steps} steps do not spread over the {_TIMES} times that {name} was trained with; give "
            f"{' or '.join(map(str, near))}."
        )


def _check_size(sampling: Sampling, source: PictureSource) -> None:
    if source.family in _FLOW and sampling.size is not None and sampling.size % _FLOW_MULTIPLE:
        raise UsageError(
            f"{source.name} cannot make a picture of {sampling.size} pixels; give a --size that is a multiple of "
            f"{_FLOW_MULTIPLE}."
        )


# ----------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class PlannedPicture:
    """A picture that is to be there.

    Attributes:
        picture: where, and what it shows.
        words: that its model is asked with.
        note: what decides how it comes out, as JSON: one that was made with the same need not be made again.
    """

    picture: GeneratedPicture
    words: str
    note: str

    def stored(self) -> GeneratedPicture | None:
        """The picture, where its file is there, made with the same; with whether it was withheld."""
        try:
            with Image.open(self.picture.file) as file:
                is_own, is_withheld = file.info.get(_NOTE) == self.note, _WITHHELD in file.info
        except OSError:
            return None
        return replace(self.picture, withheld=is_withheld) if is_own else None


@dataclass(frozen=True)
class PicturePlan:
    """All that is to be made.

    Attributes:
        folder: for all of it.
        sources: what makes it.
        samplings: how, by name of the source.
        prompts: as given.
        seeds: each prompt with each.
        pictures: by name of the source.
        device, dtype: where, and in what numbers.
    """

    folder: Path
    sources: tuple[PictureSource, ...]
    samplings: dict[str, Sampling]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    pictures: dict[str, list[PlannedPicture]]
    device: torch.device
    dtype: torch.dtype

    @property
    def count(self) -> int:
        """How many pictures."""
        return sum(map(len, self.pictures.values()))

    @property
    def files(self) -> list[Path]:
        """Of all pictures."""
        return [planned.picture.file for each in self.pictures.values() for planned in each]

    def listed(self) -> GeneratedFolder:
        """The list, of the pictures that are there."""
        runs = {
            source.name: source.to_json()
            | asdict(self.samplings[source.name])
            | {"dtype": str(self.dtype).removeprefix("torch.")}
            for source in self.sources
        }
        stored = (planned.stored() for each in self.pictures.values() for planned in each)
        there = tuple(each for each in stored if each is not None)
        return GeneratedFolder(
            self.folder, self.prompts, self.seeds, runs, there, versions("diffusers", "peft", "accelerate")
        )


def plan(
    sources: Sequence[PictureSource],
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    choice: SamplingChoice | None = None,
    subject: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> PicturePlan:
    """Fill in all that the user leaves open.

    Args:
        sources: runs, and models as they are.
        prompts: with places for subjects, see `persam.dreambooth.prompts`.
        seeds: of the start noise, the same for every source.
        folder: for the pictures.
        choice: what the user says of the sampling.
        subject: name of the one that ``{subject}`` means, where the runs know several.
        device: as everywhere.
        dtype: likewise.

    Raises:
        UsageError: nothing to be asked, a place of a prompt that stands for nothing, a sampler, device or dtype that
            there is not, a size, number of steps or seed that cannot be.
    """
    if not prompts or not seeds:
        raise UsageError("There is nothing to generate; give a prompt and a seed at least.")
    if wrong := [seed for seed in seeds if not 0 <= seed <= _LARGEST_SEED]:
        raise UsageError(f"The seed {wrong[0]} is out of range; give 0 to {_LARGEST_SEED}.")
    subjects, place = subjects_of(sources), choose_device(device)
    if subject is not None and subject not in {each.name for each in subjects}:
        known = ", ".join(each.name for each in subjects) or "none"
        raise UsageError(f"The runs know no subject {subject}; they know: {known}.")
    numbers = choose_dtype(dtype, place)
    filled = [fill(prompt, subjects, subject) for prompt in prompts]
    samplings = {source.name: (choice or SamplingChoice()).for_source(source) for source in sources}
    sizes = {each.size for each in samplings.values() if each.size is not None}
    if len(sizes) == 1:  # a model as it is makes them as large as the runs beside it, from the same noise
        samplings = {
            name: Sampling(each.sampler, each.steps, each.guidance, *sizes) for name, each in samplings.items()
        }
    for source in sources:
        _check_size(samplings[source.name], source)
    pictures = {
        source.name: [
            _planned(source, stamp, samplings[source.name], numbers, folder, number, words, seed)
            for number, words in enumerate(filled)
            for seed in seeds
        ]
        for source, stamp in ((each, each.stamp) for each in sources)
    }
    return PicturePlan(folder, tuple(sources), samplings, tuple(prompts), tuple(seeds), pictures, place, numbers)


def _planned(
    source: PictureSource,
    stamp: list[list[Any]],
    sampling: Sampling,
    dtype: torch.dtype,
    folder: Path,
    prompt: int,
    filled: FilledPrompt,
    seed: int,
) -> PlannedPicture:
    words = filled.asked if source.run is not None else filled.caption
    decides = {
        "model": source.model,
        "run": stamp,
        "prompt": words,
        "seed": seed,
        **asdict(sampling),
        "dtype": str(dtype).removeprefix("torch."),
    }
    file = picture_file(folder, source.name, prompt, seed)
    picture = GeneratedPicture(file, source.name, prompt, seed, words, filled.caption, filled.subjects)
    return PlannedPicture(picture, words, json.dumps(decides, ensure_ascii=True, sort_keys=True))


# ------------------------------------------------------------------------------------------- pictures


def generate(
    planned: PicturePlan, *, batch: int = 1, progress: Callable[..., object] | None = None
) -> tuple[GeneratedFolder, list[str]]:
    """Make the pictures that are not there yet, and write the list.

    Each is written whole, as soon as it is made; what an earlier call left is taken as it is if it was made with the
    same settings. The list is written after every source, and when the work is cut short.

    Args:
        planned: what to make.
        batch: pictures of one prompt at a time.
        progress: called after every picture; with ``before`` for those that were there.

    Returns:
        The list; and sentences on what is to be known of the pictures.

    Raises:
        PersamError: a model is not to be had, does not fit into the memory, or makes no numbers; no room on the disk.
    """
    tell = progress or (lambda **_: None)
    todo = {name: [each for each in pictures if each.stored() is None] for name, pictures in planned.pictures.items()}
    done = planned.count - sum(map(len, todo.values()))
    if done:
        tell(before=done)
    unfinished = [source for source in planned.sources if todo[source.name]]
    for source in unfinished:
        try:
            _generate_with(source, planned, todo[source.name], batch, tell)
        finally:
            listed = _list(planned)
    if not unfinished:
        listed = _list(planned)
    return listed, _notes(listed)


def _list(planned: PicturePlan) -> GeneratedFolder:
    listed = planned.listed()
    if listed.pictures:
        write_generated(listed)
    return listed


def _notes(listed: GeneratedFolder) -> list[str]:
    notes = []
    withheld = [each.file.relative_to(listed.folder) for each in listed.pictures if each.withheld]
    if withheld:
        notes.append(
            f"The model's safety checker withheld {len(withheld)} of {len(listed.pictures)} pictures, which are black, "
            f"such as {withheld[0]}; scoring leaves them out."
        )
    if not listed.same_noise:
        notes.append("The runs differ in family or size, so one seed gives each of them other start noise.")
    return notes


def _generate_with(
    source: PictureSource, planned: PicturePlan, todo: Sequence[PlannedPicture], batch: int, tell: Callable[..., object]
) -> None:
    """Make a source's pictures."""
    pipeline, sampling = source.pipeline(planned.device, planned.dtype), planned.samplings[source.name]
    _set_sampler(pipeline, sampling)
    for together in _batches(todo, batch):
        remedy = "use a smaller --batch, a smaller --size, or --dtype bf16"
        with (
            enough_memory(f"{source.name} has too little memory on {planned.device.type} for a picture", remedy),
            quiet(),
        ):
            made = pipeline(
                prompt=[each.words for each in together],
                # On the CPU, so that it is the same noise on any device.
                generator=[torch.Generator("cpu").manual_seed(each.picture.seed) for each in together],
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                output_type="np",
                **({} if sampling.size is None else {"height": sampling.size, "width": sampling.size}),
            )
        black = getattr(made, "nsfw_content_detected", None) or [False] * len(together)
        for each, pixels, is_withheld in zip(together, made.images, black, strict=True):
            if not np.isfinite(pixels).all():
                raise no_numbers(source.name, f"the picture {each.picture.asked!r}")
            _write(each, (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), withheld=is_withheld)
            tell()


def _set_sampler(pipeline: Any, sampling: Sampling) -> None:
    name = SAMPLERS[sampling.sampler]
    if name is not None:
        # Latents are not in [-1, 1]: DDIM, which was made for pixels, would cut them where the file does not forbid it.
        more = {"clip_sample": False} if sampling.sampler == "ddim" else {}
        with quiet():
            pipeline.scheduler = getattr(diffusers(), name).from_config(pipeline.scheduler.config, **more)


def _batches(todo: Sequence[PlannedPicture], size: int) -> Iterator[list[PlannedPicture]]:
    """So many at a time, of one prompt each."""
    together: list[PlannedPicture] = []
    for each in todo:
        if together and (len(together) == size or together[-1].picture.prompt != each.picture.prompt):
            yield together
            together = []
        together.append(each)
    if together:
        yield together


def _write(planned: PlannedPicture, pixels: np.ndarray, *, withheld: bool) -> None:
    note = PngInfo()
    note.add_text(_NOTE, planned.note)
    if withheld:
        note.add_text(_WITHHELD, "by the model's safety checker")
    with atomic_path(planned.picture.file) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG", pnginfo=note)
