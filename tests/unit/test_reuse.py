"""Answers from before: when two requests are the same, and the cache."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion, Failure, Likelihood, Origin
from pytest_evals.engines.answer_cache import AnswerCache, AnswerKey, model_digest, request_key
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import EvalsError
from pytest_evals.generation import GenerationParams
from pytest_evals.reuse.cache import Cache, check_folder, clear, connect, measure, shrink

SAMPLED = GenerationParams(temperature=1.0, seed=1)


def ask(key: str = "a", text: str = "x", params: GenerationParams = SAMPLED, **more: Any) -> Request:
    return Request(key, "smollm2", ({"role": "user", "content": text},), params, **more)


def key_of(request: Request, *, deterministic: bool = True) -> AnswerKey:
    return request_key(request, "f00", deterministic=deterministic)


def test_only_what_was_asked_counts() -> None:
    assert key_of(ask("a")) == key_of(ask("b"))
    others = [
        ask(text="y"),
        ask(params=replace(SAMPLED, seed=2)),
        ask(params=replace(SAMPLED, max_new_tokens=9)),
        ask(choices=("x",)),
    ]
    assert len({str(key_of(request)) for request in [ask(), *others]}) == 5
    assert key_of(others[0]).parameters == key_of(ask()).parameters
    assert key_of(others[1]).prompt == key_of(ask()).prompt
    assert AnswerKey.parse(str(key_of(ask()))) == key_of(ask())
    assert [AnswerKey.parse(text) for text in (None, "", "a-b", 3)] == [None] * 4


def test_a_seed_tells_greedy_requests_apart_only_where_the_engine_may_answer_differently() -> None:
    first, second = (ask(params=GenerationParams(seed=seed)) for seed in (None, 5))
    assert key_of(first) == key_of(second)
    assert key_of(first, deterministic=False) != key_of(second, deterministic=False)


def test_a_model_is_its_identity_and_the_template_that_it_is_given(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    spec = ModelSpec(f"smollm2?template={template}", "hf", "smollm2", None, {"template": str(template)})
    found = []
    for text in ("one", "two"):
        template.write_text(text, encoding="utf-8")
        found.append(model_digest({"weights": "f00"}, spec))
    plain = ModelSpec("smollm2", "hf", "smollm2")
    found += [model_digest({"weights": weights}, plain) for weights in ("f00", "f01")]
    found.append(model_digest({"weights": "f00"}, plain, exact=True))
    assert len(set(found)) == 5


def test_a_memory_keeps_what_was_computed_and_recalls_it_for_nobody_who_wants_it_computed(tmp_path: Path) -> None:
    cache, info = Cache(tmp_path, writes=True), EngineInfo(identity={"weights": "f00"})
    memory = AnswerCache(tmp_path, sources=[cache], answer_store=cache)
    assert memory.lookup(ask("a"), info) is None
    assert memory.lookup(ask("bad", "y"), info) is None
    computed = memory.store(Result("a", Completion("text", likelihoods=(Likelihood("x", -1.5, 2, 3),), queued=3.0)))
    digest = model_digest({"weights": "f00"}, ModelSpec("smollm2", "hf", "smollm2"))
    origin = Origin(str(request_key(ask(), digest, deterministic=True)))
    assert computed.answer.origin == origin
    memory.store(Result("bad", error=Failure("model", "refused")))
    again = memory.lookup(ask("b"), info)
    assert again == Result("b", replace(computed.answer, origin=replace(origin, source="cache"), queued=None))
    assert memory.lookup(ask("bad", "y"), info) is None
    assert memory.lookup(ask("c", alone=True), info) is None
    assert memory.lookup(ask("b"), EngineInfo(identity={"weights": "f01"})) is None


def key(number: int) -> AnswerKey:
    return AnswerKey("m", "p", str(number))


def test_two_runs_may_write_at_once(tmp_path: Path) -> None:
    caches = [Cache(tmp_path, writes=True) for _ in range(2)]

    def write(cache: Cache, first: int) -> None:
        for number in range(first, first + 200):
            cache.keep(key(number), Completion(f"text {number}"))

    threads = [threading.Thread(target=write, args=(cache, 100 * index)) for index, cache in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = Cache(tmp_path, writes=False)
    texts = [found.text if (found := reader.find(key(number), ask())) else None for number in range(300)]
    assert texts == [f"text {number}" for number in range(300)]
    reader.keep(key(999), Completion("not written"))
    for cache in (*caches, reader):
        cache.close()
        assert cache.problem is None
    assert measure(caches[0].path)[0] == 300


def test_what_was_not_used_for_the_longest_time_makes_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path, writes=True, most_bytes=1000)
    for number in range(20):
        cache.keep(key(number), Completion("x" * 100))
    cache.find(key(0), ask())
    cache.close()
    count, size = measure(cache.path)
    assert (size <= 1000, count) == (True, 6)
    again = Cache(tmp_path, writes=False)
    assert [again.find(key(number), ask()) is not None for number in (0, 1, 19)] == [True, False, True]
    again.close()


def test_a_cache_that_breaks_is_not_used_and_can_be_removed(tmp_path: Path) -> None:
    check_folder(tmp_path / "new")
    cache = Cache(tmp_path / "new", writes=True)
    cache.keep(key(1), Completion("text"))
    assert cache._database is not None
    cache._database.execute("DROP TABLE answers")
    assert cache.find(key(1), ask()) is None
    cache.keep(key(2), Completion("text"))
    cache.close()
    (note,) = cache.notes("nothing")
    assert "is not used: no such table: answers; 'pytest-evals cache clear' removes it" in note
    assert [clear(tmp_path / "new"), clear(tmp_path / "new")] == [True, False]
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(EvalsError, match="cannot be written"):
        check_folder(tmp_path / "file")


def test_a_cache_that_fits_is_left_alone(tmp_path: Path) -> None:
    database = connect(tmp_path / "answers.sqlite3", writes=True)
    assert shrink(database, 0) == 0
    database.close()
    with pytest.raises(sqlite3.Error):
        measure(tmp_path / "none.sqlite3")
