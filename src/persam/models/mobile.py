"""MobileSAM's image encoder, TinyViT (arXiv 2207.10666, 2306.14289), from the tensors of an original checkpoint.

Prompt encoder and mask decoder are SAM's. The names of the parts are those of `mobile_sam.pt`, but for the batch norms:
at inference they are a factor and an offset, which `fuse_norms` moves into the convolutions before them. Everything
runs with the channels last in memory, so that convolutions and attention see the same cells without a copy.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionNeck

StateDict = dict[str, Tensor]

CANVAS = 1024  # pixels and cells to a side; the published code has no others
GRID = 64
STRIP = 32  # rows of cells that convolutions with many channels take at a time; even
STRIDES = (2, 2, 1)  # of the three transitions; MobileSAM leaves out TinyViT's last halving, to have SAM's grid
_PREFIX = "image_encoder."
_STEM = "patch_embed.seq.0.c.weight"
_UNUSED = re.compile(r"image_encoder\.(head|norm_head)\.|.*\.attention_bias_idxs$")  # of the classifier; of indices


def is_mobile(state: StateDict) -> bool:
    """Whether a checkpoint has TinyViT as its image encoder."""
    return _PREFIX + _STEM in state


def is_bare_encoder(state: StateDict) -> bool:
    """Whether a checkpoint is a TinyViT of its own, as for classification."""
    return _STEM in state


def fuse_norms(state: StateDict, eps: float = 1e-5) -> StateDict:
    """Move every batch norm (`X.bn`) into the convolution before it (`X.c`), which becomes `X` and gets a bias.

    Raises:
        KeyError: a norm lacks a tensor.
    """
    fused: StateDict = {}
    for name, tensor in state.items():
        if name.startswith(_PREFIX) and name.endswith(".c.weight"):
            part = name.removesuffix(".c.weight")
            # in double precision: a concept knows its model by these numbers, so that they must not differ by machine
            weight, bias, mean, variance = (
                state[f"{part}.bn.{each}"].double() for each in ("weight", "bias", "running_mean", "running_var")
            )
            factor = weight / (variance + eps).sqrt()
            fused[f"{part}.weight"] = (tensor.double() * factor[:, None, None, None]).float()
            fused[f"{part}.bias"] = (bias - mean * factor).float()
        elif not (_UNUSED.match(name) or (name.startswith(_PREFIX) and ".bn." in name)):
            fused[name] = tensor
    return fused


@dataclass(frozen=True)
class TinyVitSizes:
    """Shapes of a `TinyVit`.

    Attributes:
        stem: channels of the first convolution.
        hidden: channels inside the blocks of the first stage, which are convolutions.
        widths: channels of the four stages.
        depths: blocks in each stage.
        heads: attention heads of the last three stages, whose blocks attend in windows.
        windows: side of their windows, in cells.
        mlps: hidden width of their MLPs.
        local: side of the kernel of their convolutions.
        channels: of the image embedding.
    """

    stem: int
    hidden: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...]
    mlps: tuple[int, ...]
    local: int
    channels: int

    @classmethod
    def of(cls, state: StateDict) -> TinyVitSizes:
        """Read all sizes from the tensors of a checkpoint.

        Raises:
            KeyError: a tensor is missing.
            ValueError: a table of attention biases is not that of a square window, or its heads do not share the width.
        """

        def shape(name: str) -> torch.Size:
            return state[_PREFIX + name].shape

        def depth(stage: int) -> int:
            found = (re.match(rf"image_encoder\.layers\.{stage}\.blocks\.(\d+)\.", name) for name in state)
            return len({match[1] for match in found if match})

        tables = [shape(f"layers.{stage}.blocks.0.attn.attention_biases") for stage in (1, 2, 3)]
        windows = tuple(math.isqrt(cells) for _, cells in tables)
        if any(window**2 != cells for window, (_, cells) in zip(windows, tables, strict=True)):
            raise ValueError("the attention biases are not those of square windows")
        merged = [shape(f"layers.{stage}.downsample.conv3.c.weight")[0] for stage in (0, 1, 2)]
        if any(width % heads for width, (heads, _) in zip(merged, tables, strict=True)):
            raise ValueError("the attention biases are of more heads than its width can be shared among")
        return cls(
            stem=shape(_STEM)[0],
            hidden=shape("layers.0.blocks.0.conv1.c.weight")[0],
            widths=(shape("patch_embed.seq.2.c.weight")[0], *merged),
            depths=tuple(depth(stage) for stage in range(4)),
            heads=tuple(heads for heads, _ in tables),
            windows=windows,
            mlps=tuple(shape(f"layers.{stage}.blocks.0.mlp.fc1.weight")[0] for stage in (1, 2, 3)),
            local=shape("layers.1.blocks.0.local_conv.c.weight")[-1],
            channels=shape("neck.0.weight")[0],
        )

    def config(self) -> SamVisionConfig:
        """What the rest of a SAM reads of its image encoder: neck, canvas and grid."""
        return SamVisionConfig(
            hidden_size=self.widths[-1],
            output_channels=self.channels,
            num_hidden_layers=0,
            image_size=CANVAS,
            patch_size=CANVAS // GRID,
            num_pos_feats=self.channels // 2,
        )


class DepthwiseConvs(nn.Module):
    """1 x 1 to a hidden width, 3 x 3 in each channel, 1 x 1 to the width; GELU between them."""

    def __init__(self, given: int, hidden: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, hidden, 1)
        # padded at the left and right alone; `forward` pads what is no neighbouring strip
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, padding=(0, 1), groups=hidden)
        self.conv3 = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H / stride, W / stride)."""
        height = x.shape[2]
        # The hidden channels of a whole canvas are more than a processor keeps at hand, and in pieces they cost half.
        rows = STRIP if x.device.type == "cpu" else height
        strips = []
        for top in range(0, height, rows):
            above, below = int(top > 0), int(top + rows < height)  # rows of the neighbours, which the kernel sees
            hidden = F.gelu(self.conv1(x[:, :, top - above : top + rows + below]))
            if not (above and below):
                hidden = F.pad(hidden, (0, 0, 1 - above, 1 - below))
            strips.append(self.conv3(F.gelu(self.conv2(hidden))))
        return torch.cat(strips, dim=2)


