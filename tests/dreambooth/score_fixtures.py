"""CLIP and DINO, tiny and random, in folders that load by name; a prepared folder; a folder of generated pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.dreambooth.tiny_pipelines import clip_tokenizer
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from persam.dreambooth.generated import GeneratedFolder, GeneratedPicture, picture_file, write_generated
from persam.dreambooth.subjects import Subject, TrainingPhoto, write_prepared

SIDE = 32
_SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def saved_clip(folder: Path) -> Path:
    tokenizer = clip_tokenizer()
    text = {
        **_SIZES,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {**_SIZES, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(
        folder
    )
    return folder


def saved_dino(folder: Path, *, second: bool = False) -> Path:
    """DINO as facebook/dino-vits16 is, whose pooling layer is not in the file; or DINOv2."""
    torch.manual_seed(1)
    if second:
        sizes = {key: value for key, value in _SIZES.items() if key != "intermediate_size"}
        Dinov2Model(Dinov2Config(**sizes, image_size=SIDE, patch_size=8)).save_pretrained(folder)
    else:
        ViTModel(ViTConfig(**_SIZES, image_size=SIDE, patch_size=8), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def drawn(colour: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc of a colour on noise, (40, 48, 3), and its mask."""
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (40, 48, 3), np.uint8)
    rows, columns = np.mgrid[:40, :48]
    mask = (rows - 20) ** 2 + (columns - 20 - seed) ** 2 < 144
    photo[mask] = colour
    return photo, mask


def prepared(folder: Path, photos: int = 4, name: str = "my_mug", colour: Sequence[int] = (200, 40, 40)) -> Subject:
    found = []
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(photos):
        photo, mask = drawn(colour, number)
        image, mask_file = folder / name / f"{number}.png", folder / name / f"{number}_mask.png"
        Image.fromarray(photo).save(image)
        Image.fromarray(mask).save(mask_file)
        found.append(TrainingPhoto(image, mask_file, "a photo of t@y mug"))
    subject = Subject(name, "t@y", "mug", tuple(found))
    write_prepared(folder, [subject])
    return subject


def generated(
    folder: Path, runs: Sequence[str] = ("masked", "unmasked"), seeds: int = 3, prompts: int = 2
) -> GeneratedFolder:
    """Discs, of each run in another colour."""
    places = ("a photo of {subject}", "a photo of {subject} on the beach", "a red {subject}")[:prompts]
    pictures = []
    for number, run in enumerate(runs):
        for prompt, place in enumerate(places):
            for seed in range(seeds):
                file = picture_file(folder, run, prompt, seed)
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(drawn((200 - 150 * number, 40, 40 + 150 * number), 10 * prompt + seed)[0]).save(file)
                asked = place.format(subject="t@y mug")
                pictures.append(
                    GeneratedPicture(file, run, prompt, seed, asked, place.format(subject="mug"), ("my_mug",))
                )
    named = {run: {"folder": run, "model": "tiny", "run": None} for run in runs}
    found = GeneratedFolder(folder, tuple(places), tuple(range(seeds)), named, tuple(pictures))
    write_generated(found)
    return found
