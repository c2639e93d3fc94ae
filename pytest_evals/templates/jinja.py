"""What only Jinja2 can do, sandboxed and strict. It takes 30 ms to import: only suites whose strings hold more than fields of
the case pay for it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_evals.errors import TemplateError
from pytest_evals.templates.locators import Scope, as_text, unknown

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

    with well_formed(f"template {text!r}"):
        template = environment().from_string(text)

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


def names_in_template(text: str) -> set[str]:
    """Return the names that a template needs. Raises `TemplateError` unless it is well formed."""
    from jinja2 import meta

    with well_formed(f"template {text!r}"):
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
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    return environment
