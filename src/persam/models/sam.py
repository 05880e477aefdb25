"""SAM behind the protocol, and what all that is built like it have in common: a photo is encoded, prompts are decoded.

SAM, SAM-HQ, SAM 2, EdgeTAM and SAM 3's tracker have a `vision_encoder`, a `prompt_encoder` and a `mask_decoder` with a
two-way transformer (`PromptedNetwork`).  A kind of network says how it sees photos (`encode_many`) and what its decoder
takes beside the prompts (`_masks`); of SAM itself (hub id, local folder, converted checkpoint, the bundled model) it
stands here.

Guidance inside the decoder: target-guided attention (Eq. 8) and target-semantic prompting (Eq. 9-10).  The blocks of
every such decoder of transformers hand ``attention_similarity`` to their token-to-image attention, and there is a
``final_attn_token_to_image``.  transformers has arguments for both, but adds the similarity before the softmax, leaves
out the semantic prompt before the final attention, and adds it in place, which autograd refuses; here both go where
each mode wants them, with gradients, without a fork.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from persam.geometry import Frame, Size
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.fast_vit import quicken
from persam.models.fingerprint import check_numbers, fingerprint_of, sampled_fingerprint_of
from persam.models.pixels import MeanStd, as_channels
from persam.models.recorded import RecordedPasses

PIXEL_MEAN = (123.675, 116.28, 103.53)  # SAM's, on the 0..255 scale
PIXEL_STD = (58.395, 57.12, 57.375)
ATTENTION_NAME = "persam_guided"


class PromptedNetwork(ABC):
    """A promptable network, frozen; who trains it unfreezes it afterwards.

    Args:
        network: transformers' model, or one with the same parts (`vision_encoder`, `prompt_encoder`, `mask_decoder`,
            `get_image_wide_positional_embeddings`).
        name: how people call it.
        image_size: side of the canvas in pixels.
        device: where it computes.
        encoder_dtype: number format of the image encoder, by far the largest part; prompts and masks stay float32.
        pixels: mean and deviation of the pixels, on the scale that `encode` has them; None: those of its kind.

    Raises:
        PersamError: a weight is NaN or infinite.
    """

    _usual_pixels: ClassVar[MeanStd]
    _label_dtype: ClassVar[torch.dtype] = torch.float32  # of the points' labels, as the prompt encoder takes them

    def __init__(
        self,
        network: Any,
        *,
        name: str,
        image_size: int,
        device: torch.device,
        pixels: MeanStd | None = None,
        encoder_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name = name
        self.device = device
        self.image_size = image_size
        check_numbers(network, name)
        self.fingerprint = fingerprint_of(network)
        self.sampled_fingerprint = sampled_fingerprint_of(network)
        install(network.mask_decoder)
        self.network = network.eval().requires_grad_(False).to(device, torch.float32)  # some come in half precision
        if device.type != "cpu" or not quicken(self.network.vision_encoder, encoder_dtype):
            self.network.vision_encoder.to(encoder_dtype)
        if device.type == "cpu":
            from persam.models.fast_decoder import quicken_decoder  # here: it weighs logits by this file's `steered`

            quicken_decoder(self.network)
        self._recorded = RecordedPasses() if device.type == "cuda" else None
        self.encoder_dtype = encoder_dtype
        self._pixels_dtype = next((each.dtype for each in self.network.vision_encoder.parameters()), encoder_dtype)
        self._mean, self._std = (as_channels(each, device) for each in pixels or self._usual_pixels)
        with torch.no_grad():
            positions: Tensor = self.network.get_image_wide_positional_embeddings()
        self._positions = positions.contiguous(memory_format=torch.channels_last)  # cell by cell, as the decoder reads
        rows, columns = self._positions.shape[-2:]
        self.grid: Size = (rows, columns)  # feature cells
        self.low_resolution: Size = (4 * rows, 4 * columns)  # of the logits

    @abstractmethod
    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        """See `PromptableModel.prepare`."""

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Encode a photo, (H, W, 3) uint8 RGB."""
        return self.encode_many([image])[0]

    @abstractmethod
    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Encode photos of any sizes in one pass, each (H, W, 3) uint8 RGB: on the canvas they are all alike."""

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        """Masks for P prompts, of one photo or one of each of P photos: logits (P, 3 or 1, h, w) and predicted IoU.

        Guidance steers this pass alone. Gradients reach what requires them: features, guidance, the network.
        """
        given = (prompts.points, prompts.labels, prompts.boxes, prompts.logits)
        prompts = Prompts(*(None if each is None else each.to(self.device, torch.float32) for each in given))
        if self._recorded is None or torch.is_grad_enabled() or torch.is_autocast_enabled(self.device.type):
            return self._decoded(encoding, prompts, multimask, guidance)
        return self._recorded(self._decoded, encoding, prompts, multimask, guidance)

    def _decoded(self, encoding: EncodedImage, prompts: Prompts, multimask: bool, guidance: Guidance | None) -> Decoded:
        # transformers counts (images, prompts, ...); a mask prompt is tied to an image there, so with several prompts
        # each becomes an image of its own and the features are only viewed, not copied.
        separate = prompts.logits is not None or len(encoding.features) > 1
        points, labels, boxes = prompts.points, prompts.labels, prompts.boxes
        if labels is not None:
            labels = labels.to(self._label_dtype)
        sparse, dense = self.network.prompt_encoder(
            input_points=None if points is None else (points[:, None] if separate else points[None]),
            input_labels=None if labels is None else (labels[:, None] if separate else labels[None]),
            # the network adds half a pixel to coordinates (`_embed_points`), as the published code does
            input_boxes=None if boxes is None else (boxes[:, None] if separate else boxes[None]),
            input_masks=prompts.logits,
        )
        count = len(dense) if separate else 1
        with guided(guidance):
            logits, scores, presence = self._masks(
                encoding,
                count,
                image_positional_embeddings=viewed(self._positions, count),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
        return Decoded(logits.flatten(0, 1), scores.flatten(0, 1), None if presence is None else presence.flatten(0, 1))

    @abstractmethod
    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the mask decoder.

        Args:
            encoding: of the photo, or of `count` photos.
            count: number of images that the decoder is to see; the features of one photo are viewed as so many.
            prompted: what the decoder takes beside the features of the photo.

        Returns:
            Logits (count, prompts, M, h, w), predicted IoU (count, prompts, M), and the logit that the object can be
            seen (count, prompts, 1), or None.
        """


