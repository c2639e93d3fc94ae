"""Compiled loops compute what the definitions say, for rows and spans of any shape, in any number of threads."""

from __future__ import annotations

import builtins
import itertools
import sys
from typing import Any

import pytest
import torch

from pytest_evals.engines.transformers.cpu import attention
from pytest_evals.engines.transformers.packed.forward_context import Span
from pytest_evals.engines.transformers.packed.kernels import plain
from pytest_evals.engines.transformers.packed.kv_cache import PrefixKV

pytest.importorskip("numba", reason="needs numba (pytest-evals-hf[cpu])")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="loops run on GNU's OpenMP")

KV_HEADS, CELLS = 2, 40
THREADS = [1, 2, 3]


def seen_by(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one token ``[heads, head]`` to all of ``keys`` ``[kv_heads, cells, head]``, by the definition."""
    grouped = query.view(1, KV_HEADS, -1, query.shape[-1])
    output, sums = plain(grouped, keys.unsqueeze(0), values.unsqueeze(0), None, scale, None)
    return output.reshape(query.shape), sums.flatten()


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("share", "head"), [(3, 64), (1, 20)])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("width", [1, 3])
def test_attention_of_rows_and_spans(threads: int, share: int, head: int, window: int | None, width: int) -> None:
    torch.manual_seed(0)
    cells = [0, 17, CELLS - 4, 3]
    first = len(cells) * width
    # In a slot from its first cell on, in one behind copies and an earlier piece, and in none.
    spans = [Span(first, first + 9, 0, slot=5), Span(first + 9, first + 13, 0, slot=4, cell=11, first=6)]
    spans.append(Span(first + 13, first + 20, 0))
    tokens = first + 20
    slots = torch.randn(6, KV_HEADS, CELLS, head), torch.randn(6, KV_HEADS, CELLS, head)
    # As parts of one product have them: tokens are farther apart than their numbers.
    query, key, value = (
        part.view(tokens, -1, head)
        for part in torch.split(
            torch.randn(tokens, KV_HEADS * head * (share + 2)),
            [KV_HEADS * share * head, KV_HEADS * head, KV_HEADS * head],
            -1,
        )
    )
    expected = tuple(held.clone() for held in slots)
    runs = attention.runs_of(cells, spans, width, threads)
    assert runs.others == []
    output, sums = attention.attend(query, key, value, slots, runs, window, 0.3)

    places: list[tuple[int, int | None, int, int]] = [
        (row * width + step, row, cell + step, 0) for row, cell in enumerate(cells) for step in range(width)
    ]
    places += [
        (token, span.slot, span.cell + token - span.begin, span.first)
        for span in spans
        for token in range(span.begin, span.end)
    ]
    aside = torch.zeros(2, 1, KV_HEADS, CELLS, head)
    for token, slot, cell, _ in places:
        for held, new in zip(expected if slot is not None else aside, (key, value), strict=True):
            held[slot or 0, :, cell] = new[token]
    for token, slot, cell, begin in places:
        own = expected if slot is not None else tuple(aside)
        start = max(begin, cell + 1 - window) if window else begin
        keys, values = (each[slot or 0, :, start : cell + 1] for each in own)
        found, total = seen_by(query[token], keys, values, 0.3)
        torch.testing.assert_close(output[token], found, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sums[token], total, rtol=1e-5, atol=1e-5)
    for held, right in zip(slots, expected, strict=True):
        assert torch.equal(held, right), "nothing but the new keys and values is written"


def test_large_scores_and_numbers_that_are_none() -> None:
    """Scores far apart lose nothing, and NaN stays with its own row."""
    keys = torch.randn(3, KV_HEADS, CELLS, 8) * 200
    keys[1, :, 4] = float("nan")
    values, query = torch.randn(3, KV_HEADS, CELLS, 8), torch.randn(3, 2 * KV_HEADS, 8)
    runs = attention.runs_of([20, 20, 20], [], 1, 2)
    output, sums = attention.attend(query, keys[:, :, 20], values[:, :, 20], (keys, values), runs, None, 1.0)
    assert output[1].isnan().all()
    for row in (0, 2):
        found, total = seen_by(query[row], keys[row, :, :21], values[row, :, :21], 1.0)
        torch.testing.assert_close(output[row], found, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(sums[row], total, rtol=1e-5, atol=1e-3)


def test_a_single_token_whose_heads_lie_as_if_there_were_more() -> None:
    """The distance between tokens says nothing where there is one."""
    keys, values = torch.randn(1, KV_HEADS, CELLS, 8), torch.randn(1, KV_HEADS, CELLS, 8)
    query, key, value = (torch.randn(heads, 1, 8).transpose(0, 1) for heads in (6, KV_HEADS, KV_HEADS))
    runs = attention.runs_of([9], [], 1, 2)
    output, _ = attention.attend(query, key, value, (keys, values), runs, None, 1.0)
    assert torch.equal(keys[0, :, 9], key[0])
    torch.testing.assert_close(output[0], seen_by(query[0].contiguous(), keys[0, :, :10], values[0, :, :10], 1.0)[0])


def test_what_torch_is_better_at_is_left_to_it() -> None:
    short, long = Span(0, 200, 0, slot=0), Span(200, 700, 0, slot=1)
    behind, stored = Span(700, 740, 0, slot=2, cell=3000, first=0), Span(740, 750, 0, store=PrefixKV(10))
    runs = attention.runs_of([], [short, long, behind, stored], 1, 2)
    assert runs.others == [long, behind, stored]
    assert runs.table.tolist() == [[0, 200, 0, 0, 0]]
    assert attention.runs_of([], [long], 1, 2).table.shape == (0, 5)


@pytest.mark.parametrize("threads", THREADS)
def test_every_run_is_dealt_once_and_threads_have_about_as_much_to_do(threads: int) -> None:
    cells = [3 * number % 101 for number in range(1, 61)]
    table = attention.runs_of(cells, [], 1, threads).table
    assert sorted(row[2] for row in table.tolist()) == list(range(len(cells)))
    work = [sum(row[3] for row in part.tolist()) for part in table.tensor_split(threads)]
    assert max(work) <= 1.2 * min(work)


def test_parts_of_layers() -> None:
    from pytest_evals.engines.transformers.cpu.fused_layers import OPERATORS, compiled_ways

    torch.manual_seed(0)
    weight, values = torch.randn(48), torch.randn(1, 7, 96) * 3
    gates, own = torch.split(values, 48, -1)
    # Numbers at which an exponential would overflow, and rows that lie apart.
    gates[0, 0, :4] = torch.tensor([-200.0, 200.0, -0.0, -88.5])
    heads = torch.randn(1, 7, 3 * 16 + 5)[..., :48].view(1, 7, 3, 16).transpose(1, 2)
    cos, sin = torch.randn(1, 1, 7, 16), torch.randn(1, 1, 7, 16)
    for threads in THREADS:
        ways = compiled_ways(threads)
        for rows in (own, own.reshape(1, 1, 7, 48)):
            torch.testing.assert_close(
                ways.norm(weight, 1e-5)(rows), OPERATORS.norm(weight, 1e-5)(rows), rtol=1e-5, atol=1e-6
            )
        expected = torch.nn.functional.silu(gates) * own
        torch.testing.assert_close(ways.gate(torch.nn.SiLU(), gates, own), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(ways.gate(torch.nn.SiLU(), gates, own), ways.gate(torch.nn.SiLU(), gates.clone(), own))
        torch.testing.assert_close(
            ways.rotate(heads, cos, sin), OPERATORS.rotate(heads, cos, sin), rtol=1e-5, atol=1e-6
        )


def test_the_exponential_is_that_of_twice_the_precision() -> None:
    """Through a softmax of two scores: 1 / (1 + exp(x)) for x from 0 down to where nothing is left."""
    distances = torch.linspace(0, 100, 4001)
    keys = torch.zeros(len(distances), 1, 2, 1)
    keys[:, 0, 0, 0] = -distances
    values = torch.zeros_like(keys)
    values[:, 0, 0, 0] = 1
    query = torch.ones(len(distances), 1, 1)
    runs = attention.runs_of([1] * len(distances), [], 1, 2)
    new = torch.zeros(len(distances), 1, 1)
    output, _ = attention.attend(query, new, new, (keys, values), runs, None, 1.0)
    share = torch.exp(-distances.double())
    expected = share / (1 + share)
    assert ((output[:, 0, 0] - expected).abs() <= 3e-7 * expected + 2e-38).all()


@pytest.mark.parametrize("trouble", ["no numba", "a numba that raises", "slower"])
def test_without_them_torch_computes(monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    import transformers

    config = transformers.LlamaConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2)
    monkeypatch.setattr(attention, "_LEAST_GAIN", 0.0)
    assert attention.compiled_threads(config) == torch.get_num_threads()
    if trouble == "slower":
        times = itertools.cycle([2.0, 1.0])
        monkeypatch.setattr(attention, "_LEAST_GAIN", 1.1)
        monkeypatch.setattr(attention, "least_seconds", lambda _: next(times))
    else:
        usual = builtins.__import__

        def refused(name: str, *arguments: Any, **options: Any) -> Any:
            if "numba.attention" in name:
                raise ImportError if trouble == "no numba" else SystemError("LLVM")
            return usual(name, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", refused)
    assert attention.compiled_threads(config) is None
