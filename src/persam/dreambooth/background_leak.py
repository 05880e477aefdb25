"""Does the background leak? A subject that was always photographed before green, learned with masks and without.

DreamBooth learns whatever its few photos have in common, and that is their background, too: asked for the subject
elsewhere, it draws it where it was photographed. PerSAM's masks are to prevent that (paper, section 2.4). Here it is
measured, in the small world of `persam.dreambooth.small_world`, with the training and generation that everybody uses:
a ball of violet and white stripes, five photos of it before the same green; how much of that green comes out?

This stands here and not with the benchmarks because it measures this training alone, on nothing but what it draws
itself, and the benchmarks know no training of text-to-image models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from persam.dreambooth.checkpoints import clear, refuse_other
from persam.dreambooth.gallery import PictureGrid
from persam.dreambooth.generated import GeneratedFolder
from persam.dreambooth.generation import SamplingChoice, generate, plan
from persam.dreambooth.options import difference
from persam.dreambooth.small_world import COLOURS, SmallTraining, check_home, draw, scene, small_model
from persam.dreambooth.sources import read_sources
from persam.dreambooth.subjects import Subject, TrainingPhoto, write_prepared
from persam.dreambooth.training import train
from persam.errors import PersamError
from persam.files import write_text
from persam.images import read_image
from persam.ledger import HIDDEN, Ledger
from persam.metrics import Interval, PairedTest, bootstrap_mean, paired_test
from persam.reports.pictures import write_image, write_mask
from persam.reports.provenance import versions
from persam.reports.tables import Table

RESULTS, TABLE, SAMPLES = "leak.json", "leak.md", "leak.png"
FILES = (RESULTS, TABLE, SAMPLES)
BASE, PHOTOS, CLASS_IMAGES, RUNS = "base", "photos", "class_images", "runs"
BACKGROUND = "green"
STRIPES = np.array([(150, 45, 175), (240, 235, 225)])  # violet and white, which no background is
ELSEWHERE = ("red", "blue")
PROMPTS = ("a photo of {subject}", *(f"a photo of {{subject}} on {colour}" for colour in ELSEWHERE))
_NEAR = 20.0  # CIE76 colour difference: a shade of it, whatever the light
_SHOWN = 4  # seeds in the picture
_ASKED = f"{HIDDEN}/leak.json"  # the settings, from the beginning on
# On these all that is trained depends. The floor is in a run's name, and more steps go on where the run ended.
_OF_ALL_RUNS = {
    "photos": "number of photos",
    "learning_rate": "learning rate",
    "class_count": "class count",
    "seed": "seed",
}


@dataclass(frozen=True)
class LeakSettings:
    """What the experiment is made with.

    Attributes:
        small: training of the base model.
        photos: of the subject.
        steps, learning_rate: of every personalisation, which trains all of the UNet, as published.
        floor: what the background counts in the run with a soft floor.
        class_count: pictures of other balls, for prior preservation.
        seeds: pictures of every prompt by every run.
        sampling_steps, guidance: of DDIM. The small model needs less of both than Stable Diffusion.
        seed: of all that is random.
    """

    small: SmallTraining = field(default_factory=SmallTraining)
    photos: int = 5
    steps: int = 500
    learning_rate: float = 2e-4
    floor: float = 0.1
    class_count: int = 40
    seeds: int = 32
    sampling_steps: int = 20
    guidance: float = 1.5
    seed: int = 0

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """By name, what is special to each."""
        return {
            "no mask": {"masked": False},
            "mask": {"masked": True},
            f"mask, floor {self.floor:g}": {"masked": True, "floor": self.floor},
        }


@dataclass(frozen=True)
class LeakResult:
    """What came out.

    Attributes:
        settings: of the experiment.
        generated: all pictures.
        photos: that were trained on, (SIDE, SIDE, 3) uint8.
        shares: by run and figure: means over pictures with intervals of 95 %. ``plain``: share of pixels of the
            photos' background where no background is asked for; ``elsewhere``: where another is; ``asked``: share of
            the background that was asked for; ``subject``: share of pixels of the subject's colours.
        changes: of ``plain`` and ``elsewhere`` by run, against the run without a mask, over the same seeds.
    """

    settings: LeakSettings
    generated: GeneratedFolder
    photos: tuple[np.ndarray, ...]
    shares: Mapping[str, Mapping[str, Interval]]
    changes: Mapping[str, Mapping[str, PairedTest]]


def colour_share(pixels: np.ndarray, colour: Sequence[float]) -> float:
    """Share of the pixels (H, W, 3) uint8 that are a shade of a colour: at most 20 from it in CIELAB (CIE76).

    >>> colour_share(np.full((4, 4, 3), (60, 160, 70), np.uint8), COLOURS["green"])
    1.0
    """
    own, wanted = (
        cv2.cvtColor(np.asarray(values, np.float32).reshape(-1, 1, 3) / 255, cv2.COLOR_RGB2LAB)[:, 0]
        for values in (pixels, colour)
    )
    return float((np.linalg.norm(own - wanted, axis=1) <= _NEAR).mean())


def leak(
    folder: Path,
    settings: LeakSettings | None = None,
    progress: Callable[..., Any] | None = None,
    *,
    overwrite: bool = False,
) -> LeakResult:
    """Do the experiment; what an earlier call with the same settings left in the folder is taken as it is.

    Args:
        folder: for the base model, the photos, the runs and the pictures.
        settings: of it.
        progress: called with ``done``, ``total`` and ``what``, as `persam.cli.progress.progress_bar` gives it.
        overwrite: train all runs anew, and the base model if it was trained with other settings.

    Raises:
        UsageError: the folder holds an experiment with other settings, or another model.
        PersamError: what it holds is damaged, or it cannot be written.
    """
    how, tell = settings or LeakSettings(), progress or (lambda **_: None)
    _begin(folder, how, overwrite)
    tell(done=0, total=how.small.steps, what="Training a small model")
    base = small_model(folder / BASE, how.small, tell)
    photos = _photograph(folder / PHOTOS, folder / CLASS_IMAGES, how)
    for name, special in how.runs.items():
        tell(done=0, total=how.steps, what=f"Training with {name}")
        train(
            folder / PHOTOS,
            folder / RUNS / name,
            base,
            overwrite=overwrite,
            method="full",
            steps=how.steps,
            learning_rate=how.learning_rate,
            class_images=folder / CLASS_IMAGES,
            class_count=how.class_count,
            seed=how.seed,
            device="cpu",
            checkpoint_every=how.steps,
            progress=tell,
            **special,
        )
    sources = read_sources([str(folder / RUNS / name) for name in how.runs], base=True)
    choice = SamplingChoice("ddim", how.sampling_steps, how.guidance)
    planned = plan(
        [sources[-1], *sources[:-1]], PROMPTS, range(how.seeds), folder / "pictures", choice=choice,
        device="cpu", dtype="float32",
    )  # fmt: skip
    tell(done=0, total=planned.count, what="Pictures")
    generated, _ = generate(planned, batch=16, progress=tell)
    return _measured(how, generated, photos)


def _begin(folder: Path, how: LeakSettings, overwrite: bool) -> None:
    """See before anything is trained or drawn that what is there is of the same settings; or clear it away."""
    now = _trained_with(asdict(how))
    if not overwrite and (differs := difference(_asked_before(folder) or now, now)):
        raise refuse_other(folder, differs)
    check_home(folder / BASE)
    if overwrite:  # all at once: were this call cut short, the same without --overwrite goes on
        for run in (folder / RUNS / name for name in how.runs):
            if run.is_dir():
                with Ledger(run, overwrite=True) as ledger:
                    clear(ledger)
    write_text(folder / _ASKED, json.dumps(asdict(how), indent=1) + "\n")


def _asked_before(folder: Path) -> dict[str, Any] | None:
    file = next((each for each in (folder / _ASKED, folder / RESULTS) if each.is_file()), None)
    if file is None:
        return None
    try:
        return _trained_with(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PersamError(f"{file} is damaged; begin anew with --overwrite.") from error


def _trained_with(settings: Mapping[str, Any]) -> dict[str, Any]:
    base = {f"the small model's {name}": value for name, value in settings["small"].items()}
    return base | {words: settings[name] for name, words in _OF_ALL_RUNS.items()}


def _photograph(folder: Path, others: Path, how: LeakSettings) -> tuple[np.ndarray, ...]:
    """Draw the subject's photos, prepared, and other balls before anything."""
    rng = np.random.default_rng((how.seed, 10))
    photos, listed = [], []
    for number in range(how.photos):
        pixels, mask = draw("ball", STRIPES, np.array(COLOURS[BACKGROUND]), rng)
        image, mask_file = folder / "ball" / f"{number}.png", folder / "ball" / f"{number}_mask.png"
        write_image(image, pixels)
        write_mask(mask_file, mask)
        photos.append(pixels)
        listed.append(TrainingPhoto(image, mask_file, "a photo of t@y ball"))
    write_prepared(folder, [Subject("ball", "t@y", "ball", tuple(listed))])
    for number in range(how.class_count):
        write_image(others / "ball" / f"{number:03}.png", scene(rng, "ball").pixels)
    return tuple(photos)


