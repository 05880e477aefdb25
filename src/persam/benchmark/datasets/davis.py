"""DAVIS 2016 and 2017: videos of one object or several; frame 0 is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.options import About
from persam.benchmark.episodes import Episode, Loaded, read_labels
from persam.errors import UsageError
from persam.labels import VOID

LAYOUT = "JPEGImages/480p/SEQUENCE/*.jpg and Annotations/480p/SEQUENCE/*.png"

# What is seen in the 20 validation sequences of 2016, for methods that are asked in words: the names do not always say.
_CATEGORIES = {
    "blackswan": "black swan",
    "bmx-trees": "bmx rider",
    "breakdance": "dancer",
    "cows": "cow",
    "dance-twirl": "dancer",
    "drift-chicane": "car",
    "drift-straight": "car",
    "horsejump-high": "horse",
    "kite-surf": "surfer",
    "libby": "dog",
    "motocross-jump": "motorcyclist",
    "paragliding-launch": "paraglider",
    "parkour": "person",
    "scooter-black": "scooter",
    "soapbox": "soapbox cart",
}


def read_davis(
    root: Path,
    year: Annotated[Literal[2016, 2017] | None, About("2016 (one object) or 2017 (several); by what is found")] = None,
    split: Annotated[
        str | None, About("which part: name of a file in ImageSets/YEAR, or all; val if it is there, else all")
    ] = None,
    step: Annotated[int, About("take every n-th frame", 1)] = 1,
) -> Loaded:
    """Every sequence: frame 0 shows the object, of the later frames every `step`-th is a photo of its own.

    In 2016's protocol all that is not background is one object; in 2017's each object of a sequence is an episode by
    itself, known by its palette index in frame 0. Where an object is out of sight, its truth is empty.

    Without a `year` it is 2017 if ``ImageSets/2017`` is there, else 2016.

    Raises:
        UsageError: the folder is laid out otherwise, there is no such split, a frame has no mask.
    """
    top = layout.unpacked(root, "JPEGImages/480p", LAYOUT)
    year = year or (2017 if (top / "ImageSets/2017").is_dir() else 2016)
    names, split, notes = _sequences(top, root, year, split)
    if year == 2016:
        notes.append(
            "papers on PerSAM print numbers of DAVIS 2017: more sequences, and each of their objects by itself"
        )
    episodes, short = [], []
    for name in names:
        frames = layout.photos(top / "JPEGImages/480p" / name)
        masks = top / "Annotations/480p" / name
        if not frames:
            raise UsageError(f"{top / 'JPEGImages/480p' / name} has no frames; looked for {LAYOUT}.")
        if len(frames) <= step:
            short.append(name)
            continue
        objects: Sequence[int | None] = [None] if year == 2016 else _objects(_mask(masks, frames[0]))
        if year == 2017 and objects == [None]:
            notes.append(f"{name} has masks of one object, as those of 2016")
        episodes += [_episode(name, value, frames, masks, step) for value in objects]
    if short:
        notes.append(f"passed over: sequences without a frame to find the object in ({', '.join(short)})")
    if not episodes:
        raise UsageError(f"{root} has no frames to find the objects in: each sequence has its reference alone.")
    shown = "all sequences" if split == "all" else f"split {split}"
    every = "every later frame" if step == 1 else f"of the later frames one in {step}"
    return Loaded(
        "davis",
        tuple(episodes),
        f"DAVIS {year}, 480p, {shown}: {len(names) - len(short)} sequences, {len(episodes)} objects; frame 0 is the "
        f"reference, {every} a photo on its own; J&F per object, then the mean over objects",
        {"year": year, "split": split, "step": step},
        tuple(notes),
    )


def _sequences(top: Path, root: Path, year: int, split: str | None) -> tuple[list[str], str, list[str]]:
    """Names of the sequences that are there, the split's name, and notes on those that are not."""
    here = [folder.name for folder in layout.subfolders(top / "JPEGImages/480p")]
    if not here:
        raise layout.wrong_layout(root, LAYOUT)
    # 2016 was first handed out with lists of frames in ImageSets/480p.
    lists = [top / "ImageSets" / str(year), *([top / "ImageSets/480p"] if year == 2016 else [])]
    if split is None:
        split = "val" if any((folder / "val.txt").is_file() for folder in lists) else "all"
    if split == "all":
        return here, split, []
    file = next((folder / f"{split}.txt" for folder in lists if (folder / f"{split}.txt").is_file()), None)
    if file is None:
        raise UsageError(f"{top} has no split {split} of {year}: looked for {lists[0] / f'{split}.txt'}.")
    listed = _listed(file)
    absent = [name for name in listed if name not in here]
    found = [name for name in listed if name in here]
    if not found:
        raise UsageError(f"None of the sequences in {file} is in {top / 'JPEGImages/480p'}.")
    notes = [f"passed over: sequences of split {split} that are not here ({', '.join(absent)})"] if absent else []
    return found, split, notes


def _listed(file: Path) -> list[str]:
    """Names of sequences in a file of names, or of frames (``/JPEGImages/480p/bear/00000.jpg ...``), each once."""
    lines = [line.split()[0] for line in layout.read_list(file)]
    return list(dict.fromkeys(line.split("/")[-2] if "/" in line else line for line in lines))


def _objects(mask: Path) -> list[int | None]:
    """The palette's objects in a frame; one None for a mask of one object (0 and 255)."""
    labels = set(np.unique(read_labels(mask)).tolist()) - {0}
    return [None] if labels == {VOID} else sorted(labels - {VOID})


def _mask(masks: Path, frame: Path) -> Path:
    mask = masks / f"{frame.stem}.png"
    if not mask.is_file():
        raise UsageError(f"{frame} has no mask: looked for {mask}.")
    return mask


def _episode(name: str, value: int | None, frames: Sequence[Path], masks: Path, step: int) -> Episode:
    thing = name if value is None else f"{name}/{value}"
    samples = [layout.sample(f"{thing}/{frame.stem}", frame, _mask(masks, frame), value) for frame in frames]
    layout.check_reference(samples[0])
    category = _CATEGORIES.get(name) or layout.words(name.split("-")[0])
    return Episode("davis", thing, (samples[0],), tuple(samples[step::step]), category)
