"""EdgeTAM's image encoder: timm's tensors and numbers, loaded from folders in transformers' form without timm.

The main job with it is in `test_promptable.py`, `test_propagator.py` and `tests/video`, of whose EdgeTAM it is a part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.fakes import CPU
from tests.models.promptables import random_promptable
from tests.video.memories import random_tracker
from torch import Tensor, nn
from transformers.utils import logging

from persam.errors import PersamError
from persam.models.hub import load_network
from persam.models.loading import load_model
from persam.models.repvit import RepVit, RepVitModel, with_repvit

GOLDEN = Path(__file__).parents[1] / "golden" / "repvit" / "expected.npz"
PREFIX = "vision_encoder.backbone.timm_model."  # of its tensors in a checkpoint of EdgeTAM
SMALL = ((8, 16, 32, 64), (1, 1, 2, 1))  # channels and blocks of those that other tests load, too
USUAL: dict[str, Any] = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}  # what EdgeTAM asks of timm


def fill(network: nn.Module, seed: int = 0) -> Any:
    """Plain uniform numbers of one generator, by names in their order: the same wherever this runs."""
    rng = np.random.default_rng(seed)
    state = network.state_dict()
    for name, tensor in sorted(state.items()):
        values = rng.random(tuple(tensor.shape)) * 2 - 1
        if name.endswith("running_var"):
            values = 1 + values / 2
        elif name.endswith("bn.weight"):
            values = 0.5 + values / 4
        elif tensor.ndim > 1:
            values *= (3 / tensor[0].numel()) ** 0.5
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(np.asarray(values)))
    return network.eval().requires_grad_(False)


def pixels() -> Tensor:
    """(1, 3, 65, 98) of 4 x 4 blocks; no side can be halved evenly."""
    noise = np.random.default_rng(1).random((3, 17, 25)) * 4 - 2
    return torch.from_numpy(noise.repeat(4, 1).repeat(4, 2)[None, :, :65, :98].copy()).float()


def shapes_of(network: nn.Module) -> dict[str, str]:
    return {name: "x".join(map(str, tensor.shape)) for name, tensor in network.state_dict().items()}


class TestAsInTimm:
    """Values that timm gave, see tests/golden/README.md; and timm itself, where it can be imported."""

    def test_tensors(self):
        expected = np.load(GOLDEN)
        assert shapes_of(RepVit()) == dict(zip(expected["names"].tolist(), expected["shapes"].tolist(), strict=True))

    def test_feature_maps(self):
        expected = np.load(GOLDEN)
        maps = fill(RepVit())(pixels())
        assert [tuple(each.shape) for each in maps] == [
            (1, 48, 17, 25), (1, 96, 9, 13), (1, 192, 5, 7), (1, 384, 3, 4)
        ]  # fmt: skip
        for number, found in enumerate(maps):
            measured = (found[:, ::8], found.mean((0, 2, 3)), found.std((0, 2, 3), correction=0))
            for part, values in zip(("every_8th_channel", "mean", "std"), measured, strict=True):
                wanted = torch.from_numpy(expected[f"stage_{number}_{part}"])
                torch.testing.assert_close(values, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)

    @pytest.mark.parametrize("sizes", [{}, {"embed_dim": (8, 24, 16, 40), "depth": (1, 3, 2, 2)}])
    def test_timm_itself(self, sizes):
        why = "timm cannot be imported (it needs torchvision)"
        timm = pytest.importorskip("timm", reason=why, exc_type=ImportError)
        theirs = fill(timm.create_model("repvit_m1", num_classes=0, **USUAL, **sizes))
        ours = RepVit(*sizes.values()).eval()
        assert shapes_of(ours) == shapes_of(theirs)
        ours.load_state_dict(theirs.state_dict())
        for found, wanted in zip(ours(pixels()), theirs(pixels()), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)


@pytest.fixture(scope="module", params=["EdgeTamModel", "EdgeTamVideoModel"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers saves it; the config.json asks for timm's network."""
    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("hub") / kind
    network = random_promptable("edgetam") if kind == "EdgeTamModel" else random_tracker("edgetam_video")
    fill(network.vision_encoder.backbone.timm_model).train().requires_grad_(True)  # as transformers makes networks
    network.save_pretrained(folder)
    return folder


