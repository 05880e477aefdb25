"""What can be named as a model, an encoder, a propagator or a finder, what runs it, and what of it is here."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from persam.models.tiny import FORMAT
from persam.models.whereabouts import remembered


@dataclass(frozen=True)
class CatalogEntry:
    """A model that people can name.

    Attributes:
        name: What to write after ``--model``, ``--encoder``, ``--propagator`` or ``--finder``.
        use: One or several of ``model`` (finds masks), ``encoder`` (only the confidence map), ``propagator`` (carries
            masks through a clip) and ``finder`` (finds by words).
        about: What it is good for.
        megabytes: Size of its weights, about; None where nobody has looked it up.
        license: Terms of its weights.
        here: Whether it is on this machine, so that it works offline.
        runs: What runs it: classes of transformers, or persam's own; None for a checkpoint of unknown kind.
    """

    name: str
    use: str
    about: str
    megabytes: int | None
    license: str
    here: bool = False
    runs: str | None = None


_SUFFIXES = (".pth", ".pt", ".safetensors")  # of checkpoints
_WEIGHTS = (".safetensors", ".bin")  # in transformers' form
_BOTH = "model, propagator"
_KNOWN = (
    CatalogEntry("tiny", "model", "bundled, offline: to try, to test, for easy photos", 6, "see its card", here=True),
    CatalogEntry("facebook/sam-vit-base", "model", "SAM ViT-B: quick, good", 375, "Apache-2.0"),
    CatalogEntry("facebook/sam-vit-large", "model", "SAM ViT-L: better", 1250, "Apache-2.0"),
    CatalogEntry("facebook/sam-vit-huge", "model", "SAM ViT-H: the paper's, best", 2565, "Apache-2.0"),
    CatalogEntry("Zigeng/SlimSAM-uniform-50", "model", "SlimSAM, half of ViT-B", 111, "Apache-2.0"),
    CatalogEntry("Zigeng/SlimSAM-uniform-77", "model", "SlimSAM, a quarter of ViT-B", 39, "Apache-2.0"),
    CatalogEntry("sam_vit_b_01ec64.pth", "model", "original checkpoint of ViT-B: give its path", 375, "Apache-2.0"),
    CatalogEntry("sam_vit_l_0b3195.pth", "model", "original checkpoint of ViT-L: give its path", 1250, "Apache-2.0"),
    CatalogEntry("sam_vit_h_4b8939.pth", "model", "original checkpoint of ViT-H: give its path", 2565, "Apache-2.0"),
    CatalogEntry("mobile_sam.pt", "model", "MobileSAM, for phones: give its path", 41, "Apache-2.0"),
    CatalogEntry("syscv-community/sam-hq-vit-base", "model", "SAM-HQ ViT-B: finer outlines", 379, "Apache-2.0"),
    CatalogEntry("syscv-community/sam-hq-vit-large", "model", "SAM-HQ ViT-L", 1255, "Apache-2.0"),
    CatalogEntry("syscv-community/sam-hq-vit-huge", "model", "SAM-HQ ViT-H", 2571, "Apache-2.0"),
    CatalogEntry("facebook/sam2.1-hiera-tiny", _BOTH, "SAM 2.1, smallest: quick", 156, "Apache-2.0"),
    CatalogEntry("facebook/sam2.1-hiera-small", _BOTH, "SAM 2.1, small", 184, "Apache-2.0"),
    CatalogEntry("facebook/sam2.1-hiera-base-plus", _BOTH, "SAM 2.1, middle", 323, "Apache-2.0"),
    CatalogEntry("facebook/sam2.1-hiera-large", _BOTH, "SAM 2.1, best", 898, "Apache-2.0"),
    CatalogEntry("yonigozlan/EdgeTAM-hf", _BOTH, "EdgeTAM, for phones", 56, "Apache-2.0"),
    CatalogEntry("facebook/sam3", f"{_BOTH}, finder", "SAM 3, gated; 3.4 GB to download", 3440, "SAM License"),
    CatalogEntry("IDEA-Research/grounding-dino-tiny", "finder", "boxes by words; the model draws", 689, "Apache-2.0"),
    CatalogEntry("facebook/dinov2-small", "encoder", "DINOv2 ViT-S", 88, "Apache-2.0"),
    CatalogEntry("facebook/dinov2-base", "encoder", "DINOv2 ViT-B", 346, "Apache-2.0"),
    CatalogEntry("facebook/dinov2-large", "encoder", "DINOv2 ViT-L: the paper's best", 1217, "Apache-2.0"),
    CatalogEntry("facebook/dinov3-vits16-pretrain-lvd1689m", "encoder", "DINOv3 ViT-S, gated", 86, "DINOv3 License"),
    CatalogEntry("facebook/dinov3-vitb16-pretrain-lvd1689m", "encoder", "DINOv3 ViT-B, gated", 343, "DINOv3 License"),
    CatalogEntry("openai/clip-vit-base-patch16", "encoder", "CLIP ViT-B/16", 599, "MIT"),
    CatalogEntry("openai/clip-vit-large-patch14", "encoder", "CLIP ViT-L/14", 1710, "MIT"),
    CatalogEntry("google/siglip2-base-patch16-naflex", "encoder", "SigLIP 2 ViT-B/16", 1500, "Apache-2.0"),
    CatalogEntry("nvidia/C-RADIOv4-H", "encoder", "C-RADIOv4 ViT-H", 2612, "NVIDIA Open Model License"),
)
# What runs what is named so; the first that fits.
_RUNS = (
    ("tiny", "TinySam"),
    ("facebook/sam-vit", "SamModel"),
    ("Zigeng/SlimSAM", "SamModel"),
    ("sam_vit", "SamModel"),
    ("mobile_sam", "MobileSAM"),
    ("syscv-community/sam-hq", "SamHQModel"),
    ("facebook/sam2", "Sam2Model, Sam2VideoModel"),
    ("yonigozlan/EdgeTAM", "EdgeTamModel, EdgeTamVideoModel"),
    ("facebook/sam3", "Sam3TrackerModel, Sam3TrackerVideoModel, Sam3Model"),
    ("IDEA-Research/grounding-dino", "GroundingDinoForObjectDetection"),
    ("facebook/dinov2", "Dinov2Model"),
    ("facebook/dinov3-vit", "DINOv3ViTModel"),
    ("openai/clip", "CLIPVisionModel"),
    ("google/siglip2", "Siglip2VisionModel"),
    ("nvidia/C-RADIO", "RadioModel"),
)


def catalog(folder: str | Path = ".") -> list[CatalogEntry]:
    """List what can be named; those in the hub's cache or in ``folder`` are marked as here.

    What else ``--model`` takes of the folder is listed too: checkpoints, weights of the bundled model's kind, and
    folders in the form of transformers.
    """
    cached = _cached_repositories()
    entries = []
    for entry in _KNOWN:
        at_hand = entry.here or (Path(folder) / entry.name).exists() or entry.name in cached
        entries.append(replace(entry, here=at_hand, runs=entry.runs or _runs(entry.name)))
    known = {entry.name for entry in entries}
    others = [path for path in sorted(Path(folder).glob("*")) if path.name not in known]
    return [*entries, *(own for own in map(_own, others) if own is not None)]


def _own(path: Path) -> CatalogEntry | None:
    """A file or folder of people's own that is a model; None if it is none."""
    use, runs, files = "model", None, [path]
    try:
        if path.is_dir():
            kind = json.loads((path / "config.json").read_bytes())["model_type"]
            files = [file for file in path.iterdir() if file.suffix in _WEIGHTS]
            if not files or (runs := _network_of(kind)) is None:
                return None
            about = f"a {kind} in this folder"
            use = _BOTH if kind.endswith("_video") else use
        elif path.suffix == ".safetensors":
            if _format_of(path) != FORMAT:  # concepts have the same suffix
                return None
            about, runs = "trained here as the bundled one was", "TinySam"
        elif path.suffix in _SUFFIXES:
            about = "a checkpoint in this folder"
        else:
            return None
        megabytes = round(sum(file.stat().st_size for file in files) / 1e6)
    except (OSError, ValueError, KeyError, TypeError):  # it cannot be read, or says other things of itself
        return None
    return CatalogEntry(path.name, use, about, megabytes, "unknown", here=True, runs=runs)


