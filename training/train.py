"""Train the bundled model, or go on training it.

    python -m training.train --data train.tar --val val.tar --minutes 60 --output out/

Starts from the packaged weights unless told otherwise (`--init FILE`, `--init random`), or goes on from a checkpoint
(`--resume out/checkpoint.pt`). Writes to `--output`: checkpoint.pt (everything, to resume), latest.safetensors (the
average of the weights), best.safetensors (the one with the best validation), log.jsonl. Ends after `--minutes`, after
`--steps`, or at SIGTERM or Ctrl-C, with everything written.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from persam.models.tiny.architecture import PACKAGED_WEIGHTS

from .batches import batches
from .figures import Figure, score
from .model import Average, as_trainable_sam, attention_on, deepened, initial_network, resume, save_checkpoint
from .passes import Shares, training_step
from .photos import Photos, read_photos
from .validate import Examples, evaluate, make_examples


class Trainer:
    """Network, average, optimiser and counters of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = choose_device(options.device)
        self.amp = self.device.type == "cuda" if options.amp == "auto" else options.amp == "bf16"
        init = None if options.init == "random" else options.init
        network = initial_network(init)
        network = deepened(network, options.depths) if options.depths else network
        self.network = network.train().resize(options.size).to(self.device)
        self.network.vision_encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.network, options.ema)
        decayed = [p for p in self.network.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.network.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=options.lr, fused=True)
        self.progress: dict[str, Any] = {"steps": 0, "photos": 0, "best": -1.0}
        if options.resume:
            self.progress = resume(options.resume, self.network, self.average, self.optimiser)
        self.model = as_trainable_sam(self.network)  # last: it takes the positions from the weights
        self.random = Random(options.seed + self.progress["steps"])
        torch.manual_seed(options.seed + self.progress["steps"])
        self.out = Path(options.output)
        self.out.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        self.earlier = list(self.network.history.get("runs", []))
        self.run_steps = 0

    def learning_rate(self) -> float:
        """Warm-up over the first steps of this run, then constant or cosine over its time or steps."""
        warm = min(1.0, (self.run_steps + 1) / self.options.warm_up)
        if self.options.schedule == "constant":
            return float(self.options.lr * warm)
        done = self.part_done()
        return float(self.options.lr * warm * (0.03 + 0.97 * (0.5 + 0.5 * math.cos(math.pi * done))))

    def part_done(self) -> float:
        """Share of this run that is over, 0..1."""
        by_time = (time.monotonic() - self.started) / 60 / self.options.minutes
        by_steps = self.run_steps / self.options.steps if self.options.steps else 0.0
        return min(1.0, max(by_time, by_steps))

    def step(self, batch: Any) -> dict[str, float]:
        """One optimiser step; returns figures to log."""
        rate = self.learning_rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        half = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp)
        with half, attention_on(self.device):
            result = training_step(self.model, batch.to(self.device), self.random, Shares())
        self.optimiser.zero_grad(set_to_none=True)
        result.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimiser.step()
            self.average.update(self.network)
        self.run_steps += 1
        self.progress["steps"] += 1
        self.progress["photos"] += len(batch.images)
        return {
            "loss": float(result.total.detach()),
            "lr": rate,
            **{name: float(figure) for name, figure in result.figures.items()},
        }

    def validate(self, examples: Examples, photos: Photos) -> None:
        """Figures of the average on the validation photos; keep it if it is the best so far."""
        figures = evaluate(self.average.model, examples)
        value = score(figures)
        self.describe(photos, figures, value)
        means = {name: round(figure[0], 4) for name, figure in figures.items()}
        self.log({"validation": means, "score": round(value, 4), "size": self.options.size})
        self.average.model.save(self.out / "latest.safetensors", self.network.history)
        if value > self.progress["best"]:
            self.progress["best"] = value
            self.average.model.save(self.out / "best.safetensors", self.network.history)

    def describe(self, photos: Photos, validation: dict[str, Figure], value: float) -> None:
        """Bring the history that the weights carry up to date."""
        run = {
            "size": self.options.size,
            "photos": self.run_steps * self.options.batch,
            "minutes": round((time.monotonic() - self.started) / 60, 1),
            "lr": self.options.lr,
            "batch": self.options.batch,
            "device": str(self.device),
        }
        if self.options.depths:
            run["recipe"] = f"blocks added to the encoder: now {', '.join(map(str, self.options.depths))}"
        runs = [*self.earlier, run]
        self.network.history = {
            "photos_seen": sum(entry["photos"] for entry in runs),
            "data": photos.counts(),
            "runs": runs,
            "validation": {"size": self.options.size, "score": value, **validation},
        }

    def save(self) -> None:
        """Write the checkpoint to resume from."""
        save_checkpoint(self.out / "checkpoint.pt", self.network, self.average, self.optimiser, self.progress)

    def log(self, line: dict[str, Any]) -> None:
        """One line to log.jsonl and to the screen."""
        line = {"step": self.progress["steps"], "s": round(time.monotonic() - self.started), **line}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one; then TF32 is allowed."""
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return device


def train(options: argparse.Namespace, stopped: Callable[[], bool]) -> Trainer:
    """Run until the time or the steps are over, or `stopped` says so."""
    if options.threads:
        torch.set_num_threads(options.threads)
    photos = read_photos(options.data, objects=options.objects, classes=True)
    cores = {int(core) for core in options.loader_cores.split(",")} if options.loader_cores else None
    trainer = Trainer(options)
    seed = options.seed + trainer.progress["steps"]
    pin = trainer.device.type == "cuda"
    source = batches(photos, options.size, options.batch, seed, options.workers, cores, pin)
    examples = None
    if options.val:
        examples = make_examples(read_photos(options.val, objects=options.objects), options.size)
    found = f"{len(photos)} photos, {len(photos.things)} things, {len(photos.objects)} objects in several photos"
    print(f"{found}, {photos.counts()}", flush=True)
    if examples and options.validate_first:
        trainer.validate(examples, photos)
    mean: dict[str, float] = {}
    trainer.started = checked = time.monotonic()
    try:
        while trainer.part_done() < 1 and not stopped():
            for name, value in trainer.step(next(source)).items():
                mean[name] = value if name not in mean else 0.97 * mean[name] + 0.03 * value
            if trainer.run_steps % options.every == 0:
                speed = trainer.run_steps * options.batch / (time.monotonic() - trainer.started)
                figures = {name: round(value, 5) for name, value in sorted(mean.items())}
                trainer.log({"photos_per_s": round(speed, 1), **figures})
            if time.monotonic() - checked > options.validate_minutes * 60:
                if examples:
                    trainer.validate(examples, photos)
                trainer.save()
                checked = time.monotonic()
    except RuntimeError:  # a signal to the whole group has ended the processes that make the views, too
        if not stopped():
            raise
    if examples:
        trainer.validate(examples, photos)
    else:
        trainer.describe(photos, {}, 0.0)
        trainer.average.model.save(trainer.out / "latest.safetensors", trainer.network.history)
    trainer.save()
    return trainer


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = made.add_argument
    add("--data", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    add("--val", type=Path, help="the same, for validation")
    add("--objects", type=Path, help="JSON that names the physical things in both; default: not known")
    add("-o", "--output", required=True, type=Path, help="folder for checkpoint, weights and log")
    add("--init", default=str(PACKAGED_WEIGHTS), help="weights to start from, or 'random'; default: the packaged ones")
    add("--depths", type=_depths, help="blocks of the four stages, as in 3,4,4,4: more than there were")
    add("--resume", type=Path, help="a checkpoint.pt: also its optimiser, average and counters")
    add("--minutes", default=60.0, type=float)
    add("--steps", default=0, type=int, help="end after so many steps; 0: by time only")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add("--amp", default="auto", choices=("auto", "off", "bf16"), help="auto: bf16 on CUDA, float32 on CPU")
    add("--size", default=128, type=int, help="side of the training images, a multiple of 32")
    add("--batch", default=32, type=int, help="views a step; an even number")
    add("--lr", default=5e-4, type=float, help="8e-4 is the highest that works at batch 32")
    add("--schedule", default="constant", choices=("constant", "cosine"))
    add("--warm-up", default=100, type=int, help="steps")
    add("--ema", default=0.999, type=float, help="decay of the average of the weights")
    add("--workers", default=1, type=int, help="processes that make views; 0: none")
    add("--loader-cores", default="", help="cores for them, as in 0,1; default: any")
    add("--threads", default=0, type=int, help="threads of torch; 0: its own choice")
    add("--every", default=50, type=int, help="steps between two lines of the log")
    add("--validate-minutes", default=10.0, type=float)
    add("--validate-first", action="store_true", help="also before the first step")
    add("--seed", default=0, type=int)
    return made


def _depths(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    asked: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: asked.append(number))
    torch.set_flush_denormal(True)  # of the whole process, so not in `train`
    train(parser().parse_args(arguments), lambda: bool(asked))


if __name__ == "__main__":
    main()
