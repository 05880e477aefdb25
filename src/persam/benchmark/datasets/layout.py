"""What the loaders share: looking for folders and photos, pairing them with masks, saying what was looked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from persam.benchmark.episodes import MaskFile, Sample
from persam.errors import UsageError
from persam.images import IMAGE_SUFFIXES
from persam.words import counted

_DEPTH = 2  # archives unpack into a folder, some into one more
_NAMED = 5  # so many are named in a sentence, the others counted


def in_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key of names as people number them: 2 before 10, equal on every file system."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder`, in order; hidden ones and what macOS adds to archives left out."""
    if not folder.is_dir():
        return []
    entries = (entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX")))
    return sorted(entries, key=in_order)


def unpacked(root: Path, marker: str, expected: str) -> Path:
    """The folder that holds `marker` (``"JPEGImages/480p"``): `root`, or one to which an archive unpacked in it.

    Raises:
        UsageError: there is none, or several that cannot be told apart.
    """
    level = [root]
    for _ in range(_DEPTH + 1):
        found = [folder for folder in level if (folder / marker).exists()]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{root} holds several folders with {marker}: {some(found)}; give one of them.")
        level = [inner for folder in level for inner in subfolders(folder)]
    raise wrong_layout(root, expected)


class LayoutError(UsageError):
    """The folder is something else than this data set."""


def wrong_layout(root: Path, expected: str) -> LayoutError:
    """The sentence for a folder that is something else."""
    return LayoutError(f"{root} is not laid out as expected: looked for {expected}.")


def photos(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The pictures in a folder (by suffix), in order, hidden ones left out.

    Raises:
        UsageError: two have one name but for the suffix, so that a mask would belong to both.
    """
    if not folder.is_dir():
        return []
    entries = (entry for entry in folder.iterdir() if entry.suffix.lower() in suffixes and entry.is_file())
    found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=in_order)
    stems: dict[str, Path] = {}
    for entry in found:
        if entry.stem in stems:
            raise UsageError(f"{stems[entry.stem]} and {entry.name} have one name; keep one of them.")
        stems[entry.stem] = entry
    return found


def sample(
    name: str, photo: Path, mask: Path, value: int | None = None, ignored: int | None = None, orientation: int = 1
) -> Sample:
    """A photo and the picture of its mask.

    Raises:
        UsageError: there is no such mask.
    """
    if not mask.is_file():
        raise UsageError(f"{photo} has no mask: looked for {mask}.")
    return Sample(name, photo, MaskFile(mask, value, ignored, orientation))


def masks_alone(masks: Iterable[Path], photographed: Iterable[Path]) -> list[Path]:
    """Those masks whose photo is not there."""
    stems = {photo.stem for photo in photographed}
    return [mask for mask in masks if mask.stem not in stems]


def passed_over(what: str, things: Sequence[object]) -> list[str]:
    """The note on what is left out of a data set, if there is any."""
    return [f"passed over: {what} ({some(things)})"] if things else []


def choose_references(
    samples: Sequence[Sample], shots: int, reference: str = "auto", *, otherwise: str | None = None
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split an object's samples: `shots` references from the one named on (going round), and the tests.

    Args:
        samples: of one object, in order.
        shots: how many references.
        reference: name of the photo without its suffix, or ``auto``: the one named `otherwise` if there is one, else
            the first.
        otherwise: see `reference`.

    Raises:
        UsageError: there is no photo of that name, or its mask shows nothing.
    """
    names = [each.photo.stem for each in samples]
    if reference == "auto":
        first = names.index(otherwise) if otherwise in names else 0
    elif reference in names:
        first = names.index(reference)
    else:
        raise UsageError(f"{samples[0].photo.parent} has no photo {reference}, which was to be the reference.")
    turned = [*samples[first:], *samples[:first]]
    references = tuple(turned[:shots])
    for each in references:
        check_reference(each)
    chosen = {each.name for each in references}
    return references, tuple(each for each in samples if each.name not in chosen)


def check_reference(each: Sample) -> None:
    """Raise `UsageError` if its mask shows nothing, from which no method can learn."""
    if not each.read()[1].any():
        raise UsageError(f"The mask of {each.photo} is empty, so it cannot be a reference; name another photo.")


def some(things: Sequence[object]) -> str:
    """The first few, and how many more: ``a, b, c and 4 more``."""
    named = ", ".join(str(thing) for thing in things[:_NAMED])
    return named if len(things) <= _NAMED else f"{named} and {len(things) - _NAMED} more"


def read_list(file: Path) -> list[str]:
    """The lines of a list of names, blank ones left out, each once.

    Raises:
        UsageError: it is no text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no list of names; give a text file with a name a line.") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def words(name: str) -> str:
    """A folder's name as words: ``duck_toy`` is "duck toy"."""
    return " ".join(re.split(r"[_\s]+", name)).strip()


def shots_in_words(shots: int) -> str:
    """``1 reference`` or ``3 references``."""
    return counted(shots, "reference")
