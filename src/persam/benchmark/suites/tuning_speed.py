"""How fast PerSAM-F tunes: the direct solver against the published 1,000 epochs, on one model and reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median

from persam.benchmark.suites.suite import Findings, headline, table
from persam.benchmark.suites.timing import about_timing, drawn_scene, one_point, timed
from persam.concept import Concept
from persam.learning import shot_of
from persam.method.scale import PUBLISHED_EPOCHS, Shot, tune_as_published, tune_directly, tuning_loss
from persam.persam import PerSAM


@dataclass(frozen=True)
class TuningSpeed:
    """Seconds and final losses of both ways to tune, on one reference.

    Attributes:
        passes: seconds for the decoder passes that the published procedure makes (one an epoch).
        published: seconds for its optimiser alone, the decoder's logits kept.
        direct: seconds for ours, including its one decoder pass (median of several runs).
        published_loss, direct_loss: dice + focal at the photo's full size with the weights found.
    """

    passes: float
    published: float
    direct: float
    published_loss: float
    direct_loss: float


def tuning_speed(persam: PerSAM, concept: Concept, epochs: int = PUBLISHED_EPOCHS, repeats: int = 9) -> TuningSpeed:
    """Time both on the references of a concept fresh from `PerSAM.learn`."""
    model = persam.model

    def shots(full_size: bool) -> list[Shot]:
        return [shot_of(each, concept, model, full_size=full_size) for each in concept.material]

    tune_directly(shots(full_size=False))  # warm
    passes = _decoder_passes(persam, concept, epochs)
    full = shots(full_size=True)
    published, published_seconds = timed(lambda: tune_as_published(full, epochs), model)
    runs = [timed(lambda: tune_directly(shots(full_size=False)), model) for _ in range(repeats)]
    return TuningSpeed(
        passes,
        published_seconds,
        median(seconds for _, seconds in runs),
        float(tuning_loss(published.weights, full)),
        float(tuning_loss(runs[-1][0].weights, full)),
    )


def _decoder_passes(persam: PerSAM, concept: Concept, epochs: int) -> float:
    """Seconds for the decoder passes alone that the published procedure makes: one point, three scales."""
    model, encoding = persam.model, concept.material[0].image.prompting
    prompts = one_point(model, encoding)
    model.decode(encoding, prompts, multimask=True)

    def passes() -> None:
        for _ in range(epochs):
            model.decode(encoding, prompts, multimask=True)

    return timed(passes, model)[1]


def measure_tuning(persam: PerSAM, epochs: int = PUBLISHED_EPOCHS) -> Findings:
    """The table of both ways to tune, on a drawn reference."""
    image, mask = drawn_scene()
    speed = tuning_speed(persam, persam.learn(image, mask), epochs)
    ratio = speed.passes / speed.direct
    about = about_timing(persam) | {"epochs": epochs, "ratio": ratio} | asdict(speed)
    parts: list[tuple[str, float, float | None]] = [
        (f"{epochs} decoder passes, as published", speed.passes, None),
        (f"AdamW, {epochs} epochs, logits kept", speed.published, speed.published_loss),
        ("direct, with its decoder pass", speed.direct, speed.direct_loss),
    ]
    sheet = table(
        f"Tuning on one reference: {headline(about)}",
        ("part", "seconds", "loss"),
        tuple((name, f"{seconds:.4f}", "" if loss is None else f"{loss:.6f}") for name, seconds, loss in parts),
    )
    rows = [{"part": name, "seconds": seconds, "loss": loss} for name, seconds, loss in parts]
    return Findings("tuning", about, rows, [sheet], [f"Direct is {ratio:.0f} x faster than the decoder passes alone."])
