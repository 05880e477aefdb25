from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.fakes import CPU, SMALL_TINY

from persam.geometry import Frame
from persam.models.base import EncodedImage, Prompts
from persam.models.sam import Sam
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam


@pytest.mark.parametrize("size", [32, 64, 96, 160])
def test_shapes_at_several_sizes(size: int) -> None:
    model = TinySam(SMALL_TINY).eval().resize(size)
    cells = size // 8
    features = model.vision_encoder(torch.zeros(2, 3, size, size))
    assert features.shape == (2, 32, cells, cells)
    assert model.get_image_wide_positional_embeddings().shape == (1, 32, cells, cells)
    sam = Sam(model, name="small", image_size=size, device=CPU)
    views = EncodedImage(features, Frame.padded((size, size), size, (cells, cells)))
    points, labels = torch.rand(2, 3, 2) * size, torch.ones(2, 3, dtype=torch.long)
    decoded = sam.decode(views, Prompts(points, labels), multimask=True)
    assert decoded.logits.shape == (2, 3, 4 * cells, 4 * cells)
    assert decoded.scores.shape == (2, 3)
    again = sam.decode(views, Prompts(points, labels, torch.rand(2, 4) * size, decoded.best()), multimask=False)
    assert again.logits.shape == (2, 1, 4 * cells, 4 * cells)


@pytest.mark.parametrize("size", [0, 31, 100, -32])
def test_sizes_that_do_not_fit_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        TinySam(SMALL_TINY).resize(size)


def test_prompts_and_image_share_their_positions() -> None:
    model = TinySam(SMALL_TINY)
    assert model.prompt_encoder.shared_embedding is model.shared_image_embedding
    # A point at the centre of a cell has the position of that cell.
    at_cell = model.get_image_wide_positional_embeddings()[0, :, 3, 5]
    # the prompt encoder adds half a pixel to every point
    embedded = model.shared_image_embedding(torch.tensor([5.5 * 8, 3.5 * 8]) / 64)
    torch.testing.assert_close(embedded, at_cell)


def test_save_and_load_give_the_same_numbers(tmp_path: Path) -> None:
    model = TinySam(SMALL_TINY).eval().resize(96)
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


def test_packaged_weights_load_and_say_where_they_come_from() -> None:
    assert PACKAGED_WEIGHTS.stat().st_size < 12e6
    model = TinySam.load()
    assert model.history["photos_seen"] > 0
    json.dumps(model.history)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values() if value.is_floating_point())
