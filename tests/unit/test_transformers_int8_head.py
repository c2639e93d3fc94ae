"""The shortlist finds the token that all logits would give: whatever the numbers are like, and however many rows."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch

from pytest_evals.engines.transformers.cpu.int8_head import HeadTokens, Int8ArgmaxHead

pytest.importorskip("numba", reason="needs numba (pytest-evals-hf[cpu])")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="loops run on GNU's OpenMP")

HIDDEN, VOCABULARY = 48, 1000
"""No multiple of a block."""


def head_of(weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.nn.Linear:
    head = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    head.weight.data = weight
    if bias is not None:
        head.bias.data = bias
    return head


def outlying(*shape: int) -> torch.Tensor:
    """A few inputs are a hundred times as large as the others, as in language models."""
    values = torch.randn(*shape)
    values[:, ::16] *= 100
    return values


def close(*shape: int) -> torch.Tensor:
    """All rows nearly alike: rounding cannot tell which product is the largest."""
    return torch.randn(1, shape[1]) + torch.randn(*shape) * 1e-4


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("weights", [torch.randn, outlying, close])
@pytest.mark.parametrize("states", [torch.randn, outlying, close])
@torch.inference_mode()
def test_the_token_and_its_logit(
    weights: Callable[..., torch.Tensor], states: Callable[..., torch.Tensor], threads: int
) -> None:
    torch.manual_seed(0)
    weight, hidden, bias = weights(VOCABULARY, HIDDEN), states(70, HIDDEN), torch.randn(VOCABULARY)
    for own_bias in (None, bias):
        shortlist = Int8ArgmaxHead(head_of(weight, own_bias), states(8, HIDDEN), threads)
        logits = hidden.double() @ weight.double().t() + (0 if own_bias is None else own_bias.double())
        for count in (1, 70):
            values, tokens = shortlist.find(hidden[:count])
            best = logits[:count].max(dim=-1).values
            # Where two are within rounding of each other, either is right.
            chosen = logits[:count].gather(1, tokens.unsqueeze(1))[:, 0]
            scale = hidden[:count].norm(dim=-1) * weight.norm(dim=-1).max()
            assert ((best - chosen) <= 1e-6 * scale).all()
            assert ((values - best).abs() <= 1e-6 * scale).all()


@torch.inference_mode()
def test_the_first_of_equals_is_found_and_zeros_have_a_token_too() -> None:
    weight = torch.randn(VOCABULARY, HIDDEN)
    weight[[7, 400, 990]] = weight[400] * 0 + torch.linspace(-1, 1, HIDDEN)
    shortlist = Int8ArgmaxHead(head_of(weight), torch.randn(8, HIDDEN), 2)
    _, tokens = shortlist.find(torch.linspace(-1, 1, HIDDEN).unsqueeze(0) * 50)
    assert tokens.tolist() == [7], "the first of equals"
    values, tokens = shortlist.find(torch.zeros(2, HIDDEN))
    assert values.tolist() == [0, 0]
    assert tokens.tolist() == [0, 0]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@torch.inference_mode()
def test_numbers_that_are_none_are_told(number: float) -> None:
    hidden = torch.randn(3, HIDDEN)
    hidden[1, 5] = number
    shortlist = Int8ArgmaxHead(head_of(torch.randn(VOCABULARY, HIDDEN)), torch.randn(8, HIDDEN), 2)
    values, _ = shortlist.find(hidden)
    assert values.isfinite().tolist() == [True, False, True]


@torch.inference_mode()
def test_it_stands_in_for_the_layer_while_it_is_on() -> None:
    head = head_of(torch.randn(VOCABULARY, HIDDEN))
    hidden = torch.randn(1, 5, HIDDEN)
    logits = head(hidden)
    shortlist = Int8ArgmaxHead(head, hidden[0], 1)
    shortlist.stand_in(head)
    assert torch.equal(head(hidden), logits)
    with shortlist.on():
        values = head(hidden)
    assert values.shape == (1, 5, 1)
    torch.testing.assert_close(values[..., 0], logits.max(dim=-1).values)
    assert torch.equal(shortlist.tokens, logits.argmax(dim=-1)[0])
    assert HeadTokens.choose(shortlist.tokens.unsqueeze(1), []) == [
        (token, None) for token in shortlist.tokens.tolist()
    ]
    assert torch.equal(head(hidden), logits)
