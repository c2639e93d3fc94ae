"""Models that think: what they thought is told apart from their answer, has a budget of its own, and is over before anything is asked
of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.encoding import encode
from pytest_evals.engines.transformers.replies import ReplyReader
from pytest_evals.engines.transformers.reply_form import form_of
from pytest_evals.engines.transformers.thinking import ThoughtTracker, before_answer

from .conftest import (
    FAMILIES,
    TEMPLATE,
    answers,
    make_tokenizer,
    open_engine,
    prompt_ids,
    reference_model,
    request,
    save_model,
    weigh,
)

OPENED = TEMPLATE.replace(
    "<assistant>{% endif %}",
    "<assistant>{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}",
)
"""Opens a block in the prompt, or writes an empty one."""
MENTIONED = (
    "{{ bos_token }}{% for message in messages %}{% set content = message.content %}"
    "{% if message.role == 'assistant' %}{% if loop.last %}{% set content = '<think>\n' + (message.reasoning_content or '') "
    "+ '\n</think>\n\n' + content %}{% else %}{% set content = content.split('</think>')[-1] %}{% endif %}{% endif %}"
    "<{{ message.role }}>{{ content }}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Lets the model open its block."""
PROMPTS = ["a", "the quick brown fox", "0123 " * 9, "zebra " * 12, "What is the capital of France?"]


def thinking_tokenizer(
    template: str = OPENED, special: Sequence[str] = (), plain: Sequence[str] = ("<think>", "</think>")
) -> Any:
    tokenizer = make_tokenizer(template)
    tokenizer.add_tokens(list(plain))
    tokenizer.add_tokens([transformers.AddedToken(text, special=True) for text in special], special_tokens=True)
    return tokenizer


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("opened"), FAMILIES["llama"](), thinking_tokenizer())


@pytest.fixture(scope="module")
def mentioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("mentioned"), FAMILIES["llama"](), thinking_tokenizer(MENTIONED))


class CloseAfter(transformers.LogitsProcessor):
    """Ends the thoughts of one row after so many tokens, if they have not ended."""

    def __init__(self, prompt: int, budget: int, closing: int) -> None:
        self._prompt, self._budget, self._closing = prompt, budget, closing

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        written = input_ids[0, self._prompt :].tolist()
        if len(written) == self._budget and self._closing not in written:
            scores = torch.full_like(scores, -torch.inf)
            scores[0, self._closing] = 0
        return scores


