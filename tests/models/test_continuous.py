"""transformers' continuous batching behind the engine: the same texts, and nothing lost when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.protocol import Inbox, Noted, Request, Result, Started
from pytest_evals.engines.transformers import continuous_loop, continuous_session, continuous_setup
from pytest_evals.engines.transformers.continuous_loop import ContinuousLoop, RoutingLoop
from pytest_evals.engines.transformers.continuous_session import IN_FLIGHT, SPARE_BLOCKS, Session, Size, size_for
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.packed_loop import PackedLoop
from pytest_evals.engines.transformers.plans import Budget
from pytest_evals.engines.transformers.row import Row
from pytest_evals.engines.transformers.selfcheck import Mute
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

from .conftest import (
    FAMILIES,
    answers,
    make_tokenizer,
    open_engine,
    reference,
    request,
    save_model,
    texts,
    usage_of,
    weigh,
)

PROMPTS = ["a", "the quick brown fox", "What is the capital of France?", "0123 " * 9, "zebra " * 25, "Paris. " * 4, "x"]
ASKED = "?loop=continuous"


def mixed(**params: Any) -> list[Request]:
    """Prompts of many lengths, each with its own limit."""
    return [request(f"r{n}", text, max_new_tokens=5 + 4 * n, **params) for n, text in enumerate(PROMPTS)]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def loops_of(engine: TransformersEngine) -> tuple[ContinuousLoop, PackedLoop]:
    routing = engine._loops[0]
    assert isinstance(routing, RoutingLoop)
    assert isinstance(routing._others, PackedLoop)
    return routing._continuous, routing._others


# -- the same texts


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_texts_are_those_of_generate_one_at_a_time(tmp_path: Path, family: str) -> None:
    folder = save_model(tmp_path, FAMILIES[family]())
    expected = reference(folder, mixed())
    for batch in ("auto", "2"):
        engine = open_engine(folder, ASKED, batch=batch)
        assert engine.info.identity["loop"] == "continuous"
        assert texts(engine, mixed()) == expected
        # Once more: the manager was stopped when it had nothing to do, and the model is as it was.
        assert engine.model.config._attn_implementation == "pytest_evals"
        assert texts(engine, mixed()[:2]) == {key: expected[key] for key in ("r0", "r1")}


def test_every_end_token_of_the_model_ends_a_text(tmp_path: Path, tiny: Path) -> None:
    tokenizer = make_tokenizer()
    ends = (
        1,
        *sorted({tokenizer(text)["input_ids"][3] for key, text in reference(tiny, mixed()).items() if key > "r1"}),
    )
    folder = save_model(tmp_path, FAMILIES["llama"](), ends=ends)
    found, plain = (answers(open_engine(folder, query), mixed()) for query in (ASKED, ""))
    assert {key: result.text for key, result in found.items()} == reference(folder, mixed())
    assert [result.finish_reason for result in found.values()].count("stop") > 2
    for key, result in found.items():
        assert result.prompt_tokens == plain[key].prompt_tokens
        assert result.completion_tokens == plain[key].completion_tokens
        assert result.latency is not None
        assert result.latency >= 0


def test_what_is_accounted_for_is_what_rows_took_and_not_what_was_tried_at_load(tiny: Path) -> None:
    engine, packed = open_engine(tiny, ASKED, batch="3"), open_engine(tiny, batch="3")
    assert usage_of(engine)["forwards"] == usage_of(engine)["device_seconds"] == 0
    found = answers(engine, mixed())
    assert texts(packed, mixed()) == {key: result.text for key, result in found.items()}
    usage, same = usage_of(engine), usage_of(packed)
    assert (
        usage["generated_tokens"]
        == same["generated_tokens"]
        == sum(
            # An end token is generated, and no part of the text.
            result.completion_tokens or 0
            for result in found.values()
        )
    )
    assert usage["prompt_tokens"] == sum(result.prompt_tokens or 0 for result in found.values())
    # The first token of each row comes of its prompt.
    assert usage["decode_rows"] == usage["generated_tokens"] - len(found)
    assert usage["most_rows"] == 3
    # Three rows at a time cannot be done in fewer forwards, and one row of seven never takes more than all alone.
    assert usage["decode_rows"] / 3 <= usage["decodes"] <= usage["forwards"] <= usage["generated_tokens"] + len(found)
    assert usage["device_seconds"] > 0
    assert usage["padding_tokens"] == usage["shared_tokens"] == usage["reused_tokens"] == 0
    once = dict(usage)
    answers(engine, mixed()[:2])
    assert usage_of(engine)["generated_tokens"] == once["generated_tokens"] + sum(
        found[key].completion_tokens or 0 for key in ("r0", "r1")
    )


def test_what_a_manager_cannot_do_goes_through_the_packed_loop(tiny: Path) -> None:
    odd: list[Request] = [
        request("sampled", "fox", max_new_tokens=9, temperature=0.9, seed=4),
        request("several", "fox", max_new_tokens=5, temperature=0.9, seed=4, n=2),
        request("penalty", "fox", max_new_tokens=9, repetition_penalty=1.4),
        request("logprobs", "fox", max_new_tokens=9, logprobs=True),
        request("stop", "fox", max_new_tokens=9, stop=("zebra",)),
        weigh("choices", "fox", "yes", "no"),
    ]
    engine = open_engine(tiny, ASKED)
    continuous, packed = loops_of(engine)
    taken: list[str] = []
    for loop, name in ((continuous, "continuous"), (packed, "packed")):
        add = loop.add

        def noted(rows: Sequence[Any], add: Any = add, name: str = name) -> None:
            taken.extend(f"{name} {row.request.id}" for row in rows)
            add(rows)

        setattr(loop, "add", noted)  # noqa: B010 - of an instance
    found, expected = answers(engine, [*mixed(), *odd]), answers(open_engine(tiny), [*mixed(), *odd])
    for key, result in expected.items():
        assert (found[key].text, found[key].samples, found[key].error) == (result.text, result.samples, None)
    assert found["logprobs"].logprobs == pytest.approx(expected["logprobs"].logprobs, abs=1e-4)
    assert found["choices"].likelihoods is not None
    names = {name.partition(" ")[2]: name.partition(" ")[0] for name in taken}
    assert {key for key, name in names.items() if name == "continuous"} == {entry.id for entry in mixed()}
    assert {key for key, name in names.items() if name == "packed"} == {entry.id for entry in odd}


def test_requests_that_want_to_be_alone_and_those_that_come_later_are_answered(tiny: Path) -> None:
    engine = open_engine(tiny, ASKED)
    alone = Request("alone", "m", ({"role": "user", "content": "fox"},), GenerationParams(max_new_tokens=6), (), True)
    sampled = request("sampled", "fox", max_new_tokens=40, temperature=0.9, seed=4)
    inbox = Inbox([sampled, alone])
    found: dict[str, Result] = {}
    for event in engine.generate(inbox):
        if isinstance(event, Started) and "sampled" in event.ids:
            # The packed loop is at work: these wait until it has done.
            inbox.put(mixed())
            inbox.close()
        if isinstance(event, Result):
            found[event.id] = event
    order = list(found)
    assert (order[0], order[-1]) == ("sampled", "alone")
    expected = reference(tiny, [*mixed(), alone])
    assert {key: found[key].text for key in expected} == expected


# -- what is left as it was


def test_the_process_is_left_as_it_was(tiny: Path) -> None:
    seed = torch.initial_seed()
    engine = open_engine(tiny, ASKED)
    assert torch.initial_seed() == seed
    before = torch.get_rng_state()
    config = engine.model.generation_config.to_dict()
    texts(engine, mixed())
    assert torch.equal(torch.get_rng_state(), before)
    assert engine.model.generation_config.to_dict() == config
    assert not hasattr(engine.model, "_cached_continuous_batching_manager")
    logger = logging.getLogger("ContinuousBatchingLogger")
    assert logger.propagate
    assert not logger.handlers


def test_an_engine_that_is_left_in_the_middle_leaves_no_thread(tiny: Path) -> None:
    engine = open_engine(tiny, ASKED)
    events: Any = engine.generate(Inbox(mixed()))
    next(events)
    session = loops_of(engine)[0]._session
    assert session is not None
    thread = session._manager._generation_thread
    assert thread.daemon
    events.close()
    # As at the end of the process.
    session._stop()
    assert not thread.is_alive()


# -- sizes


def row(prompt: int, new: int) -> Row:
    return Row(Request("r", "m", (), GenerationParams(max_new_tokens=new)), [5] * prompt, Mute(), frozenset())


def test_a_cache_is_as_large_as_a_batch_needs_and_the_budget_allows() -> None:
    rows = [row(10, 20), row(100, 100)]
    assert size_for(rows, Budget(4, 100_000), 32) == Size(4 * (7 + SPARE_BLOCKS), 32)
    assert size_for(rows, Budget(4, 320), 32) == Size(10, 32)
    assert Size(9, 32).holds(row(100, 100))
    assert not Size(8, 32).holds(row(100, 100))


def test_a_row_that_would_kill_the_manager_is_not_given_to_it(tiny: Path) -> None:
    engine = open_engine(tiny, ASKED)
    continuous, _ = loops_of(engine)
    continuous._budget = Budget(4, 160)
    assert continuous.takes(row(20, 60))
    assert not continuous.takes(row(120, 60))
    assert texts(engine, mixed()) == reference(tiny, mixed())


def test_a_row_that_is_longer_than_the_cache_waits_for_a_larger_one(tiny: Path) -> None:
    engine = open_engine(tiny, ASKED, batch="1")
    continuous, _ = loops_of(engine)
    sizes: list[Size] = []
    hand_in = continuous._hand_in

    def late(session: Session) -> Any:
        begun = hand_in(session)
        if not sizes:
            # It arrives when the cache has been made for short ones.
            continuous.add([long])
        if not sizes or sizes[-1] != session.size:
            sizes.append(session.size)
        return begun

    setattr(continuous, "_hand_in", late)  # noqa: B010 - of an instance
    (long,) = engine._intake.accept(request("long", "zebra " * 20, max_new_tokens=100))  # type: ignore[misc]  # it is accepted
    rows = [*engine._intake.accept(request("short", "a", max_new_tokens=3)), long]  # type: ignore[misc]  # as above
    continuous.add(rows[:1])
    finished: list[Any] = []
    while continuous:
        finished += continuous.step().finished
    assert finished == rows
    assert len(sizes) == 2
    assert sizes[0].blocks < sizes[1].blocks


def test_no_more_rows_are_handed_in_than_fill_the_batch_again(tiny: Path) -> None:
    engine = open_engine(tiny, ASKED, batch="2")
    continuous, _ = loops_of(engine)
    most = 0
    settle = continuous._settle

    def counted(*args: Any) -> None:
        nonlocal most
        most = max(most, len(continuous._open) + 1)
        settle(*args)

    setattr(continuous, "_settle", counted)  # noqa: B010 - of an instance
    assert len(texts(engine, [request(f"q{n}", f"number {n}", max_new_tokens=4) for n in range(15)])) == 15
    assert most == 2 * IN_FLIGHT


# -- when it fails


def test_rows_of_a_manager_that_dies_are_computed_by_the_packed_loop(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = reference(tiny, mixed())
    engine = open_engine(tiny, ASKED, batch="2")
    forward, calls = type(engine.model).forward, []

    def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation == "sdpa":
            calls.append(1)
            if len(calls) == 12:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(engine.model), "forward", dying)
    events = list(engine.generate(Inbox(mixed(), closed=True)))
    assert {event.id: event.text for event in events if isinstance(event, Result)} == expected
    continuous, _ = loops_of(engine)
    assert "out of memory" in str(continuous.broken)
    (told,) = (event for event in events if isinstance(event, Noted))
    assert told.text == f"goes on without continuous batching: {continuous.broken}"
    assert len(calls) == 12
    assert engine.model.config._attn_implementation == "pytest_evals"
    assert len(texts(engine, mixed()[:2])) == 2


def test_a_manager_that_cannot_be_started_is_done_without(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(tiny, ASKED)

    def refused(*_args: Any) -> Any:
        raise MemoryError("Memory footprint 2 is more than available memory 1")

    monkeypatch.setattr(continuous_session, "_config", refused)
    assert texts(engine, mixed()) == reference(tiny, mixed())
    assert loops_of(engine)[0].broken == "MemoryError: Memory footprint 2 is more than available memory 1"


def test_a_manager_that_hangs_is_given_up_and_its_rows_are_errors(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(tiny, ASKED)
    continuous, _ = loops_of(engine)
    continuous._patience = 1.0
    release = threading.Event()
    before = set(threading.enumerate())
    forward = type(engine.model).forward

    def hanging(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.config._attn_implementation == "sdpa":
            release.wait()
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(engine.model), "forward", hanging)
    monkeypatch.setattr(continuous_session, "_STOP_SECONDS", 0.2)
    try:
        found = answers(engine, mixed())
    finally:
        # Others may live for ever.
        mine = set(threading.enumerate()) - before
        release.set()
        for thread in mine:
            thread.join(60)
    assert {str(result.error) for result in found.values()} == {
        str(found["r0"].error),
    }
    assert found["r0"].error is not None
    assert found["r0"].error.kind == "engine"
    assert "continuous batching was given up: it did nothing for 1 s" in found["r0"].error.message
    assert not continuous.takes(row(3, 3))


@pytest.mark.parametrize("said", ["Unknown argument", ""])
def test_what_is_wrong_with_one_request_is_its_own_error(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    engine = open_engine(tiny, ASKED)
    monkeypatch.setattr(continuous_loop, "GRACE_SECONDS", 0.05)
    outputs = Session.outputs
    first: list[Any] = []

    def spoilt(self: Session, seconds: float) -> list[Any]:
        found = outputs(self, seconds)
        if found and not first:
            first.append(found[0].request_id)
            found[0].error, found[0].generated_tokens = said or None, found[0].generated_tokens[:1]
        return found

    monkeypatch.setattr(Session, "outputs", spoilt)
    found = answers(engine, mixed())
    failed = [result for result in found.values() if result.error]
    assert len(failed) == 1
    assert failed[0].error is not None
    assert failed[0].error.kind == "engine"
    wanted = f"continuous batching failed: {said}" if said else "continuous batching gave 1 tokens and no end"
    assert failed[0].error.message == wanted
    expected = reference(tiny, mixed())
    assert all(result.text == expected[key] for key, result in found.items() if not result.error)


# -- when it is used


@pytest.mark.parametrize("kind", ["t5", "bloom", "mamba"])
def test_a_model_that_it_cannot_run_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    tokenizer = make_tokenizer()
    folder = save_model(tmp_path, FAMILIES[kind](), tokenizer)
    query = f"{ASKED}&template=none" if kind == "t5" else ASKED
    with pytest.raises(ModelError, match=r"cannot be run with loop=continuous: "):
        open_engine(folder, query)


def test_it_is_refused_where_exactness_is_asked_for(tiny: Path) -> None:
    with pytest.raises(ModelError, match="loop=continuous goes neither with exactness nor with tp"):
        open_engine(tiny, ASKED, exact=True)


def test_what_writes_other_texts_than_the_model_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = Session.outputs

    def wrong(self: Session, seconds: float) -> list[Any]:
        found = outputs(self, seconds)
        for output in found:
            output.generated_tokens[-1] = (output.generated_tokens[-1] + 1) % 300
        return found

    monkeypatch.setattr(Session, "outputs", wrong)
    with pytest.raises(ModelError, match=r"cannot be run with loop=continuous: its logits would differ by \d"):
        open_engine(tiny, ASKED)
    monkeypatch.setattr(continuous_setup, "flash_attention", lambda _model, _device: "sdpa")
    engine = open_engine(tiny)
    assert engine.info.identity["loop"] == "packed"
    assert engine.info.notes[0].startswith("runs without continuous batching: its logits would differ by")
    assert texts(engine, mixed()) == reference(tiny, mixed())


def test_it_is_used_unasked_where_flash_attention_is_installed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_engine(tiny).info.identity["loop"] == "packed"
    monkeypatch.setattr(continuous_setup, "flash_attention", lambda _model, _device: "sdpa")
    engine = open_engine(tiny)
    assert engine.info.identity["loop"] == "continuous"
    assert engine.info.notes == ()
    assert loops_of(engine)[0]._page == 256
    assert texts(engine, mixed()) == reference(tiny, mixed())
    assert open_engine(tiny, "?loop=packed").info.identity["loop"] == "packed"
    assert open_engine(tiny, exact=True).info.identity["loop"] == "packed"


@pytest.mark.parametrize(
    ("device", "dtype", "able", "installed", "found"),
    [
        ("cuda", torch.bfloat16, True, (2, 3), "flash_attention_3"),
        ("cuda:1", torch.float16, True, (2,), "flash_attention_2"),
        ("cuda", torch.bfloat16, True, (), None),
        ("cuda", torch.float32, True, (2, 3), None),
        ("cuda", torch.bfloat16, False, (2, 3), None),
        ("cpu", torch.bfloat16, True, (2, 3), None),
    ],
)
def test_flash_attention_is_what_is_installed_and_can_compute_the_model(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    dtype: torch.dtype,
    able: bool,
    installed: tuple[int, ...],
    found: str | None,
) -> None:
    for version in (2, 3):
        name = f"is_flash_attn_{version}_available"
        monkeypatch.setattr(continuous_setup, name, lambda version=version: version in installed)
    model = SimpleNamespace(_supports_flash_attn=able, dtype=dtype)
    assert continuous_setup.flash_attention(model, device) == found


def test_what_is_asked_of_transformers_is_there() -> None:
    """Names that are read and not documented: should they go, this says so before a GPU is needed."""
    manager = transformers.generation.continuous_batching.ContinuousBatchingManager
    assert {"warmup", "start", "stop", "join", "destroy", "is_running", "add_request", "get_result"} <= set(
        dir(manager)
    )
