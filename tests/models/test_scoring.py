"""Likelihoods of choices are those of a plain forward over prompt and choice, whatever shares the work with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_evals.completion import Likelihood
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.engine import TransformersEngine

from .conftest import (
    FAMILIES,
    answers,
    make_tokenizer,
    open_engine,
    prompt_ids,
    reference,
    reference_model,
    request,
    save_model,
    set_budget,
    texts,
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
PROMPTS = [f"{SHOTS}{country}:" for country in ("Peru", "Cuba", "Chile", "Fiji")] + ["a", "0123 " * 20]


def asked() -> list[Request]:
    """Every kind of choices after every prompt, most of which begin with the same examples."""
    return [
        weigh(f"{kind} {number}", prompt, *choices)
        for number, prompt in enumerate(PROMPTS)
        for kind, choices in CHOICES.items()
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's model, made once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = save_model(tmp_path_factory.mktemp(name), FAMILIES[name]())
        return made[name]

    return make


@torch.no_grad()
def plain(model: Any, context: Sequence[int], continuation: Sequence[int]) -> list[float]:
    """Log-probabilities of the continuation in one forward of everything."""
    if model.config.is_encoder_decoder:
        start = model.config.decoder_start_token_id
        written = torch.tensor([[start, *continuation[:-1]]])
        logits = model(input_ids=torch.tensor([context]), decoder_input_ids=written).logits[0]
    else:
        logits = model(input_ids=torch.tensor([[*context, *continuation]])).logits[0, len(context) - 1 : -1]
    return logits.double().log_softmax(-1).gather(1, torch.tensor(continuation).unsqueeze(1)).squeeze(1).tolist()


def expected(model: Any, entry: Request, *, template: bool = True) -> list[tuple[float, int]]:
    """Sum and number of tokens of each choice. No token holds an end of the prompt and a beginning of a choice here."""
    tokenizer = make_tokenizer()
    context = prompt_ids(tokenizer, entry, template=template)
    found = []
    for choice in entry.choices:
        continuation = tokenizer(choice, add_special_tokens=False)["input_ids"]
        found.append((sum(plain(model, context, continuation)), len(continuation)))
    return found


def likelihoods(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, tuple[Likelihood, ...]]:
    found = answers(engine, requests)
    assert {key: result.error for key, result in found.items() if result.error} == {}
    return {key: result.likelihoods or () for key, result in found.items()}


def compare(found: dict[str, tuple[Likelihood, ...]], model: Any, requests: Sequence[Request], **options: Any) -> None:
    for entry in requests:
        sums = expected(model, entry, **options)
        weighed = found[entry.id]
        assert [each.text for each in weighed] == list(entry.choices)
        assert [each.logprob for each in weighed] == pytest.approx([total for total, _ in sums], abs=1e-4, rel=1e-5)
        assert [each.tokens for each in weighed] == [count for _, count in sums]
        assert [each.bytes for each in weighed] == [len(choice.encode()) for choice in entry.choices]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "mamba", "bloom"])
def test_sums_are_those_of_a_plain_forward(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family))
    requests = asked()
    compare(likelihoods(engine, requests), reference_model(folder(family)), requests)


@pytest.mark.parametrize("family", ["llama", "mamba", "t5"])
def test_sums_without_a_chat_template(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family), "?template=none")
    requests = [weigh(str(number), PROMPTS[number], " the", "x", " zebra", "\n") for number in range(5)]
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
    compare({entry.id: found[entry.id].likelihoods or () for entry in requests}, plainly, requests)
    assert {entry.id: found[entry.id].text for entry in generating} == reference(folder(family), generating)


def test_the_shared_prompt_of_choices_is_computed_once(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))
    entry = weigh("r", SHOTS, *(f" {letter}" for letter in "abcdefgh"))
    result = answers(engine, [entry])["r"]
    usage = usage_of(engine)
    assert result.prompt_tokens == len(prompt_ids(make_tokenizer(), entry))
    assert usage["prompt_tokens"] < 2 * result.prompt_tokens
    assert usage["shared_tokens"] > 6 * result.prompt_tokens
    assert (result.text, result.completion_tokens, result.samples) == ("", 0, None)


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
        messages = ({"role": "user", "content": "?"}, {"role": "assistant", "content": beginning})
        return Request(beginning, "m", messages, request("", "").params, (choice,))

    found = likelihoods(engine, [after("x: ", "the fox"), after("x:", " the fox")])
    assert found["x: "][0].logprob == pytest.approx(found["x:"][0].logprob, abs=1e-5)
    assert found["x: "][0].tokens == found["x:"][0].tokens > 1


@pytest.mark.parametrize("family", ["llama", "bloom", "t5"])
def test_a_choice_is_greedy_where_greedy_decoding_writes_it(folder: Callable[[str], Path], family: str) -> None:
    template = "?template=none" if family == "t5" else ""
    engine = open_engine(folder(family), template)
    tokenizer = make_tokenizer()
    prompts = [
        f"{word} {other}" for word in ("fox", "dog", "zebra", "0123", "Rome") for other in ("a", "the", "?", "9")
    ]
    written = texts(engine, [request(prompt, prompt, max_new_tokens=3) for prompt in prompts])
    # Texts that come to the same tokens again; control tokens are not part of a text.
    usable = {
        prompt: text for prompt, text in written.items()
        if len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 3 and not text.startswith(" ")
    }  # fmt: skip
    assert usable
    found = likelihoods(engine, [weigh(prompt, prompt, text, f"{text}~q", "~") for prompt, text in usable.items()])
    agree = [tuple(each.greedy for each in weighed) for weighed in found.values()]
    assert (True, False, False) in agree
    for prompt, (first, *_) in found.items():
        ids = tokenizer(usable[prompt], add_special_tokens=False)["input_ids"]
        again = texts(engine, [request("r", prompt, max_new_tokens=3, logprobs=True)])["r"]
        assert first.greedy == (again == tokenizer.decode(ids))


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


def test_probabilities_of_all_continuations_of_one_token_sum_to_one(folder: Callable[[str], Path]) -> None:
    """Every token that can stand alone is asked for; the rest of the probability is that of those which cannot."""
    engine = open_engine(folder("llama"))
    tokenizer = make_tokenizer()
    single = [tokenizer.decode([token]) for token in range(5, 300)]
    single = [text for text in single if len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1]
    weighed = likelihoods(engine, [weigh("r", "x", *dict.fromkeys(single))])["r"]
    model = reference_model(folder("llama"))
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(tokenizer, request("r", "x"))])).logits[0, -1]
    asked_for = {tokenizer(each.text, add_special_tokens=False)["input_ids"][0] for each in weighed}
    share = logits.softmax(-1)[sorted(asked_for)].sum().item()
    assert len(weighed) > 100
    assert sum(torch.tensor([each.logprob for each in weighed]).exp().tolist()) == pytest.approx(share, abs=1e-4)
