"""What can go wrong with a request to a server, and which of it is worth another try."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping

from pytest_evals.text import one_line

_THROTTLED = (429, 503)
_REPEATABLE = frozenset({408, 409, 425, 500, 502, 504, 520, 521, 522, 523, 524, 529})
"""The same request may be answered the next time."""
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")
"""Kinds of 429 that do not end by waiting."""


class ServerError(Exception):
    """A server did not answer a request."""


class RefusalError(ServerError):
    """The server will not answer this request, however often it is asked."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WithheldError(ServerError):
    """The server kept an answer back."""


class BrokenAnswerError(ServerError):
    """The server failed on this request; another try may succeed."""


class SilentError(BrokenAnswerError):
    """The server said nothing for longer than it may: it has too much to do, or hangs."""


class ThrottledError(ServerError):
    """The server has too much to do. ``wait`` is how many seconds it asks for, `None` where it does not say."""

    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.wait = wait


class UnreachableError(ServerError):
    """Nothing answers at the address, or not as a server with this API does."""


def failure_of(status: int, data: object, retry_after: str | None = None) -> ServerError:
    """Return what an error of a server means. ``data`` is its body, parsed where it is JSON; ``retry_after`` the header."""
    error = data.get("error") if isinstance(data, Mapping) else None
    detail = error if isinstance(error, Mapping) else {}
    code = detail.get("code") or detail.get("type") or ""
    if status == 200:
        # In a stream the status comes with the error, if at all.
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    said = f"{status}: {one_line(_words(data, error), 300)}"
    if status in _THROTTLED and str(code) not in _SPENT and detail.get("type") not in _SPENT:
        return ThrottledError(said, retry_seconds(retry_after))
    if status in _REPEATABLE:
        return BrokenAnswerError(said)
    return RefusalError(said, status)


def _words(data: object, error: object) -> str:
    if isinstance(error, Mapping) and error.get("message"):
        parameter = error.get("param")
        message = str(error["message"])
        return message if not parameter or str(parameter) in message else f"{message} ({parameter})"
    named = [data.get(name) for name in ("message", "detail", "error_message")] if isinstance(data, Mapping) else []
    for value in (error, *named):
        if value:
            return value if isinstance(value, str) else json.dumps(value)
    if isinstance(data, str):
        return data if data.strip() else "no reason given"
    return json.dumps(data) if data else "no reason given"


def retry_seconds(header: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait: a number, or a date. `None` for anything else."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), 1e9) if seconds == seconds else None  # noqa: PLR0124 - not a number
