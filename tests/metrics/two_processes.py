"""Run by a test as a program: two processes share the updates of every metric class, and each writes what it computes.

The second process gets few photos, and of clips and of presence none.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import torch
from torch import distributed

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.metrics.sharing import CASES, numbers, updates


def work(rank: int, store: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    computed = {}
    for name, case in CASES.items():
        metric = case.make()
        rows = updates(case)
        cut = len(rows) if case.all_in_first else len(rows) - 2
        for row in rows[:cut] if rank == 0 else rows[cut:]:
            metric.update(*row)
        computed[name] = numbers(metric.compute())
    Path(f"{store}.{rank}.json").write_text(json.dumps(computed))
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Forked, not started anew: what was imported is shared.
    workers = [multiprocessing.get_context("fork").Process(target=work, args=(rank, sys.argv[1])) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))
