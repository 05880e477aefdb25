"""Other encoders for the confidence map, as tiny random models saved to a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Backbone,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTBackbone,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    RadioConfig,
    RadioModel,
    Siglip2Config,
    Siglip2Model,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil
from transformers.utils import logging

from persam import PerSAM
from persam.cli.options import model_of
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings
from persam.models.base import encode_all
from persam.models.encoders import TransformersEncoder
from persam.models.fingerprint import fingerprint_of
from persam.models.fitted import Fitted
from persam.models.loading import load_encoder
from persam.models.whereabouts import encoder_called

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {**SIZES, "image_size": 56}
NAFLEX = {**SIZES, "patch_size": 14, "num_patches": 16, "intermediate_size": 64}


def build(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**SMALL, patch_size=14, mlp_ratio=2))
    if kind == "dinov2 with registers":
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SMALL, patch_size=14, mlp_ratio=2))
    if kind == "dinov3":
        return DINOv3ViTModel(DINOv3ViTConfig(**SMALL, patch_size=8, intermediate_size=64, num_register_tokens=4))
    if kind == "radio":
        return RadioModel(RadioConfig(**SMALL, patch_size=14, mlp_ratio=2.0, max_img_size=112))
    if kind == "siglip2 vision":
        return Siglip2VisionModel(Siglip2VisionConfig(**NAFLEX))
    if kind == "siglip vision":
        return SiglipVisionModel(SiglipVisionConfig(**SMALL, patch_size=14, intermediate_size=64))
    vision = CLIPVisionConfig(**SMALL, patch_size=14, intermediate_size=64)
    if kind == "clip vision":
        return CLIPVisionModel(vision)
    text = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16, "vocab_size": 50,
    }  # fmt: skip
    if kind == "siglip":
        sight = SiglipVisionConfig(**SMALL, patch_size=14, intermediate_size=64)
        return local(SiglipModel(SiglipConfig(vision_config=sight.to_dict(), text_config=text)))
    if kind == "siglip2":
        return local(Siglip2Model(Siglip2Config(vision_config=NAFLEX, text_config=text)))
    return CLIPModel(CLIPConfig(vision_config=vision.to_dict(), text_config=text, projection_dim=16))


def local(network: torch.nn.Module) -> torch.nn.Module:
    """With less attention and positions: random SigLIPs have so much that hardly a patch shows its own place."""
    with torch.no_grad():
        network.vision_model.embeddings.position_embedding.weight *= 0.1
        for layer in network.vision_model.encoder.layers:
            layer.self_attn.out_proj.weight *= 0.1
    return network


KINDS = ["dinov2", "dinov2 with registers", "dinov3", "clip vision", "clip", "siglip", "siglip2", "radio"]


def saved(network: torch.nn.Module, folder: Path) -> str:
    logging.disable_progress_bar()
    network.save_pretrained(folder)
    return str(folder)


def load(name: str) -> TransformersEncoder:
    return load_encoder(name, device="cpu", dtype="float32")  # type: ignore[return-value]


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TransformersEncoder:
    folder: Path = tmp_path_factory.mktemp("encoder") / request.param.replace(" ", "-")
    return load(saved(build(request.param), folder))


@pytest.mark.parametrize("options", ["", "@windows=2", "@layers=1,2"])
def test_several_photos_in_one_pass_are_as_one_by_one(encoder, options, monkeypatch):
    encoder = load(encoder.asked.base + options)
    sizes = [(60, 120), (200, 50), (30, 60), (61, 122)]  # of two proportions
    photos = [draw_scene(*size, seed=number)[0] for number, size in enumerate(sizes)]
    alone, passes = [encoder.encode(photo) for photo in photos], []
    network = encoder.network.forward
    monkeypatch.setattr(
        encoder.network, "forward", lambda **given: passes.append(len(given["pixel_values"])) or network(**given)
    )
    together = encode_all(encoder, photos)
    assert passes == ([3] * 9 + [1] * 9 if "windows" in options else [3, 1])
    for one, expected in zip(together, alone, strict=True):
        assert one.frame == expected.frame
        assert one.features.shape == expected.features.shape
        torch.testing.assert_close(one.features, expected.features, atol=1e-4, rtol=1e-4)


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


NOISE = np.random.default_rng(0).integers(0, 255, (56, 56, 3), np.uint8)  # a photo that needs no resizing
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return ((torch.tensor(NOISE) / 255 - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(
    ("kind", "backbone"), [("dinov2", Dinov2Backbone), ("dinov3", DINOv3ViTBackbone)], ids=["dinov2", "dinov3"]
)
def test_layers_are_those_of_transformers_backbone(kind, backbone, tmp_path):
    name = saved(build(kind), tmp_path / "encoder")
    network = backbone.from_pretrained(name, out_indices=[1, 2], apply_layernorm=True).eval()
    with torch.no_grad():
        first, last = network(normalised(*IMAGENET)).feature_maps
    torch.testing.assert_close(load(f"{name}@layers=1@positions=kept").encode(NOISE).features, first)
    torch.testing.assert_close(load(f"{name}@positions=kept").encode(NOISE).features, last)


@pytest.mark.parametrize(
    ("kind", "network", "colours"),
    [
        ("clip vision", CLIPVisionModel, ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))),
        ("siglip vision", SiglipVisionModel, ((0.5,) * 3, (0.5,) * 3)),
        ("siglip", SiglipVisionModel, ((0.5,) * 3, (0.5,) * 3)),
        ("radio", RadioModel, ((0.0,) * 3, (1.0,) * 3)),
    ],
)
def test_features_are_those_of_transformers_own_forward(kind, network, colours, tmp_path):
    name = saved(build(kind), tmp_path / "encoder")
    with torch.no_grad():
        tokens = network.from_pretrained(name).eval()(normalised(*colours)).last_hidden_state
    torch.testing.assert_close(load(name).encode(NOISE).features, tokens[:, -16:].mT.reshape(1, 32, 4, 4))


@pytest.mark.parametrize("kind", ["siglip2 vision", "siglip2"])
def test_siglip2_sees_what_its_own_processor_makes(kind, tmp_path):
    name = saved(build(kind), tmp_path / "encoder")
    photo = np.random.default_rng(0).integers(0, 255, (28, 112, 3), np.uint8)
    given = Siglip2ImageProcessorPil(patch_size=14, max_num_patches=16)(photo, return_tensors="pt")
    with torch.no_grad():
        tokens = Siglip2VisionModel.from_pretrained(name).eval()(**given).last_hidden_state
    torch.testing.assert_close(load(name).encode(photo).features, tokens.mT.reshape(1, 32, 2, 8))


# ----------------------------------------------------------------------------------- what stands behind the name


def test_a_cosine_of_several_layers_is_the_mean_of_theirs(encoder):
    photo, _ = draw_scene()

    def cosines(options: str) -> torch.Tensor:
        features = torch.nn.functional.normalize(
            load(encoder.asked.base + options).encode(photo).features[0].flatten(1), dim=0
        )
        return features.T @ features

    both = cosines("@layers=1,2")
    torch.testing.assert_close(both, (cosines("@layers=1") + cosines("@layers=2")) / 2, atol=1e-5, rtol=0)


def test_windows_see_more_of_a_photo(encoder):
    photo, _ = draw_scene(60, 120)
    usual, windowed = encoder.encode(photo), load(f"{encoder.asked.base}@windows=2").encode(photo)
    rows, columns = usual.frame.grid
    assert windowed.frame.grid == (2 * rows, 2 * columns)
    assert windowed.features.shape == (1, 32, 2 * rows, 2 * columns)
    assert windowed.frame.photo == (60, 120)
    assert windowed.frame.content == windowed.frame.canvas == (2 * usual.frame.canvas[0], 2 * usual.frame.canvas[1])


def test_what_gives_other_features_has_another_fingerprint(tmp_path):
    base = saved(build("dinov3"), tmp_path / "encoder")
    usual, kept = load(base), load(f"{base}@positions=kept")
    options = ("@layers=1", "@layers=1,2", "@windows=2", "@size=28", "@layers=1@windows=2")
    others = [load(base + each) for each in options]
    assert len({each.fingerprint for each in (usual, kept, *others)}) == 2 + len(options)
    assert all(load(each.name).fingerprint == each.fingerprint for each in (usual, kept, *others))
    as_trained = load(f"{base}@windows=1@layers=2@size=56")
    assert (as_trained.name, as_trained.fingerprint) == (usual.name, usual.fingerprint)


def test_by_default_the_fingerprint_is_the_weights_own(encoder):
    own = fingerprint_of(encoder.network)
    assert (encoder.fingerprint == own) == (encoder.kind != "dinov3_vit")
    assert load(f"{encoder.asked.base}@positions=kept").fingerprint == own


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One whose attention is strong enough for positions to be seen."""
    torch.manual_seed(0)
    config = DINOv3ViTConfig(**SMALL, patch_size=8, intermediate_size=64, num_register_tokens=4, initializer_range=0.2)
    return saved(DINOv3ViTModel(config), tmp_path_factory.mktemp("dinov3"))


