"""Training on tiny random pipelines of every family: what comes out, what is kept, what is refused."""

from __future__ import annotations

import csv
import functools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from tests.dreambooth.prepared import make_prepared
from tests.dreambooth.tiny_pipelines import FAMILIES, RESOLUTION
from transformers import CLIPConfig

from persam.dreambooth import train
from persam.dreambooth.options import TrainOptions
from persam.dreambooth.pipelines import load_pipeline, network_of
from persam.dreambooth.runs import load_run
from persam.dreambooth.trainer import Training, choose_trained
from persam.errors import PersamError, PersamWarning, UsageError

Tiny = Callable[[str], Path]
LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture(autouse=True)
def no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of the memory takes as long as these trainings, and has tests of its own."""
    monkeypatch.setattr("persam.dreambooth.training.check_memory", lambda *_: None)


@pytest.fixture
def short(class_images: Path) -> dict[str, Any]:
    """Options of a training that takes a moment."""
    return {"resolution": RESOLUTION, "steps": 3, "class_images": class_images, "device": "cpu", "rank": 4}


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_of_each_family_loads_in_a_plain_pipeline_and_changes_what_it_draws(
    family: str, tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    words = family != "sd3"  # once with its text encoders frozen
    run = train(prepared, tmp_path / "run", tiny(family), text_encoder=words, learning_rate=0.05, **short)
    assert (run.family, run.method, run.masked, run.steps) == (family, "lora", True, 3)
    assert load_run(tmp_path / "run") == run

    plain = DiffusionPipeline.from_pretrained(tiny(family))
    call = {"prompt": "a photo of t@y mug", "height": RESOLUTION, "width": RESOLUTION, "num_inference_steps": 2}

    def drawn() -> np.ndarray:
        return plain(**call, generator=torch.Generator().manual_seed(0), output_type="np").images

    before = drawn()
    plain.load_lora_weights(str(tmp_path / "run"))
    after = drawn()
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() > 1e-3
    if family == "sd15":
        plain = run.pipeline("cpu", "float32")
        assert np.array_equal(drawn(), after)
    parts = {name.split(".")[0] for name in load_file(tmp_path / "run" / LORA)}
    assert ("text_encoder" in parts) == words


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_full_training_saves_a_whole_pipeline(
    family: str, tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    del short["rank"]
    run = train(prepared, tmp_path / "run", tiny(family), method="full", **short)
    before = network_of(load_pipeline(tiny(family), device="cpu", dtype="float32")).state_dict()
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    after = network_of(pipeline).state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(moved) > 0.9 * len(before)
    assert max((after[name] - before[name]).abs().max().item() for name in moved) < 1e-5  # at a rate of 1e-6
    assert pipeline.text_encoder is not None
    assert network_of(run.pipeline("cpu", "float32")).dtype == torch.float32


@pytest.mark.parametrize(("method", "ending", "steps"), [("lora", "killed", 40), ("full", "stopped", 4)])
def test_a_training_that_did_not_end_goes_on_and_ends_in_the_same_weights(
    method: str,
    ending: str,
    steps: int,
    tiny: Tiny,
    prepared: Path,
    tmp_path: Path,
    short: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {**short, "steps": steps, "checkpoint_every": steps // 4, "method": method, "flip": True}
    if method == "full":
        del options["rank"]
    else:
        options["prior"] = 0.0
    whole, halting = tmp_path / "whole", tmp_path / "halting"
    train(prepared, whole, tiny("sd15"), **options)

    advance, stop_at = Training.advance, 3 * steps // 4 - 1

    def halt(self: Training) -> Any:
        if self.step == stop_at:
            raise KeyboardInterrupt if ending == "stopped" else _KilledError
        return advance(self)

    monkeypatch.setattr(Training, "advance", halt)
    with pytest.raises(KeyboardInterrupt if ending == "stopped" else _KilledError) as stop:
        train(prepared, halting, tiny("sd15"), **options)
    monkeypatch.undo()
    assert not (halting / "run.json").exists()
    kept = sorted((halting / "checkpoints").iterdir())[-1].name
    if ending == "stopped":
        assert f"{stop_at} of {steps} steps are kept in {halting}" in str(stop.value)
        assert kept == f"step_{stop_at:06}.pt"
    else:
        assert kept == f"step_{steps // 2:06}.pt"
    seen: list[dict[str, Any]] = []
    train(prepared, halting, tiny("sd15"), progress=lambda **told: seen.append(told), **options)
    assert sum("done" in told and "loss" in told.get("what", "") for told in seen) == steps - int(kept[5:11])

    learned = LORA if method == "lora" else "pipeline/unet/diffusion_pytorch_model.safetensors"
    assert (halting / learned).read_bytes() == (whole / learned).read_bytes()
    assert (halting / "losses.csv").read_bytes() == (whole / "losses.csv").read_bytes()


@pytest.mark.parametrize("broken", [False, True])
def test_half_a_step_is_never_kept(
    broken: bool, tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C amid the update of the weights waits for its end; whatever else ends it there leaves nothing of it."""
    step = torch.optim.AdamW.step
    calls: list[int] = []

    def disturbed(self: torch.optim.AdamW, *_: Any, **__: Any) -> None:
        calls.append(1)
        if len(calls) == 2 and broken:
            raise KeyboardInterrupt
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", disturbed)
    with pytest.raises(KeyboardInterrupt, match=f"{0 if broken else 2} of 3 steps are kept"):
        train(prepared, tmp_path / "run", tiny("sd15"), **{**short, "prior": 0.0})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / "run" / "checkpoints" / "step_000002.pt").exists() != broken
    monkeypatch.undo()
    train(prepared, tmp_path / "run", tiny("sd15"), **{**short, "prior": 0.0})
    train(prepared, tmp_path / "whole", tiny("sd15"), **{**short, "prior": 0.0})
    assert (tmp_path / "run" / LORA).read_bytes() == (tmp_path / "whole" / LORA).read_bytes()


