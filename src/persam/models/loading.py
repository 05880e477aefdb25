"""From a name to a model: the bundled one, a hub id, a local folder, an original checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from persam.errors import PersamError, UsageError
from persam.models.backends import backend_of, computes_in_bf16
from persam.models.base import FeatureEncoder, PromptableModel
from persam.models.encoder_name import EncoderName
from persam.models.fingerprint import check_file
from persam.models.hub import hub_call, load_network
from persam.models.pixels import HALF, IMAGENET, MeanStd, pixels_of
from persam.models.sam import PromptedNetwork, Sam
from persam.models.sam2 import Sam2
from persam.models.sam_hq import SamHQ
from persam.models.whereabouts import remember

BUNDLED = "tiny"


class ModelKind(NamedTuple):
    """What runs a model of transformers.

    Attributes:
        network: transformers' class.
        adapter: the class that puts it behind the protocol.
        pixels: their mean and deviation where no file says so, of a network that stretches photos; None: SAM's own.
        renamed: names of tensors that transformers does not know to rename, as patterns.
    """

    network: str
    adapter: type[PromptedNetwork]
    pixels: MeanStd | None = None
    renamed: Mapping[str, str] | None = None


# When transformers saves a whole SAM 3, it puts the tracker's name before its tensors twice.
_SAM3 = ModelKind("Sam3TrackerModel", Sam2, HALF, {r"^tracker_model\.tracker_model\.": "tracker_model."})
# By a configuration's `model_type`. Those for videos hold the image part, which is taken out of them.
KINDS = {
    "sam": ModelKind("SamModel", Sam),
    "sam_hq": ModelKind("SamHQModel", SamHQ),
    "sam2": ModelKind("Sam2Model", Sam2, IMAGENET),
    "sam2_video": ModelKind("Sam2Model", Sam2, IMAGENET),
    "edgetam": ModelKind("EdgeTamModel", Sam2, IMAGENET),
    "edgetam_video": ModelKind("EdgeTamModel", Sam2, IMAGENET),
    "sam3_tracker": _SAM3,
    "sam3_tracker_video": _SAM3,
    "sam3_video": _SAM3,
}


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` takes cuda, then mps, then the cpu.

    Raises:
        UsageError: an unknown device, or one that this machine does not have.
    """
    at_hand = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(kind for kind, here in at_hand.items() if here))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UsageError(f'There is no device "{device}"; use auto, cpu, cuda or mps.') from None
    if chosen.type not in at_hand:
        raise UsageError(f'The device "{device}" is not supported; use auto, cpu, cuda or mps.')
    if not at_hand[chosen.type]:
        raise UsageError(f"PyTorch sees no {chosen.type} device on this machine; use --device auto or cpu.")
    return chosen


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Number format of the image encoder. `auto` is bf16 where the machine computes in it, else float32.

    Raises:
        UsageError: an unknown format.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            native = device.type == "cpu" and computes_in_bf16()
        return torch.bfloat16 if native else torch.float32
    known = {"bf16": torch.bfloat16, "bfloat16": torch.bfloat16, "fp16": torch.float16, "float16": torch.float16,
             "fp32": torch.float32, "float32": torch.float32}  # fmt: skip
    if dtype not in known:
        raise UsageError(f'There is no dtype "{dtype}"; use auto, float32, bfloat16 or float16.')
    return known[dtype]


def dtypes_of(
    model: str | Path,
    encoder: str | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    backend: str = "torch",
) -> tuple[str, ...]:
    """Number formats that a model and, if there is one, another encoder would get, such as ``("float32",)``.

    What is found differs a little with them, and this is known before anything is loaded.

    Raises:
        UsageError: an unknown device, dtype or backend.
    """
    other = backend_of(backend, device, dtype)
    place = choose_device(device if other is None else "cpu")
    of_model = _dtype_for(model, dtype, place) if other is None else other.numbers
    chosen = [of_model, *([] if encoder is None else [choose_dtype(dtype, place)])]
    return tuple(str(each).removeprefix("torch.") for each in chosen)


def _dtype_for(model: str | Path, dtype: str | torch.dtype, place: torch.device) -> torch.dtype:
    if str(model) == BUNDLED and dtype == "auto":
        return torch.float32  # quick as it is, and in bf16 one mask in seven falls below IoU 0.99
    return choose_dtype(dtype, place)


