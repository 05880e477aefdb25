"""Train a text-to-image model on a prepared folder: checks, class images, latents, steps, and what is kept of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from persam.dreambooth.checkpoints import (
    clear,
    keep_lora,
    keep_pipeline,
    load_checkpoint,
    look_back,
    refuse_model_within,
    refuse_other,
    remove_checkpoints,
    save_checkpoint,
)
from persam.dreambooth.families import Objective, Words, add_lora, encode_words, text_encoders
from persam.dreambooth.material import (
    LatentPhoto,
    Square,
    caption_of,
    check_subjects,
    content_of,
    cropped,
    encode,
    read_square,
)
from persam.dreambooth.memory import anatomy_of, check_memory, check_resolution, remedies
from persam.dreambooth.options import CONTENT, TrainOptions
from persam.dreambooth.pipelines import (
    DEFAULT_MODEL,
    enough_memory,
    family_named,
    load_pipeline,
    network_of,
    quiet,
)
from persam.dreambooth.prior import (
    FOLDER,
    check_class_images,
    class_folder,
    class_pictures,
    content_of_pictures,
    make_class_pictures,
)
from persam.dreambooth.runs import CHECKPOINTS, LOSSES, PIPELINE, RUN, SAMPLES, Run, write_run
from persam.dreambooth.samples import draw_samples
from persam.dreambooth.subjects import Subject, read_prepared
from persam.dreambooth.trainer import Material, Training, choose_trained
from persam.errors import PersamError
from persam.files import expanded, write_csv
from persam.images import read_image
from persam.ledger import Ledger
from persam.models.loading import choose_device, choose_dtype
from persam.reports.provenance import versions

_RECENT = 50  # steps over which the loss that is shown is averaged: one step's depends on its noise above all
_TOLD = ("model", "subjects", "method", "masked", "resolution")  # in run.json by themselves

Progress = Callable[..., Any]


def train(
    prepared: str | Path,
    output: str | Path,
    model: str | Path = DEFAULT_MODEL,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Train a model on the subjects of a prepared folder.

    The same call goes on where it was stopped or killed, and with more ``steps`` where it ended.

    >>> from persam.dreambooth import train                                     # doctest: +SKIP
    >>> run = train("my-mug", "my-mug-run", steps=800, device="cuda")           # doctest: +SKIP
    >>> run.pipeline()("a photo of t@y mug on the beach").images[0].save("mug.png")  # doctest: +SKIP

    Args:
        prepared: the folder, see `persam.dreambooth.subjects.read_prepared`.
        output: the run's folder.
        model: the base, a hub id or a folder in diffusers' form.
        overwrite: begin anew where `output` holds another training.
        progress: called as what `persam.cli.progress.progress_bar` gives is.
        options: see `persam.dreambooth.options.TrainOptions`.

    Returns:
        The run.

    Raises:
        UsageError: an option or folder is wrong, or the run's folder holds a training with other options.
        PersamError: the model is not to be had, a photo or mask cannot be used, or the memory does not suffice.
        KeyboardInterrupt: it was stopped; its words say from which step the same call goes on.
    """
    chosen = TrainOptions(**options)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise PersamError("A training runs in one process; start it without accelerate launch or torchrun.")
    if chosen.eight_bit and not find_spec("bitsandbytes"):
        raise PersamError("Adam in 8 bits needs bitsandbytes, which is not installed: pip install bitsandbytes.")
    place = choose_device(chosen.device)
    form = _number_format(chosen.dtype, place)
    folder = expanded(prepared)
    subjects = read_prepared(folder)
    check_subjects(subjects)
    base = _base(model)
    refuse_model_within(base, expanded(output))
    family = family_named(base)
    with Ledger(output, overwrite=overwrite) as ledger:
        asked = {
            "model": base,
            "subjects": ", ".join(f"{subject.name} ({subject.prompt})" for subject in subjects),
            CONTENT: content_of(subjects),
            **chosen.consequential(),
            "device": place.type,
            "dtype": str(form).removeprefix("torch."),
        }
        done = look_back(ledger, asked, chosen.steps_for(len(subjects)))
        if done is not None:
            return done
        ledger.sweep([CHECKPOINTS, PIPELINE, SAMPLES])
        conduct = _Conduct(ledger, subjects, base, chosen, place, form, asked, progress or _silent)
        return conduct.run(family.key)


