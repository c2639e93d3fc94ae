"""Tools of a request, for the model of one tokenizer: whether its chat template shows them, and how it writes calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_evals.completion import ToolCall
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.chat_templates import template_of, variables_of
from pytest_evals.errors import UnsupportedError
from pytest_evals.tool_calls.forms import MARKS, form_of
from pytest_evals.tool_calls.json_calls import calls_of
from pytest_evals.tool_calls.numbering import calls_in
from pytest_evals.tool_calls.reading import CallError
from pytest_evals.tool_calls.required import RequiredCall, required_call


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of a request. ``form`` is how calls are written; ``before`` is the number of calls in the conversation so far."""

    schemas: tuple[Mapping[str, Any], ...]
    form: str
    before: int


def offered_tools(request: Request, tokenizer: Any) -> OfferedTools | None:
    """Return the tools that a request offers, `None` where there are none. Raises `UnsupportedError` for a model that cannot be shown
    any.
    """
    params = request.params
    if not params.tools or params.tool_choice == "none":
        return None
    template = None if tokenizer.chat_template is None else template_of(tokenizer, tools=True)
    if template is None or "tools" not in variables_of(template):
        what = "has no chat template" if template is None else "has a chat template that shows no tools"
        raise UnsupportedError(
            f"tools: {request.model} {what}; leave them out for this model, or give it a template that knows them with ?template=FILE",
            "tools",
        )
    return OfferedTools(params.tools, form_of(template), calls_in(request.messages))


def required_call_of(request: Request, tools: OfferedTools) -> RequiredCall:
    """Return the call that the model has to make. Raises `UnsupportedError` for a family whose calls cannot be held to a grammar."""
    call = required_call(tools.form, tools.schemas)
    if call is None:
        raise UnsupportedError(
            f"tool_choice 'required': {request.model} writes calls in the form {tools.form!r}, which is not a JSON object; use 'auto'"
        )
    return call


def marks_among(special: Mapping[int, str]) -> dict[int, str]:
    """Return the special tokens that delimit calls, by id: they are seen before special tokens are dropped."""
    return {token: text for token, text in special.items() if text in MARKS}


def calls_by_response_template(
    tokenizer: Any, ids: Sequence[int], prompt: Sequence[int], schemas: Sequence[Mapping[str, Any]]
) -> tuple[str, tuple[ToolCall, ...], str | None] | None:
    """Return the answer, the calls, and why there are none, as the tokenizer's response template finds them; `None` where it has none
    that knows calls.
    """
    template = getattr(tokenizer, "response_template", None)
    fields = template.get("fields") if isinstance(template, Mapping) else getattr(template, "fields", None)
    if not isinstance(fields, Mapping) or "tool_calls" not in fields:
        return None
    try:
        parsed = tokenizer.parse_response(list(ids), prefix=list(prompt), tools=[dict(schema) for schema in schemas])
        found = parsed.get("tool_calls") or []
        calls = calls_of(found if isinstance(found, list) else [found])
    except (CallError, ValueError, KeyError, TypeError) as error:
        return "", (), str(error).partition("\n")[0]
    made = tuple(each for each in calls if isinstance(each, ToolCall))
    return str(parsed.get("content") or "").strip(), made, None
