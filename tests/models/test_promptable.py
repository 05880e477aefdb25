"""SAM-HQ, SAM 2, EdgeTAM and SAM 3's tracker behind the protocol, loaded by name: all kinds, one set of tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import save_file
from tests.conftest import draw_scene
from tests.fakes import CPU, ColourModel
from tests.models.promptables import CHANNELS, KINDS, STRETCHED, random_promptable, saved_promptable
from tests.models.test_guidance import channel_norm, head, published_transformer
from tests.video.memories import random_tracker, whole_sam3
from torch import Tensor
from transformers.utils import logging
from typer.testing import CliRunner

from persam import Concept, PerSAM
from persam.album.cache import EncodingCache
from persam.cli.main import app
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, Guidance, PromptableModel, Prompts, encode_all
from persam.models.fingerprint import fingerprint_of
from persam.models.loading import load_model
from persam.models.sam import Sam
from persam.models.sam2 import Sam2
from persam.models.sam_hq import SamHQ

MEAN_STD = {"sam3_tracker": (0.5, 0.5), "usual": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    logging.disable_progress_bar()
    return {kind: saved_promptable(kind, tmp_path_factory.mktemp("hub") / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def models(folders: dict[str, str]) -> dict[str, Any]:
    return {kind: load_model(folder, device="cpu", dtype="float32") for kind, folder in folders.items()}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(models: dict[str, Any], kind: str) -> Any:
    return models[kind]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prompts_for(model: Any, count: int = 1, *given: str) -> Prompts:
    """Of each sort that is asked for, points by default."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 3, 2, generator=generator) * model.image_size
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * model.image_size
    every = {
        "points": {"points": points, "labels": torch.tensor([[1.0, 0.0, 1.0]]).expand(count, -1)},
        "box": {"boxes": corners.flatten(1)},
        "mask": {"logits": noise(count, 1, *model.low_resolution)},
    }
    parts = [every[name] for name in given or ("points",)]
    return Prompts(**{key: value for part in parts for key, value in part.items()})


def one_of(prompts: Prompts, i: int) -> Prompts:
    kept = {name: value[i : i + 1] for name, value in vars(prompts).items() if value is not None}
    return Prompts(**kept)


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_several_photos_in_one_pass_are_as_one_by_one(model, monkeypatch):
    photos = [draw_scene(80, 60)[0], draw_scene(50, 90, seed=1)[0], np.full((1, 1, 3), 9, np.uint8)]
    alone, passes = [model.encode(photo) for photo in photos], []
    network = model.network.vision_encoder.forward
    monkeypatch.setattr(
        model.network.vision_encoder, "forward", lambda pixels: passes.append(len(pixels)) or network(pixels)
    )
    together = encode_all(model, photos)
    assert passes == [3]
    for one, expected in zip(together, alone, strict=True):
        assert one.frame == expected.frame
        assert one.extras.keys() == expected.extras.keys()
        for name, found in {"features": one.features, **one.extras}.items():
            wanted = expected.features if name == "features" else expected.extras[name]
            assert found.shape == wanted.shape
            same(found, wanted)
        found, wanted = (model.decode(each, prompts_for(model, 2), multimask=True) for each in (one, expected))
        same(found.logits, wanted.logits)
        same(found.scores, wanted.scores)


# -------------------------------------------------------------------------------------- what transformers' own gives


def test_loads_by_name_and_keeps_the_protocol(model, kind, folders):
    assert isinstance(model, PromptableModel)
    assert isinstance(model, SamHQ if kind == "sam_hq" else Sam2)
    assert not isinstance(model, Sam)  # what is made for SAM's decoder alone is not to take it for one
    assert model.name == folders[kind]
    assert model.fingerprint == fingerprint_of(random_promptable(kind))
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def by_hand(image: np.ndarray, kind: str, side: int) -> Tensor:
    """What the network takes of a photo that is stretched."""
    mean, std = (np.asarray(each) for each in MEAN_STD.get(kind, MEAN_STD["usual"]))
    resized = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), np.float64)
    return torch.from_numpy(((resized / 255 - mean) / std).transpose(2, 0, 1)[None]).float()


