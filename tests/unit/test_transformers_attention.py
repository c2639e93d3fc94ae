"""Attention in parts, against a softmax over everything that a token may see, in float64.

Most tests run whole plans: rows below shared beginnings, prompts in pieces, rows that leave and rows that take their
place. In the place of a model stands one that knows nothing but attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.packed import PackedBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.packed.attention import packed_attention
from pytest_evals.engines.transformers.packed.kernels import HIDDEN, fused_causal, fused_cpu, merged, plain
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams

VOCABULARY = 11
POSITIONS = 200
HEADS = 4


@dataclass(frozen=True)
class Kind:
    """A kind of attention: heads that share keys, sizes, and what is done to scores."""

    kv_heads: int = 2
    key_size: int = 8
    value_size: int = 8
    window: int | None = None
    softcap: float | None = None
    sinks: bool = False
    scale: float | None = None


KINDS = {
    "as many key heads": Kind(kv_heads=4),
    "one key head": Kind(kv_heads=1),
    "shared key heads": Kind(),
    "scaled": Kind(scale=0.9),
    "window": Kind(window=9),
    "small window": Kind(window=1),
    "window, one key head": Kind(kv_heads=1, window=13),
    "softcap": Kind(softcap=1.5),
    "softcap and window": Kind(softcap=1.5, window=9),
    "sinks": Kind(sinks=True),
    "sinks and window": Kind(sinks=True, window=9),
    "sizes": Kind(kv_heads=4, key_size=12, value_size=8),
    "sizes, shared key heads, window": Kind(key_size=6, value_size=10, window=9),
    "everything": Kind(1, 6, 10, window=20, softcap=2.0, sinks=True, scale=0.7),
}


class Attending(torch.nn.Module):
    """Its logits are what attention returns; queries, keys and values are looked up by token and position."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        super().__init__()
        self.config = SimpleNamespace(_attn_implementation="plain")
        self.kinds = list(kinds)
        generator = torch.Generator().manual_seed(0)

        def table(heads: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
            return (
                torch.randn(VOCABULARY, heads, size, generator=generator),
                torch.randn(POSITIONS, heads, size, generator=generator),
            )

        self.tables = [
            {
                "query": table(HEADS, kind.key_size),
                "key": table(kind.kv_heads, kind.key_size),
                "value": table(kind.kv_heads, kind.value_size),
            }
            for kind in kinds
        ]
        self.sinks = [torch.randn(HEADS, generator=generator) if kind.sinks else None for kind in kinds]

    def set_attn_implementation(self, name: str) -> None:
        self.config._attn_implementation = name

    def look_up(self, layer: int, name: str, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        by_token, by_position = self.tables[layer][name]
        return by_token[tokens] + by_position[positions]

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, logits_to_keep: torch.Tensor, **_options: Any
    ) -> Any:
        outputs = []
        for index, kind in enumerate(self.kinds):
            query, key, value = (
                self.look_up(index, name, input_ids[0], position_ids[0]).transpose(0, 1).unsqueeze(0)
                for name in ("query", "key", "value")
            )
            module: Any = SimpleNamespace(layer_idx=index)
            output, _ = packed_attention(
                module, query, key, value, None, kind.scale, kind.window, kind.softcap, self.sinks[index]
            )
            outputs.append(output.flatten(2))
        return SimpleNamespace(logits=torch.cat(outputs, dim=-1)[:, logits_to_keep])

    def expected(self, tokens: Sequence[int]) -> torch.Tensor:
        """The logits of all tokens of one sequence: every token against all that it may see, at once, in float64."""
        ids, positions = torch.tensor(list(tokens)), torch.arange(len(tokens))
        outputs = []
        for index, kind in enumerate(self.kinds):
            query, key, value = (
                self.look_up(index, name, ids, positions).double() for name in ("query", "key", "value")
            )
            outputs.append(by_definition(query, key, value, kind, self.sinks[index]).flatten(1))
        return torch.cat(outputs, dim=-1)


def by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, kind: Kind, sinks: torch.Tensor | None = None
) -> torch.Tensor:
    """Causal attention of one sequence, ``[tokens, heads, head]``."""
    share = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(share, dim=1), value.repeat_interleave(share, dim=1)
    scores = torch.einsum("qhd,khd->hqk", query, key) * (kind.scale or query.shape[-1] ** -0.5)
    if kind.softcap is not None:
        scores = kind.softcap * torch.tanh(scores / kind.softcap)
    distance = torch.arange(len(query)).unsqueeze(1) - torch.arange(len(query))
    hidden = distance < 0
    if kind.window is not None:
        hidden |= distance >= kind.window
    scores = scores.masked_fill(hidden, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks.double()[:, None, None].expand(-1, len(query), 1)], dim=-1)
    weights = scores.softmax(-1)[..., : len(query)]
    return torch.einsum("hqk,khd->qhd", weights, value)


