"""Images and audio from the web, for those who allow it: from a server of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.errors import DatasetError
from pytest_evals.media import fetching
from pytest_evals.media.fetching import fetcher
from pytest_evals.media.sources import MediaPlaces, find
from tests.media import png

ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """Has a picture, and two ways that lead elsewhere."""

    def do_GET(self) -> None:
        """Answer."""
        ASKED.append(self.path)
        moved = {"/moved": "/red.png", "/file": "file:///etc/hostname", "/ftp": "ftp://127.0.0.1/a.png"}.get(self.path)
        self.send_response(302 if moved else 200 if self.path == "/red.png" else 404)
        if moved:
            self.send_header("Location", moved)
        self.end_headers()
        if self.path == "/red.png":
            self.wfile.write(png())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
        """Print nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a server."""
    ASKED.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_at_an_address_is_fetched_once(address: str, tmp_path: Path) -> None:
    for _ in range(2):
        fetch = fetcher(tmp_path / "fetched")
        assert find("image", f"{address}/red.png", MediaPlaces((), fetch)).content == png()
    assert ASKED == ["/red.png"]
    assert fetcher(tmp_path / "fetched")(f"{address}/moved") == png()


def test_what_cannot_be_fetched_is_said_so(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = fetcher(tmp_path)
    for path, words in (("/gone.png", "Not Found"), ("/file", "is not allowed"), ("/ftp", "is not a web address")):
        with pytest.raises(DatasetError, match=f"cannot be fetched: .*{words}"):
            fetch(f"{address}{path}")
    with pytest.raises(DatasetError, match="cannot be fetched"):
        fetch("http://127.0.0.1:1/a.png")
    monkeypatch.setattr(fetching, "MOST_BYTES", 10)
    assert len(fetch(f"{address}/red.png")) == 11
    assert list(tmp_path.iterdir()) == []
