"""Networks that carry masks, for tests: tiny random ones of the real classes, and one that does as it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from persam.models.propagator import Carried
from persam.models.repvit import with_repvit

SIDE, SIDE_3 = 128, 112  # pixels of the squares that they see, and that SAM 3's sees
_LEVELS = [[32, 32], [16, 16], [8, 8]]
_CHANNELS = 128  # transformers' code cannot have fewer: memories have 64, and an object's pointer is two of them

HIERA = {
    "model_type": "sam2_vision_model",
    "backbone_config": {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
        "mlp_ratio": 2.0,
    },
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": _LEVELS,
    "fpn_hidden_size": _CHANNELS,
}
# EdgeTAM's own, as its checkpoints ask timm for it, with fewer channels and blocks.
REPVIT = {
    "model_type": "edgetam_vision_model",
    "backbone_config": transformers.TimmWrapperConfig(
        architecture="repvit_m1",
        model_args={
            "in_chans": 3,
            "features_only": True,
            "out_indices": [0, 1, 2, 3],
            "embed_dim": [8, 16, 32, 64],
            "depth": [1, 1, 2, 1],
        },
    ).to_dict(),
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": _LEVELS,
    "fpn_hidden_size": _CHANNELS,
}
VIT = {
    "model_type": "sam3_vision_model",
    "backbone_config": {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE_3,
        "patch_size": 14,
        "window_size": 4,
        "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    },
    "fpn_hidden_size": _CHANNELS,
    "backbone_feature_sizes": _LEVELS,
}
_MEMORY = {
    "mask_decoder_config": {
        "hidden_size": _CHANNELS,
        "mlp_dim": 48,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": 32,
    },
    "memory_attention_hidden_size": _CHANNELS,
    "memory_attention_num_layers": 1,
    "memory_encoder_hidden_size": _CHANNELS,
    "mask_downsampler_embed_dim": _CHANNELS,
    "memory_fuser_embed_dim": _CHANNELS,
    "memory_fuser_intermediate_dim": 32,
    "memory_fuser_num_layers": 1,
    "num_maskmem": 3,
    "max_object_pointers_in_encoder": 5,
}
_EDGETAM = {
    "memory_attention_mlp_hidden_size": 48,
    "memory_attention_rope_k_sizes": [4, 4],
    "perceiver_resampler_num_latents": 16,
    "perceiver_resampler_num_latents_2d": 16,
    "perceiver_resampler_mlp_intermediate_size": 32,
    "perceiver_resampler_num_layers": 1,
}


def _prompts(side: int, patch: int) -> dict[str, int]:
    return {"hidden_size": _CHANNELS, "image_size": side, "patch_size": patch, "mask_input_channels": 4}


def tracker_config(kind: str) -> Any:
    """The configuration of a network of a million numbers.

    Its kind is `sam2_video`, `sam2.0_video`, `edgetam_video` or `sam3_tracker_video`.
    """
    if kind == "sam3_tracker_video":
        return transformers.Sam3TrackerVideoConfig(
            vision_config=VIT,
            image_size=SIDE_3,
            prompt_encoder_config=_prompts(SIDE_3, 14),
            memory_attention_feed_forward_hidden_size=48,
            **_MEMORY,
        )
    more = {
        "vision_config": HIERA,
        "image_size": SIDE,
        "prompt_encoder_config": _prompts(SIDE, 16),
        "memory_attention_rope_feat_sizes": _LEVELS[-1],
        **_MEMORY,
    }
    if kind == "edgetam_video":
        return with_repvit(transformers.EdgeTamVideoConfig(**{**more, **_EDGETAM, "vision_config": REPVIT}))
    if kind == "sam2.0_video":  # before 2.1 they had no such things
        more |= {"enable_temporal_pos_encoding_for_object_pointers": False, "enable_occlusion_spatial_embedding": False}
    return transformers.Sam2VideoConfig(memory_attention_feed_forward_hidden_size=48, **more)


def random_tracker(kind: str, seed: int = 0) -> Any:
    """A network of transformers whose every weight is random, and to which every object is visible."""
    torch.manual_seed(seed)
    config = tracker_config(kind)
    network = transformers.AutoModel.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" not in name and "vision_encoder" not in name:
                parameter.normal_(0, 0.1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5)
        network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(6.0)
    return network


def whole_sam3() -> Any:
    """SAM 3 for videos, random and tiny: a detector that reads words, and the tracker."""
    text = {"model_type": "clip_text_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "projection_dim": 32, "vocab_size": 64, "max_position_embeddings": 32,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    part = {"hidden_size": _CHANNELS, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    detector = {
        "model_type": "sam3",
        "vision_config": VIT,
        "text_config": text,
        "geometry_encoder_config": part,
        "detr_encoder_config": part,
        "detr_decoder_config": {**part, "num_queries": 4},
        "mask_decoder_config": {"hidden_size": _CHANNELS, "num_attention_heads": 2},
    }
    torch.manual_seed(0)
    tracker = tracker_config("sam3_tracker_video").to_dict()
    return transformers.Sam3VideoModel(transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker))


def saved_tracker(kind: str, folder: Path, seed: int = 0) -> str:
    """The same in a folder, as transformers saves it."""
    random_tracker(kind, seed).save_pretrained(folder)
    return str(folder)


Answer = Callable[[int, int, np.ndarray | None], tuple[np.ndarray | None, float]]


class ScriptedMemory:
    """A propagator that answers what the test says, and keeps what it was told.

    Args:
        answer: from (number of the frame, number of the object, its last mask) to the mask in this frame (None: the
            last one) and log odds that it is visible.

    Attributes:
        prompts: (frame, object, whether it was given) of every prompt, in order.
        asked: (frame, object) of every question.
    """

    name = "script"

    def __init__(self, answer: Answer = lambda frame, number, last: (None, 6.0)) -> None:
        self.answer = answer
        self.frame = -1
        self.size = (0, 0)
        self.masks: dict[int, np.ndarray] = {}
        self.prompts: list[tuple[int, int, bool]] = []
        self.asked: list[tuple[int, int]] = []

    def begin(self) -> ScriptedMemory:
        self.__init__(self.answer)  # type: ignore[misc]
        return self

    def show(self, pixels: np.ndarray) -> None:
        self.frame += 1
        self.size = pixels.shape[:2]

    def prompt(self, number: int, mask: np.ndarray, *, given: bool = False) -> None:
        assert mask.shape == self.size
        assert mask.any()
        self.masks[number] = mask
        self.prompts.append((self.frame, number, given))

    def carry(self, number: int) -> Carried:
        self.asked.append((self.frame, number))
        mask, presence = self.answer(self.frame, number, self.masks[number])
        mask = self.masks[number] if mask is None else mask
        return Carried(np.where(mask, 8.0, -8.0).astype(np.float32), presence)