class Keeping:
    """A sampler that keeps the logits; the token follows from them, so that a wrong one leads astray."""

    def __init__(self) -> None:
        self.logits: dict[int, list[torch.Tensor]] = {}

    def choose(self, logits: torch.Tensor, rows: Sequence[TokenSequence]) -> list[tuple[int, float | None]]:
        for each, values in zip(rows, logits, strict=True):
            self.logits.setdefault(id(each), []).append(values)
        return [(int(values[:VOCABULARY].argmax()), None) for values in logits]


def prompts() -> list[list[int]]:
    """Two trees of beginnings, one of two levels, and prompts without company."""
    generator = torch.Generator().manual_seed(1)

    def some(count: int) -> list[int]:
        return torch.randint(0, VOCABULARY, (count,), generator=generator).tolist()

    system, shots, other = some(17), some(23), some(30)
    return [
        *([*system, *shots, *some(count)] for count in (1, 12, 3, 25)),
        *([*system, *some(count)] for count in (5, 2, 19)),
        *([*other, *some(count)] for count in (8, 4)),
        some(1),
        some(40),
        [*other, *other[:3]],
    ]


def row(prompt: Sequence[int], new: int) -> TokenSequence:
    return TokenSequence(
        Request("r", "m", (), GenerationParams(max_new_tokens=new)), prompt, NullTokenizer(), frozenset()
    )


class Computing:
    """A loop as the engine has it."""

    def __init__(self, model: Attending, budget: BatchLimits) -> None:
        self.runner, self.sampler = ModelRunner(model, "cpu", 1), Keeping()
        self.runner.use(self.sampler)
        self.meter = UsageMeter("cpu")
        self.loop = PackedBackend(Scheduler(budget, self.runner.slots), self.runner, self.meter, "cpu")

    def finish(self) -> None:
        while self.loop:
            assert not self.loop.step().failed


def compute(model: Attending, rows: Sequence[AnySequence], budget: BatchLimits) -> Keeping:
    computing = Computing(model, budget)
    half = len(rows) // 2
    computing.loop.add(rows[:half])
    computing.loop.step()
    computing.loop.add(rows[half:])
    computing.finish()
    return computing.sampler


