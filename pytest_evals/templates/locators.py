"""Locators: paths into the scope of a case, as ``item.person.name`` and ``item["full name"]``."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from pytest_evals.errors import TemplateError, did_you_mean

Scope = Mapping[str, Any]
_STEP = r"""\.\w+|\[-?\d+\]|\['[^'\\\n]+'\]|\["[^"\\\n]+"\]"""
"""A field or an element: ``.name``, ``[0]``, ``['any name']``."""
_PATH = rf"item(?:{_STEP})+"
LOCATOR = re.compile(rf"\A(?:({_PATH})|\{{\{{\s*({_PATH})\s*\}}\}})\Z")
"""A field of the case as a whole string, without or with braces."""
PLACEHOLDER = re.compile(rf"\{{\{{\s*({_PATH})\s*\}}\}}")
"""A field of the case inside of a string."""
SPLIT = re.compile(rf"""\A\{{\{{\s*({_PATH})\s*\|\s*split(?:\(\s*(?:'([^']+)'|"([^"]+)")?\s*\))?\s*\}}\}}\Z""")
"""A field that lists several values, as a whole string: ``{{item.keywords | split(";")}}``."""
REFERENCE = re.compile(rf"\A(?:([A-Za-z_]\w*)((?:{_STEP})*)|\{{\{{\s*([A-Za-z_]\w*)((?:{_STEP})*)\s*\}}\}})\Z")
"""Any name with a path as a whole string, without or with braces."""
SINGLE = re.compile(rf"(?<!\{{)\{{\s*({_PATH}|item\.\w[\w .-]*)\s*\}}(?!\}})")
"""A field in single braces, as in an f-string, which are text to a template."""
MEANT = re.compile(
    r"\s*(?:[$%#]?\{\s*(\w+)\s*\}|%\((\w+)\)s|[$<\[(]?items?(?:\s*(?:[-=]>>?|::?|[/,;|])\s*|\s+\.\s*|\s*\.\s+)(\w+)[>\])]?|[$<\[(]items?\.(\w+)[>\])]?)\s*",
    re.IGNORECASE,
)
"""A whole string that names one field, in the ways of other languages: ``{answer}``, ``%(answer)s``, ``item->answer``."""
_LIKE_A_LOCATOR = re.compile(r"\A\s*item[.\[]")
_LOOSE_NAME = re.compile(r"""(?<![\w.])item(?:\.\w+)*\.(\w+(?:[ /:-]+[^\W\d]\w*)+)\s*(?:\}|\||%\})""")
"""A field after a dot whose name is more than a word."""
_STEPS = re.compile(r"""\.(\w+)|\[(-?\d+)\]|\['([^'\\\n]+)'\]|\["([^"\\\n]+)"\]""")
MARKUP = ("{{", "{%", "{#")
"""How what Jinja renders begins."""
ALIASES = "__aliases__"
"""The name under which a scope holds the aliases of its tasks, see `with_tasks`."""


