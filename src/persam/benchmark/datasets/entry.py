"""What is said of a data set: an entry of the catalogue, and its options."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.benchmark.episodes import Loaded

#: How the published protocol sums photos up: intersection and union pooled per object, then the mean over objects
#: (PerSeg); pooled per class, then the mean over classes of a fold and over folds (HSNet); J&F per object of a video,
#: then the mean over objects (DAVIS); IoU per photo, then the mean over photos.
Measure = Literal["object-pooled", "class-pooled", "j-and-f", "image"]


@dataclass(frozen=True)
class Option:
    """What a caller may choose: a keyword of the loader, and an option of the command line.

    Attributes:
        name: the keyword; on the command line ``--name`` with ``-`` for ``_``.
        kind: int or str.
        default: None where the data set decides by what it finds.
        choices: the only values, or () for any.
        smallest: of an int.
    """

    name: str
    kind: type
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    smallest: int | None = None

    def check(self, value: Any, title: str) -> None:
        """Raise `UsageError` unless the value is one of those allowed."""
        if type(value) is not self.kind:
            raise UsageError(f"{self.name} of {title} is a {_WORDS[self.kind]}, not {value!r}.")
        if self.choices and value not in self.choices:
            known = ", ".join(str(choice) for choice in self.choices)
            raise UsageError(f"{title} has no {self.name} {value}; choose {known}.")
        if self.smallest is not None and isinstance(value, int) and value < self.smallest:
            raise UsageError(f"{self.name} of {title} is at least {self.smallest}, not {value}.")


_WORDS = {int: "whole number", str: "word"}


@dataclass(frozen=True)
class DatasetEntry:
    """One data set.

    Attributes:
        name: as on the command line: ``perseg``.
        title: as in papers: ``PerSeg``.
        reader: the function that reads it, ``module:function`` in this package; called with the root and options.
        origin: paper and page, in words and URL.
        layout: the folder that is expected, as unpacked.
        protocol: what is asked of a method, and how it is summed up.
        measure: the same for programs.
        folds: how many, 0 for none.
        licence: its terms, as far as known.
    """

    name: str
    title: str
    reader: str
    origin: str
    layout: str
    protocol: str
    measure: Measure
    folds: int
    licence: str
    options: tuple[Option, ...]

    def read(self, root: Path, **options: Any) -> Loaded:
        """Read it. Options that are None count as not given.

        Raises:
            UsageError: the folder is laid out otherwise, or an option is unknown or out of range.
        """
        known = {option.name: option for option in self.options}
        given = {name: value for name, value in options.items() if value is not None}
        for name, value in given.items():
            if name not in known:
                raise UsageError(f"{self.title} takes no {name}; it takes {', '.join(known)}.")
            known[name].check(value, self.title)
        if not root.is_dir():
            title = self.title.removeprefix("a folder of ").removesuffix(" folder")
            raise UsageError(f"There is no folder {root}; give the folder of {title}, with {self.layout}.")
        module, function = self.reader.split(":")
        loaded: Loaded = getattr(importlib.import_module(f"persam.benchmark.datasets.{module}"), function)(
            root, **{option.name: option.default for option in self.options} | given
        )
        return loaded
