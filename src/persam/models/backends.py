"""What can run the image encoder: PyTorch, or an engine of `engines.py`, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from persam.errors import UsageError
from persam.lazy import library

TORCH = "torch"


@dataclass(frozen=True)
class Backend:
    """What runs the image encoder.

    Attributes:
        name: as people say it.
        module: the library.
        extra: of persam, which brings it.
        numbers: number format of the encoder's matrix products.
    """

    name: str
    module: str
    extra: str
    numbers: torch.dtype = torch.float32

    @property
    def int8(self) -> bool:
        """Whether it computes in 8-bit integers, which are made beforehand."""
        return self.numbers == torch.int8


BACKENDS = {
    each.name: each
    for each in (
        Backend("onnxruntime", "onnxruntime", "onnx"),
        Backend("onnxruntime-int8", "onnxruntime", "onnx", torch.int8),
        Backend("openvino", "openvino", "openvino"),
        Backend("openvino-bf16", "openvino", "openvino", torch.bfloat16),
        Backend("openvino-int8", "openvino", "openvino", torch.int8),
    )
}


def backend_of(name: str, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Backend | None:
    """What runs the image encoder; None: PyTorch.

    Raises:
        UsageError: there is no such backend, or it does not compute on this device or in this number format, or the
            processor does not compute in the backend's.
        PersamError: its library is not installed.
    """
    if name == TORCH:
        return None
    if name not in BACKENDS:
        raise UsageError(f'There is no backend "{name}"; use {TORCH}, {", ".join(BACKENDS)}.')
    if str(device) not in ("auto", "cpu"):
        raise UsageError(
            f'The backend {name} computes on the CPU, not on "{device}"; use device cpu, or backend torch.'
        )
    if dtype not in ("auto", "float32", "fp32", torch.float32):
        raise UsageError(f"The backend {name} has its own number format; leave the dtype {dtype} out.")
    backend = BACKENDS[name]
    if backend.numbers == torch.bfloat16 and not computes_in_bf16():
        raise UsageError(f"This processor does not compute in bf16; use the backend {backend.module}, not {name}.")
    library(backend.module, f"The backend {name}", backend.extra)
    return backend


def computes_in_bf16() -> bool:
    """Whether the processor has bf16; others only emulate it, slower than float32."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def onnx_session(file: Path, *, pooled: bool = True) -> Any:
    """ONNX Runtime with a graph, on the CPU, with as many threads as PyTorch has.

    Args:
        file: of the graph.
        pooled: keep memory for the next photo, in powers of two; else it is given back, which takes more time.
    """
    runtime = library("onnxruntime", "The backend onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone
    options.enable_cpu_mem_arena = pooled
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
