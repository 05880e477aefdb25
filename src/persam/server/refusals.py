"""What the service refuses, each with its HTTP status and one sentence for who asked."""

from __future__ import annotations

from persam.errors import PersamError, printable
from persam.server.wording import in_form_words

_LONGEST = 400  # characters of a sentence, in which may stand what was sent


def told(error: BaseException) -> str:
    """What is wrong, as it is told to who asked: without what cannot be seen, and not at any length."""
    words = printable(in_form_words(str(error)))
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST // 2]} ... {words[-_LONGEST // 2 :]}"


def headers_of(error: BaseException) -> dict[str, str]:
    """What an answer that refuses says besides: when to come again, and how one says who one is."""
    headers = {}
    if isinstance(error, UnknownCallerError):
        headers["www-authenticate"] = 'Basic realm="persam", Bearer realm="persam"'
    if (wait := getattr(error, "retry_after", None)) is not None:
        headers["retry-after"] = str(max(1, round(wait)))
    return headers


class Refused(PersamError):  # noqa: N818 - it is no error of the service
    """The request is not done.

    Attributes:
        status: of the answer.
        retry_after: seconds after which the same may be asked again; None: never.
    """

    status = 400
    retry_after: float | None = None


class TooLargeError(Refused):
    """More bytes, pixels or things than the service takes at once."""

    status = 413


class WrongKindError(Refused):
    """A file is of another kind than what it was sent as."""

    status = 415


class MalformedError(Refused):
    """The request has another form than what is documented."""

    status = 422


class TooSlowError(Refused):
    """The body of the request does not come, or takes too long."""

    status = 408


class TooLateError(Refused):
    """The answer was not ready in the time of a request."""

    status, retry_after = 503, 5.0


class CrowdedError(Refused):
    """There is room for it, but not now."""

    status, retry_after = 429, 1.0


class NoRoomError(Refused):
    """The service's folder is full."""

    status = 507


class OtherModelError(Refused):
    """A concept belongs to another model than the service's."""

    status = 409


class ForbiddenError(Refused):
    """Who asks, or from where, is not served."""

    status = 403


class UnknownCallerError(Refused):
    """The token is missing or wrong."""

    status = 401


class GoneError(Refused):
    """Who asked has hung up; nobody reads the answer."""

    status = 499


class UnacceptableError(Refused):
    """The answer has another form than the one that is accepted."""

    status = 406
