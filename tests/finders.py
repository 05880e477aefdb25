"""Finders by words, for tests: tiny random ones of the real classes in folders, and one that does as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.video.memories import whole_sam3

from persam.models.words import Named, words_of

BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "cat", "dog", "toy", "red", "disc"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
CLIP_WORDS = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", *_LETTERS, *(f"{letter}</w>" for letter in _LETTERS)]


def saved_grounding_dino(folder: Path) -> Path:
    """A Grounding DINO with its preprocessing and a tokenizer of twelve words."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(0)
    network = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=SwinConfig(
                image_size=64,
                embed_dim=8,
                depths=[1, 1, 1, 1],
                num_heads=[1, 1, 2, 2],
                window_size=4,
                out_features=["stage2", "stage3", "stage4"],
            ),
            text_config=BertConfig(
                vocab_size=len(BERT_WORDS),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
            ),
            d_model=64,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_queries=8,
            max_text_len=16,
        )
    )
    network.save_pretrained(folder)
    BertTokenizer(vocab={word: number for number, word in enumerate(BERT_WORDS)}).save_pretrained(folder)
    GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    return folder


def saved_sam3(folder: Path, *, tokenizer: bool = True, whole: bool = True) -> Path:
    """All of SAM 3 as the hub has it, or its detector alone, with a tokenizer that knows the letters.

    Every weight of the detector is random, so that words, places and queries all matter to what comes out.
    """
    network = whole_sam3()
    detector: Any = network.detector_model
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if "norm" not in name and "vision_encoder" not in name:
                parameter.normal_(0, 0.3 if parameter.ndim < 2 else 1.5 * parameter[0].numel() ** -0.5)
        detector.detr_decoder.presence_head.layer3.bias.fill_(6.0)  # every photo shows what is asked for
    (network if whole else detector).save_pretrained(folder)
    if tokenizer:
        clip_tokenizer().save_pretrained(folder)
    return folder


def clip_tokenizer() -> Any:
    """Letter by letter: a word of n letters has n tokens."""
    from transformers import CLIPTokenizer

    vocabulary = {word: number for number, word in enumerate(CLIP_WORDS)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], pad_token="<|pad|>")


class ScriptedFinder:
    """Finds what the test says, whatever is asked: boxes (x0, y0, x1, y1), as shares of the photo, and their scores.

    Attributes:
        asked: the size of the photo and the text of every call.
    """

    name = "script"

    def __init__(self, *found: tuple[tuple[float, float, float, float], float]) -> None:
        self.found = sorted(found, key=lambda one: -one[1])
        self.asked: list[tuple[tuple[int, int], str]] = []

    def find_words(self, image: np.ndarray, text: str) -> Named:
        height, width = image.shape[:2]
        self.asked.append(((height, width), words_of(text)))
        masks = np.zeros((len(self.found), height, width), bool)
        for mask, (box, _) in zip(masks, self.found, strict=True):
            x0, y0, x1, y1 = (round(side * share) for side, share in zip((width, height) * 2, box, strict=True))
            mask[y0:y1, x0:x1] = True
        return Named(masks, np.array([score for _, score in self.found], np.float32))

    def check_text(self, text: str) -> None:
        words_of(text)
