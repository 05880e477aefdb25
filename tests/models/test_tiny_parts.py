"""The parts of the bundled model against transformers', whose names and arithmetic they share."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.export import Dim
from transformers import ResNetBackbone, ResNetConfig, SamConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from persam.models.tiny.architecture import TinySam
from persam.models.tiny.parts import MaskDecoder

CHANNELS, CELLS, PROMPTS = 128, 28, 3


@pytest.fixture(scope="module")
def model() -> TinySam:
    return TinySam.load().requires_grad_(False)


def same_weights(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """Theirs with all of our weights: there is none of another name or shape."""
    theirs.load_state_dict(ours.state_dict())
    return theirs.eval()


@pytest.fixture(scope="module")
def config(model) -> SamConfig:
    return SamConfig(
        vision_config={"image_size": 224, "patch_size": 8, "output_channels": CHANNELS, "num_pos_feats": CHANNELS // 2},
        prompt_encoder_config={"hidden_size": CHANNELS, "image_size": 224, "patch_size": 8},
        mask_decoder_config={
            "hidden_size": CHANNELS,
            "mlp_dim": model.config.mlp,
            "num_attention_heads": model.config.heads,
            "iou_head_hidden_dim": CHANNELS,
        },
    )


def test_resnet(model):
    config = ResNetConfig(
        embedding_size=32,
        hidden_sizes=list(model.config.widths),
        depths=list(model.config.depths),
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    theirs = same_weights(ResNetBackbone(config), model.vision_encoder.body)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found, expected = model.vision_encoder.body(pixels), theirs(pixels).feature_maps
    assert len(found) == len(expected) == 3
    for ours, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, wanted)


@pytest.mark.parametrize("given", ["points", "boxes", "both", "mask", "all"])
def test_prompts_and_masks(model, config, given):
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(2, PROMPTS, 3, 2, generator=generator) * 224
    labels = torch.tensor([1.0, 0.0, -1.0]).expand(2, PROMPTS, -1)
    boxes = torch.rand(2, PROMPTS, 4, generator=generator) * 224
    prompts = {
        "input_points": points if given in ("points", "both", "all") else None,
        "input_labels": labels if given in ("points", "both", "all") else None,
        "input_boxes": boxes if given in ("boxes", "both", "all") else None,
        "input_masks": torch.randn(2, 1, 112, 112, generator=generator) if given in ("mask", "all") else None,
    }
    encoder = same_weights(SamPromptEncoder(config), model.prompt_encoder)
    (sparse, dense), (their_sparse, their_dense) = model.prompt_encoder(**prompts), encoder(**prompts)
    torch.testing.assert_close(dense, their_dense)
    if given == "mask":
        assert sparse is their_sparse is None
    else:
        torch.testing.assert_close(sparse, their_sparse)

    decoder = same_weights(SamMaskDecoder(config.mask_decoder_config), model.mask_decoder)
    features = torch.randn(2, CHANNELS, CELLS, CELLS, generator=generator)
    places = model.get_image_wide_positional_embeddings().expand(2, -1, -1, -1)
    for multimask in (True, False):
        ours, theirs = (
            each(features, places, sparse, dense, multimask_output=multimask) for each in (model.mask_decoder, decoder)
        )
        for found, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_nothing_heavy_is_imported():
    """What a command that segments one photo needs; each of these takes a second or more."""
    code = (
        "import sys; from persam import PerSAM; from persam.album.batch import segment_photos; "
        "from persam.cli.options import load_model; load_model('tiny', device='cpu', dtype='auto'); "
        "print([name for name in ('transformers', 'huggingface_hub', 'scipy', 'pandas', 'matplotlib', 'sympy', "
        "'torch._dynamo', 'torchmetrics', 'pycocotools', 'av', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_decoder_is_exported_for_any_number_of_photos():
    """A number that an export takes for fixed would be refused here, and come out as a graph for two alone."""
    decoder, many = MaskDecoder(8, 2, 8).requires_grad_(False), Dim("many", min=1)

    def given(count: int) -> tuple[torch.Tensor, ...]:
        draw = torch.Generator().manual_seed(count)
        image, places, dense = (torch.randn(count, 8, 4, 4, generator=draw) for _ in range(3))
        return image, places, torch.randn(count, 1, 2, 8, generator=draw), dense

    program = torch.export.export(decoder, (*given(2), True), dynamic_shapes=(*[{0: many}] * 4, None), strict=False)
    for count in (1, 3):
        for ours, wanted in zip(program.module()(*given(count), True), decoder(*given(count), True), strict=True):
            torch.testing.assert_close(ours, wanted)
