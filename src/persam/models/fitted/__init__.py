"""What was fitted for an encoder: how much each cue says, how sure an answer is, whether refinement pays.

Numbers of packaged models lie in `fitted.json`; for another model, or a model with another encoder, `python -m
training.fit` makes such a file.  Without them the confidence map is the paper's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from persam.errors import PersamError
from persam.models.base import FeatureEncoder
from persam.models.fingerprint import known_as
from persam.models.identity.network import identity_fingerprint

PACKAGED = Path(__file__).with_name("fitted.json")
PHOTO_COLOURS = Path(__file__).with_name("photo_colours.npy")

_LARGEST = 1e9  # log odds far beyond any that are fitted; neither NaN nor infinity


@dataclass(frozen=True)
class Fitted:
    """Numbers of one encoder.

    Attributes:
        cues: weight of every cue in the log odds of a cell.
        offset: added to them.
        refine: whether masks gain from being refined on the photo's pixels (a coarse decoder's do).
        presence: of every sign that the thing is there (`method/find.py`), its weight in the log odds of the score
            and its usual value.
        presence_offset: added to them.
        presence_afar, presence_afar_offset: the same of the signs from afar (`method/afar.py`); without any, nothing is
            learned from there.
        identity: fingerprint of the identity network that the signs are of (`models/identity/`); with another one, or
            with "", that sign is silent.
    """

    cues: Mapping[str, float] = field(hash=False)
    offset: float
    refine: bool
    presence: Mapping[str, tuple[float, float]] = field(hash=False)
    presence_offset: float
    presence_afar: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    presence_afar_offset: float = 0.0
    identity: str = ""

    @property
    def compares_identities(self) -> bool:
        """Whether the sign `identity` says something: it was fitted, with the network that there is."""
        return self.identity == identity_fingerprint()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Fitted:
        """From `to_dict`; what else is there is ignored.

        Raises:
            KeyError, TypeError, ValueError: something is missing, or no number.
        """
        cues = {str(name): _number(weight) for name, weight in values["cues"].items()}
        presence, afar = (
            {str(name): (_number(weight), _number(usual)) for name, (weight, usual) in signs.items()}
            for signs in (values["presence"], values.get("presence_afar", {}))  # persam 0.1.0 may lack the latter
        )
        if not isinstance(values["refine"], bool):
            raise TypeError(f"refine is {values['refine']!r}, not true or false")
        offsets = values["offset"], values["presence_offset"], values.get("presence_afar_offset", 0.0)
        offset, presence_offset, afar_offset = (_number(each) for each in offsets)
        identity = values.get("identity", "")
        if not isinstance(identity, str):
            raise TypeError(f"identity is {identity!r}, not a fingerprint")
        return cls(cues, offset, values["refine"], presence, presence_offset, afar, afar_offset, identity)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise ValueError(f"{ascii(value)[:40]} is not a number")
    return float(value)


def fitted_for(model: FeatureEncoder, encoder: FeatureEncoder | None, path: Path = PACKAGED) -> Fitted | None:
    """The numbers of a model, with another encoder for the confidence map or with its own; or None.

    Raises:
        PersamError: there is no such file, or it is something else.
    """
    numbers = read_fitted(path)
    names = product(*(known_as(each) for each in (model, encoder) if each is not None))
    return next((numbers[key] for key in map("+".join, names) if key in numbers), None)


def fitted_in(path: str | Path, model: FeatureEncoder, encoder: FeatureEncoder | None) -> Fitted:
    """The numbers that a file has of a model, with another encoder for the confidence map or with its own.

    Raises:
        PersamError: it has none, there is no such file, or it is something else.
    """
    numbers = fitted_for(model, encoder, Path(path))
    if numbers is None:
        raise PersamError(f"{path} has no numbers of this model and encoder; fit them with training.fit.")
    return numbers


def key_of(model: FeatureEncoder, encoder: FeatureEncoder | None) -> str:
    """What numbers belong to: cues to the encoder, refinement to the model's masks, the score to both."""
    return model.fingerprint if encoder is None else f"{model.fingerprint}+{encoder.fingerprint}"


@cache
def read_fitted(path: Path) -> dict[str, Fitted]:
    """A file of fitted numbers, by `key_of`.

    Raises:
        PersamError: there is no such file, or it is something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {fingerprint: Fitted.from_dict(entry) for fingerprint, entry in entries.items()}
    except OSError as error:
        raise PersamError(f"{path} cannot be read ({error.strerror or error}); make it with training.fit.") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PersamError(f"{path} holds no fitted numbers ({error}); make it with training.fit.") from error


@cache
def photo_colours() -> np.ndarray:
    """How common every Lab colour is in photos in general: cube of as many bins as `method/cues.py` counts, sum 1."""
    counts = np.load(PHOTO_COLOURS).astype(np.float32)
    return np.asarray(counts / counts.sum(), np.float32)
