"""A served model's name and the addresses of its servers: ``NAME@URL[,URL...]``. Nothing is asked of a server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from pytest_evals.errors import ModelError

if TYPE_CHECKING:
    from pytest_evals.engines.protocol import EngineInfo
    from pytest_evals.engines.spec import ModelSpec

# A name may hold colons, slashes and at signs (llama3:8b, org/name, @cf/org/name): the address begins with its scheme.
_WRITTEN = re.compile(r"(?P<name>.+?)@(?P<urls>https?://.*)", re.IGNORECASE | re.DOTALL)
_ENDPOINTS = ("/chat/completions", "/completions", "/models")
VERSION = 1
"""Part of what a served model is identified by; raise it when the same request may be sent in another form."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name that its servers know, and their base addresses, as ``http://127.0.0.1:8000/v1``."""

    name: str
    urls: tuple[str, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host and port of each server."""
        return tuple(urlsplit(url).netloc for url in self.urls)

    def __str__(self) -> str:
        return f"{self.name}@{','.join(self.urls)}"


def parse_address(text: str) -> ServedModel:
    """Read ``NAME@URL[,URL...]``; an address without a path gets ``/v1``. Raises `ModelError`."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ModelError("a served model is written openai:NAME@URL, as openai:org/name@http://127.0.0.1:8000/v1")
    urls = tuple(_base_url(url.strip()) for url in found["urls"].split(","))
    if len(set(urls)) < len(urls):
        raise ModelError("the same address is named twice; each server has one")
    return ServedModel(found["name"], urls)


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port_is_right = parts.port != 0
    except ValueError:
        port_is_right = False
    if not port_is_right or parts.scheme.lower() not in ("http", "https") or not parts.hostname or " " in url:
        # Not shown whole: what comes before an at sign may be a password.
        raise ModelError(
            f"{url.rpartition('@')[2]!r} is not a server's address; write one like http://127.0.0.1:8000/v1"
        )
    if parts.username is not None or parts.password is not None:
        raise ModelError(
            f"the address of {parts.hostname} holds a user or password, which would be written into artifacts; name the variable "
            "that holds a key with key_env=NAME, or that holds headers with headers_env=NAME"
        )
    return _without_endpoint(parts)


def _without_endpoint(parts: SplitResult) -> str:
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint)
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{path or '/v1'}"


# -- What the table of engines asks


def locate_served(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    """Check the address; no server is asked. Raises `ModelError`."""
    del root
    try:
        served = parse_address(name)
    except ModelError as error:
        raise ModelError(f"model {written!r}: {error}") from error
    if options.get("logprobs") == "completions" and "template" not in options and "tokenizer" not in options:
        raise ModelError(
            f"model {written!r}: logprobs=completions needs the prompt as a text: give template=none for plain prompts, or "
            "tokenizer=PATH, whose chat template writes it"
        )
    return str(served), None


def short_name(name: str) -> str:
    """Return what ids and tables call the model: the last part of its name, without addresses."""
    found = _WRITTEN.fullmatch(name)
    return (found["name"] if found else name).rstrip("/").rpartition("/")[2]


def served_identity(spec: ModelSpec) -> dict[str, Any]:
    """Return what identifies a served model: name, servers and what is told them. What weights they hold cannot be checked."""
    served = parse_address(spec.name)
    told = {name: spec.options[name] for name in ("extra_body", "tokenizer", "logprobs") if name in spec.options}
    return {
        "engine": "openai",
        "model": served.name,
        "servers": list(served.urls),
        "weights": "not checked",
        "version": VERSION,
        **told,
    }


def identity_of_served(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str]) -> EngineInfo | None:
    """Return what the model would be loaded as; no server is asked."""
    from pytest_evals.engines.protocol import EngineInfo

    del options, path
    return EngineInfo(identity=served_identity(spec))
