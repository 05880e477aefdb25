"""Pages that need nothing else: Jinja2 templates on one base, with its style for light and dark."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from persam.files import atomic_path
from persam.reports.pictures import embedded
from persam.words import counted

if TYPE_CHECKING:
    from jinja2 import Environment

_NOTHING = ("-", "–")
_WITH_INTERVAL = re.compile(r"(\S+) (\[[^\]]*\])(?: (.*))?", re.DOTALL)


def render(template: str, **values: Any) -> str:
    """Fill a template of the package, such as ``demo/index.html.j2``. All text is escaped: names may hold anything."""
    return _environment().get_template(template).render(values)


def write_page(path: str | Path, template: str, **values: Any) -> None:
    """Fill a template into a file, piece by piece: a page of thousands of pictures need not be in memory.

    Raises:
        PersamError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        _environment().get_template(template).stream(values).dump(str(temporary), encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # few commands write pages

    environment = Environment(
        loader=PackageLoader("persam", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["embedded"] = embedded
    environment.globals["counted"] = counted
    environment.filters["cell"] = cell
    environment.filters["duration"] = duration
    return environment


def cell(text: str) -> Markup:
    """A cell of a table for a page: a mean stands out from its interval, and from what is said of it.

    >>> print(cell("0.912 [0.90, 0.93] even"))
    <b>0.912</b> <small>[0.90, 0.93]</small> <small>even</small>
    """
    found = _WITH_INTERVAL.fullmatch(text)
    if text in _NOTHING:
        return Markup('<span class="soft">–</span>')
    if found is None:
        return Markup.escape(text)
    smaller = Markup(" ").join(Markup("<small>{}</small>").format(part) for part in found.groups()[1:] if part)
    return Markup("<b>{}</b> {}").format(found[1], smaller)


def duration(seconds: float) -> str:
    """Milliseconds or seconds, whichever reads better."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
