"""Tools that a model may call: JSON schemas of functions, written as such or made of Python functions."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeGuard, Union

from pytest_evals.errors import SuiteError
from pytest_evals.text import one_line

ToolFunction = Callable[..., Any]

_SCALARS: Mapping[Any, str] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    type(None): "null",
}
_TYPES: Mapping[Any, str] = {**_SCALARS, list: "array", tuple: "array", dict: "object"}
_SECTION = re.compile(r"(Args:|Returns:|Raises:)")
_ARGUMENT = re.compile(r"([ \t]*)(\w+):\s*(.*)")
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)
_EMPTY_PARAMETERS = {"type": "object", "properties": {}}


class ToolSchemas(tuple[dict[str, Any], ...]):
    """Schemas that were checked: each turn of a conversation offers them again."""

    __slots__ = ()


def tool_schemas(tools: object) -> ToolSchemas:
    """Return the tools as chat templates read them: ``{"type": "function", "function": {"name", "description",
    "parameters"}}`` for each.

    ``tools`` is a list of such schemas, of what is under their ``function`` alone, or of Python functions. Raises
    `SuiteError` for anything else, and for two tools of one name.
    """
    if isinstance(tools, ToolSchemas):
        return tools
    if not isinstance(tools, (list, tuple)):
        raise SuiteError(f"tools must be a list of JSON schemas or Python functions, not {one_line(repr(tools), 80)}")
    schemas = ToolSchemas(
        function_schema(tool) if _is_function(tool) else _checked_schema(tool, number)
        for number, tool in enumerate(tools, start=1)
    )
    names = [schema["function"]["name"] for schema in schemas]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SuiteError(f"tools: two tools are called {twice!r}; a model tells them apart by their names")
    return schemas


def tool_name(schema: Mapping[str, Any]) -> str:
    """Return the name of a tool."""
    return str(schema["function"]["name"])


def parameters_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schemas of a tool's parameters by their names."""
    properties: Mapping[str, Any] = (schema["function"].get("parameters") or {}).get("properties") or {}
    return properties


def _is_function(tool: object) -> TypeGuard[ToolFunction]:
    return callable(tool) and not isinstance(tool, (type, Mapping))


