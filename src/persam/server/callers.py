"""From where a browser asks: a page of the web may neither take a name that means this machine, nor send anything here.

The service and the studio look here alike; each has its own sentence for who is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from persam.server.settings import ServerSettings, is_loopback

_READING = frozenset(("GET", "HEAD", "OPTIONS"))


def takes_a_name(settings: ServerSettings, headers: Headers) -> bool:
    """Whether it asks this machine by a name that is not its own, as a page does whose name was made to mean it.

    With a token any name will do: no such page knows it, and a proxy on this machine asks by its own name.
    """
    host = headers.get("host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return settings.token is None and not is_loopback(name)


def is_another_page(settings: ServerSettings, method: str, headers: Headers) -> bool:
    """Whether a page of another address wants to change something here: browsers say which page asks."""
    origin = headers.get("origin")
    if origin is None or method in _READING or origin in settings.origins:
        return False
    try:
        page = urlsplit(origin).netloc.lower()
    except ValueError:  # half an IPv6 address, for example
        page = ""
    return not page or page != headers.get("host", "").lower()
