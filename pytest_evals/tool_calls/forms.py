"""The forms in which families of models write calls: which one a chat template asks for, and the calls of a reply in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_evals.completion import ToolCall
from pytest_evals.tool_calls.bare_calls import read_bare
from pytest_evals.tool_calls.brace_calls import read_braces
from pytest_evals.tool_calls.element_calls import FUNCTION, INVOKE, read_function_or_json, read_invoke, read_tool_call
from pytest_evals.tool_calls.harmony import read_harmony
from pytest_evals.tool_calls.json_calls import read_deepseek, read_kimi, read_mistral, read_objects
from pytest_evals.tool_calls.python_calls import read_python
from pytest_evals.tool_calls.reading import BadCall, CallError, ParsedCalls, Reader, Tools, skip_space


@dataclass(frozen=True, slots=True)
class Form:
    """Calls behind an ``opening`` mark, up to a ``closing`` one where there is any.

    ``mark`` is what a chat template has that writes this form. ``around`` are further marks, which belong to calls and say nothing.
    """

    name: str
    mark: str
    opening: re.Pattern[str]
    read: Reader
    closing: re.Pattern[str] | None = None
    around: re.Pattern[str] | None = None


def _form(
    name: str,
    mark: str,
    read: Reader,
    closing: str | None = None,
    *,
    opening: str | None = None,
    around: str | None = None,
) -> Form:
    return Form(
        name,
        mark,
        re.compile(opening or re.escape(mark)),
        read,
        re.compile(closing) if closing else None,
        re.compile(around) if around else None,
    )


HARMONY = "harmony"
BARE = "bare"
"""No marks: Llama 3's JSON and Python."""
ANY = "any"
"""The form whose mark a reply has, else none."""

