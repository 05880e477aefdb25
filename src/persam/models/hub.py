"""What transformers loads by name, from this machine or the hub, with one sentence for whatever goes wrong."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persam.errors import PersamError, first_line

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # variables that forbid the network
_OPTIONAL = ("timm", "torchvision", "scipy")  # libraries that some networks of transformers need
_BUNDLED = 'use the bundled model "tiny"'  # what one can do without a model


def load_network(name: str, kind: Any, *, otherwise: str = _BUNDLED, **arguments: Any) -> Any:
    """A network of a class of transformers, all of it from the file: transformers would make up what is missing.

    `arguments` are those of its `from_pretrained`.

    Raises:
        PersamError: not to be had, damaged, or tensors missing from it.
    """
    if kind.__name__.startswith("EdgeTam"):  # transformers would take its encoder from timm
        from persam.models.repvit import with_repvit

        config = hub_call(name, kind.config_class.from_pretrained, otherwise=otherwise)
        arguments["config"] = with_repvit(config)
    with _without_report():
        network, report = hub_call(
            name, kind.from_pretrained, otherwise=otherwise, output_loading_info=True, **arguments
        )
    if missing := sorted(report["missing_keys"]):
        raise PersamError(
            f"{name} lacks {len(missing)} of the model's tensors, such as {missing[0]}; get it again, or name another."
        )
    return network


@contextmanager
def _without_report() -> Iterator[None]:
    """Transformers prints a table of all tensors that it has no use for, such as the words' half of CLIP."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def hub_call(name: str, load: Any, *, otherwise: str = _BUNDLED, reader: str = "transformers", **arguments: Any) -> Any:
    """Call a `from_pretrained`, with one sentence for what people meet: a wrong name, no network, a gated model.

    What is on this machine is taken without asking the network. `otherwise` is what one can do without the model;
    `reader` is the library whose function it is.

    Raises:
        PersamError: neither here nor to be had, or it needs a library that is not installed (as an encoder of timm's
            needs timm).
    """
    try:
        with _no_warnings():
            return _hub_call(name, load, otherwise, reader, arguments)
    except ImportError as error:
        library = error.name or next((word for word in _OPTIONAL if word in str(error)), first_line(error))
        raise PersamError(
            f"{name} needs a library that is not installed ({library}); install it, or {otherwise}."
        ) from error


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Without transformers' pages about missing tensors and other types: what matters of it is said here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _hub_call(name: str, load: Any, otherwise: str, reader: str, arguments: dict[str, Any]) -> Any:
    from safetensors import SafetensorError

    failures = (OSError, ValueError, RuntimeError, SafetensorError)  # the last two: damaged weights, wrong shapes
    is_path = bool(name) and Path(name).exists()
    arguments = _without_questions(load) | arguments
    try:
        return load(name, **arguments) if is_path else load(name, local_files_only=True, **arguments)
    except failures as error:
        _refuse_code(name, error)
        if is_path:
            reason = first_line(error)
            if "ignore_mismatched_sizes" in reason:  # transformers' word for it, which points to a page on stderr
                reason = "its weights have other shapes than its config.json says"
            raise PersamError(f"{name} is there, but holds no model that {reader} can load: {reason}") from error
        if not _hub_answers():  # transformers would try for half a minute
            forbidden = next((variable for variable in _OFFLINE if os.environ.get(variable)), None)
            hub, mend = "the hub cannot be reached", "check the name and the network"
            if _is_offline() and forbidden:
                hub, mend = f"{hub} while {forbidden} is set", "check the name, or unset the variable to download it"
            raise PersamError(f"The model {name} is not on this machine, and {hub}; {mend}, or {otherwise}.") from error
    try:
        return load(name, **arguments)
    except failures as error:
        _refuse_code(name, error)
        raise PersamError(
            f"The hub gives no model {name}; check the name (for a gated model: accept its terms, then "
            f"`hf auth login`), or {otherwise}."
        ) from error


def _without_questions(load: Any) -> dict[str, Any]:
    """Keep transformers' Auto classes from asking, on the terminal, whether to run the code that a model brings."""
    owner = getattr(load, "__self__", None)
    return {"trust_remote_code": False} if getattr(owner, "__name__", "").startswith("Auto") else {}


def _refuse_code(name: str, error: Exception) -> None:
    """Say so where a model could not be loaded because its code was not run."""
    if "trust_remote_code" in str(error):
        raise PersamError(f"{name} comes with code of its own, which persam never runs; name another.") from error


def _is_offline() -> bool:
    """Whether a variable of the environment forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _hub_answers(seconds: float = 5.0) -> bool:
    """Whether the hub can be reached now; an error status is an answer too."""
    from huggingface_hub import constants

    if _is_offline():
        return False
    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=seconds).close()  # noqa: S310 (the hub's own address)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
