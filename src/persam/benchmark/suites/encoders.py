"""Models and encoders: how well and how fast each pair finds the objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import Record
from persam.benchmark.running.run import run
from persam.benchmark.suites.suite import Findings, PhotoSet, Results, headline
from persam.benchmark.suites.timing import Spread
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings
from persam.models.loading import load_encoder, load_model
from persam.reports.tables import Table

OWN = "own"  # the confidence map is made of the model's own features


def is_tuned(method: str) -> bool:
    """Whether a method's name is PerSAM-F's.

    Raises:
        UsageError: it is neither of the two.
    """
    if method not in {"persam", "persam-f"}:
        raise UsageError(f'The method "{method}" is none that takes encoders; use persam or persam-f.')
    return method == "persam-f"


def compare_encoders(
    models: Sequence[str],
    encoders: Sequence[str],
    photos: PhotoSet,
    settings: Settings,
    *,
    tuned: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: Callable[[], object] | None = None,
) -> Findings:
    """Run every model with its own features and with every encoder. One model at a time is in memory.

    Each pair encodes every photo itself, so that its seconds hold all that it needs.

    Args:
        models: names, as `load_model` takes them.
        encoders: names, as `load_encoder` takes them; `OWN` comes first in any case.
        photos: on which.
        settings: form of the method.
        tuned: PerSAM-F.
        device: where to compute.
        dtype: number format of the encoders.
        progress: called after every photo and model.

    Raises:
        PersamError: not one of the models is to be had.
        UsageError: an unknown device or dtype.
    """
    skipped: dict[str, str] = {}
    others = [name for name in encoders if name != OWN]
    matchers = {OWN: None, **dict(_at_hand(others, partial(load_encoder, device=device, dtype=dtype), skipped))}
    records: list[Record] = []
    described: dict[str, dict[str, Any]] = {}
    for _, model in _at_hand(models, partial(load_model, device=device, dtype=dtype), skipped):
        methods = [
            PersamMethod(f"{model.name} + {name}", model, settings, tuned=tuned, encoder=encoder)
            for name, encoder in matchers.items()
        ]
        described |= {method.name: method.describe() for method in methods}
        records += run(photos.episodes, methods, progress)
    if not described:
        reasons = "; ".join(reason.rstrip(".") for reason in skipped.values())
        raise PersamError(f"None of the models is to be had: {reasons}.")
    form = "PerSAM-F" if tuned else "PerSAM"
    about = photos.about() | {"mode": settings.mode, "method": form, "skipped": skipped}
    found = Results(records, about)
    seconds = {name: Spread.of([record.seconds for record in records]) for name, records in found.by_method.items()}
    rows = {name: each | {"seconds": asdict(seconds[name])} for name, each in described.items()}
    sheet = Table(
        f"Models and encoders: {form}, {headline(about)}",
        ("model", "encoder", "mIoU", "IoU per image", "located", "seconds a photo"),
        tuple(
            (
                f"{each['model']} ({each['fingerprint']})",
                str(each["encoder"] or OWN),
                *(found.score(name, key) for key in ("miou", "iou", "located")),
                seconds[name].text(3),
            )
            for name, each in described.items()
        ),
    )
    notes = [
        "Seconds: encoding and finding, median over the photos and [quartiles], on this machine.",
        *(f"Left out: {name}. {reason}" for name, reason in skipped.items()),
    ]
    return found.findings("encoders", rows, [sheet], notes)


def _at_hand(names: Sequence[str], load: Callable[[str], Any], skipped: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Each name and what is loaded of it; those that are not to be had are passed over, and `skipped` says why."""
    for name in dict.fromkeys(names):
        try:
            yield name, load(name)
        except UsageError:  # a wrong call is not a model that happens to be missing
            raise
        except PersamError as error:
            skipped[name] = str(error)
