"""How an encoder is asked for: its name and, behind every @, what it is to do otherwise than usual.

`facebook/dinov2-base@layers=9,12@windows=2` goes wherever a name goes: on the command line, into a concept, a report.
A name that was recorded says all of it: what it leaves out was not done.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from persam.errors import UsageError

KEPT, REMOVED = "kept", "removed"
MOST_WINDOWS = 8  # along a side; the cells of 8 x 8 photos are compared one by one
LARGEST_SIZE = 8192  # pixels

_OPTION = re.compile(r"@(?=[a-zA-Z]+=)")


@dataclass(frozen=True)
class EncoderName:
    """The parts of an encoder's name. None, or no layers: as is usual for this encoder.

    Attributes:
        base: hub id or local folder.
        layers: whose features are taken, counted from 1, ascending; none: the last one's.
        windows: along a side; each sees its part of the photo as large as the whole photo is usually seen.
        size: pixels of the side of the square that has as many pixels as what the encoder sees at once.
        positions: ``kept`` in the features, or ``removed`` from them.
    """

    base: str
    layers: tuple[int, ...] = ()
    windows: int = 1
    size: int | None = None
    positions: str | None = None

    @classmethod
    def read(cls, text: str) -> EncoderName:
        """Take a name apart.

        Raises:
            UsageError: no name, an option that there is not, twice the same one, or a value that it does not take.
        """
        parts = _OPTION.split(text)
        starts = ("@".join(parts[:count]) for count in range(len(parts), 0, -1))
        # A folder may be called anything, also as if it had options.
        base = next((start for start in starts if os.path.exists(start)), parts[0])  # noqa: PTH110 (any length)
        options = _OPTION.split(text[len(base) :])[1:]
        if not base:
            raise UsageError(f"{text!r} names no encoder; write its name first, such as facebook/dinov2-base.")
        values: dict[str, Any] = {}
        for option in options:
            name, _, value = option.partition("=")
            if name not in _READERS:
                raise UsageError(f"{text}: an encoder has no option @{name}; it takes {_FORMS}.")
            if name in values:
                raise UsageError(f"{text} gives @{name} twice; give it once.")
            values[name] = _READERS[name](value)
            if values[name] is None:
                raise UsageError(f"{text}: @{name} does not take {value!r}; write {_EXAMPLES[name]}.")
        return cls(base, **values)

    def __str__(self) -> str:
        return "@".join([self.base, *self.options])

    @property
    def options(self) -> list[str]:
        """What is otherwise than usual, as it is written."""
        written = {
            "layers": ",".join(map(str, self.layers)),
            "windows": "" if self.windows == 1 else str(self.windows),
            "size": str(self.size or ""),
            "positions": self.positions or "",
        }
        return [f"{name}={value}" for name, value in written.items() if value]


def recorded(text: str) -> str:
    """The name by which to load an encoder that was recorded, in a concept for example.

    Before positions were removed from DINOv3's features, nothing was recorded of them; they were kept.
    """
    name = EncoderName.read(text)
    return text if name.positions else f"{text}@positions={KEPT}"


def _whole(largest: int) -> Callable[[str], int | None]:
    def read(value: str) -> int | None:
        return int(value) if value.isdecimal() and 1 <= int(value) <= largest else None

    return read


def _layers(value: str) -> tuple[int, ...] | None:
    layers = [_whole(10_000)(part) for part in value.split(",")]
    known = {layer for layer in layers if layer is not None}
    return tuple(sorted(known)) if len(known) == len(layers) else None


def _positions(value: str) -> str | None:
    return value if value in {KEPT, REMOVED} else None


_READERS: dict[str, Callable[[str], Any]] = {
    "layers": _layers,
    "windows": _whole(MOST_WINDOWS),
    "size": _whole(LARGEST_SIZE),
    "positions": _positions,
}
_EXAMPLES = {
    "layers": "layers with commas between them, each once, such as @layers=9,12",
    "windows": f"how many windows a side has, 1 to {MOST_WINDOWS}, such as @windows=2",
    "size": f"pixels of a side, up to {LARGEST_SIZE}, such as @size=768",
    "positions": f"@positions={KEPT} or @positions={REMOVED}",
}
_FORMS = f"@layers=9,12, @windows=2, @size=768 and @positions={KEPT}"
