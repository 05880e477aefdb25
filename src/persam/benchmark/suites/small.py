"""Small things: how well they are found by their size, what a closer look adds, and what it costs.

Data sets show their objects large.  So every object is also looked for in larger scenes: cut out and pasted into a
photo of another object, and with its whole photo shrunk and laid into one.  In each scene another object, which is in
neither photo, is looked for as well.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from persam.benchmark.episodes import Episode, Sample
from persam.benchmark.methods.ours import reference_of
from persam.benchmark.suites.suite import Findings, Missed, Trial, change, headline
from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.geometry import Size
from persam.instance import mask_box
from persam.method.settings import Settings
from persam.metrics import PairedTest, boundary_f, iou, paired_test
from persam.persam import PerSAM
from persam.reports.tables import Table

FORMS = ("off", "small", "always")  # of `Settings.closer_look`; the first is what the others are compared with
CUT_OUT = (0.0015, 0.0035, 0.0075, 0.015)  # share of its scene that a cut-out object covers
FRAMED = (0.35, 0.2)  # longest side of a photo as a share of its scene's
SCENE = 1600  # pixels of a scene's longest side, at most
FEWEST = 30  # pixels of an object; a smaller one is no test
SIZES = (0.002, 0.005, 0.01, 0.02, 0.05)  # shares of a scene between which objects are told apart
NEAR = 0.08  # how far off a contour may be, as a share of the object's size (square root of its area)
PROTOCOL = (
    "every photo by itself; its object cut out and pasted into a photo of another object, "
    f"{', '.join(f'{100 * share:g}' for share in CUT_OUT)} % of it; and the whole photo laid into one, "
    f"{', '.join(f'{100 * part:g}' for part in FRAMED)} % of its longest side; scenes have up to {SCENE} pixels, "
    "places are random, and nothing is enlarged; figures are means over scenes; boundary F tolerates "
    f"{100 * NEAR:g} % of the object's size (square root of its area); false alarms: of an object that no photo of the "
    "scene is known to show, if there is one"
)
INTERVALS = (
    "In percent but for times; [..] is a 95 % bootstrap interval of a change, for which whole objects "
    "are drawn (scenes, if there is one object)"
)


@dataclass(frozen=True)
class Look:
    """One form of looking at one scene, measured.

    Attributes:
        iou: of the mask, as if it were known that the object is there; of no meaning where it is not.
        contour: boundary F of that mask; likewise.
        present: whether it was said to be there.
        closer: whether the answer is that of a closer look.
        looks: how many encodings it took beside the scene's own.
        seconds: with the scene's own encoding.
    """

    iou: float
    contour: float
    present: bool
    closer: bool
    looks: int
    seconds: float


@dataclass(frozen=True)
class Asked:
    """One scene in which an object was looked for, in all forms.

    Attributes:
        name: of the scene.
        whose: the object whose photo it is.
        area: share of the scene that this object covers.
        is_there: whether it is the one that was looked for.
        looks: by form.
    """

    name: str
    whose: str
    area: float
    is_there: bool
    looks: Mapping[str, Look]


def look_for_small(trial: Trial, mode: str = "persam", *, seed: int = 0) -> Findings:
    """Look for objects in their photos and in larger scenes, without a closer look, with one as it is, and always.

    Args:
        trial: on what and with what.
        mode: of the method.
        seed: of the scenes.

    Raises:
        UsageError: no such mode; photos of one object alone; or a model that has no closer look.
        PersamError: nothing could be looked for.
    """
    settings = Settings.of(mode)
    persam = _Counting(trial.model, encoder=trial.encoder, settings=settings, fitted=trial.fitted)
    if persam.fitted is None or settings.closer_look == "off":
        raise UsageError("A closer look needs mode persam and a model with fitted numbers, such as tiny; choose these.")
    episodes = trial.photos.episodes
    if len({each.object for each in episodes}) < 2:
        raise UsageError("Small things are looked for in photos of other objects; give photos of two objects at least.")
    asked: list[Asked] = []
    missed = Missed()
    learned: dict[int, Mapping[str, Concept]] = {}
    for number, episode in enumerate(episodes):
        with missed.over(f"{episode.data_set}/{episode.object}"):
            learned[number] = _learn(persam, episode)
    shown_in = _shown_in(episodes)
    for number, episode in enumerate(episodes):
        others = [at for at in _after(number, len(episodes)) if episodes[at].object != episode.object]
        grounds = [
            sample
            for at in others
            for sample in (*episodes[at].references, *episodes[at].tests)
            if sample.photo not in shown_in[episode.object]
        ]
        whose = f"{episode.data_set}/{episode.object}"
        strangers = [(learned[at], shown_in[episodes[at].object]) for at in others if at in learned]
        for sample in episode.tests:
            for name, make in _scenes(sample, grounds, seed) if number in learned else ():
                with missed.over(f"{whose} {name}"):
                    scene = make()
                    if scene is not None:
                        absent = (other for other, photos in strangers if photos.isdisjoint(scene.photos))
                        asked += list(
                            _ask(persam, learned[number], next(absent, None), scene, f"{whose} {name}", whose)
                        )
            if trial.progress is not None:
                trial.progress()
    if not asked:
        raise PersamError(f"Nothing could be looked for; {(missed.reasons or ['all masks are empty'])[0]}.")
    about = trial.about(mode=mode, solver=None, seed=seed) | {
        "protocol": PROTOCOL, "intervals": INTERVALS, "scenes": sum(each.is_there for each in asked),
    }  # fmt: skip
    groups = _by_size(asked)
    rows = [_row(label, chosen, form) for label, chosen in groups.items() for form in FORMS]
    title = headline(about)
    notes = [
        "A closer look: off, at what was found small (mode persam), or always; changes are against off.",
        *missed.notes("objects or scenes could not be measured"),
    ]
    return Findings("small", about, rows, [_table(rows, title), _cost_table(rows, title)], notes)


# ------------------------------------------------------------------------------------------ scenes


@dataclass(frozen=True)
class Scene:
    """A photo, or a part of it in a larger one.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        truth: (H, W) bool.
        photos: that it is made of.
    """

    pixels: np.ndarray
    truth: np.ndarray
    photos: tuple[Path, ...] = ()


def framed(photo: np.ndarray, truth: np.ndarray, ground: np.ndarray, part: float, seed: int) -> Scene:
    """A photo, whole, somewhere in a larger one.

    Args:
        photo: (h, w, 3) uint8 RGB.
        truth: (h, w) bool.
        ground: what lies around it, (.., .., 3) uint8 RGB, enlarged or cut to fill the scene.
        part: longest side of the photo as a share of the scene's, below 1.
        seed: of the place.
    """
    factor = min(1.0, part * SCENE / max(photo.shape[:2]))
    height, width = (max(1, round(side * factor / part)) for side in photo.shape[:2])
    scene = _filling(ground, (height, width))
    return _laid(photo, np.ones_like(truth), truth, scene, factor, seed)


def cut_out(photo: np.ndarray, truth: np.ndarray, ground: np.ndarray, share: float, seed: int) -> Scene:
    """An object, cut out, somewhere in a larger photo of the same proportions as the ground.

    Args:
        photo: (h, w, 3) uint8 RGB, as wide and high as it is pasted at most.
        truth: (h, w) bool, not empty.
        ground: (.., .., 3) uint8 RGB.
        share: of the scene that the object covers.
        seed: of the place.
    """
    box = mask_box(truth)
    assert box is not None
    part = slice(box[1], box[3]), slice(box[0], box[2])
    factor = SCENE / max(ground.shape[:2])
    scene = _filling(ground, (round(ground.shape[0] * factor), round(ground.shape[1] * factor)))
    wanted = (share * scene.shape[0] * scene.shape[1] / float(truth.sum())) ** 0.5
    room = min(scene.shape[0] / (box[3] - box[1]), scene.shape[1] / (box[2] - box[0]))
    return _laid(photo[part], truth[part], truth[part], scene, min(1.0, wanted, room), seed)


def _laid(
    photo: np.ndarray, shown: np.ndarray, truth: np.ndarray, scene: np.ndarray, factor: float, seed: int
) -> Scene:
    """A photo, shrunk by a factor, over a random place of a scene, as far as it is `shown`, (h, w) bool."""
    size = [min(whole, max(1, round(side * factor))) for side, whole in zip(photo.shape, scene.shape, strict=False)][:2]

    def shrunk(values: np.ndarray) -> np.ndarray:
        smaller = cv2.resize(values.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
        return np.asarray(smaller)

    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(0, whole - own + 1)) for whole, own in zip(scene.shape[:2], size, strict=True))
    place = slice(top, top + size[0]), slice(left, left + size[1])
    opaque = shrunk(shown)[..., None]
    mixed = scene[place] * (1 - opaque) + shrunk(photo) * opaque
    pixels, mask = scene.copy(), np.zeros(scene.shape[:2], bool)
    pixels[place], mask[place] = mixed.round().astype(np.uint8), shrunk(truth) >= 0.5
    return Scene(pixels, mask)


def _filling(picture: np.ndarray, size: Size) -> np.ndarray:
    """The middle of a picture, as large as can be, resized to (H, W)."""
    factor = min(picture.shape[0] / size[0], picture.shape[1] / size[1])
    height, width = (max(1, int(side * factor)) for side in size)
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    middle = np.ascontiguousarray(picture[top : top + height, left : left + width])
    filled = cv2.resize(middle, size[::-1], interpolation=cv2.INTER_AREA if factor > 1 else cv2.INTER_CUBIC)
    return np.asarray(filled)


#: A scene; None where too little is to be seen of its object.
Maker = Callable[[], Scene | None]


def _scenes(sample: Sample, grounds: Sequence[Sample], seed: int) -> Iterator[tuple[str, Maker]]:
    """The scenes of a photo: the name of each, and what makes it."""
    read = cache(sample.read)

    def by_itself() -> Scene | None:
        photo, truth = read()
        return Scene(photo, truth, (sample.photo,)) if truth.any() else None

    def laid(make: Callable[..., Scene], share: float, ground: Sample, chance: int) -> Scene | None:
        photo, truth = read()
        if not truth.any():
            return None
        scene = make(photo, truth, ground.read_photo(), share, chance)
        return replace(scene, photos=(sample.photo, ground.photo)) if scene.truth.sum() >= FEWEST else None

    yield f"{sample.name} by itself", by_itself
    kinds: tuple[tuple[str, Callable[..., Scene], tuple[float, ...]], ...] = (
        ("cut out", cut_out, CUT_OUT),
        ("framed", framed, FRAMED),
    )
    for kind, make, shares in kinds if grounds else ():
        for share in shares:
            name = f"{sample.name} {kind} at {100 * share:g} %"
            chance = zlib.crc32(f"{name} {seed}".encode())
            yield name, partial(laid, make, share, grounds[chance % len(grounds)], chance)


def _shown_in(episodes: Sequence[Episode]) -> dict[str, set[Path]]:
    """The photos in which each object is, or may be, by its name."""
    photos: dict[str, set[Path]] = {}
    for episode in episodes:
        photos.setdefault(episode.object, set()).update(episode.may_show)
    return photos


def _after(number: int, count: int) -> Iterator[int]:
    return ((number + step) % count for step in range(1, count))


# ---------------------------------------------------------------------------------------- answers


class _Counting(PerSAM):
    """It counts what it encodes."""

    encoded = 0

    def encode(self, *image: Any, **options: Any) -> Any:
        """See `PerSAM.encode`."""
        self.encoded += 1
        return super().encode(*image, **options)


def _learn(persam: PerSAM, episode: Episode) -> dict[str, Concept]:
    """The object of an episode, by form; none draws it again, so that what is encoded beside the photo is a look."""
    shown = [reference_of(photo, mask=mask) for photo, mask in (each.read() for each in episode.references)]
    concept = persam.learn(shown, name=episode.category)
    return {form: replace(concept, settings=concept.settings.but(closer_look=form, redraw=False)) for form in FORMS}


def _ask(
    persam: _Counting,
    own: Mapping[str, Concept],
    absent: Mapping[str, Concept] | None,
    scene: Scene,
    name: str,
    whose: str,
) -> Iterator[Asked]:
    """Look for a scene's object and, if there is one, for an object that is not in it, in all forms."""
    start = time.perf_counter()
    encoded = persam.encode(scene.pixels)
    encoding = time.perf_counter() - start

    def look(concept: Concept, truth: np.ndarray) -> Look:
        before, begun = persam.encoded, time.perf_counter()
        found = persam.segment(encoded, concept, explain=True)
        seconds = time.perf_counter() - begun + encoding
        trace, mask = found.trace, found.assumed_mask
        near = max(1.0, NEAR * float(truth.sum()) ** 0.5)
        closer = trace is not None and trace.closer is not None
        looks = persam.encoded - before - 1  # `segment` asks for the encoding that there is, too
        return Look(iou(mask, truth), boundary_f(mask, truth, bound=near), found.present, closer, looks, seconds)

    for learned, is_there in ((own, True), (absent, False)):
        if learned is None:
            continue
        truth = scene.truth if is_there else np.zeros_like(scene.truth)
        looks = {form: look(concept, truth) for form, concept in learned.items()}
        yield Asked(name, whose, float(scene.truth.mean()), is_there, looks)


