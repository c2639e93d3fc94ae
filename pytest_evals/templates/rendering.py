"""Renders the strings of a suite, and finds the names in them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_evals.errors import TemplateError
from pytest_evals.templates.locators import (
    ALIASES,
    LOCATOR,
    MARKUP,
    MEANT,
    PLACEHOLDER,
    REFERENCE,
    SINGLE,
    SPLIT,
    Scope,
    as_text,
    bracketed,
    is_no_locator,
    locate,
    name_hint,
    only_placeholders,
    refuse_no_locator,
    steps_of,
    unknown,
)


def names_in(value: Any) -> set[str]:
    """Return the names, other than ``item``, that the strings in ``value`` refer to or may refer to."""
    if isinstance(value, str):
        return _names(value) - {"item"}
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {name for entry in entries for name in names_in(entry)}


def _names(text: str) -> set[str]:
    reference = REFERENCE.match(text)
    if reference:
        return {reference.group(1) or reference.group(3)}
    if not any(mark in text for mark in MARKUP) or only_placeholders(text):
        return set()
    return names_in_template(text)


def render_apart_from(value: Any, scope: Scope, later: Collection[str]) -> Any:
    """Render what does not refer to the names in ``later``, which have no values yet; of the rest, look up the fields of
    the case that it names. Raises `TemplateError` as `render` does.
    """
    if isinstance(value, str):
        if not (_names(value) & set(later)):
            return render(value, scope)
        for placeholder in PLACEHOLDER.finditer(value):
            locate(placeholder.group(1), scope)
        return value
    if isinstance(value, Mapping):
        return {key: render_apart_from(entry, scope, later) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [render_apart_from(entry, scope, later) for entry in value]
    return value


def render(value: Any, scope: Scope) -> Any:
    """Return ``value`` with every string in it (in lists and dicts too) rendered against ``scope``.

    Raises `TemplateError` naming the unknown field and the fields there are.
    """
    if isinstance(value, str):
        return _renderer(value)(scope)
    if isinstance(value, Mapping):
        return {key: render(entry, scope) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [render(entry, scope) for entry in value]
    return value


def render_text(value: str, scope: Scope) -> str:
    """Render ``value`` to text, as for a message: a file becomes its text; null and containers are refused."""
    result = _renderer(value)(scope)
    return result if isinstance(result, str) else as_text(result, value)


def split_text(value: object, separator: str | None = None) -> list[str]:
    """Return the parts of a text between separators (a comma unless another one is named), without spaces around them and without
    empty ones: what a cell of a spreadsheet lists. A list stays one, and null has no parts.

    Raises `TemplateError` for anything else.
    """
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [str(entry) for entry in value]
    if not isinstance(value, str):
        raise TemplateError(f"the filter 'split' takes a text, not {type(value).__name__} ({value!r:.40})")
    return [part.strip() for part in value.split(separator or ",") if part.strip()]


@functools.lru_cache(maxsize=4096)
def _renderer(text: str) -> Renderer:
    """Return what renders ``text``: found out once, used for every case."""
    locator = LOCATOR.match(text)
    if locator:
        path = locator.group(1) or locator.group(2)
        return lambda scope: locate(path, scope)
    split = SPLIT.match(text)
    if split:
        path, separator = split.group(1), split.group(2) or split.group(3)
        return lambda scope: split_text(locate(path, scope), separator)
    if is_no_locator(text):
        refuse_no_locator(text)
    reference = REFERENCE.match(text)
    if reference:
        return _reference(text, reference)
    single = SINGLE.search(text)
    if single and "{%" not in text:
        name = single[1].strip()
        path = name if LOCATOR.match(name) else bracketed("item", name.removeprefix("item."))
        raise TemplateError(
            f"{single[0]!r} is in single braces; a template has two, {{{{{path}}}}} (if these braces are meant as text, write "
            f"{{% raw %}}{single[0]}{{% endraw %}})"
        )
    if not any(mark in text for mark in MARKUP):
        meant = MEANT.fullmatch(text)
        return _text_but_not_a_field(text, next(filter(None, meant.groups()))) if meant else lambda _scope: text
    if not only_placeholders(text):
        return compile_template(text)
    literals = PLACEHOLDER.split(text)
    parts = [(part, bool(index % 2)) for index, part in enumerate(literals) if part]

    def render_placeholders(scope: Scope) -> str:
        texts = []
        for part, is_path in parts:
            value = locate(part, scope) if is_path else part
            texts.append(value if type(value) is str else as_text(value, part))
        return "".join(texts)

    return render_placeholders


def _reference(text: str, reference: re.Match[str]) -> Renderer:
    """Render a whole string that is one name, perhaps with a path: a value of the scope, or what it is otherwise."""
    bare, _, braced, braced_path = reference.groups()

    def render_bare(scope: Scope) -> Any:
        if bare in scope.get(ALIASES, ()):
            return locate(text, scope)
        _refuse_other_name(bare, text, scope)
        return text

    if bare:
        return render_bare

    def render_braced(scope: Scope) -> Any:
        return locate(f"{braced}{braced_path}", scope) if braced in scope else compile_template(text)(scope)

    return render_braced


def _text_but_not_a_field(text: str, field: str) -> Renderer:
    """Render a text, unless the row has the field that it looks as if it named: then it is refused."""

    def render_text(scope: Scope) -> str:
        item = scope.get("item")
        if isinstance(item, Mapping) and field in item:
            raise TemplateError(
                f"{text!r} is text, and the row has the field {field!r}: that is written item.{field} (if it is meant as text, write "
                f"{{% raw %}}{text}{{% endraw %}})"
            )
        return text

    return render_text


_OTHER_NAMES = ("Item", "ITEM", "items", "Items", "itm", "case", "row", "record", "sample", "example", "doc")
"""What other tools, and other places of this one, call the row."""


def _refuse_other_name(name: str, text: str, scope: Scope) -> None:
    """Raise `TemplateError` for a whole string that names a field of the row, and calls the row by another name than ``item``."""
    item, (_, steps) = scope.get("item"), steps_of(text)
    if name in _OTHER_NAMES and steps and isinstance(item, Mapping) and steps[0] in item:
        raise TemplateError(
            f"{text!r} is text, and the row has the field {steps[0]!r}: in a template the row is called item, as in "
            f"item{text.removeprefix(name)} (if it is meant as text, write {{% raw %}}{text}{{% endraw %}})"
        )


# -- What only Jinja2 can do, sandboxed and strict. It takes 30 ms to import: only suites whose strings hold more than fields of
# the case pay for it.

Renderer = Callable[[Scope], Any]


@contextmanager
def well_formed(what: str, hint: str = "") -> Iterator[None]:
    """Raise `TemplateError` about ``what``, with a ``hint``, for a syntax error in what is parsed inside."""
    import jinja2

    try:
        yield
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{what} is not well formed: {error.message}{hint}") from error


@functools.lru_cache(maxsize=256)
def compile_template(text: str) -> Renderer:
    """Return what renders a template against a scope; it raises `TemplateError`, as this does for one not well formed."""
    import jinja2

    with well_formed(f"template {text!r}", name_hint(text)):
        template = environment().from_string(text)

    def render_template(scope: Scope) -> str:
        try:
            return str(template.render(scope))
        except jinja2.UndefinedError as error:
            raise TemplateError(f"{error.message}{name_hint(text)} (in the template {text!r})") from error
        except TemplateError:
            raise
        except Exception as error:  # a filter or method called by the template may raise anything
            raise TemplateError(f"template {text!r} failed: {type(error).__name__}: {error}") from error

    return render_template


def names_in_template(text: str) -> set[str]:
    """Return the names that a template needs. Raises `TemplateError` unless it is well formed."""
    from jinja2 import meta

    with well_formed(f"template {text!r}", name_hint(text)):
        return set(meta.find_undeclared_variables(environment().parse(text)))


@functools.lru_cache(maxsize=1)
def environment() -> Any:
    """Return the environment of all templates and expressions."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Unknown(jinja2.StrictUndefined):
        @property
        def _undefined_message(self) -> str:
            if self._undefined_hint:
                # The sandbox says what it refuses.
                return self._undefined_hint
            name = str(self._undefined_name)
            if self._undefined_obj is jinja2.utils.missing:
                return f"unknown name {name!r}; fields of the case are written item.{name}"
            return unknown(name, "the object", self._undefined_obj, f"...{name}")

    class Environment(ImmutableSandboxedEnvironment):
        def getattr(self, obj: Any, attribute: str) -> Any:
            # Fields win over the methods of dict: {{item.items}} and {{item.values}} are data.
            if isinstance(obj, Mapping):
                return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

    def finalize(value: object) -> object:
        if value is None or isinstance(value, (Path, Mapping, list, tuple)):
            return as_text(value, "a value of the template")
        return value

    environment = Environment(undefined=Unknown, finalize=finalize, autoescape=False, keep_trailing_newline=True)
    # Jinja's own escapes < and ' for HTML, which a prompt is not.
    environment.filters["split"] = split_text
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment
