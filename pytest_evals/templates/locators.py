"""Locators: dotted paths into the scope of a case."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from pytest_evals.errors import TemplateError, did_you_mean

Scope = Mapping[str, Any]
_PATH = r"item(?:\.\w+)+"
LOCATOR = re.compile(rf"\A(?:({_PATH})|\{{\{{\s*({_PATH})\s*\}}\}})\Z")
"""A field of the case as a whole string, without or with braces."""
PLACEHOLDER = re.compile(rf"\{{\{{\s*({_PATH})\s*\}}\}}")
"""A field of the case inside of a string."""
REFERENCE = re.compile(r"\A(?:([A-Za-z_]\w*)((?:\.\w+)*)|\{\{\s*([A-Za-z_]\w*)((?:\.\w+)*)\s*\}\})\Z")
"""Any name with a path as a whole string, without or with braces."""
SINGLE = re.compile(rf"(?<!\{{)\{{\s*({_PATH})\s*\}}(?!\}})")
"""A field in single braces, as in an f-string, which are text to a template."""
MARKUP = ("{{", "{%", "{#")
"""How what Jinja renders begins."""
ALIASES = "__aliases__"
"""The name under which a scope holds the aliases of its tasks, see `with_tasks`."""


def with_tasks(scope: Scope, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``scope`` with the results of tasks by their aliases."""
    return {**scope, **results, ALIASES: frozenset(results)}


def is_dynamic(text: str) -> bool:
    """Tell whether ``text`` refers to anything: a locator, or a template with Jinja markup."""
    return LOCATOR.match(text) is not None or any(mark in text for mark in MARKUP)


def may_name_a_task(text: str) -> bool:
    """Tell whether ``text`` is a locator if its first name is the alias of a task: ``draft``, ``draft.field``."""
    return REFERENCE.match(text) is not None


def only_placeholders(text: str) -> bool:
    """Tell whether the markup is nothing but fields of the case, the usual case: they need no template engine."""
    return not any(mark in literal for literal in PLACEHOLDER.split(text)[::2] for mark in (*MARKUP, "}}"))


def locate(path: str, scope: Scope) -> Any:
    """Return the value at the dotted ``path``; digits index into a list.

    Raises `TemplateError` for an unknown field.
    """
    root, *names = path.split(".")
    value: Any = scope[root]
    seen = root
    for name in names:
        try:
            value = value[int(name)] if _is_list(value) else value[name]
        except (KeyError, IndexError, TypeError, ValueError):
            raise TemplateError(unknown(name, seen, value, path)) from None
        seen = f"{seen}.{name}"
    return value


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def unknown(name: str, holder: str, value: object, source: str) -> str:
    """Say that ``value``, which ``holder`` stands for, has no ``name``, which ``source`` asks for, and what it has."""
    if isinstance(value, Mapping):
        known = [str(key) for key in value]
        return f"unknown field {name!r} in {source!r}: {holder} has {', '.join(known) or 'no fields'}{did_you_mean(name, known)}"
    if _is_list(value):
        return f"no element {name!r} in {source!r}: {holder} is a list of {len(value)}"
    return f"no field {name!r} in {source!r}: {holder} is {type(value).__name__}, not an object"


def as_text(value: object, source: str) -> str:
    """Return a value of the scope inside of a text: of a file, its content. Raises `TemplateError` for null and containers."""
    if isinstance(value, Path):
        try:
            return value.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(f"{source!r}: {value} cannot be read as UTF-8 text: {error}") from error
    if value is None:
        raise TemplateError(f"{source!r} is null for this case; write {{{{ ... or '' }}}} if it may be empty")
    if isinstance(value, (Mapping, list, tuple)):
        raise TemplateError(
            f"{source!r} is {type(value).__name__}, not text; name a field of it, or use the filter 'tojson'"
        )
    return str(value)
