"""The results of a job, line by line, while it runs and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from persam.journal import json_line
from persam.segmentation import Segmentation
from persam.server.answers import result_of
from persam.server.jobs.folder import JobFolder
from persam.server.jobs.job import Job

_TRACKED = "results.jsonl"  # of a clip, as `persam.video` writes it


def results_of(job: Job, folder: JobFolder, after: int = 0, most: int | None = None) -> Iterator[bytes]:
    """What was found, a line of JSON for each photo or frame, numbered from 1.

    Args:
        job: which.
        folder: of it.
        after: number of the last line that is known already.
        most: lines at most; None: all that there are now.
    """
    path = folder.finds if job.kind == "album" else folder.made / _TRACKED
    if not path.exists():
        return
    with path.open("rb") as stream:
        for number, row in enumerate(islice(stream, after, None if most is None else after + most), start=after + 1):
            if not row.endswith(b"\n"):  # it is being written
                return
            yield row if job.kind == "album" else json_line(_of_frame(number, json.loads(row), job))


def _of_frame(number: int, line: dict[str, Any], job: Job) -> dict[str, Any]:
    found = [Segmentation.from_dict(one) for one in line["objects"]]
    result = result_of("", found, job.options["masks"]).model_dump(mode="json")
    kept = {name: result[name] for name in ("width", "height", "found")}
    return {"number": number, "frame": line["frame"], "time": line["time"], **kept}