def viewed(features: Tensor, count: int) -> Tensor:
    """Features (1 or count, C, h, w) as (count, C, h, w), not copied."""
    return features.expand(count, -1, -1, -1)


class SamLike(PromptedNetwork):
    """A network that sees a photo as SAM does: in its square, padded; arguments and errors as of `PromptedNetwork`."""

    _usual_pixels = (PIXEL_MEAN, PIXEL_STD)

    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        """SAM's preprocessing of an (H, W, 3) uint8 image: resize as the published code does (PIL, bilinear with
        antialias, in uint8), normalise, pad with zeros. Returns (1, 3, S, S)."""
        height, width = frame.content
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)[None].float()
        pixels = (pixels - self._mean) / self._std
        return F.pad(pixels, (0, frame.canvas[1] - width, 0, frame.canvas[0] - height))

    def frame(self, photo: Size) -> Frame:
        """Where a photo of this size lies on the canvas."""
        return Frame.padded(photo, self.image_size, self.grid)

    def prepared(self, images: Sequence[np.ndarray]) -> tuple[Tensor, list[Frame]]:
        """Photos, each (H, W, 3) uint8 RGB, as the image encoder takes them, (B, 3, S, S), and their places on it."""
        frames = [self.frame((image.shape[0], image.shape[1])) for image in images]
        pixels = torch.cat([self.prepare(*each) for each in zip(images, frames, strict=True)])
        return pixels.to(self._pixels_dtype), frames


class Sam(SamLike):
    """transformers' `SamModel`, or a network with the same parts; arguments and errors as of `PromptedNetwork`."""

    def encode_many(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """See `PromptedNetwork.encode_many`."""
        pixels, frames = self.prepared(images)
        out = self.network.vision_encoder(pixels)
        features = (out if isinstance(out, Tensor) else out[0]).float()
        return [EncodedImage(one, frame) for one, frame in zip(features.split(1), frames, strict=True)]

    def use_engine(self, engine: nn.Module, numbers: torch.dtype) -> None:
        """Let something else run the image encoder, in its own `numbers`; PyTorch's weights of it are let go.

        The fingerprint stays: concepts belong to the weights, whatever runs them.
        """
        self.network.vision_encoder = engine
        self.encoder_dtype, self._pixels_dtype = numbers, torch.float32

    def _masks(self, encoding: EncodedImage, count: int, **prompted: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        features = viewed(encoding.features, count)
        logits, scores = self.network.mask_decoder(image_embeddings=features, **prompted)
        return logits, scores, None


# -------------------------------------------------------------------------------- guidance inside the decoder: Eq. 8-10

# Of the pass that is running: a context variable, not an attribute of the module, so that threads do not mix theirs.
_current: ContextVar[Guidance | None] = ContextVar("persam_guidance", default=None)

PreHook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]] | None]