# Those with the more telling mark come first: ``<tool_call>`` is in many templates.
_FORMS: tuple[Form, ...] = (
    _form("dsml", "｜DSML｜", read_invoke, opening=INVOKE, around=r"</?｜DSML｜(?:function|tool)_calls>"),  # noqa: RUF001 - DeepSeek's mark
    _form("minimax", "<minimax:tool_call>", read_invoke, opening=INVOKE, around=r"</?minimax:tool_call>"),
    _form("mistral", "[TOOL_CALLS]", read_mistral, r"\[/TOOL_CALLS\]"),
    _form(
        "deepseek",
        "<｜tool▁call▁begin｜>",  # noqa: RUF001 - DeepSeek's mark
        read_deepseek,
        "<｜tool▁call▁end｜>",  # noqa: RUF001 - as above
        around="<｜tool▁calls▁(?:begin|end)｜>",  # noqa: RUF001 - as above
    ),
    _form(
        "kimi",
        "<|tool_call_begin|>",
        read_kimi,
        r"<\|tool_call_end\|>",
        around=r"<\|tool_calls_section_(?:begin|end)\|>",
    ),
    _form("gemma", "<|tool_call>", read_braces, r"<tool_call\|>"),
    _form("functiongemma", "<start_function_call>", read_braces, "<end_function_call>"),
    _form("cohere", "<|START_ACTION|>", read_objects, r"<\|END_ACTION\|>"),
    _form("lfm2", "<|tool_call_start|>", read_python, r"<\|tool_call_end\|>"),
    _form("llama4", "<|python_start|>", read_python, r"<\|python_end\|>"),
    _form("olmo", "<function_calls>", read_python, "</function_calls>"),
    _form("granite", "<|tool_call|>", read_objects, r"<\|/tool_call\|>"),
    _form("nemotron", "<TOOLCALL>", read_objects, "</TOOLCALL>"),
    _form("jamba", "<tool_calls>", read_objects, "</tool_calls>"),
    _form("granite-20b", "<function_call>", read_objects, "</function_call>"),
    _form(
        "internlm", "<|action_start|>", read_objects, r"<\|action_end\|>", opening=r"<\|action_start\|>\s*<\|plugin\|>"
    ),
    _form("functools", "functools[", read_objects, opening=r"functools(?=\[)"),
    _form(
        "qwen-coder",
        "<function=",
        read_function_or_json,
        "</tool_call>",
        opening=rf"<tool_call>(?!\s*<function=)|{FUNCTION}",
        around="</?tool_call>",
    ),
    _form("hermes", "<tool_call>", read_tool_call, "</tool_call>"),
)
FORMS = {form.name: form for form in _FORMS}
"""By name; beside them there are `HARMONY`, `BARE` and `ANY`."""
MARKS = frozenset(
    {
        *(
            "[TOOL_CALLS]",
            "[/TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "<|python_tag|>",
            "<|python_start|>",
            "<|python_end|>",
        ),
        *(
            "<tool_call>",
            "</tool_call>",
            "<|tool_call|>",
            "<|/tool_call|>",
            "<function_call>",
            "<tool_calls>",
            "</tool_calls>",
        ),
        *("<|tool_call>", "<tool_call|>", '<|"|>', "<start_function_call>", "<end_function_call>", "<escape>"),
        *(
            "<|START_ACTION|>",
            "<|END_ACTION|>",
            "<|tool_call_start|>",
            "<|tool_call_end|>",
            "<TOOLCALL>",
            "</TOOLCALL>",
        ),
        *(
            "<|tool_call_begin|>",
            "<|tool_call_argument_begin|>",
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
        ),
        *(
            "<function_calls>",
            "</function_calls>",
            "<|action_start|>",
            "<|plugin|>",
            "<|action_end|>",
            "<minimax:tool_call>",
        ),
        *("</minimax:tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "｜DSML｜"),  # noqa: RUF001 - DeepSeek's mark
        *(f"<｜tool▁{name}｜>" for name in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep")),  # noqa: RUF001 - as above
        *(f"<|{name}|>" for name in ("start", "channel", "message", "constrain", "end", "return", "call")),
    }
)
"""Marks that may be special tokens, which are dropped where a reply becomes text."""
_PYTHON_TAG = re.compile(r"\s*<\|python_tag\|>")


def form_of(template: str) -> str:
    """Return the name of the form that a chat template which shows tools writes calls in: `BARE` where it has no known mark."""
    if "<|channel|>" in template and "<|message|>" in template:
        return HARMONY
    return next((form.name for form in _FORMS if form.mark in template), BARE)


def parse_calls(text: str, form: str, tools: Tools) -> ParsedCalls:
    """Return the calls of a reply: of its ``text`` with the control tokens in it. A call that cannot be parsed stays in the text.

    ``form`` is the name of one. Raises `KeyError` for an unknown one.
    """
    if form == HARMONY or (form == ANY and "<|channel|>" in text):
        return read_harmony(text)
    if form not in (ANY, BARE):
        return _read_form(text, FORMS[form], tools)
    reply = _read_unknown(text, tools)
    return reply if reply.calls or reply.errors else _read_unmarked(text, tools)


def _read_unknown(text: str, tools: Tools) -> ParsedCalls:
    """Read the reply in the form whose mark it has."""
    # Several forms open their calls alike; the mark around these tells them apart.
    found = [
        (match.start(), form.mark not in text, index)
        for index, form in enumerate(_FORMS)
        if (match := form.opening.search(text))
    ]
    return _read_form(text, _FORMS[min(found)[2]], tools) if found else ParsedCalls(text)


def _read_unmarked(text: str, tools: Tools) -> ParsedCalls:
    tag = _PYTHON_TAG.match(text)
    if tag is None:
        return read_bare(text, tools)
    body = re.sub(r"<\|(?:eom|eot)_id\|>\s*\Z", "", text[tag.end() :])
    reply = read_bare(body, tools)
    if reply.calls or reply.errors:
        return reply
    try:
        found, end = read_python(body, re.compile("").match(body), tools)  # type: ignore[arg-type]  # the empty pattern matches
    except CallError as error:
        return ParsedCalls(text, (), (str(error),))
    calls = tuple(each for each in found if isinstance(each, ToolCall))
    return ParsedCalls(body[end:].strip(), calls)


def _read_form(text: str, form: Form, tools: Tools) -> ParsedCalls:
    calls: list[ToolCall] = []
    errors: list[str] = []
    kept: list[str] = []
    position = 0
    while opening := form.opening.search(text, position):
        kept.append(text[position : opening.start()])
        if _quoted(text, opening):
            kept.append(opening[0])
            position = opening.end()
            continue
        try:
            found, end = form.read(text, opening, tools)
        except CallError as error:
            errors.append(str(error))
            position = _end_of_region(text, opening, form)
            kept.append(text[opening.start() : position])
            continue
        for each in found:
            if isinstance(each, BadCall):
                errors.append(each.reason)
                kept.append(each.written)
            else:
                calls.append(each)
        closing = form.closing.match(text, skip_space(text, end)) if form.closing else None
        position = closing.end() if closing else end
    kept.append(text[position:])
    if not calls:
        if not errors and form.around and form.around.search(text):
            errors.append("a block of calls has no call in it that can be read")
        return ParsedCalls(text, (), tuple(errors))
    left = "".join(kept)
    return ParsedCalls((form.around.sub("", left) if form.around else left).strip(), tuple(calls), tuple(errors))


def _quoted(text: str, opening: re.Match[str]) -> bool:
    """Tell whether a mark is only mentioned: it is between quotation marks or backticks."""
    before, after = text[: opening.start()][-1:], text[opening.end() :][:1]
    return before != "" and before in "`'\"" and after == before


def _end_of_region(text: str, opening: re.Match[str], form: Form) -> int:
    """Return where the part ends that cannot be parsed: behind the closing mark, at the next opening one, or at the end."""
    following = form.opening.search(text, opening.end())
    closing = form.closing.search(text, opening.end()) if form.closing else None
    ends = [following.start()] if following else []
    ends += [closing.end()] if closing else []
    return min(ends, default=len(text))
