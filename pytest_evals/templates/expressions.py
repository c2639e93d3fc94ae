"""Expressions over a case, as ``"item.kind == 'rag'"``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from pytest_evals.errors import TemplateError
from pytest_evals.templates.locators import Scope, name_hint
from pytest_evals.templates.rendering import environment, well_formed

_ALONE = re.compile(r"(?<![=!<>])=(?!=)")
"""One equals sign, which compares nothing."""


def check_condition(expression: str, what: str = "run_if") -> None:
    """Raise `TemplateError` unless ``expression`` is well formed; ``what`` it is for is named."""
    _condition(expression, what)


def holds(expression: str, scope: Scope) -> bool:
    """Tell whether an expression of ``run_if``, as ``"item.kind == 'rag'"``, is true in ``scope``. Raises `TemplateError`."""
    return bool(value_of(expression, "run_if", scope))


_RAISE = object()


def value_of(expression: str, what: str, scope: Scope, *, missing: object = _RAISE) -> Any:
    """Return what an expression gives in ``scope``; ``what`` it is for is named in errors.

    ``missing`` is returned where it looks at a field that is not there; without it that is an error. Raises `TemplateError`.
    """
    import jinja2

    try:
        value = _condition(expression, what)(scope)
        # An undefined value raises as soon as it is looked at.
        if isinstance(value, jinja2.Undefined):
            bool(value)
        return value
    except jinja2.UndefinedError as error:
        if missing is not _RAISE:
            return missing
        raise TemplateError(
            f"{what} {expression!r}: {error.message} (write 'item.x is defined and ...' where a row may lack it)"
        ) from error
    except Exception as error:  # a filter or method called by the expression may raise anything
        raise TemplateError(f"{what} {expression!r} failed: {type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=256)
def _condition(expression: str, what: str) -> Callable[[Scope], Any]:
    if not isinstance(expression, str) or not expression.strip():
        raise TemplateError(f"{what} must be an expression like \"item.kind == 'rag'\", not {expression!r}")
    return compile_expression(expression, what)


def compile_expression(expression: str, what: str) -> Callable[[Scope], Any]:
    """Return what computes ``expression`` in a scope, sandboxed; it raises whatever the expression makes of the scope.

    Raises `TemplateError` that names ``what`` the expression is for unless it is well formed.
    """
    hint = "; equality is written ==" if _ALONE.search(expression) else name_hint(f"{expression}}}")
    with well_formed(f"{what} {expression!r}", hint):
        compiled: Callable[[Scope], Any] = environment().compile_expression(expression, undefined_to_none=False)
    return compiled


def paths_of(expression: str) -> list[list[str]]:
    """Return the names that a well-formed expression uses, each with the attributes asked of it: ``item.level`` is
    ``["item", "level"]``.
    """
    from jinja2 import nodes

    tree = environment().parse(f"{{{{ ({expression}) }}}}")
    chains = [_chain(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Name))]
    found = [chain for chain in chains if chain]
    return [chain for chain in found if not any(other[: len(chain)] == chain and other != chain for other in found)]


def weighed_in(expression: str) -> list[list[str]]:
    """Return those paths of a well-formed expression whose values are compared, or tell by themselves whether it is true."""
    from jinja2 import nodes

    output = environment().parse(f"{{{{ ({expression}) }}}}").body[0]
    found = _sides(output.nodes[0])
    for node in output.find_all(nodes.Compare):
        found += [node.expr, *(operand.expr for operand in node.ops if operand.op not in ("in", "notin"))]
    for node in output.find_all((nodes.And, nodes.Or, nodes.Not)):
        found += _sides(node)
    return [chain for chain in map(_chain, found) if chain]


def literals_in(expression: str) -> list[tuple[list[str], str, tuple[Any, ...]]]:
    """Return the comparisons of a well-formed expression between a path and values that are written out: the path, jinja's word
    for the comparison (``eq``, ``in``, ``lt`` ...), and the values.
    """
    from jinja2 import nodes

    found = []
    for node in environment().parse(f"{{{{ ({expression}) }}}}").find_all(nodes.Compare):
        first = node.ops[0]
        sides = (node.expr, first.expr) if _chain(node.expr) else (first.expr, node.expr)
        values = _written(sides[1])
        if _chain(sides[0]) and values:
            found.append((_chain(sides[0]), first.op, values))
    return found


def _written(node: Any) -> tuple[Any, ...]:
    """Return the values written in an expression itself; nothing for what is computed."""
    from jinja2 import nodes

    if isinstance(node, nodes.Const):
        return (node.value,)
    if isinstance(node, (nodes.List, nodes.Tuple)):
        return tuple(value for item in node.items for value in _written(item))
    return ()


def _sides(node: Any) -> list[Any]:
    """Return what tells whether a node is true."""
    from jinja2 import nodes

    if isinstance(node, nodes.Not):
        return [node.node]
    return [node.left, node.right] if isinstance(node, (nodes.And, nodes.Or)) else [node]


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
