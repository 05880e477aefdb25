"""The bundled promptable model: SAM's prompt encoder and mask decoder on a small convolutional image encoder.

`TinySam` names its parts as transformers' `SamModel` does (`vision_encoder`, `shared_image_embedding`,
`prompt_encoder`, `mask_decoder`), so that one adapter serves both. About 3 million parameters; any image size that is
a multiple of 32 works at run time (`TinySam.resize`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persam.models.fingerprint import record_file
from persam.models.tiny import FORMAT
from persam.models.tiny.parts import MaskDecoder, Positions, PromptEncoder, ResNet
from persam.models.weights_file import in_full, read_weights, write_weights

PACKAGED_WEIGHTS = Path(__file__).with_name("weights.safetensors")
PACKAGED_CHECKSUM = Path(__file__).with_name("weights.sha256")
SHARED_MATRIX = "prompt_encoder.shared_embedding.positional_embedding"  # the same tensor as the image's positions


@dataclass(frozen=True)
class TinyConfig:
    """Shapes of a `TinySam`.

    Attributes:
        image_size: side of the square input that inference uses; a multiple of 32.
        channels: width of the image embedding and of the decoder.
        stem: channels of the first convolution.
        widths: channels of the four stages of basic blocks (strides 4, 8, 16, 32).
        depths: blocks in each stage.
        mlp: hidden width of the decoder's MLPs.
        heads: attention heads of the decoder.
    """

    image_size: int = 128
    channels: int = 128
    stem: int = 32
    widths: tuple[int, ...] = (32, 64, 128, 192)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    mlp: int = 512
    heads: int = 4

    stride = 8  # of the image embedding; fixed by the neck

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TinyConfig:
        """Read what `dataclasses.asdict` and JSON made of a config."""
        return cls(**{**values, "widths": tuple(values["widths"]), "depths": tuple(values["depths"])})


class TopDownNeck(nn.Module):
    """Add coarse stages onto finer ones, from stride 32 up to stride 8."""

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.lat = nn.ModuleList([nn.Conv2d(width, channels, 1) for width in widths])
        self.out = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, stages: tuple[Tensor, ...]) -> Tensor:
        """Stages (B, width, S/8, S/8), (.., S/16, S/16), (.., S/32, S/32) -> (B, channels, S/8, S/8)."""
        x = self.lat[-1](stages[-1])
        for lateral, stage in zip(list(self.lat)[-2::-1], stages[-2::-1], strict=True):
            x = lateral(stage) + F.interpolate(x, size=stage.shape[-2:], mode="bilinear")
        out: Tensor = self.out(x)
        return out


class TinyVisionEncoder(nn.Module):
    """A ResNet of basic blocks with a top-down neck."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.body = ResNet(config.stem, config.widths, config.depths)
        self.neck = TopDownNeck(config.widths[1:], config.channels)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> image embedding (B, C, S/8, S/8)."""
        features: Tensor = self.neck(self.body(pixel_values))
        return features


class TinySam(nn.Module):
    """The bundled model.

    Attributes:
        config: its shapes, and the image size that it was saved with.
        image_size: side of the square input that it is set to now.
        history: what it has been trained on so far and how it did (from the weights' file), JSON-able.
    """

    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config or TinyConfig()
        self.history: dict[str, Any] = {}
        self.vision_encoder = TinyVisionEncoder(self.config)
        # One matrix of random frequencies for prompts and image; taken apart, nothing is learned.
        self.shared_image_embedding = Positions(self.config.channels)
        self.shared_image_embedding.positional_embedding.requires_grad_(False)
        self.prompt_encoder = PromptEncoder(self.config.channels, self.shared_image_embedding)
        self.mask_decoder = MaskDecoder(self.config.channels, self.config.heads, self.config.mlp)
        self.image_size = 0
        self.resize(self.config.image_size)

    def resize(self, image_size: int) -> TinySam:
        """Set the side of the square input, in place; weights stay. Raises ValueError unless a multiple of 32."""
        if image_size < 32 or image_size % 32:
            raise ValueError(f"image size must be a positive multiple of 32, got {image_size}")
        self.image_size = image_size
        cells = image_size // TinyConfig.stride
        self.prompt_encoder.input_image_size = image_size
        self.prompt_encoder.image_embedding_size = (cells, cells)
        return self

    def get_image_wide_positional_embeddings(self) -> Tensor:
        """Position of every cell of the image embedding, (1, C, S/8, S/8), as `SamModel` gives it."""
        matrix = self.shared_image_embedding.positional_embedding
        cells = self.image_size // TinyConfig.stride
        centres = (torch.arange(cells, device=matrix.device, dtype=matrix.dtype) + 0.5) / cells
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        positions: Tensor = self.shared_image_embedding(torch.stack([x, y], dim=-1))  # (h, w, C)
        return positions.permute(2, 0, 1)[None]

    def save(self, path: str | Path, history: dict[str, Any] | None = None) -> None:
        """Write the weights (float16; statistics and positions float32) with config and history; atomic."""
        state = {name: value for name, value in self.state_dict().items() if name != SHARED_MATRIX}
        config = {**asdict(self.config), "image_size": self.image_size}
        metadata = {
            "format": FORMAT,
            "config": json.dumps(config),
            "history": json.dumps(self.history if history is None else history),
        }
        write_weights(path, state, metadata)
        if Path(path) == PACKAGED_WEIGHTS:
            record_file(PACKAGED_WEIGHTS, PACKAGED_CHECKSUM)

    @classmethod
    def load(cls, path: str | Path = PACKAGED_WEIGHTS) -> TinySam:
        """Read weights written by `save`, as float32, ready for inference (`eval`).

        Raises:
            ValueError: the file is no such file.
        """
        state, metadata = read_weights(path, FORMAT, "bundled model")
        model = cls(TinyConfig.from_dict(json.loads(metadata["config"])))
        model.load_weights(state)
        model.history = json.loads(metadata["history"])
        return model.eval()

    def load_weights(self, state: dict[str, Tensor]) -> None:
        """Take over a state of any float type; the shared matrix of positions may be named once or twice."""
        state = in_full(state)
        state[SHARED_MATRIX] = state["shared_image_embedding.positional_embedding"]
        self.load_state_dict(state)
