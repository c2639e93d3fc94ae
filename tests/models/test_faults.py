"""Too little memory, broken numbers, requests that cannot be computed: nothing that was done is lost, and all is told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.transformers.backends.generate import GenerateBackend
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.packed.kv_cache import KVCache
from pytest_evals.engines.transformers.sequence import TokenSequence

from .conftest import (
    FAMILIES,
    answers,
    make_tokenizer,
    open_engine,
    reference,
    request,
    runner_of,
    save_model,
    scheduler_of,
    set_budget,
    texts,
    usage_of,
    weigh,
)

SHOTS = "France: Paris. Spain: Madrid. Italy: Rome. "
PROMPTS = [
    "a",
    "the quick brown fox",
    "0123 " * 9,
    "zebra " * 25,
    "x",
    *(f"{SHOTS}{country}:" for country in ("Peru", "Cuba", "Chile", "Fiji")),
]


def asked(**params: Any) -> list[Request]:
    """Prompts of many lengths, four of which share a beginning, each with its own limit."""
    return [request(f"r{n}", text, max_new_tokens=5 + 3 * n, **params) for n, text in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def expected(tiny: Path) -> dict[str, str]:
    return reference(tiny, asked())


Fault = Callable[[Any, int], Exception | None]
"""What goes wrong with a forward: of its layout, and the number of forwards before it."""


def with_fault(monkeypatch: pytest.MonkeyPatch, engine: TransformersEngine, fault: Fault) -> list[Any]:
    """Let forwards fail; return a list that gets the layout of each, failed or not."""
    runner, layouts = runner_of(engine), list[Any]()
    forward = runner._forward

    def faulty(layout: Any, step: Any) -> torch.Tensor:
        layouts.append(layout)
        error = fault(layout, len(layouts) - 1)
        if error is not None:
            raise error
        return forward(layout, step)

    monkeypatch.setattr(runner, "_forward", faulty)
    return layouts


def results(engine: TransformersEngine, requests: Sequence[Request]) -> list[Result]:
    events = engine.generate(Inbox(requests, closed=True))
    return [event for event in events if isinstance(event, Result)]


# -- too little memory


def out_of_memory(kind: str) -> Exception:
    if kind == "cuda error":
        return RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")
    if kind == "cuda":
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
    if kind == "cpu":
        return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
    return MemoryError()


@pytest.mark.parametrize("kind", ["cuda", "cuda error", "cpu", "python"])
def test_running_out_of_memory_while_prompts_are_computed(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    engine = open_engine(tiny)
    layouts = with_fault(
        monkeypatch, engine, lambda layout, _: out_of_memory(kind) if len(layout.tokens) > 150 else None
    )
    assert len(PROMPTS) > 4
    assert texts(engine, asked()) == expected
    assert len(layouts[0].tokens) > 150
    assert scheduler_of(engine).budget.rows < len(PROMPTS)
    assert scheduler_of(engine).budget.tokens < 1024


@pytest.mark.parametrize("cascade", [None, 1])
def test_running_out_of_memory_while_rows_decode(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, cascade: int | None
) -> None:
    engine = open_engine(tiny)
    set_budget(engine, cascade=cascade)
    layouts = with_fault(
        monkeypatch, engine, lambda layout, done: MemoryError() if done >= 9 and len(layout.rows) > 3 else None
    )
    found = results(engine, asked())
    assert {result.id: result.answer.text for result in found} == expected
    assert len(found) == len(PROMPTS)
    # Two rows had finished by then, and nothing that was generated is generated again.
    assert [result.id for result in found[:2]] == ["r0", "r1"]
    assert usage_of(engine)["generated_tokens"] == sum(result.answer.completion_tokens or 0 for result in found)
    assert max(len(layout.rows) for layout in layouts[:9]) == len(PROMPTS)
    assert scheduler_of(engine).budget.rows <= 4


def test_what_did_not_fit_is_tried_smaller_and_nothing_else_is(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight rows fail together; no group of more than four is tried afterwards."""
    engine = open_engine(tiny, batch="8")
    layouts = with_fault(monkeypatch, engine, lambda layout, _: MemoryError() if len(layout.rows) > 4 else None)
    assert texts(engine, asked()) == expected
    sizes = [len({row.request.id for row in layout.rows}) for layout in layouts]
    assert sizes[0] == 8
    assert max(sizes[1:]) == 4


