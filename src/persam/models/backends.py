"""What can run the image encoder: PyTorch, or an engine of `engines.py`, by name."""

from __future__ import annotations

from dataclasses import dataclass

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
        int8: in 8-bit integers.
    """

    name: str
    module: str
    extra: str
    int8: bool = False

    @property
    def numbers(self) -> torch.dtype:
        """Number format of the encoder."""
        return torch.int8 if self.int8 else torch.float32


BACKENDS = {
    each.name: each
    for each in (
        Backend("onnxruntime", "onnxruntime", "onnx"),
        Backend("onnxruntime-int8", "onnxruntime", "onnx", int8=True),
        Backend("openvino", "openvino", "openvino"),
        Backend("openvino-int8", "openvino", "openvino", int8=True),
    )
}


def backend_of(name: str, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Backend | None:
    """What runs the image encoder; None: PyTorch.

    Raises:
        UsageError: there is no such backend, or it does not compute on this device or in this number format.
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
    library(backend.module, f"The backend {name}", backend.extra)
    return backend
