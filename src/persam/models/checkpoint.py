"""Original checkpoints of SAM and MobileSAM (`sam_vit_h_4b8939.pth`, `mobile_sam.pt`) as transformers' SamModel.

Every size is read from the tensors, but for the number of decoder heads, which no tensor shows (8 in all published).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

from persam.errors import PersamError, first_line
from persam.models.mobile import StateDict, TinyVit, TinyVitSizes, fuse_norms, is_bare_encoder, is_mobile

_HEAD = r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))"
# Original name (as a pattern) -> transformers' name, in the order in which they are tried.
_NAMES = [
    (r"image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"image_encoder\.", "vision_encoder."),
    (r"prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
    (r"mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    # The decoder's heads; all published ones have three layers.
    (rf"{_HEAD}\.layers\.0\.", r"\1.proj_in."),
    (rf"{_HEAD}\.layers\.1\.", r"\1.layers.0."),
    (rf"{_HEAD}\.layers\.2\.", r"\1.proj_out."),
]
_GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def read_checkpoint(path: Path) -> StateDict:
    """Read a `.pth` without ever unpickling code (`weights_only=True`).

    Raises:
        PersamError: no checkpoint, or not one of SAM or MobileSAM.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise PersamError(
            f"There is no checkpoint {path}; give the path of a file such as sam_vit_b_01ec64.pth."
        ) from None
    except Exception as error:  # torch raises a dozen kinds for foreign files
        if _holds_a_model(path):
            raise PersamError(
                f"{path} holds a whole pickled model, which could run any code and so is never loaded; give a file of "
                "its weights alone (SlimSAM has them on the hub: Zigeng/SlimSAM-uniform-50, Zigeng/SlimSAM-uniform-77)."
            ) from error
        raise PersamError(
            f"{path} is no PyTorch checkpoint that holds only weights ({type(error).__name__}); "
            "download it again, or name another model."
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if isinstance(state, dict):  # DataParallel's prefix; and what is no tensor is no weight
        state = {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, Tensor)}
    if not isinstance(state, dict):
        state = {}
    has_prompts = _GAUSSIAN in state
    if is_bare_encoder(state) or (is_mobile(state) and not has_prompts):
        raise PersamError(
            f"{path} is a TinyViT alone, without the prompt encoder and mask decoder of a MobileSAM; "
            "give a file such as mobile_sam.pt."
        )
    if not has_prompts or not (is_mobile(state) or "image_encoder.pos_embed" in state):
        raise PersamError(
            f"{path} is a checkpoint, but not one of SAM (no image_encoder.pos_embed in it); "
            "give a file such as sam_vit_b_01ec64.pth or mobile_sam.pt."
        )
    return state


def _holds_a_model(path: Path) -> bool:
    """Whether a file is a pickled model instead of its weights: the classes that it names are looked at, not loaded."""
    try:
        classes = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no file of torch at all
        return False
    return any(name.startswith(("torch.nn.modules.", "segment_anything", "mobile_sam")) for name in classes)


def config_from(state: StateDict, decoder_heads: int = 8) -> SamConfig:
    """Every size of a SAM or MobileSAM from the shapes of its tensors."""
    vision = TinyVitSizes.of(state).config() if is_mobile(state) else _vision_config(state)
    iou_layers = {int(m[1]) for k in state if (m := re.match(r"mask_decoder\.iou_prediction_head\.layers\.(\d+)\.", k))}
    layers = {int(m[1]) for k in state if (m := re.match(r"mask_decoder\.transformer\.layers\.(\d+)\.", k))}
    cross = state["mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"]
    return SamConfig(
        vision_config=vision,
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=vision.output_channels,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            image_embedding_size=vision.image_size // vision.patch_size,
            mask_input_channels=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=vision.output_channels,
            mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
            num_hidden_layers=len(layers),
            num_attention_heads=decoder_heads,
            attention_downsample_rate=cross.shape[1] // cross.shape[0],
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            iou_head_depth=len(iou_layers),
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
            layer_norm_eps=1e-5,  # PyTorch's default, which the original decoder has; transformers' default is 1e-6
        ),
    )


def _vision_config(state: StateDict) -> SamVisionConfig:
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    _, grid, _, width = state["image_encoder.pos_embed"].shape
    depth = len({m[1] for k in state if (m := re.match(r"image_encoder\.blocks\.(\d+)\.", k))})
    # A block's table of relative positions has 2 n - 1 rows: n is its window, or the whole grid if it sees all of it.
    extents = [(state[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    windows = Counter(extent for extent in extents if extent != grid)
    head_dim = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    return SamVisionConfig(
        hidden_size=width,
        output_channels=state["image_encoder.neck.0.weight"].shape[0],
        num_hidden_layers=depth,
        num_attention_heads=width // head_dim,
        image_size=grid * patch,
        patch_size=patch,
        mlp_dim=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
        num_pos_feats=state[_GAUSSIAN].shape[1],
        window_size=windows.most_common(1)[0][0] if windows else 0,
        global_attn_indexes=[i for i, extent in enumerate(extents) if extent == grid],
    )


def to_transformers(state: StateDict) -> StateDict:
    """The same tensors under transformers' names."""
    renamed: StateDict = {}
    for name, tensor in state.items():
        if name == _GAUSSIAN:
            renamed["shared_image_embedding.positional_embedding"] = tensor
            renamed["prompt_encoder.shared_embedding.positional_embedding"] = tensor
            continue
        if name.startswith(("pixel_", "mask_threshold")):
            continue
        for pattern, replacement in _NAMES:
            new, hits = re.subn(rf"^{pattern}", replacement, name)
            if hits:
                name = new
                break
        renamed[name] = tensor
    return renamed


def load_original(path: Path, decoder_heads: int = 8) -> SamModel:
    """An original checkpoint as a ready `SamModel`; for a MobileSAM its `vision_encoder` is a `TinyVit`.

    Raises:
        PersamError: no checkpoint, not SAM's, or tensors missing from it.
    """
    state = read_checkpoint(path)
    try:
        network = SamModel(config_from(state, decoder_heads))
        if is_mobile(state):
            network.vision_encoder = TinyVit(TinyVitSizes.of(state))
            state = fuse_norms(state)
        _fill(network, to_transformers(state))
    except (KeyError, RuntimeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else first_line(error)
        raise PersamError(f"{path} names SAM's parts, but they do not fit together: {reason}") from error
    return network


def _fill(network: SamModel, state: StateDict) -> None:
    """Take over all weights.

    Raises:
        ValueError: one is missing, too much, or of another shape.
    """
    ours = network.state_dict()
    for name, tensor in ours.items():
        if name not in state:
            raise ValueError(f"{name} is missing")
        if state[name].shape != tensor.shape:
            raise ValueError(f"{name} is {tuple(state[name].shape)} where {tuple(tensor.shape)} is wanted")
    if foreign := sorted(state.keys() - ours.keys()):
        raise ValueError(f"nothing in a SAM is called {foreign[0]}")
    network.load_state_dict(state)