def _base(model: str | Path) -> str:
    """The model as a run names it: a folder by its whole path, so that it is found from anywhere."""
    place = expanded(model)
    return str(place.absolute()) if place.is_dir() else str(model)


def _number_format(dtype: str, place: torch.device) -> torch.dtype:
    """Training on a CPU is float32, though it may compute in bf16; a GPU that does not takes fp16."""
    form = choose_dtype(dtype, place)
    if dtype == "auto":
        if place.type == "cpu":
            return torch.float32
        if place.type == "cuda" and form == torch.float32:
            return torch.float16
    return form


def _silent(**_: Any) -> None:
    pass


class _Conduct:
    """One training, from a model's name to a run's folder."""

    def __init__(
        self,
        ledger: Ledger,
        subjects: Sequence[Subject],
        base: str,
        options: TrainOptions,
        device: torch.device,
        dtype: torch.dtype,
        asked: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.ledger, self.folder = ledger, ledger.folder
        self.subjects, self.base, self.options = subjects, base, options
        self.device, self.dtype, self.asked, self.progress = device, dtype, asked, progress
        self.steps = options.steps_for(len(subjects))
        self.start = monotonic()
        self.taken_out: dict[str, Any] = {}
        self.class_images = expanded(options.class_images or self.folder / FOLDER)

    def run(self, family: str) -> Run:
        """Do all of it."""
        full = self.options.method == "full"
        self._begin("Loading the model", self.steps)
        anatomy = anatomy_of(self.base)
        self.resolution = self.options.resolution or anatomy.resolution
        check_resolution(anatomy, self.resolution)
        squares = self._read_squares()
        if self.options.prior:
            check_class_images(self.class_images, self.subjects)
            for subject in self.subjects:  # refuses what was drawn otherwise
                self._class_pictures(subject)
        check_memory(self.base, anatomy, self.options, self.device, self.dtype)
        self.pipeline = load_pipeline(self.base, device="cpu", dtype=torch.float32 if full else self.dtype)
        Objective(self.pipeline)  # refuses a model that is not trained so, before its class images are drawn
        self.pipeline.vae.enable_tiling()  # where a picture is larger than those that it was made for
        if getattr(self.pipeline, "safety_checker", None) is not None:  # it would black out class images at a whim
            self._take_out({"safety_checker": self.pipeline.safety_checker})
        choose_trained(self.pipeline, words=self.options.text_encoder, full=full)
        with enough_memory(
            f"The memory of {self.device.type} does not suffice to train {self.base}", remedies(self.options)
        ):
            words = self._encode_words()
            material = self._encode_photos(squares, words)
            if self.ledger.overwrite:  # not before: till here something may be wrong with the call
                clear(self.ledger)
            training = self._prepare(material, words)
            samples = {prompt: words[prompt] for prompt in self.options.sample_prompts}
            with quiet():
                self._steps(training, samples)
                return self._finish(training, family)

    def _begin(self, what: str, total: int, done: int = 0) -> None:
        self.progress(done=done, total=total, what=what)
        self.progress(before=done)

    # ----------------------------------------------------------------------------------------- before the steps

    def _read_squares(self) -> list[list[Square]]:
        """All photos and masks, before anything long begins: one of them may be damaged."""
        return [
            [read_square(photo, self.resolution, masked=self.options.masked) for photo in subject.photos]
            for subject in self.subjects
        ]

    def _encode_words(self) -> dict[str, Words]:
        """Every prompt that is needed, once; then the text encoders leave the device, and the memory, unless they are
        trained."""
        captions = [caption_of(subject, photo) for subject in self.subjects for photo in subject.photos]
        kinds = [subject.class_prompt for subject in self.subjects] if self.options.prior else []
        encoders = text_encoders(self.pipeline)
        for encoder in encoders.values():
            encoder.to(self.device)
        with torch.no_grad():
            prompts = dict.fromkeys([*captions, *kinds, *self.options.sample_prompts])
            words = {
                prompt: {name: tensor.cpu() for name, tensor in encode_words(self.pipeline, prompt).items()}
                for prompt in prompts
            }
        if not self.options.text_encoder:
            for encoder in encoders.values():
                encoder.to("cpu")
            self._take_out(encoders)
            self._tidy()
        return words

    def _take_out(self, parts: dict[str, Any]) -> None:
        """Do without some parts of the pipeline, which are kept only where it is saved."""
        self.pipeline.register_modules(**dict.fromkeys(parts))
        if self.options.method == "full":
            self.taken_out |= parts

    def _encode_photos(self, squares: list[list[Square]], words: dict[str, Words]) -> list[Material]:
        """Photos and class images as latents; the class images are drawn where there are none."""
        pictures = [self._class_images(subject, words) for subject in self.subjects]
        self.class_content = content_of_pictures([file for each in pictures for file in each])
        network_of(self.pipeline).to("cpu")  # it may have drawn, and the autoencoder needs the room
        self._tidy()
        form = self.pipeline.vae.dtype
        with quiet():
            vae = self.pipeline.vae.to(self.device, torch.float32)
        vae.disable_tiling()  # latents are what they are without
        total = sum(map(len, squares)) + sum(map(len, pictures))
        self._begin("Encoding photos", total)
        material = []
        for subject, photos, others in zip(self.subjects, squares, pictures, strict=True):
            captions = [caption_of(subject, photo) for photo in subject.photos]
            material.append(
                Material(
                    [self._encode(vae, square, caption) for square, caption in zip(photos, captions, strict=True)],
                    [
                        self._encode(vae, cropped(read_image(file), None, self.resolution), subject.class_prompt)
                        for file in others
                    ],
                )
            )
        with quiet():
            vae.to("cpu", form)
        vae.enable_tiling()
        self._tidy()
        return material

    def _encode(self, vae: Any, square: Square, caption: str) -> tuple[LatentPhoto, ...]:
        versions = (square, square.flipped()) if self.options.flip else (square,)
        self.progress()
        return tuple(encode(vae, version, caption, self.options.floor) for version in versions)

    def _class_images(self, subject: Subject, words: dict[str, Words]) -> list[Path]:
        if not self.options.prior:
            return []
        pictures, missing = self._class_pictures(subject)
        if missing:
            self._begin(f"Class images of {subject.class_word}", len(pictures), len(pictures) - len(missing))
            encoded, how = words[subject.class_prompt], self._how_drawn(subject)
            with quiet():
                make_class_pictures(self.pipeline, encoded, missing, how, self.device, self.progress)
        return pictures

    def _class_pictures(self, subject: Subject) -> tuple[list[Path], list[tuple[int, Path]]]:
        """Those that there are, and those to be made. In the run's own folder they may be replaced."""
        folder, redraw = class_folder(self.class_images, subject), self.options.class_images is None
        return class_pictures(folder, self.options.class_count, self._how_drawn(subject), redraw=redraw)

    def _how_drawn(self, subject: Subject) -> dict[str, Any]:
        more = {"resolution": self.resolution, "seed": self.options.seed}
        return {"model": self.base, "prompt": subject.class_prompt, **more}

    def _prepare(self, material: list[Material], words: dict[str, Words]) -> Training:
        options, network = self.options, network_of(self.pipeline)
        if options.method == "lora":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(options.seed)
                add_lora(self.pipeline, options.rank, words=options.text_encoder)
        if options.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        network.to(self.device)
        training = Training(self.pipeline, material, words, options, self.device, self.dtype)
        found = load_checkpoint(self.folder)
        if found is not None:
            step, state = found
            if state.get("class_images") != self.class_content:
                raise refuse_other(self.folder, "class images were changed")
            try:
                training.restore(state)
            except (KeyError, ValueError, RuntimeError, TypeError) as error:
                raise PersamError(
                    f"The checkpoint of step {step} in {self.folder} does not fit; begin anew with --overwrite."
                ) from error
            if training.step > self.steps:
                raise refuse_other(self.folder, f"steps was {training.step} or more and is {self.steps}")
        return training

    # ------------------------------------------------------------------------------------------------ the steps

    def _steps(self, training: Training, samples: dict[str, Words]) -> None:
        self._begin("Training", self.steps, training.step)
        self.kept = training.step  # of the latest checkpoint
        try:
            if self.kept and samples and self._is_due(self.kept):  # it may have been stopped between the two
                self._sample(training, samples)
            while training.step < self.steps:
                training.advance()
                done = training.step
                recent = training.losses[-_RECENT:]
                loss = sum(each.subject for each in recent) / len(recent)
                self.progress(done=done, what=f"Training, loss {loss:.4f}")
                if done % self.options.checkpoint_every == 0 or done == self.steps:
                    self._keep(training)
                if samples and self._is_due(done):
                    self._sample(training, samples)
        except KeyboardInterrupt as stop:
            self._keep_rest(training)
            stop.args = (
                f"{self.kept} of {self.steps} steps are kept in {self.folder}; the same command goes on from there.",
            )
            raise

    def _is_due(self, step: int) -> bool:
        every = self.options.sample_every
        return step == self.steps or (every is not None and step % every == 0)

    def _keep(self, training: Training) -> None:
        state = {**training.state(), "class_images": self.class_content}
        save_checkpoint(self.folder, training.step, state, self.asked)
        self.kept = training.step
        write_csv(
            self.folder / LOSSES,
            [
                ("step", "loss", "prior_loss"),
                *((number, f"{row.subject:.6g}", f"{row.prior:.6g}") for number, row in enumerate(training.losses, 1)),
            ],
        )

    def _keep_rest(self, training: Training) -> None:
        if training.is_whole and training.step > self.kept:
            self._keep(training)

    def _sample(self, training: Training, samples: dict[str, Words]) -> None:
        """Draw samples; where that fails, nothing of the training is lost."""
        try:
            with enough_memory(
                f"The memory of {self.device.type} does not suffice to draw samples in the training",
                "leave out --sample-prompt: the steps are kept, and the command goes on from there",
            ):
                self._tidy()
                self._draw(training, samples)
        except PersamError:
            self._keep_rest(training)
            raise

    def _draw(self, training: Training, samples: dict[str, Words]) -> None:
        self.pipeline.vae.to(self.device)
        with training.rest():
            encoded = {
                prompt: encode_words(self.pipeline, prompt)
                if self.options.text_encoder
                else {name: tensor.to(self.device) for name, tensor in words.items()}
                for prompt, words in samples.items()
            }
            draw_samples(
                self.pipeline,
                encoded,
                self.folder / SAMPLES,
                training.step,
                resolution=self.resolution,
                steps=self.options.sample_steps,
                seed=self.options.seed,
            )
        self.pipeline.vae.to("cpu")
        self._tidy()

    # -------------------------------------------------------------------------------------------------- the end

    def _finish(self, training: Training, family: str) -> Run:
        self.progress(done=self.steps, what="Saving")
        (self.folder / RUN).unlink(missing_ok=True)  # an earlier one would tell of other weights than are there
        if self.options.method == "lora":
            network_of(self.pipeline).to("cpu")
            keep_lora(self.pipeline, self.folder, words=self.options.text_encoder)
        else:
            self.pipeline.to("cpu")
            self.pipeline.register_modules(**self.taken_out)
            keep_pipeline(self.pipeline, self.ledger)
        tenth = max(1, self.steps // 10)
        losses = [row.subject for row in training.losses]
        more = {
            **{name: value for name, value in self.asked.items() if name not in _TOLD},
            **self.options.inconsequential(),
            "loss_of_first_tenth": sum(losses[:tenth]) / tenth,
            "loss_of_last_tenth": sum(losses[-tenth:]) / tenth,
            "seconds": round(monotonic() - self.start, 1),
            "versions": versions("diffusers", "peft", "accelerate"),
        }
        run = Run(
            self.folder,
            self.base,
            family,
            self.options.method,
            self.options.masked,
            self.resolution,
            self.steps,
            tuple(Subject(each.name, each.identifier, each.class_word, ()) for each in self.subjects),
            more,
        )
        write_run(run)
        remove_checkpoints(self.folder, keep=1)
        return run

    def _tidy(self) -> None:
        """Give back what PyTorch keeps of a GPU's memory, where the next part is going to need it."""
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