def _checked_schema(tool: object, number: int) -> dict[str, Any]:
    where = f"tool {number}"
    if not isinstance(tool, Mapping):
        raise SuiteError(f"{where} must be a JSON schema of a function or a Python function, not {_shown(tool)}")
    function = tool.get("function", tool)
    if tool.get("type", "function") != "function" or not isinstance(function, Mapping):
        kind = tool.get("type")
        raise SuiteError(
            f"{where} has the type {kind!r}; a tool is {{'type': 'function', 'function': {{'name', 'description', "
            "'parameters'}}"
        )
    name = function.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"\S+", name):
        raise SuiteError(f"{where} needs a 'name' without white space, not {_shown(name)}")
    where = f"tool {name!r}"
    if "input_schema" in function:
        raise SuiteError(f"{where} has 'input_schema'; here the schema of the arguments is called 'parameters'")
    if not isinstance(function.get("description", ""), str):
        raise SuiteError(f"{where}: 'description' must be a text, not {_shown(function['description'])}")
    described = {key: value for key, value in function.items() if key != "type"}
    described["parameters"] = _checked_parameters(function.get("parameters"), where)
    try:
        plain: dict[str, Any] = json.loads(json.dumps(described, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SuiteError(f"{where} is not valid JSON: {error}") from error
    return {"type": "function", "function": plain}


def _checked_parameters(parameters: object, where: str) -> Mapping[str, Any]:
    if parameters is None or parameters == {}:
        return _EMPTY_PARAMETERS
    if not isinstance(parameters, Mapping):
        raise SuiteError(f"{where}: 'parameters' must be a JSON schema of an object, not {_shown(parameters)}")
    if parameters.get("type") != "object" or not isinstance(parameters.get("properties", {}), Mapping):
        raise SuiteError(
            f"{where}: 'parameters' must be the JSON schema of an object: {{'type': 'object', 'properties': {{...}}}}, not "
            f"{_shown(dict(parameters))}"
        )
    import jsonschema

    try:
        jsonschema.validators.validator_for(parameters).check_schema(dict(parameters))
    except jsonschema.SchemaError as error:
        at = "".join(f"/{step}" for step in error.absolute_path)
        raise SuiteError(
            f"{where}: 'parameters' is not a valid JSON schema at {at or '/'}: {one_line(error.message, 160)}"
        ) from error
    properties = parameters.get("properties", {})
    beyond = [name for name in parameters.get("required", []) if name not in properties]
    if beyond:
        raise SuiteError(f"{where}: 'required' names {beyond[0]!r}, which is not among its properties")
    return {**parameters, "properties": properties}


def _shown(value: object) -> str:
    return one_line(repr(value), 100)


# -- A Python function -> its schema: the one that transformers' `get_json_schema` makes, without importing transformers.


def function_schema(function: ToolFunction) -> dict[str, Any]:
    """Return the JSON schema of a function, from its annotations and its docstring in Google's style.

    It is the schema that `transformers.utils.get_json_schema` makes. Raises `SuiteError` where annotation, docstring or the
    description of an argument is missing, and for a type that JSON does not have.
    """
    name = getattr(function, "__name__", type(function).__name__)
    where = f"tool {name!r} ({_place(function)})"
    doc = (inspect.getdoc(function) or "").strip()
    if not doc:
        raise SuiteError(
            f"{where} has no docstring; the model reads there what it does: write one, with a section 'Args:' that "
            "describes each argument"
        )
    described = _argument_descriptions(doc)
    properties, required, returned = _annotated(function, where)
    for argument, schema in properties.items():
        if argument not in described:
            raise SuiteError(
                f"{where}: its docstring does not describe the argument {argument!r}; add a line '{argument}: ...' under "
                "'Args:'"
            )
        description = described[argument]
        choices = _CHOICES.search(description)
        if choices:
            schema["enum"] = _choices(choices[1], argument, where)
            description = description[: choices.start()].strip()
        schema["description"] = description
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    schema = {"name": name, "description": _SECTION.split(doc, maxsplit=1)[0].strip(), "parameters": parameters}
    if returned is not None:
        found = re.search(r"\n\s*Returns:\n\s*(.*?)[\n\s]*(?:Raises:|\Z)", doc, re.DOTALL)
        schema["return"] = {**returned, **({"description": found[1].strip()} if found else {})}
    return {"type": "function", "function": schema}


def _place(function: ToolFunction) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}" if code else "a callable object"


def _argument_descriptions(doc: str) -> dict[str, str]:
    """Return what the section ``Args:`` says of each argument."""
    section = re.search(r"\n[ \t]*Args:\n(.*?)\s*(?:Returns:|Raises:|\Z)", doc, re.DOTALL)
    descriptions: dict[str, list[str]] = {}
    indent, current = "", ""
    for line in section[1].splitlines() if section else ():
        found = _ARGUMENT.match(line)
        if found and not (current and re.match(rf"{indent}[ \t]", found[1])):
            indent, current = found[1], found[2]
            descriptions[current] = [found[3].strip()]
        elif current and line.strip():
            descriptions[current].append(line.strip())
    return {name: " ".join(filter(None, lines)) for name, lines in descriptions.items()}


def _choices(written: str, argument: str, where: str) -> list[Any]:
    try:
        choices = json.loads(written)
    except ValueError as error:
        raise SuiteError(f"{where}: the choices of {argument!r} are not a JSON list: {written}") from error
    return [choice.strip() if isinstance(choice, str) else choice for choice in choices]


def _annotated(function: ToolFunction, where: str) -> tuple[dict[str, Any], list[str], dict[str, Any] | None]:
    """Return the schemas of the arguments, the names of those without a default, and the schema of what is returned."""
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:  # annotations written as texts are evaluated, and may raise anything
        raise SuiteError(f"{where}: its annotations cannot be read: {error}") from error
    parameters = dict(inspect.signature(function).parameters)
    receiver = next(iter(parameters), None)
    if receiver in ("self", "cls") and receiver not in hints:
        del parameters[receiver]
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise SuiteError(
                f"{where}: {parameter} cannot be a tool's argument: a model gives arguments by their names"
            )
        if name not in hints:
            raise SuiteError(f"{where}: the argument {name!r} has no annotation; write its type, as {name}: str")
    properties = {name: _schema_of(hints[name], f"{where}: the argument {name!r}") for name in parameters}
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    try:
        returned = _schema_of(hints["return"], where) if "return" in hints else None
    except SuiteError:
        # The model never writes it, so a type that JSON does not have is left out.
        returned = None
    return properties, required, returned


def _schema_of(hint: Any, where: str) -> dict[str, Any]:  # noqa: PLR0911 - one a kind of type
    """Return the JSON schema of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if hint is Any:
        return {}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enumeration([member.value for member in hint], hint, where)
    if origin is Literal:
        return _enumeration(list(arguments), hint, where)
    if origin in (Union, types.UnionType):
        return _union(arguments, where)
    if origin is list:
        return {"type": "array", "items": _schema_of(arguments[0], where)}
    if origin is tuple and len(arguments) > 1 and ... not in arguments:
        return {"type": "array", "prefixItems": [_schema_of(each, where) for each in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1], where)}
    shown = hint.__name__ if isinstance(hint, type) and origin is None else str(hint)
    raise SuiteError(
        f"{where} has the type {shown}, which has no JSON schema; use str, int, float, bool, list, dict, Literal, an Enum or a "
        "union of these, or write the schema yourself"
    )


def _enumeration(values: Sequence[Any], hint: object, where: str) -> dict[str, Any]:
    if not values or any(type(value) not in _SCALARS for value in values):
        raise SuiteError(f"{where} has the type {hint}, whose values must be texts, numbers, booleans or None")
    kinds = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}


def _union(arguments: Sequence[Any], where: str) -> dict[str, Any]:
    members = [_schema_of(each, where) for each in arguments if each is not type(None)]
    if len(members) == 1:
        schema = members[0]
    elif all(member.keys() == {"type"} and isinstance(member["type"], str) for member in members):
        kinds = sorted({member["type"] for member in members})
        schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
    else:
        schema = {"anyOf": members}
    return {**schema, "nullable": True} if type(None) in arguments else schema
