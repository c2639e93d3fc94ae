"""Model specifications -> the names by which tables, gates and ids tell them apart: as short as they can be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from pytest_evals.engines.kind import last_part
from pytest_evals.engines.kinds import engine_kind
from pytest_evals.engines.model_folder import is_path
from pytest_evals.errors import ModelError

_ENGINE = re.compile(r"[A-Za-z_][\w.-]*")
_ADDRESS = re.compile(r"@(?=https?://)", re.IGNORECASE)
_SEPARATOR = re.compile(r"[/\\:]")


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What a specification is made of, as texts. ``place`` is a revision or the addresses of servers."""

    text: str
    engine: str
    name: str
    place: str
    options: tuple[tuple[str, str], ...]


def short_names(models: Iterable[str], aliases: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a name for each model, in their order: its alias, else the last part of what the model is called.

    Where several would have the same, as much is added as tells them apart: folders or organizations, the revision or the
    address, options that they do not share, the engine. Nothing is looked up, so this works for models of recorded runs.
    """
    parts = {model: read_parts(model) for model in models}
    names = {model: _last_part(each) for model, each in parts.items()}
    for extend in (_with_folders, _with_place, _with_options, _with_engine):
        for group in _groups(names):
            names.update(extend([(model, parts[model], names[model]) for model in group]))
    for group in _groups(names):
        names.update((model, model) for model in group)
    named = {model: alias for model, alias in (aliases or {}).items() if model in names}
    return {model: named.get(model, name) for model, name in names.items()}


def read_parts(text: str) -> ModelParts:
    """Split a specification; what is not well formed is a name."""
    body, _, query = text.strip().partition("?")
    head, colon, rest = body.partition(":")
    engine, name = (head, rest) if colon and rest and not is_path(body) and _ENGINE.fullmatch(head) else ("hf", body)
    address = _ADDRESS.search(name)
    if address:
        name, place = name[: address.start()], name[address.end() :]
    elif engine == "hf" and not is_path(name):
        name, _, place = name.partition("@")
    else:
        place = ""
    return ModelParts(text, engine, name, place, tuple(parse_qsl(query, keep_blank_values=True)))


def _last_part(parts: ModelParts) -> str:
    if not parts.text:
        return ""
    try:
        short = engine_kind(parts.engine).short(parts.name)
    except ModelError:
        # The engine of a recorded run need not be installed here.
        short = last_part(parts.name)
    return short or parts.text


def _groups(names: dict[str, str]) -> list[list[str]]:
    """Return the models that have the same name, where there are several of them."""
    found: dict[str, list[str]] = {}
    for model, name in names.items():
        found.setdefault(name, []).append(model)
    return [group for group in found.values() if len(group) > 1]


# -- What is added to the name of models that share one. Each is given (model, its parts, its name so far).

Group = Sequence[tuple[str, ModelParts, str]]


def _with_folders(group: Group) -> Iterator[tuple[str, str]]:
    """Add what precedes the last part, until the names differ; names with the same folders keep theirs."""
    longest = max(len(_SEPARATOR.split(parts.name)) for _, parts, _ in group)
    found = {model: name for model, _, name in group}
    for number in range(2, longest + 1):
        tails = {model: _tail(parts.name, number) for model, parts, _ in group}
        distinct = len({*tails.values()})
        if distinct > len({*found.values()}):
            found = tails
        if distinct == len({parts.name for _, parts, _ in group}):
            break
    yield from found.items()


def _tail(name: str, number: int) -> str:
    """Return the last parts of a name, with the separators between them."""
    starts = [0, *(match.end() for match in _SEPARATOR.finditer(name.rstrip("/\\")))]
    return name.rstrip("/\\")[starts[max(len(starts) - number, 0)] :]


def _with_place(group: Group) -> Iterator[tuple[str, str]]:
    yield from _with(group, lambda parts: f"@{_without_scheme(parts.place)}" if parts.place else "")


def _without_scheme(place: str) -> str:
    return re.sub(r"https?://", "", place, flags=re.IGNORECASE).removesuffix("/v1")


def _with_options(group: Group) -> Iterator[tuple[str, str]]:
    """Add the options that not all of them have with the same value; of a path its last part."""
    shared = set.intersection(*({*parts.options} for _, parts, _ in group))
    own = {parts.text: [each for each in parts.options if each not in shared] for _, parts, _ in group}
    short = _written(group, own, last_part)
    whole = _written(group, own, str)
    yield from (short if len({*short.values()}) == len({*whole.values()}) else whole).items()


def _written(group: Group, own: dict[str, list[tuple[str, str]]], shown: Callable[[str], str]) -> dict[str, str]:
    return {
        model: name
        + "".join(f"{'&' if index else '?'}{key}={shown(value)}" for index, (key, value) in enumerate(own[parts.text]))
        for model, parts, name in group
    }


def _with_engine(group: Group) -> Iterator[tuple[str, str]]:
    if len({parts.engine for _, parts, _ in group}) > 1:
        yield from ((model, f"{parts.engine}:{name}") for model, parts, name in group)


def _with(group: Group, addition: Callable[[ModelParts], str]) -> Iterator[tuple[str, str]]:
    additions = {model: addition(parts) for model, parts, _ in group}
    if len({*additions.values()}) > 1:
        yield from ((model, f"{name}{additions[model]}") for model, _, name in group)
