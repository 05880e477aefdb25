"""Models and encoders: how well and how fast each pair finds the objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from persam.benchmark.episodes import Episode
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import Record
from persam.benchmark.running.run import run
from persam.benchmark.suites.suite import Findings, PhotoSet, Results, headline
from persam.benchmark.suites.timing import Spread
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings
from persam.models.base import FeatureEncoder
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


@dataclass
class PairResults:
    """What came of every pair.

    Attributes:
        records: of all pairs.
        described: what `Method.describe` says, by name of the pair.
        skipped: why a model or an encoder was left out, by its name.
    """

    records: list[Record] = field(default_factory=list)
    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def compare_encoders(
    models: Sequence[str],
    encoders: Sequence[str],
    episodes: Sequence[Episode],
    settings: Settings,
    *,
    tuned: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: Callable[[], object] | None = None,
) -> PairResults:
    """Run every model with its own features and with every encoder. One model at a time is in memory.

    Each pair encodes every photo itself, so that its seconds hold all that it needs.

    Args:
        models: names, as `load_model` takes them.
        encoders: names, as `load_encoder` takes them; `OWN` comes first in any case.
        episodes: what is asked.
        settings: form of the method.
        tuned: PerSAM-F.
        device: where to compute.
        dtype: number format of the encoders.
        progress: called after every photo and model.

    Raises:
        PersamError: not one of the models is to be had.
        UsageError: an unknown device or dtype.
    """
    results = PairResults()
    matchers: dict[str, FeatureEncoder | None] = {OWN: None}
    for name in encoders:
        if name != OWN and name not in matchers:
            try:
                matchers[name] = load_encoder(name, device=device, dtype=dtype)
            except PersamError as error:
                _skip(results, name, error)
    for name in dict.fromkeys(models):
        try:
            model = load_model(name, device=device, dtype=dtype)
        except PersamError as error:
            _skip(results, name, error)
            continue
        methods = [
            PersamMethod(f"{model.name} + {encoder_name}", model, settings, tuned=tuned, encoder=encoder)
            for encoder_name, encoder in matchers.items()
        ]
        results.described |= {method.name: method.describe() for method in methods}
        results.records += run(episodes, methods, progress)
    if not results.described:
        reasons = "; ".join(reason.rstrip(".") for reason in results.skipped.values())
        raise PersamError(f"None of the models is to be had: {reasons}.")
    return results


def encoder_findings(results: PairResults, photos: PhotoSet, mode: str, tuned: bool) -> Findings:
    """The table of all pairs.

    Args:
        results: what came of them.
        photos: on which.
        mode: of the method.
        tuned: PerSAM-F.
    """
    form = "PerSAM-F" if tuned else "PerSAM"
    about = photos.about() | {"mode": mode, "method": form, "skipped": results.skipped}
    found = Results(results.records, about)
    seconds = {name: Spread.of([record.seconds for record in records]) for name, records in found.by_method.items()}
    rows = {name: each | {"seconds": asdict(seconds[name])} for name, each in results.described.items()}
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
            for name, each in results.described.items()
        ),
    )
    notes = [
        "Seconds: encoding and finding, median over the photos and [quartiles], on this machine.",
        *(f"Left out: {name}. {reason}" for name, reason in results.skipped.items()),
    ]
    return found.findings("encoders", rows, [sheet], notes)


def _skip(results: PairResults, name: str, error: PersamError) -> None:
    if isinstance(error, UsageError):  # a wrong call is not a model that happens to be missing
        raise error
    results.skipped[name] = str(error)
