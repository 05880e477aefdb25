"""Mask R-CNN (arXiv 1703.06870) of torchvision, pretrained on COCO and fine-tuned on the reference.

The annotation study's baseline. torchvision is not among persam's dependencies: it must fit the installed torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from persam.benchmark.methods.base import Prediction, SharedPhoto, to_size
from persam.benchmark.methods.training import TrainedMethod, fitted, to_tensor
from persam.errors import PersamError, first_line

FIRST_SCORE = 0.5  # from which on the object counts as present
OBJECT = 1  # class 0 is the background


class MaskRcnn(TrainedMethod):
    """`maskrcnn_resnet50_fpn` with heads for one class, trained anew for every object.

    Args:
        checkpoint: a file with weights of the whole network of 91 classes, as torchvision publishes them (``.pth``,
            read without unpickling); None: torchvision's own, from its hub.
        pretrained: False starts from random weights.
        device, seed, options: as of `TrainedMethod`.

    Raises:
        PersamError: torchvision cannot be imported, or the weights are not to be had.
    """

    name = "mask-rcnn"
    STEPS, BATCH, SIDE, rate = 60, 2, 512, 1e-4

    def __init__(
        self,
        *,
        checkpoint: str | None = None,
        device: str = "auto",
        seed: int = 0,
        pretrained: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(checkpoint, device, seed, **options)
        self.library = import_torchvision()
        self.pretrained = pretrained
        self._weights = self._read_weights() if pretrained else None

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        coco = "COCO, torchvision's default weights"
        return {
            "method": "Mask R-CNN",
            "network": f"torchvision {self.library.__version__}, maskrcnn_resnet50_fpn",
            **super().describe(),
            "checkpoint": (self.checkpoint or coco) if self.pretrained else None,
        }

    def loss(self, network: nn.Module, pixels: Tensor, masks: Tensor) -> Tensor:
        """See `TrainedMethod.loss`: the sum of torchvision's own."""
        losses = network(list(pixels), [_target(mask > 0.5) for mask in masks])
        total: Tensor = sum(losses.values())
        return total

    @torch.inference_mode()
    def find(self, photo: SharedPhoto, learned: Any) -> Prediction:
        """See `Method.find`."""
        found = learned([to_tensor(photo.pixels, fitted(photo.size, self.side), self.device)])[0]
        if len(found["scores"]) == 0:
            return Prediction.nothing(photo)
        best = int(found["scores"].argmax())
        probability = to_size(found["masks"][best, 0], photo.size).cpu().numpy()
        row, column = np.unravel_index(int(probability.argmax()), photo.size)
        score = float(found["scores"][best])
        return Prediction(probability > 0.5, score, score > FIRST_SCORE, (float(column), float(row)))

    def network(self) -> Any:
        """A network for one class; what it knows of COCO is in all but the last layer of its heads."""
        detection = self.library.models.detection
        network = detection.maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, min_size=self.side, max_size=self.side
        )
        if self._weights is not None:
            network.load_state_dict(self._weights)
        box, mask = network.roi_heads.box_predictor, network.roi_heads.mask_predictor
        network.roi_heads.box_predictor = detection.faster_rcnn.FastRCNNPredictor(box.cls_score.in_features, OBJECT + 1)
        network.roi_heads.mask_predictor = detection.mask_rcnn.MaskRCNNPredictor(
            mask.conv5_mask.in_channels, mask.conv5_mask.out_channels, OBJECT + 1
        )
        return network

    def _read_weights(self) -> Any:
        if self.checkpoint is None:
            weights = self.library.models.detection.MaskRCNN_ResNet50_FPN_Weights.DEFAULT
            try:
                return weights.get_state_dict(progress=False, check_hash=True)
            except (OSError, RuntimeError) as error:
                raise PersamError(
                    f"torchvision's weights of Mask R-CNN are not on this machine and cannot be had "
                    f"({first_line(error)}); check the network, or name a file of them."
                ) from error
        path = Path(self.checkpoint)
        if not path.is_file():
            raise PersamError(f"There is no file {path} with weights of Mask R-CNN; check the path.")
        try:
            self._weights = torch.load(path, map_location="cpu", weights_only=True)
            self.network()
        except Exception as error:  # unpickling a foreign file can fail in any way
            raise PersamError(
                f"{path} holds no weights of torchvision's maskrcnn_resnet50_fpn: {first_line(error)}"
            ) from error
        return self._weights


def _target(mask: Tensor) -> dict[str, Tensor]:
    """What torchvision wants to know of a view: the object's box, class and mask, or that there is none."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if len(rows) == 0:
        return {
            "boxes": torch.zeros(0, 4, device=mask.device),
            "labels": torch.zeros(0, dtype=torch.int64, device=mask.device),
            "masks": torch.zeros(0, *mask.shape, dtype=torch.uint8, device=mask.device),
        }
    box = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return {
        "boxes": box[None].float(),
        "labels": torch.full((1,), OBJECT, device=mask.device),
        "masks": mask[None].to(torch.uint8),
    }


def import_torchvision() -> Any:
    """Import torchvision with its detection models.

    Raises:
        PersamError: it is missing, or does not fit the installed torch.
    """
    try:
        importlib.import_module("torchvision.models.detection")
        library = importlib.import_module("torchvision")
        library.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)  # its compiled part may be missing all the same
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise PersamError(
            f"The method mask-rcnn needs torchvision, which cannot be imported here ({first_line(error)}); install the "
            f"one that fits torch {torch.__version__}: pip install torchvision."
        ) from error
    return library
