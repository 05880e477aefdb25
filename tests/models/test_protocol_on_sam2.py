"""The protocol's shape, tried on SAM 2: a small adapter around a tiny random `Sam2Model`, and the method over it.

SAM 2 differs from SAM in all that the protocol has a place for: the photo is stretched over the canvas
(`Frame.stretched`), the decoder also wants two finer feature maps (`EncodedImage.extras`), and it says whether the
object is visible (`Decoded.presence`).  Guidance needs no change: `guidance.install` fits its mask decoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import OwnPreprocessing
from torch import Tensor
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

from persam import PerSAM
from persam.errors import UsageError
from persam.geometry import Frame, Size
from persam.method.settings import Settings
from persam.models.base import Decoded, EncodedImage, PromptableModel, Prompts
from persam.models.fingerprint import fingerprint_of
from persam.models.guidance import Guidance, guided, install

SIDE, CELLS = 128, 8


def random_sam2(seed: int = 0) -> Sam2Model:
    torch.manual_seed(seed)
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(
            hidden_size=8,
            num_attention_heads=1,
            image_size=[SIDE, SIDE],
            blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[8, 16, 32, 64],
            num_attention_heads_per_stage=[1, 1, 2, 2],
            window_size_per_stage=[4, 4, 4, 4],
            global_attention_blocks=[3],
            window_positional_embedding_background_size=[4, 4],
            mlp_ratio=2.0,
        ),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=32,
    )
    prompt = {"hidden_size": 32, "image_size": SIDE, "patch_size": SIDE // CELLS, "mask_input_channels": 4}
    decoder = {"hidden_size": 32, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return Sam2Model(config).eval()


class Sam2(OwnPreprocessing):
    """SAM 2's image part behind the protocol."""

    def __init__(self, network: Sam2Model) -> None:
        self.name, self.device = "sam2 random", torch.device("cpu")
        self.fingerprint = fingerprint_of(network)
        self.network: Any = network
        install(self.network.mask_decoder)
        with torch.no_grad():
            self.positions: Tensor = self.network.get_image_wide_positional_embeddings()

    @property
    def low_resolution(self) -> Size:
        return CELLS * 4, CELLS * 4

    @torch.no_grad()
    def encode(self, image: np.ndarray) -> EncodedImage:
        frame = Frame.stretched((image.shape[0], image.shape[1]), (SIDE, SIDE), (CELLS, CELLS))
        resized = np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255
        pixels = (pixels - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(3, 1, 1)
        *finer, coarse = self.network.get_image_embeddings(pixels)
        return EncodedImage(coarse, frame, {"finer": finer})

    @torch.no_grad()
    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        separate = prompts.logits is not None  # a mask prompt belongs to an image, so each prompt becomes one
        points, labels, boxes = (
            None if given is None else (given[:, None] if separate else given[None])
            for given in (prompts.points, prompts.labels, prompts.boxes)
        )
        labels = None if labels is None else labels.int()  # SAM 2 looks its point embeddings up by label
        sparse, dense = self.network.prompt_encoder(points, labels, boxes, prompts.logits)
        count = len(dense) if separate else 1
        with guided(guidance):
            logits, scores, _, visible = self.network.mask_decoder(
                image_embeddings=encoding.features.expand(count, -1, -1, -1),
                image_positional_embeddings=self.positions.expand(count, -1, -1, -1),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
                high_resolution_features=[f.expand(count, -1, -1, -1) for f in encoding.extras["finer"]],
            )
        return Decoded(logits.flatten(0, 1), scores.flatten(0, 1), visible.flatten(0, 1))


@pytest.fixture(scope="module")
def sam2() -> Sam2:
    return Sam2(random_sam2())


def a_prompt(count: int = 1) -> Prompts:
    points = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(0)) * SIDE
    return Prompts(points, torch.tensor([[1.0, 0.0]]).expand(count, -1))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_keeps_the_protocol(sam2):
    assert isinstance(sam2, PromptableModel)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("with_mask", [True, False])
