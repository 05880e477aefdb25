"""Tiny random networks of the comparators' own classes, saved to folders as the hub would give them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.finders import saved_grounding_dino
from transformers.utils import logging


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    logging.disable_progress_bar()


@pytest.fixture(scope="session")
def seggpt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SegGptConfig, SegGptForImageSegmentation

    torch.manual_seed(0)
    network = SegGptForImageSegmentation(
        SegGptConfig(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=(96, 48),
            patch_size=8,
            pretrain_image_size=32,
            decoder_hidden_size=8,
            intermediate_hidden_state_indices=[1, 2, 3],
            merge_index=1,
        )
    )
    with torch.no_grad():  # as transformers starts them, the prompt would change almost nothing of the painting
        for name, parameter in network.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.02 if "position" in name or "token" in name else 0.4)
    return save(network, tmp_path_factory.mktemp("comparators") / "seggpt")


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_grounding_dino(tmp_path_factory.mktemp("comparators") / "detector")


@pytest.fixture(scope="session")
def resnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet with bottlenecks and a classifier, as ImageNet's are published."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 24, 32, 40], depths=[1, 2, 1, 1], layer_type="bottleneck")
    return save(ResNetForImageClassification(config), tmp_path_factory.mktemp("comparators") / "resnet")


def save(network, folder: Path) -> Path:
    network.save_pretrained(folder)
    return folder