class InvertedBottleneck(DepthwiseConvs):
    """The same around a skip connection: a block of the first stage."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return F.gelu(x + super().forward(x))


class WindowAttention(nn.Module):
    """Attention within square windows, biased by how far apart two cells are.

    The published class looks its biases up once, in `eval()`. Its users call that after the weights are loaded, and so
    have them as they were trained; without that call it attends with the zeros that it was made with.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))  # by rows and columns apart
        row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        apart = [(each.flatten()[:, None] - each.flatten()).abs() for each in (row, column)]
        self.register_buffer("offsets", apart[0] * window + apart[1], persistent=False)
        self.offsets: Tensor  # (N, N) for the N cells of a window

    def forward(self, cells: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape. Windows at the right and lower edge are filled with zeros, which are seen."""
        side = self.window
        batch, height, width, channels = cells.shape
        padded = F.pad(cells, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, rows, side, columns, side, channels).transpose(2, 3).reshape(-1, side**2, channels)
        # every head has its query, key and value side by side
        parts = self.qkv(self.norm(windows)).view(-1, side**2, self.heads, 3, channels // self.heads)
        query, key, value = parts.permute(3, 0, 2, 1, 4)  # (windows, heads, N, C / heads) each
        bias = self.attention_biases[:, self.offsets][None]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        windows = self.proj(seen.transpose(1, 2).flatten(2)).view(batch, rows, columns, side, side, channels)
        return windows.transpose(2, 3).reshape(padded.shape)[:, :height, :width]


class WindowBlock(nn.Module):
    """Attention, a convolution in each channel that joins the windows, and an MLP."""

    def __init__(self, width: int, heads: int, window: int, mlp: int, local: int) -> None:
        super().__init__()
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = nn.Conv2d(width, width, local, padding=local // 2, groups=width)
        self.mlp = nn.Sequential(
            OrderedDict(norm=nn.LayerNorm(width), fc1=nn.Linear(width, mlp), act=nn.GELU(), fc2=nn.Linear(mlp, width))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        cells = x.permute(0, 2, 3, 1)
        cells = cells + self.attn(cells)
        cells = self.local_conv(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (cells + self.mlp(cells)).permute(0, 3, 1, 2)


class TinyVit(nn.Module):
    """The image encoder of a MobileSAM, its batch norms fused."""

    def __init__(self, sizes: TinyVitSizes) -> None:
        super().__init__()
        widths = sizes.widths
        stem = nn.Sequential(
            nn.Conv2d(3, sizes.stem, 3, 2, padding=1), nn.GELU(), nn.Conv2d(sizes.stem, widths[0], 3, 2, padding=1)
        )
        self.patch_embed = nn.Sequential(OrderedDict(seq=stem))
        stages: list[list[nn.Module]] = [
            [InvertedBottleneck(widths[0], sizes.hidden, widths[0]) for _ in range(sizes.depths[0])]
        ]
        stages += [
            [WindowBlock(width, heads, window, mlp, sizes.local) for _ in range(depth)]
            for width, depth, heads, window, mlp in zip(
                widths[1:], sizes.depths[1:], sizes.heads, sizes.windows, sizes.mlps, strict=True
            )
        ]
        self.layers = nn.ModuleList(nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks))) for blocks in stages)
        for layer, (width, wider), stride in zip(self.layers, pairwise(widths), STRIDES, strict=False):
            layer.add_module("downsample", DepthwiseConvs(width, wider, wider, stride))
        self.neck = SamVisionNeck(sizes.config())

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels (B, 3, S, S) -> image embedding (B, C, S / 16, S / 16)."""
        x = self.patch_embed(pixel_values.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            x = layer(x)
        embedding: Tensor = self.neck(x.permute(0, 2, 3, 1))
        return embedding
