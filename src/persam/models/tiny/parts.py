"""SAM's prompt encoder and mask decoder, and a ResNet of basic blocks: what the bundled model is built of.

The same arithmetic and the same names as transformers' `SamPromptEncoder`, `SamMaskDecoder` and `ResNetBackbone`, and
tested against them.  Importing those takes two seconds, longer than everything else that `persam segment` does to one
photo; so the model that needs nothing else of transformers does not import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persam.models.sam import guided_attention

SCALES = 3  # masks of different extent for one prompt
_DOWNSAMPLED = 2  # the decoder's cross attention computes in half of the channels


# ------------------------------------------------------------------------------------------------- the image encoder


class ConvNorm(nn.Module):
    """A convolution without bias, batch normalisation, and a ReLU or nothing."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1, *, relu: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(into, out, kernel, stride, padding=kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(out)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, h, w) -> (B, out, h / stride, w / stride)."""
        x = self.normalization(self.convolution(x))
        return F.relu(x) if self.relu else x


class BasicBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        same = into == out and stride == 1
        self.shortcut = nn.Identity() if same else ConvNorm(into, out, 1, stride, relu=False)
        self.layer = nn.Sequential(ConvNorm(into, out, 3, stride), ConvNorm(out, out, 3, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, h, w) -> (B, out, h / stride, w / stride)."""
        return F.relu(self.layer(x) + self.shortcut(x))


class _Stem(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.embedder = ConvNorm(into, out, 7, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        return F.max_pool2d(self.embedder(pixels), kernel_size=3, stride=2, padding=1)


class _Stage(nn.Module):
    def __init__(self, into: int, out: int, stride: int, depth: int) -> None:
        super().__init__()
        rest = (BasicBlock(out, out, 1) for _ in range(depth - 1))
        self.layers = nn.Sequential(BasicBlock(into, out, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class _Stages(nn.Module):
    def __init__(self, stem: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        into = (stem, *widths[:-1])
        strides = (1, *(2 for _ in widths[1:]))
        self.stages = nn.ModuleList(map(_Stage, into, widths, strides, depths))


class ResNet(nn.Module):
    """A stem of stride 4 and stages of basic blocks, all but the first of stride 2.

    Args:
        stem: channels of the first convolution.
        widths: channels of the stages.
        depths: blocks in each.
        channels: of what it sees.
    """

    def __init__(self, stem: int, widths: Sequence[int], depths: Sequence[int], channels: int = 3) -> None:
        super().__init__()
        self.embedder = _Stem(channels, stem)
        self.encoder = _Stages(stem, widths, depths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Normalised pixels (B, channels, S, S) -> what each stage but the first gives, (B, width, S/8, S/8) and
        so on."""
        x, found = self.embedder(pixels), []
        for stage in self.encoder.stages:
            x = stage(x)
            found.append(x)
        return tuple(found[1:])


# ------------------------------------------------------------------------------------------------ the prompt encoder


class Positions(nn.Module):
    """Sines and cosines of coordinates at random frequencies.

    In full precision: half precision would blur the phases of high frequencies under autocast.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(2, channels // 2))

    def forward(self, places: Tensor) -> Tensor:
        """Coordinates (..., 2) as (x, y) in 0..1 -> (..., C)."""
        with torch.autocast(places.device.type, enabled=False):
            phases = 2 * math.pi * ((2 * places.float() - 1) @ self.positional_embedding)
            return torch.cat([phases.sin(), phases.cos()], dim=-1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that PyTorch gives it)
        """(B, C, h, w) to the same."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MaskEmbedding(nn.Module):
    """A mask prompt as features: two convolutions of stride 2."""

    def __init__(self, channels: int, inner: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, inner // 4, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(inner // 4, inner, kernel_size=2, stride=2)
        self.conv3 = nn.Conv2d(inner, channels, kernel_size=1)
        self.layer_norm1 = ChannelNorm(inner // 4)
        self.layer_norm2 = ChannelNorm(inner)

    def forward(self, logits: Tensor) -> Tensor:
        """(P, 1, 4h, 4w) -> (P, C, h, w)."""
        x = F.gelu(self.layer_norm1(self.conv1(logits)))
        x = F.gelu(self.layer_norm2(self.conv2(x)))
        out: Tensor = self.conv3(x)
        return out


class PromptEncoder(nn.Module):
    """Points, boxes and a mask as features.

    Args:
        channels: of the features.
        positions: of its pixels, those that the image has.

    Attributes:
        input_image_size: side of the canvas in pixels; whoever makes one sets it.
        image_embedding_size: cells of it, (h, w).
    """

    input_image_size: int
    image_embedding_size: tuple[int, int]

    def __init__(self, channels: int, positions: Positions) -> None:
        super().__init__()
        self.shared_embedding = positions
        self.mask_embed = MaskEmbedding(channels)
        self.no_mask_embed = nn.Embedding(1, channels)
        self.point_embed = nn.ModuleList(nn.Embedding(1, channels) for _ in range(4))  # off, on, two corners of a box
        self.not_a_point_embed = nn.Embedding(1, channels)

    def _place(self, pixels: Tensor) -> Tensor:
        return (pixels + 0.5) / self.input_image_size

    def _kind(self, label: int) -> Tensor:
        embedding: Any = self.point_embed[label]
        weight: Tensor = embedding.weight
        return weight

    def _embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """Points (B, P, N, 2) with labels (B, P, N): 1 on, 0 off, -1 no point; `pad` adds one of the last kind."""
        if pad:
            points, labels = F.pad(points, (0, 0, 0, 1), value=0), F.pad(labels, (0, 1), value=-1)
        labels = labels[..., None]
        tokens = self.shared_embedding(self._place(points))
        tokens = torch.where(labels == -1, self.not_a_point_embed.weight, tokens)
        for label in (0, 1):
            tokens = torch.where(labels == label, tokens + self._kind(label), tokens)
        return tokens

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        """Boxes (B, P, 4) as two tokens each, (B, P, 2, C)."""
        corners = self.shared_embedding(self._place(boxes.unflatten(-1, (2, 2))))
        tokens: Tensor = corners + torch.cat([self._kind(2), self._kind(3)])
        return tokens

    def forward(
        self,
        input_points: Tensor | None,
        input_labels: Tensor | None,
        input_boxes: Tensor | None,
        input_masks: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Prompts of B images, P each.

        Args:
            input_points: (B, P, N, 2) as (x, y) in pixels.
            input_labels: (B, P, N).
            input_boxes: (B, P, 4).
            input_masks: (B, 1, 4h, 4w) logits.

        Returns:
            tokens (B, P, n, C) or None, and features to be added to the image's, (B, C, h, w).
        """
        tokens = []
        if input_points is not None and input_labels is not None:
            tokens.append(self._embed_points(input_points, input_labels, pad=input_boxes is None))
        if input_boxes is not None:
            tokens.append(self._embed_boxes(input_boxes))
        sparse = torch.cat(tokens, dim=2) if tokens else None
        if input_masks is not None:
            return sparse, self.mask_embed(input_masks)
        batch = 1 if sparse is None else len(sparse)
        return sparse, self.no_mask_embed.weight.view(1, -1, 1, 1).expand(batch, -1, *self.image_embedding_size)


# -------------------------------------------------------------------------------------------------- the mask decoder


class Attention(nn.Module):
    """Attention of P prompts of an image each, in fewer channels where `downsampled` is more than 1."""

    def __init__(self, channels: int, heads: int, downsampled: int = 1) -> None:
        super().__init__()
        inner = channels // downsampled
        self.heads = heads
        self.scaling = (inner // heads) ** -0.5
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(channels, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attention_similarity: Tensor | None = None) -> Tensor:
        """Query (B, P, n, C), key and value (B, P or 1, m, C) -> (B, P, n, C); guidance travels as the similarity."""
        parts = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        q, k, v = (part.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        found, _ = guided_attention(self, q, k, v, attention_similarity, self.scaling)
        out: Tensor = self.out_proj(found.flatten(2).unflatten(0, query.shape[:2]))
        return out


class Mlp(nn.Module):
    """Two linear layers."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to the same."""
        out: Tensor = self.lin2(F.relu(self.lin1(x)))
        return out


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens."""

    def __init__(self, channels: int, heads: int, mlp: int, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(channels, heads)
        self.layer_norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.cross_attn_token_to_image = Attention(channels, heads, _DOWNSAMPLED)
        self.layer_norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, mlp)
        self.layer_norm3 = nn.LayerNorm(channels, eps=1e-6)
        self.layer_norm4 = nn.LayerNorm(channels, eps=1e-6)
        self.cross_attn_image_to_token = Attention(channels, heads, _DOWNSAMPLED)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        query_point_embedding: Tensor,
        key_point_embedding: Tensor,
        attention_similarity: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, P, n, C) and image cells (B, 1, m, C), with what is added as positions, to the same."""
        if self.is_first:
            queries = self.self_attn(queries, queries, queries)
        else:
            placed = queries + query_point_embedding
            queries = queries + self.self_attn(placed, placed, queries)
        queries = self.layer_norm1(queries)
        cells = keys + key_point_embedding
        found = self.cross_attn_token_to_image(queries + query_point_embedding, cells, keys, attention_similarity)
        queries = self.layer_norm2(queries + found)
        queries = self.layer_norm3(queries + self.mlp(queries))
        found = self.cross_attn_image_to_token(cells, queries + query_point_embedding, queries)
        return queries, self.layer_norm4(keys + found)


class TwoWayTransformer(nn.Module):
    """Two blocks, and a last look of the tokens at the image."""

    def __init__(self, channels: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(channels, heads, mlp, is_first=first) for first in (True, False))
        self.final_attn_token_to_image = Attention(channels, heads, _DOWNSAMPLED)
        self.layer_norm_final_attn = nn.LayerNorm(channels)

    def forward(
        self,
        point_embeddings: Tensor,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        attention_similarity: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, P, n, C) and maps (B P, C, h, w) -> tokens, and image cells (B P, 1, h w, C)."""
        keys, places = (
            each.flatten(2).transpose(1, 2).unsqueeze(1) for each in (image_embeddings, image_positional_embeddings)
        )
        queries = point_embeddings
        for layer in self.layers:  # by name, as the hooks of guidance expect it
            queries, keys = layer(
                queries=queries,
                keys=keys,
                query_point_embedding=point_embeddings,
                key_point_embedding=places,
                attention_similarity=attention_similarity,
            )
        found = self.final_attn_token_to_image(query=queries + point_embeddings, key=keys + places, value=keys)
        return self.layer_norm_final_attn(queries + found), keys


class Head(nn.Module):
    """Three linear layers with ReLU between them."""

    def __init__(self, into: int, inner: int, out: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(into, inner)
        self.proj_out = nn.Linear(inner, out)
        self.layers = nn.ModuleList([nn.Linear(inner, inner)])

    def forward(self, x: Tensor) -> Tensor:
        """(..., into) -> (..., out)."""
        out: Tensor = self.proj_out(F.relu(self.layers[0](F.relu(self.proj_in(x)))))
        return out


class MaskDecoder(nn.Module):
    """Tokens and image features to masks and their predicted IoU."""

    def __init__(self, channels: int, heads: int, mlp: int) -> None:
        super().__init__()
        masks = SCALES + 1
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(masks, channels)
        self.transformer = TwoWayTransformer(channels, heads, mlp)
        self.upscale_conv1 = nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2)
        self.upscale_conv2 = nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2)
        self.upscale_layer_norm = ChannelNorm(channels // 4)
        self.activation = nn.GELU()
        self.output_hypernetworks_mlps = nn.ModuleList(Head(channels, channels, channels // 8) for _ in range(masks))
        self.iou_prediction_head = Head(channels, channels, masks)

    def forward(
        self,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        sparse_prompt_embeddings: Tensor | None,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks of P prompts of each of B images.

        Args:
            image_embeddings: (B, C, h, w).
            image_positional_embeddings: the same.
            sparse_prompt_embeddings: (B, P, n, C), or None.
            dense_prompt_embeddings: (B, C, h, w).
            multimask_output: three scales; else the one mask.

        Returns:
            logits (B, P, 3 or 1, 4h, 4w) and predicted IoU (B, P, 3 or 1).
        """
        # A shape and no len, which an export would take for a fixed number.
        batch, sparse = image_embeddings.shape[0], sparse_prompt_embeddings
        prompts = 1 if sparse is None else sparse.shape[1]
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(batch, prompts, -1, -1)
        tokens = own if sparse is None else torch.cat([own, sparse], dim=2)
        image = (image_embeddings + dense_prompt_embeddings).repeat_interleave(prompts, 0)
        places = image_positional_embeddings.repeat_interleave(prompts, 0)
        tokens, cells = self.transformer(
            point_embeddings=tokens.to(self.iou_token.weight.dtype),
            image_embeddings=image,
            image_positional_embeddings=places,
        )
        upscaled = self.upscale_conv1(cells.transpose(2, 3).reshape(image.shape))
        upscaled = self.activation(self.upscale_layer_norm(upscaled))
        upscaled = self.activation(self.upscale_conv2(upscaled))
        kernels = [head(tokens[:, :, 1 + number]) for number, head in enumerate(self.output_hypernetworks_mlps)]
        maps = upscaled.flatten(2).unflatten(0, (batch, prompts))
        logits = (torch.stack(kernels, dim=2) @ maps).unflatten(-1, upscaled.shape[-2:])
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return logits[:, :, chosen], self.iou_prediction_head(tokens[:, :, 0])[:, :, chosen]
