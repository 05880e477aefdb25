"""Photos of many things at once: id masks, and a JSON that names the physical thing behind every id."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from persam.benchmark.datasets.layout import in_order, passed_over, photos, some, words
from persam.benchmark.datasets.options import About
from persam.benchmark.episodes import Episode, Loaded, MaskFile, Sample, Truth, read_labels
from persam.errors import UsageError
from persam.files import expanded, safe_name
from persam.images import IMAGE_SUFFIXES

LAYOUT = "SET/STEM.webp (or .jpg, ...) with SET/STEM.png, and objects.json or another JSON that --objects names"
_DEFAULT = "objects.json"
_IGNORED = 255
_SCENE_ENDS = "__"  # bin070__0 and bin070__1 are of one scene

#: Names by set and stem; entry i is the thing of id i + 1.
Named = dict[str, dict[str, Sequence[str]]]


@dataclass(frozen=True)
class SeveralIds:
    """The truth of a thing that has several ids in one mask: all of them.

    Attributes:
        parts: one an id, of the same file.
    """

    parts: tuple[MaskFile, ...]

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """See `Truth.read`."""
        return reduce(np.logical_or, (part.read(shape) for part in self.parts))

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """See `Truth.read_ignore`."""
        return self.parts[0].read_ignore(shape)

    def digest(self) -> str:
        """See `Truth.digest`."""
        return " ".join(part.digest() for part in self.parts)


@dataclass(frozen=True)
class _Seen:
    """A thing in a photo, and the share of the photo that it covers."""

    sample: Sample
    share: float


@dataclass
class _Set:
    """What is here of a set: its photos, and the views of every thing; `hidden` ones are named but not to be seen."""

    photos: list[Path] = field(default_factory=list)
    views: dict[str, list[_Seen]] = field(default_factory=lambda: defaultdict(list))
    hidden: dict[str, set[Path]] = field(default_factory=lambda: defaultdict(set))

    @cached_property
    def has_scenes(self) -> bool:
        """Whether any thing is in two; else the scenes are videos of one thing each, whose frames must do."""
        return any(len({_scene(view.sample.photo) for view in views}) > 1 for views in self.views.values())


def read_things(
    root: Path,
    objects: Annotated[str | None, About(f"JSON with the names of the things; {_DEFAULT} in the folder")] = None,
    part: Annotated[str | None, About("photos of this part alone, as the JSON has it: train, val")] = None,
    names: Annotated[
        Literal["objects", "classes"], About("list of the JSON that names the ids: physical things, or their kinds")
    ] = "objects",
) -> Loaded:
    """Every thing that is seen in two photos or more: one shows it, in the others it is found.

    A set is a folder of photos, each with an id mask of its name (0 background, 1 and above things, 255 pixels that do
    not count); the photo may not be a ``.png`` itself. The JSON names the things, entry i that of id i + 1; a name may
    come twice in a photo, and then all of its ids are the thing::

        {SET: {"items": {STEM: {"part": "val", "objects": ["mug", "key", "key"]}}}}

    Items without ``objects`` are left out: nobody knows what they show. The reference is the photo that the thing
    covers most of. What stands before ``__`` in a stem is the scene. Photos of the reference's scene are no tests,
    unless no thing of the set is in two scenes, as in a video of each.

    With `names` ``classes`` that list of an item is read instead, so that a thing is all of its kind in a photo; the
    reference is then a photo with one of them alone, if there is any.

    Where absent things are looked for, a thing is not asked about in photos of other sets, whose things have other
    names, nor in those of its reference's scene, nor where the JSON names it but the mask shows none of it.

    Raises:
        UsageError: the JSON is missing, damaged, names nothing or not what is in the masks; a photo has no mask; no
            thing can be found in a second photo.
    """
    path = root / _DEFAULT if objects is None else expanded(objects)
    named = _of_part(_read_names(path, root, names), path, part, names)
    sets: dict[str, _Set] = {}
    gone: list[str] = []
    for name, items in named.items():
        sets[name], missing = _look(root / name, name, items, path)
        gone += [f"{name}/{stem}" for stem in missing]
    if not any(each.photos for each in sets.values()):
        raise UsageError(f"{root} has none of the photos that {path} names: looked for such as {gone[0]}.webp.")
    episodes: list[Episode] = []
    spent: list[str] = []
    for name, found in sets.items():
        elsewhere = {photo for other in sets.values() if other is not found for photo in other.photos}
        for thing in sorted(found.views):
            episode = _episode(f"{name}/{thing}", words(thing), found, thing, elsewhere, alone_first=names == "classes")
            if episode.tests:
                episodes.append(episode)
            else:
                spent.append(episode.object)
    if not episodes:
        raise UsageError(f"No thing that {path} names is seen in two photos here, so there is nowhere to find one.")
    notes = passed_over("photos of the JSON that are not here", gone)
    notes += passed_over("things seen once, or in one scene alone", spent)
    if videos := [name for name, found in sets.items() if found.photos and not found.has_scenes]:
        notes.append(f"sets in which no thing is in two scenes, so that tests are of the reference's: {some(videos)}")
    one = ", of those with one of them alone" if names == "classes" else ""
    pictures = {each.photo for episode in episodes for each in (*episode.references, *episode.tests)}
    return Loaded(
        "things",
        tuple(episodes),
        f"{len(episodes)} things in {len(pictures)} photos{'' if part is None else f' of part {part}'}, 1 reference "
        f"each (the photo that it covers most of{one}), every photo of another scene on its own; IoU per photo, then "
        "the mean over photos",
        {"objects": path.name, "part": part} | ({} if names == "objects" else {"names": names}),
        tuple(notes),
    )


def _episode(name: str, category: str, found: _Set, thing: str, elsewhere: set[Path], *, alone_first: bool) -> Episode:
    views = found.views[thing]

    def how_well(view: _Seen) -> tuple[bool, float]:
        return alone_first and len(ids_of(view.sample)) == 1, view.share

    reference = max(views, key=how_well).sample  # of equals the first
    scene = {photo for photo in found.photos if _scene(photo) == _scene(reference.photo)}
    apart = scene if found.has_scenes else {reference.photo}
    tests = tuple(view.sample for view in views if view.sample.photo not in apart)
    return Episode(
        "things", name, (reference,), tests, category, not_asked=frozenset(apart | elsewhere | found.hidden[thing])
    )


def _scene(photo: Path) -> str:
    return photo.stem.split(_SCENE_ENDS)[0]


def _look(folder: Path, name: str, items: Mapping[str, Sequence[str]], path: Path) -> tuple[_Set, list[str]]:
    """The photos and views of a set, and the stems of photos that are not there."""
    here = {photo.stem: photo for photo in photos(folder, IMAGE_SUFFIXES - {".png"})}
    found = _Set()
    for stem in sorted((stem for stem in items if stem in here), key=lambda stem: in_order(here[stem])):
        mask = folder / f"{stem}.png"
        if not mask.is_file():
            raise UsageError(f"{here[stem]} has no mask: looked for {mask}.")
        labels = read_labels(mask)
        areas = np.bincount(labels[labels != _IGNORED], minlength=len(items[stem]) + 1)
        if len(areas) > len(items[stem]) + 1:
            raise UsageError(
                f"{mask} has id {len(areas) - 1}, but {path} names {len(items[stem])} things for {name}/{stem}; "
                "are they of one data set?"
            )
        found.photos.append(here[stem])
        ids: dict[str, list[int]] = defaultdict(list)
        for number, thing in enumerate(items[stem], 1):
            ids[thing].append(number)
        for thing, numbers in ids.items():
            share = float(areas[numbers].sum()) / labels.size
            if share:
                sample = Sample(f"{name}/{safe_name(thing)}/{stem}", here[stem], _truth(mask, numbers), as_stored=True)
                found.views[thing].append(_Seen(sample, share))
            else:
                found.hidden[thing].add(here[stem])
    return found, [stem for stem in items if stem not in here]


def ids_of(sample: Sample) -> tuple[MaskFile, ...]:
    """The truth of each id by itself that a sample's thing has in the photo."""
    truth = sample.truth
    if isinstance(truth, SeveralIds):
        return truth.parts
    return (truth,) if isinstance(truth, MaskFile) else ()


