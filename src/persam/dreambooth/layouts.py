"""A prepared folder as other trainers read it: kohya's sd-scripts (masked loss), and diffusers' scripts.

They get the same photos and masks, in the places and with the lists that they look for:

- ``SUBJECT/images/`` holds pictures and nothing else, for diffusers' ``--instance_data_dir``, which opens every file.
- ``diffusers/`` is a data set with captions, for ``--dataset_name``. Its photos lie in ``train/``, because there the
  `datasets` library finds their ``metadata.jsonl`` in every version, and takes no name for that of another split.
- ``kohya/dataset.toml`` is for ``--dataset_config`` with ``--masked_loss``. Its captions lie beside the photos, in a
  folder of their own; the masks are those in ``SUBJECT/masks/``, so that a corrected one counts at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median_low

from PIL import Image

from persam.dreambooth.subjects import DIFFUSERS, KOHYA, Subject, TrainingPhoto
from persam.files import atomic_path, write_bytes, write_text
from persam.journal import json_line

DATASET_TOML = f"{KOHYA}/dataset.toml"
_TRAIN = f"{DIFFUSERS}/train"
_METADATA = f"{_TRAIN}/metadata.jsonl"
CAPTION_COLUMN = "text"
_REPEATS = 10  # how often an epoch sees a photo of the subject that has most; of others as often in all

_STEP = 64  # pixels by which the sizes of kohya's buckets differ


def layout_files(subjects: Sequence[Subject]) -> list[str]:
    """All files that `write_layouts` makes, named from the prepared folder on."""
    kohya = [file for _, photo, place in _kohya(subjects) for file in (f"{place}{photo.image.suffix}", f"{place}.txt")]
    return [*kohya, DATASET_TOML, *(place for place, _ in _numbered(subjects)), _METADATA]


def write_layouts(folder: Path, subjects: Sequence[Subject]) -> None:
    """Write both layouts into a prepared folder, whose photos and masks are there.

    Raises:
        PersamError: something cannot be written.
    """
    for _, photo, place in _kohya(subjects):
        _copy(photo.image, folder / f"{place}{photo.image.suffix}")
        write_text(folder / f"{place}.txt", photo.caption + "\n")
    write_text(folder / DATASET_TOML, _dataset_toml(folder.absolute(), subjects))
    lines = []
    for place, photo in _numbered(subjects):
        _copy(photo.image, folder / place)
        lines.append(json_line({"file_name": Path(place).name, CAPTION_COLUMN: photo.caption}))
    write_bytes(folder / _METADATA, b"".join(lines))


def _kohya(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, TrainingPhoto, str]]:
    """Each photo with its place in kohya's layout, without a suffix."""
    for subject in subjects:
        for photo in subject.photos:
            yield subject, photo, f"{KOHYA}/{subject.name}/{photo.image.stem}"


def _numbered(subjects: Sequence[Subject]) -> list[tuple[str, TrainingPhoto]]:
    """Each photo with its place in diffusers' layout. A name such as ``test_1`` would mean a split to `datasets`."""
    photos = [photo for subject in subjects for photo in subject.photos]
    return [(f"{_TRAIN}/{number:04}{photo.image.suffix}", photo) for number, photo in enumerate(photos)]


def _dataset_toml(folder: Path, subjects: Sequence[Subject]) -> str:
    most, side = max(len(subject.photos) for subject in subjects), _resolution(subjects)
    # A subset with masks takes no class_tokens there: what the photos show stands in their captions.
    subsets = [
        f"""
[[datasets.subsets]]
image_dir = {_toml(folder / KOHYA / subject.name)}
conditioning_data_dir = {_toml(subject.photos[0].mask.absolute().parent)}
caption_extension = ".txt"
num_repeats = {max(1, round(_REPEATS * most / len(subject.photos)))}
"""
        for subject in subjects
    ]
    # With buckets a mask is cut as its photo is; without, it would only be squeezed to the photo's new proportions.
    return f"""\
# For kohya's sd-scripts: --dataset_config {DATASET_TOML} --masked_loss
# Made by persam dreambooth prepare, which writes it anew when the folder is read again.
[[datasets]]
resolution = {side}
batch_size = 1
enable_bucket = true
min_bucket_reso = {max(_STEP, side // 2 // _STEP * _STEP)}
max_bucket_reso = {2 * side}
{"".join(subsets)}"""


def _resolution(subjects: Sequence[Subject]) -> int:
    """The shorter side that most photos have or exceed, as the buckets' steps allow.

    It is not the largest one's: a single large photo, put in by hand, would set the resolution of all.
    """
    sides = []
    for subject in subjects:
        for photo in subject.photos:
            with Image.open(photo.image) as picture:
                sides.append(min(picture.size))
    return max(_STEP, median_low(sides) // _STEP * _STEP)


def _toml(path: Path) -> str:
    """A path as a string of TOML, whose escapes are those of JSON, but that DEL must be one."""
    return json.dumps(str(path), ensure_ascii=False).replace("\x7f", "\\u007f")


def _copy(photo: Path, place: Path) -> None:
    """Put a photo at a second place. As a link it would change there whenever a program saves the photo in place."""
    with atomic_path(place) as temporary:
        shutil.copyfile(photo, temporary)
