"""A folder of generated pictures: what was asked, with which seeds, of which runs, and the picture of each.

``generated.json`` lists them; the pictures lie below ``images/``. Scoring reads it, and so does whatever makes a data
set of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from persam.errors import PersamError, UsageError, first_line
from persam.files import stays_below, write_text

LIST = "generated.json"
IMAGES = "images"
FORMAT = 1


@dataclass(frozen=True)
class GeneratedPicture:
    """One picture.

    Attributes:
        file: where it is.
        run: name of the run that made it, a key of `GeneratedFolder.runs`.
        prompt: its number, of `GeneratedFolder.prompts`.
        seed: of its start noise.
        asked: the words that the model was given: ``a photo of t@y mug in the snow``.
        caption: the same without identifiers, in words that any model knows: ``a photo of mug in the snow``.
        subjects: names of the subjects that it was asked for.
        withheld: whether the model's safety checker withheld it, so that it is black.
    """

    file: Path
    run: str
    prompt: int
    seed: int
    asked: str
    caption: str
    subjects: tuple[str, ...] = ()
    withheld: bool = False


@dataclass(frozen=True)
class GeneratedFolder:
    """All of them.

    Attributes:
        folder: where they are.
        prompts: as they were given, ``a photo of {subject} in the snow``.
        seeds: each prompt was asked with each.
        runs: by name: where it lies, its model, and the settings that its pictures were made with, as JSON values.
        pictures: those that are there.
        versions: of the libraries, when they were made.
    """

    folder: Path
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: dict[str, dict[str, Any]]
    pictures: tuple[GeneratedPicture, ...]
    versions: dict[str, Any] = field(default_factory=dict)

    def of(self, run: str, prompt: int | None = None) -> list[GeneratedPicture]:
        """The pictures of a run, or those that answer one prompt."""
        return [each for each in self.pictures if each.run == run and prompt in (None, each.prompt)]

    @property
    def shown(self) -> tuple[GeneratedPicture, ...]:
        """The pictures without those that were withheld."""
        return tuple(each for each in self.pictures if not each.withheld)

    @property
    def same_noise(self) -> bool:
        """Whether a seed gave the same start noise to all runs: it is drawn in latents, whose shape the family and the
        size decide."""
        return len({(run.get("family"), run.get("size")) for run in self.runs.values()}) <= 1


def picture_file(folder: Path, run: str, prompt: int, seed: int) -> Path:
    """Where a picture lies: ``images/RUN/prompt_03/seed_0001.png``."""
    return folder / IMAGES / run / f"prompt_{prompt:02}" / f"seed_{seed:04}.png"


def write_generated(found: GeneratedFolder) -> Path:
    """Write the list.

    Returns:
        The file.
    """
    pictures = [
        asdict(each) | {"file": each.file.relative_to(found.folder).as_posix(), "subjects": list(each.subjects)}
        for each in found.pictures
    ]
    told = {
        "format": FORMAT,
        "prompts": list(found.prompts),
        "seeds": list(found.seeds),
        "runs": [{"name": name} | run for name, run in found.runs.items()],
        "pictures": pictures,
        "versions": found.versions,
    }
    file = found.folder / LIST
    write_text(file, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return file


def read_generated(folder: Path) -> GeneratedFolder:
    """Read the list.

    Raises:
        UsageError: it is no such folder.
        PersamError: the list is damaged, names no picture, or pictures that are not there.
    """
    file = folder / LIST
    if not file.is_file():
        what = f"has no {LIST}, so it holds no generated pictures" if folder.is_dir() else "is no folder"
        raise UsageError(f"{folder} {what}: persam dreambooth generate RUN -o FOLDER makes one.")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PersamError(f"{file} cannot be read ({first_line(error)}): generate again into the folder.") from error
    try:
        if told["format"] != FORMAT:
            raise PersamError(f"{file} has the format {told['format']!r}; this version of persam reads {FORMAT}.")
        runs = {str(run["name"]): {key: run[key] for key in run if key != "name"} for run in told["runs"]}
        prompts = tuple(map(str, told["prompts"]))
        pictures = tuple(_picture(folder, each, runs, prompts) for each in told["pictures"])
        found = GeneratedFolder(
            folder, prompts, tuple(map(int, told["seeds"])), runs, pictures, dict(told.get("versions", {}))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PersamError(f"{file} is damaged ({error!r}): generate again into the folder.") from error
    _check_there(file, pictures)
    return found


def _picture(
    folder: Path, told: dict[str, Any], runs: dict[str, dict[str, Any]], prompts: Sequence[str]
) -> GeneratedPicture:
    name, run, prompt = told["file"], str(told["run"]), int(told["prompt"])
    if not stays_below(name):
        raise ValueError(f"{name!r} leads out of the folder")
    if run not in runs or not 0 <= prompt < len(prompts):
        raise ValueError(f"{name!r} is of a run or a prompt that is not listed")
    file = folder.joinpath(*PurePosixPath(name).parts)
    subjects = tuple(map(str, told["subjects"]))
    return GeneratedPicture(
        file,
        run,
        prompt,
        int(told["seed"]),
        str(told["asked"]),
        str(told["caption"]),
        subjects,
        bool(told.get("withheld", False)),
    )


def _check_there(file: Path, pictures: Sequence[GeneratedPicture]) -> None:
    if not pictures:
        raise PersamError(f"{file} lists no picture: generate again into the folder.")
    missing = [each.file for each in pictures if not each.file.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise PersamError(f"{file} names {missing[0]}{more}, which is not there: generate again into the folder.")