@torch.no_grad()
def own_forward(model: Any, kind: str, photo: np.ndarray, prompts: Prompts, multimask: bool) -> Any:
    """transformers' own network, untouched, from the photo's pixels on."""
    own = random_promptable(kind)
    labels = prompts.labels
    more: dict[str, Any] = {}
    if kind == "sam_hq":
        more["pixel_values"] = model.prepare(photo, model.frame(photo.shape[:2]))
    else:
        labels = None if labels is None else labels.int()
        more["image_embeddings"] = own.get_image_embeddings(by_hand(photo, kind, model.image_size))
        if kind == "sam3_tracker":  # see `test_a_photo_is_told_that_nothing_is_remembered`
            more["image_embeddings"][-1] = more["image_embeddings"][-1] + own.no_memory_embedding.view(1, -1, 1, 1)
    return own(
        input_points=None if prompts.points is None else prompts.points[:, None],
        input_labels=None if labels is None else labels[:, None],
        input_boxes=None if prompts.boxes is None else prompts.boxes[:, None],
        input_masks=prompts.logits,
        multimask_output=multimask,
        **more,
    )


@pytest.mark.parametrize("given", [("points",), ("box",), ("points", "box"), ("points", "box", "mask"), ("mask",)])
@pytest.mark.parametrize("multimask", [True, False])
@torch.no_grad()
def test_without_guidance_it_is_transformers_own_model(model, kind, given, multimask):
    photo, prompts = draw_scene()[0], prompts_for(model, 1, *given)
    if kind == "sam_hq" and given == ("mask",):
        pytest.skip("transformers' own cannot")
    expected = own_forward(model, kind, photo, prompts, multimask)
    encoding = model.encode(photo)
    decoded = model.decode(encoding, prompts, multimask=multimask)
    if kind == "sam_hq":  # of which transformers sorts the scores, and draws masks from the wrong features
        masks, _ = published_on_hq(random_promptable(kind), encoding, prompts, Guidance())
        torch.testing.assert_close(decoded.logits[0], masks[1:] if multimask else masks[:1], atol=1e-4, rtol=1e-3)
        same(decoded.scores[0].sort(descending=True).values, expected.iou_scores[0, 0])
        assert decoded.presence is None
    else:
        same(decoded.logits[0], expected.pred_masks[0, 0])
        same(decoded.scores[0], expected.iou_scores[0, 0])
        same(decoded.presence[0], expected.object_score_logits[0, 0])


@pytest.mark.parametrize("kind", STRETCHED)
@torch.no_grad()
def test_a_photo_is_told_that_nothing_is_remembered(model, kind):
    """The decoder, but not the features that concepts are made of.

    The published code of SAM 2 and of SAM 3 adds it to the features of a photo. So does transformers, but for SAM 3's
    image model (5.23), which adds it to a map that is then not used; its video model does as published.
    """
    photo = draw_scene()[0]
    own, encoding = random_promptable(kind), model.encode(photo)
    theirs = own.get_image_embeddings(by_hand(photo, kind, model.image_size))
    vector = own.no_memory_embedding.view(1, -1, 1, 1)
    same(encoding.features + (0 if kind == "sam3_tracker" else vector), theirs[-1])
    for name, other in zip(("finest", "finer"), theirs[:2], strict=True):
        same(encoding.extras[name], other)
    without = replace(encoding, features=encoding.features - vector)
    told = model.decode(encoding, prompts_for(model), multimask=True).logits
    assert float((told - model.decode(without, prompts_for(model), multimask=True).logits).abs().max()) > 1e-4


