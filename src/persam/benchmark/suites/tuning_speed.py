"""How fast PerSAM-F tunes: the direct solver against the published 1,000 epochs, on one model and reference."""

from __future__ import annotations

from statistics import median

from persam.benchmark.suites.suite import Findings, headline
from persam.benchmark.suites.timing import about_timing, drawn_scene, one_point, timed
from persam.method.scale import PUBLISHED_EPOCHS, Shot, shot_of, tune_as_published, tune_directly, tuning_loss
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.reports.tables import Table

_REPEATS = 9  # of the direct solver, which takes milliseconds


def measure_tuning(persam: PerSAM, epochs: int = PUBLISHED_EPOCHS) -> Findings:
    """Both ways to tune on a drawn reference: seconds, and dice + focal at the photo's full size with what they found.

    The published procedure is timed in two parts: its decoder passes, one an epoch, and its optimiser alone, the
    decoder's logits kept. Ours holds its one decoder pass.
    """
    model = persam.model
    concept = persam.learn(*drawn_scene())

    def shots(full_size: bool) -> list[Shot]:
        return [shot_of(model, each, concept, full_size=full_size) for each in concept.material]

    tune_directly(shots(full_size=False))  # warm
    passes = _decoder_passes(persam, concept.material[0].image, epochs)
    full = shots(full_size=True)
    published, published_seconds = timed(lambda: tune_as_published(full, epochs), model)
    runs = [timed(lambda: tune_directly(shots(full_size=False)), model) for _ in range(_REPEATS)]
    speed = {
        "passes": passes,
        "published": published_seconds,
        "direct": median(seconds for _, seconds in runs),
        "published_loss": float(tuning_loss(published.weights, full)),
        "direct_loss": float(tuning_loss(runs[-1][0].weights, full)),
    }
    ratio = speed["passes"] / speed["direct"]
    about = about_timing(persam) | {"epochs": epochs, "ratio": ratio} | speed
    parts: list[tuple[str, float, float | None]] = [
        (f"{epochs} decoder passes, as published", speed["passes"], None),
        (f"AdamW, {epochs} epochs, logits kept", speed["published"], speed["published_loss"]),
        ("direct, with its decoder pass", speed["direct"], speed["direct_loss"]),
    ]
    sheet = Table(
        f"Tuning on one reference: {headline(about)}",
        ("part", "seconds", "loss"),
        tuple((name, f"{seconds:.4f}", "" if loss is None else f"{loss:.6f}") for name, seconds, loss in parts),
    )
    rows = [{"part": name, "seconds": seconds, "loss": loss} for name, seconds, loss in parts]
    return Findings("tuning", about, rows, [sheet], [f"Direct is {ratio:.0f} x faster than the decoder passes alone."])


def _decoder_passes(persam: PerSAM, encoding: EncodedImage, epochs: int) -> float:
    """Seconds for the decoder passes alone that the published procedure makes: one point, three scales."""
    model = persam.model
    prompts = one_point(model, encoding)
    model.decode(encoding, prompts, multimask=True)

    def passes() -> None:
        for _ in range(epochs):
            model.decode(encoding, prompts, multimask=True)

    return timed(passes, model)[1]
