"""Other engines for the image encoder: ONNX Runtime and OpenVINO, in float32, bf16 or 8-bit integers.

On a CPU the encoder is what takes the time, and in bf16 or 8 bits, for small models also in float32, these run it
faster than PyTorch does.  It is exported once, into a cache folder, under a name that says of which weights it was made
and by what.  Prompts and masks stay with PyTorch: they take little, and they are where the guidance is.
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
from persam.models.backends import BACKENDS, Backend, computes_in_bf16, onnx_session
from persam.models.graphs import EncoderGraph, is_large, write_encoder
from persam.models.int8 import LARGE, PICTURES, drawn_picture, quantise, quantise_weights
from persam.models.sam import Sam

_FILE = "encoder.onnx"
_RECIPE = 2  # how the file is made; another number where that changes within a version
# Share of the features' length by which they may be off.
_FAR = {torch.float32: 0.001, torch.bfloat16: 0.1, torch.int8: 0.5}


def use_backend(model: Sam, backend: Backend) -> None:
    """Let a backend run a model's image encoder from now on; it is exported first if it is not in the cache.

    Raises:
        PersamError: it cannot be exported or written; or what the backend does is far from what PyTorch does.
    """
    model.use_engine(_cached_engine(model, backend), backend.numbers)


# ----------------------------------------------------------------------------------------------------- the engines


class OnnxRuntimeEncoder(nn.Module):
    """An image encoder that ONNX Runtime runs, with as many threads as PyTorch has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._session = onnx_session(file)

    def forward(self, pixels: Tensor) -> Tensor:
        """Prepared pixels (B, 3, S, S) to features (B, C, rows, columns), photo by photo."""
        return torch.cat(
            [torch.from_numpy(self._session.run(None, {"pixels": one.numpy()})[0]) for one in pixels.split(1)]
        )


class OpenVinoEncoder(nn.Module):
    """The same by OpenVINO."""

    def __init__(self, file: Path, numbers: torch.dtype = torch.float32) -> None:
        super().__init__()
        openvino = library("openvino", "The backend openvino", "openvino")
        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Left alone, it would take bf16 for float32, too. In 8 bits it is of what stays in floating point.
            "INFERENCE_PRECISION_HINT": "bf16" if numbers != torch.float32 and computes_in_bf16() else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "256",  # channels with a common scale, of layers with 8-bit weights
        }
        self._model = openvino.Core().compile_model(file, "CPU", options)

    def forward(self, pixels: Tensor) -> Tensor:
        """Prepared pixels (B, 3, S, S) to features (B, C, rows, columns), photo by photo."""
        request = self._model.create_infer_request()  # each its own: several threads encode
        encoded = [request.infer([one.numpy()])[0].copy() for one in pixels.split(1)]  # the next overwrites it
        return torch.from_numpy(np.concatenate(encoded))


def _engine(backend: Backend, file: Path) -> nn.Module:
    return OpenVinoEncoder(file, backend.numbers) if backend.module == "openvino" else OnnxRuntimeEncoder(file)


# ------------------------------------------------------------------------------------------------------- the cache


def _cached_engine(model: Sam, backend: Backend) -> nn.Module:
    """The engine with the model's encoder from the cache; made, with a warning that says so, where it is not there.

    What the engine cannot read is taken for damaged, and made anew.  One file serves several backends; each is compared
    with PyTorch when it first runs it.
    """
    from filelock import FileLock

    home = _home()
    folder = home / _key(model, backend)
    try:
        found = _read(backend, folder / _FILE)
        if found is None:  # else no lock is needed, which a cache that is only to be read would not give
            home.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):  # several processes may begin at once
                found = _read(backend, folder / _FILE)
                if found is None:
                    if folder.exists():
                        shutil.rmtree(folder)
                    _make(model, backend, folder)
                    found = _engine(backend, folder / _FILE)
    except OSError as error:
        raise write_error(folder, error) from error
    if not _mark(folder, backend).exists():
        _check(model, backend, found)
        with contextlib.suppress(OSError):  # only to be read: it is compared every time
            _mark(folder, backend).touch()
    return found


def _mark(folder: Path, backend: Backend) -> Path:
    """A file that is there if a backend was compared with PyTorch on what is in a folder of the cache."""
    return folder / f"{backend.name}.checked"


def _home() -> Path:
    return cache_folder() / "encoders"


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
        return set(_home().glob(f"{fingerprint}-*"))

    before = kept()
    try:
        yield
    finally:
        for path in kept() - before:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _key(model: Sam, backend: Backend) -> str:
    """Name of an encoder in the cache: of which weights, for which canvas, in which numbers, made by what."""
    kind = _kind(model, backend)
    makers = {"persam": __version__, "recipe": str(_RECIPE), "torch": version("torch")}
    makers |= {"onnxruntime": version("onnxruntime")} if kind == "int8" else {}
    made_by = "-".join(f"{name}{number}" for name, number in makers.items())
    return f"{model.fingerprint}-{model.image_size}-{kind}-{made_by}"


def _kind(model: Sam, backend: Backend) -> str:
    """Of the file: ``float32``, which serves bf16, too; ``int8``; or ``int8weights``, for OpenVINO."""
    if not backend.int8:
        return "float32"
    return "int8weights" if backend.module == "openvino" and model.image_size > LARGE else "int8"


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
            source = folder.with_name(_key(model, replace(backend, numbers=torch.float32))) / _FILE
            if not source.is_file():
                source = Path(made) / "float32" / _FILE
                source.parent.mkdir()
                write_encoder(model, source)
            if _kind(model, backend) == "int8weights":
                quantise_weights(source, file, external=is_large(model))
            else:
                quantise(source, file, lambda picture: _prepared(model, picture).numpy(), external=is_large(model))
            shutil.rmtree(Path(made) / "float32", ignore_errors=True)
        else:
            write_encoder(model, file)
        # What serves float32, too, is held to that.
        maker = BACKENDS[backend.module] if backend.numbers == torch.bfloat16 else backend
        _check(model, maker, _engine(maker, file))
        _mark(Path(made), maker).touch()
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
    if not off <= _FAR[backend.numbers]:
        raise PersamError(
            f"The backend {backend.name} gives other features of {model.name} than PyTorch, off by {off:.0%}; "
            "use the backend torch."
        )


def _prepared(model: Sam, picture: np.ndarray) -> Tensor:
    return model.prepare(picture, model.frame((picture.shape[0], picture.shape[1])))
