"""Likelihoods of choices are those of a plain forward over prompt and choice, whatever shares the work with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_evals.completion import Likelihood, Message
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.engine import TransformersEngine

from .conftest import (
    answers,
    open_engine,
    prompt_ids,
    reference,
    reference_model,
    request,
    runner_of,
    scheduler_of,
    set_budget,
    texts,
    tokenizer_of_all,
    usage_of,
    weigh,
)

SHOTS = "France: Paris. Spain: Madrid. Italy: Rome. "
CHOICES = {
    "single tokens": ("x", "the", " the", "q"),
    "several tokens": ("What is the capital", " zebra", "0123 zebra 0123"),
    "leading spaces": ("Paris", " Paris", "  Paris"),
    "odd ones": ("é", "\n", " ", "<end>", "🦊"),
    "one": ("Madrid",),
    "the same twice": ("Rome", "Paris", "Rome"),
}
PROMPTS = [f"{SHOTS}{country}:" for country in ("Peru", "Cuba", "Chile")] + ["0123 " * 19 + "0123"]


def asked() -> list[Request]:
    """Every kind of choices after every prompt, most of which begin with the same examples."""
    return [
        weigh(f"{kind} {number}", prompt, *choices)
        for number, prompt in enumerate(PROMPTS)
        for kind, choices in CHOICES.items()
    ]


@torch.no_grad()
def plain(model: Any, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
    """The log-probability of the continuation in one forward of everything, and whether each token is the likeliest."""
    if model.config.is_encoder_decoder:
        start = model.generation_config.decoder_start_token_id
        written = torch.tensor([[start, *continuation[:-1]]])
        logits = model(input_ids=torch.tensor([context]), decoder_input_ids=written).logits[0]
    else:
        logits = model(input_ids=torch.tensor([[*context, *continuation]])).logits[0, len(context) - 1 : -1]
    targets = torch.tensor(continuation)
    total = logits.double().log_softmax(-1).gather(1, targets.unsqueeze(1)).sum().item()
    return total, bool((logits.argmax(-1) == targets).all())


def expected(model: Any, entry: Request, *, template: bool = True) -> list[tuple[float, bool, int]]:
    """What `plain` says of each choice, and its tokens. No token holds an end of the prompt and a beginning of it here."""
    tokenizer = tokenizer_of_all()
    context = prompt_ids(tokenizer, entry, template=template)
    found = []
    for choice in entry.choices:
        continuation = tokenizer(choice, add_special_tokens=False)["input_ids"]
        found.append((*plain(model, context, continuation), len(continuation)))
    return found


def likelihoods(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, tuple[Likelihood, ...]]:
    found = answers(engine, requests)
    assert {key: result.error for key, result in found.items() if result.error} == {}
    return {key: result.answer.likelihoods or () for key, result in found.items()}


def compare(found: dict[str, tuple[Likelihood, ...]], model: Any, requests: Sequence[Request], **options: Any) -> None:
    for entry in requests:
        sums = expected(model, entry, **options)
        weighed = found[entry.id]
        assert [each.text for each in weighed] == list(entry.choices)
        assert [each.logprob for each in weighed] == pytest.approx([total for total, _, _ in sums], abs=1e-4, rel=1e-5)
        assert [(each.greedy, each.tokens) for each in weighed] == [(likeliest, count) for _, likeliest, count in sums]
        assert [each.bytes for each in weighed] == [len(choice.encode()) for choice in entry.choices]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mamba"])
def test_sums_are_those_of_a_plain_forward(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family))
    requests = asked()
    compare(likelihoods(engine, requests), reference_model(folder(family)), requests)


@pytest.mark.parametrize("family", ["llama", "mamba", "t5"])
def test_sums_without_a_chat_template(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family), "?template=none")
    requests = [weigh(str(number), PROMPTS[number], " the", "x", " zebra", "\n") for number in range(4)]
    compare(likelihoods(engine, requests), reference_model(folder(family)), requests, template=False)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_sums_do_not_depend_on_pieces_batches_or_company(folder: Callable[[str], Path], family: str) -> None:
    requests = asked()[::2]
    generating = [request(f"g{n}", prompt, max_new_tokens=4 + n) for n, prompt in enumerate(PROMPTS)]
    plainly = reference_model(folder(family))
    engine = open_engine(folder(family), batch="2")
    set_budget(engine, tokens=7, cascade=1)
    mixed = [entry for pair in zip(requests, generating * 3, strict=True) for entry in pair][: 2 * len(generating)]
    found = answers(engine, [*mixed, *requests[len(generating) :]])
    compare({entry.id: found[entry.id].answer.likelihoods or () for entry in requests}, plainly, requests)
    assert {entry.id: found[entry.id].answer.text for entry in generating} == reference(folder(family), generating)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_text_longer_than_the_budget_is_computed_in_pieces_of_it(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    engine = open_engine(folder(family))
    set_budget(engine, tokens=16)
    scheduler, slots = scheduler_of(engine), runner_of(engine).slots
    plan, sizes = scheduler.plan, list[int]()

    def noted() -> Any:
        made = plan()
        sizes.extend(piece.end - piece.begin for piece in made.pieces)
        return made

    monkeypatch.setattr(scheduler, "plan", noted)
    # One of them below a beginning that is shared, one alone, beside short ones and one that generates.
    requests = [weigh("long", SHOTS, "zebra 0123 " * 9, " Rome"), weigh("alone", "x", "The fox jumps. " * 8)]
    generating = request("g", PROMPTS[0], max_new_tokens=30)
    found = answers(engine, [generating, *requests, *asked()[:3]])
    compare(
        {key: result.answer.likelihoods or () for key, result in found.items()},
        reference_model(folder(family)),
        requests,
    )
    assert found["g"].answer.text == reference(folder(family), [generating])["g"]
    assert max(sizes) == 16
    assert sizes.count(16) > 8
    assert set(slots.stores) == {id(prefix) for prefix in scheduler.prefixes.all() if prefix.stored}


def test_the_shared_prompt_of_choices_is_computed_once(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))
    entry = weigh("r", SHOTS, *(f" {letter}" for letter in "abcdefgh"))
    result = answers(engine, [entry])["r"]
    usage = usage_of(engine)
    assert result.answer.prompt_tokens == len(prompt_ids(tokenizer_of_all(), entry))
    assert usage["prompt_tokens"] < 2 * result.answer.prompt_tokens
    assert usage["shared_tokens"] > 6 * result.answer.prompt_tokens
    assert (result.answer.text, result.answer.completion_tokens, result.answer.samples) == ("", 0, ())


def test_spaces_after_a_plain_prompt_count_with_the_choice(folder: Callable[[str], Path]) -> None:
    """As lm-evaluation-harness does: "x: " and "the" are the tokens "x", ":" and " the"."""
    engine = open_engine(folder("llama"), "?template=none")
    found = likelihoods(engine, [weigh("spaced", "x: ", "the"), weigh("plain", "x:", " the")])
    (spaced,), (without,) = found["spaced"], found["plain"]
    assert spaced.logprob == pytest.approx(without.logprob, abs=1e-5)
    assert (spaced.tokens, without.tokens) == (1, 1)
    assert (spaced.text, spaced.bytes) == ("the", 3)


def test_spaces_after_an_answer_that_is_continued_count_with_the_choice(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))

    def after(beginning: str, choice: str) -> Request:
        messages: tuple[Message, Message] = (
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": beginning},
        )
        return Request(beginning, "m", messages, request("", "").params, (choice,))

    found = likelihoods(engine, [after("x: ", "the fox"), after("x:", " the fox")])
    assert found["x: "][0].logprob == pytest.approx(found["x:"][0].logprob, abs=1e-5)
    assert found["x: "][0].tokens == found["x:"][0].tokens > 1


def visible() -> list[str]:
    """Texts of a single token that come to this token again."""
    tokenizer = tokenizer_of_all()
    single = [tokenizer.decode([token]) for token in range(5, 300)]
    return list(
        dict.fromkeys(each for each in single if len(tokenizer(each, add_special_tokens=False)["input_ids"]) == 1)
    )


@pytest.mark.parametrize("family", ["llama", "mamba", "t5"])
def test_a_choice_is_greedy_where_greedy_decoding_writes_it(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family), "?template=none" if family == "t5" else "")
    prompts = ["fox", "zebra ?", "the", "0123", "Rome:"]
    written = texts(engine, [request(prompt, prompt, max_new_tokens=1) for prompt in prompts])
    # A likeliest token that is no text by itself cannot be asked for.
    firsts = {prompt: text for prompt, text in written.items() if text in visible()}
    assert firsts
    choices = list(dict.fromkeys([*firsts.values(), *visible()[::10]]))
    found = likelihoods(engine, [weigh(prompt, prompt, *choices) for prompt in prompts])
    greedy = {prompt: [each.text for each in weighed if each.greedy] for prompt, weighed in found.items()}
    assert greedy == {prompt: [firsts[prompt]] if prompt in firsts else [] for prompt in prompts}
    prompt, text = firsts.popitem()
    (two,) = texts(engine, [request("r", prompt, max_new_tokens=2)]).values()
    longer = likelihoods(engine, [weigh(prompt, prompt, two, text + "~", "~" + text)])[prompt]
    assert [each.greedy for each in longer] == [two[len(text) :] in visible(), False, False]


def test_shares_by_token_and_byte_follow_from_the_sum(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))
    for each in likelihoods(engine, [weigh("r", "x", "zebra é", "a")])["r"]:
        assert each.per_token == each.logprob / each.tokens
        assert each.per_byte == each.logprob / len(each.text.encode())
        assert each.logprob < 0


def test_equal_choices_are_equally_likely(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))
    first, _, third = likelihoods(engine, [weigh("r", SHOTS, "Rome", "Paris", "Rome")])["r"]
    assert first == third


def test_probabilities_of_continuations_of_one_token_are_their_share_of_everything(
    folder: Callable[[str], Path],
) -> None:
    engine = open_engine(folder("llama"))
    tokenizer = tokenizer_of_all()
    weighed = likelihoods(engine, [weigh("r", "x", *visible())])["r"]
    with torch.no_grad():
        ids = torch.tensor([prompt_ids(tokenizer, request("r", "x"))])
        probabilities = reference_model(folder("llama"))(ids).logits[0, -1].softmax(-1)
    wanted = [tokenizer(each.text, add_special_tokens=False)["input_ids"][0] for each in weighed]
    assert len(set(wanted)) == len(wanted) > 100
    found = torch.tensor([each.logprob for each in weighed]).exp()
    torch.testing.assert_close(found, probabilities[wanted], rtol=1e-4, atol=1e-6)