@pytest.mark.parametrize("options", ["", "@layers=1,2", "@windows=2"])
@pytest.mark.parametrize("size", [(56, 56), (60, 120)])
def test_dinov3_without_content_has_no_positions(dinov3, options, size):
    blank = np.zeros((*size, 3), np.uint8)
    kept = load(f"{dinov3}{options}@positions=kept").encode(blank).features
    removed = load(dinov3 + options).encode(blank).features
    assert float(removed.var((2, 3)).sum()) < 0.02 * float(kept.var((2, 3)).sum())


def test_dinov3_keeps_what_is_no_position(dinov3):
    kept, removed = load(f"{dinov3}@positions=kept"), load(dinov3)
    assert 0 < removed._bases[0].shape[1] <= 16
    before, after = (float(each.encode(NOISE).features.var((2, 3)).sum()) for each in (kept, removed))
    assert after > 0.7 * before
    only_content = load(dinov3).encode(NOISE).features
    torch.testing.assert_close(only_content, removed.encode(NOISE).features)


def test_a_concept_made_before_positions_were_removed_still_serves(dinov3):
    """Then the name said nothing of positions, and the fingerprint was the weights' own."""
    photo, mask = draw_scene()
    sam = random_sam()
    kept = load(f"{dinov3}@positions=kept")
    old = replace(PerSAM(sam, encoder=kept).learn(photo, mask), encoder_name=dinov3)
    assert old.encoder == fingerprint_of(DINOv3ViTModel.from_pretrained(dinov3))
    _, name = model_of(old, "tiny", None)
    assert name is not None
    assert PerSAM(sam, encoder=load(name)).segment(photo, old).mask.shape == mask.shape
    with pytest.raises(PersamError, match=r"this is .*@positions=removed \("):
        PerSAM(sam, encoder=load(dinov3)).segment(photo, old)
    new = PerSAM(sam, encoder=load(dinov3)).learn(photo, mask)
    assert load(model_of(new, "tiny", None)[1] or "").fingerprint == new.encoder


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("@layers=1,3", r"has no layer 3; it has 2, counted from 1\.$"),
        ("@size=10", r"@size=10 is less than a patch of 14 pixels; give more\.$"),
    ],
)
def test_more_than_a_network_has(options, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        load(saved(build("dinov2"), tmp_path / "encoder") + options)


def test_a_model_without_patch_features(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    name = saved(BertModel(BertConfig(**sizes, vocab_size=50)), tmp_path / "bert")
    with pytest.raises(
        PersamError, match="is of type bert, which persam cannot use .*; use a model with patch features"
    ):
        load(name)


def test_a_model_that_brings_its_own_code_is_refused_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the terminal was asked"))
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}}')
    with pytest.raises(PersamError, match="comes with code of its own, which persam never runs; name another"):
        load(str(tmp_path))


# ------------------------------------------------------------------------------------------------------ the main job


def test_name_and_fingerprint(encoder):
    assert len(encoder.fingerprint) == 12
    again = load(encoder.name)
    assert again.fingerprint == encoder.fingerprint
    assert load_encoder(encoder.name, device="cpu", dtype="bfloat16").fingerprint == encoder.fingerprint


def test_bf16_features_are_close(encoder):
    image, _ = draw_scene()
    other = load_encoder(encoder.name, device="cpu", dtype="bfloat16")
    assert other.encoder_dtype == torch.bfloat16  # what results record
    half = other.encode(image).features
    full = encoder.encode(image).features
    assert half.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(half, full, dim=1).min()) > 0.98


@pytest.mark.parametrize("mode", ["official", "paper", "persam"])
def test_the_main_job(encoder, mode):
    persam = PerSAM(random_sam(), encoder=encoder, settings=Settings.of(mode))
    photo, mask = draw_scene()
    concept = persam.tune(persam.learn(photo, mask))
    assert concept.encoder == encoder.fingerprint
    assert concept.encoder_name == encoder_called(encoder.name)
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
    assert loaded.encoder_name == encoder_called(encoder.name)
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
