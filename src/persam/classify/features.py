"""What a photo is known by: one vector, of all of it or of the object alone.

Of CLIP it is the embedding that words have, too; of any other encoder the mean of the cells under the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import PersamError, UsageError
from persam.models.base import EncodedImage, FeatureEncoder
from persam.models.clip import picture_vectors, text_vectors
from persam.models.encoder_name import EncoderName
from persam.models.encoders import CLIP
from persam.models.fingerprint import check_numbers
from persam.models.hub import hub_call, load_network
from persam.models.loading import choose_device, choose_dtype, load_encoder
from persam.models.pixels import pixels_of
from persam.models.words import load_tokenizer

PROMPT = "a photo of a {}."  # as CLIP's authors ask
MARGIN = 0.1  # of the longer side of the object's box, around it
_OTHERWISE = "leave out --encoder"


class PhotoFeatures(Protocol):
    """Makes vectors of photos.

    Attributes:
        name: of the encoder.
        needs_encoding: whether `of` has to be given what the model that segments encoded.
    """

    name: str
    needs_encoding: bool

    def of(self, image: np.ndarray, masks: Sequence[np.ndarray | None], encoded: EncodedImage | None = None) -> Tensor:
        """Features of a photo, (N, C) float32 of length 1, for N masks.

        Args:
            image: (H, W, 3) uint8 RGB.
            masks: (H, W) bool, True on the object; None, or one without a pixel: all of the photo.
            encoded: the photo as the model that segments encoded it.
        """
        ...

    def of_words(self, names: Sequence[str]) -> Tensor | None:
        """Features of classes' names, (classes, C) float32 of length 1; None for an encoder that knows no words."""
        ...


class PooledFeatures:
    """The mean of an encoder's cells: those under the mask, or all that show the photo.

    Args:
        encoder: DINOv2, ... (`persam.models.encoders`), or None: what the model that segments sees.
        name: of the encoder.
    """

    def __init__(self, encoder: FeatureEncoder | None, name: str) -> None:
        self.encoder, self.name, self.needs_encoding = encoder, name, encoder is None

    @torch.inference_mode()
    def of(self, image: np.ndarray, masks: Sequence[np.ndarray | None], encoded: EncodedImage | None = None) -> Tensor:
        """See `PhotoFeatures.of`."""
        if self.encoder is not None:
            encoded = self.encoder.encode(image)
        if encoded is None:
            raise UsageError("The model's own features are wanted; give what it encoded.")
        cells = encoded.features[0].flatten(1).float()  # (C, rows x columns)
        device = cells.device
        found = []
        for mask in masks:
            whole = mask is None or not mask.any()
            under = encoded.frame.inside(device=device) if whole else encoded.frame.cells_under(torch.tensor(mask))
            found.append(cells[:, under.to(device).flatten()].mean(1))
        return F.normalize(torch.stack(found), dim=1).cpu()

    def of_words(self, names: Sequence[str]) -> None:
        """None: it knows no words."""


