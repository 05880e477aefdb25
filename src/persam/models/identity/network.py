"""A thing's identity: one unit vector of a thing that is cut out of its photo, near to those of the same thing.

The encoder of a promptable model sees a photo as a whole and tells its cells apart.  What was found has to be told
apart as a whole, too, from all that is like it in some cells; as people and cars are known again from one camera to the
next (re-identification).  It is asked of pixels and a mask alone, so it goes with every promptable model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from persam.models.fingerprint import check_file, record_file
from persam.models.tiny.parts import ConvNorm, ResNet
from persam.models.weights_file import in_full, read_weights, write_weights

FORMAT = "persam-identity/2"  # of the file with its weights
WEIGHTS = Path(__file__).with_name("weights.safetensors")
CHECKSUM = Path(__file__).with_name("weights.sha256")

SIDE = 64  # pixels of the square in which it sees a thing
CHANNELS = 4  # colours, and the mask: a thing may be as grey as nothing is
LENGTH = 128  # of the vector
STEM, WIDTHS, DEPTHS = 32, (32, 64, 128, 192), (2, 2, 2, 2)  # as the bundled model's encoder, from which it began
HIDDEN = 256


class IdentityNetwork(nn.Module):
    """Things, cut out and on nothing, to unit vectors.

    Attributes:
        history: what it was trained on and how it did (from the weights' file), JSON-able.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, Any] = {}
        self.body = ResNet(STEM, WIDTHS, DEPTHS, CHANNELS)
        self.head = nn.Sequential(
            nn.Linear(sum(WIDTHS[-2:]), HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LENGTH)
        )

    def forward(self, things: Tensor) -> Tensor:
        """Normalised pixels, zero where there is no thing, and its mask (B, CHANNELS, SIDE, SIDE) -> (B, LENGTH) of
        length 1."""
        seen: Sequence[Tensor] = self.body(things.contiguous(memory_format=torch.channels_last))[-2:]
        return F.normalize(self.head(torch.cat([each.mean((2, 3)) for each in seen], dim=1)), dim=1)

    def save(self, path: Path) -> None:
        """Write the weights, float16 (statistics float32), with the history; atomic."""
        write_weights(path, self.state_dict(), {"format": FORMAT, "history": json.dumps(self.history)})
        if path.resolve() == WEIGHTS:
            record_file(WEIGHTS, CHECKSUM)

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> IdentityNetwork:
        """Read weights written by `save`, as float32, ready for inference.

        Raises:
            ValueError: the file is no such file.
        """
        state, metadata = read_weights(path, FORMAT, "identity network")
        network = cls()
        network.load_state_dict(in_full(state))
        network.history = json.loads(metadata["history"])
        return network.eval()


@cache
def identity_fingerprint() -> str:
    """Of the weights that come with persam: vectors of others cannot be compared with theirs."""
    return CHECKSUM.read_text(encoding="ascii")[:12]


@cache
def identity_network() -> IdentityNetwork:
    """The one that comes with persam, on the CPU: what it sees is small.

    Raises:
        PersamError: its file is damaged.
    """
    check_file(WEIGHTS, CHECKSUM)
    network: Any = IdentityNetwork.load().requires_grad_(False)
    parts: list[Any] = [part for part in network.modules() if isinstance(part, ConvNorm)]
    for part in parts:  # quicker by a third: one thing at a time is seen, in many small steps
        part.convolution = fuse_conv_bn_eval(part.convolution, part.normalization)
        part.normalization = nn.Identity()
    quick: IdentityNetwork = network.to(memory_format=torch.channels_last)
    return quick
