"""The training itself: step after step, each of which depends on the weights, the seed and its own number alone.

One process on one device. PyTorch's own autocast and gradient scaler are used, not accelerate's `Accelerator`: that
keeps its number format for the whole process, and a second training in the same Python could not choose another.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from persam.dreambooth.checkpoints import State
from persam.dreambooth.families import (
    RATE_OF_WORDS,
    WEIGHT_DECAY,
    Objective,
    Words,
    encode_words,
    text_encoders,
    trainable_text_encoders,
)
from persam.dreambooth.loss import weighted_mean
from persam.dreambooth.material import LatentPhoto
from persam.dreambooth.options import TrainOptions, seed_of
from persam.dreambooth.pipelines import PipelineFamily, family_of, network_of
from persam.errors import PersamError

_LARGEST_GRADIENT = 1.0  # norm, as in diffusers' scripts


@dataclass(frozen=True, eq=False)
class Material:
    """What a subject is taught by.

    Attributes:
        photos: of the subject, each as it is and, where photos are flipped, mirrored.
        prior: other things of its kind, likewise; none: without prior preservation.
    """

    photos: Sequence[tuple[LatentPhoto, ...]]
    prior: Sequence[tuple[LatentPhoto, ...]]


class Losses(NamedTuple):
    """Of a step: the subject's, and prior preservation's before it is weighted (0 where there is none)."""

    subject: float
    prior: float


class Training:
    """A model that is being trained.

    Args:
        pipeline: its network, and text encoders where they are trained, are on the device.
        material: of each subject; steps go round them.
        words: captions that are encoded; those of trained text encoders are encoded in each step instead.
        options: how.
        device, dtype: of the computation; weights that are trained are float32.

    Attributes:
        step: how many are done.
        losses: of each step.
        is_whole: whether weights and optimizer belong to `step`; they do not after an error within a step.
    """

    def __init__(
        self,
        pipeline: Any,
        material: Sequence[Material],
        words: dict[str, Words],
        options: TrainOptions,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.pipeline, self.material, self.words, self.options = pipeline, material, words, options
        self.device, self.dtype = device, dtype
        self.network = network_of(pipeline)
        self.objective = Objective(pipeline)
        self.step, self.is_whole = 0, True
        self.losses: list[Losses] = []
        self.trained = trained_tensors(pipeline, words=options.text_encoder)
        self.optimizer = _adam(options.eight_bit)(_groups(self.trained, family_of(pipeline), options.rate))
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def advance(self) -> Losses:
        """Do a step.

        Raises:
            PersamError: the loss is no number any more.
        """
        self._set_training(True)
        count = self.options.accumulate
        with self._random():
            parts = [self._backward(self.step * count + number, count) for number in range(count)]
            losses = Losses(sum(part.subject for part in parts) / count, sum(part.prior for part in parts) / count)
            if not math.isfinite(losses.subject + losses.prior):
                raise PersamError(
                    f"The loss is no number any more in step {self.step + 1}: take a lower learning rate than "
                    f"{self.options.rate:g}, or another dtype than {str(self.dtype).removeprefix('torch.')}."
                )
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(list(self.trained.values()), _LARGEST_GRADIENT)
            with _undisturbed():
                self.is_whole = False
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.step += 1
                self.losses.append(losses)
                self.is_whole = True
        self.optimizer.zero_grad(set_to_none=True)
        return losses

    def state(self) -> State:
        """All that the next step depends on."""
        return {
            "step": self.step,
            "trained": {name: tensor.detach().cpu() for name, tensor in self.trained.items()},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }

    def restore(self, state: State) -> None:
        """Take up what `state` gave.

        Raises:
            KeyError, ValueError, RuntimeError: it is of another training.
        """
        if set(state["trained"]) != set(self.trained):
            raise ValueError("other weights are trained")
        with torch.no_grad():
            for name, tensor in self.trained.items():
                tensor.copy_(state["trained"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])
        self.losses = [Losses(*row) for row in state["losses"].tolist()]

    @contextmanager
    def rest(self) -> Iterator[None]:
        """While the block runs, the network draws pictures instead of learning."""
        self._set_training(False)
        with torch.no_grad(), self._autocast(), self._exact_decoding():
            yield

    # ------------------------------------------------------------------------------------------------- inside

    def _backward(self, number: int, count: int) -> Losses:
        """Add the gradients of the photo with this number, and of the class image beside it, which goes alone: two
        passes of one picture need half of the memory of one pass of two."""
        subject = number % len(self.material)
        material, turn = self.material[subject], number // len(self.material)
        torch.manual_seed(self._seed("network", number))  # for dropout, where a network has it
        found = []
        for what, pictures in (("photo", material.photos), ("prior", material.prior)):
            if not pictures:
                found.append(0.0)
                continue
            weight = self.options.prior if what == "prior" else 1.0
            generator = torch.Generator().manual_seed(self._seed(what, number))
            versions = pictures[self._place_in_turn(len(pictures), turn, f"{what} {subject}")]
            chosen = versions[int(torch.randint(len(versions), (1,), generator=generator))]
            loss = self._loss(chosen, generator)
            self.scaler.scale(loss * weight / count).backward()
            found.append(float(loss.detach()))
        return Losses(*found)

    def _loss(self, photo: LatentPhoto, generator: torch.Generator) -> torch.Tensor:
        clean = photo.draw(generator)
        noise = torch.randn(clean.shape, generator=generator)
        time = self.objective.draw_time(generator)
        noised = self.objective.noised(clean.to(self.device), noise.to(self.device), time)
        with self._autocast():
            found = self.objective.predict(self.network, noised, self._words(photo.caption), photo.size_ids)
        weights = None if photo.weights is None else photo.weights.to(self.device)
        return weighted_mean(self.objective.error(found, noised), weights)

    def _words(self, caption: str) -> Words:
        if self.options.text_encoder:
            return encode_words(self.pipeline, caption, guided=False)
        return {name: tensor.to(self.device) for name, tensor in self.words[caption].items()}

    def _place_in_turn(self, count: int, turn: int, what: str) -> int:
        """Which of `count` has its turn: each once in another order, and then again."""
        round_, place = divmod(turn, count)
        generator = torch.Generator().manual_seed(self._seed(what, round_))
        return int(torch.randperm(count, generator=generator)[place])

    def _seed(self, what: str, number: int) -> int:
        return seed_of(self.options.seed, what, number)

    def _random(self) -> Any:
        """Leave the random numbers of whoever calls as they were."""
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        return torch.random.fork_rng(devices=devices)

    def _autocast(self) -> Any:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    @contextmanager
    def _exact_decoding(self) -> Iterator[None]:
        """Keep the autoencoder out of autocast: SDXL's overflows in fp16, which makes pictures black, so that its
        pipeline decodes in float32."""
        vae = self.pipeline.vae
        decode = vae.decode

        def exact(latents: torch.Tensor, *args: Any, **more: Any) -> Any:
            with torch.autocast(self.device.type, enabled=False):
                return decode(latents.to(vae.dtype), *args, **more)

        if self.dtype == torch.float32:
            yield
            return
        vae.decode = exact
        try:
            yield
        finally:
            del vae.decode  # the class's own is there again

    def _set_training(self, on: bool) -> None:
        self.network.train(on)
        if self.options.text_encoder:
            for part in trainable_text_encoders(self.pipeline).values():
                part.train(on)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off until the block has ended: half a step could not be kept."""
    if threading.current_thread() is not threading.main_thread():  # where signals never arrive
        yield
        return
    came: list[int] = []
    before = {
        each: signal.signal(each, lambda number, _: came.append(number))
        for each in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(each) is not None
    }
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    for number in came:
        signal.raise_signal(number)


