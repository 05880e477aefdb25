"""Stand-ins for promptable models: a tiny random SAM, one that follows a script, one that finds things by colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persam.errors import UsageError
from persam.geometry import Frame, Size
from persam.models.base import Decoded, EncodedImage, Guidance, Prompts
from persam.models.sam import Sam
from persam.models.tiny.architecture import TinyConfig

if TYPE_CHECKING:
    from transformers import SamConfig, SamModel  # seconds, which a process that has ColourModel need not wait for

CPU = torch.device("cpu")
SMALL_TINY = TinyConfig(
    image_size=64, channels=32, stem=8, widths=(8, 16, 24, 32), depths=(1, 1, 1, 1), mlp=32, heads=2
)


def sam_config(size: int = 64, patch: int = 8, channels: int = 32, heads: int = 4) -> SamConfig:
    """A SAM of a few thousand numbers."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=24,
            output_channels=channels,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=size,
            patch_size=patch,
            mlp_dim=48,
            num_pos_feats=channels // 2,
            window_size=3,
            global_attn_indexes=[1],
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=channels,
            image_size=size,
            patch_size=patch,
            image_embedding_size=size // patch,
            mask_input_channels=4,
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=channels, mlp_dim=48, num_attention_heads=heads, iou_head_hidden_dim=32
        ),
    )


def random_network(seed: int = 0, **sizes: int) -> SamModel:
    """A `SamModel` whose every weight is random, so that no path through it is dead (biases start at 0 otherwise)."""
    from transformers import SamModel

    torch.manual_seed(seed)
    network = SamModel(sam_config(**sizes)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and "norm" not in name:
                parameter.normal_(0, 0.1)
            elif "mask_decoder" in name and parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)  # transformers' 0.02 leaves the decoder almost flat
    return network


def random_sam(seed: int = 0, **sizes: int) -> Sam:
    """The same behind the protocol."""
    network = random_network(seed, **sizes)
    return Sam(network, name="random", image_size=sizes.get("size", 64), device=CPU)


class OwnPreprocessing:
    """A model whose preprocessing is not SAM's."""

    name: str

    def prepare(self, image: np.ndarray, frame: Frame) -> Tensor:
        raise UsageError(f"Mode official needs SAM's own preprocessing, which {self.name} does not have.")


class ColourModel(OwnPreprocessing):
    """Features are the colours of cells; the mask is the connected patch of one colour around the first point.

    It needs no weights and finds drawn objects exactly, so what the method does with a model can be told from what
    the model does.
    """

    name, fingerprint, device = "colours", "c010c010c010", CPU

    def __init__(self, cells: int = 16) -> None:
        self.grid = (cells, cells)
        self.encoded = 0
        self.decoded: list[tuple[Prompts, bool, Guidance | None]] = []

    @property
    def low_resolution(self) -> Size:
        return self.grid[0] * 4, self.grid[1] * 4

    def encode(self, image: np.ndarray) -> EncodedImage:
        self.encoded += 1
        frame = Frame.padded((image.shape[0], image.shape[1]), self.grid[0] * 8, self.grid)
        resized = cv2.resize(image, frame.content[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1
        canvas = torch.zeros(1, 3, *frame.canvas)
        canvas[..., : frame.content[0], : frame.content[1]] = torch.from_numpy(resized).permute(2, 0, 1)
        features = F.adaptive_avg_pool2d(canvas, self.grid)
        return EncodedImage(features, frame, {"canvas": F.adaptive_avg_pool2d(canvas, self.low_resolution)})

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        self.decoded.append((prompts, multimask, guidance))
        assert prompts.points is not None
        colours = encoding.extras["canvas"][0].permute(1, 2, 0).numpy()
        masks = [self._patch(colours, x, y) for x, y in prompts.points[:, 0].tolist()]
        logits = torch.from_numpy(np.stack(masks))[:, None].float() * 12 - 6
        count = 3 if multimask else 1
        return Decoded(logits.repeat(1, count, 1, 1), torch.linspace(0.9, 0.7, count).expand(len(masks), -1))

    @staticmethod
    def _patch(colours: np.ndarray, x: float, y: float) -> np.ndarray:
        height, width = colours.shape[:2]
        column, row = int(np.clip((x + 0.5) / 2, 0, width - 1)), int(np.clip((y + 0.5) / 2, 0, height - 1))
        alike = np.abs(colours - colours[row, column]).max(-1) < 0.35
        _, parts = cv2.connectedComponents(alike.astype(np.uint8), connectivity=4)
        return parts == parts[row, column]


Script = Callable[[int, Prompts, bool], Tensor]


class ScriptedModel(OwnPreprocessing):
    """Returns what the test says: a function from (number of the pass, prompts, multimask) to logits (M, h, w).

    Predicted IoU falls from the first mask to the last, so the first one is chosen, unless `scores` says otherwise.
    """

    name, fingerprint, device = "script", "5c0715c07150", CPU

    def __init__(self, script: Script | list[Tensor], grid: Size = (8, 8), scores: Any = None) -> None:
        self.script = script if callable(script) else (lambda number, _prompts, _multimask: script[number])
        self.grid = grid
        self.scores = scores
        self.calls: list[tuple[Prompts, bool, Guidance | None]] = []

    @property
    def low_resolution(self) -> Size:
        return self.grid[0] * 4, self.grid[1] * 4

    def encode(self, image: np.ndarray) -> EncodedImage:
        frame = Frame.padded((image.shape[0], image.shape[1]), self.grid[0] * 8, self.grid)
        generator = torch.Generator().manual_seed(int(image.sum()) % 1000)
        return EncodedImage(torch.randn(1, 6, *self.grid, generator=generator), frame)

    def decode(
        self, encoding: EncodedImage, prompts: Prompts, *, multimask: bool, guidance: Guidance | None = None
    ) -> Decoded:
        logits = self.script(len(self.calls), prompts, multimask)
        logits = logits[None] if logits.ndim == 2 else logits
        scores = torch.linspace(0.9, 0.5, len(logits)) if self.scores is None else torch.tensor(self.scores)
        self.calls.append((prompts, multimask, guidance))
        return Decoded(logits[None], scores[None])


def blob(size: Size, rows: tuple[int, int], columns: tuple[int, int], high: float = 6.0) -> Tensor:
    """Logits (h, w): `high` in rows[0]:rows[1], columns[0]:columns[1], -`high` elsewhere."""
    logits = torch.full(size, -high)
    logits[slice(*rows), slice(*columns)] = high
    return logits
