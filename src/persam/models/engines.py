"""Other engines for the image encoder: ONNX Runtime and OpenVINO, in float32 or 8-bit integers.

On a CPU the encoder is what takes the time, and in 8 bits, for small models also in float32, these run it faster than
PyTorch does.  It is exported once, into a cache folder, under a name that says of which weights it was made and by
what.  Prompts and masks stay with PyTorch: they take little, and they are where the guidance is.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from persam import __version__
from persam.errors import PersamError, PersamWarning, write_error
from persam.files import cache_folder
from persam.lazy import library
from persam.models.backends import BACKENDS, Backend
from persam.models.graphs import EncoderGraph, is_large, write_encoder
from persam.models.int8 import PICTURES, drawn_picture, quantise
from persam.models.sam import Sam

_FILE = "encoder.onnx"
_LARGEST_INT8 = 512  # side of the canvas; at 1024 ONNX Runtime's calibration of a ViT-B takes more than 24 GB of memory
_FAR, _FAR_INT8 = 0.001, 0.5  # share of the features' length by which they may be off


def use_backend(model: Sam, backend: Backend) -> None:
    """Let a backend run a model's image encoder from now on; it is exported first if it is not in the cache.

    Raises:
        PersamError: it cannot be exported or written; or what the backend does is far from what PyTorch does.
    """
    if backend.int8 and model.image_size > _LARGEST_INT8:
        raise PersamError(
            f"{model.name} sees {model.image_size} pixels, and an encoder of more than {_LARGEST_INT8} takes tens of "
            "gigabytes of memory to be made in 8-bit integers; use the backend onnxruntime or openvino."
        )
    model.use_engine(_cached_engine(model, backend), backend.numbers)


# ----------------------------------------------------------------------------------------------------- the engines


class OnnxRuntimeEncoder(nn.Module):
    """An image encoder that ONNX Runtime runs, with as many threads as PyTorch has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        runtime = library("onnxruntime", "The backend onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        self._session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def forward(self, pixels: Tensor) -> Tensor:
        """Prepared pixels (B, 3, S, S) to features (B, C, rows, columns), photo by photo."""
        return torch.cat(
            [torch.from_numpy(self._session.run(None, {"pixels": one.numpy()})[0]) for one in pixels.split(1)]
        )


class OpenVinoEncoder(nn.Module):
    """The same by OpenVINO."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        openvino = library("openvino", "The backend openvino", "openvino")
        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",  # where a CPU has bfloat16, it would take that
        }
        self._model = openvino.Core().compile_model(file, "CPU", options)

    def forward(self, pixels: Tensor) -> Tensor:
        """Prepared pixels (B, 3, S, S) to features (B, C, rows, columns), photo by photo."""
        request = self._model.create_infer_request()  # each its own: several threads encode
        encoded = [request.infer([one.numpy()])[0].copy() for one in pixels.split(1)]  # the next overwrites it
        return torch.from_numpy(np.concatenate(encoded))


def _engine(backend: Backend, file: Path) -> nn.Module:
    return OpenVinoEncoder(file) if backend.module == "openvino" else OnnxRuntimeEncoder(file)


# ------------------------------------------------------------------------------------------------------- the cache


def _cached_engine(model: Sam, backend: Backend) -> nn.Module:
    """The engine with the model's encoder from the cache; made, with a warning that says so, where it is not there.

    What the engine cannot read is taken for damaged, and made anew.
    """
    from filelock import FileLock

    home = _home(backend)
    folder = home / _key(model, backend)
    try:
        found = _read(backend, folder / _FILE)
        if found is not None:  # no lock is needed, which a cache that is only to be read would not give
            return found
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):  # several processes may begin at once
            found = _read(backend, folder / _FILE)
            if found is not None:
                return found
            if folder.exists():
                shutil.rmtree(folder)
            _make(model, backend, folder)
            return _engine(backend, folder / _FILE)
    except OSError as error:
        raise write_error(folder, error) from error


def _home(backend: Backend) -> Path:
    return cache_folder(f"The backend {backend.name}", backend.extra) / "encoders"


def _read(backend: Backend, file: Path) -> nn.Module | None:
    """The engine with an encoder from the cache; None: it is not there, or damaged."""
    if not file.is_file():
        return None
    try:
        return _engine(backend, file)
    except MemoryError:  # says nothing of the file
        raise
    except Exception:  # each engine has its own kinds
        return None


@contextlib.contextmanager
def not_kept(fingerprint: str) -> Iterator[None]:
    """Take out of the cache, when the block ends, what was put there meanwhile of a model, given its fingerprint."""

    def kept() -> set[Path]:
        homes = {_home(backend) for backend in BACKENDS.values()}
        return {path for home in homes for path in home.glob(f"{fingerprint}-*")}

    try:
        before = kept()
    except PersamError:  # without the library that knows the place nothing is put there
        before = None
    try:
        yield
    finally:
        for path in set() if before is None else kept() - before:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _key(model: Sam, backend: Backend) -> str:
    """Name of an encoder in the cache: of which weights, for which canvas, in which numbers, made by what."""
    makers = {"persam": __version__, "torch": version("torch")}
    makers |= {"onnxruntime": version("onnxruntime")} if backend.int8 else {}
    made_by = "-".join(f"{name}{number}" for name, number in makers.items())
    numbers = str(backend.numbers).removeprefix("torch.")
    return f"{model.fingerprint}-{model.image_size}-{numbers}-{made_by}"


def _make(model: Sam, backend: Backend, folder: Path) -> None:
    """Export a model's encoder into a new folder, whole or not at all."""
    warnings.warn(
        f"The image encoder of {model.name} is being made for {backend.name}, once; it will be kept in {folder}.",
        PersamWarning,
        stacklevel=2,
    )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-", ignore_cleanup_errors=True) as made:
        file = Path(made) / _FILE
        if backend.int8:
            source = folder.with_name(_key(model, replace(backend, int8=False))) / _FILE
            if not source.is_file():
                source = Path(made) / "float32" / _FILE
                source.parent.mkdir()
                write_encoder(model, source)
            quantise(source, file, lambda picture: _prepared(model, picture).numpy(), external=is_large(model))
            shutil.rmtree(Path(made) / "float32", ignore_errors=True)
        else:
            write_encoder(model, file)
        _check(model, backend, _engine(backend, file))
        Path(made).rename(folder)


def _check(model: Sam, backend: Backend, engine: nn.Module) -> None:
    """See on a picture that an engine does what PyTorch does.

    Raises:
        PersamError: it does not.
    """
    pixels = _prepared(model, drawn_picture(seed=PICTURES))  # none of those that 8 bits are fitted to
    with torch.inference_mode():
        wanted, found = EncoderGraph(model)(pixels).double(), engine(pixels).double()
    off = float((found - wanted).norm() / wanted.norm())
    if not off <= (_FAR_INT8 if backend.int8 else _FAR):
        raise PersamError(
            f"The backend {backend.name} gives other features of {model.name} than PyTorch, off by {off:.0%}; "
            "use the backend torch."
        )


def _prepared(model: Sam, picture: np.ndarray) -> Tensor:
    return model.prepare(picture, model.frame((picture.shape[0], picture.shape[1])))
