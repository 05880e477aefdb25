"""The quick image encoder against transformers' own forward, whose weights it uses."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.fakes import CPU, random_network
from torch import Tensor, nn
from transformers import SamHQVisionConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder
from transformers.models.sam_hq.modeling_sam_hq import SamHQVisionEncoder

from persam.models import fast_vit
from persam.models.fast_vit import quicken
from persam.models.sam import Sam

KINDS = {"sam": (SamVisionConfig, SamVisionEncoder), "sam-hq": (SamHQVisionConfig, SamHQVisionEncoder)}


NEAR = {torch.float32: {"atol": 1e-5, "rtol": 1e-5}, torch.bfloat16: {"atol": 0.1, "rtol": 0.1}}


def random_encoder(kind: str = "sam", grid: int = 16, window: int = 7, **more: object) -> nn.Module:
    """Every weight random, the positions too, which transformers starts at zero."""
    torch.manual_seed(0)
    config, encoder = KINDS[kind]
    made = encoder(
        config(
            **({"hidden_size": 32, "num_attention_heads": 2, "mlp_dim": 64} | more),
            output_channels=8,
            num_hidden_layers=2,
            image_size=8 * grid,
            patch_size=8,
            window_size=window,
            global_attn_indexes=[1],
        )
    )
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            is_matrix = parameter.ndim > 1 and not name.endswith(("pos_embed", "pos_h", "pos_w"))
            is_gain = "norm" in name and name.endswith("weight")
            parameter.normal_(float(is_gain), parameter[0].numel() ** -0.5 if is_matrix else 0.3)
    return made.eval().requires_grad_(False)


def photos(grid: int, count: int = 1) -> Tensor:
    return torch.randn(count, 3, 8 * grid, 8 * grid, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("grid", "window", "tile"),
    [
        (16, 7, 2**20),  # windows with padding on two sides; all in one tile
        (16, 7, 300),  # a line of cells or a window at a time
        (16, 7, 6000),  # several windows at a time, and a last tile that is smaller
        (14, 7, 2**20),  # windows that divide the grid
        (5, 8, 2**20),  # a window larger than the grid
    ],
)
def test_equals_transformers(kind, grid, window, tile, monkeypatch):
    monkeypatch.setattr(fast_vit, "_TILE", tile)
    encoder = random_encoder(kind, grid, window)
    quick = copy.deepcopy(encoder)
    assert quicken(quick, torch.float32)
    expected, found = encoder(photos(grid, 2)), quick(photos(grid, 2))
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    if kind == "sam-hq":  # what its decoder takes from the layers on the way
        for ours, theirs in zip(found.intermediate_embeddings, expected.intermediate_embeddings, strict=True):
            torch.testing.assert_close(ours, theirs, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [32, 128])
def test_positions_added_or_as_channels(channels):
    """Of windows they travel as channels where there are enough of these; of the whole grid they are added."""
    encoder = random_encoder(grid=10, window=4, hidden_size=channels)
    quick = copy.deepcopy(encoder)
    quicken(quick, torch.float32)
    torch.testing.assert_close(quick(photos(10))[0], encoder(photos(10))[0], atol=1e-5, rtol=1e-5)


def test_bf16_is_close_and_keeps_sums_in_float32():
    encoder = random_encoder()
    quick, whole = copy.deepcopy(encoder), copy.deepcopy(encoder).to(torch.bfloat16)
    quicken(quick, torch.bfloat16)
    kinds = {name.split(".")[2]: each.dtype for name, each in quick.named_parameters() if name.startswith("layers")}
    assert kinds["attn"] == kinds["mlp"] == torch.bfloat16
    assert kinds["layer_norm1"] == torch.float32
    expected, found = encoder(photos(16))[0], quick(photos(16))[0]
    theirs = whole(photos(16).bfloat16())[0].float()
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.02
    assert float((found - expected).norm()) < float((theirs - expected).norm())


def test_without_a_bias_the_padding_is_zero():
    encoder = random_encoder(qkv_bias=False)
    quick = copy.deepcopy(encoder)
    quicken(quick, torch.float32)
    torch.testing.assert_close(quick(photos(16))[0], encoder(photos(16))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_go_the_way_of_transformers(dtype):
    encoder = random_encoder()
    quick = copy.deepcopy(encoder)
    quicken(quick, dtype)
    frozen = quick(photos(16))[0]
    torch.testing.assert_close(quick.train()(photos(16))[0], frozen, **NEAR[dtype])
    quick.eval()
    for network in (encoder, quick):
        network.requires_grad_(True)
        network(photos(16))[0].square().sum().backward()
    for (name, ours), (_, theirs) in zip(quick.named_parameters(), encoder.named_parameters(), strict=True):
        off = float((ours.grad.float() - theirs.grad).norm() / theirs.grad.norm())
        assert off < (1e-5 if dtype == torch.float32 else 0.1), name


@pytest.mark.parametrize(("channels", "tile"), [(32, 6000), (128, 2**25)])
def test_a_graph_for_another_engine_computes_the_same(channels, tile, monkeypatch):
    """It holds no writes into parts of tensors, which engines do slowly, and no tile larger than it should."""
    monkeypatch.setattr(fast_vit, "_GRAPH_TILE", tile)
    encoder = random_encoder(hidden_size=channels)
    quick = copy.deepcopy(encoder)
    quicken(quick, torch.float32)
    graph = torch.export.export(quick, (photos(16),), strict=False).run_decompositions({})
    torch.testing.assert_close(graph.module()(photos(16))[0], encoder(photos(16))[0], atol=1e-5, rtol=1e-5)
    names = {str(node.target) for node in graph.graph.nodes}
    assert not [name for name in names if "scatter" in name or "aten.copy" in name]
    products = [node.meta["val"].numel() for node in graph.graph.nodes if "softmax" in str(node.target)]
    assert max(products) <= max(tile, 2 * 16 * 256, 9 * 2 * 49 * 49)


def test_same_names_and_others_are_left_alone():
    encoder = random_encoder()
    names = list(encoder.state_dict())
    assert quicken(encoder, torch.float32)
    assert list(encoder.state_dict()) == names
    for other in (nn.Linear(2, 2), random_encoder(use_rel_pos=False)):
        assert not quicken(other, torch.bfloat16)
        assert all(each.dtype == torch.float32 for each in other.parameters())


def test_a_sam_on_the_cpu_has_it():
    sam = Sam(random_network(), name="r", image_size=64, device=CPU)
    layers = sam.network.vision_encoder.layers
    assert all(type(layer).quick_forward is fast_vit._forward_layer for layer in layers)
    again = Sam(copy.deepcopy(sam.network), name="r", image_size=64, device=CPU).network.vision_encoder.layers
    assert [type(layer) for layer in again] == [type(layer) for layer in layers]  # not made quick twice
