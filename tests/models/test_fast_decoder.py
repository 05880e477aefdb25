"""The quick mask decoder against the networks' own forward, whose weights it uses."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.fakes import CPU, random_network
from tests.models.promptables import random_promptable
from torch import Tensor, nn

from persam.geometry import Frame
from persam.models import decoder_cells, decoder_photo, fast_decoder
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.sam import PromptedNetwork, Sam
from persam.models.sam2 import Sam2
from persam.models.sam_hq import SamHQ
from persam.models.tiny.architecture import TinyConfig, TinySam

CHANNELS, GRID, SIDE = 32, (8, 8), 64
FRAME = Frame.padded((40, 64), SIDE, GRID)
IS_SLOWER = fast_decoder._is_slower


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny() -> TinySam:
    torch.manual_seed(0)
    network = TinySam(TinyConfig(SIDE, CHANNELS, 8, (8, 16, 24, 32), (1, 1, 1, 1), mlp=32, heads=2))
    with torch.no_grad():
        for parameter in network.mask_decoder.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape))  # biases start at 0, and norms at nothing
    return network


def model_of(kind: str) -> PromptedNetwork:
    if kind == "tiny":
        return Sam(tiny(), name="tiny", image_size=SIDE, device=CPU)
    if kind == "sam":
        return Sam(random_network(), name="sam", image_size=SIDE, device=CPU)
    if kind == "sam_hq":
        return SamHQ(random_promptable(kind), name=kind, image_size=SIDE, device=CPU)
    return Sam2(random_promptable(kind), name=kind, device=CPU)


@pytest.fixture(scope="module", params=["sam", "tiny", "sam_hq", "sam2"])
def model(request: pytest.FixtureRequest) -> PromptedNetwork:
    return model_of(request.param)


@pytest.fixture(scope="module")
def sam() -> PromptedNetwork:
    return model_of("sam")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Heads of tiny networks have fewer channels than there are tokens; counts how often the quick way is gone."""
    looks: list[int] = []
    look = fast_decoder._look
    monkeypatch.setattr(fast_decoder, "_is_slower", lambda *_: False)
    monkeypatch.setattr(fast_decoder, "_look", lambda *given: (looks.append(1), look(*given))[1])
    return looks


