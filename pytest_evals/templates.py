"""Locators and templates: how a string in a suite refers to the fields of its case.

``"item.answer"`` and ``"{{item.answer}}"`` as a whole string are the raw value, type kept. ``"... {{item.answer}}
..."`` inside a longer string is interpolated, and everything else that Jinja2 can do is done by it (sandboxed, strict: an
unknown name is an error). Paths may be
nested (``item.person.name``, ``item.choices.0``), and ``item.files.NAME`` is a file of the case, which stands for its
text.

A scope may hold more names than ``item``: the results of tasks. ``"{{draft}}"`` and ``"{{draft.field}}"`` as a whole string
are raw values too; without braces such a string is a locator only where the scope says that ``draft`` is a task's alias.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from pytest_evals.errors import TemplateError, did_you_mean

Scope = Mapping[str, Any]
_PATH = r"item(?:\.\w+)+"
_LOCATOR = re.compile(rf"\A(?:({_PATH})|\{{\{{\s*({_PATH})\s*\}}\}})\Z")
_PLACEHOLDER = re.compile(rf"\{{\{{\s*({_PATH})\s*\}}\}}")
_REFERENCE = re.compile(r"\A(?:([A-Za-z_]\w*)((?:\.\w+)*)|\{\{\s*([A-Za-z_]\w*)((?:\.\w+)*)\s*\}\})\Z")
_MARKUP = ("{{", "{%", "{#")
Renderer = Callable[[Scope], Any]
ALIASES = "__aliases__"
"""The name under which a scope holds the aliases of its tasks, see `with_tasks`."""


def with_tasks(scope: Scope, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``scope`` with the results of tasks by their aliases."""
    return {**scope, **results, ALIASES: frozenset(results)}


def is_dynamic(text: str) -> bool:
    """Tell whether ``text`` refers to anything: a locator, or a template with Jinja markup."""
    return _LOCATOR.match(text) is not None or any(mark in text for mark in _MARKUP)


def may_name_a_task(text: str) -> bool:
    """Tell whether ``text`` is a locator if its first name is the alias of a task: ``draft``, ``draft.field``."""
    return _REFERENCE.match(text) is not None


def names_in(value: Any) -> set[str]:
    """Return the names, other than ``item``, that the strings in ``value`` refer to or may refer to."""
    if isinstance(value, str):
        return _names(value) - {"item"}
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {name for entry in entries for name in names_in(entry)}


def _names(text: str) -> set[str]:
    reference = _REFERENCE.match(text)
    if reference:
        return {reference.group(1) or reference.group(3)}
    if not any(mark in text for mark in _MARKUP) or _only_placeholders(text):
        return set()
    import jinja2
    from jinja2 import meta

    try:
        return set(meta.find_undeclared_variables(_environment().parse(text)))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {text!r} is not well formed: {error.message}") from error


def render_apart_from(value: Any, scope: Scope, later: Collection[str]) -> Any:
    """Render what does not refer to the names in ``later``, which have no values yet; of the rest, look up the fields of
    the case that it names. Raises `TemplateError` as `render` does.
    """
    if isinstance(value, str):
        if not (_names(value) & set(later)):
            return render(value, scope)
        for placeholder in _PLACEHOLDER.finditer(value):
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
    return result if isinstance(result, str) else _as_text(result, value)


@functools.lru_cache(maxsize=4096)
def _renderer(text: str) -> Renderer:
    """Return what renders ``text``: found out once, used for every case."""
    locator = _LOCATOR.match(text)
    if locator:
        path = locator.group(1) or locator.group(2)
        return lambda scope: locate(path, scope)
    reference = _REFERENCE.match(text)
    if reference:
        return _reference(text, reference)
    if not any(mark in text for mark in _MARKUP):
        return lambda _scope: text
    if not _only_placeholders(text):
        return _compile(text)
    literals = _PLACEHOLDER.split(text)
    return lambda scope: "".join(
        _as_text(locate(part, scope), part) if index % 2 else part for index, part in enumerate(literals)
    )


def _only_placeholders(text: str) -> bool:
    """Tell whether the markup is nothing but fields of the case, the usual case: they need no template engine."""
    return not any(mark in literal for literal in _PLACEHOLDER.split(text)[::2] for mark in (*_MARKUP, "}}"))


