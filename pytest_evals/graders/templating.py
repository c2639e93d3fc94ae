"""What ready-made graders have in common: templates in their settings, the text that they grade, and what they need to be
installed.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pytest_evals.completion import Completion
from pytest_evals.errors import SuiteError, TemplateError, did_you_mean
from pytest_evals.fixtures.task import plain_data
from pytest_evals.templates.locators import is_dynamic, is_path, locate, may_name_a_task, steps_of


def depends_on_case(value: object) -> bool:
    """Tell whether a setting, or an entry of a list of them, is a locator or a template, or may be the alias of a task."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(entry, str) and (is_dynamic(entry) or may_name_a_task(entry)) for entry in entries)


def check_static(value: object, check: Callable[[Any], object]) -> None:
    """Check a setting where it is written, unless it depends on the case. ``"draft.value"`` may do so, if ``draft`` is a task;
    a single word is taken for what it is.
    """
    entries = value if isinstance(value, (list, tuple)) else [value]
    dotted = any(isinstance(entry, str) and "." in entry and may_name_a_task(entry) for entry in entries)
    if not dotted and not any(isinstance(entry, str) and is_dynamic(entry) for entry in entries):
        check(value)


def grading_text(grade: Callable[[str, pytest.FixtureRequest], Any], of: str | None, who: str) -> Callable[..., Any]:
    """Return the function of a grader that grades a text: the completion's answer, or what ``of`` names: another part of the
    completion (``"completion.reasoning"``), the result of a task (``"draft"``) or a field of it, as templates name it
    (``"draft.title"``, ``"draft.points.0.text"``).
    """
    path = "completion" if of is None else of
    if not isinstance(path, str) or not is_path(path):
        raise SuiteError(
            f"{who}: of is the name of a task, perhaps with a field of its result ('draft', 'draft.title'), not {of!r}"
        )
    name, steps = steps_of(path)
    if name == "completion":
        check_part(who, path, steps)

    def ready_made(*, request: pytest.FixtureRequest, **given: Any) -> Any:
        value = given[name]
        if path == name or not isinstance(value, Completion):
            return grade(_text(value if path == name else _located(path, name, value), path), request)
        check_part(who, path, steps)
        try:
            part = _located(path, name, value)
        except TemplateError:
            if "tool_calls" not in steps:
                raise
            # The model made no such call, or gave no such argument: its fault, and not the grader's.
            called = ", ".join(call.name for call in value.tool_calls) or "no tool"
            return _missed(request, f"there is no {path}: the model called {called}")
        return grade(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False), request)

    kind = inspect.Parameter.KEYWORD_ONLY
    ready_made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # pytest reads the names of fixtures from it
        [inspect.Parameter(name, kind), inspect.Parameter("request", kind)]
    )
    return ready_made


PARTS = tuple(Completion().fields())
"""What ``of="completion.PART"`` may name."""


_CALL_PARTS = ("name", "arguments", "id")


def check_part(who: str, path: str, steps: Sequence[str]) -> None:
    """Raise `SuiteError` for ``steps`` into a completion that no completion has, whatever the model wrote."""
    if not steps:
        return
    part, rest = steps[0], steps[1:]
    if part not in PARTS:
        raise SuiteError(
            f"{who}: a completion has {', '.join(PARTS)}, and of= names {path!r}{did_you_mean(part, PARTS)}"
        )
    if part not in ("tool_calls", "samples"):
        if rest:
            raise SuiteError(f"{who}: of= names {path!r}, and {part!r} of a completion has no fields")
        return
    if rest and not rest[0].removeprefix("-").isdigit():
        raise SuiteError(f"{who}: of= names {path!r}, and {part!r} is a list: the first of it is completion.{part}.0")
    if part == "samples":
        check_part(who, path, rest[1:])
    elif len(rest) > 1 and rest[1] not in _CALL_PARTS:
        raise SuiteError(
            f"{who}: a call has {', '.join(_CALL_PARTS)}, and of= names {path!r}{did_you_mean(rest[1], _CALL_PARTS)}"
        )
    elif len(rest) > 2 and rest[1] != "arguments":
        raise SuiteError(f"{who}: of= names {path!r}, and the {rest[1]} of a call is a text")


def _missed(request: pytest.FixtureRequest, reason: str) -> Any:
    from pytest_evals.grades import Grade

    return Grade(False, request.fixturename or "", reason)


def _located(path: str, name: str, value: object) -> object:
    """Return the field of a completion or of a task's result that ``path`` names.

    Raises `TemplateError` with the fields that there are.
    """
    return locate(path, {name: value.fields() if isinstance(value, Completion) else plain_data(value)})


def _text(value: object, path: str) -> str:
    if isinstance(value, Completion):
        return value.text
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if value is None:
        raise SuiteError(f"{path!r} is None for this case, and this grader reads text")
    data = _opened(value)
    fields = f"; name one of its fields, as {path}.{next(iter(data))}" if isinstance(data, Mapping) and data else ""
    raise SuiteError(
        f"{path!r} gave {type(value).__name__}, and this grader reads text{fields or '; let the task return the text'}"
    )


def _opened(value: object) -> object:
    try:
        return plain_data(value)
    except SuiteError:
        return None


def require(module: str, extra: str, grader: str) -> None:
    """Raise `SuiteError` with the command that brings a package, unless it is installed. Nothing is imported."""
    if importlib.util.find_spec(module) is None:
        raise SuiteError(
            f"{grader} needs the package {module!r}, which is not installed: pip install 'pytest-evals-hf[{extra}]'"
        )