def trained_tensors(pipeline: Any, *, words: bool) -> dict[str, torch.nn.Parameter]:
    """The weights that are trained, by part and name, which are float32 from here on. They were chosen before."""
    parts = {family_of(pipeline).network: network_of(pipeline)}
    if words:
        parts |= trainable_text_encoders(pipeline)
    found = {}
    for part, module in parts.items():
        for name, tensor in module.named_parameters():
            if tensor.requires_grad:
                tensor.data = tensor.data.float()
                found[f"{part}.{name}"] = tensor
    return found


def choose_trained(pipeline: Any, *, words: bool, full: bool) -> None:
    """Say which weights have a gradient: with `full` all of the network's, and of CLIP's text encoders with `words`;
    otherwise none, before LoRA's layers are added."""
    for part in (pipeline.vae, network_of(pipeline), *text_encoders(pipeline).values()):
        part.requires_grad_(False)
        part.eval()
    if full:
        network_of(pipeline).requires_grad_(True)
        if words:
            for part in trainable_text_encoders(pipeline).values():
                part.requires_grad_(True)


def _groups(trained: dict[str, torch.nn.Parameter], family: PipelineFamily, rate: float) -> list[dict[str, Any]]:
    """Weights with their rate and decay, as an optimizer takes them."""
    of_network = {"lr": rate, "weight_decay": WEIGHT_DECAY[family.key]}
    of_words = RATE_OF_WORDS.get(family.key, of_network)
    network: list[torch.nn.Parameter] = []
    words: list[torch.nn.Parameter] = []
    for name, tensor in trained.items():
        (network if name.startswith(f"{family.network}.") else words).append(tensor)
    groups: list[dict[str, Any]] = [{"params": network, **of_network}, {"params": words, **of_words}]
    return [group for group in groups if group["params"]]


def _adam(eight_bit: bool) -> Any:
    if eight_bit:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit
    return torch.optim.AdamW