@pytest.fixture(params=["first concepts", "further concepts"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first concepts of a photo are found with little that is kept of it, further ones with much."""
    monkeypatch.setattr(decoder_photo, "KEEPING", 10**6 if request.param == "first concepts" else 0)
    monkeypatch.setattr(decoder_photo, "FEW_ROWS", 100)  # tiny networks have few channels


def photo(model: PromptedNetwork, seed: int = 0) -> EncodedImage:
    frame = Frame.padded((40, 64), model.image_size, model.grid)
    rows, columns = model.grid
    features = random(seed, 1, CHANNELS, rows, columns)
    extras = {
        "early": random(seed + 50, 1, 8, 8, 24),
        "finest": random(seed + 51, 1, CHANNELS // 8, 4 * rows, 4 * columns),
        "finer": random(seed + 52, 1, CHANNELS // 4, 2 * rows, 2 * columns),
    }
    return EncodedImage(features, frame, extras)


def prompts(
    model: PromptedNetwork, count: int = 1, *, points: int = 1, box: bool = False, mask: bool = False
) -> Prompts:
    side = model.image_size
    places = torch.rand(count, points, 2, generator=torch.Generator().manual_seed(3)) * side
    corners = torch.tensor([[0.2, 0.1, 0.7, 0.6]]) * side + random(4, count, 4)
    logits = 3 * random(5, count, 1, *model.low_resolution)
    labels = torch.ones(count, points)
    labels[:, 1:] = 0
    clicks = (places, labels) if points else (None, None)
    return Prompts(*clicks, corners if box else None, logits if mask else None)


def guidances(model: PromptedNetwork) -> dict[str, Guidance | None]:
    cells = model.grid[0] * model.grid[1]
    similarity, target = random(6, 1, 1, 1, cells), random(7, CHANNELS)
    return {
        "none": None,
        "before": Guidance(similarity, "before"),
        "after": Guidance(similarity.sigmoid(), "after"),
        "semantic": Guidance(semantic=target),
        "before and semantic": Guidance(similarity, "before", target),
    }


def decode(model: PromptedNetwork, encoding: EncodedImage, given: Prompts, **more: Any) -> Decoded:
    with torch.inference_mode():
        return model.decode(encoding, given, **({"multimask": True} | more))


def own_way(*given: Any, **more: Any) -> Decoded:
    """As the network's own classes decode."""
    with fast_decoder.as_published():
        return decode(*given, **more)


def assert_same(found: Decoded, expected: Decoded) -> None:
    assert found.logits.shape == expected.logits.shape
    atol = 1e-5 * max(float(expected.logits.abs().max()), 1e-2) if expected.logits.numel() else 0.0
    torch.testing.assert_close(found.logits, expected.logits, atol=atol, rtol=1e-5)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=1e-5)
    if expected.presence is not None:
        torch.testing.assert_close(found.presence, expected.presence, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("guidance", ["none", "before", "after", "semantic", "before and semantic"])
@pytest.mark.parametrize("given", [{}, {"mask": True}, {"points": 3, "box": True, "mask": True}], ids=str)
@pytest.mark.usefixtures("kept")
def test_equals_the_networks_own_way(model, given, guidance, quick):
    asked = prompts(model, **given)
    for multimask in (True, False):
        more = {"multimask": multimask, "guidance": guidances(model)[guidance]}
        found = decode(model, photo(model), asked, **more)
        looks = len(quick)
        assert looks >= 3
        assert_same(found, own_way(model, photo(model), asked, **more))
        assert len(quick) == looks  # the comparison went the other way


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("given", [{"mask": True}, {"box": True}, {"box": True, "mask": True}], ids=str)
@pytest.mark.usefixtures("kept")
def test_without_points(sam, given, count, quick):
    asked = prompts(sam, count, points=0, **given)
    found = decode(sam, photo(sam), asked)
    assert quick
    assert_same(found, own_way(sam, photo(sam), asked))


@pytest.mark.usefixtures("kept")
def test_several_prompts_with_one_mask(sam, quick):
    """As the network itself may be asked; `decode` ties a mask to a prompt."""
    given, network = prompts(sam, 2, mask=True), sam.network

    def asked() -> tuple[Tensor, Tensor]:
        sparse, dense = network.prompt_encoder(given.points[None], given.labels[None], None, given.logits[:1])
        found: tuple[Tensor, Tensor] = network.mask_decoder(photo(sam).features, sam._positions, sparse, dense, True)
        return found

    with torch.inference_mode():
        found = asked()
        looks = len(quick)
        assert looks
        with fast_decoder.as_published():
            expected = asked()
    assert len(quick) == looks
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("given", [{}, {"box": True}, {"mask": True}], ids=str)
def test_no_prompts_give_no_masks(given):
    """As the bundled model's own classes have it; those of transformers refuse it."""
    model = model_of("tiny")
    found = decode(model, photo(model), prompts(model, 0, **given))
    assert found.logits.shape == (0, 3, *model.low_resolution)
    assert found.scores.shape == (0, 3)


def test_autocast_goes_the_networks_way(model, quick):
    asked = prompts(model, mask=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = decode(model, photo(model), asked)
        assert not quick
        assert torch.equal(found.logits, own_way(model, photo(model), asked).logits)


@pytest.mark.usefixtures("kept")
def test_numbers_are_those_of_the_network_whatever_the_process_makes_by_default(sam):
    asked = prompts(sam, mask=True)
    expected = decode(sam, photo(sam), asked)
    encoding = photo(sam)
    torch.set_default_dtype(torch.float64)
    try:
        found = decode(sam, encoding, asked)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.logits.dtype == torch.float32
    assert_same(found, expected)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.usefixtures("kept")
def test_a_batch_in_any_order_is_what_its_prompts_are_alone(model, mask):
    encoding, together = photo(model), prompts(model, 4, box=True, mask=mask)
    cells = model.grid[0] * model.grid[1]
    guidance = Guidance(random(8, 4, 1, 1, cells), "before", random(9, 4, 1, 1, CHANNELS))
    found = decode(model, encoding, together, guidance=guidance)
    assert_same(found, own_way(model, encoding, together, guidance=guidance))

    def some(order: list[int]) -> tuple[Prompts, Guidance]:
        picked = {name: None if each is None else each[order] for name, each in vars(together).items()}
        assert guidance.attention is not None
        assert guidance.semantic is not None
        return Prompts(**picked), Guidance(guidance.attention[order], "before", guidance.semantic[order])

    turned, steered = some([2, 0, 3, 1])
    other = decode(model, encoding, turned, guidance=steered)
    assert torch.equal(other.logits, found.logits[[2, 0, 3, 1]])
    for number in range(4):
        alone, steered = some([number])
        one = decode(model, encoding, alone, guidance=steered)
        assert_same(one, found.apart()[number])


@pytest.mark.parametrize("tile", [1, 40 * CHANNELS, 2**20])
@pytest.mark.usefixtures("kept")
def test_any_number_of_cells_at_a_time(sam, tile, monkeypatch):
    monkeypatch.setattr(decoder_cells, "TILE", tile)
    asked = prompts(sam, 2, mask=True)
    assert_same(decode(sam, photo(sam), asked), own_way(sam, photo(sam), asked))


@pytest.mark.usefixtures("kept")
def test_a_photo_is_not_taken_for_another(sam):
    """What is kept of a photo is let go when another comes, be it in the same memory, or when the weights change."""
    asked = prompts(sam, mask=True)
    memory = photo(sam).features.clone()
    encodings = [replace(photo(sam), features=memory)] * 2 + [photo(sam, 1)]
    for number, encoding in enumerate(encodings):
        if number == 1:
            memory.copy_(random(2, *memory.shape))
        for _ in range(2):
            assert_same(decode(sam, encoding, asked), own_way(sam, encoding, asked))
    turned = replace(encodings[0], features=encodings[0].features.transpose(2, 3))  # the same memory
    assert_same(decode(sam, turned, asked), own_way(sam, turned, asked))
    changed = Sam(copy.deepcopy(sam.network), name="changed", image_size=SIDE, device=CPU)
    with torch.no_grad():
        changed.network.mask_decoder.transformer.layers[0].cross_attn_token_to_image.v_proj.weight.mul_(2)
    encoding = encodings[-1]
    assert_same(decode(changed, encoding, asked), own_way(changed, encoding, asked))
    assert_same(decode(sam, encoding, asked), own_way(sam, encoding, asked))


@pytest.mark.parametrize("mask", [False, True])
def test_one_prompt_of_each_of_several_photos(sam, mask, quick):
    views = EncodedImage(torch.cat([photo(sam, seed).features for seed in (1, 2)]), FRAME)
    asked = prompts(sam, 2, mask=mask)
    assert_same(decode(sam, views, asked), own_way(sam, views, asked))
    assert quick


@pytest.mark.parametrize("learning", ["features", "attention", "semantic", "weights"])
def test_who_learns_goes_the_networks_way(sam, learning, quick):
    encoding = photo(sam)
    similarity, target = random(6, 1, 1, 1, 64), random(7, CHANNELS)
    weight = sam.network.mask_decoder.iou_token.weight
    learns = {"features": encoding.features, "attention": similarity, "semantic": target, "weights": weight}[learning]
    learns.requires_grad_(True)
    try:
        guidance = Guidance(similarity, "before", target)
        sam.decode(encoding, prompts(sam), multimask=True, guidance=guidance).logits.square().sum().backward()
        assert learns.grad is not None
        assert float(learns.grad.abs().max()) > 0
        assert not quick
    finally:
        learns.requires_grad_(False)


def test_many_tokens_go_the_networks_way(sam, monkeypatch, quick):
    """Then taking them to the cells is no less than projecting these; masks are drawn quickly all the same."""
    monkeypatch.setattr(fast_decoder, "_is_slower", IS_SLOWER)
    asked = prompts(sam, points=9, mask=True)
    assert IS_SLOWER(sam.network.mask_decoder.transformer, 15)
    assert not IS_SLOWER(sam.network.mask_decoder.transformer, 4)
    drawn: list[int] = []
    draw = fast_decoder._draw
    monkeypatch.setattr(fast_decoder, "_draw", lambda *given: (drawn.append(1), draw(*given))[1])
    found = decode(sam, photo(sam), asked)
    assert drawn
    assert not quick
    assert_same(found, own_way(sam, photo(sam), asked))


def test_parameters_keep_their_names_and_copies_their_own(sam):
    network = random_network()
    assert list(network.state_dict()) == list(sam.network.state_dict())
    copied = copy.deepcopy(sam.network)
    assert copied.mask_decoder.forward.__self__ is copied.mask_decoder
    assert copied.mask_decoder.transformer.forward.__self__ is copied.mask_decoder.transformer


def test_more_is_kept_of_a_photo_of_several_concepts(sam, monkeypatch):
    """And what becomes of the positions, which all photos have, stays when the next one comes."""
    monkeypatch.setattr(decoder_photo, "FEW_ROWS", 100)
    decoder, asked = sam.network.mask_decoder, prompts(sam, mask=True)
    encoding, places = photo(sam, 5), {}
    for number in range(1, 9):
        found = decode(sam, encoding, asked)
        kept = decoder._persam_photo[1]
        assert kept.prompts == number
        assert len(kept.stages) == (1 if number <= 3 else 3)
        places = kept.projected_places
        assert_same(found, own_way(sam, encoding, asked))
    assert len(places) == 3
    encoding, together = photo(sam, 6), prompts(sam, 4, mask=True)
    assert_same(decode(sam, encoding, together), own_way(sam, encoding, together))
    assert len(decoder._persam_photo[1].stages) == 3  # four at once
    assert decoder._persam_photo[1].projected_places is places
    assert_same(decode(sam, encoding, asked), own_way(sam, encoding, asked))
    assert decoder._persam_photo[1].prompts == 5  # the same photo, though viewed for one prompt instead of four


def test_many_rows_are_slower_than_cells(sam, monkeypatch):
    """Then what is kept of the photo beyond the first layer is neither made nor used."""
    monkeypatch.setattr(decoder_photo, "KEEPING", 0)
    monkeypatch.setattr(decoder_photo, "FEW_ROWS", 2)  # of 32 channels
    encoding, decoder = photo(sam, 7), sam.network.mask_decoder
    for points, stages in ((3, 1), (1, 3), (3, 3)):
        asked = prompts(sam, points=points, mask=True)
        assert_same(decode(sam, encoding, asked), own_way(sam, encoding, asked))
        assert len(decoder._persam_photo[1].stages) == stages


def test_weights_in_the_memory_of_others_are_others(sam):
    """What is kept of a photo holds the weights that it was made of, so that their memory is not free for new ones."""
    changed = Sam(copy.deepcopy(sam.network), name="changed", image_size=SIDE, device=CPU)
    layer, asked = changed.network.mask_decoder.transformer.layers[0].cross_attn_token_to_image.v_proj, prompts(sam)
    encoding = photo(sam)
    for seed in range(10):
        assert_same(decode(changed, encoding, asked), own_way(changed, encoding, asked))
        shape = layer.weight.shape
        layer.weight = None
        layer.weight = nn.Parameter(random(seed, *shape), requires_grad=False)


def test_cells_that_cancel_out_give_numbers(sam, monkeypatch):
    """Where the photo is nearly what a prompt takes from it, the length of a cell is a difference of large numbers."""
    monkeypatch.setattr(decoder_photo, "KEEPING", 0)
    monkeypatch.setattr(decoder_photo, "FEW_ROWS", 100)
    changed = Sam(copy.deepcopy(sam.network), name="changed", image_size=SIDE, device=CPU)
    network, asked = changed.network, prompts(changed)
    with torch.no_grad():
        for layer in network.mask_decoder.transformer.layers:
            layer.cross_attn_image_to_token.out_proj.weight.zero_()
            layer.cross_attn_image_to_token.out_proj.bias.zero_()
        network.prompt_encoder.no_mask_embed.weight.mul_(100)
    constant = network.prompt_encoder.no_mask_embed.weight.detach().view(1, -1, 1, 1)
    encoding = photo(changed)
    for noise in (0.0, 1e-3, 1.0):
        near = replace(encoding, features=noise * encoding.features - constant)
        assert torch.isfinite(decode(changed, near, asked).logits).all()
    assert_same(decode(changed, near, asked), own_way(changed, near, asked))


def test_what_is_kept_is_that_of_the_weights(sam, monkeypatch):
    """Of every weight that it is made of, and of those that are only added."""
    monkeypatch.setattr(decoder_photo, "KEEPING", 0)
    monkeypatch.setattr(decoder_photo, "FEW_ROWS", 100)
    changed = Sam(copy.deepcopy(sam.network), name="changed", image_size=SIDE, device=CPU)
    encoding, network = photo(sam), changed.network
    names = [name for name, _ in network.mask_decoder.named_parameters() if "transformer" in name or "upscale" in name]
    parameters = dict(network.mask_decoder.named_parameters())
    for name in names:
        with torch.no_grad():
            parameters[name].add_(0.1 * random(len(name), *parameters[name].shape))
        for asked in (prompts(changed), prompts(changed, mask=True)):
            assert_same(decode(changed, encoding, asked), own_way(changed, encoding, asked))


@pytest.mark.usefixtures("kept")
def test_a_mask_prompt_of_any_strength(sam):
    """Cells that a norm makes of numbers of very different sizes: their lengths are sums of many parts."""
    for strength in (0.0, 1e-3, 30.0):
        asked = prompts(sam, 2, mask=True, box=True)
        asked = replace(asked, logits=asked.logits * strength)
        encoding = photo(sam)
        for features in (1e-3, 1.0, 30.0):
            scaled = replace(encoding, features=encoding.features * features)
            assert_same(decode(sam, scaled, asked), own_way(sam, scaled, asked))


def test_memory_is_given_back_at_once():
    """Nothing waits for Python to look for circles."""
    model = model_of("sam")
    decode(model, model.encode(np.zeros((40, 64, 3), np.uint8)), prompts(model, mask=True))
    weights = [weakref.ref(each) for each in model.network.parameters()]
    encoders = [weakref.ref(each) for each in model.network.vision_encoder.parameters()]
    gc.disable()
    try:
        model.use_engine(nn.Identity(), torch.float32)
        assert not any(each() is not None for each in encoders)
        del model
        assert not any(each() is not None for each in weights)
    finally:
        gc.enable()