class TestSamHQ:
    def test_its_encoder_is_sams(self):
        """With SAM's weights."""
        sam, network = random_promptable("sam"), random_promptable("sam_hq")
        missing, unexpected = network.load_state_dict(sam.state_dict(), strict=False)
        assert unexpected == []
        assert all(name.startswith("mask_decoder.") for name in missing)
        hq, photo = SamHQ(network, name="hq", image_size=64, device=CPU), draw_scene()[0]
        same(hq.encode(photo).features, sam.get_image_embeddings(hq.prepare(photo, hq.frame((120, 160)))))

    @torch.no_grad()
    def test_masks_are_drawn_from_what_the_attention_made(self, models):
        """transformers 5.23 draws them from what went in, rows and columns swapped. If it does not any more, the hooks
        in `sam_hq.py` change nothing, and may go."""
        model, own = models["sam_hq"], random_promptable("sam_hq")
        encoding, prompts = model.encode(draw_scene()[0]), prompts_for(model)
        theirs = own_forward_hq(own, encoding, prompts, multimask=False).pred_masks[0, 0]
        wrong, _ = published_on_hq(own, encoding, prompts, Guidance(), attended=False)
        torch.testing.assert_close(theirs, wrong[:1], atol=1e-4, rtol=1e-3)
        right = model.decode(encoding, prompts, multimask=False).logits[0]
        assert float((right - theirs).abs().max()) > 0.1 * float(right.abs().max())

    def test_the_three_scales_keep_the_decoders_order(self, models):
        """Or else PerSAM-F's weights would belong to another scale in every photo."""
        model, own = models["sam_hq"], random_promptable("sam_hq")
        heard: list[Tensor] = []
        own.mask_decoder.iou_prediction_head.register_forward_hook(lambda _, __, out: heard.append(out))
        orders = []
        for seed in range(6):
            photo = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8)
            encoding, prompts = model.encode(photo), prompts_for(model)
            own_forward_hq(own, encoding, prompts, multimask=True)
            predicted = heard[-1][0, 0, 1:]
            same(model.decode(encoding, prompts, multimask=True).scores[0], predicted)
            orders.append(predicted.argsort(descending=True).tolist())
        assert any(order != [0, 1, 2] for order in orders)

    def test_early_features_make_a_difference_to_masks_alone(self, models):
        model = models["sam_hq"]
        encoding = model.encode(draw_scene()[0])
        blurred = replace(encoding, extras={"early": encoding.extras["early"] * 0})
        one, other = (model.decode(each, prompts_for(model), multimask=True) for each in (encoding, blurred))
        assert float((one.logits - other.logits).abs().max()) > 1e-3
        same(one.scores, other.scores)


@torch.no_grad()
def own_forward_hq(own: Any, encoding: EncodedImage, prompts: Prompts, *, multimask: bool) -> Any:
    return own(
        image_embeddings=encoding.features,
        intermediate_embeddings=[encoding.extras["early"]],
        input_points=prompts.points[:, None],
        input_labels=prompts.labels[:, None],
        multimask_output=multimask,
    )


# --------------------------------------------------------------------------------------------------------- guidance


def guidance_for(model: Any, seed: int = 0) -> dict[str, Guidance]:
    cells = model.grid[0] * model.grid[1]
    return {
        "after": Guidance(noise(1, 1, 1, cells, seed=seed).sigmoid() * 8, "after"),
        "before": Guidance(noise(1, 1, 1, cells, seed=seed) * 3, "before"),
        "semantic": Guidance(None, "after", noise(CHANNELS, seed=seed + 1)),
        "both": Guidance(noise(1, 1, 1, cells, seed=seed), "before", noise(CHANNELS, seed=seed + 1)),
    }


@pytest.mark.parametrize("steer", ["after", "before", "semantic"])
def test_guidance_reaches_the_decoder_and_ends_with_its_pass(model, steer):
    encoding = model.encode(draw_scene()[0])
    plain, steered, again = (
        model.decode(encoding, prompts_for(model), multimask=True, guidance=each).logits
        for each in (None, guidance_for(model)[steer], None)
    )
    assert float((plain - steered).abs().max()) > 1e-3 * float(plain.abs().max())
    torch.testing.assert_close(plain, again, atol=0, rtol=0)


