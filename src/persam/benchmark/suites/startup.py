"""What one photo costs on the command line: a process that starts, imports, loads, segments and ends."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from persam.errors import PersamError, first_line

_LINE = re.compile(r"import time:\s*(\d+) \|\s*\d+ \|\s*([\w.]+)")  # microseconds of the module alone, then of all


def seconds_of_process(arguments: Sequence[str | Path]) -> float:
    """Seconds of ``persam ARGUMENTS`` in a process of its own, from its start to its end.

    Raises:
        PersamError: it fails.
    """
    begin = time.perf_counter()
    _persam((), arguments)
    return time.perf_counter() - begin


def imports_of_process(arguments: Sequence[str | Path]) -> dict[str, float]:
    """Seconds that ``persam ARGUMENTS`` spends on importing, by package, the longest first.

    The clock itself takes some of it: good for shares, not for the sum.

    Raises:
        PersamError: it fails.
    """
    return imports_by_package(_persam(("-X", "importtime"), arguments))


def imports_by_package(told: str) -> dict[str, float]:
    """Seconds by package of what Python writes with ``-X importtime``, the longest first.

    >>> imports_by_package("import time: 10 | 20 | torch.nn")
    {'torch': 1e-05}
    """
    spent: Counter[str] = Counter()
    for microseconds, module in _LINE.findall(told):
        spent[module.partition(".")[0]] += int(microseconds)
    return {package: microseconds / 1e6 for package, microseconds in spent.most_common()}


def _persam(options: Sequence[str], arguments: Sequence[str | Path]) -> str:
    command = [sys.executable, *options, "-m", "persam", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (this very program)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        raise PersamError(f"persam {arguments[0]} could not be timed: {first_line(RuntimeError(' '.join(said)))}")
    return done.stderr