BUDGETS = {
    "all at once": BatchLimits(32, 100_000, 10_000, cascade=None),
    "in pieces": BatchLimits(3, 100_000, 7, cascade=None),
    "shared in place": BatchLimits(32, 100_000, 10_000, cascade=1),
    "shared in place, in pieces": BatchLimits(4, 100_000, 7, cascade=1),
    "some levels shared in place": BatchLimits(4, 100_000, 16, cascade=85),
}


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_attention_is_attention_over_everything_a_token_may_see(kind: str, budget: str) -> None:
    # A layer of another kind beside it: each has its own slots, masks and stores.
    model = Attending([KINDS[kind], Kind()])
    rows = [row(prompt, 3 + 5 * (index % 4)) for index, prompt in enumerate(prompts())]
    sampler = compute(model, rows, BUDGETS[budget])
    for each in rows:
        expected = model.expected([*each.prompt, *each.generated[:-1]])[len(each.prompt) - 1 :]
        torch.testing.assert_close(torch.stack(sampler.logits[id(each)]).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", ["shared key heads", "window", "everything"])
def test_rows_that_go_on_from_finished_ones_compute_the_rest_alone(kind: str, budget: str) -> None:
    """Second and third turns of conversations, other beginnings than were kept, and room for half of it all."""
    model = Attending([KINDS[kind], Kind()])
    limits = BUDGETS[budget]
    computing = Computing(model, BatchLimits(limits.rows, 1000, limits.tokens, limits.cascade))
    turn = [row(prompt, 3 + 5 * (index % 4)) for index, prompt in enumerate(prompts())]
    everyone = list(turn)
    for more in ([1, 2, 3], [4] * 12):
        computing.loop.add(turn)
        computing.finish()
        # Some leave the text of the turn before midway, or at its beginning.
        turn = [
            row([*each.prompt, *each.generated][: -1 - index if index % 3 == 2 else None] + more, 4)
            for index, each in enumerate(turn)
        ]
        everyone += turn
    computing.loop.add(turn)
    computing.finish()
    for each in everyone:
        expected = model.expected([*each.prompt, *each.generated[:-1]])[len(each.prompt) - 1 :]
        found = torch.stack(computing.sampler.logits[id(each)]).double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert computing.meter.usage.reused_tokens > 100


def test_levels_are_shared_in_place_where_a_test_says_so() -> None:
    """Else the tests above would not compare what they say."""
    shared: dict[str, list[int]] = {}
    for name, budget in BUDGETS.items():
        scheduler: Scheduler[AnySequence] = Scheduler(budget)
        rows = [row(prompt, 3) for prompt in prompts()[:7]]
        scheduler.add(rows)
        scheduler.plan()
        shared[name] = [each.shared for each in rows][3:4]
    assert shared == {
        "all at once": [0],
        "in pieces": [0],
        "shared in place": [40],
        "shared in place, in pieces": [40],
        "some levels shared in place": [40],
    }
    rows = [row(prompt, 3) for prompt in prompts()[:7]]
    scheduler = Scheduler(BatchLimits(8, 100_000, 10_000, cascade=100))
    scheduler.add(rows)
    scheduler.plan()
    assert {each.shared for each in rows} == {17}


@pytest.mark.parametrize("kind", ["shared key heads", "window", "everything"])
@pytest.mark.parametrize("budget", ["all at once", "shared in place, in pieces"])
def test_scored_rows_beside_rows_that_decode_see_what_they_would_see_alone(kind: str, budget: str) -> None:
    model = Attending([KINDS[kind]])
    decoding = [row(prompt, 9) for prompt in prompts()[:5]]
    request = Request("s", "m", (), GenerationParams(), choices=("a", "b"))
    scored = [ScoringSequence(request, prompt, prompt[: 1 + index], index) for index, prompt in enumerate(prompts())]
    compute(model, [*decoding[:3], *scored, *decoding[3:]], BUDGETS[budget])
    for each in scored:
        expected = model.expected(each.tokens)[-len(each.continuation) :].log_softmax(-1)
        found = expected.gather(1, torch.tensor(each.continuation).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(torch.tensor(each.logprobs).double(), found, rtol=1e-4, atol=1e-5)
        assert each.likeliest == (expected.argmax(-1).tolist() == each.continuation)


def test_a_row_sees_nothing_of_others_and_nothing_that_was_in_its_slot() -> None:
    """The same rows in other company, and in slots that others had before: the same logits to the last digits."""
    model = Attending([Kind(), Kind(window=9)])
    found = []
    for company, budget in ((0, BatchLimits(1, 10_000, 10_000, None)), (8, BatchLimits(2, 10_000, 10_000, None))):
        one = row(prompts()[10], 20)
        others = [row(prompt, 4) for prompt in prompts()[:company]]
        sampler = compute(model, [*others, one, *(row(prompt, 2) for prompt in prompts()[:company])], budget)
        found.append(torch.stack(sampler.logits[id(one)]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


# -- the pieces of it


def split(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *edges: int) -> list[Any]:
    """Attention over stretches of the keys."""
    return [
        plain(query, keys[:, :, begin:end], values[:, :, begin:end], None, 0.4, None)
        for begin, end in zip((0, *edges), (*edges, keys.shape[2]), strict=True)
    ]


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_merged_parts_are_attention_over_all_their_keys() -> None:
    query, keys, values = some(1, 2, 5, 8), some(1, 2, 20, 8, seed=1) * 3, some(1, 2, 20, 6, seed=2)
    whole, sums = plain(query, keys, values, None, 0.4, None)
    first, second, third = split(query, keys, values, 1, 12)
    for order in ((first, second, third), (third, first, second)):
        output, found = merged(merged(order[0], order[1]), order[2])
        torch.testing.assert_close(output, whole, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found, sums, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", [plain, fused_cpu])
def test_a_part_of_which_nothing_is_seen_merges_as_nothing(dtype: torch.dtype, function: Any) -> None:
    query, keys, values = (tensor.to(dtype) for tensor in (some(1, 2, 5, 8), some(1, 2, 7, 8, seed=1), some(1, 2, 7, 8, seed=2)))  # fmt: skip
    options = (0.4, None) if function is plain else (0.4,)
    seen = function(query, keys, values, None, *options)
    hidden = function(query, keys * 5, values * 5, torch.full((1, 1, 5, 7), HIDDEN), *options)
    for output, _ in (merged(seen, hidden), merged(hidden, seen)):
        assert torch.equal(output, seen[0])


def test_a_sum_much_larger_than_the_other_takes_all_without_overflow() -> None:
    part = (torch.ones(1, 1, 2), torch.tensor([[1e4]]))
    other = (torch.zeros(1, 1, 2), torch.tensor([[-1e4]]))
    for output, sums in (merged(part, other), merged(other, part)):
        assert output.tolist() == [[[1.0, 1.0]]]
        assert sums.tolist() == [[1e4]]


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("masked", [False, True])
def test_plain_attention_is_its_definition_and_returns_the_log_of_the_sum(softcap: float | None, masked: bool) -> None:
    query, keys, values = some(1, 2, 5, 8), some(1, 2, 7, 8, seed=1), some(1, 2, 7, 6, seed=2)
    mask = torch.zeros(5, 7, dtype=torch.float64).masked_fill_(some(5, 7, seed=3) > 0.5, HIDDEN) if masked else None
    scores = query @ keys.transpose(-1, -2) * 0.3
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    scores = scores if mask is None else scores + mask
    output, sums = plain(query, keys, values, mask, 0.3, softcap)
    torch.testing.assert_close(output, scores.softmax(-1) @ values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sums.double(), scores.logsumexp(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 2, 65, 300])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_the_kernels_for_cpus_give_what_the_definition_gives(tokens: int, kv_heads: int) -> None:
    query, keys, values = (some(1, heads, tokens, 8, seed=heads).float() for heads in (4, kv_heads, kv_heads))
    every_key, every_value = (tensor.repeat_interleave(4 // kv_heads, dim=1) for tensor in (keys, values))
    causal = torch.full((tokens, tokens), HIDDEN).triu_(1)
    expected = plain(query, every_key, every_value, causal, 0.3, None)
    for found, wanted in zip(fused_causal(query, keys, values, 0.3), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    mask = torch.zeros(1, 1, 1, tokens)
    mask[..., : tokens // 2] = HIDDEN
    expected = plain(query, every_key, every_value, mask, 0.3, None)
    for found, wanted in zip(fused_cpu(query, every_key, every_value, mask, 0.3), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_attention_with_a_mask_of_the_models_own_is_refused() -> None:
    tensor, module = torch.zeros(1, 1, 1, 4), torch.nn.Identity()
    with pytest.raises(NotImplementedError, match="with a mask"):
        packed_attention(module, tensor, tensor, tensor, torch.zeros(1))
    with pytest.raises(NotImplementedError, match="position bias"):
        packed_attention(module, tensor, tensor, tensor, None, position_bias=torch.zeros(1))
