"""An extension of Griffe: doctests in docstrings become code blocks, without the remarks that are for doctest."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class DoctestFences(Extension):
    """Put fences around what begins with ``>>>``."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change an object's docstring, if it has one."""
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            text = re.sub(r" *# doctest: .*", "", obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(lambda block: f"```pycon\n{block[0]}\n```", text)

    def on_package(self, *, pkg: Object, **_: Any) -> None:
        """Do the same for the package itself, which is not among its objects."""
        self.on_object(obj=pkg)
