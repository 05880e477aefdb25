from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from persam.models.tiny.architecture import PACKAGED_WEIGHTS, SHARED_MATRIX, TinyConfig, TinySam
from persam.models.tiny.checkpoint import _TRIAL_NAMES, Average, from_trial, initial_model
from persam.models.tiny.personal import Prompts, decode

SMALL = TinyConfig(image_size=64, channels=32, stem=8, widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), mlp=32, heads=2)


@pytest.mark.parametrize("size", [32, 64, 96, 160])
def test_shapes_at_several_sizes(size: int) -> None:
    model = TinySam(SMALL).eval().resize(size)
    cells = size // 8
    features = model.vision_encoder(torch.zeros(2, 3, size, size))
    assert features.shape == (2, 32, cells, cells)
    assert model.get_image_wide_positional_embeddings().shape == (1, 32, cells, cells)
    points, labels = torch.rand(2, 1, 3, 2) * size, torch.ones(2, 1, 3, dtype=torch.long)
    decoded = decode(model, features, Prompts(points, labels))
    assert decoded.logits.shape == (2, 3, 4 * cells, 4 * cells)
    assert decoded.iou.shape == (2, 3)
    again = decode(model, features, Prompts(points, labels, torch.rand(2, 1, 4) * size, decoded.best()), False)
    assert again.logits.shape == (2, 1, 4 * cells, 4 * cells)


@pytest.mark.parametrize("size", [0, 31, 100, -32])
def test_sizes_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        TinySam(SMALL).resize(size)


def test_prompts_and_image_share_their_positions() -> None:
    model = TinySam(SMALL)
    assert model.prompt_encoder.shared_embedding is model.shared_image_embedding
    # A point at the centre of a cell has the position of that cell.
    at_cell = model.get_image_wide_positional_embeddings()[0, :, 3, 5]
    # transformers' prompt encoder adds half a pixel to every point
    embedded = model.shared_image_embedding(torch.tensor([[[[5.5 * 8, 3.5 * 8]]]]), (64, 64))[0, 0, 0]
    torch.testing.assert_close(embedded, at_cell)


def test_save_and_load_give_the_same_numbers(tmp_path: Path) -> None:
    model = TinySam(SMALL).eval().resize(96)
    for parameter in model.parameters():  # numbers that float16 holds exactly
        parameter.data = parameter.data.half().float()
    model.save(tmp_path / "a.safetensors", {"photos_seen": 7})
    loaded = TinySam.load(tmp_path / "a.safetensors")
    assert loaded.image_size == 96
    assert loaded.history == {"photos_seen": 7}
    assert not loaded.training
    for (name, mine), (_, theirs) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name
    assert loaded.prompt_encoder.shared_embedding is loaded.shared_image_embedding
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no weights of the bundled model"):
        TinySam.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("named_twice", [True, False])
def test_names_of_the_trial_are_mapped(tmp_path: Path, named_twice: bool) -> None:
    model = TinySam()
    old = {}
    for name, value in model.state_dict().items():
        prefix, full = next((short, full) for short, full in _TRIAL_NAMES.items() if name.startswith(full))
        if named_twice or name != SHARED_MATRIX:
            old[prefix + name[len(full) :]] = value.clone()
    mapped = from_trial(old)
    assert set(mapped) >= set(model.state_dict()) - {SHARED_MATRIX}
    save_file(old, tmp_path / "trial.safetensors")
    loaded = initial_model(tmp_path / "trial.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    with pytest.raises(ValueError, match="not a weight of the trial"):
        from_trial({"head.weight": torch.zeros(1)})


def test_the_average_follows_the_weights() -> None:
    model = TinySam(SMALL)
    average = Average(model, decay=0.5)
    before = model.prompt_encoder.no_mask_embed.weight.detach().clone()
    model.prompt_encoder.no_mask_embed.weight.data += 1
    average.update(model)  # warm-up: the decay is 2 / 11
    torch.testing.assert_close(average.model.prompt_encoder.no_mask_embed.weight, before + 9 / 11)
    for _ in range(60):
        average.update(model)
    torch.testing.assert_close(average.model.prompt_encoder.no_mask_embed.weight, before + 1)


def test_packaged_weights_load_and_say_where_they_come_from() -> None:
    assert PACKAGED_WEIGHTS.stat().st_size < 12e6
    model = TinySam.load()
    assert model.history["photos_seen"] > 0
    json.dumps(model.history)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values() if value.is_floating_point())
