"""Finders by words: a photo and a word or two in, masks of all that they name out; by name through transformers.

SAM 3's detector draws the masks itself; for Grounding DINO, which finds boxes, the promptable model draws them
(`grounding_dino.py`).  Words name a kind of thing, not one thing: every mug in a photo is "mug".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import PersamError, UsageError
from persam.files import writable
from persam.geometry import Size
from persam.models.base import PromptableModel, no_numbers
from persam.models.fingerprint import check_numbers, fingerprint_of
from persam.models.hub import hub_call, load_network
from persam.models.loading import choose_device, choose_dtype
from persam.models.pixels import HALF, MeanStd, as_channels, pixels_of, stretched

SUCH_AS = "facebook/sam3 or IDEA-Research/grounding-dino-tiny"
OTHERWISE = "show the object by a mask"
SURE = 0.5  # score from which on SAM 3 is taken to have found something, as its authors have it
ONE_THING = 0.5  # IoU from which on two masks are of one thing, of which the surer one counts
MOST = 50  # things in one photo: each has a mask of its size
_SAM3 = ("sam3", "sam3_video")  # the detector, and all of SAM 3, of which it is a part
_GROUNDING_DINO = "grounding-dino"


@dataclass(frozen=True, eq=False)
class Named:
    """What words name in a photo, the surest first.

    Attributes:
        masks: (n, H, W) bool, each of one thing, none of them empty; n is at most `MOST`, and perhaps 0.
        scores: (n,) float32, the finder's probability that the words mean it, 0 to 1.
    """

    masks: np.ndarray
    scores: np.ndarray


@runtime_checkable
class WordFinder(Protocol):
    """A model that finds by words."""

    @property
    def name(self) -> str:
        """How people call it."""
        ...

    def find_words(self, image: np.ndarray, text: str) -> Named:
        """Find all that the text names.

        Args:
            image: (H, W, 3) uint8 RGB.
            text: a word or two, such as ``"red mug"``.

        Raises:
            UsageError: see `check_text`.
            PersamError: numbers came out that are none.
        """
        ...

    def check_text(self, text: str) -> None:
        """See that it can be asked for a text.

        Raises:
            UsageError: the text is empty, or longer than the model reads.
        """
        ...


class Sam3Finder:
    """SAM 3's detector, frozen.

    Args:
        network: transformers' `Sam3Model`.
        tokenizer: its own.
        name: how people call it.
        device: where it computes.
        dtype: number format in which it does.
        pixels: mean and deviation of the pixels, of 0..1.
        threshold: score from which on something counts as found.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        pixels: MeanStd = HALF,
        threshold: float = SURE,
    ) -> None:
        self.name, self.device, self.dtype, self.threshold = name, device, dtype, threshold
        check_numbers(network, name)
        self.fingerprint = fingerprint_of(network)
        self.network = network.eval().requires_grad_(False).to(device, dtype)
        self.tokenizer = tokenizer
        self.longest_text = int(network.config.text_config.max_position_embeddings)  # tokens
        self._mean, self._std = (as_channels(each, device) for each in pixels)
        self._last: tuple[bytes, Any] | None = None

    def find_words(self, image: np.ndarray, text: str) -> Named:
        """See `WordFinder.find_words`."""
        odds, scores = self.answers(image, text)
        likely = scores.argsort(descending=True, stable=True)
        likely = likely[scores[likely] > self.threshold]
        shares = odds[likely].sigmoid()
        kept = distinct(shares > 0.5)
        return Named(masks_of(shares[kept], (image.shape[0], image.shape[1])), scores[likely][kept].cpu().numpy())

    def check_text(self, text: str) -> None:
        """See `WordFinder.check_text`."""
        self.tokens(text)

    @torch.inference_mode()
    def answers(self, image: np.ndarray, text: str) -> tuple[Tensor, Tensor]:
        """What all of the network's queries answer, in no order, whether or not they found anything.

        Returns:
            Log odds of every place, (Q, h, w) over all of the photo, and scores, (Q,) of 0..1.
        """
        words = self.tokens(text)
        out = self.network(vision_embeds=self._look_at(image), **words)
        odds, scores = out.pred_masks[0].float(), out.pred_logits[0].float().sigmoid()
        scores = scores * out.presence_logits[0].float().sigmoid()
        if not bool(torch.isfinite(odds).all() and torch.isfinite(scores).all()):
            raise no_numbers(self.name, "the photo")
        return odds, scores

    def tokens(self, text: str) -> dict[str, Tensor]:
        """The text as the network reads it, filled up to its longest text, as it was trained.

        Raises:
            UsageError: it is empty, or too long.
        """
        text = words_of(text)
        check_length(text, len(self.tokenizer(text)["input_ids"]), self.longest_text, self.name)
        words = self.tokenizer(text, padding="max_length", max_length=self.longest_text, return_tensors="pt")
        return {key: words[key].to(self.device) for key in ("input_ids", "attention_mask")}

    def _look_at(self, image: np.ndarray) -> Any:
        """What the network sees in a photo: by far the most work, and the same for all words, so the last is kept."""
        key = hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).digest()
        last = self._last  # another thread may put its own there at any time
        if last is None or last[0] != key:
            side = int(self.network.config.image_size)
            pixels = stretched(image, side, self._mean, self._std).to(self.dtype)
            last = self._last = key, self.network.get_vision_features(pixel_values=pixels)
        return last[1]


