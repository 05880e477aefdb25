"""Other encoders for the confidence map, as tiny random models saved to a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)
from transformers.utils import logging

from persam import PerSAM
from persam.errors import PersamError
from persam.method.settings import Settings
from persam.models.encoders import TransformersEncoder
from persam.models.fitted import Fitted
from persam.models.loading import load_encoder

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}


def build(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**SMALL, patch_size=14, mlp_ratio=2))
    if kind == "dinov2 with registers":
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SMALL, patch_size=14, mlp_ratio=2))
    if kind == "dinov3":
        return DINOv3ViTModel(DINOv3ViTConfig(**SMALL, patch_size=8, intermediate_size=64, num_register_tokens=4))
    vision = CLIPVisionConfig(**SMALL, patch_size=14, intermediate_size=64)
    if kind == "clip vision":
        return CLIPVisionModel(vision)
    text = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16, "vocab_size": 50,
    }  # fmt: skip
    return CLIPModel(CLIPConfig(vision_config=vision.to_dict(), text_config=text, projection_dim=16))


KINDS = ["dinov2", "dinov2 with registers", "dinov3", "clip vision", "clip"]


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TransformersEncoder:
    logging.disable_progress_bar()
    folder: Path = tmp_path_factory.mktemp("encoder") / request.param.replace(" ", "-")
    build(request.param).save_pretrained(folder)
    return load_encoder(str(folder), device="cpu", dtype="float32")  # type: ignore[return-value]


@pytest.mark.parametrize("size", [(56, 56), (60, 120), (200, 50), (1, 1), (3, 400), (300, 300)])
def test_shapes(encoder, size):
    encoding = encoder.encode(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8))
    rows, columns = encoding.frame.grid
    assert encoding.features.shape == (1, 32, rows, columns)
    assert encoding.frame.photo == size
    assert encoding.frame.content == encoding.frame.canvas
    assert encoding.frame.canvas == (rows * encoder.patch, columns * encoder.patch)
    assert bool(encoding.features.isfinite().all())
    if min(size) >= 50:  # the photo keeps its proportions, and about the number of patches of training
        assert abs(rows / columns - size[0] / size[1]) < 0.35 * size[0] / size[1]
        assert 0.6 < rows * columns / (56 / encoder.patch) ** 2 < 1.6


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("column", [0, 1])
def test_patches_lie_where_they_belong(encoder, row, column):
    """Brighten one quadrant of a wide photo: features change there the most."""
    grey = np.full((112, 224, 3), 100, np.uint8)
    lit = grey.copy()
    lit[row * 56 : (row + 1) * 56, column * 112 : (column + 1) * 112] = 230
    change = (encoder.encode(lit).features - encoder.encode(grey).features).norm(dim=1)[0]
    rows, columns = change.shape
    assert columns > rows
    quadrants = {
        (r, c): float(change[r * rows // 2 : (r + 1) * rows // 2, c * columns // 2 : (c + 1) * columns // 2].mean())
        for r in (0, 1)
        for c in (0, 1)
    }
    assert max(quadrants, key=quadrants.get) == (row, column)


def test_normalisation_is_the_encoders_own(encoder):
    expected = (0.485, 0.456, 0.406) if "dino" in encoder.kind else (0.48145466, 0.4578275, 0.40821073)
    torch.testing.assert_close(encoder._mean.flatten(), torch.tensor(expected))


def test_name_and_fingerprint(encoder):
    assert len(encoder.fingerprint) == 12
    again = load_encoder(encoder.name, device="cpu", dtype="float32")
    assert again.fingerprint == encoder.fingerprint
    assert load_encoder(encoder.name, device="cpu", dtype="bfloat16").fingerprint == encoder.fingerprint


def test_bf16_features_are_close(encoder):
    image, _ = draw_scene()
    half = load_encoder(encoder.name, device="cpu", dtype="bfloat16").encode(image).features
    full = encoder.encode(image).features
    assert half.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(half, full, dim=1).min()) > 0.98


@pytest.mark.parametrize("mode", ["official", "paper", "persam"])
def test_the_main_job(encoder, mode):
    persam = PerSAM(random_sam(), encoder=encoder, settings=Settings.of(mode))
    photo, mask = draw_scene()
    concept = persam.tune(persam.learn(photo, mask))
    assert concept.encoder == encoder.fingerprint
    assert concept.encoder_name == encoder.name
    assert concept.model == persam.model.fingerprint
    assert concept.targets[0].direction.shape == (32,)
    found = persam.segment(draw_scene(90, 200, seed=1)[0], concept, explain=True)
    assert found.mask.shape == (90, 200)
    assert found.trace.prior.canvas.shape == persam.model.low_resolution


def test_points_land_on_the_object_through_two_frames(encoder):
    """Random weights still tell a red disc from grey: the peak lies on it although the frames differ."""
    model = ColourModel()
    persam = PerSAM(model, encoder=encoder, settings=Settings.of("persam").but(background_subspace=0.0))
    image = np.full((100, 180, 3), 90, np.uint8)
    y, x = np.mgrid[:100, :180]
    truth = (x - 130) ** 2 + (y - 50) ** 2 < 35**2
    image[truth] = (230, 20, 20)
    found = persam.segment(image, persam.learn(image, truth))
    px, py = found.points[0].round().astype(int)
    assert truth[py, px]


def test_a_concept_of_another_encoder_is_refused(encoder):
    sam = random_sam()
    photo, mask = draw_scene()
    own = PerSAM(sam).learn(photo, mask, name="disc")
    with pytest.raises(PersamError, match=r'"disc" was made with the encoder random .*, this is .*use that encoder'):
        PerSAM(sam, encoder=encoder).segment(photo, own)
    other = PerSAM(sam, encoder=encoder).learn(photo, mask, name="disc")
    with pytest.raises(PersamError, match="was made with the encoder"):
        PerSAM(sam).segment(photo, other)


def test_encoder_by_name(encoder, tmp_path):
    persam = PerSAM.from_pretrained(device="cpu", dtype="float32", encoder=encoder.name)
    photo, mask = draw_scene()
    concept = persam.learn(photo, mask)
    concept.save(tmp_path / "c.safetensors")
    loaded = type(concept).load(tmp_path / "c.safetensors")
    assert loaded.encoder_name == encoder.name
    np.testing.assert_array_equal(persam.segment(photo, loaded).mask, persam.segment(photo, concept).mask)


def test_names_that_are_no_encoder():
    with pytest.raises(PersamError, match="is not on this machine, and the hub cannot be reached"):
        load_encoder("nobody/nothing", device="cpu")


def test_cues_are_fused_on_the_encoders_cells(encoder):
    """With numbers fitted for the encoder: its cells are compared, and the log odds land on the model's grid."""
    cues = {"similarity": 4.0, "nearest": 3.0, "background": -3.0, "colour": 0.3}
    signs = {"likeness": (4.0, 0.8), "explained": (5.0, 0.7), "colour": (2.0, 0.7)}
    numbers = Fitted(cues, -0.5, refine=True, presence=signs, presence_offset=0.0)
    persam = PerSAM(random_sam(), encoder=encoder, fitted=numbers)
    image, mask = draw_scene()
    concept = persam.learn(image, mask)
    assert concept.cues[0].object_cells.shape[1] == 32
    found = persam.segment(image, concept, explain=True)
    assert found.trace.prior.cells.shape == persam.encode(image).frame.grid
    assert bool(found.trace.prior.cells.isfinite().all())
    assert 0 <= found.score <= 1
    x, y = found.points[0].round().astype(int)
    assert mask[y, x]  # where the reference itself is looked through