def test_prefixes_are_computed_again_when_a_forward_failed(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    set_budget(engine, cascade=1)
    slots = runner_of(engine).slots
    stores: list[int] = []

    def once(_layout: Any, done: int) -> Exception | None:
        stores.append(len(slots.stores))
        return MemoryError() if done == 6 else None

    with_fault(monkeypatch, engine, once)
    found = answers(engine, asked())
    assert {key: result.answer.text for key, result in found.items()} == expected
    # The shared beginning, and what the first rows that finished have left.
    assert stores[6] >= 1
    # The row in the first half is tried without the shared beginning, whose rows are in the second.
    usage = usage_of(engine)
    assert (
        usage["prompt_tokens"]
        > sum(result.answer.prompt_tokens or 0 for result in found.values()) - usage["shared_tokens"]
    )
    assert all(prefix.users == 0 for prefix in scheduler_of(engine).prefixes.all())


def test_slots_that_do_not_fit_are_made_for_fewer_rows(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve, most = KVCache.reserve, list[int]()

    def scarce(self: KVCache, rows: int, *args: Any) -> None:
        most.append(rows)
        if rows > 3:
            raise MemoryError
        reserve(self, rows, *args)

    engine = open_engine(tiny)
    monkeypatch.setattr(KVCache, "reserve", scarce)
    assert texts(engine, asked()) == expected
    assert max(most) > 3


def test_an_allocation_that_failed_is_not_tried_again_as_large(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for three slots of the longest row: the ninth row's failure must not leave tables of nine slots behind."""
    engine = open_engine(tiny)
    empty, refused = KVCache._empty, list[int]()

    def scarce(self: KVCache, like: torch.Tensor) -> torch.Tensor:
        if self._rows * self._capacity > 3 * 256:
            refused.append(self._rows)
            raise MemoryError
        return empty(self, like)

    monkeypatch.setattr(KVCache, "_empty", scarce)
    assert texts(engine, asked()) == expected
    assert max(refused) > 3
    assert usage_of(engine)["most_rows"] > 1


def test_sampled_rows_go_on_with_their_own_numbers(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(temperature=1.0, top_p=0.95, seed=3, logprobs=True)
    steady = answers(open_engine(tiny), requests)
    engine = open_engine(tiny)
    with_fault(
        monkeypatch, engine, lambda layout, done: MemoryError() if done % 7 == 5 and len(layout.rows) > 1 else None
    )
    found = answers(engine, requests)
    for key, result in found.items():
        assert result.answer.text == steady[key].answer.text
        assert result.answer.logprobs == pytest.approx(steady[key].answer.logprobs, abs=1e-4)


def test_samples_that_were_drawn_when_memory_ran_out_are_drawn_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice of a token may run out of memory too, after its number was taken."""
    from pytest_evals.engines.transformers import sampler

    requests = asked(temperature=1.0, seed=3, logprobs=True)
    steady = texts(open_engine(tiny), requests)
    logprobs, calls = sampler._logprobs, 0

    def scarce(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in {4, 9, 10}:
            raise MemoryError
        return logprobs(*arguments)

    monkeypatch.setattr(sampler, "_logprobs", scarce)
    assert texts(open_engine(tiny), requests) == steady
    assert calls > 10


def test_requests_that_arrive_meanwhile_wait_until_all_that_failed_is_done(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    layouts = with_fault(monkeypatch, engine, lambda _layout, done: MemoryError() if done == 4 else None)
    inbox = Inbox(asked()[:5])
    found: dict[str, str] = {}
    for event in engine.generate(inbox):
        if len(layouts) >= 5:
            inbox.put(asked()[5:])
            inbox.close()
            layouts = []
        if isinstance(event, Result):
            found[event.id] = event.answer.text
    assert found == expected
    # Those that failed came first.
    assert {*list(found)[-4:]} == {f"r{n}" for n in range(5, 9)}


def test_a_row_that_fits_nowhere_is_that_cases_error(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    with_fault(monkeypatch, engine, lambda layout, _: out_of_memory("cpu") if max(layout.positions) > 100 else None)
    found = answers(engine, asked())
    assert {key for key, result in found.items() if result.error} == {"r3"}
    error = found["r3"].error
    assert error is not None
    assert error.kind == "engine"
    assert error.message.startswith("not enough memory on cpu for this request alone: DefaultCPUAllocator")
    assert {key: result.answer.text for key, result in found.items() if not result.error} == {
        key: text for key, text in expected.items() if key != "r3"
    }
    # The others need not do with less because of it.
    assert (scheduler_of(engine).budget.rows, scheduler_of(engine).budget.tokens) == (64, 1024)


def test_what_ended_in_a_forward_that_failed_then_is_delivered_and_not_computed_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    requests = [request(f"r{n}", text, max_new_tokens=4) for n, text in enumerate(PROMPTS[:5])]
    layouts = with_fault(monkeypatch, engine, lambda _layout, _done: None)
    accept, failed = TokenSequence.accept, list[TokenSequence]()

    def fails_once(self: TokenSequence, token: int, logprob: float | None) -> bool:
        if len(self.generated) == 3 and self is layouts[-1].rows[-1] and not failed:
            failed.append(self)
            raise RuntimeError("no text")
        return accept(self, token, logprob)

    monkeypatch.setattr(TokenSequence, "accept", fails_once)
    collected: list[int] = []
    monkeypatch.setattr("pytest_evals.engines.transformers.packed.model_runner.gc.collect", lambda: collected.append(1))
    assert texts(engine, requests) == reference(tiny, requests)
    assert [layout.rows for layout in layouts[4:]] == [failed]
    # It was no lack of memory: there is nothing to be collected.
    assert not collected


def test_choices_that_run_out_of_memory_are_tried_in_smaller_company(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [weigh(f"w{n}", text, " the", "x", " zebra") for n, text in enumerate(PROMPTS)]
    steady = answers(open_engine(tiny), requests)
    engine = open_engine(tiny)
    layouts = with_fault(monkeypatch, engine, lambda layout, _: MemoryError() if len(layout.scored) > 2 else None)
    found = answers(engine, [*requests, *asked()])
    for entry in requests:
        weighed, wanted = found[entry.id].answer.likelihoods, steady[entry.id].answer.likelihoods
        assert weighed is not None
        assert wanted is not None
        assert [each.logprob for each in weighed] == pytest.approx([each.logprob for each in wanted], abs=1e-4)
    assert any(len(layout.scored) == 2 for layout in layouts)


# -- other faults


def poisoned(engine: TransformersEngine) -> int:
    """The token that stands in the prompt of the one request that is bad."""
    token: int = engine.tokenizer("7")["input_ids"][0]
    return token


BAD = request("bad", "agent 7", max_new_tokens=6)


def test_an_error_of_one_row_is_narrowed_down_to_it(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    poison = poisoned(engine)
    with_fault(
        monkeypatch,
        engine,
        lambda layout, _: (
            RuntimeError("index out of range")
            if any(layout.tokens[begin] == poison for span in layout.spans for begin in range(span.begin, span.end))
            else None
        ),
    )
    found = answers(engine, [BAD, *asked(), BAD_TOO])
    assert {key for key, result in found.items() if result.error} == {"bad", "bad too"}
    assert found["bad"].error is not None
    assert found["bad"].error.kind == "engine"
    assert found["bad"].error.message == "generation failed: RuntimeError: index out of range"
    assert {key: result.answer.text for key, result in found.items() if not result.error} == expected
    # It was no lack of memory: batches stay as large.
    assert scheduler_of(engine).budget.rows == 64


BAD_TOO = weigh("bad too", "agent 7", "x", "the")


def test_logits_that_are_no_numbers_are_their_rows_error_and_nobody_elses(
    tiny: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    runner, poison = runner_of(engine), poisoned(engine)
    forward = runner._forward

    def broken(layout: Any, step: Any) -> torch.Tensor:
        logits = forward(layout, step)
        for span in layout.spans:
            if poison in layout.tokens[span.begin : span.end]:
                for place, index in enumerate(layout.wanted):
                    if span.begin <= index < span.end:
                        logits[place, 5] = torch.nan
        return logits

    monkeypatch.setattr(runner, "_forward", broken)
    found = answers(engine, [BAD, *asked(), BAD_TOO])
    for key in ("bad", "bad too"):
        error = found[key].error
        assert error is not None
        assert error.kind == "engine"
        assert error.message == "generation failed: NotANumberError: the model's logits are not finite numbers"
    assert {key: result.answer.text for key, result in found.items() if not result.error} == expected


def test_weights_that_are_no_numbers_are_an_error_and_no_text(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"]())
    engine = open_engine(folder)
    with torch.no_grad():
        engine.model.lm_head.weight[7] = torch.nan
    found = answers(engine, [*asked()[:2], weigh("w", "x", "a")])
    assert all("not finite numbers" in str(result.error) for result in found.values())


def test_a_broken_device_ends_the_work_instead_of_being_tried_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(tiny)
    layouts = with_fault(
        monkeypatch,
        engine,
        lambda _layout, done: RuntimeError("CUDA error: an illegal memory access") if done == 2 else None,
    )
    with pytest.raises(RuntimeError, match="illegal memory access"):
        answers(engine, asked())
    assert len(layouts) == 3


def test_a_failed_sample_is_the_requests_error(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(tiny)
    with_fault(
        monkeypatch,
        engine,
        lambda layout, _: ValueError("third") if any(row.sample == 2 for row in layout.rows) else None,
    )
    found = answers(engine, [request("n", "x", temperature=1.0, n=4, max_new_tokens=4), *asked()[:3]])
    assert "generation failed: ValueError: third" in str(found["n"].error)
    assert all(found[f"r{n}"].error is None for n in range(3))


# -- the same through generate


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, str]]]:
    """Folder and reference of a family that runs through ``generate``, made once."""

    @functools.cache
    def make(family: str) -> tuple[Path, dict[str, str]]:
        folder = save_model(tmp_path_factory.mktemp(family), FAMILIES[family]())
        return folder, reference(folder, asked(), template=False)

    return make


def with_model_fault(
    monkeypatch: pytest.MonkeyPatch, engine: TransformersEngine, fault: Callable[[int, int], Exception | None]
) -> list[int]:
    """Let forwards of the model fail, by rows and number of forwards before; return the rows of each."""
    forward, sizes = engine.model.forward, list[int]()

    @functools.wraps(forward)
    def faulty(*arguments: Any, **options: Any) -> Any:
        ids: Any = options.get("input_ids")
        ids = options.get("decoder_input_ids") if ids is None else ids
        sizes.append(len(ids))
        error = fault(len(ids), len(sizes) - 1)
        if error is not None:
            raise error
        return forward(*arguments, **options)

    monkeypatch.setattr(engine.model, "forward", faulty)
    return sizes


@pytest.mark.parametrize("family", ["mamba", "bloom", "t5"])
def test_a_batch_of_generate_that_does_not_fit_is_tried_in_halves_and_keeps_what_it_has(
    others: Callable[[str], tuple[Path, dict[str, str]]], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    folder, expected = others(family)
    engine = open_engine(folder, "?template=none&loop=generate")
    # The first batch fails when some of its rows have finished, its halves when others have.
    sizes = with_model_fault(monkeypatch, engine, lambda rows, done: MemoryError() if done > 8 and rows > 3 else None)
    found = results(engine, asked())
    assert {result.id: result.answer.text for result in found} == expected
    assert len(found) == len(PROMPTS)
    assert max(sizes[:9]) == len(PROMPTS)
    assert max(size for size in sizes[12:]) <= 3


def test_a_sampled_and_guided_text_is_the_same_after_a_failure(
    others: Callable[[str], tuple[Path, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xgrammar")
    folder, _ = others("t5")
    requests = [
        *asked(temperature=1.0, seed=5),
        *(request(f"g{n}", "x", regex="[a-z]{9}", max_new_tokens=30, temperature=2.0, seed=n) for n in range(3)),
    ]
    steady = texts(open_engine(folder, "?template=none"), requests)
    engine = open_engine(folder, "?template=none")
    with_model_fault(monkeypatch, engine, lambda rows, done: MemoryError() if done in {5, 9} and rows > 1 else None)
    assert texts(engine, requests) == steady


@pytest.mark.parametrize(("family", "fault"), [("mamba", MemoryError), ("t5", ValueError)])
def test_a_request_that_generate_cannot_compute_alone_is_that_cases_error(
    others: Callable[[str], tuple[Path, dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    fault: type[Exception],
) -> None:
    folder, expected = others(family)
    engine = open_engine(folder, "?template=none&loop=generate")
    poison, forward = poisoned(engine), engine.model.forward

    @functools.wraps(forward)
    def picky(*arguments: Any, **options: Any) -> Any:
        output = forward(*arguments, **options)
        # An encoder-decoder reads its prompt apart from what it writes.
        ids = options.get("input_ids")
        if ids is not None and bool((ids == poison).any()):
            raise fault("no such state")
        return output

    monkeypatch.setattr(engine.model, "forward", picky)
    if family == "t5":
        encoder = engine.model.get_encoder()
        read = encoder.forward

        @functools.wraps(read)
        def reading(*arguments: Any, **options: Any) -> Any:
            ids = options.get("input_ids")
            if ids is not None and bool((ids == poison).any()):
                raise fault("no such state")
            return read(*arguments, **options)

        monkeypatch.setattr(encoder, "forward", reading)
    found = answers(engine, [BAD, *asked(), BAD_TOO])
    assert {key for key, result in found.items() if result.error} == {"bad", "bad too"}
    said = {ValueError: "generation failed: ValueError", MemoryError: "not enough memory on cpu for this request alone"}
    assert f"{said[fault]}: no such state" in str(found["bad"].error)
    assert {key: result.answer.text for key, result in found.items() if not result.error} == expected
    loop = engine._loops[0]
    assert isinstance(loop, GenerateBackend)
    assert loop._budget.rows == 64


def test_logits_that_are_no_numbers_are_an_error_of_generate_too(
    others: Callable[[str], tuple[Path, dict[str, str]]],
) -> None:
    folder, _ = others("mamba")
    engine = open_engine(folder, "?template=none")
    with torch.no_grad():
        engine.model.lm_head.weight[7] = torch.nan
    found = answers(engine, [*asked()[:3], weigh("w", "x", "a")])
    assert all("not finite numbers" in str(result.error) for result in found.values())


# -- requests that cannot be computed at all


def test_an_empty_prompt_is_an_error_and_the_others_run(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(None))
    requests = [request("empty", ""), request("usual", "fox", max_new_tokens=3)]
    found = answers(open_engine(folder, "?template=none"), requests)
    error = found["empty"].error
    assert error is not None
    assert (error.kind, error.message) == ("model", "the prompt is empty: it has no tokens")
    assert found["usual"].error is None


def test_when_no_request_can_be_computed_all_are_answered(engine: TransformersEngine) -> None:
    requests = [request(f"r{n}", "word " * 300) for n in range(3)]
    found = results(engine, requests)
    assert sorted(result.id for result in found) == ["r0", "r1", "r2"]
    assert all(result.error for result in found)
