"""What pictures and words look like to CLIP, DINO and Inception: the vectors that scores compare.

Each network sees a picture as its own image processor prepares it, as transformers does that without torchvision.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from persam.errors import PersamError, UsageError, first_line
from persam.models.base import no_numbers
from persam.models.clip import picture_vectors, text_vectors
from persam.models.fingerprint import check_numbers, fingerprint_of
from persam.models.hub import hub_call, load_network
from persam.models.words import load_tokenizer

CLIP, DINO = "openai/clip-vit-base-patch32", "facebook/dino-vits16"
_OTHERWISE = "name a folder that holds one"
# What a picture is known by is the class token as the last layer norm leaves it: DINO's own feature.
_DINO_NETWORKS = {
    "vit": ("ViTModel", {"add_pooling_layer": False}),  # the pooling layer of facebook/dino-* was never trained
    "dinov2": ("Dinov2Model", {}),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", {}),
    "dinov3_vit": ("DINOv3ViTModel", {}),
}


class PictureFeatures(Protocol):
    """What gives a vector for a picture.

    Attributes:
        name: as a table names it.
        fingerprint: of its weights.
    """

    name: str
    fingerprint: str

    def of_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Vectors (N, d) float32, of any length, of pictures (H, W, 3) uint8 RGB of any size."""
        ...


class ClipFeatures:
    """CLIP, for pictures and words.

    Args:
        name: hub id or folder of a `CLIPModel` with its tokenizer.
        device: where it computes.

    Raises:
        PersamError: it is not to be had, damaged, or another kind of model.
    """

    def __init__(self, name: str, device: torch.device) -> None:

        kind = _kind_of(name)
        if kind != "clip":
            raise PersamError(f"{name} is of type {kind}, not CLIP with both halves, pictures and words; name {CLIP}.")
        self.name, self.device = name, device
        self.network = _loaded(name, "CLIPModel", device)
        self.fingerprint = fingerprint_of(self.network)
        self.processor = _processor(name)
        self.tokenizer = load_tokenizer(name, otherwise=_OTHERWISE)

    @torch.inference_mode()
    def of_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See `PictureFeatures.of_pictures`."""
        pixels = _pixels(self.processor, pictures, self.device)
        return _checked(picture_vectors(self.network, pixels), self.name)

    @torch.inference_mode()
    def of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (N, d) float32 of words, cut at what CLIP reads."""
        return _checked(text_vectors(self.network, self.tokenizer, texts), self.name)


class DinoFeatures:
    """DINO, DINOv2 or DINOv3: the class token.

    Args:
        name: hub id or folder.
        device: where it computes.

    Raises:
        PersamError: it is not to be had, damaged, or another kind of model.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        kind = _kind_of(name)
        if kind not in _DINO_NETWORKS:
            raise PersamError(f"{name} is of type {kind}, no DINO; name one, such as {DINO} or facebook/dinov2-base.")
        self.name, self.device = name, device
        network, options = _DINO_NETWORKS[kind]
        self.network = _loaded(name, network, device, **options)
        self.fingerprint = fingerprint_of(self.network)
        self.processor = _processor(name)

    @torch.inference_mode()
    def of_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See `PictureFeatures.of_pictures`."""
        pixels = _pixels(self.processor, pictures, self.device)
        return _checked(self.network(pixel_values=pixels).last_hidden_state[:, 0], self.name)


class NoInceptionError(PersamError):
    """InceptionV3 cannot be had; `why` says so in few words, for the note under a table."""

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


class InceptionFeatures:
    """The Inception v3 of FID and KID, 2048 numbers a picture, from torch-fidelity.

    Args:
        device: where it computes.

    Raises:
        NoInceptionError: torch-fidelity or torchvision cannot be imported, or the weights are not to be had.
    """

    name = "InceptionV3"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        try:
            home = import_module("torch_fidelity.feature_extractor_inceptionv3")
        except (ImportError, RuntimeError) as error:  # torchvision beside another build of PyTorch: RuntimeError
            raise NoInceptionError(
                f"InceptionV3 needs torch-fidelity and torchvision ({first_line(error)}): pip install torch-fidelity "
                "with a torchvision that fits PyTorch, or take --kid clip.",
                "torch-fidelity or torchvision cannot be imported",
            ) from error
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                network = home.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
        except (OSError, RuntimeError) as error:
            raise NoInceptionError(
                f"The weights of InceptionV3 cannot be downloaded ({first_line(error)}); check the network, or take "
                "--kid clip.",
                "its weights cannot be downloaded",
            ) from error
        self.network = network.eval().requires_grad_(False).to(device)
        self.fingerprint = fingerprint_of(self.network)

    @torch.inference_mode()
    def of_pictures(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """See `PictureFeatures.of_pictures`. Each goes alone: they may differ in size, which it resizes itself."""
        found = [
            self.network(torch.from_numpy(np.array(each)).permute(2, 0, 1)[None].to(self.device))[0]
            for each in pictures
        ]
        return _checked(torch.cat(found), self.name)


KID_FEATURES = ("auto", "inception", "clip", "dino")


def check_kid(wanted: str) -> None:
    """See that KID can be computed with what the user names, before anything is loaded.

    Raises:
        UsageError: another word.
    """
    if wanted not in KID_FEATURES:
        raise UsageError(f'There is no --kid "{wanted}"; use {", ".join(KID_FEATURES)}.')


def kid_features(
    wanted: str, clip: PictureFeatures, dino: PictureFeatures, device: torch.device
) -> tuple[PictureFeatures, str | None]:
    """The features that KID is computed with.

    Args:
        wanted: ``inception``, as published; ``clip``; ``dino``; ``auto``: Inception where it can be had, else CLIP.
        clip: CLIP.
        dino: DINO.
        device: where Inception computes.

    Returns:
        The features; and, where they are not what was published, a sentence that says so and why.

    Raises:
        UsageError: another word.
        PersamError: Inception was asked for by name and cannot be had.
    """
    check_kid(wanted)
    why = "as asked for"
    if wanted in ("auto", "inception"):
        if wanted == "auto" and find_spec("torch_fidelity") is None:
            why = "torch-fidelity is not installed"
        else:
            try:
                return InceptionFeatures(device), None
            except NoInceptionError as error:
                if wanted == "inception":
                    raise
                why = error.why
    features = dino if wanted == "dino" else clip
    return features, f"KID is computed with features of {features.name}, not of InceptionV3 ({why}): another scale."


def _kind_of(name: str) -> str:
    import transformers

    return str(hub_call(name, transformers.AutoConfig.from_pretrained, otherwise=_OTHERWISE).model_type)


def _loaded(name: str, network: str, device: torch.device, **options: Any) -> Any:
    import transformers

    found = load_network(name, getattr(transformers, network), otherwise=_OTHERWISE, **options)
    check_numbers(found, name)
    return found.eval().requires_grad_(False).to(device, torch.float32)


def _processor(name: str) -> Any:
    import transformers

    return hub_call(name, transformers.AutoImageProcessor.from_pretrained, otherwise=_OTHERWISE, backend="pil")


def _pixels(processor: Any, pictures: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    images = [Image.fromarray(each) for each in pictures]
    pixels: torch.Tensor = processor(images=images, return_tensors="pt")["pixel_values"]
    return pixels.to(device)


def _checked(features: torch.Tensor, name: str) -> np.ndarray:
    found = features.float().cpu().numpy()
    if not np.isfinite(found).all():
        raise no_numbers(name, "features")
    return np.asarray(found)
