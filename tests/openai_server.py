"""A server with OpenAI's API that does what tests tell it, faults included. It counts what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

Body = dict[str, Any]


def said(body: Mapping[str, Any]) -> str:
    """Return what the last message says, or the plain prompt."""
    if "prompt" in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@dataclass
class Reply:
    """What a request is answered with. ``message`` replaces the whole message, ``usage`` the counts (`None`: none are sent).

    A ``status`` other than 200 sends ``error``. ``breaks`` cuts the connection after half of the answer, ``raw`` is sent in place of
    everything, and ``pauses`` are seconds between pieces. A stream is open before ``before`` is called, and then begins.
    """

    text: str = ""
    finish: str | None = "stop"
    status: int = 200
    error: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = field(default_factory=dict)
    logprobs: Mapping[str, Any] | None = None
    breaks: bool = False
    raw: str | None = None
    pauses: float = 0.0
    before: Callable[[], None] = lambda: None


Script = Callable[[Body, int], Reply]


@dataclass
class ScriptedServer:
    """``script`` is given the body and how often this prompt was asked before. ``models`` `None`: there is no list of them."""

    script: Script = lambda body, _times: Reply(f"It says {said(body)}")
    models: tuple[str, ...] | None = ("tiny",)
    key: str | None = None
    streams: bool = True
    bodies: list[Body] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    most_active: int = 0
    url: str = ""
    _active: int = 0
    _times: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    def start(self, *, certificate: tuple[Path, Path] | None = None, port: int = 0) -> ScriptedServer:
        """Listen; ``certificate`` is the file of one, and of its key."""
        server = _Listener(("127.0.0.1", port), _Handler)
        server.scripted = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self._server = server
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more, and cut every connection."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            cast("_Listener", server).cut_all()

    def asked(self, text: str) -> int:
        """Return how often a prompt was asked."""
        return self._times[text]

    def reply(self, body: Body) -> Reply:
        """Return what to answer."""
        with self._lock:
            self.bodies.append(body)
            times = self._times[said(body)]
            self._times[said(body)] += 1
        return self.script(body, times)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count a request that is under way."""
        with self._lock:
            self._active += 1
            self.most_active = max(self.most_active, self._active)
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    scripted: ScriptedServer

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def cut_all(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def scripted(self) -> ScriptedServer:
        return cast("_Listener", self.server).scripted

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""

    def do_GET(self) -> None:
        if not self._let_in():
            return
        models = self.scripted.models
        if not self.path.endswith("/models") or models is None:
            self._send(404, {"error": {"message": f"no {self.path} here"}})
            return
        self._send(
            200, {"object": "list", "data": [{"id": name, "object": "model", "max_model_len": 512} for name in models]}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.scripted.authorizations.append(self.headers["authorization"])
        if not self._let_in():
            return
        with self.scripted.busy():
            reply = self.scripted.reply(body)
            if reply.raw is not None:
                self._send_raw(200, reply.raw.encode(), "text/html")
            elif reply.status != 200:
                self._send(reply.status, {"error": reply.error or {"message": "no"}}, reply.headers)
            elif body.get("stream") and self.scripted.streams:
                self._stream(body, reply)
            else:
                time.sleep(reply.pauses)
                self._whole(body, reply)

    def _let_in(self) -> bool:
        key = self.scripted.key
        sent = self.headers["authorization"]
        if key is None or sent == f"Bearer {key}":
            return True
        self._send(401, {"error": {"message": f"Incorrect API key provided: {sent}.", "code": "invalid_api_key"}})
        return False

    def _send(self, status: int, data: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send_raw(status, json.dumps(data).encode(), "application/json", headers)

    def _send_raw(self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _usage(self, body: Body, reply: Reply) -> Mapping[str, Any] | None:
        counts = {"prompt_tokens": len(said(body).split()), "completion_tokens": len(reply.text.split())}
        return None if reply.usage is None else {**counts, **reply.usage}

    def _whole(self, body: Body, reply: Reply) -> None:
        message = reply.message if reply.message is not None else {"role": "assistant", "content": reply.text}
        answer = {"text": reply.text} if "prompt" in body else {"message": message}
        choice = {"index": 0, "finish_reason": reply.finish, "logprobs": reply.logprobs, **answer}
        data = json.dumps({"choices": [choice], "usage": self._usage(body, reply)}).encode()
        if not reply.breaks:
            self._send_raw(200, data, "application/json")
            return
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self._cut()

    def _stream(self, body: Body, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        words = reply.text.split(" ")
        pieces: list[Any] = [{"content": word + " " * (place < len(words) - 1)} for place, word in enumerate(words)]
        if reply.message is not None:
            pieces = [reply.message]
        events: list[Any] = [
            {
                "choices": [
                    {
                        "index": 0,
                        **({"text": piece.get("content")} if "prompt" in body else {"delta": piece}),
                        "finish_reason": None,
                    }
                ]
            }
            for piece in pieces
        ]
        events.append(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reply.finish, "logprobs": reply.logprobs}]}
        )
        if body.get("stream_options"):
            events.append({"choices": [], "usage": self._usage(body, reply)})
        if reply.breaks:
            events = events[: max(1, len(pieces) // 2)]
        if reply.message is None:
            self._chunk('data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n')
        reply.before()
        for event in events:
            self._chunk(f"data: {json.dumps(event, ensure_ascii=False)}\n\n")
            time.sleep(reply.pauses)
        if reply.breaks:
            self._cut()
            return
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