def _network_of(kind: str) -> str | None:
    """The class of transformers for models of this kind; None if persam runs none."""
    from persam.models.loading import KINDS  # here, for it takes seconds

    return KINDS[kind].network if kind in KINDS else None


def _format_of(file: Path) -> str | None:
    """What a safetensors file says that it is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            return (opened.metadata() or {}).get("format")
    except SafetensorError:
        return None


def here_as(name: str, fingerprint: str = "", folder: str | Path = ".") -> str | None:
    """What to name a model by on this machine, of which a concept knows the name; None where it is not here.

    An encoder is known by the base of its `EncoderName`.
    """
    if any(entry.name == name and entry.here for entry in _KNOWN):
        return name
    return on_disk(name, fingerprint, folder) or (name if name in _cached_repositories() else None)


def on_disk(name: str, fingerprint: str = "", folder: str | Path = ".") -> str | None:
    """The file or folder of a model, of which a concept knows the name and the fingerprint; None if it has none.

    A checkpoint is known by its file's name without the suffix, a folder by its name. It is in the folder, or where it
    lay when this machine used it last.
    """
    files = (name, *(f"{name}{suffix}" for suffix in _SUFFIXES))
    near = next((file for file in files if (Path(folder) / file).exists()), None)
    place = remembered(name, fingerprint)
    if place is None or (near is not None and (Path(folder) / near).samefile(place)):
        return near
    return place


def _runs(name: str) -> str | None:
    return next((runs for start, runs in _RUNS if name.startswith(start)), None)


def _cached_repositories() -> set[str]:
    """Hub ids of which weights lie in the cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):
        return set()
    return {
        repository.repo_id
        for repository in cache.repos
        if any(Path(file.file_name).suffix in _WEIGHTS for revision in repository.revisions for file in revision.files)
    }