class _KilledError(BaseException):
    """As a kill: nobody catches it."""


def test_more_steps_go_on_from_the_last_and_fewer_are_refused(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    long, grown = tmp_path / "long", tmp_path / "grown"
    train(prepared, long, tiny("sd15"), **{**short, "steps": 5})
    train(prepared, grown, tiny("sd15"), **short)
    train(prepared, grown, tiny("sd15"), **{**short, "steps": 5})
    assert (grown / LORA).read_bytes() == (long / LORA).read_bytes()
    with pytest.raises(UsageError, match="steps was 5 and is 3"):
        train(prepared, grown, tiny("sd15"), **short)


def test_the_same_again_does_nothing_and_other_options_are_refused(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def learned() -> bytes:
        return (tmp_path / "run" / LORA).read_bytes()

    first = train(prepared, tmp_path / "run", tiny("sd15"), **short)
    before = learned()
    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", None)
        assert train(prepared, tmp_path / "run", tiny("sd15"), **short) == first
    with pytest.raises(
        UsageError, match=r"learning rate was 0.0001 and is 0.01; give the same to go on, choose another"
    ):
        train(prepared, tmp_path / "run", tiny("sd15"), learning_rate=0.01, **short)
    other = tmp_path / "other"
    make_prepared(other, photos=2)
    with pytest.raises(UsageError, match="other options: photos, masks or captions were changed; give"):
        train(other, tmp_path / "run", tiny("sd15"), **short)
    with pytest.raises(UsageError, match="resolution 30"):
        train(prepared, tmp_path / "run", tiny("sd15"), overwrite=True, **{**short, "resolution": 30})
    assert learned() == before
    train(prepared, tmp_path / "run", tiny("sd15"), overwrite=True, learning_rate=0.01, **short)
    assert learned() != before


def test_with_masks_of_ones_and_without_masks_the_weights_are_the_same(
    tiny: Tiny, tmp_path: Path, short: dict[str, Any]
) -> None:
    folder = tmp_path / "prepared"
    for subject in make_prepared(folder):
        for photo in subject.photos:
            Image.new("L", Image.open(photo.mask).size, 255).save(photo.mask)
    for name, masked in (("masked", True), ("plain", False)):
        train(folder, tmp_path / name, tiny("sd15"), masked=masked, **short)
    ones, plain = (load_file(tmp_path / name / LORA) for name in ("masked", "plain"))
    assert all(torch.equal(ones[name], plain[name]) for name in plain)
    assert load_run(tmp_path / "plain").masked is False


def test_a_floor_of_one_is_plain_training_and_without_masks_the_same_crops_are_seen(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    losses = {}
    for name, more in (("masked", {}), ("floor 1", {"floor": 1.0}), ("plain", {"masked": False})):
        run = train(prepared, tmp_path / name, tiny("sd15"), **{**short, "prior": 0.0}, **more)
        losses[name] = run.more["loss_of_first_tenth"]
    assert losses["floor 1"] == pytest.approx(losses["plain"], rel=1e-5)
    assert losses["masked"] != pytest.approx(losses["plain"], rel=1e-3)


def test_several_subjects_take_turns_and_have_their_class_images(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    model = tiny("sd15")
    capfd.readouterr()
    make_prepared(tmp_path / "two", ("mug", "t@y", "mug"), ("rex", "x@z", "dog"), photos=2)
    asked: list[str] = []
    loss = Training._loss

    def listen(self: Training, photo: Any, generator: Any) -> Any:
        asked.append(photo.caption)
        return loss(self, photo, generator)

    monkeypatch.setattr(Training, "_loss", listen)
    there = tmp_path / "run" / "class_images" / "dog" / "class_0000.png"
    there.parent.mkdir(parents=True)
    Image.new("RGB", (40, 30), "gray").save(there)
    options = {"resolution": RESOLUTION, "steps": 4, "class_count": 1, "device": "cpu", "rank": 2}
    run = train(tmp_path / "two", tmp_path / "run", model, **options)
    assert capfd.readouterr() == ("", "")
    assert asked == 2 * ["a photo of t@y mug", "a photo of mug", "a photo of x@z dog", "a photo of dog"]
    made = sorted(str(file.relative_to(run.folder)) for file in (run.folder / "class_images").rglob("*.png"))
    assert made == ["class_images/dog/class_0000.png", "class_images/mug/class_0000.png"]
    assert Image.open(run.folder / made[1]).size == (RESOLUTION, RESOLUTION)  # drawn by the model
    assert Image.open(there).size == (40, 30)
    assert [subject.name for subject in run.subjects] == ["mug", "rex"]


def test_samples_are_drawn_while_it_is_trained(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    prompts = ("a photo of t@y mug", "a photo of t@y mug on the beach")
    options = {**short, "steps": 4, "sample_every": 2, "sample_prompts": prompts, "sample_steps": 1, "prior": 0.0}
    train(prepared, tmp_path / "run", tiny("sd15"), learning_rate=0.05, **options)
    plain = tmp_path / "plain"
    train(prepared, plain, tiny("sd15"), learning_rate=0.05, **{**short, "steps": 4, "prior": 0.0})
    samples = sorted(file.name for file in (tmp_path / "run" / "samples").iterdir())
    steps = [f"step_{step:06}_{number:02}.png" for step in (2, 4) for number in (0, 1)]
    assert samples == ["samples.png", *steps]
    assert (tmp_path / "run" / LORA).read_bytes() == (plain / LORA).read_bytes()  # they change nothing


@pytest.mark.parametrize("more", [{"accumulate": 2, "prior": 0.0}, {"gradient_checkpointing": True}, {"dtype": "bf16"}])
def test_other_ways_to_train(
    more: dict[str, Any], tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    random = torch.random.get_rng_state()
    run = train(prepared, tmp_path / "run", tiny("sd15"), **short, **more)
    assert torch.equal(torch.random.get_rng_state(), random)
    with (tmp_path / "run" / "losses.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in rows] == [1, 2, 3]
    assert all((float(row["prior_loss"]) > 0) == (run.more["prior"] > 0) for row in rows)
    if "gradient_checkpointing" in more:  # the same in other memory
        train(prepared, tmp_path / "plain", tiny("sd15"), **short)
        one, other = (load_file(tmp_path / name / LORA) for name in ("run", "plain"))
        assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def damage(folder: Path, how: str) -> None:
    mask, photo = folder / "mug" / "1_mask.png", folder / "mug" / "1.png"
    if how == "empty mask":
        Image.new("L", Image.open(mask).size, 0).save(mask)
    elif how == "other size":
        Image.new("L", (50, 50), 255).save(mask)
    elif how == "tiny subject":
        pixels = np.zeros((40, 56), np.uint8)
        pixels[3, 4] = 255
        Image.fromarray(pixels).save(mask)
    elif how == "no photo":
        photo.write_bytes(b"no")
    elif how == "no list":
        (folder / "dreambooth.json").unlink()
    elif how == "same words":
        told = json.loads((folder / "dreambooth.json").read_text())
        told["subjects"].append({**told["subjects"][0], "name": "cup"})
        (folder / "dreambooth.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("empty mask", "is empty; draw the subject"),
        ("other size", "1_mask.png"),
        ("tiny subject", "too small in .*1.png to be learned"),
        ("no photo", "1.png"),
        ("no list", "has no dreambooth.json"),
        ("same words", "'mug' and 'cup' would both be 'a photo of t@y mug'"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_said_before_anything_is_made(
    how: str, said: str, tiny: Tiny, tmp_path: Path, short: dict[str, Any]
) -> None:
    make_prepared(tmp_path / "prepared")
    damage(tmp_path / "prepared", how)
    with pytest.raises(PersamError, match=said) as error:
        train(tmp_path / "prepared", tmp_path / "run", tiny("sd15"), **short)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "lorax"}, 'no method "lorax"'),
        ({"floor": 1.5}, "share from 0 to 1"),
        ({"steps": 0}, "Steps must be at least 1"),
        ({"learning_rate": -1.0}, "learning rate is above 0"),
        ({"resolution": 30}, "does not fit this model: take a multiple of 8, such as 32"),
        ({"sample_every": 3}, "Samples need a prompt"),
        ({"sample_steps": 0}, "Sample steps must be at least 1"),
        ({"seed": 2**63}, "The seed is from 0 to 9223372036854775807"),
        ({"seed": -1}, "The seed is from 0"),
        ({"eight_bit": True}, "needs bitsandbytes, which is not installed"),
        ({"device": "tpu"}, 'no device "tpu"'),
    ],
)
def test_an_option_that_makes_no_sense_is_said(
    options: dict[str, Any], said: str, tiny: Tiny, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(PersamError, match=said):
        train(prepared, tmp_path / "run", tiny("sd15"), **{"device": "cpu", "prior": 0.0, **options})


def test_a_loss_that_is_no_number_ends_it(tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]) -> None:
    with pytest.raises(PersamError, match="no number any more in step .*: take a lower learning rate than 1"):
        train(
            prepared,
            tmp_path / "run",
            tiny("sd15"),
            **{**short, "steps": 30, "prior": 0.0},
            method="full",
            learning_rate=1.0,
        )


def test_the_memory_that_ran_out_is_one_sentence(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Training) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(Training, "advance", fail)
    with pytest.raises(PersamError, match="not suffice to train .*; switch on --gradient-checkpointing, or train LoRA"):
        train(prepared, tmp_path / "run", tiny("sd15"), **short, method="full")


def stopped_after(step: int, monkeypatch: pytest.MonkeyPatch, *called: Any, **options: Any) -> None:
    """Train, and press Ctrl-C after so many steps."""
    advance = Training.advance

    def halt(self: Training) -> Any:
        if self.step == step:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", halt)
        with pytest.raises(KeyboardInterrupt, match=f"{step} of"):
            train(*called, **options)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options, run = {**short, "checkpoint_every": 1, "prior": 0.0}, tmp_path / "run"
    stopped_after(2, monkeypatch, prepared, run, tiny("sd15"), **options)
    kept = run / "checkpoints" / "step_000002.pt"
    kept.write_bytes(kept.read_bytes()[:1000])
    seen: list[dict[str, Any]] = []
    train(prepared, run, tiny("sd15"), progress=lambda **told: seen.append(told), **options)
    assert [told["done"] for told in seen if "loss" in told.get("what", "")] == [2, 3]
    train(prepared, tmp_path / "whole", tiny("sd15"), **options)
    assert (run / LORA).read_bytes() == (tmp_path / "whole" / LORA).read_bytes()

    (run / LORA).unlink()
    for file in (run / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(PersamError, match="step_000003.pt cannot be read; begin anew with --overwrite"):
        train(prepared, run, tiny("sd15"), **options)
    train(prepared, run, tiny("sd15"), overwrite=True, **options)
    assert (run / LORA).read_bytes() == (tmp_path / "whole" / LORA).read_bytes()


def test_a_run_without_its_weights_is_not_done(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**short, "prior": 0.0}
    run = train(prepared, tmp_path / "run", tiny("sd15"), **options)
    before = run.learned.read_bytes()
    run.learned.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", None)  # the checkpoint is enough
        train(prepared, tmp_path / "run", tiny("sd15"), **options)
    assert run.learned.read_bytes() == before


@pytest.mark.parametrize("method", ["lora", "full"])
def test_folders_of_others_stay(method: str, tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]) -> None:
    """A folder in which somebody has a pipeline, photos and checkpoints of their own."""
    options = {**short, "steps": 1, "prior": 0.0, "method": method, "sample_prompts": ("a mug",), "sample_steps": 1}
    if method == "full":
        del options["rank"]
    theirs = [tmp_path / name for name in ("checkpoints/step_001000.pt", "samples/beach.png", "pipeline/model.bin")]
    for file in theirs:
        file.parent.mkdir()
        file.write_text("mine")
        with pytest.raises(
            UsageError, match=f"{file.parent} holds files that persam did not write, such as {file.name}"
        ):
            train(prepared, tmp_path, tiny("sd15"), **options)
    if method == "full":
        with pytest.raises(UsageError, match="pipeline holds files that persam did not write"):
            train(prepared, tmp_path, tiny("sd15"), overwrite=True, **options)
        theirs.pop().unlink()
    for _ in range(2):
        train(prepared, tmp_path, tiny("sd15"), overwrite=True, **options)
    assert all(file.read_text() == "mine" for file in theirs)
    (tmp_path / "samples" / "note.txt").write_text("mine")
    assert train(prepared, tmp_path, tiny("sd15"), **{**options, "steps": 2}).steps == 2


def test_a_base_in_the_runs_folder_is_refused(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    base = tmp_path / "pipeline"
    shutil.copytree(tiny("sd15"), base)
    with pytest.raises(UsageError, match="The model .*pipeline lies in .*, where the run is written"):
        train(prepared, tmp_path, base, overwrite=True, **short, method="full")
    assert (base / "model_index.json").is_file()


def test_class_images_of_another_model_are_drawn_again_in_the_run_and_refused_elsewhere(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = functools.partialmethod(StableDiffusionPipeline.__call__, num_inference_steps=2)
    monkeypatch.setattr(StableDiffusionPipeline, "__call__", fast)
    run, record = tmp_path / "run", tmp_path / "run" / "class_images" / "mug" / "class_images.json"
    options = {**short, "class_images": None, "class_count": 2, "steps": 2}
    stopped_after(1, monkeypatch, prepared, run, tiny("sd15"), **options)
    pictures = sorted(record.parent.glob("*.png"))
    drawn = [file.read_bytes() for file in pictures]
    assert json.loads(record.read_text()) == {
        "model": str(tiny("sd15")), "prompt": "a photo of mug", "resolution": RESOLUTION, "seed": 0
    }  # fmt: skip
    with pytest.raises(UsageError, match="were drawn otherwise: seed was 0 and is 1; choose another --class-images"):
        train(prepared, tmp_path / "other", tiny("sd15"), **{**options, "class_images": run / "class_images"}, seed=1)

    pictures[0].unlink()  # one that is missing is drawn as it was
    Image.new("RGB", (32, 32)).save(pictures[1])
    with pytest.raises(UsageError, match="holds a training with other options: class images were changed"):
        train(prepared, run, tiny("sd15"), **options)
    assert pictures[0].read_bytes() == drawn[0]
    pictures[1].write_bytes(drawn[1])
    train(prepared, run, tiny("sd15"), **options)

    train(prepared, run, tiny("sd15"), overwrite=True, **options, seed=2**63 - 1)
    assert [file.read_bytes() for file in pictures] != drawn
    assert json.loads(record.read_text())["seed"] == 2**63 - 1


@pytest.mark.parametrize("what", ["LoRA", "pipeline"])
def test_a_full_disk_is_one_sentence_and_nothing_of_the_training_is_lost(
    what: str, tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    options = {**short, "steps": 1, "prior": 0.0, "method": "lora" if what == "LoRA" else "full"}
    with monkeypatch.context() as patch:
        patch.setattr("persam.dreambooth.checkpoints.save_lora", fail)
        patch.setattr(DiffusionPipeline, "save_pretrained", fail)
        with pytest.raises(PersamError, match=r"Cannot write .* \(Error while .* free some room on the disk"):
            train(prepared, tmp_path / "run", tiny("sd15"), **options)
        patch.setattr(Training, "advance", None)
    assert train(prepared, tmp_path / "run", tiny("sd15"), **options).learned.exists()


def test_memory_that_runs_out_for_samples_costs_no_step(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    options = {**short, "prior": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr("persam.dreambooth.training.draw_samples", fail)
        with pytest.raises(PersamError, match="to draw samples .*; leave out --sample-prompt: the steps are kept"):
            train(prepared, tmp_path / "run", tiny("sd15"), **options, sample_prompts=("a mug",), sample_every=2)
    assert (tmp_path / "run" / "checkpoints" / "step_000002.pt").is_file()
    run = train(prepared, tmp_path / "run", tiny("sd15"), **options, gradient_checkpointing=True)  # as advised
    assert (run.steps, run.more["gradient_checkpointing"], run.more["sample_prompts"]) == (3, True, [])


def test_memory_that_runs_out_for_class_images_is_one_sentence(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(DiffusionPipeline, "to", fail)
    pipeline = DiffusionPipeline.from_pretrained(tiny("sd15"))
    monkeypatch.setattr("persam.dreambooth.training.load_pipeline", lambda *_, **__: pipeline)
    with pytest.raises(PersamError, match="too little memory to draw class images at 32 pixels .* --class-images DIR"):
        train(prepared, tmp_path / "run", tiny("sd15"), **{**short, "class_images": None})


@pytest.mark.parametrize("method", ["lora", "full"])
def test_samples_are_decoded_out_of_autocast(
    method: str, tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    decode = AutoencoderKL._decode

    def listen(self: AutoencoderKL, latents: torch.Tensor, **more: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return decode(self, latents, **more)

    monkeypatch.setattr(AutoencoderKL, "_decode", listen)
    options = {**short, "steps": 1, "prior": 0.0, "sample_prompts": ("a mug",), "sample_steps": 1, "method": method}
    train(prepared, tmp_path / "run", tiny("sdxl"), dtype="bf16", **options)
    assert seen == [False]


def test_text_encoders_have_the_rate_of_the_scripts(tiny: Tiny) -> None:
    def rates(family: str) -> list[tuple[float, float]]:
        pipeline = load_pipeline(tiny(family), device="cpu", dtype="float32")
        choose_trained(pipeline, words=True, full=True)
        options = TrainOptions(method="full", text_encoder=True, learning_rate=1e-4)
        training = Training(pipeline, [], {}, options, torch.device("cpu"), torch.float32)
        groups = training.optimizer.param_groups
        assert sum(len(group["params"]) for group in groups) == len(training.trained)
        return [(group["lr"], group["weight_decay"]) for group in groups]

    assert rates("sdxl") == rates("flux") == [(1e-4, 1e-4), (5e-6, 1e-3)]
    assert rates("sd15") == [(1e-4, 1e-2), (1e-4, 1e-2)]


def test_a_mistake_leaves_nothing_that_a_second_try_would_stumble_over(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="resolution 30"):
        train(prepared, tmp_path / "run", tiny("sd15"), **{**short, "resolution": 30})
    assert not (tmp_path / "run").exists()
    assert train(prepared, tmp_path / "run", tiny("sd15"), **short).steps == 3


def test_a_caption_without_the_identifier_is_warned_of(tiny: Tiny, tmp_path: Path, short: dict[str, Any]) -> None:
    make_prepared(tmp_path / "prepared")
    file = tmp_path / "prepared" / "dreambooth.json"
    file.write_text(file.read_text().replace("a photo of t@y mug", "my mug", 1))
    with pytest.warns(PersamWarning, match=r"The caption of .*0.png lacks 't@y', so that it will not come to mean mug"):
        train(tmp_path / "prepared", tmp_path / "run", tiny("sd15"), **short)


def test_a_safety_checker_does_not_black_out_what_is_drawn_and_is_saved_with_the_rest(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 16, "projection_dim": 16}  # fmt: skip
    pipeline = load_pipeline(tiny("sd15"), device="cpu", dtype="float32")
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))
    pipeline.register_modules(safety_checker=checker)
    monkeypatch.setattr(StableDiffusionSafetyChecker, "forward", None)
    monkeypatch.setattr("persam.dreambooth.training.load_pipeline", lambda *_, **__: pipeline)
    options = {**short, "method": "full", "sample_prompts": ("a mug",), "sample_steps": 1}
    train(prepared, tmp_path / "run", tiny("sd15"), **options)
    index = json.loads((tmp_path / "run" / "pipeline" / "model_index.json").read_text())
    assert index["safety_checker"] == ["stable_diffusion", "StableDiffusionSafetyChecker"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]


def test_class_images_that_lie_elsewhere_are_said(
    tiny: Tiny, prepared: Path, tmp_path: Path, short: dict[str, Any]
) -> None:
    home = tmp_path / "mugs"
    home.mkdir()
    Image.new("RGB", (32, 32)).save(home / "a.png")
    with pytest.raises(UsageError, match="holds pictures, but not by their kind; move those of mug to .*mugs.mug"):
        train(prepared, tmp_path / "run", tiny("sd15"), **{**short, "class_images": home})
    (home / "mug").write_text("")
    with pytest.raises(UsageError, match="is a file, where a folder of class images should be"):
        train(prepared, tmp_path / "run", tiny("sd15"), **{**short, "class_images": home})