def _truth(mask: Path, ids: Sequence[int]) -> Truth:
    parts = tuple(MaskFile(mask, number, _IGNORED) for number in ids)
    return parts[0] if len(parts) == 1 else SeveralIds(parts)


def _read_names(path: Path, root: Path, names: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The items whose objects are named, by set and stem."""
    if not path.is_file():
        raise UsageError(f"There is no {path}: looked for {LAYOUT}, in {root}.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        named = {
            name: {stem: item for stem, item in each["items"].items() if item.get(names) is not None}
            for name, each in found.items()
        }
        whole = all(
            isinstance(item[names], list) and all(isinstance(thing, str) for thing in item[names])
            for items in named.values()
            for item in items.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, names) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if not whole:
        raise _damaged(path, names)
    if not any(item[names] for items in named.values() for item in items.values()):
        raise UsageError(
            f"{path} names no {names}: looked for items with a list of {names}, the thing of every mask id."
        )
    return named


def _damaged(path: Path, names: str) -> UsageError:
    return UsageError(
        f'{path} is damaged or another JSON: looked for {{SET: {{"items": {{STEM: {{"{names}": [NAME, ...]}}}}}}}}.'
    )


def _of_part(named: dict[str, dict[str, Mapping[str, Any]]], path: Path, part: str | None, names: str) -> Named:
    chosen: Named = {
        name: {stem: item[names] for stem, item in items.items() if part is None or item.get("part") == part}
        for name, items in named.items()
    }
    if not any(chosen.values()):
        parts = sorted({str(item["part"]) for items in named.values() for item in items.values() if "part" in item})
        raise UsageError(f"{path} has no part {part} with named {names}; there are {some(parts) or 'no parts'}.")
    return {name: items for name, items in chosen.items() if items}
