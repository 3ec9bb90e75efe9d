"""One question to a cloud's API, with the key in a header: answered in time, with JSON, by the cloud itself, or a PortError.

The key is sent to no address but the one that was asked, and stands in no error's text. Network.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from orchestrator.run.ports import PortError, Refused

MAX_BYTES = 64 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the cloud said, and when by its own clock."""

    document: Any
    now: float  # unix seconds, the end of the second in the reply's Date; this machine's where it has none


@dataclass(frozen=True, kw_only=True)
class Key:
    """A secret, and the file or variable that it came from."""

    secret: str
    source: str

    def __post_init__(self) -> None:
        if not self.secret or not all("!" <= letter <= "~" for letter in self.secret):
            raise PortError(f"{self.source} holds no usable API key")

    def __repr__(self) -> str:
        return f"Key({self.source})"

    def hide(self, text: str) -> str:
        """The beginning of a foreign text, without the secret."""
        return text.replace(self.secret, "…")[:200]


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer that was not expected; following it would send the key elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(cloud: str, address: str, key: Key, *, body: Mapping[str, Any] | None = None, timeout_s: float) -> Reply:
    """GET ``address``, or POST ``body`` to it. Returns or raises PortError within ``timeout_s``, name look-up included."""
    parts = urlsplit(address)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
        raise PortError(f"{cloud} was not asked: the address to ask begins with neither https:// nor a loopback address")
    outcome: list[Reply | PortError] = []
    # sockets bound each read, not the whole, and the name look-up not at all
    worker = threading.Thread(target=lambda: outcome.append(_asked(cloud, address, key, body, timeout_s)), daemon=True)
    worker.start()
    worker.join(timeout_s)
    if not outcome:
        raise PortError(f"{cloud} did not say what exists: no whole answer within {timeout_s:g} s")
    if isinstance(outcome[0], PortError):
        raise outcome[0]
    return outcome[0]


def _asked(cloud: str, address: str, key: Key, body: Mapping[str, Any] | None, timeout_s: float) -> Reply | PortError:
    """Never raises: it runs in a thread of its own."""
    headers = {"Authorization": f"Bearer {key.secret}", "Content-Type": "application/json", "User-Agent": "cloudtune"}
    data = None if body is None else json.dumps(body).encode()
    opener = build_opener(_NoRedirect, ProxyHandler({} if address.lower().startswith("http:") else None))
    try:
        with opener.open(Request(address, data=data, headers=headers), timeout=timeout_s) as answer:  # noqa: S310  # checked by ask
            found = answer.read(MAX_BYTES + 1)
            date = answer.headers["Date"]
        if len(found) > MAX_BYTES:
            return PortError(f"{cloud} did not say what exists: it answered with more than {MAX_BYTES} bytes")
        return Reply(document=json.loads(found, parse_constant=_refuse), now=_unix(date))
    except HTTPError as error:
        error.close()
        if error.code in (401, 403):
            return Refused(f"{cloud} does not accept the API key of {key.source} (HTTP {error.code})")
        return PortError(f"{cloud} did not say what exists: HTTP {error.code}")
    except URLError as error:
        return PortError(f"{cloud} did not say what exists: {type(error.reason).__name__}")
    except (OSError, HTTPException) as error:  # their texts may quote what was sent
        return PortError(f"{cloud} did not say what exists: {type(error).__name__}")
    except (ValueError, RecursionError):
        return PortError(f"{cloud} did not say what exists: its answer is not JSON")
    except Exception as error:  # unknown is never "nothing there", and a thread's exception is lost
        return PortError(f"{cloud} did not say what exists: {type(error).__name__}")


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _unix(date: str | None) -> float:
    """An age that is reckoned from it is never too small: a Date has whole seconds, rounded down."""
    try:
        return parsedate_to_datetime(date).timestamp() + 1.0 if date else time.time()
    except ValueError:
        return time.time()
