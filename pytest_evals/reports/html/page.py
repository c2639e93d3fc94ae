"""A page's parts -> one HTML document: styles, scripts and data inlined, under a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from pytest_evals.artifacts.sample import dump

_PARTS = {"report": ("report-overview", "report-cases", "report-case")}
"""Scripts that come before a page's own: each is about one thing, and only the page's own does something at once."""
_PLACE = re.compile(r"\{\{ (\w+) \}\}")
# "<" could end the script element, the separators end a line of JavaScript; each has an escape in JSON.
_ESCAPES = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED = re.compile("|".join(_ESCAPES))


def page(
    name: str,
    title: str,
    data: Mapping[str, Any],
    chunks: Iterable[Sequence[Mapping[str, Any]]] = (),
    *,
    connects: bool = False,
) -> Iterable[str]:
    """Yield the document's text in pieces: ``name.html`` filled in, then what is large.

    ``data`` is there when the script starts; ``chunks`` follow it, so that the page shows before they are read.
    ``connects``: the page talks to the server that it came from.
    """
    style = _read("shared.css") + _read(f"{name}.css")
    script = "".join(_read(f"{part}.js") for part in ("shared", *_PARTS.get(name, ()), name))
    policy = [
        "default-src 'none'",
        f"style-src '{_digest(style)}'",
        f"script-src '{_digest(script)}'",
        "img-src data:",
        "media-src data:",
        *(["connect-src 'self'"] if connects else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    parts = {
        "title": html.escape(title),
        "policy": html.escape("; ".join(policy)),
        "style": style,
        "data": json_text(data),
        "script": script,
    }
    # One pass over the template, so that nothing in the data can be taken for a place.
    before, _, after = _PLACE.sub(lambda match: parts.get(match[1], match[0]), _read(f"{name}.html")).rpartition(
        "{{ chunks }}"
    )
    yield before
    for chunk in chunks:
        lines = ",\n".join(json_text(entry) for entry in chunk)
        yield f'<script type="application/json" class="chunk">[\n{lines}\n]</script>\n'
    yield after


def json_text(data: Mapping[str, Any]) -> str:
    """Return ``data`` as JSON that may be inside a script element, whatever its strings hold."""
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], dump(data))


def _read(name: str) -> str:
    return resources.files("pytest_evals.reports.html").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return what a content security policy knows an inline element by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
