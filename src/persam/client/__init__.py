"""A client of the service that `persam serve` starts: learn, tune and segment over HTTP, and jobs.

It needs httpx, and neither PyTorch nor FastAPI; masks are decoded with pycocotools when they are looked at.

>>> from persam.client import Client
>>> with Client("http://127.0.0.1:8000") as client:                         # doctest: +SKIP
...     client.learn("my mug", "mug.jpg", "mug_mask.png")
...     found = client.segment("kitchen.jpg", "my mug").found[0]
...     found.present, found.score, found.mask.shape
"""

from __future__ import annotations

from persam.client.client import Client
from persam.client.connection import LateError, RefusedError, ShownBy
from persam.client.records import ConceptRecord, EventRecord, FoundRecord, JobRecord, ObjectRecord, PhotoRecord

__all__ = [
    "Client",
    "ConceptRecord",
    "EventRecord",
    "FoundRecord",
    "JobRecord",
    "LateError",
    "ObjectRecord",
    "PhotoRecord",
    "RefusedError",
    "ShownBy",
]
