"""A model divided over two processes answers as a whole one does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError

from .conftest import OPTIONS, open_engine, request, texts

TEXTS = ["a", "the quick brown fox", "What is the capital of France?", "0123 " * 9, "zebra " * 25]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[EnginePool]:
    pool = EnginePool(tmp_path, {**OPTIONS, "exact": False})
    yield pool
    pool.close()


def asked(model: str, new_tokens: int = 12) -> list[Request]:
    """Greedy and sampled requests, of several lengths."""
    made = [
        request(f"{model}-{index}", text, max_new_tokens=new_tokens + index, temperature=0.7 * (index % 2), seed=index)
        for index, text in enumerate(TEXTS)
    ]
    return [Request(each.id, model, each.messages, each.params) for each in made]


def results(pool: EnginePool, requests: list[Request]) -> list[Result]:
    pool.submit(requests)
    found = [pool.result(entry, timeout=120) for entry in requests]
    assert all(result is not None for result in found)
    return [result for result in found if result is not None]


def further_ranks() -> list[psutil.Process]:
    """The further ranks that this process's engines started."""
    children = psutil.Process().children(recursive=True)
    return [
        child
        for child in children
        if any(part.endswith("transformers.tensor_parallel_worker") for part in child.cmdline())
    ]


def test_two_ranks_give_the_texts_of_one_and_leave_with_the_engine(pool: EnginePool, tiny: Path) -> None:
    whole = texts(open_engine(tiny), asked(str(tiny)))
    divided = results(pool, asked(f"{tiny}?tp=2"))
    assert all(result.error is None for result in divided)
    assert [result.answer.text for result in divided] == [whole[f"{tiny}-{index}"] for index in range(len(TEXTS))]
    left = further_ranks()
    assert len(left) == 1
    pool.close()
    _gone, alive = psutil.wait_procs(left, timeout=60)
    assert not alive


def test_a_rank_that_dies_takes_the_engine_along_and_nothing_is_lost(pool: EnginePool, tiny: Path) -> None:
    first = results(pool, asked(f"{tiny}?tp=2", new_tokens=2))
    assert all(result.error is None for result in first)
    for process in further_ranks():
        process.kill()
    deadline = time.monotonic() + 120
    while not pool.incidents and time.monotonic() < deadline:
        time.sleep(0.1)
    again = results(
        pool,
        [Request(f"again-{entry.id}", entry.model, entry.messages, entry.params) for entry in asked(f"{tiny}?tp=2")],
    )
    assert all(result.error is None for result in again)
    assert any("an engine process ended" in incident for incident in pool.incidents)


def test_more_ranks_than_the_option_allows_are_refused(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(ModelError, match="tp must be a whole number from 1 to 99"):
        parse_spec(f"{tiny}?tp=0", tmp_path)
