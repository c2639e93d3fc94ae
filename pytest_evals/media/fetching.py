"""Brings images and audio from addresses of the web, for those who allow it with ``--evals-fetch``; each is fetched once and kept."""

from __future__ import annotations

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_evals.errors import DatasetError
from pytest_evals.media.sources import MOST_BYTES, Fetch, shown_source

_SECONDS = 30.0
_AGENT = "pytest-evals"


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections to other addresses of the web, and to no file or other scheme."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """See the base."""
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.URLError(f"it redirects to {shown_source(newurl)}, which is not a web address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetcher(folder: Path) -> Fetch:
    """Return what fetches: an address that was fetched before is read from ``folder``.

    What it returns raises `DatasetError` for what cannot be fetched, and reads no more than a byte beyond the limit.
    """

    def fetch(url: str) -> bytes:
        kept = folder / hashlib.sha256(url.encode()).hexdigest()
        if kept.is_file():
            return kept.read_bytes()
        content = _download(url)
        if len(content) <= MOST_BYTES:
            _keep(kept, content)
        return content

    return fetch


def _download(url: str) -> bytes:
    opener = urllib.request.build_opener(_WebOnly)
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT})  # noqa: S310 - the caller checked the scheme
    try:
        with opener.open(request, timeout=_SECONDS) as answer:
            content: bytes = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DatasetError(f"{shown_source(url)!r} cannot be fetched: {reason}") from error
    return content


def _keep(path: Path, content: bytes) -> None:
    """Write what was fetched, whole or not at all. Where nothing can be kept it is fetched again the next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError:
        return
