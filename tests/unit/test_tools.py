"""Tools: schemas as they are written, and those of Python functions, which are transformers' own."""

from __future__ import annotations

import enum
from typing import Any, Literal, Optional, Union

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.tools import function_schema, parameters_of, tool_name, tool_schemas


class Unit(enum.Enum):
    """A unit."""

    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


def plain(city: str, days: int = 1) -> str:
    """Get the weather of a city.

    Args:
        city: The city,
            in English.
        days: How many days (choices: [1, 2, 3])

    Returns:
        str: A sentence.
    """
    return f"{city} {days}"


def types(
    a: float,
    b: bool,
    c: list[str],
    d: dict[str, int],
    e: Literal["x", "y"],
    f: Unit,
    g: int | None = None,
    h: Union[int, str] = 1,  # noqa: UP007 - as users write it
    i: Optional[list[int]] = None,  # noqa: UP045 - as above
    j: list | None = None,  # type: ignore[type-arg]  # as above
    k: dict | None = None,  # type: ignore[type-arg]  # as above
    l: Any = None,  # noqa: E741 - one letter each
    m: tuple[int, str] = (1, ""),
    n: Literal[1, "one"] = 1,
    o: int | list[str] = 1,
    p: "str" = "",  # noqa: UP037 - as users write it
) -> dict[str, Any]:
    """All kinds of types.

    It goes on
    over lines.

    Args:
        a: first
        b: second
            with: a colon in a line that is indented
        c: third

        d: fourth
        e: fifth
        f: sixth
        g: g
        h: h
        i: i
        j: j
        k: k
        l: l
        m: m
        n: n
        o: o
        p: p
    Raises:
        ValueError: never
    """
    return locals()


def nothing() -> None:
    """Do nothing."""


async def waits(seconds: float) -> None:
    """Wait.

    Args:
        seconds: How long
    """


class Tools:
    """Tools as methods."""

    def method(self, x: int) -> object:
        """Double a number.

        Args:
            x: The number
        Returns:
            The double
        """
        return 2 * x


@pytest.mark.parametrize("function", [plain, types, nothing, waits, Tools().method, Tools.method])
def test_the_schema_of_a_function_is_that_of_transformers(function: Any) -> None:
    utils = pytest.importorskip("transformers.utils")
    made = function_schema(function)
    expected = utils.get_json_schema(function)
    assert made == expected
    # Chat templates write them in this order.
    assert str(made) == str(expected)


def test_the_schema_of_a_function() -> None:
    assert function_schema(plain) == {
        "type": "function",
        "function": {
            "name": "plain",
            "description": "Get the weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city, in English."},
                    "days": {"type": "integer", "enum": [1, 2, 3], "description": "How many days"},
                },
                "required": ["city"],
            },
            "return": {"type": "string", "description": "str: A sentence."},
        },
    }


def undocumented(city: str) -> str:
    return city


def unannotated(city) -> str:  # type: ignore[no-untyped-def]  # that is what is refused  # noqa: ANN001 - as above
    """Get the weather.

    Args:
        city: The city
    """
    return str(city)


def undescribed(city: str) -> str:
    """Get the weather."""
    return city


def custom(city: Tools) -> str:
    """Get the weather.

    Args:
        city: The city
    """
    return str(city)


def starred(*cities: str) -> str:
    """Get the weather.

    Args:
        cities: Cities
    """
    return str(cities)


def unknown(city: Nowhere) -> str:  # type: ignore[name-defined]  # that is what is refused  # noqa: F821 - as above
    """Get the weather.

    Args:
        city: The city
    """
    return str(city)


def badly_chosen(city: str) -> str:
    """Get the weather.

    Args:
        city: The city (choices: [Rome, Paris])
    """
    return city


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (undocumented, r"tool 'undocumented' \(test_tools\.py:\d+\) has no docstring"),
        (unannotated, "the argument 'city' has no annotation; write its type, as city: str"),
        (undescribed, "its docstring does not describe the argument 'city'"),
        (custom, "the argument 'city' has the type Tools, which has no JSON schema"),
        (starred, "cannot be a tool's argument"),
        (unknown, "its annotations cannot be read"),
        (badly_chosen, "the choices of 'city' are not a JSON list"),
        (lambda city: city, "has no docstring"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_what_to_do(function: Any, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        tool_schemas([function])


WHOLE = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "Does it.",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    },
}


@pytest.mark.parametrize(
    "tool",
    [WHOLE, WHOLE["function"], {"type": "function", **WHOLE["function"]}],  # type: ignore[dict-item]  # a dict of two kinds
    ids=["whole", "function alone", "as responses have it"],
)
def test_schemas_in_each_form_come_to_the_same(tool: Any) -> None:
    schemas = tool_schemas([tool])
    assert schemas == (WHOLE,)
    assert (tool_name(schemas[0]), dict(parameters_of(schemas[0]))) == ("f", {"x": {"type": "integer"}})


def test_a_tool_without_parameters_takes_none() -> None:
    parameters = {"type": "object", "properties": {}}
    assert [
        each["function"]["parameters"] for each in tool_schemas([{"name": "a"}, {"name": "b", "parameters": {}}])
    ] == [
        parameters,
        parameters,
    ]


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("get_weather", "tools must be a list"),
        ({"name": "f"}, "tools must be a list"),
        (["get_weather"], "tool 1 must be a JSON schema of a function or a Python function"),
        ([WHOLE, 3], "tool 2 must be"),
        ([{"type": "web_search"}], "tool 1 has the type 'web_search'"),
        ([{"type": "function", "function": "f"}], "tool 1 has the type"),
        ([{"description": "no name"}], "tool 1 needs a 'name'"),
        ([{"name": "two words"}], "without white space"),
        ([{"name": "f", "input_schema": {}}], "is called 'parameters'"),
        ([{"name": "f", "description": 3}], "'description' must be a text"),
        ([{"name": "f", "parameters": ["x"]}], "must be a JSON schema of an object"),
        ([{"name": "f", "parameters": {"x": {"type": "string"}}}], "must be the JSON schema of an object"),
        ([{"name": "f", "parameters": {"type": "dict", "properties": {}}}], "must be the JSON schema of an object"),
        (
            [{"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "float"}}}}],
            "not a valid JSON schema at /properties/x/type",
        ),
        (
            [{"name": "f", "parameters": {"type": "object", "properties": {}, "required": ["x"]}}],
            "'required' names 'x', which is not among its properties",
        ),
        ([{"name": "f", "parameters": {"type": "object", "properties": {"x": {"default": object()}}}}], "is not JSON"),
        ([WHOLE, {"name": "f"}], "two tools are called 'f'"),
        ([int], "tool 1 must be"),
    ],
)
def test_wrong_tools_are_refused(tools: Any, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        tool_schemas(tools)
