"""A promptable model as two graphs that other engines run: photo to features, and prompts and guidance to masks.

Nothing of a concept is in them: what steers the decoder is among its inputs, so that one export serves every concept,
photo and mode.  They are traced from the very network that PyTorch runs, hooks of the guidance included.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from persam.errors import PersamError, UsageError, first_line
from persam.lazy import library
from persam.models.base import Guidance
from persam.models.sam import Sam, guided

Shape = list[int | str]
ENCODER_INPUTS, ENCODER_OUTPUTS = ("pixels",), ("features",)
DECODER_INPUTS = ("features", "points", "labels", "mask", "has_mask", "attention", "second_softmax", "semantic")
DECODER_OUTPUTS = ("logits", "scores")
OPSET = 18  # the oldest that the exporter writes without converting: more engines read it
_LARGEST_FILE = 1_500_000_000  # bytes of weights in one file; protobuf ends at two gigabytes
_CORNERS = (2, 3)  # labels, as SAM's own ONNX export has them


class EncoderGraph(nn.Module):
    """The image encoder: prepared pixels (1, 3, S, S) to features (1, C, rows, columns)."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.vision_encoder: nn.Module = model.network.vision_encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode one photo."""
        out = self.vision_encoder(pixels)
        features: Tensor = out if isinstance(out, Tensor) else out[0]
        return features