def steered(guidance: Guidance) -> Callable[[Tensor], Tensor]:
    """From the logits of an attention to its weights, Eq. 8, or with the similarity before the softmax."""

    def steer(logits: Tensor) -> Tensor:
        if guidance.attention is None:
            return logits.softmax(-1)
        bias = guidance.attention[0]
        return ((logits.softmax(-1) if guidance.where == "after" else logits) + bias).softmax(-1)

    return steer


def published_on_sam2(own: Any, encoding: EncodedImage, prompts: Prompts, guidance: Guidance) -> tuple[Tensor, Tensor]:
    """The published guidance in a decoder with finer maps, in plain torch: the three masks (3, h, w), and presence."""
    decoder: Any = own.mask_decoder
    sparse, dense = own.prompt_encoder(prompts.points[None], prompts.labels[None].int(), None, None)
    tokens = torch.cat(
        [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight, sparse[0, 0]]
    )
    cells = (encoding.features[0] + own.no_memory_embedding.view(-1, 1, 1) + dense[0]).flatten(1).T
    positions = own.get_image_wide_positional_embeddings()[0].flatten(1).T
    steer = steered(guidance)
    queries, cells = published_transformer(decoder.transformer, tokens, cells, positions, guidance.semantic, steer)
    finest, finer = (encoding.extras[name][0] for name in ("finest", "finer"))
    drawn = decoder.upscale_conv1(cells.T.reshape(1, -1, *encoding.features.shape[-2:]))[0] + finer
    drawn = F.gelu(channel_norm(decoder.upscale_layer_norm, drawn))
    drawn = F.gelu(decoder.upscale_conv2(drawn[None])[0] + finest)
    masks = [head(mlp, queries[2 + i]) @ drawn.flatten(1) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    return torch.stack(masks[1:]).view(3, *drawn.shape[-2:]), head(decoder.pred_obj_score_head, queries[0])


def published_on_hq(
    own: Any, encoding: EncodedImage, prompts: Prompts, guidance: Guidance, *, attended: bool = True
) -> tuple[Tensor, None]:
    """The same in SAM-HQ's, whose four masks (4, h, w) have the HQ token's added: the single one, and the scales.

    Args:
        attended: draw from what the attention has made of the features; otherwise as transformers does.
    """
    decoder: Any = own.mask_decoder
    points, labels, boxes = (
        None if each is None else each[None] for each in (prompts.points, prompts.labels, prompts.boxes)
    )
    sparse, dense = own.prompt_encoder(points, labels, boxes, prompts.logits)
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight, sparse[0, 0]])
    cells = (encoding.features[0] + dense[0]).flatten(1).T
    positions = own.get_image_wide_positional_embeddings()[0].flatten(1).T
    steer = steered(guidance)
    queries, cells = published_transformer(decoder.transformer, tokens, cells, positions, guidance.semantic, steer)

    def enlarged(features: Tensor, first: Any, norm: Any, second: Any) -> Tensor:
        return second(F.gelu(channel_norm(norm, first(features)[0]))[None])[0]

    image = cells.T.reshape(1, -1, *encoding.features.shape[-2:])
    if not attended:
        image = (encoding.features + dense).transpose(2, 3)
    drawn = enlarged(image, decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2)
    drawn = F.gelu(drawn)
    early = encoding.extras["early"].permute(0, 3, 1, 2)
    finer = enlarged(drawn[None], decoder.mask_conv1, decoder.mask_norm, decoder.mask_conv2)
    finer = finer + enlarged(encoding.features, decoder.encoder_conv1, decoder.encoder_norm, decoder.encoder_conv2)
    finer = finer + enlarged(early, decoder.compress_vit_conv1, decoder.compress_vit_norm, decoder.compress_vit_conv2)
    hq = head(decoder.hq_mask_mlp, queries[5]) @ finer.flatten(1)
    masks = [head(mlp, queries[1 + i]) @ drawn.flatten(1) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    return (torch.stack(masks) + hq).view(4, *drawn.shape[-2:]), None


@pytest.mark.parametrize("steer", ["after", "before", "semantic", "both"])
@torch.no_grad()
def test_guidance_is_the_published_one(model, kind, steer):
    encoding, prompts, guidance = model.encode(draw_scene()[0]), prompts_for(model), guidance_for(model)[steer]
    published: Any = published_on_sam2 if kind in STRETCHED else published_on_hq
    masks, presence = published(random_promptable(kind), encoding, prompts, guidance)
    masks = masks[-3:]
    decoded = model.decode(encoding, prompts, multimask=True, guidance=guidance)
    torch.testing.assert_close(decoded.logits[0], masks, atol=1e-4, rtol=1e-3)
    if presence is not None:
        torch.testing.assert_close(decoded.presence[0], presence, atol=1e-4, rtol=1e-3)


def test_gradients_reach_what_is_trained(model):
    encoding = model.encode(draw_scene()[0])
    features = encoding.features.clone().requires_grad_()
    target = noise(CHANNELS).requires_grad_()
    decoded = model.decode(
        replace(encoding, features=features),
        prompts_for(model),
        multimask=True,
        guidance=Guidance(None, "after", target),
    )
    decoded.logits.square().mean().backward()
    assert float(features.grad.abs().max()) > 0
    assert float(target.grad.abs().max()) > 0


# ------------------------------------------------------------------------------------------------ batches and prompts


@pytest.mark.parametrize("given", [("points",), ("box",), ("points", "box", "mask"), ("mask",)])
@pytest.mark.parametrize("multimask", [True, False])
def test_a_batch_of_prompts_gives_the_same_as_one_at_a_time(model, given, multimask):
    encoding, prompts = model.encode(draw_scene()[0]), prompts_for(model, 3, *given)
    together = model.decode(encoding, prompts, multimask=multimask)
    assert together.logits.shape == (3, 3 if multimask else 1, *model.low_resolution)
    for i in range(3):
        alone = model.decode(encoding, one_of(prompts, i), multimask=multimask)
        same(together.logits[i], alone.logits[0])
        same(together.scores[i], alone.scores[0])
        if alone.presence is not None:
            same(together.presence[i], alone.presence[0])


def test_several_photos_at_once_each_with_its_prompt(model):
    photos = [draw_scene(seed=seed, center=(40 + 20 * seed, 50))[0] for seed in range(3)]
    encodings, prompts = [model.encode(photo) for photo in photos], prompts_for(model, 3, "points", "mask")

    extras = {name: torch.cat([each.extras[name] for each in encodings]) for name in encodings[0].extras}
    batch = EncodedImage(torch.cat([each.features for each in encodings]), encodings[0].frame, extras)
    together = model.decode(batch, prompts, multimask=True)
    for i, encoding in enumerate(encodings):
        same(together.logits[i], model.decode(encoding, one_of(prompts, i), multimask=True).logits[0])


def test_the_order_of_points_makes_no_difference(model):
    encoding, prompts = model.encode(draw_scene()[0]), prompts_for(model)
    turned = replace(prompts, points=prompts.points.flip(1), labels=prompts.labels.flip(1))
    one, other = (model.decode(encoding, each, multimask=True) for each in (prompts, turned))
    same(one.logits, other.logits)
    same(one.scores, other.scores)


@pytest.mark.parametrize("kind", STRETCHED)
def test_an_unstable_mask_gives_way_to_the_best_scale(model, monkeypatch):
    encoding, prompts = model.encode(draw_scene()[0]), prompts_for(model, 3)
    best = model.decode(encoding, prompts, multimask=True).best()
    for threshold, unstable in ((2.0, True), (-1.0, False)):
        monkeypatch.setattr(model.network.mask_decoder, "dynamic_multimask_stability_thresh", threshold)
        single = model.decode(encoding, prompts, multimask=False).logits
        assert torch.allclose(single, best, atol=1e-5) == unstable


# ------------------------------------------------------------------------------------------------------- the main job


@pytest.mark.parametrize("mode", ["paper", "persam"])
def test_the_main_job(models, kind, mode, tmp_path, folders):
    persam = PerSAM(models[kind], settings=Settings.of(mode))
    photo, mask = draw_scene()
    other = draw_scene(90, 200, seed=1)[0]
    concept = persam.learn(photo, mask, name="disc")
    assert concept.model_name == Path(folders[kind]).name
    tuned = persam.tune(concept)
    assert sum(tuned.scale_weights) == pytest.approx(1, abs=1e-4)
    tuned.save(tmp_path / "disc.safetensors")
    for each in (concept, Concept.load(tmp_path / "disc.safetensors")):
        found = persam.segment(other, each, explain=True, max_instances=3)
        assert found.mask.shape == (90, 200)
        assert all(np.isfinite([one.score, one.similarity, one.predicted_iou]).all() for one in found.instances)
        steps = found.trace.steps
        assert len(steps) >= 2  # the cascade
        assert all(bool(step.logits.isfinite().all()) for step in steps)
        prior = found.trace.prior
        assert (prior.frame.content == prior.frame.canvas) == (kind in STRETCHED)
        assert prior.guidance is not None
        assert ((found.points >= -1) & (found.points <= [200, 90])).all()


def discs(*centres: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A grey-blue photo with red discs, and the mask of each."""
    y, x = np.mgrid[:120, :200]
    masks = [(x - column) ** 2 + (y - row) ** 2 <= 24**2 for column, row in centres]
    photo = np.full((120, 200, 3), (90, 110, 140), np.uint8)
    photo[np.any(masks, axis=0)] = (200, 30, 40)
    return photo, masks


def see_colours(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Guidance]:
    """Let a network see the colours of cells, and draw the patch of one colour around the first point.

    Random weights neither tell a disc from what is around it nor draw one. All else is the network's own: its frame,
    its cells, what its decoder takes. Returns the guidance of every pass, to come.
    """
    encode, decode, given = model.encode, model.decode, []

    def seen(image: np.ndarray) -> EncodedImage:
        own = encode(image)
        rows, columns = own.frame.content
        canvas = torch.zeros(1, 3, *own.frame.canvas)
        resized = np.asarray(Image.fromarray(image).resize((columns, rows)), np.float32) / 127.5 - 1
        canvas[..., :rows, :columns] = torch.from_numpy(resized).permute(2, 0, 1)
        features = torch.zeros_like(own.features)
        features[:, :3] = F.adaptive_avg_pool2d(canvas, own.features.shape[-2:])
        return replace(own, features=features, extras=own.extras | {"colours": F.adaptive_avg_pool2d(canvas, (32, 32))})

    def drawn(
        encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        assert prompts.points is not None
        given.append(guidance)
        own = decode(encoding, prompts, multimask=multimask, guidance=guidance)
        assert own.logits.shape[-2:] == (32, 32)
        colours = encoding.extras["colours"][0].permute(1, 2, 0).numpy()
        places = prompts.points[:, 0].cpu() * 64 / model.image_size  # as `ColourModel` takes them
        patches = [torch.from_numpy(ColourModel._patch(colours, *place)) for place in places.tolist()]
        logits = torch.stack(patches)[:, None].float() * 12 - 6
        visible = None if own.presence is None else torch.full_like(own.presence, 10.0)
        return Decoded(logits.expand_as(own.logits), own.scores, visible)

    monkeypatch.setattr(model, "encode", seen)
    monkeypatch.setattr(model, "decode", drawn)
    return given


@pytest.mark.parametrize("kind", ["sam", *KINDS])
@pytest.mark.parametrize("mode", ["paper", "persam"])
def test_two_of_them_are_found(kind, mode, folders, tmp_path, monkeypatch):
    """And no third: one after the other, each with a mask of its own."""
    folder = folders.get(kind) or saved_promptable(kind, tmp_path / kind)
    model: Any = load_model(folder, device="cpu", dtype="float32")
    given = see_colours(model, monkeypatch)
    persam = PerSAM(model, settings=Settings.of(mode))
    photo, (mask,) = discs((60, 60))
    concept = persam.learn(photo, mask, name="disc")
    photo, truths = discs((45, 40), (150, 75))
    found = persam.segment(photo, concept, max_instances=3)
    assert len(found.instances) == 2
    assert found.present
    for truth in truths:
        (own,) = [one for one in found.instances if (one.mask & truth).any()]
        assert (own.mask & truth).sum() >= 0.8 * (own.mask | truth).sum()
    assert not (found.instances[0].mask & found.instances[1].mask).any()
    assert any(guidance is not None for guidance in given)
    assert len(persam.segment(photo, concept).instances) == 1
    assert len(persam.segment(discs((100, 60))[0], concept, max_instances=3).instances) == 1


@pytest.fixture
def visible(model: Any) -> Iterator[Tensor]:
    """A number that is added to the object score of every pass."""
    bias = model.network.mask_decoder.pred_obj_score_head.proj_out.bias.data
    before = bias.clone()
    yield bias
    bias.copy_(before)


@pytest.mark.parametrize("kind", STRETCHED)
@pytest.mark.parametrize("tuned", [False, True])
def test_what_the_decoder_does_not_see_is_not_there(model, tuned, visible):
    """Its object score has a say where no numbers were fitted; that of a guided pass has not."""
    persam = PerSAM(model)
    photo, mask = draw_scene()
    scores = []
    for logit, settings, seen in ((100.0, {}, True), (-100.0, {}, False), (-100.0, {"cascade": False}, True)):
        visible.fill_(logit)
        persam.settings = Settings.of("persam").but(**settings)
        concept = persam.learn(photo, mask)
        concept = persam.tune(concept) if tuned else concept
        found = persam.segment(photo, concept, explain=True)
        assert found.present == seen
        assert found.trace.steps[0].presence is None
        scores.append(found.score)
    assert scores[1] == pytest.approx(0, abs=1e-6)
    assert scores[2] == pytest.approx(scores[0], abs=1e-6)  # of the similarity alone


def test_a_box_points_or_a_scribble_as_reference(model):
    persam = PerSAM(model)
    photo, mask = draw_scene()
    for form in ({"box": (30, 40, 90, 100)}, {"points": [(60, 70)]}, {"scribble": mask}):
        assert persam.learn(photo, **form).references[0].size == (120, 160)


def test_mode_official(models, kind):
    """It needs SAM's own preprocessing, which SAM-HQ has."""
    persam = PerSAM(models[kind], settings=Settings.of("official"))
    photo, mask = draw_scene()
    if kind in STRETCHED:
        with pytest.raises(UsageError, match="Mode official needs SAM's own preprocessing, which .* use mode persam"):
            persam.learn(photo, mask)
    else:
        assert persam.segment(photo, persam.tune(persam.learn(photo, mask))).mask.shape == (120, 160)


def test_number_formats(folders, models, kind):
    """bf16 in the encoder alone; masks stay float32."""
    model = load_model(folders[kind], device="cpu", dtype="bfloat16")
    assert torch.bfloat16 in {parameter.dtype for parameter in model.network.vision_encoder.parameters()}
    assert {parameter.dtype for parameter in model.network.mask_decoder.parameters()} == {torch.float32}
    assert model.fingerprint == models[kind].fingerprint
    photo = draw_scene()[0]
    short, exact = (each.encode(photo) for each in (model, models[kind]))
    assert short.features.dtype == torch.float32
    cosine = F.cosine_similarity(short.features, exact.features, dim=1)
    assert float(cosine.mean()) > 0.99
    assert model.decode(short, prompts_for(model), multimask=True).logits.dtype == torch.float32


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (128, 128), (200, 31)])
def test_any_photo(model, size):
    encoding = model.encode(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8))
    assert encoding.frame.photo == size
    assert encoding.features.shape == (1, CHANNELS, *model.grid)
    assert bool(encoding.features.isfinite().all())


