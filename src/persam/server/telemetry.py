"""What the service tells of itself: Prometheus' metrics, and one line of log for every request.

Nothing of what was sent is in them: no names, no tokens, no addresses; of a path only its template.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from persam.server.engine import Engine, Turn

LOGGER = logging.getLogger("persam.server")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"))
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_LONGEST_WORD = 2_000  # characters of one value in a line of log


class Telemetry:
    """The metrics of one service, in a registry of its own.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._now: _Now | None = None
        ProcessCollector(registry=self.registry)
        here: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter("persam_requests", "Requests answered.", ["method", "path", "status"], **here)
        self._latency = Histogram(
            "persam_request_seconds", "Seconds from a request to its answer.", ["path"], buckets=_SECONDS, **here
        )
        self._received = Counter("persam_received_bytes", "Bytes of requests' bodies.", **here)
        self._batches = Histogram(
            "persam_batch_photos", "Photos encoded in one pass.", buckets=(1, 2, 4, 8, 16, 32), **here
        )
        self._model = Counter("persam_model_seconds", "Seconds in which the model worked.", ["turn"], **here)
        self._served = Counter("persam_model_asks", "Asks that the model served.", ["turn"], **here)

    def watch(self, engine: Engine, jobs: Callable[[], Mapping[Any, int]] | None = None) -> None:
        """Also show how many wait for the model, and how many jobs are in which state; as long as this is the last."""
        if self._now is not None:  # of an application that was stopped and started again
            self.registry.unregister(self._now)
        self._now = _Now(engine, jobs)
        self.registry.register(self._now)

    def on_turn(self, turn: Turn, served: int, seconds: float) -> None:
        """Take note of a turn of the engine."""
        self._model.labels(turn).inc(seconds)
        self._served.labels(turn).inc(served)
        if turn == "photos":
            self._batches.observe(served)

    def on_request(self, method: str, path: str, status: int, seconds: float, received: int) -> None:
        """Take note of an answer; `path` is a template, such as ``/v1/concepts/{name}``."""
        self._requests.labels(method if method in _METHODS else "other", path, str(status)).inc()
        self._latency.labels(path).observe(seconds)
        self._received.inc(received)

    def page(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Now(Collector):
    """What is as it is at the moment of asking."""

    def __init__(self, engine: Engine, jobs: Callable[[], Mapping[Any, int]] | None) -> None:
        self.engine, self.jobs = engine, jobs

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("persam_queue_depth", "Asks that wait for the model.")
        depth.add_metric([], self.engine.depth)
        yield depth
        if self.jobs is not None:
            states = GaugeMetricFamily("persam_jobs", "Jobs by state.", labels=["state"])
            for state, number in self.jobs().items():
                states.add_metric([state], number)
            yield states


class LogLines(logging.Formatter):
    """A line of log, as JSON for programs or as text for people; line ends in it are escaped in both."""

    def __init__(self, form: Literal["json", "text"]) -> None:
        super().__init__()
        self.form = form

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        about: dict[str, Any] = getattr(record, "about", {})
        words: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage()[:_LONGEST_WORD],
            **{name: value[:_LONGEST_WORD] if isinstance(value, str) else value for name, value in about.items()},
        }
        if record.exc_info:
            words["traceback"] = self.formatException(record.exc_info)
        if self.form == "json":
            return json.dumps(words, ensure_ascii=True)
        trace = words.pop("traceback", None)
        time, level, event = words.pop("time"), words.pop("level"), words.pop("event")
        more = " ".join(f"{name}={value}" for name, value in words.items())
        line = f"{time[11:19]} {level} {event} {more}".rstrip().encode("unicode_escape").decode()
        return line if trace is None else f"{line}\n{trace}"


def log_to_stderr(form: Literal["json", "text"]) -> None:
    """Write the service's log, and what its web server says, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLines(form))
    for name, level in (("persam.server", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def log(event: str, *, level: int = logging.INFO, trace: bool = False, **about: Any) -> None:
    """Write a line to the service's log.

    Args:
        event: what happened, in a word or two.
        level: how bad it is.
        trace: with the traceback of the error that is being handled.
        about: more, each under its name.
    """
    LOGGER.log(level, event, extra={"about": about}, exc_info=trace)
