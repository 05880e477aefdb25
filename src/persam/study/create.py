"""Make the folder of a new study from photos that a person has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from persam.errors import UsageError, write_error
from persam.files import expanded, safe_name
from persam.finding import find_images
from persam.study.layout import ANNOTATORS, GOLD, IMAGES, MASK_SUFFIX, Study, check_distinct, is_photo, read, subfolders
from persam.words import counted

README = "README.txt"


def new(folder: str | Path, photos: Mapping[str, str | Path], annotators: Sequence[str]) -> Study:
    """Make a study: copy the photos, make a folder for every annotator's masks, and tell them what to do.

    Args:
        folder: made by this; it must not exist, or be empty.
        photos: the folder of photos of each category. They are copied, never moved.
        annotators: their names.

    Returns:
        The study, still without masks.

    Raises:
        UsageError: the folder has something in it, a category has no photos, or a name cannot be one of a folder.
        PersamError: it cannot be written; nothing is left of it then.
    """
    root = expanded(folder)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise UsageError(f"{root} is there already; name a new folder, nothing is ever overwritten.")
    people = _checked_names(annotators, "annotator")
    if GOLD in people:
        raise UsageError(f"An annotator cannot be called {GOLD!r}, which stands for the truth; choose another name.")
    chosen = {name: _photos_in(photos[name]) for name in _checked_names(list(photos), "category")}
    # Made under another name and renamed at the end, so that there is a whole study or none.
    draft = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    try:
        for category, files in chosen.items():
            (draft / category / IMAGES).mkdir(parents=True)
            for file in files:
                shutil.copyfile(file, draft / category / IMAGES / file.name)
            for person in people:
                (draft / category / ANNOTATORS / person).mkdir(parents=True)
        (draft / README).write_text(instructions(chosen, people), encoding="utf-8")
        if root.exists():
            root.rmdir()
        draft.replace(root)
    except OSError as error:
        raise write_error(root, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return read(root)


def photo_folders(given: Sequence[str]) -> dict[str, Path]:
    """Read ``CATEGORY=DIR``, or ``DIR`` with one subfolder a category, each as often as wanted.

    Raises:
        UsageError: there is no such folder, no subfolder in it, or a category comes twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        folder = expanded(text)
        if equals and not folder.is_dir():
            pairs = [(name, expanded(place))]
        elif not folder.is_dir():
            raise UsageError(f"There is no folder {folder}; give CATEGORY=DIR, or a folder with one folder a category.")
        else:
            pairs = [(child.name, child) for child in subfolders(folder)]
            if not pairs:
                raise UsageError(
                    f"There are no folders in {folder}; for photos of one category give CATEGORY={folder}."
                )
        for category, source in pairs:
            if category in found:
                raise UsageError(f"The category {category!r} is named twice: {found[category]} and {source}.")
            found[category] = source
    return found


def instructions(photos: Mapping[str, Sequence[Path]], annotators: Sequence[str]) -> str:
    """What the annotators are told, in the study's README.txt."""
    category, files = next(iter(photos.items()))
    person, photo = annotators[0], files[0]
    return _INSTRUCTIONS.format(
        total=counted(sum(len(files) for files in photos.values()), "photo"),
        photos="\n".join(f"  {name}: {counted(len(files), 'photo')}" for name, files in photos.items()),
        annotators=", ".join(annotators),
        photo=f"{category}/{IMAGES}/{photo.name}",
        mask=f"{category}/{ANNOTATORS}/{person}/{photo.stem}{MASK_SUFFIX}",
        person=person,
        gold=GOLD,
        suffix=MASK_SUFFIX,
    )


def _photos_in(folder: str | Path) -> list[Path]:
    place = expanded(folder)
    if not place.is_dir():
        raise UsageError(f"There is no folder {place}; give a folder of photos.")
    files = [file for file in find_images([place]) if isinstance(file, Path) and is_photo(file)]
    check_distinct(files)
    return files


def _checked_names(names: Sequence[str], what: str) -> list[str]:
    cleaned = [name.strip() for name in names if name.strip()]
    if not cleaned:
        raise UsageError(f"No {what} was named; give at least one.")
    for name in cleaned:
        if safe_name(name) != name or name.startswith("."):
            raise UsageError(f"The {what} {name!r} cannot be the name of a folder; choose another name.")
    if len({name.casefold() for name in cleaned}) < len(cleaned):
        raise UsageError(f"Two of {', '.join(cleaned)} are the same {what}; give each a name of its own.")
    return cleaned


_INSTRUCTIONS = """\
What is asked of you
====================

You and the others mask the same {total}, each on your own. Your masks are then compared with each other, and
with masks that a program makes after it was shown one of yours. Nobody is marked: where people differ is the result.

Photos
{photos}
Annotators
  {annotators}

How to do it
1. Open a photo, such as {photo}.
2. Mark the object, all of it and nothing else, with any tool: click on it in a tool that has SAM (points and boxes are
   prompts to it) and add prompts until you are content, or paint it by hand. Do not look at the others' masks.
3. Save the mask as a PNG picture: the object white (255), all else black (0), of exactly the size of the photo in
   pixels. Do not crop, resize or turn it.
4. Name it like its photo, with the ending {suffix}, in your own folder. For {person} the mask of that photo is
     {mask}
5. If a photo does not show the object, make no mask for it and tell the person who runs the study.

The first photo of each category, by name, is the one that the program is shown, with your mask: take special care
with it. True masks, if there are any, lie in CATEGORY/{gold}/ under the same names; they are for the evaluation only.

Steps 1 to 4 are done for you on the page that `persam studio --study .` opens: it shows one photo after another, saves
each mask in its place, and records how long it took.

For the person who runs the study
  persam studio --study .   opens that page
  persam study check .      says which masks are missing or cannot be used
  persam study run .        compares, and writes the report
"""
