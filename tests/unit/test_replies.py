"""Thoughts are told apart from answers only where a model puts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.replies.form import ANY_FORM, PLAIN_FORM, THINK, Delimiters, ReplyForm, written_form
from pytest_evals.replies.reading import read_reply
from pytest_evals.replies.thoughts import divide

GIVEN = [json.loads(line) for line in (Path(__file__).parent / "data" / "thoughts.jsonl").read_text().splitlines()]
ANSWERS: dict[str, str] = {
    "closed": "4",
    "closed_units": "Tom has 12 apples.",
    "prefilled": "It is 4",
    "boxed_draft": "The total is 12.",
    "truncated": "",
    "label": "Positive",
    "only_thought": "It is Paris.",
    "json": '{"city": "Paris"}',
    "cut_draft": "",
    "plain_answer": "def add(a, b):\n    return a + b\n",
}


@pytest.mark.parametrize("row", GIVEN, ids=[row["id"] for row in GIVEN])
def test_a_recorded_completion_is_divided(row: dict[str, Any]) -> None:
    found = read_reply(row["completion"], ANY_FORM)
    assert found.text == ANSWERS.get(row["id"], row["completion"])
    assert found.unfinished == (row["id"] in ("truncated", "cut_draft"))
    assert (found.reasoning is None) == (row["id"] not in ANSWERS)


HARMONY = "<|channel|>analysis<|message|>Lyon? No.<|end|><|start|>assistant<|channel|>final<|message|>Paris"


@pytest.mark.parametrize(
    ("reply", "text", "reasoning"),
    [
        ("<think>\nLyon? No.\n</think>\n\nParis", "Paris", "Lyon? No."),
        ("  \n<think>Lyon?</think> Paris", "Paris", "Lyon?"),
        ("<think>\n\n</think>\n\nParis", "Paris", None),
        ("<Thought>Lyon?</Thought>Paris", "Paris", "Lyon?"),
        ('<think type="deep">Lyon?</think>Paris', "Paris", "Lyon?"),
        ("<thinking>\nLyon?\n</thinking>\nParis", "Paris", "Lyon?"),
        ("<reasoning>\nLyon?\n</reasoning>\nParis", "Paris", "Lyon?"),
        ("[THINK]Lyon?[/THINK]Paris", "Paris", "Lyon?"),
        ("\u25c1think\u25b7Lyon?\u25c1/think\u25b7Paris", "Paris", "Lyon?"),
        ("<seed:think>Lyon?</seed:think>Paris", "Paris", "Lyon?"),
        (
            "<|begin_of_thought|>Lyon?<|end_of_thought|>\n\n<|begin_of_solution|>Paris",
            "Paris",
            "Lyon?",
        ),
        ("<|START_THINKING|>Lyon?<|END_THINKING|><|START_RESPONSE|>Paris", "Paris", "Lyon?"),
        ("<|channel>thought\nLyon?<channel|>Paris", "Paris", "Lyon?"),
        (HARMONY, "Paris", "Lyon? No."),
        (f"<|start|>assistant{HARMONY}", "Paris", "Lyon? No."),
        ("analysis<|message|>Lyon?<|end|><|start|>assistant<|channel|>final<|message|>Paris", "Paris", "Lyon?"),
        ("<|channel|>final<|message|>Paris", "Paris", None),
        ("analysisLyon? No.assistantfinalParis", "Paris", "Lyon? No."),
        ("assistantfinalParis", "Paris", None),
        ("analysiswe want 2 + 2assistantfinal4", "4", "we want 2 + 2"),
        ("<think>one</think>\n<think>two</think>\nParis", "Paris", "one\n\ntwo"),
        ("<think>I close with `</think>` soon. Paris.</think>\nParis", "Paris", "I close with `</think>` soon. Paris."),
        ("<think>\n<think>a</think>\nb\n</think>\nParis", "Paris", "<think>a</think>\nb"),
        ("<think>a</think>\nThey end with </think> too.", "They end with </think> too.", "a"),
        ("<think>a</think>\n<answer>Paris</answer>", "<answer>Paris</answer>", "a"),
        ("<think>a</think>\n\n    return 4\n", "    return 4\n", "a"),
        ("Let me see. Four.\n</think>\n\n4", "4", "Let me see. Four."),
        ("So it is four.</think>Four", "Four", "So it is four."),
        ("Hmm \u25c1/think\u25b7\nParis", "Paris", "Hmm"),
        ("Hmm.\n[/THINK]\nParis", "Paris", "Hmm."),
        ('It is "Paris"</think>\n\n"Paris"', '"Paris"', 'It is "Paris"'),
        ('<think>It is "Paris"</think>"Paris"', '"Paris"', 'It is "Paris"'),
        ("hm </think>4", "4", "hm"),
        ("so Paris </think>Paris it is", "Paris it is", "so Paris"),
        ("\ufeff<think>a</think>4", "4", "a"),
    ],
)
def test_thoughts_are_taken_from_where_a_reply_begins(reply: str, text: str, reasoning: str | None) -> None:
    found = read_reply(reply, ANY_FORM)
    assert (found.text, found.reasoning, found.unfinished) == (text, reasoning, False)


@pytest.mark.parametrize(
    ("reply", "reasoning"),
    [
        ("<think>\nParis, so", "Paris, so"),
        ("<think>", None),
        ("[THINK]Paris", "Paris"),
        ("<think>a</think><think>b", "a\n\nb"),
        ("<think>It ends with `</think>`", "It ends with `</think>`"),
        ("<|channel|>analysis<|message|>Paris", "Paris"),
        ("<|channel|>analysis", None),
        ("<|channel|>analysis<|message|>Paris<|end|><|start|>assistant", "Paris"),
        ("analysisIs it Paris", "Is it Paris"),
    ],
)
def test_thoughts_that_never_end_leave_no_answer(reply: str, reasoning: str | None) -> None:
    found = read_reply(reply, ANY_FORM)
    assert (found.text, found.reasoning, found.unfinished) == ("", reasoning, True)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Paris",
        "It is <think>.",
        "Use <think>...</think> around your thoughts.",
        "Write it like this:\n<think>\nreasons\n</think>\nParis",
        "```xml\n<think>reasons</think>\n```",
        "```\nreasons\n</think>\n```\nParis",
        '{"tag": "</think>",\n"city": "Paris"}',
        '["</think>\\n"]',
        "The tag </think> closes a block, so the answer is 4.",
        "The tag `</think>`\ncloses a block.",
        "\u201c</think>\u201d is a tag.",
        "They end with </think>, as most do.",
        "<thinker>Rodin</thinker>",
        "<reasoning>: it is the largest city",
        "analysis of the data: Paris",
        "analysiert von Anna",
        "Analysis: Paris",
        "The channel <|channel|>analysis<|message|> is for thoughts.",
    ],
)
def test_a_tag_in_an_answer_is_text(reply: str) -> None:
    found = read_reply(reply, ANY_FORM)
    assert (found.text, found.reasoning, found.unfinished) == (reply, None, False)


def test_a_block_that_the_prompt_opened_needs_no_opening() -> None:
    form = ReplyForm((THINK,))
    assert read_reply("Lyon?\n</think>\n\nParis", form, opened=True).text == "Paris"
    assert read_reply("<think>\nLyon?\n</think>\n\nParis", form, opened=True).reasoning == "Lyon?"
    assert read_reply("Paris", form, opened=True).unfinished
    assert read_reply("Paris", form).text == "Paris"
    channel = ReplyForm(channels=True)
    found = read_reply("Lyon?<|end|><|start|>assistant<|channel|>final<|message|>Paris", channel, opened=True)
    assert (found.text, found.reasoning) == ("Paris", "Lyon?")


def test_blocks_between_control_tokens_may_stand_anywhere() -> None:
    form = ReplyForm((Delimiters("[THINK]", "[/THINK]", control=True),))
    found = read_reply("[THINK]a[/THINK]Paris [THINK]b[/THINK]it is", form)
    assert (found.text, found.reasoning) == ("Paris it is", "a\n\nb")


def test_a_call_in_the_commentary_channel_is_left_to_who_reads_calls() -> None:
    call = '<|start|>assistant<|channel|>commentary to=functions.find <|constrain|>json<|message|>{"city": "Paris"}<|call|>'
    division = divide(f"<|channel|>analysis<|message|>Find it.<|end|>{call}")
    assert (division.answer, division.reasoning, division.unfinished) == (call, "Find it.", False)


@pytest.mark.parametrize("reply", [row["completion"] for row in GIVEN])
def test_where_thoughts_stand_is_told_by_characters(reply: str) -> None:
    division = divide(reply)
    found = "\n\n".join(text for start, end in division.spans if (text := reply[start:end].strip()))
    assert found == (division.reasoning or "")


def test_the_form_may_be_written_down() -> None:
    assert written_form("auto") is None
    assert written_form("none") == PLAIN_FORM
    form = written_form("<hm>..</hm>")
    assert form is not None
    assert read_reply("<hm>Lyon?</hm>Paris", form).text == "Paris"
    assert read_reply("<think>Lyon?</think>Paris", form).reasoning is None


@pytest.mark.parametrize("wish", ["", "yes", "<think>", "<think>..", "..</think>", " .. "])
def test_a_form_that_is_none_is_refused(wish: str) -> None:
    with pytest.raises(SuiteError, match=r"reasoning must be auto, none or OPEN\.\.CLOSE"):
        written_form(wish)