def test_an_encoding_is_kept_on_disk_whole(model, tmp_path):
    """As `persam album` does, to look for another concept later."""
    encoding, cache = model.encode(draw_scene()[0]), EncodingCache(tmp_path, 2**30, model.fingerprint)
    cache.put("photo", encoding)
    kept = cache.get("photo")
    one, other = (model.decode(each, prompts_for(model), multimask=True).logits for each in (encoding, kept))
    torch.testing.assert_close(one, other, atol=0, rtol=0)


# ------------------------------------------------------------------------------------------- checkpoints for videos


@pytest.mark.parametrize("kind", ["sam2_video", "sam2.0_video", "edgetam_video", "sam3_tracker_video", "sam3_video"])
def test_the_image_part_of_a_checkpoint_for_videos(kind, tmp_path, capfd):
    """As most of the hub's are; transformers' page about what is left out of it is not shown."""
    whole = whole_sam3() if kind == "sam3_video" else random_tracker(kind)
    whole.save_pretrained(tmp_path)
    capfd.readouterr()
    logging.disable_progress_bar()
    model = load_model(tmp_path, device="cpu", dtype="float32")
    assert "".join(capfd.readouterr()) == ""
    assert isinstance(model, Sam2)
    saved = whole.tracker_model.state_dict() if kind == "sam3_video" else whole.state_dict()
    own = model.network.state_dict()
    shared = [name for name in own if kind != "sam3_video" or not name.startswith("vision_encoder")]
    assert len(shared) > 100
    assert all(torch.equal(own[name], saved[name]) for name in shared)
    if kind == "sam3_video":
        for part, place in ((whole.tracker_neck, "neck"), (whole.detector_model.vision_encoder.backbone, "backbone")):
            for name, value in part.state_dict().items():
                assert torch.equal(own[f"vision_encoder.{place}.{name}"], value)
    photo, mask = draw_scene()
    persam = PerSAM(model)
    assert persam.segment(photo, persam.learn(photo, mask)).mask.shape == (120, 160)


