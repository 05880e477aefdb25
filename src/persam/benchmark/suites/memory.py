"""Memory that one photo takes: plain SAM, PerSAM and PerSAM-F, each at its peak.

On a GPU the allocator counts. On a CPU every job runs in a process of its own, because a process never gives all of
its memory back, and its peak is set back right before the photo, because loading a model can take more than using it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from persam.benchmark.suites.timing import drawn_scene, open_persam, plain_mask
from persam.errors import PersamError
from persam.persam import PerSAM

JOBS = ("SAM", "PerSAM", "PerSAM-F")
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# The C library keeps some of what was freed, now more, now less (with a ViT-B 50 MB up or down): here it gives back
# what is large, so that the peak is of what is in use.
_GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True)
class Memory:
    """Peak bytes by job, one number a round, and how they were measured."""

    peaks: dict[str, list[int]]
    how: str

    def peak(self, job: str) -> float:
        """Median over the rounds."""
        return median(self.peaks[job])

    def added(self, job: str) -> float:
        """Bytes over plain SAM."""
        return self.peak(job) - self.peak("SAM")


def measure_memory(
    name: str, *, side: int, rounds: int, progress: Callable[[], object], device: str, **order: Any
) -> Memory:
    """Peak memory of every job on a drawn photo of `side` pixels, the jobs in turns.

    Args:
        name: of the model.
        side: of the photo.
        rounds: how often.
        progress: called after every job.
        device: where to compute.
        order: what else `open_persam` takes.

    Raises:
        PersamError: the model is not to be had, or this system does not tell a process's peak.
    """
    order |= {"device": device}
    on_gpu = torch.device(device).type == "cuda"
    persam = open_persam(name, **order) if on_gpu else None
    peaks: dict[str, list[int]] = {job: [] for job in JOBS}
    for _ in range(rounds):
        for job in JOBS:
            if persam is not None:
                peaks[job].append(_allocated(persam, job, side))
            else:
                peaks[job].append(peak_in_process(name, **order, side=side, job=job))
            progress()
    how = "largest allocation on the GPU" if on_gpu else f"largest resident memory of a process {_since()}"
    return Memory(peaks, how)


def _allocated(persam: PerSAM, job: str, side: int) -> int:
    run = _prepare(persam, job, side)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def peak_in_process(name: str, **order: Any) -> int:
    """Peak bytes of one job on one photo, in a process of its own.

    Args:
        name: of the model.
        order: ``side`` of the photo, ``job``, and what else `open_persam` takes.

    Raises:
        PersamError: the process fails, for its own reason.
    """
    command = [sys.executable, "-m", "persam.benchmark.suites.memory", json.dumps({"name": name, **order})]
    surroundings = os.environ | _GIVES_BACK
    done = subprocess.run(  # noqa: S603 (this very program)
        command, capture_output=True, text=True, check=False, env=surroundings
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PersamError(f"The memory of {order['job']} could not be measured: {reason}")
    return int(json.loads(done.stdout.strip().splitlines()[-1]))


def _prepare(persam: PerSAM, job: str, side: int) -> Callable[[], object]:
    """What comes before the photo (a first photo as a warm-up; learning and tuning), and then the photo."""
    image, mask = drawn_scene(side)
    persam.model.encode(image)
    if job == "SAM":
        return lambda: plain_mask(persam.model, persam.model.encode(image))
    concept = persam.learn(image, mask)
    if job == "PerSAM-F":
        concept = persam.tune(concept)
    return lambda: persam.segment(image, concept)


def peak_of_process() -> int:
    """Largest resident memory of this process since `reset_peak`, in bytes.

    Raises:
        PersamError: the system does not tell.
    """
    if _STATUS.exists():  # getrusage would give the larger one of this process and of the one that started it
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        raise PersamError("This system does not tell how much memory a process took at most.") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> bool:
    """Start the peak anew from what is resident now; whether the system lets us."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _since() -> str:
    return "while it works on the photo" if reset_peak() else "since its start, the loading of the model included"


def _main(order: dict[str, Any]) -> None:
    job, side = order.pop("job"), order.pop("side")
    run = _prepare(open_persam(order.pop("name"), **order), job, side)
    reset_peak()
    run()
    print(peak_of_process())


if __name__ == "__main__":
    try:
        _main(json.loads(sys.argv[1]))
    except PersamError as error:
        sys.exit(str(error))
