"""An image encoder in 8-bit integers: four times smaller, and quicker where the processor multiplies them.

Weights and what goes into the layers that have weights become 8-bit integers; attention between places, sums and norms
stay float32, where SAM's encoders have the outliers that 8 bits lose.  The file is ONNX with quantise and dequantise
nodes, which ONNX Runtime and OpenVINO both run in integers.

`quantise_weights` leaves more as it is, for large networks and OpenVINO.

The range of every layer's input is taken from pictures that are drawn here: *dead leaves*, discs of all sizes that
cover one another, have the statistics of edges and contrast of photos, and their colours are those of photos.  So an
encoder is made without anybody's photos, and the same every time; with photos it is no more exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from persam.lazy import library
from persam.models.backends import onnx_session
from persam.models.fitted import photo_colours

PICTURES = 16
_PICTURES_LARGE = 4  # each has as many cells as all of those of a small canvas
LARGE = 512  # side of a canvas beyond which there are few pictures, and OpenVINO measures for itself
_SIDE = 256  # pixels of a drawn picture
_LEAVES = 400
_SMALLEST = 4  # pixels, radius
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_FLOAT_OUT = ["Gemm", "MatMul"]  # their sums need no rounding: what adds, divides or bends them is in float anyway


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
    quantizer = library("onnxruntime.quantization.qdq_quantizer", "An encoder in 8-bit integers", "onnx")
    with TemporaryDirectory(dir=target.parent) as folder:
        folded = Path(folder) / "folded.onnx"
        shapes.quant_pre_process(str(source), str(folded), save_as_external_data=external)
        graph = onnx.load(folded, load_external_data=False).graph
        weights = {tensor.name for tensor in graph.initializer}
        layers = [node for node in graph.node if node.op_type in _WEIGHTED and node.input[1] in weights]
        watched = {node.input[0] for node in layers}
        watched |= {node.output[0] for node in layers if node.op_type not in _FLOAT_OUT}
        count = _PICTURES_LARGE if graph.input[0].type.tensor_type.shape.dim[-1].dim_value > LARGE else PICTURES
        ranges = _ranges(folded, watched, (prepare(drawn_picture(seed)) for seed in range(count)))
        made = quantizer.QDQQuantizer(
            onnx.load(folded),
            per_channel=True,
            reduce_range=False,
            weight_qType=tools.QuantType.QInt8,
            activation_qType=tools.QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=[node.name for node in layers],
            nodes_to_exclude=[],
            op_types_to_quantize=list(_WEIGHTED),
            extra_options={"OpTypesToExcludeOutputQuantization": _FLOAT_OUT},
        )
        made.quantize_model()
        made.model.save_model_to_file(str(target), external)


def quantise_weights(source: Path, target: Path, *, external: bool) -> None:
    """Write an image encoder, an ONNX file, with some of its weights in 8-bit integers.

    They are those of linear layers that widen, which lead into attention or an activation; what the others give is
    added to the stream of residuals as it is, and would carry every rounding to the end.  OpenVINO rounds what goes
    into such a layer while it runs, with a scale for some channels of every cell: no pictures are needed, and one
    large value spoils no others.

    Args:
        source: the encoder in float32.
        target: where to write it.
        external: its weights are too large for the file, and lie beside it.

    Raises:
        PersamError: onnx is not installed.
    """
    onnx = library("onnx", "An encoder in 8-bit integers", "onnx")
    model = onnx.load(source)
    graph, numpy_helper = model.graph, onnx.numpy_helper
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]:
        tensor = weights[node.input[1]]
        if len(tensor.dims) != 2 or tensor.dims[1] <= tensor.dims[0]:  # (in, out)
            continue
        values = numpy_helper.to_array(tensor)
        scale = np.maximum(np.abs(values).max(0) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        whole, name = np.round(values / scale).astype(np.int8), f"{node.name}:int8"
        parts = {f"{name}:whole": whole, f"{name}:scale": scale, f"{name}:zero": np.zeros_like(scale, np.int8)}
        graph.initializer.extend(numpy_helper.from_array(array, part) for part, array in parts.items())
        graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", list(parts), [name], name=name, axis=1))
        node.input[1] = name
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.save(model, target, save_as_external_data=external, location=f"{target.name}.data")


def _ranges(file: Path, names: Iterable[str], pictures: Iterable[np.ndarray]) -> Any:
    """Least and greatest value of some tensors of a graph over pictures, as ONNX Runtime's quantiser takes them.

    ONNX Runtime's own calibration takes them of every product, attention between all places included, and keeps
    the tensors until the pass has ended: tens of gigabytes on a canvas of 1024 pixels.

    Args:
        file: ONNX, with one input; another is written beside it.
        names: of the tensors.
        pictures: what goes into it.
    """
    onnx = library("onnx", "An encoder in 8-bit integers", "onnx")
    calibration = library("onnxruntime.quantization.calibrate", "An encoder in 8-bit integers", "onnx")
    model = onnx.load(file, load_external_data=False)
    asked = sorted(names)
    del model.graph.output[:]
    for name in asked:
        for kind in ("ReduceMin", "ReduceMax"):
            model.graph.node.append(onnx.helper.make_node(kind, [name], [f"{name}:{kind}"], keepdims=0))
            model.graph.output.append(onnx.helper.make_tensor_value_info(f"{name}:{kind}", onnx.TensorProto.FLOAT, []))
    watching = file.with_name("watching.onnx")
    onnx.save(model, watching)
    session = onnx_session(watching, pooled=False)
    (entry,) = (each.name for each in session.get_inputs())
    seen = np.array([session.run(None, {entry: picture}) for picture in pictures], np.float32)
    lowest, highest = seen[:, 0::2].min(0), seen[:, 1::2].max(0)
    data = {
        name: calibration.TensorData(lowest=low, highest=high)
        for name, low, high in zip(asked, lowest, highest, strict=True)
    }
    return calibration.TensorsData(calibration.CalibrationMethod.MinMax, data)


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
