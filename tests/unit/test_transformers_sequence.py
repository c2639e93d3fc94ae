"""One completion from its first token to its end, and what a request's rows come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.engine import PendingRequest
from pytest_evals.engines.transformers.errors import explain, is_fatal, is_out_of_memory
from pytest_evals.engines.transformers.sampler import NotANumberError, score
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.generation import GenerationParams

END = 0


class Letters:
    """A tokenizer of letters: a is 1, b is 2."""

    def decode(self, ids: Sequence[int], **_options: Any) -> str:
        return "".join(chr(96 + token) for token in ids if token != END)


class Ending:
    """A guide whose grammar ends with the token 5."""

    def hide(self, logits: torch.Tensor) -> None:
        raise NotImplementedError

    def accept(self, token: int) -> bool:
        return token == 5


def ask(**params: Any) -> Request:
    choices = params.pop("choices", ())
    return Request("r", "m", (), GenerationParams(**params), choices)


def row(prompt: Sequence[int] = (9, 9), sample: int = 0, guide: Any = None, **params: Any) -> TokenSequence:
    return TokenSequence(ask(**params), prompt, Letters(), frozenset({END, 26}), sample=sample, guide=guide)


def accepted(each: TokenSequence, *tokens: int) -> list[bool]:
    return [each.accept(token, None) for token in tokens]


# -- how a completion ends


def test_a_row_ends_with_the_tokens_it_may_have() -> None:
    each = row(max_new_tokens=3)
    assert accepted(each, 1, 2, 3) == [False, False, True]
    assert (each.finish_reason, each.text, each.generated) == ("length", "abc", [1, 2, 3])


@pytest.mark.parametrize("end", [END, 26])
def test_an_end_token_ends_a_row_and_is_not_part_of_the_text(end: int) -> None:
    each = row()
    assert accepted(each, 1, 2, end) == [False, False, True]
    assert (each.finish_reason, each.text, len(each.generated)) == ("stop", "ab", 3)


def test_an_end_token_as_the_last_possible_token_is_an_end_and_no_cut() -> None:
    each = row(max_new_tokens=2)
    accepted(each, 1, END)
    assert each.finish_reason == "stop"


def test_a_stop_string_ends_a_row_before_it_wherever_tokens_begin() -> None:
    each = row(stop=("zz", "cd"))
    assert accepted(each, 1, 2, 3, 4) == [False, False, False, True]
    assert (each.finish_reason, each.text) == ("stop", "ab")


def test_a_stop_string_is_looked_for_at_the_end_of_the_text_alone() -> None:
    each = row(stop=("xya", "bb"), max_new_tokens=1000)
    read: list[int] = []
    decode = each._decode
    each._decode = lambda ids: read.append(len(ids)) or decode(ids)  # type: ignore[method-assign,func-returns-value]  # noted on the way
    assert not any(accepted(each, *[3] * 500))
    assert max(read) < 10
    assert accepted(each, 24, 25, 1) == [False, False, True]
    assert (each.text, each.finish_reason) == ("c" * 500, "stop")


@pytest.mark.parametrize("silent", [0, 3, 30])
def test_tokens_without_text_do_not_hide_a_stop_string(silent: int) -> None:
    """Special tokens are no text, and a token may be a part of a character."""
    each = TokenSequence(ask(stop=("xyz",), max_new_tokens=100), [9], Letters(), frozenset({99}))
    assert not any(accepted(each, *[3] * 20, 24, 25, *[END] * silent))
    assert accepted(each, 26) == [True]
    assert each.text == "c" * 20


def test_the_first_of_several_stop_strings_counts() -> None:
    each = row(stop=("d", "bcd"))
    accepted(each, 1, 2, 3, 4)
    assert each.text == "a"


def test_a_row_ends_with_its_grammar() -> None:
    each = row(guide=Ending())
    assert accepted(each, 1, 5) == [False, True]
    assert (each.finish_reason, each.text) == ("stop", "ae")


def test_log_probabilities_are_kept_where_they_are_given() -> None:
    each = row()
    each.accept(1, -0.5)
    each.accept(2, None)
    assert each.logprobs == [-0.5]


def test_starting_again_keeps_what_was_generated_and_forgets_where_it_was_kept() -> None:
    each = row((7, 8))
    each.slot, each.stored, each.shared = 3, 4, 1
    accepted(each, 1, 2)
    each.restart()
    assert each.tokens == [7, 8, 1, 2]
    assert each.slot is None
    assert (each.stored, each.shared) == (0, 0)
    assert (each.generated, each.prompt_tokens, each.cells, each.shareable) == ([1, 2], 2, 2 + 256, 1)


# -- rows that are scored


def test_a_scored_row_reads_all_but_the_last_token_and_shares_all_but_the_last_of_its_context() -> None:
    each = ScoringSequence(ask(choices=("x",)), [1, 2, 3], [4, 5], 0)
    assert each.tokens == [1, 2, 3, 4]
    assert (each.shareable, each.cells) == (2, 4)
    each = ScoringSequence(ask(choices=("x",)), [1, 2, 3], [4], 0)
    assert each.tokens == [1, 2, 3]
    assert each.shareable == 2


def test_a_score_is_the_share_of_each_token_and_tells_whether_it_was_the_likeliest() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.5, 3.0]])
    likely, unlikely = (ScoringSequence(ask(choices=("x",)), [0], tokens, 0) for tokens in ([1, 2], [1, 0]))
    score(likely, logits)
    score(unlikely, logits)
    expected = logits.log_softmax(-1)
    assert likely.logprobs == pytest.approx([expected[0, 1].item(), expected[1, 2].item()])
    assert unlikely.logprobs == pytest.approx([expected[0, 1].item(), expected[1, 0].item()])
    assert (likely.likeliest, unlikely.likeliest) == (True, False)


def test_a_score_of_logits_that_are_no_numbers_is_an_error_and_no_score() -> None:
    each = ScoringSequence(ask(choices=("x",)), [0], [1], 0)
    with pytest.raises(NotANumberError, match="not finite numbers"):
        score(each, torch.tensor([[0.0, 1.0, torch.nan]]))
    assert each.logprobs == []


# -- the answer of a request


def test_an_answer_is_complete_with_its_last_row_and_its_text_is_the_first_sample() -> None:
    rows = [row((1, 2, 3), sample, temperature=1.0, n=2, logprobs=True, max_new_tokens=2) for sample in range(2)]
    answer = PendingRequest(rows[0].request, rows, 10.0, {"weights": "w"})
    for each, tokens in zip(rows, ([1, 2], [3, END]), strict=True):
        each.started = 11.0
        for token in tokens:
            each.accept(token, -float(token))
    assert not answer.take(rows[1], None)
    assert answer.take(rows[0], None)
    result = answer.result(12.5)
    assert (result.answer.text, result.answer.finish_reason) == ("ab", "length")
    assert [(each.text, each.finish_reason, each.completion_tokens) for each in result.answer.samples] == [
        ("ab", "length", 2),
        ("c", "stop", 2),
    ]
    assert (result.answer.prompt_tokens, result.answer.completion_tokens, result.answer.logprobs) == (
        3,
        2,
        (-1.0, -2.0),
    )
    assert (result.answer.latency, result.answer.queued) == (1.5, 1.0)


def test_one_sample_is_no_list_of_samples() -> None:
    each = row(max_new_tokens=1)
    answer = PendingRequest(each.request, [each], 0.0, {})
    accepted(each, 1)
    answer.take(each, None)
    assert answer.result(1.0).answer.samples == ()
    assert answer.result(1.0).answer.logprobs is None


def test_the_failure_of_one_row_is_the_requests_when_all_are_done() -> None:
    rows = [row(sample=sample, temperature=1.0, n=3) for sample in range(3)]
    answer = PendingRequest(rows[0].request, rows, 0.0, {})
    failure = Failure("engine", "broken")
    assert not answer.take(rows[1], failure)
    assert not answer.take(rows[0], None)
    assert answer.take(rows[2], Failure("engine", "later"))
    assert answer.result(1.0).error == failure


def test_an_answer_to_choices_holds_a_likelihood_for_each_in_their_order() -> None:
    request = ask(choices=("yes", "näh"))
    rows = [ScoringSequence(request, [1, 2, 3], [4] * count, index) for index, count in enumerate((1, 3))]
    rows[1].accept([-1.0, -0.5, -0.25], likeliest=True)
    rows[0].accept([-2.0], likeliest=False)
    answer = PendingRequest(request, rows, 0.0, {})
    answer.take(rows[1], None)
    assert answer.take(rows[0], None)
    result = answer.result(1.0)
    assert result.answer.likelihoods is not None
    first, second = result.answer.likelihoods
    assert (first.text, first.logprob, first.tokens, first.bytes, first.greedy) == ("yes", -2.0, 1, 3, False)
    assert (second.text, second.logprob, second.tokens, second.bytes, second.greedy) == ("näh", -1.75, 3, 4, True)
    assert (second.per_token, second.per_byte) == (-1.75 / 3, -1.75 / 4)
    assert (result.answer.prompt_tokens, result.answer.completion_tokens, result.answer.text) == (3, 0, "")


# -- faults


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."), True),
        (RuntimeError("index out of range"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_too_little_memory_is_told_from_other_faults(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) == memory
    failure = explain(error, "cuda:1")
    assert failure.kind == "engine"
    assert failure.message.startswith("not enough memory on cuda:1" if memory else "generation failed: ")


def test_a_device_that_broke_needs_a_new_process_and_too_little_memory_does_not() -> None:
    assert is_fatal(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert is_fatal(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_fatal(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"))
    assert not is_fatal(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"))
    assert not is_fatal(RuntimeError("index out of range"))
