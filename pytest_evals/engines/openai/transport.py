"""One exchange with a server: a body goes out, an answer comes back, or a failure of a known kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from pytest_evals.engines.openai.answers import ServedAnswer
from pytest_evals.engines.openai.failures import (
    BrokenAnswerError,
    ServerError,
    SilentError,
    UnreachableError,
    failure_of,
)
from pytest_evals.errors import ModelError
from pytest_evals.redaction import masked
from pytest_evals.text import one_line

try:
    import httpx2 as http
except ImportError as missing:  # pragma: no cover - installed wherever this is tested
    raise ModelError("served models need an HTTP client: pip install 'pytest-evals-hf[openai]'") from missing

_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 3.0
"""For so long a connection that nothing uses is kept: many servers close theirs after 5 s, and a request must not meet that."""
_END_SECONDS = 0.1
"""How long the end of a stream may take after the server has said that nothing follows."""
_MOST_BYTES = 64 * 2**20
"""Of one answer; a server that sends more is not answering."""


class Transport:
    """A connection to servers.

    Args:
        headers: Sent with each request.
        secrets: What must not be repeated of what a server says.
        timeout: Seconds for which a server may be silent.
        connections: How many there may be at a time.
        heard: Called when a server gives a sign of life.
        encrypted: Certificates will have to be verified; without, their authorities need not be read.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        secrets: tuple[str, ...],
        timeout: float,
        connections: int,
        heard: Callable[[], None],
        *,
        encrypted: bool,
    ) -> None:
        limits = http.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_IDLE_SECONDS
        )
        times = http.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS), pool=None)
        self._secrets = secrets
        self._timeout = timeout
        self._heard = heard
        self._counting: set[str] = set()
        self._client = http.AsyncClient(headers=dict(headers), limits=limits, timeout=times, verify=encrypted)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, url: str) -> Any:
        """Return the JSON at an address. Raises a `ServerError`; `RefusalError` with its status for 4xx."""
        with self._failures():
            response = await self._client.get(url, timeout=_CONNECT_SECONDS)
            self._note_connection(response)
            if response.status_code >= 400:
                raise failure_of(response.status_code, _parsed(response.text), response.headers.get("retry-after"))
            data = _parsed(response.text)
            if isinstance(data, str):
                kind = response.headers.get("content-type", "something")
                raise UnreachableError(f"it answers with {one_line(kind, 60)} and not with JSON")
            return data

    async def post(self, url: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that is answered to a body, in one piece. Raises a `ServerError`."""
        with self._failures():
            response = await self._client.post(url, json=body, headers=self._connection(url))
            self._heard()
            data = _parsed(response.text)
            if response.status_code >= 400:
                raise failure_of(response.status_code, data, response.headers.get("retry-after"))
            if not isinstance(data, Mapping):
                raise BrokenAnswerError(f"it sent something that is not JSON: {one_line(str(data), 80)!r}")
            return data

    async def ask(
        self,
        url: str,
        body: Mapping[str, Any],
        most_tokens: int,
        begun: Callable[[float], None] = lambda _seconds: None,
    ) -> ServedAnswer:
        """Return the answer to a request, which may come in pieces. ``begun`` is called with the seconds until its first word.
        Raises a `ServerError`.
        """
        started = time.perf_counter()
        answer = ServedAnswer()
        with self._failures():
            async with self._client.stream("POST", url, json=body, headers=self._connection(url)) as response:
                self._note_connection(response)
                if response.status_code >= 400:
                    text = (await response.aread()).decode("utf-8", "replace")
                    self._heard()
                    raise failure_of(response.status_code, _parsed(text), response.headers.get("retry-after"))
                streams = "event-stream" in response.headers.get("content-type", "")
                ended = False
                async with contextlib.aclosing(_events(response) if streams else _whole(response)) as pieces:
                    async for piece in pieces:
                        self._heard()
                        if piece is None:
                            ended = True
                            break
                        if piece:
                            answer.take(piece)
                            if answer.begun and not answer.first_word:
                                answer.first_word = time.perf_counter() - started
                                begun(answer.first_word)
                    answer.latency = time.perf_counter() - started
                    if ended:
                        await _read_to_end(pieces)
        answer.finish(most_tokens, ended=ended)
        return answer

    # A connection whose requests the server counts has a thread of the server for itself, of which there are few: kept open, it would
    # make those wait that have none.

    def _note_connection(self, response: http.Response) -> None:
        if "max=" in response.headers.get("keep-alive", ""):
            self._counting.add(response.url.netloc.decode("ascii"))

    def _connection(self, url: str) -> dict[str, str]:
        return {"connection": "close"} if http.URL(url).netloc.decode("ascii") in self._counting else {}

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Name what went wrong, without secrets."""
        try:
            yield
        except ServerError as error:
            error.args = (self.masked(str(error)), *error.args[1:])
            raise
        except (http.ConnectError, http.ConnectTimeout, http.UnsupportedProtocol, http.ProxyError) as error:
            raise UnreachableError(self.masked(_unreachable(error))) from error
        except http.TimeoutException as error:
            raise SilentError(f"it was silent for {self._timeout:g} s (timeout)") from error
        except (http.HTTPError, http.StreamError, http.InvalidURL) as error:
            raise BrokenAnswerError(
                self.masked(f"the connection broke: {type(error).__name__}: {one_line(str(error), 160)}")
            ) from error

    def masked(self, text: str) -> str:
        """Return a text without secrets."""
        return masked(text, self._secrets)


def _unreachable(error: Exception) -> str:
    """Say why there is no connection; a certificate that cannot be verified is told by what lies beneath the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or str(cause)
            return f"its certificate cannot be verified: {one_line(reason, 160)} (SSL_CERT_FILE names a file of further authorities)"
        if isinstance(cause, ssl.SSLError):
            return f"no encrypted connection: {one_line(str(cause), 160)}"
        cause = cause.__cause__ or cause.__context__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"its certificate cannot be verified: {one_line(str(error), 200)} (SSL_CERT_FILE names a file of further authorities)"
    return f"no connection: {one_line(str(error) or type(error).__name__, 160)}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def _whole(response: http.Response) -> AsyncGenerator[Mapping[str, Any] | None]:
    """Yield the one piece of an answer that is not a stream, and then `None`."""
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MOST_BYTES:
            raise BrokenAnswerError("the answer has no end")
        parts.append(part)
    yield _object(b"".join(parts).decode("utf-8", "replace"), whole=True)
    yield None


async def _events(response: http.Response) -> AsyncGenerator[Mapping[str, Any] | None]:
    """Yield the pieces of a stream, and `None` where the server says that it is over; what follows is passed over."""
    async for line in _lines(response):
        name, _, value = line.partition(":")
        if name.strip() == "error":
            yield {"error": _parsed(value) or "no reason given"}
        elif name.strip() != "data":
            # Comments keep a connection open, and are a sign of life; so are names of events.
            yield {}
        elif value.strip() == "[DONE]":
            yield None
        else:
            yield _object(value, whole=False)


async def _lines(response: http.Response) -> AsyncIterator[str]:
    """Yield the lines of a stream: they end at line feeds alone, since a text may hold any other character that ends lines."""
    size, rest = 0, b""
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MOST_BYTES:
            raise BrokenAnswerError("the answer has no end")
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
    yield rest.decode("utf-8", "replace")


async def _read_to_end(pieces: AsyncIterator[object]) -> None:
    """Read the end of an answer that is complete, so that its connection can be used again; if there is none soon, it cannot."""
    with contextlib.suppress(TimeoutError, ServerError, http.HTTPError, http.StreamError):
        async with asyncio.timeout(_END_SECONDS):
            async for _ in pieces:
                pass


def _object(text: str, *, whole: bool) -> Mapping[str, Any]:
    data = _parsed(text)
    if not isinstance(data, Mapping) or (whole and not data.get("choices") and not data.get("error")):
        raise BrokenAnswerError(f"it sent something that is not an answer: {one_line(text, 80)!r}")
    return data