def with_tasks(scope: Scope, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``scope`` with the results of tasks by their aliases."""
    return {**scope, **results, ALIASES: frozenset(results)}


def is_dynamic(text: str) -> bool:
    """Tell whether ``text`` refers to anything: a locator, or a template with Jinja markup; or looks like it, and is refused for a
    case.
    """
    return (
        LOCATOR.match(text) is not None
        or _has_markup(text)
        or is_no_locator(text)
        or SINGLE.search(text) is not None
        or MEANT.fullmatch(text) is not None
    )


def is_no_locator(text: str) -> bool:
    """Tell whether ``text`` begins like a locator and is none, as ``item.Correct Answer``."""
    return _LIKE_A_LOCATOR.match(text) is not None and LOCATOR.match(text) is None and not _has_markup(text)


def _has_markup(text: str) -> bool:
    return any(mark in text for mark in MARKUP)


def refuse_no_locator(text: str) -> NoReturn:
    """Raise `TemplateError` for what begins like a locator and is none. It shows how to write what may be meant."""
    shown = text if len(text) <= 60 else f"{text[:60]}..."
    stripped = text.strip()
    if LOCATOR.match(stripped):
        meant = f"without white space around it: {stripped}"
    else:
        rest = re.sub(r"\A\s*item[.\[]", "", text).strip().strip("\"'[].").strip()
        path, name = re.match(r"((?:\w+\.)*)([^\n{}\"']*)", rest).groups()  # type: ignore[union-attr]  # it matches anything
        field = bracketed(f"item.{path}".rstrip("."), name.strip()[:40] or "a name")
        meant = f"a field whose name is more than letters, digits and _ is written in brackets and quotes: {field}"
    raise TemplateError(
        f"{shown!r} begins like a locator and is none; {meant} (if it is meant as text, write {{% raw %}}{stripped[:20]}"
        f"{'...' if len(stripped) > 20 else ''}{{% endraw %}})"
    )


def name_hint(text: str) -> str:
    """Return a hint where a template has a name after a dot that is more than a word, else nothing."""
    found = _LOOSE_NAME.search(text)
    if not found:
        return ""
    return f"; a name that is more than letters, digits and _ is written in brackets and quotes: {bracketed('item', found[1].strip())}"


def bracketed(holder: str, name: str) -> str:
    """Return how a template names a field of ``holder``: after a dot, or in brackets where its name is not a word."""
    if re.fullmatch(r"\w+", name):
        return f"{holder}.{name}"
    return f'{holder}["{name}"]' if '"' not in name else f"{holder}['{name}']"


def may_name_a_task(text: str) -> bool:
    """Tell whether ``text`` is a locator if its first name is the alias of a task: ``draft``, ``draft.field``."""
    return REFERENCE.match(text) is not None


def only_placeholders(text: str) -> bool:
    """Tell whether the markup is nothing but fields of the case, the usual case: they need no template engine."""
    return not any(mark in literal for literal in PLACEHOLDER.split(text)[::2] for mark in (*MARKUP, "}}"))


def locate(path: str, scope: Scope) -> Any:
    """Return the value at ``path``, as ``item.person["full name"]``; digits index into a list.

    Raises `TemplateError` for an unknown field.
    """
    root, names = steps_of(path)
    value: Any = scope[root]
    for index, name in enumerate(names):
        try:
            value = value[name] if type(value) is dict or not _is_list(value) else value[int(name)]
        except (KeyError, IndexError, TypeError, ValueError):
            seen = functools.reduce(bracketed, names[:index], root)
            raise TemplateError(unknown(name, seen, value, path, names[index + 1 :])) from None
    return value


@functools.lru_cache(maxsize=4096)
def steps_of(path: str) -> tuple[str, tuple[str, ...]]:
    """Return the name that a path begins with, and the fields and elements that it goes on with."""
    root = re.split(r"[.\[]", path, maxsplit=1)[0]
    return root, tuple(next(filter(None, found.groups())) for found in _STEPS.finditer(path, len(root)))


def is_path(text: str) -> bool:
    """Tell whether ``text`` is a name with a path after it, perhaps an empty one."""
    found = REFERENCE.match(text)
    return found is not None and bool(found[1])


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def unknown(name: str, holder: str, value: object, source: str, rest: Sequence[str] = ()) -> str:
    """Say that ``value``, which ``holder`` stands for, has no ``name``, which ``source`` asks for (and ``rest`` in it), and what it
    has. Fields whose names are not words are shown as a template names them.
    """
    if isinstance(value, Mapping):
        known = [str(key) for key in value]
        listed = ", ".join(key if re.fullmatch(r"\w+", key) else bracketed("item", key)[4:] for key in known)
        return f"unknown field {name!r} in {source!r}: {holder} has {listed or 'no fields'}{_meant(name, rest, holder, known)}"
    if _is_list(value):
        return f"no element {name!r} in {source!r}: {holder} is a list of {len(value)}"
    return f"no field {name!r} in {source!r}: {holder} is {type(value).__name__}, not an object"


def _meant(name: str, rest: Sequence[str], holder: str, known: Sequence[str]) -> str:
    """Return a hint at a field whose name has a dot or a space and begins with ``name``; else at one spelled alike."""
    # No more names than the fields have dots: a path may have thousands.
    most = max((key.count(".") for key in known), default=0)
    for end in range(min(len(rest), most), 0, -1):
        dotted = ".".join([name, *rest[:end]])
        if dotted in known:
            return f"; a name with a dot in it is written {bracketed(holder, dotted)}"
    begun = holder.startswith("item") and [key for key in known if re.match(rf"{re.escape(name)}\W", key)]
    if begun:
        return f"; did you mean {bracketed(holder, begun[0])}?"
    return did_you_mean(name, known)


def as_text(value: object, source: str) -> str:
    """Return a value of the scope inside of a text: of a file, its content. Raises `TemplateError` for null and containers."""
    if type(value) is int or isinstance(value, str):
        return str(value)
    if isinstance(value, Path):
        try:
            return value.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TemplateError(
                f"{source!r}: {value} cannot be read as UTF-8 text: {error}; an image goes into images=, or into a part of a message"
            ) from error
        except OSError as error:
            raise TemplateError(f"{source!r}: {value} cannot be read: {error}") from error
    if value is None:
        raise TemplateError(f"{source!r} is null for this case; write {{{{ ... or '' }}}} if it may be empty")
    if isinstance(value, (Mapping, list, tuple)):
        raise TemplateError(
            f"{source!r} is {type(value).__name__}, not text; name a field of it, or use the filter 'tojson'"
        )
    return str(value)