def test_without_guidance_it_is_transformers_own_model(sam2, multimask, with_mask):
    own = random_sam2()
    encoding = sam2.encode(draw_scene()[0])
    prompts = a_prompt()
    mask = noise(1, 1, 32, 32) if with_mask else None
    with torch.no_grad():
        expected = own(
            image_embeddings=[*encoding.extras["finer"], encoding.features],
            input_points=prompts.points[:, None],
            input_labels=prompts.labels[:, None].int(),
            input_masks=mask,
            multimask_output=multimask,
        )
    decoded = sam2.decode(encoding, Prompts(prompts.points, prompts.labels, logits=mask), multimask=multimask)
    torch.testing.assert_close(decoded.logits, expected.pred_masks[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(decoded.scores, expected.iou_scores[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(decoded.presence, expected.object_score_logits[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "guidance",
    [
        Guidance(noise(1, 1, 1, 64).sigmoid() * 8, "after"),
        Guidance(noise(1, 1, 1, 64) * 3, "before"),
        Guidance(None, "after", noise(32)),
    ],
    ids=["after", "before", "semantic"],
)
def test_guidance_reaches_its_decoder(sam2, guidance):
    encoding = sam2.encode(draw_scene()[0])
    plain, steered, again = (
        sam2.decode(encoding, a_prompt(), multimask=True, guidance=each).logits for each in (None, guidance, None)
    )
    assert float((plain - steered).abs().max()) > 1e-4 * float(plain.abs().max())
    torch.testing.assert_close(plain, again, atol=0, rtol=0)


@pytest.mark.parametrize("with_mask", [True, False])
def test_a_batch_of_prompts(sam2, with_mask):
    encoding = sam2.encode(draw_scene()[0])
    prompts, masks = a_prompt(3), noise(3, 1, 32, 32) if with_mask else None
    together = sam2.decode(encoding, Prompts(prompts.points, prompts.labels, logits=masks), multimask=True)
    assert together.logits.shape == (3, 3, 32, 32)
    assert together.presence.shape == (3, 1)
    for i in range(3):
        one = slice(i, i + 1)
        alone = sam2.decode(
            encoding,
            Prompts(prompts.points[one], prompts.labels[one], logits=None if masks is None else masks[one]),
            multimask=True,
        )
        torch.testing.assert_close(together.logits[one], alone.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.presence[one], alone.presence, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", ["paper", "persam"])
@pytest.mark.parametrize("solver", ["direct", None])
def test_the_main_job(sam2, mode, solver, tmp_path):
    persam = PerSAM(sam2, settings=Settings.of(mode))
    photo, mask = draw_scene()
    concept = persam.learn(photo, mask, name="disc")
    if solver is not None:
        concept = persam.tune(concept, solver=solver)
        assert sum(concept.scale_weights) == pytest.approx(1, abs=1e-4)
    concept.save(tmp_path / "disc.safetensors")
    found = persam.segment(
        draw_scene(90, 200, seed=1)[0], type(concept).load(tmp_path / "disc.safetensors"), explain=True
    )
    assert found.mask.shape == (90, 200)
    assert found.trace.prior.frame.content == found.trace.prior.frame.canvas
    assert ((found.points >= -1) & (found.points <= [200, 90])).all()
    assert len(persam.segment(photo, concept, max_instances=3).instances) >= 1


def test_box_points_and_scribble_references(sam2):
    persam = PerSAM(sam2)
    photo, mask = draw_scene()
    for form in ({"box": (30, 40, 90, 100)}, {"points": [(60, 70)]}, {"scribble": mask}):
        assert persam.learn(photo, **form).references[0].size == (120, 160)


def test_mode_official_needs_sams_preprocessing(sam2):
    photo, mask = draw_scene()
    with pytest.raises(
        UsageError, match="Mode official needs SAM's own preprocessing, which sam2 random does not have"
    ):
        PerSAM(sam2, settings=Settings.of("official")).learn(photo, mask)