def _measured(how: LeakSettings, generated: GeneratedFolder, photos: tuple[np.ndarray, ...]) -> LeakResult:
    """Look at all pictures. What is drawn is a picture, so pictures are what the intervals draw."""
    found: dict[str, dict[str, dict[tuple[int, int], float]]] = {}
    for each in generated.pictures:
        pixels, own, place = read_image(each.file), found.setdefault(each.run, {}), (each.prompt, each.seed)
        asked = None if each.prompt == 0 else ELSEWHERE[each.prompt - 1]
        figures = {
            "plain" if asked is None else "elsewhere": colour_share(pixels, COLOURS[BACKGROUND]),
            "subject": sum(colour_share(pixels, colour) for colour in STRIPES),
            **({} if asked is None else {"asked": colour_share(pixels, COLOURS[asked])}),
        }
        for figure, value in figures.items():
            own.setdefault(figure, {})[place] = value
    without = next(iter(how.runs))
    return LeakResult(
        how,
        generated,
        photos,
        {run: {name: bootstrap_mean(list(each.values())) for name, each in own.items()} for run, own in found.items()},
        {
            run: {name: paired_test(found[without][name], own[name]) for name in ("plain", "elsewhere")}
            for run, own in found.items()
            if run != without
        },
    )


# --------------------------------------------------------------------------------------------- report


