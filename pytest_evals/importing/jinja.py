"""Templates of other tools, whose fields are bare names, become ours, whose fields belong to ``item``; or Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pytest_evals.importing.python_source import text_literal
from pytest_evals.importing.suite import ImportFileError

_METHODS = frozenset(
    [
        "capitalize",
        "count",
        "endswith",
        "find",
        "format",
        "index",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "title",
        "upper",
    ]
)
_OPERATORS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "FloorDiv": "//", "Mod": "%", "And": "and", "Or": "or"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "lteq": "<=", "gt": ">", "gteq": ">=", "in": "in", "notin": "not in"}
_FILTERS = {
    "lower": "str({0}).lower()",
    "upper": "str({0}).upper()",
    "title": "str({0}).title()",
    "capitalize": "str({0}).capitalize()",
    "trim": "str({0}).strip()",
    "string": "str({0})",
    "int": "int({0})",
    "float": "float({0})",
    "length": "len({0})",
    "count": "len({0})",
    "list": "list({0})",
    "first": "{0}[0]",
    "last": "{0}[-1]",
}


def fields_in(template: str) -> set[str]:
    """Return the names that a template does not set itself. Raises `ImportFileError` unless it is well formed."""
    import jinja2
    from jinja2 import meta

    try:
        return set(meta.find_undeclared_variables(_parse(template)))
    except jinja2.TemplateError as error:
        raise ImportFileError(f"the template {template!r:.120} is not one of Jinja: {error}") from error


def with_item(template: str, rename: Callable[[str], str] = "item.{}".format) -> str:
    """Return ``template`` with each field called as ``rename`` says, by default ``item.NAME``.

    Raises `ImportFileError` for a template that is not well formed.
    """
    free = fields_in(template)
    tokens = [(kind, value) for _, kind, value in _environment().lex(template)]
    written = []
    for index, (kind, value) in enumerate(tokens):
        is_field = kind == "name" and value in free and not _is_other_name(tokens, index)
        written.append(rename(value) if is_field else value)
    return "".join(written)


def _is_other_name(tokens: list[tuple[str, str]], index: int) -> bool:
    """Tell whether a name is an attribute, a filter, a test or the name of an argument."""
    before = [token for token in tokens[:index] if token[0] != "whitespace"][-2:]
    after = next((token for token in tokens[index + 1 :] if token[0] != "whitespace"), ("", ""))
    if before and before[-1] in (("operator", "."), ("operator", "|"), ("name", "is")):
        return True
    if before == [("name", "is"), ("name", "not")]:
        return True
    return after == ("operator", "=")


def is_field(text: str) -> bool:
    """Tell whether ``text`` is a bare name, as ``question``."""
    return re.fullmatch(r"[A-Za-z_]\w*", text) is not None


def as_python(template: str, row: str) -> str | None:
    """Return the Python expression for what a template of one expression gives, `None` where there is none.

    Fields are looked up in the variable ``row``. A template with text around it gives a text.
    """
    try:
        return _without_brackets(_text(_parse(template).body, row))
    except _NoPythonError:
        return None


def _text(nodes: Any, row: str) -> str:
    """Return the expression for what follows each other in a template: text, fields and conditions."""
    written: list[tuple[bool, str]] = []
    for node in nodes:
        if type(node).__name__ == "If" and not node.elif_:
            code = f"({_text(node.body, row)} if {_expression(node.test, row)} else {_text(node.else_, row)})"
            written.append((False, code))
        elif type(node).__name__ == "Output":
            for part in node.nodes:
                is_text = type(part).__name__ == "TemplateData"
                written.append((is_text, text_literal(part.data) if is_text else _expression(part, row)))
        else:
            raise _NoPythonError
    if len(written) == 1:
        return written[0][1]
    return " + ".join(code if is_text else f"str({code})" for is_text, code in written) or '""'


def _without_brackets(code: str) -> str:
    """Leave out brackets around the whole of an expression."""
    depth = 0
    for index, char in enumerate(code):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return code[1:-1] if index == len(code) - 1 and code.startswith("(") else code
    return code


class _NoPythonError(Exception):
    """There is no expression for a part of a template."""


def _expression(node: Any, row: str) -> str:  # noqa: C901, PLR0911, PLR0912 - a case for each kind of node
    kind = type(node).__name__

    def of(child: Any) -> str:
        return _expression(child, row)

    if kind == "Const":
        return text_literal(node.value) if isinstance(node.value, str) else repr(node.value)
    if kind == "Name":
        return f"{row}[{text_literal(node.name)}]"
    if kind == "Getattr":
        return f"{of(node.node)}[{text_literal(node.attr)}]"
    if kind == "Getitem":
        return f"{of(node.node)}[{of(node.arg)}]"
    if kind == "Slice":
        start, stop = (of(each) if each is not None else "" for each in (node.start, node.stop))
        return f"{start}:{stop}"
    if kind == "List":
        return f"[{', '.join(map(of, node.items))}]"
    if kind == "Neg":
        return f"-{of(node.node)}"
    if kind == "Test" and node.name == "none":
        return f"{of(node.node)} is None"
    if kind == "Not" and type(node.node).__name__ == "Test" and node.node.name == "none":
        return f"{of(node.node.node)} is not None"
    if kind == "Not":
        return f"not {of(node.node)}"
    if kind == "Concat":
        return f"({' + '.join(f'str({of(each)})' for each in node.nodes)})"
    if kind in _OPERATORS:
        return f"({of(node.left)} {_OPERATORS[kind]} {of(node.right)})"
    if kind == "Compare" and len(node.ops) == 1:
        return f"({of(node.expr)} {_COMPARISONS[node.ops[0].op]} {of(node.ops[0].expr)})"
    if kind == "CondExpr" and node.expr2 is not None:
        return f"({of(node.expr1)} if {of(node.test)} else {of(node.expr2)})"
    if kind == "Filter" and node.name in _FILTERS and not node.args and not node.kwargs:
        return _FILTERS[node.name].format(of(node.node))
    if kind == "Call" and type(node.node).__name__ == "Getattr" and node.node.attr in _METHODS and not node.kwargs:
        return f"{of(node.node.node)}.{node.node.attr}({', '.join(map(of, node.args))})"
    raise _NoPythonError


def _parse(template: str) -> Any:
    import jinja2

    try:
        return _environment().parse(template)
    except jinja2.TemplateError as error:
        raise ImportFileError(f"the template {template!r:.120} is not one of Jinja: {error}") from error


def _environment() -> Any:
    import jinja2

    return jinja2.Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701 - prompts are no HTML, and nothing is rendered