class ClipPhotoFeatures:
    """CLIP's embeddings of photos and of words.

    Of an object alone: the photo with all else in the mean colour, which is 0 to the network, cut to a square around
    the object.

    Args:
        network: transformers' `CLIPModel`.
        tokenizer: its own, or None: then it is asked no words.
        name: how people call it.
        processor: how it takes photos, transformers' `CLIPImageProcessorPil`.
        device: where it computes.
        dtype: number format in which it does.
        prompt: a sentence with ``{}`` where a class's name goes.

    Raises:
        PersamError: a weight is NaN or infinite.
        UsageError: the prompt has no place for a name.
    """

    needs_encoding = False

    def __init__(
        self,
        network: Any,
        tokenizer: Any | None,
        *,
        name: str,
        processor: Any,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        prompt: str = PROMPT,
    ) -> None:
        if prompt.count("{}") != 1:
            raise UsageError(f"The prompt {prompt!r} needs one {{}} for the class's name, such as {PROMPT!r}.")
        check_numbers(network, name)
        self.network = network.eval().requires_grad_(False).to(device, dtype)
        self.tokenizer, self.processor, self.name, self.prompt = tokenizer, processor, name, prompt
        self.device, self.dtype = device, dtype
        self._empty = np.round(255 * np.asarray(processor.image_mean)).astype(np.uint8)

    @classmethod
    def load(
        cls, name: str, device: torch.device, dtype: torch.dtype, *, words: bool = True, prompt: str = PROMPT
    ) -> ClipPhotoFeatures:
        """Load a CLIP by hub id or local folder.

        Raises:
            PersamError: not to be had, damaged, or without a tokenizer though `words` are wanted.
        """
        from transformers import CLIPImageProcessorPil, CLIPModel

        network = load_network(name, CLIPModel, otherwise=_OTHERWISE)
        tokenizer = None
        if words:
            try:
                tokenizer = load_tokenizer(name)
            except PersamError as error:
                raise PersamError(
                    f"{name} has no tokenizer, so that it cannot be asked for the classes' names; get it again with "
                    "tokenizer.json, or leave the words out with --no-words."
                ) from error
        mean, std = pixels_of(name, CLIP)
        side = int(network.config.vision_config.image_size)
        processor = CLIPImageProcessorPil(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=list(mean),
            image_std=list(std),
        )
        return cls(network, tokenizer, name=name, processor=processor, device=device, dtype=dtype, prompt=prompt)

    @torch.inference_mode()
    def of(self, image: np.ndarray, masks: Sequence[np.ndarray | None], encoded: EncodedImage | None = None) -> Tensor:
        """See `PhotoFeatures.of`."""
        pictures = [image if mask is None or not mask.any() else self.object_alone(image, mask) for mask in masks]
        pixels = [
            self.processor(images=each, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
            for each in pictures
        ]
        return F.normalize(picture_vectors(self.network, torch.cat(pixels).to(self.device, self.dtype)), dim=1).cpu()

    @torch.inference_mode()
    def of_words(self, names: Sequence[str]) -> Tensor | None:
        """See `PhotoFeatures.of_words`. In a name ``_`` stands for a blank."""
        if self.tokenizer is None:
            return None
        # Not `format`: other braces in a prompt mean themselves.
        texts = [self.prompt.replace("{}", " ".join(name.replace("_", " ").split())) for name in names]
        return F.normalize(text_vectors(self.network, self.tokenizer, texts), dim=1).cpu()

    def object_alone(self, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The object of a mask, (H, W) bool, on the mean colour, as a square picture (S, S, 3) uint8."""
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        side = max(1, round(max(width, height) * (1 + 2 * MARGIN)))
        square = np.empty((side, side, 3), np.uint8)
        square[:] = self._empty
        top, left = (side - height) // 2, (side - width) // 2
        inside = mask[y : y + height, x : x + width]
        square[top : top + height, left : left + width][inside] = image[y : y + height, x : x + width][inside]
        return square


def load_features(
    name: str | None,
    *,
    model_name: str = "tiny",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    words: bool = True,
    prompt: str = PROMPT,
) -> PhotoFeatures:
    """Load what makes vectors of photos.

    Args:
        name: None: the model's own features; a CLIP, whose words are used too; or any encoder that `persam.models.
            encoders` takes, also a CLIP with options (``@layers=9``), of which no words are used.
        model_name: how the model is called, where its own features are taken.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: `auto`, `float32`, `bfloat16` or `float16`.
        words: use CLIP's words.
        prompt: what CLIP is asked, with ``{}`` for a class's name.

    Raises:
        PersamError: not to be had, or of a kind that is not supported.
        UsageError: an unknown option, device or dtype, or a prompt without ``{}``.
    """
    if name is None:
        return PooledFeatures(None, model_name)
    from transformers import AutoConfig

    asked = EncoderName.read(name)
    place = choose_device(device)
    kind = hub_call(asked.base, AutoConfig.from_pretrained, otherwise=_OTHERWISE).model_type
    if kind == "clip" and not asked.options:
        return ClipPhotoFeatures.load(name, place, choose_dtype(dtype, place), words=words, prompt=prompt)
    return PooledFeatures(load_encoder(name, device=device, dtype=dtype), name)