def _reference(text: str, reference: re.Match[str]) -> Renderer:
    """Render a whole string that is one name, perhaps with a path: a value of the scope, or what it is otherwise."""
    bare, path, braced, braced_path = reference.groups()
    if bare:
        return lambda scope: locate(f"{bare}{path}", scope) if bare in scope.get(ALIASES, ()) else text

    def render_braced(scope: Scope) -> Any:
        return locate(f"{braced}{braced_path}", scope) if braced in scope else _compiled(text)(scope)

    return render_braced


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> Renderer:
    return _compile(text)


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
            raise TemplateError(_unknown(name, seen, value, path)) from None
        seen = f"{seen}.{name}"
    return value


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _unknown(name: str, holder: str, value: object, source: str) -> str:
    if isinstance(value, Mapping):
        known = [str(key) for key in value]
        return f"unknown field {name!r} in {source!r}: {holder} has {', '.join(known) or 'no fields'}{did_you_mean(name, known)}"
    if _is_list(value):
        return f"no element {name!r} in {source!r}: {holder} is a list of {len(value)}"
    return f"no field {name!r} in {source!r}: {holder} is {type(value).__name__}, not an object"


def _as_text(value: object, source: str) -> str:
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


def _compile(text: str) -> Renderer:
    """Compile a Jinja template once; its function renders a scope and raises `TemplateError`."""
    # Jinja takes 30 ms to import: only suites whose strings hold markup pay for it.
    import jinja2

    try:
        template = _environment().from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {text!r} is not well formed: {error.message}") from error

    def render_template(scope: Scope) -> str:
        try:
            return str(template.render(scope))
        except jinja2.UndefinedError as error:
            raise TemplateError(f"{error.message} (in the template {text!r})") from error
        except TemplateError:
            raise
        except Exception as error:  # a filter or method called by the template may raise anything
            raise TemplateError(f"template {text!r} failed: {type(error).__name__}: {error}") from error

    return render_template


def check_condition(expression: str) -> None:
    """Raise `TemplateError` unless ``expression`` (of ``run_if``) is well formed."""
    _condition(expression)


def holds(expression: str, scope: Scope) -> bool:
    """Tell whether an expression, as ``"item.kind == 'rag'"``, is true in ``scope``. Raises `TemplateError`."""
    import jinja2

    try:
        return bool(_condition(expression)(scope))
    except jinja2.UndefinedError as error:
        raise TemplateError(
            f"run_if {expression!r}: {error.message} (write 'item.x is defined and ...' where a row may lack it)"
        ) from error
    except Exception as error:  # a filter or method called by the expression may raise anything
        raise TemplateError(f"run_if {expression!r} failed: {type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=256)
def _condition(expression: str) -> Callable[[Scope], Any]:
    if not isinstance(expression, str) or not expression.strip():
        raise TemplateError(f"run_if must be an expression like \"item.kind == 'rag'\", not {expression!r}")
    return compile_expression(expression, "run_if")


def compile_expression(expression: str, what: str) -> Callable[[Scope], Any]:
    """Return what computes ``expression`` in a scope, sandboxed; it raises whatever the expression makes of the scope.

    Raises `TemplateError` that names ``what`` the expression is for unless it is well formed.
    """
    import jinja2

    try:
        compiled: Callable[[Scope], Any] = _environment().compile_expression(expression, undefined_to_none=False)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{what} {expression!r} is not well formed: {error.message}") from error
    return compiled


def paths_of(expression: str) -> list[list[str]]:
    """Return the names that a well-formed expression uses, each with the attributes asked of it: ``item.level`` is
    ``["item", "level"]``.
    """
    from jinja2 import nodes

    tree = _environment().parse(f"{{{{ ({expression}) }}}}")
    chains = [_chain(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name))]
    found = [chain for chain in chains if chain]
    return [chain for chain in found if not any(other[: len(chain)] == chain and other != chain for other in found)]


def _chain(node: Any) -> list[str]:
    """Return a node's name and the attributes asked of it; nothing for what is computed."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return [node.name]
    if isinstance(node, nodes.Getattr):
        holder, name = _chain(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        holder, name = _chain(node.node), node.arg.value
    else:
        return []
    return [*holder, name] if holder else []


@functools.lru_cache(maxsize=1)
def _environment() -> Any:
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
            return _unknown(name, "the object", self._undefined_obj, f"...{name}")

    class Environment(ImmutableSandboxedEnvironment):
        def getattr(self, obj: Any, attribute: str) -> Any:
            # Fields win over the methods of dict: {{item.items}} and {{item.values}} are data.
            if isinstance(obj, Mapping):
                return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

    def finalize(value: object) -> object:
        if value is None or isinstance(value, (Path, Mapping, list, tuple)):
            return _as_text(value, "a value of the template")
        return value

    environment = Environment(undefined=Unknown, finalize=finalize, autoescape=False, keep_trailing_newline=True)
    # Jinja's own escapes < and ' for HTML, which a prompt is not.
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment
