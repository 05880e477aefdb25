"""What a caller may choose about a data set: keywords of its reader, which are options of the command line, too.

Each is written once, in the signature of the reader: ``shots: Annotated[int, About("references per object", 1)] = 1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from persam.errors import UsageError


@dataclass(frozen=True)
class About:
    """What is said of an option beside its type and its default.

    Attributes:
        help: in a few words; None as the default means that the data set decides by what it finds.
        smallest: of a number.
    """

    help: str
    smallest: int | None = None


Shots = Annotated[int, About("references per object", 1)]
Seed = Annotated[int, About("of the random episodes", 0)]
Episodes = Annotated[int, About("random episodes per fold", 1)]
Reference = Annotated[str, About("name of the reference photo; auto: the first")]
OneOf4Folds = Annotated[Literal[0, 1, 2, 3] | None, About("one of 4 folds; all of them if not given")]


@dataclass(frozen=True)
class Option:
    """An option of a data set.

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


def options_of(reader: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of a reader: all of its arguments but the first, which is the folder."""
    hints = get_type_hints(reader, include_extras=True)
    found = []
    for parameter in list(signature(reader).parameters.values())[1:]:
        kind, about = get_args(hints[parameter.name])
        if get_origin(kind) in (Union, UnionType):
            kind = next(each for each in get_args(kind) if each is not NoneType)
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        kind = type(choices[0]) if choices else kind
        found.append(Option(parameter.name, kind, parameter.default, about.help, choices, about.smallest))
    return tuple(found)
