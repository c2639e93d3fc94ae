"""The task that lets a model call tools until it answers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_evals.completion import Completion, Message, ToolCall
from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.fixtures.declaration import FixtureSpec
from pytest_evals.fixtures.factory import made_fixture, step_function
from pytest_evals.runner.model import Model
from pytest_evals.runner.threads import DaemonThreads
from pytest_evals.templates.expressions import check_condition
from pytest_evals.tools import function_schema, tool_schemas


def tool_loop(
    functions: Sequence[Callable[..., Any]],
    *,
    max_turns: int = 8,
    name: str = "completion",
    run_if: str | None = None,
) -> Any:
    """Return a task in which the model calls functions until it answers.

    The result is the model's last reply, a `Completion` whose ``messages`` are the whole conversation. If it still calls tools in the last
    turn, these are not run, and ``finish_reason`` is ``tool_calls``. The suite's generation parameters hold in every turn, ``tool_choice`` in the
    first. The turns of all cases are batched.

    Async functions are awaited, others run in threads; the calls of one reply run at the same time. A text result goes to the model as it is,
    anything else as JSON. An exception, an unknown function and wrong arguments also go back to the model as the result.

    Args:
        functions: Python functions with annotations and a docstring in Google's style, which describe the tools to the model.
        max_turns: The largest number of replies, with the last one.
        name: The task's alias; ``completion`` replaces the default turn.
        run_if: An expression over the case. Where it is false, the task does not apply.

    Raises:
        SuiteError: A setting is wrong, or a function cannot be described.
    """
    if not isinstance(functions, (list, tuple)) or not functions or not all(map(_is_function, functions)):
        raise SuiteError(f"tool_loop takes a list of one or more Python functions, not {functions!r:.120}")
    if isinstance(max_turns, bool) or not isinstance(max_turns, int) or max_turns < 1:
        raise SuiteError(f"tool_loop: max_turns must be a whole number of at least 1, not {max_turns!r}")
    if run_if is not None:
        check_condition(run_if)
    schemas = tool_schemas(list(functions))
    toolbox = _Functions(functions)

    async def loop(model: Model) -> Completion:
        generation = {**model.generation, "tools": schemas}
        reply = await model.generate(**generation)
        # A model that had to call a tool in each turn would never answer.
        generation["tool_choice"] = "auto"
        for _ in range(max_turns - 1):
            if not reply.tool_calls:
                break
            results = await toolbox.run(reply.tool_calls)
            reply = await model.generate([*reply.messages, *results], **generation)
        return reply

    loop.__doc__ = "The model calls tools until it answers."
    return made_fixture(
        step_function(FixtureSpec("task", loop, run_if=run_if, offers_tools=True, ready_made=True)), name
    )


def _is_function(function: object) -> bool:
    return callable(function) and not isinstance(function, (type, Mapping))


class _Functions:
    """The functions by the names under which the model knows them."""

    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        self._functions = {function_schema(each)["function"]["name"]: each for each in functions}
        self._threads = DaemonThreads()

    async def run(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Return a message with the result of each call."""
        results = await asyncio.gather(*(self._result(call) for call in calls))
        return [
            {"role": "tool", "tool_call_id": call.id or "", "name": call.name, "content": result}
            for call, result in zip(calls, results, strict=True)
        ]

    async def _result(self, call: ToolCall) -> str:
        function = self._functions.get(call.name)
        if function is None:
            hint = did_you_mean(call.name, self._functions)
            return f"Error: there is no tool {call.name!r}; the tools are {', '.join(self._functions)}{hint}"
        try:
            inspect.signature(function).bind(**call.arguments)
        except TypeError as error:
            return f"Error: {call.name}: {error}"
        try:
            return _as_text(await self._called(function, call.arguments))
        except Exception as error:  # noqa: BLE001 - a tool may raise anything: the model hears of it
            return f"Error: {type(error).__name__}: {error}"

    async def _called(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(**arguments)
        value = await self._threads.run(lambda: function(**arguments), contextlib.nullcontext())
        # What a decorator made of an async function may not look like one.
        return await value if inspect.isawaitable(value) else value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