class TestLoading:
    def test_no_tensor_is_missing_and_none_left(self, kind, folder):
        saved = load_file(folder / "model.safetensors")
        own = fill(RepVit(*SMALL)).state_dict()
        assert sum(name.startswith("vision_encoder.backbone.") for name in saved) == len(own)
        assert all(torch.equal(saved[PREFIX + name], tensor) for name, tensor in own.items())
        made = getattr(transformers, kind)
        config = with_repvit(made.config_class.from_pretrained(folder))
        network, report = made.from_pretrained(folder, config=config, output_loading_info=True)
        assert not any(report[part] for part in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert all(torch.equal(network.state_dict()[PREFIX + name], tensor) for name, tensor in own.items())

    def test_a_tensor_that_is_missing_is_said(self, kind, folder, tmp_path):
        saved = load_file(folder / "model.safetensors")
        del saved[PREFIX + "stages_2.downsample.ffn.conv2.bn.running_mean"]
        save_file(saved, tmp_path / "model.safetensors", {"format": "pt"})
        (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
        with pytest.raises(PersamError, match="lacks 1 of the model's tensors, such as .*ffn.conv2.bn.running_mean"):
            load_network(str(tmp_path), getattr(transformers, kind))

    def test_maps_of_the_whole_encoder(self, kind, folder):
        """Batch norms count by what was trained, not by the photos at hand."""
        network = load_model(folder, device="cpu", dtype="float32").network
        assert isinstance(network.vision_encoder.backbone, RepVitModel)
        photo = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
        first, alone = network.vision_encoder(photo), network.vision_encoder(photo[:1])
        maps = fill(RepVit(*SMALL))(photo)
        neck = network.vision_encoder.neck.convs
        wanted = neck[3](maps[0])  # the finest map; nothing is added to it
        torch.testing.assert_close(first.fpn_hidden_states[0], wanted, atol=1e-5, rtol=1e-5)
        for both, one in zip(first.fpn_hidden_states, alone.fpn_hidden_states, strict=True):
            torch.testing.assert_close(both[:1], one, atol=1e-4, rtol=1e-4)

    def test_bf16_encoder(self, kind, folder):
        photo = np.random.default_rng(0).integers(0, 255, (90, 128, 3), np.uint8)
        wanted, found = (
            load_model(folder, device="cpu", dtype=dtype).encode(photo).features for dtype in ("float32", "bfloat16")
        )
        assert torch.cosine_similarity(wanted, found, dim=1).min() > 0.99


@pytest.mark.parametrize(
    ("architecture", "asked"),
    [
        ("repvit_m2", USUAL),
        ("resnet50", USUAL),
        ("repvit_m1", {**USUAL, "out_indices": [1, 2, 3]}),
        ("repvit_m1", {**USUAL, "out_indices": 4}),
        ("repvit_m1", {**USUAL, "in_chans": 1}),
        ("repvit_m1", {**USUAL, "legacy": False}),
        ("repvit_m1", {**USUAL, "embed_dim": [8, 16, 32], "depth": [1, 1, 1, 1]}),
        ("repvit_m1", None),
    ],
)
def test_what_else_is_asked_of_timm_stays_its(architecture, asked):
    encoder = transformers.TimmWrapperConfig(architecture=architecture, model_args=asked)
    config = transformers.EdgeTamConfig(vision_config=transformers.EdgeTamVisionConfig(backbone_config=encoder))
    assert with_repvit(config).vision_config.backbone_config is encoder


def test_how_it_was_trained_does_not_matter():
    encoder = transformers.TimmWrapperConfig(architecture="repvit_m1.dist_in1k", model_args=USUAL)
    vision = transformers.EdgeTamVisionConfig(backbone_config=encoder)
    with_repvit(transformers.EdgeTamConfig(vision_config=vision))
    made = transformers.AutoModel.from_config(vision)
    assert shapes_of(made.backbone.timm_model) == shapes_of(RepVit())
    assert made.to(CPU).backbone(pixels()).last_hidden_state[-1].shape == (1, 384, 3, 4)