class DecoderGraph(nn.Module):
    """The guided decoder, for P prompts of one photo."""

    def __init__(self, model: Sam) -> None:
        super().__init__()
        self.prompt_encoder: Any = model.network.prompt_encoder
        self.mask_decoder: Any = model.network.mask_decoder
        self.positions: Tensor
        with torch.no_grad():
            self.register_buffer("positions", model.network.get_image_wide_positional_embeddings())

    def forward(
        self,
        features: Tensor,
        points: Tensor,
        labels: Tensor,
        mask: Tensor,
        has_mask: Tensor,
        attention: Tensor,
        second_softmax: Tensor,
        semantic: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """All four masks of P prompts.

        Args:
            features: of the photo, (1, C, rows, columns).
            points: (P, N, 2) as (x, y) in canvas pixels, a box as its two corners; N is at least 2.
            labels: (P, N): 1 on the object, 0 off it, 2 and 3 the upper left and the lower right corner of a box. Where
                there is no box, SAM expects one more point with the label -1.
            mask: logits of the mask prompt, (P, 1, 4 rows, 4 columns).
            has_mask: (P,), 1: the mask prompt counts, 0: there is none.
            attention: what is added in the token-to-image attention, (P, rows * columns); zeros: nothing.
            second_softmax: (1,), 1: it is added to the attention's weights, and a second softmax taken (the paper);
                0: to its logits.
            semantic: what is added to every token, (P, C); zeros: nothing.

        Returns:
            logits (P, 4, 4 rows, 4 columns) and predicted IoU (P, 4): first the single-mask output, then the three
            scales.
        """
        prompts = points.shape[0]
        dense = torch.where(has_mask[:, None, None, None] > 0.5, self.prompt_encoder.mask_embed(mask), self._no_mask())
        guidance = Guidance(attention[:, None, None], second_softmax > 0.5, semantic[:, None, None])
        with guided(guidance), _all_masks_of(self.mask_decoder) as parts:
            self.mask_decoder(
                image_embeddings=features.expand(prompts, -1, -1, -1),
                image_positional_embeddings=self.positions.expand(prompts, -1, -1, -1),
                sparse_prompt_embeddings=self._sparse(points, labels),
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
        return parts.logits(), parts.scores()

    def _sparse(self, points: Tensor, labels: Tensor) -> Tensor:
        """Tokens of points and corners, (P, 1, N, C)."""
        encoder = self.prompt_encoder
        tokens: Tensor = encoder._embed_points(points[:, None], labels[:, None], pad=False)
        for label in _CORNERS:
            tokens = torch.where(
                (labels == label)[:, None, :, None], tokens + encoder.point_embed[label].weight, tokens
            )
        return tokens

    def _no_mask(self) -> Tensor:
        weight: Tensor = self.prompt_encoder.no_mask_embed.weight
        return weight.reshape(1, -1, 1, 1)


class _DecoderParts:
    """What goes into the masks of one pass of SAM's mask decoder, which itself returns one or three of the four."""

    def __init__(self) -> None:
        self.hyper: list[Tensor] = []  # a kernel for each mask, (P, 1, c)
        self.upscaled: list[Tensor] = []  # what comes out of the activations; the last is what the kernels run over
        self.predicted: list[Tensor] = []  # IoU, (P, 1, 4)

    def logits(self) -> Tensor:
        """(P, 4, h, w)."""
        return torch.einsum("pmc,pchw->pmhw", torch.cat(self.hyper, dim=1), self.upscaled[-1])

    def scores(self) -> Tensor:
        """(P, 4)."""
        return self.predicted[-1][:, 0]


@contextlib.contextmanager
def _all_masks_of(decoder: Any) -> Iterator[_DecoderParts]:
    """Watch a pass of a mask decoder."""
    parts = _DecoderParts()

    def keep(where: list[Tensor], module: nn.Module) -> Any:
        return module.register_forward_hook(lambda _module, _inputs, output: where.append(output))

    handles = [
        *(keep(parts.hyper, each) for each in decoder.output_hypernetworks_mlps),
        keep(parts.upscaled, decoder.activation),
        keep(parts.predicted, decoder.iou_prediction_head),
    ]
    try:
        yield parts
    finally:
        for handle in handles:
            handle.remove()


def write_encoder(model: Sam, path: Path) -> None:
    """Write the image encoder as ONNX.

    Raises:
        PersamError: the exporter's library is not installed, or does not know a part of the network.
        UsageError: the model is not in float32 on the CPU.
    """
    side = model.image_size
    _write(EncoderGraph(model), (torch.zeros(1, 3, side, side),), path, ENCODER_INPUTS, ENCODER_OUTPUTS, model)


def write_decoder(model: Sam, path: Path) -> None:
    """Write the guided decoder as ONNX, for any number of prompts and points; as `write_encoder`."""
    from torch.export import Dim

    sizes: dict[int | str, int] = {"P": 2, "N": 3}  # 0 and 1 would be taken for fixed
    names = {"P": Dim("prompts", min=1), "N": Dim("points", min=2)}
    shapes = [shapes_of(model)["decoder"]["inputs"][name] for name in DECODER_INPUTS]
    example = tuple(torch.zeros([sizes.get(length, 0) or int(length) for length in shape]) for shape in shapes)
    dynamic = tuple(
        {axis: names[str(length)] for axis, length in enumerate(shape) if length in names} for shape in shapes
    )
    _write(DecoderGraph(model), example, path, DECODER_INPUTS, DECODER_OUTPUTS, model, dynamic)


def shapes_of(model: Sam) -> dict[str, dict[str, dict[str, Shape]]]:
    """Inputs and outputs of both graphs with their shapes, P for the number of prompts and N for that of points."""
    side, (rows, columns), (height, width) = model.image_size, model.grid, model.low_resolution
    channels = model.network.get_image_wide_positional_embeddings().shape[1]
    features: Shape = [1, channels, rows, columns]
    inputs: tuple[Shape, ...] = (
        features,
        ["P", "N", 2],
        ["P", "N"],
        ["P", 1, height, width],
        ["P"],
        ["P", rows * columns],
        [1],
        ["P", channels],
    )
    decoder = dict(zip(DECODER_INPUTS, inputs, strict=True))
    outputs: tuple[Shape, ...] = (["P", 4, height, width], ["P", 4])
    masks = dict(zip(DECODER_OUTPUTS, outputs, strict=True))
    return {
        "encoder": {"inputs": {ENCODER_INPUTS[0]: [1, 3, side, side]}, "outputs": {ENCODER_OUTPUTS[0]: features}},
        "decoder": {"inputs": decoder, "outputs": masks},
    }


def is_large(model: Sam) -> bool:
    """Whether a model's weights go into a file beside the graph's, for they may not fit into it."""
    weights = model.network.state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in weights) > _LARGEST_FILE


def _write(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    model: Sam,
    dynamic: Any = None,
) -> None:
    """Trace a graph and write it; large weights go into a file beside it, `path` with ``.data`` added."""
    for name in ("onnx", "onnxscript"):
        library(name, "Writing a model as ONNX", "onnx")
    if model.encoder_dtype != torch.float32 or model.device.type != "cpu":
        raise UsageError("A model is exported in float32 from the CPU; load it with device cpu and dtype float32.")
    if next(model.network.vision_encoder.parameters(), None) is None:
        raise UsageError("A model is exported from PyTorch; load it with backend torch.")
    try:
        with _quiet_exporter(), torch.no_grad():
            torch.onnx.export(
                graph.eval(),
                example,
                str(path),
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                external_data=is_large(model),
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
        raise PersamError(
            f"A part of the model {model.name} cannot be written as ONNX ({first_line(error)}); use the backend torch."
        ) from error


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter tells its developers of itself, in dozens of lines."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
