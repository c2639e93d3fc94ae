"""Which names a judge's template uses: what must be known before the template can be rendered."""

from __future__ import annotations

import functools
import re

from pytest_evals.errors import TemplateError

_LOCATOR = re.compile(r"\Aitem(?:\.\w+)+\Z")
WHOLE = re.compile(r"\A\{\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}\}\Z")
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)(?:\.\w+)*\s*\}\}")
_MARKUP = ("{{", "{%", "{#", "}}")


@functools.lru_cache(maxsize=1024)
def names_in(template: str) -> frozenset[str]:
    """Return the names that ``template`` (or locator) takes from outside. Raises `TemplateError` when it is not well
    formed.
    """
    if _LOCATOR.match(template):
        return frozenset({"item"})
    rest = _PLACEHOLDER.sub("", template)
    if not any(mark in rest for mark in _MARKUP):
        return frozenset(_PLACEHOLDER.findall(template))
    # Jinja takes 30 ms to import: only templates that do more than insert values pay for it.
    import jinja2
    import jinja2.meta

    try:
        return frozenset(jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template)))  # noqa: S701 - parsed only
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {template!r} is not well formed: {error.message}") from error


def items_only(template: str) -> bool:
    """Tell whether ``template`` takes all that it inserts from the row, so that it can be checked before anything runs."""
    return names_in(template) <= {"item"}