def generated(folder: Path, entry: Request) -> list[int]:
    """What ``generate`` writes, one prompt at a time, with thoughts that are opened in the prompt."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([prompt_ids(tokenizer, entry)])
    budget = entry.params.max_thinking_tokens
    closing = tokenizer.convert_tokens_to_ids("</think>")
    processors = [] if budget is None else [CloseAfter(ids.shape[1], budget, closing)]
    output = reference_model(folder).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=entry.params.max_new_tokens,
        logits_processor=transformers.LogitsProcessorList(processors),
    )
    return list(output[0, ids.shape[1] :].tolist())


def budgeted(**params: Any) -> list[Request]:
    budgets = [0, 1, 5, None, 12, None, 3]
    return [
        request(f"{number} {budget}", text, max_new_tokens=20 + number, max_thinking_tokens=budget, **params)
        for number, (text, budget) in enumerate(zip([*PROMPTS, "x", "fox"], budgets, strict=True))
    ]


@pytest.mark.parametrize("options", [{}, {"batch": "3"}, {"decode": "static"}], ids=["packed", "in place", "static"])
def test_texts_with_and_without_a_budget_are_those_of_generate(opened: Path, options: dict[str, Any]) -> None:
    requests = budgeted()
    found = answers(open_engine(opened, **options), requests)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(opened)
    reader = ReplyReader(tokenizer, form_of(tokenizer, "llama"))
    for entry in requests:
        ids = generated(opened, entry)
        expected = reader.read(ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids, opened=True)
        result = found[entry.id]
        assert result.error is None
        assert (result.answer.text, result.answer.reasoning) == (expected.text, expected.reasoning)
        assert result.answer.completion_tokens == len(ids)
        budget = entry.params.max_thinking_tokens
        if budget is not None and budget < 12:
            assert result.answer.text
            assert (result.answer.reasoning_tokens or 0) <= budget
        if budget is None and not result.answer.text:
            assert result.answer.finish_reason == "length"


@pytest.mark.parametrize("family", ["mamba", "t5"])
def test_models_that_run_through_generate_have_budgets_too(tmp_path: Path, family: str) -> None:
    folder = save_model(tmp_path, FAMILIES[family](), thinking_tokenizer())
    requests = [
        request(str(number), text, max_new_tokens=12, max_thinking_tokens=number) for number, text in enumerate(PROMPTS)
    ]
    found = answers(open_engine(folder, batch="3"), requests)
    for entry in requests:
        assert found[entry.id].error is None
        assert (found[entry.id].answer.reasoning_tokens or 0) <= int(entry.id)
        assert "</think>" in (found[entry.id].answer.raw or "")


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_grammar_begins_after_the_thoughts(opened: Path, mentioned: Path, temperature: float) -> None:
    pytest.importorskip("xgrammar", reason="needs: pip install 'pytest-evals-hf[structured]'")
    given: dict[str, Any] = {"choice": ("Paris", "Rome"), "temperature": temperature, "seed": 1, "max_new_tokens": 40}
    requests = [request(str(number), text, max_thinking_tokens=number, **given) for number, text in enumerate(PROMPTS)]
    for folder in (opened, mentioned):
        found = answers(open_engine(folder), requests)
        assert {result.answer.text for result in found.values()} <= {"Paris", "Rome"}
        assert {result.answer.finish_reason for result in found.values()} == {"stop"}
    # The separator that the template writes is no part of what the grammar describes.
    found = answers(open_engine(mentioned), [request("r", "a", **given)])
    assert found["r"].answer.text in ("Paris", "Rome")


def test_thoughts_may_have_tokens_beyond_those_of_the_answer(opened: Path) -> None:
    entry = request("r", "the quick brown fox", max_new_tokens=6, thinking_allowance=10)
    found = answers(open_engine(opened), [entry])["r"].answer
    assert found.finish_reason in ("length", "stop")
    assert found.text
    assert 0 < (found.reasoning_tokens or 0) < 10
    assert 6 < (found.completion_tokens or 0) <= 16


def test_an_allowance_means_nothing_to_a_model_that_does_not_think(tiny: Path) -> None:
    plain = request("a", "the quick brown fox", max_new_tokens=6)
    found = answers(
        open_engine(tiny), [plain, replace(plain, id="b", params=replace(plain.params, thinking_allowance=9))]
    )
    assert found["a"].answer.text == found["b"].answer.text


def test_a_stop_string_ends_the_answer_and_not_the_thoughts(opened: Path) -> None:
    whole = answers(open_engine(opened), [request("r", "a", max_new_tokens=30, max_thinking_tokens=8)])["r"].answer
    stop = (whole.reasoning or "")[1]
    found = answers(open_engine(opened), [request("r", "a", max_new_tokens=30, max_thinking_tokens=8, stop=(stop,))])[
        "r"
    ].answer
    assert found.reasoning == whole.reasoning
    assert found.text == whole.text.partition(stop)[0]


@pytest.mark.parametrize("query", ["", "?reasoning=none"])
def test_a_budget_for_a_model_without_delimiters_is_refused(tiny: Path, opened: Path, query: str) -> None:
    folder = opened if query else tiny
    error = answers(open_engine(folder, query), [request("r", "a", max_new_tokens=8, max_thinking_tokens=4)])["r"].error
    assert error is not None
    assert error.kind == "unsupported"
    assert "has no delimiters of thoughts; leave it out, or name them with ?reasoning=OPEN..CLOSE" in error.message


def test_delimiters_may_be_named(tiny: Path) -> None:
    entry = Request(
        "r",
        f"{tiny}?reasoning=(..)",
        ({"role": "user", "content": "a"}, {"role": "assistant", "content": "(hm"}),
        request("r", "a", max_new_tokens=10, max_thinking_tokens=3).params,
    )
    found = answers(open_engine(tiny), [entry])["r"]
    assert found.error is None
    assert (found.answer.raw or "").count(")") >= 1
    assert found.answer.reasoning_tokens == 3


# -- likelihoods


def context(tokenizer: Any, **variables: Any) -> tuple[str, str]:
    reader = ReplyReader(tokenizer, form_of(tokenizer, "llama"))
    prompt = encode(tokenizer, [{"role": "user", "content": "Hi"}], variables)
    return tokenizer.decode(prompt), tokenizer.decode([*prompt, *before_answer(reader, prompt, "")])


def test_likelihoods_are_asked_where_the_answer_begins() -> None:
    prompt, asked = context(thinking_tokenizer(OPENED))
    assert asked == f"{prompt}</think>"
    prompt, asked = context(thinking_tokenizer(OPENED), enable_thinking=False)
    assert asked == prompt
    prompt, asked = context(thinking_tokenizer(MENTIONED))
    assert asked == f"{prompt}<think>\n\n</think>\n\n"
    prompt, asked = context(make_tokenizer())
    assert asked == prompt


def test_the_likelihood_of_a_choice_does_not_depend_on_where_the_template_puts_the_thoughts(opened: Path) -> None:
    plain = weigh("plain", "a", "Paris", "Rome")
    off = replace(plain, id="off", params=replace(plain.params, chat_template_kwargs={"enable_thinking": False}))
    found = answers(open_engine(opened), [plain, off])
    assert [entry.error for entry in found.values()] == [None, None]
    # Not equal: one closes the thoughts that the prompt opened, the other has an empty block.
    assert all(len(entry.answer.likelihoods or ()) == 2 for entry in found.values())


# -- control tokens

HARMONY = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"]


@pytest.mark.parametrize(
    ("special", "written", "text", "reasoning"),
    [
        (["[THINK]", "[/THINK]"], "[THINK]Lyon?[/THINK]Paris", "Paris", "Lyon?"),
        (["[THINK]", "[/THINK]"], "Paris", "Paris", None),
        (
            HARMONY,
            "<|channel|>analysis<|message|>Lyon?<|end|><|start|>assistant<|channel|>final<|message|>Paris",
            "Paris",
            "Lyon?",
        ),
        (HARMONY, "<|channel|>final<|message|>Paris", "Paris", None),
        (["<|channel>", "<channel|>"], "<|channel>thought\nLyon?<channel|>Paris<bos>", "Paris", "Lyon?"),
    ],
)
def test_control_tokens_are_seen_before_special_tokens_are_dropped(
    special: list[str], written: str, text: str, reasoning: str | None
) -> None:
    tokenizer = thinking_tokenizer(TEMPLATE, special, plain=())
    reader = ReplyReader(tokenizer, form_of(tokenizer, "llama"))
    found = reader.read(tokenizer(written, add_special_tokens=False)["input_ids"])
    assert (found.text, found.reasoning) == (text, reasoning)
    assert (written if found.raw is None else found.raw) == written
    if reasoning is not None:
        marked = tokenizer(reasoning, add_special_tokens=False)["input_ids"]
        assert found.reasoning_tokens in (len(marked), len(marked) + 1)


@pytest.mark.parametrize(
    ("tokenizer", "model_type", "thinks"),
    [
        (make_tokenizer(), "llama", False),
        (make_tokenizer(), "qwen3", True),
        (make_tokenizer(None), "qwen3", False),
        (thinking_tokenizer(TEMPLATE), "llama", False),
        (thinking_tokenizer(OPENED, plain=()), "llama", True),
        (thinking_tokenizer(MENTIONED), "llama", True),
        (make_tokenizer(TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"), "llama", True),
        (make_tokenizer(TEMPLATE.replace("message.content", "message.content.split('</think>')[-1]")), "llama", True),
    ],
)
def test_the_form_follows_from_the_model(tokenizer: Any, model_type: str, *, thinks: bool) -> None:
    assert form_of(tokenizer, model_type).thinks is thinks


def test_a_response_template_names_the_delimiters() -> None:
    tokenizer = make_tokenizer()
    tokenizer.response_template = {
        "defaults": {"role": "assistant"},
        "fields": {
            "reasoning_content": {"open": "<hm>", "close": "</hm>", "content": "text"},
            "content": {"content": "text"},
        },
    }
    reader = ReplyReader(tokenizer, form_of(tokenizer, "llama"))
    found = reader.read(tokenizer("<hm>Lyon?</hm>Paris")["input_ids"])
    assert (found.text, found.reasoning) == ("Paris", "Lyon?")


# -- while it is generated


def stages(template: str, written: str, *, opened: bool, budget: int | None = None) -> list[str]:
    tokenizer = thinking_tokenizer(template)
    reader = ReplyReader(tokenizer, form_of(tokenizer, "llama"))
    tracker = ThoughtTracker(reader, opened=opened, budget=budget, spaced=False)
    ids: list[int] = []
    found: list[str] = []
    for token in tokenizer(written, add_special_tokens=False)["input_ids"]:
        if tracker.forced:
            break
        ids.append(token)
        tracker.accept(ids)
        found.append(tracker.stage)
    return found


def test_the_stage_of_a_reply_follows_its_thoughts() -> None:
    assert stages(MENTIONED, "<think>a</think>b", opened=False) == ["inside", "inside", "answer", "answer"]
    assert stages(MENTIONED, "\n<think>a", opened=False)[:2] == ["undecided", "inside"]
    assert stages(MENTIONED, "a<think>b", opened=False) == ["answer"] * 3
    assert stages(OPENED, "a</think>b", opened=True) == ["inside", "answer", "answer"]
    assert stages(OPENED, "a `</think>` b</think>c", opened=True)[-2:] == ["answer", "answer"]
    assert stages(OPENED, "a `</think>` b", opened=True)[-1] == "inside"
    assert stages(OPENED, "abc", opened=True, budget=2) == ["inside", "inside"]
    assert stages(OPENED, "abc", opened=True, budget=0) == []


def test_samples_have_thoughts_of_their_own(opened: Path) -> None:
    entry = request("r", "a", max_new_tokens=16, max_thinking_tokens=4, temperature=1.5, n=3, seed=2)
    found = answers(open_engine(opened), [entry])["r"].answer
    assert all(isinstance(sample, Completion) and sample.raw is not None for sample in found.samples)
    assert len({sample.raw for sample in found.samples}) == 3
    assert (found.text, found.reasoning) == (found.samples[0].text, found.samples[0].reasoning)
