"""What was computed is added up: what one forward brings, and nothing for one that failed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.scheduling.plan import PrefillChunk, SchedulerOutput
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams

REQUEST = Request("r", "m", (), GenerationParams(), choices=("x",))


def row(length: int, prefix: PrefixNode | None = None) -> TokenSequence:
    made = TokenSequence(REQUEST, [1] * length, NullTokenizer(), frozenset())
    made.prefix = prefix
    return made


def metered(*plans: SchedulerOutput[AnySequence]) -> dict[str, Any]:
    meter = UsageMeter("cpu")
    for plan in plans:
        with meter.forward(plan):
            pass
    return meter.snapshot()


def some(usage: dict[str, Any], *names: str) -> list[Any]:
    return [usage[name] for name in names]


def test_rows_that_decode_bring_a_token_each() -> None:
    usage = metered(
        SchedulerOutput(decode=[row(3), row(4)]),
        SchedulerOutput(decode=[row(3), row(4), row(5)]),
        SchedulerOutput(decode=[row(3)]),
    )
    assert some(usage, "forwards", "decodes", "decode_rows", "most_rows", "generated_tokens") == [3, 3, 6, 3, 6]
    assert some(usage, "prompt_tokens", "shared_tokens", "padding_tokens") == [0, 0, 0]


def test_a_prompt_brings_its_tokens_piece_by_piece_and_a_new_one_with_the_last() -> None:
    each = row(10)
    first = metered(SchedulerOutput(pieces=[PrefillChunk(each, 0, 6, last=False)]))
    assert some(first, "forwards", "decodes", "prompt_tokens", "generated_tokens") == [1, 0, 6, 0]
    both = metered(
        SchedulerOutput(pieces=[PrefillChunk(each, 0, 6, last=False)]),
        SchedulerOutput(pieces=[PrefillChunk(each, 6, 10, last=True)]),
    )
    assert some(both, "forwards", "decodes", "prompt_tokens", "generated_tokens") == [2, 0, 10, 1]


def test_tokens_of_a_prefix_are_computed_once_and_shared_by_all_below_it() -> None:
    upper = PrefixNode((1,) * 20)
    lower = PrefixNode((1,) * 10, upper, start=20)
    rows = [row(35, lower), row(33, lower), row(24, upper)]
    pieces: list[PrefillChunk[AnySequence]] = [
        PrefillChunk(upper, 0, 20, last=True),
        PrefillChunk(lower, 20, 30, last=True),
        PrefillChunk(rows[0], 30, 35, last=True),
        PrefillChunk(rows[1], 30, 32, last=False),
    ]
    usage = metered(SchedulerOutput(pieces=pieces))
    assert some(usage, "prompt_tokens", "shared_tokens", "generated_tokens") == [37, 60 - 30, 1]
    usage = metered(
        SchedulerOutput(pieces=pieces),
        SchedulerOutput(pieces=[PrefillChunk(rows[1], 32, 33, last=True), PrefillChunk(rows[2], 20, 24, last=True)]),
    )
    assert usage["prompt_tokens"] + usage["shared_tokens"] == 35 + 33 + 24
    assert some(usage, "prompt_tokens", "shared_tokens", "generated_tokens") == [42, 50, 3]


def test_a_scored_row_brings_prompt_tokens_and_no_new_one() -> None:
    each = ScoringSequence(REQUEST, [1] * 8, [1, 1], 0)
    usage = metered(SchedulerOutput(pieces=[PrefillChunk(each, 0, 9, last=True)]))
    assert some(usage, "prompt_tokens", "generated_tokens", "decodes") == [9, 0, 0]


def test_a_forward_that_failed_counts_for_nothing() -> None:
    meter = UsageMeter("cpu")
    with pytest.raises(ZeroDivisionError), meter.forward(SchedulerOutput(decode=[row(3)])):
        raise ZeroDivisionError
    usage = meter.snapshot()
    assert not any(count for name, count in usage.items() if name not in ("peak_bytes", "chosen_threads"))


def test_what_is_counted_by_hand_is_added() -> None:
    meter = UsageMeter("cpu")
    meter.count(meter.now() - 200, prompt=10, decode=3, generated=7, padding=4)
    meter.count(meter.now() - 100, prompt=1, decode=0, generated=0)
    usage = meter.snapshot()
    assert some(usage, "forwards", "decodes", "decode_rows", "most_rows") == [2, 1, 3, 3]
    assert some(usage, "prompt_tokens", "padding_tokens", "generated_tokens") == [11, 4, 7]
    assert 300 <= usage["device_seconds"] < 360


def test_usage_is_plain_data_with_the_memory_of_the_process() -> None:
    usage = metered()
    assert json.loads(json.dumps(usage)) == usage
    assert usage["peak_bytes"] > 1 << 20