@contextmanager
def guided(guidance: Guidance | None) -> Iterator[None]:
    """Passes of prepared decoders are steered by this guidance until the block ends, in this thread alone."""
    token = _current.set(guidance)
    try:
        yield
    finally:
        _current.reset(token)


def install(mask_decoder: nn.Module) -> None:
    """Prepare a mask decoder of transformers, or the bundled model's, for guidance.

    Without guidance it computes what it did before.
    """
    if getattr(mask_decoder, "_persam_guidance", False):
        return
    decoder: Any = mask_decoder
    transformer = decoder.transformer
    attention = transformer.final_attn_token_to_image
    if hasattr(attention, "config"):  # of transformers; the bundled model's calls `guided_attention` itself
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION_NAME, guided_attention)
        attention.config._attn_implementation = ATTENTION_NAME  # one configuration for all of the decoder's attentions
    # The published code adds T to the queries of every block in place. Before the first block these still are the
    # point embeddings, which every later step adds as positions: so T is in those too, and twice in the last query.
    transformer.register_forward_pre_hook(_hand_on_attention, with_kwargs=True)
    transformer.register_forward_pre_hook(_add_semantic_to("point_embeddings"), with_kwargs=True)
    for block in transformer.layers[1:]:
        block.register_forward_pre_hook(_add_semantic_to("queries"), with_kwargs=True)
    transformer.final_attn_token_to_image.register_forward_pre_hook(_add_semantic_to("query"), with_kwargs=True)
    decoder._persam_guidance = True


def _hand_on_attention(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Guidance travels through transformers' decoder in the place of the similarity, down to `guided_attention`."""
    guidance = _current.get()
    if guidance is None or guidance.attention is None:
        return None
    return args, {**kwargs, "attention_similarity": guidance}


def _add_semantic_to(argument: str) -> PreHook:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args, {**kwargs, argument: with_semantic(kwargs[argument])}

    return hook


def guided_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Guidance | Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention for transformers' `AttentionInterface`: plain SDPA, unless guidance says how to steer it.

    Shapes: query (B, heads, tokens, c), key and value (B, heads, cells, c); returns (B, tokens, heads, c).
    """
    if not isinstance(attention_mask, Guidance):
        out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
        return out.transpose(1, 2).contiguous(), None
    weights = steered(query @ key.transpose(-2, -1) * scaling, attention_mask)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def steered(logits: Tensor, guidance: Guidance | None) -> Tensor:
    """Weights of the cells from the logits of an attention, (B, heads, tokens, cells): their softmax, or as guided."""
    if guidance is None or guidance.attention is None:
        return logits.softmax(dim=-1)
    similarity, where = guidance.attention.to(logits.dtype), guidance.where
    if isinstance(where, Tensor):
        after = (logits.softmax(dim=-1) + similarity).softmax(dim=-1)
        return torch.where(where, after, (logits + similarity).softmax(dim=-1))
    if where == "before":
        return (logits + similarity).softmax(dim=-1)
    return (logits.softmax(dim=-1) + similarity).softmax(dim=-1)


def current_guidance() -> Guidance | None:
    """Of the pass that is running in this thread."""
    return _current.get()


def with_semantic(tokens: Tensor) -> Tensor:
    """Tokens (photos, prompts of each, tokens, channels) and the target embedding, where the pass that runs has one."""
    guidance = _current.get()
    if guidance is None or guidance.semantic is None:
        return tokens
    semantic = guidance.semantic
    if semantic.ndim > 1 and tokens.shape[1] > 1:  # several prompts of one photo
        semantic = semantic.expand(tokens.shape[0] * tokens.shape[1], -1, -1, -1).reshape(*tokens.shape[:2], 1, -1)
    return tokens + semantic.to(tokens.dtype)
