"""Encoders for the confidence map alone: DINOv2, DINOv3, CLIP, SigLIP 2, C-RADIO, by name through transformers.

The paper reaches its best numbers with DINOv2 features and SAM's decoder.  The photo keeps its proportions: it is
resized to whole patches, about as many pixels as the square that the encoder was trained on, and no padding is needed,
because all of these interpolate their positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from persam.errors import PersamError, UsageError
from persam.geometry import Frame, Size
from persam.models.base import EncodedImage
from persam.models.encoder_features import SHARE, in_windows, joined, positional_basis, without_positions
from persam.models.encoder_name import KEPT, REMOVED, EncoderName
from persam.models.fingerprint import check_numbers, fingerprint_of, fingerprint_with, sampled_fingerprint_of
from persam.models.hub import hub_call, load_network

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ITSELF = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

_OTHERWISE = "do without another encoder"  # what one can do


@dataclass(frozen=True)
class EncoderFamily:
    """What encoders of one type have in common.

    Attributes:
        network: their class in transformers.
        colours: mean and standard deviation by which they take pixels.
        norm: the network's layer through which `last_hidden_state` has gone, and so an earlier layer's features go;
            None: through none.
        packed: whether the network takes a photo as patches with their number (SigLIP 2's NaFlex), not as pixels.
        positions: whether they are kept in the features, or removed, where nobody asks.
        options: what else `forward` is to be told.
    """

    network: str
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    norm: str | None
    packed: bool = False
    positions: str = KEPT
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


_ASK = {"interpolate_pos_encoding": True}  # what others do unasked
_CLIP = EncoderFamily("CLIPVisionModel", CLIP, None, options=_ASK)
_SIGLIP = EncoderFamily("SiglipVisionModel", HALF, "post_layernorm", options=_ASK)  # SigLIP 2 of a fixed size, too
_SIGLIP2 = EncoderFamily("Siglip2VisionModel", HALF, "post_layernorm", packed=True)
FAMILIES = {
    "dinov2": EncoderFamily("Dinov2Model", IMAGENET, "layernorm"),
    "dinov2_with_registers": EncoderFamily("Dinov2WithRegistersModel", IMAGENET, "layernorm"),
    "dinov3_vit": EncoderFamily("DINOv3ViTModel", IMAGENET, "norm", positions=REMOVED),
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
    "radio": EncoderFamily("RadioModel", ITSELF, None),
}


class TransformersEncoder:
    """Patch features of a vision transformer.

    Args:
        network: a vision model of transformers whose `last_hidden_state` is (1, tokens before + patches, C).
        name: how people call it, and what of it they want.
        kind: its model type, a key of `FAMILIES`.

    Raises:
        PersamError: the weights are damaged.
        UsageError: a layer that the network does not have, or a size of less than one patch.
    """

    def __init__(self, network: Any, *, name: EncoderName, kind: str, device: torch.device, dtype: torch.dtype):
        self.kind = kind
        self.device = device
        self.encoder_dtype = dtype
        self.family = FAMILIES[kind]
        check_numbers(network, name.base)
        self.asked = _complete(name, network.config, self.family)
        self.name = str(self.asked)
        weights, sampled = fingerprint_of(network), sampled_fingerprint_of(network)
        changes = [each for each in self.asked.options if each != f"positions={KEPT}"]
        if self.asked.positions == REMOVED:
            changes.append(f"share={SHARE}")
        self.fingerprint = fingerprint_with(weights, changes)
        self.sampled_fingerprint = fingerprint_with(sampled, changes)
        self.patch = int(network.config.patch_size)
        self.side = self.asked.size or _trained_side(network.config)
        mean, std = self.family.colours
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        self.network = network.eval().requires_grad_(False).to(device, torch.float32)
        self._bases = self._positional_bases() if self.asked.positions == REMOVED else []
        self.network.to(dtype)

    @classmethod
    def load(cls, name: str, device: torch.device, dtype: torch.dtype) -> TransformersEncoder:
        """Load by hub id or local folder, with or without options behind it, see `EncoderName`.

        Raises:
            PersamError: not to be had, or of a kind that is not supported.
            UsageError: an option that there is not, or a value that it does not take.
        """
        import transformers

        asked = EncoderName.read(name)
        kind = hub_call(asked.base, transformers.AutoConfig.from_pretrained, otherwise=_OTHERWISE).model_type
        if kind not in FAMILIES:
            raise PersamError(
                f"{asked.base} is of type {kind}, which persam cannot use for the confidence map; use a model with "
                "patch features: a DINOv2, DINOv3, CLIP, SigLIP 2 or C-RADIO, such as facebook/dinov2-base."
            )
        network = load_network(asked.base, getattr(transformers, FAMILIES[kind].network), otherwise=_OTHERWISE)
        return cls(network, name=asked, kind=kind, device=device, dtype=dtype)

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB, to features (1, C, rows, columns)."""
        return self.encode_many([image])[0]

    @torch.inference_mode()
    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode photos of any sizes, each (H, W, 3) uint8 RGB: those of about the same proportions in one pass."""
        frames = [self._frame((image.shape[0], image.shape[1])) for image in images]
        alike: dict[Size, list[int]] = {}
        for number, frame in enumerate(frames):
            alike.setdefault(frame.grid, []).append(number)
        found: dict[int, EncodedImage] = {}
        for (rows, columns), numbers in alike.items():
            pixels = torch.cat([self._resized(images[number], frames[number].canvas) for number in numbers])
            count = self.asked.windows
            window = rows // count, columns // count
            features = in_windows(pixels, self._encode_at_once, count=count, window=window, patch=self.patch)
            for number, one in zip(numbers, features.split(1), strict=True):
                found[number] = EncodedImage(one, frames[number])
        return [found[number] for number in range(len(images))]

    def _frame(self, photo: Size) -> Frame:
        """Where a photo of this size lies on its canvas, of about as many pixels as the encoder was trained on."""
        scale = self.side / (photo[0] * photo[1]) ** 0.5
        rows, columns = (self._patches(length * scale) * self.asked.windows for length in photo)
        return Frame.stretched(photo, (rows * self.patch, columns * self.patch), (rows, columns))

    @staticmethod
    def _resized(image: np.ndarray, canvas: Size) -> Tensor:
        """Pixels (1, 3, height, width) uint8."""
        resized = Image.fromarray(image).resize((canvas[1], canvas[0]), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None]

    def _patches(self, pixels: float) -> int:
        return max(1, round(pixels / self.patch))

    def _encode_at_once(self, pixels: Tensor) -> Tensor:
        """Features (B, C, rows, columns) of pixels (B, 3, height, width) uint8, in one pass of the network."""
        layers = self._layers(pixels)
        if self._bases:
            layers = [without_positions(layer, basis) for layer, basis in zip(layers, self._bases, strict=True)]
        return joined(layers)

    def _layers(self, pixels: Tensor) -> list[Tensor]:
        """The features of every layer that was asked for."""
        grid = pixels.shape[2] // self.patch, pixels.shape[3] // self.patch
        given = ((pixels.to(self.device).float() / 255 - self._mean) / self._std).to(self.network.dtype)
        wanted = self.asked.layers
        output = self.network(**self._inputs(given, grid), **self.family.options, output_hidden_states=bool(wanted))
        last = self.network.config.num_hidden_layers
        tokens = [
            output.last_hidden_state if each == last else output.hidden_states[each] for each in wanted or (last,)
        ]
        if self.family.norm is not None:
            norm = getattr(self.network, self.family.norm)
            tokens = [each if each is output.last_hidden_state else norm(each) for each in tokens]
        count = grid[0] * grid[1]  # behind the class token and any registers
        return [
            each[:, each.shape[1] - count :].float().transpose(1, 2).reshape(len(each), -1, *grid) for each in tokens
        ]

    def _inputs(self, pixels: Tensor, grid: Size) -> dict[str, Tensor]:
        """What the network takes."""
        if not self.family.packed:
            return {"pixel_values": pixels}
        many = len(pixels)
        patches = pixels.reshape(many, 3, grid[0], self.patch, grid[1], self.patch).permute(0, 2, 4, 3, 5, 1)
        patches = patches.reshape(many, grid[0] * grid[1], -1)
        return {
            "pixel_values": patches,
            "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.long, device=self.device),
            "spatial_shapes": torch.tensor([grid] * many, device=self.device),
        }

    @torch.inference_mode()
    def _positional_bases(self) -> list[Tensor]:
        """Of every layer that was asked for, the subspace of positions, seen in a black square.

        In float32 whatever the dtype, so that concepts serve in every dtype: rounding has directions of its own.
        """
        side = self._patches(self.side) * self.patch
        return [positional_basis(layer) for layer in self._layers(torch.zeros(1, 3, side, side))]


def _trained_side(config: Any) -> int:
    """Pixels of a side of the square that the network was trained on."""
    if hasattr(config, "image_size"):
        return int(np.max(config.image_size))  # a number, or one for each side
    return round(config.num_patches**0.5) * int(config.patch_size)


def _complete(name: EncoderName, config: Any, family: EncoderFamily) -> EncoderName:
    """A name that says what will be done and nothing else, so that the same has the same name.

    Raises:
        UsageError: a layer that the network does not have, or a size of less than one patch.
    """
    last = config.num_hidden_layers
    if name.layers and name.layers[-1] > last:
        raise UsageError(f"{name}: {name.base} has no layer {name.layers[-1]}; it has {last}, counted from 1.")
    if name.size is not None and name.size < config.patch_size:
        raise UsageError(f"{name}: @size={name.size} is less than a patch of {config.patch_size} pixels; give more.")
    positions = name.positions or family.positions
    return replace(
        name,
        layers=() if name.layers == (last,) else name.layers,
        size=None if name.size == _trained_side(config) else name.size,
        positions=None if positions == family.positions == KEPT else positions,
    )
