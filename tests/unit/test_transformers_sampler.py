"""From logits to the next token, compared with what transformers does to logits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from scipy import stats

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers import sampler
from pytest_evals.engines.transformers.sampler import NEAR_TIE, NotANumberError, Sampler, draw, filtered, penalise
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams

SIZE = 50
FILTERS: list[dict[str, Any]] = [
    {},
    {"top_k": 5},
    {"top_k": 1},
    {"top_k": SIZE},
    {"top_k": SIZE + 10},
    {"top_p": 0.6},
    {"top_p": 0.01},
    {"top_p": 0.999},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"min_p": 0.001},
    {"top_k": 12, "top_p": 0.8},
    {"top_k": 12, "min_p": 0.1},
    {"top_p": 0.7, "min_p": 0.1},
    {"top_k": 20, "top_p": 0.9, "min_p": 0.05},
]
NAMES = [" ".join(f"{name}={value}" for name, value in each.items()) or "nothing" for each in FILTERS]


def logits_of(*rows: int) -> torch.Tensor:
    """Logits, other ones for each number."""
    return torch.stack([torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)) * 3 for seed in rows])


def row(prompt: tuple[int, ...] = (1,), *, sample: int = 0, **params: Any) -> TokenSequence:
    request = Request("r", "m", (), GenerationParams(**{"max_new_tokens": 100_000, **params}))
    return TokenSequence(request, prompt, NullTokenizer(), frozenset(), sample=sample)


def warped(logits: torch.Tensor, params: GenerationParams) -> torch.Tensor:
    """What ``generate`` draws from: its own warpers in its own order."""
    warpers = transformers.LogitsProcessorList([transformers.TemperatureLogitsWarper(params.temperature)])
    if params.top_k:
        warpers.append(transformers.TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        warpers.append(transformers.TopPLogitsWarper(params.top_p))
    if params.min_p:
        warpers.append(transformers.MinPLogitsWarper(params.min_p))
    ids: Any = torch.zeros((len(logits), 1), dtype=torch.long)
    scores: torch.Tensor = warpers(ids, logits.clone())
    return scores.softmax(-1)


def shares(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities / probabilities.sum(-1, keepdim=True)


# -- which tokens may be drawn


@pytest.mark.parametrize("temperature", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("filters", FILTERS, ids=NAMES)
def test_the_candidates_are_those_of_transformers_own_warpers(filters: dict[str, Any], temperature: float) -> None:
    params = GenerationParams(temperature=temperature, **filters)
    logits = logits_of(*range(8))
    found = filtered(logits, [params] * 8)
    expected = warped(logits, params)
    assert torch.equal(found > 0, expected > 0)
    torch.testing.assert_close(shares(found), expected)


def test_the_order_in_which_transformers_builds_its_warpers_is_the_one_compared_with() -> None:
    kind: Any = transformers.GenerationConfig
    config = kind(do_sample=True, temperature=0.7, top_k=12, top_p=0.8, min_p=0.1)
    model: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    warpers = model._get_logits_processor(generation_config=config, input_ids_seq_length=1)
    order = ["TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"]
    assert [type(warper).__name__ for warper in warpers] == order


def test_rows_of_one_batch_keep_their_own_filters() -> None:
    params = [GenerationParams(temperature=0.5 + index / 5, **filters) for index, filters in enumerate(FILTERS)]
    logits = logits_of(*range(len(params)))
    found = filtered(logits, params)
    for index, each in enumerate(params):
        expected = warped(logits[index : index + 1], each)[0]
        assert torch.equal(found[index] > 0, expected > 0)
        torch.testing.assert_close(shares(found[index]), expected)


@pytest.mark.parametrize("filters", [{"top_k": 2}, {"min_p": 1.0}, {"top_k": 1}])
def test_equal_logits_are_candidates_together_as_in_transformers(filters: dict[str, Any]) -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0]])
    params = GenerationParams(temperature=1.0, **filters)
    found = filtered(logits, [params])
    assert (found > 0).tolist() == [[False, True, True, True, False]]
    torch.testing.assert_close(shares(found), warped(logits, params))


@pytest.mark.parametrize("filters", FILTERS, ids=NAMES)
def test_tokens_that_a_grammar_hides_are_no_candidates(filters: dict[str, Any]) -> None:
    logits = logits_of(3)
    logits[:, 5:] = -torch.inf
    found = filtered(logits, [GenerationParams(temperature=1.0, **filters)])
    assert found.isfinite().all()
    assert 0 < (found > 0).sum() <= 5


@pytest.mark.parametrize("filters", FILTERS, ids=NAMES)
@pytest.mark.parametrize("temperature", [1e-4, 1e-20, 1e-60])
def test_next_to_no_temperature_leaves_the_likeliest_token(filters: dict[str, Any], temperature: float) -> None:
    logits = logits_of(1, 2) * 20
    found = filtered(logits, [GenerationParams(temperature=temperature, **filters)] * 2)
    assert torch.equal(shares(found), torch.nn.functional.one_hot(logits.argmax(-1), SIZE).float())


# -- penalties


@pytest.mark.parametrize("penalty", [1.3, 0.5, 100.0])
def test_the_penalty_is_that_of_transformers(penalty: float) -> None:
    each = row((1, 2, 3, 2, 49), repetition_penalty=penalty)
    each.generated += [3, 7, 7]
    logits = logits_of(4)
    processor = transformers.RepetitionPenaltyLogitsProcessor(penalty)
    ids: Any = torch.tensor([[*each.prompt, *each.generated]])
    expected = processor(ids, logits.clone())[0]
    found = logits[0].clone()
    penalise(found, each)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, logits[0])


def test_a_penalty_decides_what_a_greedy_row_takes_and_touches_no_other() -> None:
    logits = torch.tensor([[2.0, 3.0, 1.0]] * 2)
    rows = [row((1,), repetition_penalty=2.0), row((1,))]
    assert [token for token, _ in Sampler().choose(logits, rows)] == [0, 1]
    assert logits.tolist() == [[2.0, 3.0, 1.0]] * 2


# -- drawing


def counts(tokens: list[int]) -> list[int]:
    return torch.bincount(torch.tensor(tokens), minlength=SIZE).tolist()


DRAWS = 4000


@pytest.mark.parametrize("filters", [{}, {"top_k": 12, "top_p": 0.8, "min_p": 0.05}], ids=["all", "filtered"])
@pytest.mark.parametrize("of", ["rows", "tokens"])
def test_tokens_are_drawn_as_often_as_they_are_likely(filters: dict[str, Any], of: str) -> None:
    """Of many rows with seeds of their own, and one after another of one row."""
    logits = logits_of(11) / 2
    params: dict[str, Any] = {"temperature": 0.8, **filters}
    if of == "rows":
        rows = [row(seed=seed, **params) for seed in range(DRAWS)]
        tokens = draw(logits.expand(DRAWS, -1), rows).tolist()
    else:
        each = row(seed=5, **params)
        tokens = [int(draw(logits, [each])) for _ in range(DRAWS)]
    expected = warped(logits, GenerationParams(**params))[0].double()
    seen, wanted = torch.tensor(counts(tokens)), DRAWS * expected / expected.sum()
    assert not seen[expected == 0].any()
    likely = wanted >= 5
    rest = [int(seen[~likely].sum())], [float(wanted[~likely].sum())]
    observed = [*seen[likely].tolist(), *rest[0]] if rest[1][0] > 1 else seen[likely].tolist()
    aims = [*wanted[likely].tolist(), *rest[1]] if rest[1][0] > 1 else wanted[likely].tolist()
    scale = sum(observed) / sum(aims)
    result: Any = stats.chisquare(observed, [aim * scale for aim in aims])
    # The draws are always the same: what passes once passes for ever.
    assert result.pvalue > 1e-3


def test_a_drawn_token_depends_on_the_rows_own_seed_and_place_only() -> None:
    logits = logits_of(1, 2, 3)
    together = [row(seed=seed, temperature=1.0) for seed in (5, 6, 7)]
    found = [draw(logits, together).tolist() for _ in range(20)]
    for index, seed in enumerate((5, 6, 7)):
        alone = row(seed=seed, temperature=1.0)
        assert [int(draw(logits[index : index + 1], [alone])) for _ in range(20)] == [step[index] for step in found]
    swapped = [row(seed=seed, temperature=1.0) for seed in (7, 6, 5)]
    assert [draw(logits.flip(0), swapped).tolist()[::-1] for _ in range(20)] == found


def test_a_difference_in_the_last_bits_draws_the_same_tokens() -> None:
    """Ranked by probability, two tokens that are almost equally likely would change places."""
    logits = torch.zeros(1, SIZE)
    noise = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(0)) * 1e-6
    rows = [row(seed=3, temperature=1.0), row(seed=3, temperature=1.0)]
    first, second = ([int(draw(values, [each])) for _ in range(300)] for values, each in zip((logits, logits + noise), rows, strict=True))  # fmt: skip
    assert first == second


def test_samples_of_one_request_have_numbers_of_their_own_and_the_first_those_of_the_request() -> None:
    logits = logits_of(1) / 4
    texts = [
        [int(draw(logits, [each])) for _ in range(30)]
        for each in (row(temperature=1.0, seed=4, n=3, sample=sample) for sample in range(3))
    ]
    single = row(temperature=1.0, seed=4)
    assert len({tuple(text) for text in texts}) == 3
    assert [int(draw(logits, [single])) for _ in range(30)] == texts[0]


@pytest.mark.parametrize(("number", "token"), [(0.0, 2), (math.nextafter(1.0, 0.0), 4)])
def test_the_ends_of_the_range_lead_to_tokens_that_may_be_drawn(
    monkeypatch: pytest.MonkeyPatch, number: float, token: int
) -> None:
    monkeypatch.setattr(sampler, "_uniform", lambda _row: number)
    logits = torch.tensor([[-torch.inf, -torch.inf, 0.1, 0.3, 0.2, -torch.inf]])
    assert draw(logits, [row(temperature=1.0)]).tolist() == [token]


def test_a_row_that_starts_again_goes_on_with_the_numbers_it_would_have_had() -> None:
    """A forward may fail when the number for the next token was taken from the generator already."""
    logits = logits_of(1)
    steady, unlucky = row(temperature=1.0, seed=8), row(temperature=1.0, seed=8)
    for step in range(40):
        if step % 7 == 3:
            draw(logits, [unlucky])
            unlucky.restart()
        for each in (steady, unlucky):
            each.accept(int(draw(logits, [each])), None)
    assert unlucky.generated == steady.generated


# -- all together


def test_a_batch_holds_greedy_and_sampled_rows() -> None:
    logits = logits_of(1, 2, 3, 4)
    rows = [row(), row(temperature=5.0, top_k=1), row(temperature=1.0, seed=9, logprobs=True), row(logprobs=True)]
    chosen = Sampler().choose(logits, rows)
    best = logits.argmax(-1).tolist()
    (third,) = draw(logits[2:3], [row(temperature=1.0, seed=9)]).tolist()
    assert [token for token, _ in chosen] == [best[0], best[1], third, best[3]]
    assert chosen[0][1] is None
    assert chosen[1][1] is None
    expected = logits.log_softmax(-1)
    assert chosen[2][1] == pytest.approx(expected[2, third].item(), abs=1e-5)
    assert chosen[3][1] == pytest.approx(expected[3, best[3]].item(), abs=1e-5)


def test_log_probabilities_are_those_of_the_model_before_anything_is_done_to_them() -> None:
    logits = logits_of(1)
    best = int(logits.argmax())
    each = row((best,), temperature=0.2, top_k=1, repetition_penalty=50.0, logprobs=True)
    ((token, logprob),) = Sampler().choose(logits, [each])
    assert token != best
    assert logprob == pytest.approx(logits.log_softmax(-1)[0, token].item(), abs=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_are_an_error_and_no_token(bad: float, temperature: float) -> None:
    logits = logits_of(1, 2)
    logits[1, 7] = bad
    with pytest.raises(NotANumberError, match="not finite numbers"):
        Sampler().choose(logits, [row(temperature=temperature), row(temperature=temperature)])


class Judge:
    """Knows other logits than the batch, and notes who asked."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.asked: list[TokenSequence] = []

    def next_logits(self, each: TokenSequence) -> torch.Tensor:
        self.asked.append(each)
        return self.logits


def test_near_ties_of_greedy_rows_are_decided_by_the_logits_of_the_row_alone() -> None:
    close, clear = [0.0, 2.0, 2.0 - NEAR_TIE / 2, 0.0], [0.0, 2.0, 2.0 - NEAR_TIE * 2, 0.0]
    judge = Judge(torch.tensor([0.0, 1.0, 2.0, 0.0]))
    rows = [row(), row(), row(temperature=1.0, top_k=1), row()]
    chosen = Sampler(judge).choose(torch.tensor([close, clear, close, close]), rows)
    assert judge.asked == [rows[0], rows[3]]
    assert [token for token, _ in chosen] == [2, 1, 1, 2]


def test_a_penalty_holds_for_the_arbiters_logits_too() -> None:
    judge = Judge(torch.tensor([1.5, 1.0, 2.0]))
    logits = torch.tensor([[1.0, 1.0, 2.0]])
    ((token, _),) = Sampler(judge).choose(logits, [row((2,), repetition_penalty=2.0)])
    assert len(judge.asked) == 1
    assert token == 0
