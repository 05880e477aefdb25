"""The background-leak experiment: its parts, all of it in miniature, and (slow) that the effect is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch.nn import functional as F

from persam.dreambooth.background_leak import (
    BACKGROUND,
    COLOURS,
    STRIPES,
    LeakSettings,
    colour_share,
    leak,
    table,
    to_json,
    write_leak,
)
from persam.dreambooth.pipelines import family_of, load_pipeline
from persam.dreambooth.small_world import KINDS, SIDE, SmallTraining, _autoencoder, _tokenizer, draw, scene, small_model
from persam.errors import UsageError


def test_colours_are_told_apart_whatever_the_light() -> None:
    names = list(COLOURS)
    for name in names:
        for other in (*names, "violet", "white"):
            colour = {"violet": STRIPES[0], "white": STRIPES[1]}.get(other, COLOURS.get(other))
            pixels = (np.full((2, 2, 3), colour) * [[[0.93]], [[1.06]]]).clip(0, 255).astype(np.uint8)
            assert colour_share(pixels, COLOURS[name]) == float(name == other)
    half = np.array([[COLOURS["red"], COLOURS["green"]]], np.uint8)
    assert colour_share(half, COLOURS["green"]) == 0.5


def test_a_mask_is_what_is_drawn() -> None:
    for seed, kind in enumerate(KINDS):
        rng = np.random.default_rng(seed)
        pixels, mask = draw(kind, STRIPES, np.array(COLOURS[BACKGROUND]), rng)
        assert pixels.shape == (SIDE, SIDE, 3)
        assert 0.1 < mask.mean() < 0.4
        assert colour_share(pixels[~mask][None], COLOURS[BACKGROUND]) > 0.98
        assert colour_share(pixels[mask][None], COLOURS[BACKGROUND]) == 0


def test_a_caption_says_what_is_there() -> None:
    rng = np.random.default_rng(0)
    for each in (scene(rng) for _ in range(40)):
        *_, last = each.caption.split()
        if last in COLOURS:
            assert colour_share(each.pixels[~each.mask][None], COLOURS[last]) > 0.4
    assert scene(rng, "kite").caption.startswith("a photo of kite")
    words = _tokenizer().tokenize("a photo of t@y ball on red")
    assert words == ["a</w>", "photo</w>", "of</w>", "t</w>", "@</w>", "y</w>", "ball</w>", "on</w>", "red</w>"]


def test_a_latent_is_the_mean_colour_of_its_pixels() -> None:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(np.stack([scene(rng).pixels for _ in range(8)])).permute(0, 3, 1, 2) / 127.5 - 1
    vae = _autoencoder()
    with torch.no_grad():
        found = vae.encode(pixels).latent_dist
        back = vae.decode(found.sample()).sample
    means = F.avg_pool2d(pixels, 2)
    torch.testing.assert_close(found.mean, means, atol=2e-3, rtol=0)
    torch.testing.assert_close(back, F.interpolate(means, scale_factor=2), atol=2e-3, rtol=0)
    assert 0.7 < float(found.mean.std()) * vae.config.scaling_factor < 1.3


def test_all_of_it_in_miniature(tmp_path: Path) -> None:
    small = SmallTraining(steps=3, batch=2)
    how = LeakSettings(small, photos=2, steps=1, class_count=1, seeds=2, sampling_steps=1)
    told: list[str] = []
    found = leak(tmp_path, how, lambda **what: told.append(what.get("what", "")))
    assert "Pictures" in told
    assert family_of(load_pipeline(tmp_path / "base", device="cpu", dtype="float32")).key == "sd15"
    assert list(found.shares) == ["base", "no mask", "mask", "mask, floor 0.1"]
    pictures = found.generated.of("mask", 0)
    shares = [colour_share(np.asarray(Image.open(each.file)), COLOURS[BACKGROUND]) for each in pictures]
    assert found.shares["mask"]["plain"].mean == pytest.approx(np.mean(shares))
    assert set(found.changes) == {"base", "mask", "mask, floor 0.1"}
    write_leak(found, tmp_path)
    assert Image.open(tmp_path / "leak.png").width > 5 * 2 * 80
    assert json.loads((tmp_path / "leak.json").read_text()) == json.loads(json.dumps(to_json(found)))
    assert [row[0] for row in table(found).rows] == ["base, not trained", "no mask", "mask", "mask, floor 0.1"]

    before = (tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns
    again = leak(tmp_path, how)  # all of it is there
    assert again.shares == found.shares
    assert (tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors").stat().st_mtime_ns == before
    assert small_model(tmp_path / "base", small) == tmp_path / "base"


def test_a_folder_of_others_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text("somebody's")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="base holds files that are not of the small model"):
            leak(tmp_path, LeakSettings(SmallTraining(steps=1)), overwrite=overwrite)
    assert [file.name for file in tmp_path.rglob("*")] == ["base", "model_index.json"]


def test_a_save_that_was_killed_leaves_no_half_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = SmallTraining(steps=1, batch=2), SmallTraining(steps=1, batch=2, seed=1)
    home = small_model(tmp_path / "base", first)
    weights = {file: file.read_bytes() for file in home.rglob("*.safetensors")}
    save = StableDiffusionPipeline.save_pretrained

    def killed(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionPipeline, "save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            small_model(home, other)
    assert {file: file.read_bytes() for file in home.rglob("*.safetensors")} == weights
    small_model(home, other)
    assert {file: file.read_bytes() for file in home.rglob("*.safetensors")} != weights
    assert not list((tmp_path / ".persam").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_masks_keep_the_background_out(tmp_path: Path) -> None:
    found = leak(tmp_path, LeakSettings(seeds=16))
    assert found.shares["no mask"]["elsewhere"].low > found.shares["mask"]["elsewhere"].high
    assert found.changes["mask"]["plain"].high < 0
    assert found.shares["mask"]["subject"].low > found.shares["base"]["subject"].high  # it was learned all the same