def test_preprocessing_of_the_folder_is_used(folders, tmp_path):
    shutil.copytree(folders["sam2"], tmp_path / "own")
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "own" / "preprocessor_config.json").write_text(json.dumps(said))
    model: Any = load_model(tmp_path / "own", device="cpu")
    torch.testing.assert_close(model._mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(model._std.flatten(), torch.tensor([0.4, 0.5, 0.6]))


def refused(path: Path) -> str:
    with pytest.raises(PersamError) as caught:
        load_model(path, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_kinds_are_said(tmp_path):
    transformers.ResNetConfig().save_pretrained(tmp_path / "resnet")
    assert "a model of type resnet, which persam cannot use; name a SAM, SAM-HQ, SAM 2, EdgeTAM or SAM 3" in refused(
        tmp_path / "resnet"
    )
    (tmp_path / "sam3").mkdir()
    whole_sam3().config.detector_config.save_pretrained(tmp_path / "sam3")
    assert "is SAM 3's detector without its tracker, which persam cannot use" in refused(tmp_path / "sam3")


@pytest.mark.skipif(transformers.utils.is_timm_available(), reason="with timm it can be made")
def test_an_edgetam_whose_encoder_needs_timm(tmp_path):
    """Another than the published one's, which persam has itself."""
    encoder = transformers.TimmWrapperConfig(architecture="resnet50")
    vision = transformers.EdgeTamVisionConfig(backbone_config=encoder)
    transformers.EdgeTamConfig(vision_config=vision.to_dict()).save_pretrained(tmp_path)
    save_file({"nothing": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert "needs a library that is not installed (timm); install it, or use the bundled model" in refused(tmp_path)


def test_from_the_command_line(kind, folders, tmp_path, monkeypatch):
    """The concept knows which folder it was made with."""
    monkeypatch.chdir(tmp_path)
    photo, mask = draw_scene()
    Image.fromarray(photo).save("photo.png")
    Image.fromarray(mask).save("mask.png")

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, "--device", "cpu", "--dtype", "float32"])
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    run("learn", "photo.png", "mask.png", "-m", folders[kind], "-o", "disc", "--tune")
    (line,) = json.loads(run("segment", "disc.safetensors", "photo.png", "--json"))["results"]
    assert (line["height"], line["width"]) == (120, 160)
    assert Path("found/results.jsonl").is_file()