def load_model(
    name: str | Path = BUNDLED,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    decoder_heads: int = 8,
    backend: str = "torch",
) -> PromptableModel:
    """Load a promptable model by name.

    Args:
        name: `"tiny"` (bundled, offline), a hub id (`"facebook/sam-vit-huge"`), a local folder in transformers' form
            (SAM, SAM-HQ, SAM 2, EdgeTAM, SAM 3), an original checkpoint (`"sam_vit_h_4b8939.pth"`), or weights of the
            bundled model's kind that you trained (`.safetensors`).
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: number format of the image encoder: `auto`, `float32`, `bfloat16`, `float16`.
        decoder_heads: attention heads of an original checkpoint's decoder, which its tensors do not show.
        backend: what runs the image encoder: `torch`, `onnxruntime`, `openvino`, in bf16 `openvino-bf16`, or, in 8-bit
            integers, `onnxruntime-int8` or `openvino-int8`; all but torch on the CPU. The first time it is exported,
            and kept.

    Raises:
        PersamError: the model is not there, damaged, or of a kind that is not supported; or the backend's library is
            not installed.
        UsageError: an unknown device, dtype or backend.
    """
    engine = backend_of(backend, device, dtype)
    place = choose_device(device if engine is None else "cpu")
    text, path = str(name), Path(name)
    numbers = _dtype_for(name, dtype, place) if engine is None else torch.float32
    network: Any
    kind, size = KINDS["sam"], None
    if text == BUNDLED:
        from persam.models.tiny.architecture import PACKAGED_CHECKSUM, PACKAGED_WEIGHTS, TinySam

        check_file(PACKAGED_WEIGHTS, PACKAGED_CHECKSUM)
        network = TinySam.load()
        size = network.image_size
    elif path.suffix == ".safetensors":
        network = _load_tiny(path)
        size, text = network.image_size, path.stem
    elif path.suffix in {".pth", ".pt"}:
        from persam.models.checkpoint import load_original

        network = load_original(path, decoder_heads)
        size, text = network.config.vision_config.image_size, path.stem
    else:
        kind, network = _load_transformers(text, backend if engine is not None else None)
    adapter: Any = kind.adapter
    if kind.pixels is None:
        more = {"image_size": size or network.config.vision_config.image_size}
    else:
        more = {"pixels": pixels_of(text, kind.pixels)}
    model: PromptableModel = adapter(network, name=text, device=place, encoder_dtype=numbers, **more)
    if engine is not None:
        from persam.models.engines import use_backend

        assert isinstance(model, Sam)  # by its kind
        use_backend(model, engine)
    if str(name) != BUNDLED:
        remember(model, str(name))
    return model


def load_encoder(
    name: str, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> FeatureEncoder:
    """Load an encoder for the confidence map by its transformers name and options, see `models/encoder_name.py`.

    Raises:
        PersamError: not to be had, or of a kind that is not supported.
        UsageError: an unknown option, device or dtype.
    """
    from persam.models.encoders import TransformersEncoder

    place = choose_device(device)
    encoder = TransformersEncoder.load(name, place, choose_dtype(dtype, place))
    remember(encoder, EncoderName.read(name).base)
    return encoder


def _load_tiny(path: Path) -> Any:
    from safetensors import SafetensorError

    from persam.models.tiny.architecture import TinySam

    if not path.is_file():
        raise PersamError(f'There is no model file {path}; check the path, or use the bundled model "tiny".')
    try:
        return TinySam.load(path)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise PersamError(
            f"{path} holds no model that persam trained ({error}); give a hub id, a folder, or a .pth of SAM."
        ) from error


def _load_transformers(name: str, backend: str | None = None) -> tuple[ModelKind, Any]:
    """What runs a model, and its network, for another backend than PyTorch if there is one."""
    import transformers

    found = hub_call(name, transformers.AutoConfig.from_pretrained).model_type
    if found not in KINDS:
        detector = "SAM 3's detector without its tracker" if found == "sam3" else f"a model of type {found}"
        raise PersamError(
            f"{name} is {detector}, which persam cannot use; name a SAM, SAM-HQ, SAM 2, EdgeTAM or SAM 3, such as "
            "facebook/sam-vit-base (`persam models` lists them)."
        )
    kind = KINDS[found]
    if backend is not None and kind.adapter is not Sam:
        raise UsageError(f"--backend {backend} runs the image encoder of a SAM, which {name} is not; leave it out.")
    return kind, load_network(name, getattr(transformers, kind.network), key_mapping=kind.renamed)
