"""Model specifications: ``ENGINE:NAME@REVISION?OPTION=VALUE``, read and checked without loading anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from pytest_evals.engines.kind import EngineKind
from pytest_evals.engines.kinds import engine_kind, engine_names
from pytest_evals.engines.model_folder import is_path
from pytest_evals.errors import ModelError, did_you_mean
from pytest_evals.hashing import slug


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model to evaluate. ``text`` is what the user wrote and identifies it; ``options`` are values, not texts."""

    text: str
    engine: str
    name: str
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> EngineKind:
        """What is known of its engine."""
        return engine_kind(self.engine)

    @property
    def short(self) -> str:
        """The last part of the name, as an id: it goes into ids and tables."""
        adapter = self.options.get("adapter")
        return slug(self.kind.short(adapter.partition("@")[0] if adapter else self.name))

    @property
    def heavy(self) -> bool:
        """Tell whether the model needs a device for itself; scripts do not."""
        return self.kind.heavy

    @property
    def deduplicates(self) -> bool:
        """Tell whether identical greedy requests may share one answer; a script is called for each request."""
        return self.kind.deduplicates


def parse_spec(text: str, root: Path) -> ModelSpec:
    """Read a model specification; a path in it is relative to ``root``.

    Raises `ModelError` for an unknown engine or option, a value that an option cannot have, and a model that its engine can
    tell not to be there.
    """
    written = text.strip()
    body, _, query = written.partition("?")
    kind, name = _split_engine(body, written)
    options = _parse_options(query, kind, written)
    name, completed = kind.complete(name, options, written, root)
    name, revision = kind.locate(name, completed, written, root)
    return ModelSpec(written, kind.name, name, revision, completed)


def moved_spec(text: str, base: Path, root: Path) -> str:
    """Return a specification whose paths are relative to ``base`` with paths that are relative to ``root`` where they are inside
    it, and absolute elsewhere.
    """
    body, mark, query = text.partition("?")
    if body.startswith("hf:") and is_path(body[3:]):
        body = body[3:]
    if not is_path(body) and ":" in body and not body.startswith("hf:"):
        # Of another engine.
        return text
    options = engine_kind("hf").options
    parts = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if name in options and options[name].path and is_path(unquote(value)):
            value = quote(_moved(unquote(value), base, root), safe="/:~@\\")
        parts.append(f"{name}{equals}{value}")
    return f"{_moved(body, base, root) if is_path(body) else body}{mark}{'&'.join(parts)}"


def _moved(path: str, base: Path, root: Path) -> str:
    found = (base / Path(path).expanduser()).resolve()
    return f"./{found.relative_to(root).as_posix()}" if found.is_relative_to(root) else found.as_posix()


def spec_of_record(text: str, root: Path) -> ModelSpec:
    """Return the specification of a model that need not be there any more, as that of a recorded run."""
    try:
        return parse_spec(text, root)
    except ModelError:
        engine, colon, name = text.partition("?")[0].partition(":")
        return ModelSpec(text, engine, name) if colon and engine in engine_names() else ModelSpec(text, "hf", text)


def _split_engine(body: str, written: str) -> tuple[EngineKind, str]:
    head, colon, rest = body.partition(":")
    # A colon in a path (of a drive letter, say) announces no engine.
    engine, name = ("hf", body) if not colon or is_path(body) else (head, rest)
    try:
        kind = engine_kind(engine)
    except ModelError as error:
        raise ModelError(f"model {written!r}: {error}") from error
    if not name:
        raise ModelError(f"model {written!r}: no model is named after the engine")
    return kind, name


def _parse_options(query: str, kind: EngineKind, written: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in dict(parse_qsl(query, keep_blank_values=True)).items():
        option = kind.options.get(name)
        if option is None:
            listed = ", ".join(kind.options) or "none"
            hint = did_you_mean(name, tuple(kind.options))
            raise ModelError(f"model {written!r}: unknown option {name!r} (known for {kind.name}: {listed}){hint}")
        try:
            options[name] = option.read(text)
        except ValueError as error:
            raise ModelError(f"model {written!r}: {name} must be {option.described}, not {text!r}") from error
    return options