def table(result: LeakResult) -> Table:
    """The experiment's table."""
    how = result.settings
    columns = {
        "plain": f"{BACKGROUND}, no place asked",
        "elsewhere": f"{BACKGROUND}, {' or '.join(ELSEWHERE)} asked",
        "asked": "colour asked for",
        "subject": "subject's colours",
    }
    without = next(iter(how.runs))
    rows = tuple(
        (
            f"{run}, not trained" if run == BASE else run,
            *(_share(result.shares[run][figure]) for figure in columns),
            _change(result.changes[run]["elsewhere"]) if run in result.changes else "–",
        )
        for run in result.generated.runs
    )
    title = f"Background leak: a ball photographed before {BACKGROUND} {how.photos} times"
    return Table(title, ("run", *columns.values(), f"change to {without}"), rows, notes=_notes(result))


def _notes(result: LeakResult) -> tuple[str, ...]:
    how = result.settings
    measure = (
        "In percent of all pixels, mean over pictures; [..] is a 95 % bootstrap interval over pictures. A pixel is of "
        f"a colour that is at most {_NEAR:g} away in CIELAB."
    )
    runs = (
        f"The photos have {100 * _mean_share(result.photos):.0f} % {BACKGROUND}. Every run: all of the UNet, "
        f"{how.steps} steps, learning rate {how.learning_rate:g}, {how.class_count} other balls to preserve the prior."
    )
    seeds = f"{how.seeds} seeds a prompt, the same noise for every run; the change is that of the second column."
    return measure, runs, seeds


def _mean_share(photos: Sequence[np.ndarray]) -> float:
    return float(np.mean([colour_share(each, COLOURS[BACKGROUND]) for each in photos]))


def _share(figure: Interval) -> str:
    return f"{100 * figure.mean:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _change(test: PairedTest) -> str:
    return f"{100 * test.difference:+.1f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]"


def samples(result: LeakResult) -> np.ndarray:
    """The photos, and the first pictures of every run side by side, (H, W, 3) uint8."""
    runs, shown = list(result.generated.runs), min(_SHOWN, result.settings.seeds)
    files = {(each.run, each.prompt, each.seed): each.file for each in result.generated.pictures}

    def picture(row: int, group: int, column: int) -> np.ndarray | None:
        if group == 0:
            return result.photos[column] if row == 0 and column < len(result.photos) else None
        return read_image(files[runs[group - 1], row, column])

    words = [prompt.replace("{subject}", "t@y ball") for prompt in PROMPTS]
    seeds, photos = ([f"{what} {number}" for number in range(shown)] for what in ("seed", "photo"))
    columns = [photos, *[seeds] * len(runs)]
    groups = ["trained on", *(f"{run}, not trained" if run == BASE else run for run in runs)]
    return PictureGrid("What comes out of the background", words, groups, columns, picture, cell=80, sharp=True).draw()


def write_leak(result: LeakResult, folder: Path) -> list[Path]:
    """Write ``leak.json``, ``leak.md`` and ``leak.png``; return their paths."""
    write_text(folder / RESULTS, json.dumps(to_json(result), indent=1) + "\n")
    write_text(folder / TABLE, table(result).markdown())
    write_image(folder / SAMPLES, samples(result))
    return [folder / name for name in FILES]


def to_json(result: LeakResult) -> dict[str, Any]:
    """All figures as JSON values."""
    return {
        **asdict(result.settings),
        "background": BACKGROUND,
        "prompts": list(PROMPTS),
        "share_of_photos": _mean_share(result.photos),
        "runs": {
            run: {figure: interval._asdict() for figure, interval in shares.items()}
            for run, shares in result.shares.items()
        },
        "changes": {
            run: {figure: test._asdict() for figure, test in tests.items()} for run, tests in result.changes.items()
        },
        "versions": versions("diffusers"),
    }
