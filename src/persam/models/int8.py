"""An image encoder in 8-bit integers: four times smaller, and quicker where the processor multiplies them.

Weights and what goes into the layers that have weights become 8-bit integers; attention between places, sums and norms
stay float32, where SAM's encoders have the outliers that 8 bits lose.  The file is ONNX with quantise and dequantise
nodes, which ONNX Runtime and OpenVINO both run in integers.

The range of every layer's input is taken from pictures that are drawn here: *dead leaves*, discs of all sizes that
cover one another, have the statistics of edges and contrast of photos, and their colours are those of photos.  So an
encoder is made without anybody's photos, and the same every time; with photos it is no more exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from persam.lazy import library
from persam.models.fitted import photo_colours

PICTURES = 16
_SIDE = 256  # pixels of a drawn picture
_LEAVES = 400
_SMALLEST = 4  # pixels, radius
_WEIGHTED = ("Conv", "Gemm", "MatMul")


def quantise(source: Path, target: Path, prepare: Callable[[np.ndarray], np.ndarray], *, external: bool) -> None:
    """Write an image encoder, an ONNX file, in 8-bit integers.

    Args:
        source: the encoder in float32.
        target: where to write it.
        prepare: a picture (h, w, 3) uint8 as the encoder takes it, (1, 3, S, S) float32.
        external: its weights are too large for the file, and lie beside it.

    Raises:
        PersamError: ONNX Runtime, which does it, is not installed.
    """
    onnx = library("onnx", "An encoder in 8-bit integers", "onnx")
    tools = library("onnxruntime.quantization", "An encoder in 8-bit integers", "onnx")
    shapes = library("onnxruntime.quantization.shape_inference", "An encoder in 8-bit integers", "onnx")
    with TemporaryDirectory(dir=target.parent) as folder:
        folded = Path(folder) / "folded.onnx"
        shapes.quant_pre_process(str(source), str(folded), save_as_external_data=external)
        graph = onnx.load(folded, load_external_data=False).graph
        weights = {tensor.name for tensor in graph.initializer}
        layers = [node.name for node in graph.node if node.op_type in _WEIGHTED and node.input[1] in weights]
        tools.quantize_static(
            str(folded),
            str(target),
            _CalibrationPictures({graph.input[0].name: prepare(drawn_picture(seed))} for seed in range(PICTURES)),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(_WEIGHTED),
            nodes_to_quantize=layers,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            use_external_data_format=external,
        )


class _CalibrationPictures:
    """What ONNX Runtime calibrates with: `get_next` until there is no more."""

    def __init__(self, pictures: Iterator[dict[str, np.ndarray]]) -> None:
        self._pictures = pictures

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._pictures, None)


def drawn_picture(seed: int) -> np.ndarray:
    """Dead leaves in the colours of photos, with uneven light and noise, (h, w, 3) uint8 RGB."""
    random = np.random.default_rng(seed)
    common = photo_colours().astype(np.float64)
    bins = random.choice(common.size, size=_LEAVES, p=(common / common.sum()).ravel())
    width = 256 // common.shape[0]  # of a bin
    lab = np.stack(np.unravel_index(bins, common.shape), -1) * width + random.integers(0, width, (_LEAVES, 3))
    colours: Any = cv2.cvtColor(lab.astype(np.uint8)[None], cv2.COLOR_LAB2RGB)[0].astype(float)
    picture = np.full((_SIDE, _SIDE, 3), colours[0], np.float32)
    # Radii with a density that falls with their cube look alike at every scale, as photos do.
    radii = _SMALLEST * (1 - random.random(_LEAVES) * (1 - (2 * _SMALLEST / _SIDE) ** 2)) ** -0.5
    for colour, radius in zip(colours, radii, strict=True):
        x, y = (int(place) for place in random.integers(0, _SIDE, 2))
        axes = int(radius), int(max(2, radius * random.uniform(0.3, 1)))
        cv2.ellipse(picture, (x, y), axes, random.uniform(0, 180), 0, 360, tuple(colour), -1, cv2.LINE_AA)
    slope = np.linspace(-0.3, 0.3, _SIDE)
    light = 1 + random.uniform(-1, 1) * slope[:, None] + random.uniform(-1, 1) * slope[None, :]
    noise = random.normal(0, random.uniform(0, 8), picture.shape)
    return np.asarray((picture * light[..., None] + noise).clip(0, 255), np.uint8)
