"""What can be named as a model or as an encoder, and what of it is on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class CatalogEntry:
    """A model that people can name.

    Attributes:
        name: What to write after ``--model`` or ``--encoder``.
        use: ``model`` (finds masks) or ``encoder`` (only the confidence map).
        about: What it is good for.
        megabytes: Size of its weights, about; None for those found on this machine.
        license: Terms of its weights.
        here: Whether it is on this machine, so that it works offline.
    """

    name: str
    use: str
    about: str
    megabytes: int | None
    license: str
    here: bool = False


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


def catalog(folder: str | Path = ".") -> list[CatalogEntry]:
    """List what can be named; those in the hub's cache or as ``*.pth`` in ``folder`` are marked as here.

    Checkpoints in the folder that are not among the known ones are listed too, under their own names.
    """
    cached = _cached_repositories()
    files = {file.name: file for file in sorted(Path(folder).glob("*.pth"))}
    entries = []
    for entry in _KNOWN:
        at_hand = entry.here or entry.name in cached or files.pop(entry.name, None) is not None
        entries.append(replace(entry, here=at_hand))
    for name, file in files.items():
        megabytes = round(file.stat().st_size / 1e6)
        entries.append(CatalogEntry(name, "model", "a checkpoint in this folder", megabytes, "unknown", here=True))
    return entries


def _cached_repositories() -> set[str]:
    """Hub ids of which weights lie in the cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except (CacheNotFound, OSError, ValueError):
        return set()
    suffixes = {".safetensors", ".bin"}
    return {
        repository.repo_id
        for repository in cache.repos
        if any(Path(file.file_name).suffix in suffixes for revision in repository.revisions for file in revision.files)
    }