def load_finder(
    name: str | Path,
    *,
    model: PromptableModel | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> WordFinder:
    """Load a finder by hub id (`"facebook/sam3"`) or local folder, with its tokenizer. Its configuration tells its
    kind.

    Args:
        name: as transformers has it: SAM 3, all of it or its detector, or Grounding DINO.
        model: what draws masks in the boxes of Grounding DINO; SAM 3 needs none.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: number format of SAM 3: `auto`, `float32`, `bfloat16`, `float16`.

    Raises:
        PersamError: not to be had, damaged, without a tokenizer, or of a kind that finds nothing by words.
        UsageError: an unknown device or dtype; no name; or Grounding DINO without a model.
    """
    import transformers

    place, name = choose_device(device), str(name)
    if not name.strip():
        raise UsageError(f"A finder is named by a hub id or a folder, such as {SUCH_AS}.")
    numbers = choose_dtype(dtype, place)
    kind = hub_call(name, transformers.AutoConfig.from_pretrained, otherwise=OTHERWISE).model_type
    if kind == _GROUNDING_DINO:
        from persam.models.grounding_dino import GroundingDino, GroundingDinoFinder

        if model is None:
            raise UsageError(f"{name} finds boxes and no masks; give the model that draws them: model=...")
        return GroundingDinoFinder(GroundingDino.load(name, place), model)
    if kind not in _SAM3:
        raise PersamError(
            f"{name} is a model of type {kind}, which finds nothing by words; name SAM 3 or Grounding DINO, such as "
            f"{SUCH_AS}."
        )
    network = load_network(name, transformers.Sam3Model, otherwise=OTHERWISE)
    tokenizer = load_tokenizer(name)
    return Sam3Finder(network, tokenizer, name=name, device=place, dtype=numbers, pixels=pixels_of(name, HALF))


def load_tokenizer(name: str, *, otherwise: str = OTHERWISE) -> Any:
    """The tokenizer of a model, with the words that it knows: without its files transformers makes one up of none.

    Args:
        name: hub id or folder of the model.
        otherwise: what one can do where it is not to be had.

    Raises:
        PersamError: there is none.
    """
    from transformers import AutoTokenizer

    def load(place: str, **how: Any) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(place, **how)
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            # Weights that were downloaded without it are no reason not to ask the hub, so it is an error of loading.
            raise OSError("it has no tokenizer (tokenizer.json), so that it can read no words.")
        return tokenizer

    return hub_call(name, load, otherwise=otherwise)


def reads_words(name: str) -> bool:
    """Whether a promptable model, named as `persam.models.loading.load_model` takes it, can find by words by itself.

    Raises:
        PersamError: it is neither on this machine nor to be had.
    """
    from transformers import AutoConfig

    from persam.models.loading import BUNDLED

    if name == BUNDLED or Path(name).suffix in {".pth", ".pt", ".safetensors"}:
        return False
    return hub_call(name, AutoConfig.from_pretrained).model_type in _SAM3


def words_of(text: str) -> str:
    """The words of a text, with one blank between them.

    Raises:
        UsageError: there is none.
    """
    words = " ".join(writable(text).split())
    if not any(letter.isalnum() for letter in words):
        raise UsageError(f"The text {text!r} names nothing; say in a word or two what the object is, such as red mug.")
    return words


def check_length(text: str, tokens: int, most: int, name: str) -> None:
    """See that a finder reads all of a text: what it left out it would not look for.

    Raises:
        UsageError: it does not.
    """
    if tokens > most:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise UsageError(
            f"The text {shown!r} is too long for {name}, which reads {most} tokens and not {tokens}; say it in a word "
            "or two, such as red mug."
        )


def distinct(masks: Tensor) -> Tensor:
    """Which of masks, (n, h, w) bool, the surest first, are of things of their own: no surer one is of the same thing.

    Returns:
        Their numbers, in order, (m,); those of empty masks are not among them, and no more than `MOST`.
    """
    flat = masks.flatten(1).float()
    areas = flat.sum(1)
    common = flat @ flat.T
    same = common >= ONE_THING * (areas[:, None] + areas[None] - common)
    kept: list[int] = []
    for number in range(len(masks)):
        if areas[number] > 0 and not any(bool(same[number, other]) for other in kept) and len(kept) < MOST:
            kept.append(number)
    return torch.tensor(kept, dtype=torch.long, device=masks.device)


def masks_of(shares: Tensor, size: Size) -> np.ndarray:
    """Masks of a photo, (n, H, W) bool: where probabilities, (n, h, w) over all of the photo, exceed one half."""
    found = np.zeros((len(shares), *size), bool)
    for number, each in enumerate(shares):  # one by one: as numbers, all of them would take gigabytes
        larger = F.interpolate(each[None, None], size, mode="bilinear", align_corners=False)[0, 0]
        found[number] = (larger > 0.5).cpu().numpy()
    return found
