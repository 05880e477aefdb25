"""Photos to try the studio with: those of `persam demo`, where scikit-image is installed. It works without."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from persam.demo.albums import layouts_of, make_photo
from persam.demo.originals import LONGEST_SIDE, THINGS, original, photo_folder
from persam.errors import PersamError
from persam.geometry import fit
from persam.reports.pictures import write_image
from persam.studio.workshop import Workshop


@cache
def example_things() -> tuple[str, ...]:
    """The things whose photos are there to try, such as ``"cup"``; none where the extra ``demo`` is not installed."""
    try:
        folder = photo_folder()
    except PersamError:
        return ()
    return tuple(thing for thing, photo in THINGS.items() if (folder / photo).is_file())


def example_photo(workshop: Workshop, thing: str) -> Path:
    """A photo that shows one of `example_things`, as a file of this run.

    Raises:
        PersamError: scikit-image lacks it, or the disk is full.
    """
    file = _home(workshop) / f"{thing}.jpg"
    if not file.exists():
        write_image(file, fit(original(THINGS[thing]), LONGEST_SIDE))
    return file


def example_album(workshop: Workshop, thing: str) -> list[Path]:
    """Half a dozen other photos, most of them with the thing, as files of this run; made in a second, once.

    Raises:
        PersamError: scikit-image lacks a photo that they are made from, or the disk is full.
    """
    files = [_home(workshop) / f"{thing}-album" / f"{layout.name}.jpg" for layout in layouts_of(thing)]
    for file, layout in zip(files, layouts_of(thing), strict=True):
        if not file.exists():
            write_image(file, make_photo(layout, thing).pixels)
    return files


def _home(workshop: Workshop) -> Path:
    return workshop.folder / "examples"
