"""The next turn of a conversation begins where the turn before ended: nothing of it is computed twice, and no token changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_evals.completion import Message
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.scheduling.retention import IDLE_SHARE

from .conftest import (
    open_engine,
    reference,
    request,
    runner_of,
    scheduler_of,
    set_budget,
    texts,
    usage_of,
)

OPENINGS = ["a", "the quick brown fox", "0123 " * 6, "zebra " * 8, "What is the capital of France?", "zebra " * 9]
TURNS = ["and then? ", "why? " * 4, "fox"]


def opening(number: int) -> Request:
    return request(f"{number}.0", OPENINGS[number], max_new_tokens=4 + 2 * number)


def following(before: Request, text: str) -> Request | None:
    """The next turn, if there is one."""
    number, turn = map(int, before.id.split("."))
    if turn == len(TURNS):
        return None
    said: tuple[Message, Message] = ({"role": "assistant", "content": text}, {"role": "user", "content": TURNS[turn]})
    return replace(before, id=f"{number}.{turn + 1}", messages=(*before.messages, *said))


def conversed(engine: TransformersEngine) -> Iterator[tuple[Request, Result]]:
    """Let all conversations go on as soon as their answer is there, as tasks do."""
    inbox = Inbox([opening(number) for number in range(len(OPENINGS))])
    asked = {f"{number}.0": opening(number) for number in range(len(OPENINGS))}
    left = len(OPENINGS) * (1 + len(TURNS))
    for event in engine.generate(inbox):
        if not isinstance(event, Result):
            continue
        left -= 1
        yield asked[event.id], event
        if follow := following(asked[event.id], event.answer.text):
            asked[follow.id] = follow
            inbox.put([follow])
        if not left:
            inbox.close()


def check(folder: Path, turns: Sequence[tuple[Request, Result]]) -> None:
    assert [result.error for _, result in turns if result.error] == []
    found = {result.id: result.answer.text for _, result in turns}
    assert found == reference(folder, [entry for entry, _ in turns])


@pytest.mark.parametrize(
    ("family", "options", "budget"),
    [
        ("llama", {}, {}),
        ("llama", {"batch": "2"}, {"tokens": 16, "cascade": 1}),
        ("gemma2", {}, {"cascade": 1}),
        ("gpt2", {"batch": "3"}, {}),
        ("llama", {"decode": "static"}, {"cascade": None}),
        ("gemma2", {"decode": "static", "batch": "3"}, {"cascade": None}),
    ],
    ids=["llama", "in place and in pieces", "sliding window", "learned positions", "static", "static, sliding window"],
)
def test_texts_are_those_of_generate_and_earlier_turns_are_not_computed_again(
    folder: Callable[[str], Path], family: str, options: dict[str, str], budget: dict[str, int | None]
) -> None:
    engine = open_engine(folder(family), **options)
    set_budget(engine, **budget)
    turns = list(conversed(engine))
    check(folder(family), turns)
    prompts = {result.id: result.answer.prompt_tokens or 0 for _, result in turns}
    usage = usage_of(engine)
    assert usage["prompt_tokens"] + usage["shared_tokens"] + usage["reused_tokens"] == sum(prompts.values())
    # What the turn before had as its prompt is there; what it wrote too, unless the text comes to other tokens.
    before = sum(count for key, count in prompts.items() if not key.endswith(f".{len(TURNS)}"))
    assert usage["reused_tokens"] + usage["shared_tokens"] > 0.9 * before


def test_with_little_room_nobody_waits_for_what_is_kept(tiny: Path) -> None:
    engine = open_engine(tiny, batch="3")
    set_budget(engine, cells=420, tokens=32)
    turns = list(conversed(engine))
    check(tiny, turns)
    scheduler, slots = scheduler_of(engine), runner_of(engine).slots
    assert 0 < scheduler.prefixes.cells <= 420 - slots.size
    assert set(slots.stores) == {id(prefix) for prefix in scheduler.prefixes.all()}
    assert usage_of(engine)["reused_tokens"] > 0


def test_what_many_answered_rows_leave_is_bounded_and_a_next_turn_finds_its_own(tiny: Path) -> None:
    engine = open_engine(tiny, batch="6")
    set_budget(engine, cells=20_000)
    texts(engine, [request(f"r{number}", f"{number} {number * 7919}", max_new_tokens=4) for number in range(150)])
    scheduler, slots = scheduler_of(engine), runner_of(engine).slots
    bound = max(slots.size, int(20_000 * IDLE_SHARE))
    assert bound - 100 < scheduler.prefixes.cells <= bound
    assert sum(store.length for store in slots.stores.values()) == scheduler.prefixes.cells
    before = usage_of(engine)["prompt_tokens"]
    turns = list(conversed(engine))
    check(tiny, turns)
    prompts = sum(result.answer.prompt_tokens or 0 for _, result in turns)
    earlier = sum(
        result.answer.prompt_tokens or 0 for entry, result in turns if not entry.id.endswith(f".{len(TURNS)}")
    )
    assert usage_of(engine)["prompt_tokens"] - before < prompts - 0.9 * earlier
    assert scheduler.prefixes.cells <= max(slots.size, bound)


def test_prompts_that_come_one_by_one_share_what_the_first_has_computed(tiny: Path) -> None:
    """As those of a judge: each comes when a completion is there, and the first is still being answered."""
    engine = open_engine(tiny)
    requests = [request(f"j{n}", f"{'Is it so? ' * 5}{'dog ' * n}", max_new_tokens=30) for n in range(5)]
    inbox, waiting = Inbox(requests[:1]), requests[1:]
    found: dict[str, str] = {}
    for event in engine.generate(inbox):
        if waiting and not isinstance(event, Result):
            inbox.put([waiting.pop(0)])
        if not waiting:
            inbox.close()
        if isinstance(event, Result):
            found[event.id] = event.answer.text
    assert found == reference(tiny, requests)
    usage = usage_of(engine)
    assert usage["reused_tokens"] > 3 * 0.8 * len(engine.tokenizer("Is it so? " * 5)["input_ids"])
