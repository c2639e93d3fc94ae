"""Serves the page that asks: to this machine alone, and only to who has the link.

The link holds a random token. A request is refused when it comes from another page (``Origin``), under another name
(``Host``, as after DNS rebinding) or without the token; answers are JSON, which no form of another site can send.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pytest_evals.artifacts.sample import dump
from pytest_evals.errors import ArtifactError
from pytest_evals.reports.html.page import page
from pytest_evals.review.reviewer import BadAnswer, ReviewSession
from pytest_evals.text import one_line

HOST = "127.0.0.1"
LONGEST_BODY = 1024 * 1024


class AnnotationServer(ThreadingHTTPServer):
    """The server; ``link`` is what the reviewer opens. Raises `ArtifactError` when the port cannot be used."""

    daemon_threads = True
    # The port is refused while another one listens there, also on Windows.
    allow_reuse_address = False

    def __init__(self, desk: ReviewSession, run: Mapping[str, Any], port: int = 0) -> None:
        self.desk = desk
        self.run = run
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ArtifactError(
                f"port {port} of this machine cannot be used: {error.strerror or error}; choose another with --port, or none for a free one"
            ) from error

    @property
    def link(self) -> str:
        """Return the address with the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names under which it may be asked."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: AnnotationServer
    server_version, sys_version = "pytest-evals", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answer with the page, or with the state."""
        if not self._allowed():
            return
        name = self._name()
        if name == "":
            pieces = page(
                "annotate",
                f"Review {self.server.run['run_id']}",
                self.server.desk.page_data(self.server.run),
                connects=True,
            )
            self._send(HTTPStatus.OK, "".join(pieces), "text/html")
        elif name == "state":
            self._send_json(HTTPStatus.OK, self.server.desk.state())
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """Take an answer."""
        body = self._body()
        if body is None or not self._allowed(origin_needed=True):
            return
        if self._name() != "answers" or self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.NOT_FOUND, "answers are JSON, sent to answers")
            return
        try:
            self.server.desk.take(json.loads(body))
        except (BadAnswer, ValueError, RecursionError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except ArtifactError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._send_json(HTTPStatus.OK, {"saved": True})

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an answer has at most {LONGEST_BODY} bytes")
            return None
        return self.rfile.read(int(length))

    def _allowed(self, *, origin_needed: bool = False) -> bool:
        hosts = self.server.hosts
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "asked under a name that is not this machine's")
        elif (origin is None and origin_needed) or (
            origin is not None and origin not in [f"http://{host}" for host in hosts]
        ):
            self._refuse(HTTPStatus.FORBIDDEN, "asked from another page")
        elif not hmac.compare_digest(self.path.split("/", 2)[1].encode(), self.server.token.encode()):
            self._refuse(
                HTTPStatus.FORBIDDEN, "the link is not complete: open the one that pytest-evals annotate printed"
            )
        else:
            return True
        return False

    def _name(self) -> str | None:
        """Return what follows the token."""
        parts = self.path.partition("?")[0].split("/", 2)
        return parts[2] if len(parts) > 2 else None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send_json(status, {"error": one_line(message, 500)})

    def _send_json(self, status: HTTPStatus, data: Mapping[str, Any]) -> None:
        self._send(status, dump(data), "application/json")

    def _send(self, status: HTTPStatus, text: str, kind: str) -> None:
        content = text.encode()
        self.send_response(status)
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
        """Print nothing: the link with the token stays the last thing on the terminal."""