# ------------------------------------------------------------------------------------------ tables


def _by_size(asked: Sequence[Asked]) -> dict[str, list[Asked]]:
    """The scenes by their object's size, smallest first, those of a size that none has left out; and all."""
    groups = {}
    for low, high in pairwise((0.0, *SIZES, 1.0)):
        ends = f"up to {100 * high:g} %" if not low else f"{100 * low:g} to {100 * high:g} %"
        groups[ends if high < 1 else f"over {100 * low:g} %"] = [each for each in asked if low < each.area <= high]
    return {label: chosen for label, chosen in groups.items() if chosen} | {"all": list(asked)}


_FIGURES: Mapping[str, Callable[[Look], float]] = {
    "iou": lambda look: look.iou,
    "contour": lambda look: look.contour,
    "said": lambda look: float(look.present),
}


def _row(label: str, asked: Sequence[Asked], form: str) -> dict[str, Any]:
    """The figures of one form, and their changes against the first."""
    there, absent = ([each for each in asked if each.is_there is kind] for kind in (True, False))
    objects = {each.name: each.whose for each in there}

    def mean(of: Callable[[Look], float], which: Sequence[Asked]) -> float:
        return float(np.mean([of(each.looks[form]) for each in which]))

    row: dict[str, Any] = {"size": label, "closer_look": form, "scenes": len(there)}
    for key, of in _FIGURES.items():
        first, second = ({each.name: of(each.looks[one]) for each in there} for one in (FORMS[0], form))
        test = paired_test(first, second, objects if len(set(objects.values())) > 1 else None)
        row |= {key: mean(of, there), f"{key}_change": None if form == FORMS[0] else test._asdict()}
    return row | {
        "without": len(absent),
        "false_alarms": mean(_FIGURES["said"], absent) if absent else None,
        "looked_closer": mean(lambda look: float(look.looks > 0), asked),
        "counts": mean(lambda look: float(look.closer), there),
        "milliseconds": 1000 * mean(lambda look: look.seconds, asked),
    }


def _change(row: Mapping[str, Any], key: str) -> str:
    test = row[f"{key}_change"]
    return change(None if test is None else PairedTest(**test))


def _table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    return Table(
        f"Small things: {title}",
        ("object's share", "closer look", "scenes", "IoU", "change", "boundary F", "change"),
        tuple(
            (
                *(row["size"], row["closer_look"], str(row["scenes"])),
                *(
                    f"{100 * row['iou']:.1f}",
                    _change(row, "iou"),
                    f"{100 * row['contour']:.1f}",
                    _change(row, "contour"),
                ),
            )
            for row in rows
        ),
    )


def _cost_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    shares = ("false_alarms", "looked_closer", "counts")
    return Table(
        f"What a closer look changes in verdicts, and what it costs: {title}",
        (
            *("object's share", "closer look", "said to be there", "change", "false alarms"),
            *("looked closer", "its answer counts", "ms"),
        ),
        tuple(
            (
                *(row["size"], row["closer_look"], f"{100 * row['said']:.1f}", _change(row, "said")),
                *("–" if row[key] is None else f"{100 * row[key]:.1f}" for key in shares),
                f"{row['milliseconds']:.0f}",
            )
            for row in rows
        ),
    )
