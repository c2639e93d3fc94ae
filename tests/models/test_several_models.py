"""Several models on one device, several copies of one, one copy for several: who is loaded when, and that nothing of a
result depends on it.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.deferred_loading import predicted_info
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.replica import Replica
from pytest_evals.reuse.cache import Cache

from .conftest import FAMILIES, OPTIONS, answers, make_tokenizer, open_engine, reference, request, save_model

PATIENCE = 120
"""Seconds within which a tiny model has surely been loaded, also on a busy machine."""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[EnginePool]:
    """A pool as pytest's own process has one."""
    pool = EnginePool(tmp_path, {**OPTIONS, "exact": False})
    yield pool
    pool.close()


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how much memory is free."""

    def set_memory(free: int) -> None:
        monkeypatch.setattr("pytest_evals.engines.device_scheduler.free_memory", lambda: free)

    return set_memory


@pytest.fixture(scope="session")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny qwen2: its size can be read from its files, other than that of a gpt2."""
    return save_model(tmp_path_factory.mktemp("tiny-qwen"), FAMILIES["qwen2"]())


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama without a chat template."""
    return save_model(tmp_path_factory.mktemp("tiny-base"), FAMILIES["llama"](), make_tokenizer(None))


def ask(model: str, prefix: str, count: int, tokens: int = 8) -> list[Request]:
    return [
        dataclasses.replace(request(f"{prefix}{number}", f"fox {number} " * number, max_new_tokens=tokens), model=model)
        for number in range(1, count + 1)
    ]


def results(pool: EnginePool, requests: Sequence[Request]) -> dict[str, Result]:
    pool.submit(requests)
    found = {}
    for entry in requests:
        result = pool.result(entry, timeout=PATIENCE)
        assert result is not None
        assert result.error is None
        found[entry.id] = result
    return found


def texts(pool: EnginePool, requests: Sequence[Request]) -> dict[str, str]:
    return {key: result.answer.text for key, result in results(pool, requests).items()}


def copies(pool: EnginePool, model: str) -> list[Replica]:
    return pool.replica_sets()[model].replicas


def pid(replica: Replica) -> int:
    assert replica.process is not None
    return replica.process.pid


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- several models


def test_with_little_memory_one_is_unloaded_before_the_next_is_loaded(
    pool: EnginePool, tiny: Path, other: Path, memory: Callable[[int], None]
) -> None:
    memory(0)
    first, second = ask(str(tiny), "a", 4), ask(str(other), "b", 4)
    pool.prepare(str(tiny))
    pool.submit([request for pair in zip(first, second, strict=True) for request in pair])
    assert texts(pool, second) == reference(other, second)
    assert texts(pool, first) == reference(tiny, first)
    assert [replica.state for replica in copies(pool, str(tiny))] == ["stopped"]
    told = [note for note in pool.notes if "starting" in note or "unloading" in note]
    one, two = (copies(pool, str(folder))[0].label for folder in (tiny, other))
    assert told == [f"{one}: starting the engine", f"{one}: done, unloading", f"{two}: starting the engine"]
    assert pool.incidents == []


def test_with_enough_memory_both_stay_loaded_and_one_works_at_a_time(
    pool: EnginePool, tiny: Path, third: Path, memory: Callable[[int], None]
) -> None:
    memory(10**12)
    first, second = ask(str(tiny), "a", 4), ask(str(third), "b", 4)
    pool.submit([request for pair in zip(first, second, strict=True) for request in pair])
    wait_until(lambda: len(pool._results._kept) == len(first) + len(second))
    # Results stand in the order in which they came: those of one model, then those of the third.
    assert [key[0] for key in pool._results._kept] == ["a"] * 4 + ["b"] * 4
    results(pool, [*first, *second])
    pids = [pid(copies(pool, str(folder))[0]) for folder in (tiny, third)]
    again, after = ask(str(tiny), "c", 2), ask(str(third), "d", 2)
    assert texts(pool, again) == reference(tiny, again)
    assert texts(pool, after) == reference(third, after)
    assert [pid(copies(pool, str(folder))[0]) for folder in (tiny, third)] == pids
    assert not [note for note in pool.notes if "unloading" in note]


def test_a_model_of_which_all_is_known_is_not_loaded(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "kept"))
    folder, options = tmp_path / "model", {**OPTIONS, "exact": False}
    shutil.copytree(tiny, folder)
    asked = ask(str(folder), "a", 4)
    found = []
    for expected in ("starting", "stopped"):
        cache = Cache(tmp_path, writes=True)
        pool = EnginePool(tmp_path, options, memory=AnswerCache(tmp_path, sources=[cache], answer_store=cache))
        pool.prepare(str(folder))
        found.append(texts(pool, asked))
        assert any("starting" in note for note in pool.notes) == (expected == "starting")
        replica_set = pool.replica_sets()[str(folder)]
        if expected == "starting":
            loaded = replica_set.replicas[0].info
        pool.close()
        cache.close()
    assert found[0] == found[1]
    assert loaded is not None
    assert replica_set.predicted_info == dataclasses.replace(loaded, device=None, notes=(), rows=None, seconds=0.0)
    # Other weights are another model, whatever was kept of these.
    assert predicted_info(str(folder), tmp_path, options) is not None
    assert predicted_info(str(folder), tmp_path, {**options, "dtype": "bf16"}) is None
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert predicted_info(str(folder), tmp_path, options) is None


SUITE = """
from pytest_evals import cases, grader

@grader
def length(completion):
    return completion.completion_tokens

@cases([{"id": f"c{n}", "q": "fox " * n} for n in range(1, 6)], prompt="{{item.q}}", id="id", generation={"max_new_tokens": 6})
def test_it(length): ...
"""


@pytest.mark.parametrize("workers", [("-p", "no:xdist"), ("-n", "2")], ids=["plain", "xdist"])
def test_each_is_loaded_when_the_one_before_is_done(
    pytester: pytest.Pytester, tiny: Path, other: Path, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(SUITE)
    pytester.makeconftest("import pytest_evals.engines.pool as pool\n\npool.free_memory = lambda: 0\n")
    models = [f"--evals-model={tiny}", f"--evals-model={other}"]
    result = pytester.runpytest_subprocess("--evals", "--evals-artifact=run.jsonl", *models, *workers)
    result.assert_outcomes(passed=10)
    one, two = tiny.name, other.name
    result.stdout.fnmatch_lines([f"*{one}: loaded*", f"*{one}: done, unloading*", f"*{two}: starting the engine*"])
    artifact = EvaluationArtifact.load(pytester.path / "run.jsonl")
    assert {row["model"]: (row["n"], row["mean"]) for row in artifact.scores()} == {
        str(tiny): (5, 6.0),
        str(other): (5, 6.0),
    }
    assert artifact.summary is not None
    uses = {use["model"]: use for use in artifact.summary.throughput["models"]}
    assert {model: (use["completions"], use["completion_tokens"]) for model, use in uses.items()} == {
        str(tiny): (5, 30),
        str(other): (5, 30),
    }
    for use in uses.values():
        # What the engines account for has arrived.
        assert use["usage"]["generated_tokens"] == 30
        assert use["rows"] > 1
        assert use["loading_seconds"] > 0
        assert 0 < use["occupancy"] <= 1


# -- several copies


def test_two_replicas_give_the_texts_of_one_and_share_the_work(pool: EnginePool, tiny: Path) -> None:
    model = f"{tiny}?replicas=2&batch=2"
    requests = ask(model, "a", 24)
    expected = reference(tiny, requests)
    pool.prepare(model)
    wait_until(lambda: all(replica.state == "ready" for replica in copies(pool, model)))
    assert texts(pool, requests) == expected
    first, second = copies(pool, model)
    assert first.done + second.done == len(requests)
    assert min(first.done, second.done) > 0
    assert pid(first) != pid(second)
    # The same once more, while one of them dies at work.
    later = [dataclasses.replace(entry, id=f"again-{entry.id}") for entry in requests]
    done = second.done
    pool.submit(later)
    wait_until(lambda: second.done > done)
    kill(second)
    assert texts(pool, later) == {f"again-{key}": text for key, text in expected.items()}
    assert [incident for incident in pool.incidents if "(replica 2): an engine process ended by SIGKILL" in incident]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_process_that_is_killed_at_work_costs_no_result(pool: EnginePool, tiny: Path) -> None:
    model = f"{tiny}?batch=4"
    requests = ask(model, "a", 16, tokens=40)
    pool.submit(requests)
    # In the midst: some are finished, others are not.
    (replica,) = copies(pool, model)
    wait_until(lambda: replica.done > 0)
    assert replica.done < len(requests)
    before = pid(replica)
    kill(replica)
    assert texts(pool, requests) == reference(tiny, requests)
    assert pid(replica) != before
    (incident,) = pool.incidents
    assert "an engine process ended by SIGKILL (out of memory?)" in incident


def test_a_process_that_has_nothing_left_to_do_ends_by_itself(pool: EnginePool, tiny: Path) -> None:
    (entry,) = ask(str(tiny), "a", 1)
    assert texts(pool, [entry]) == reference(tiny, [entry])
    (replica,) = copies(pool, str(tiny))
    process = replica.process
    assert process is not None
    pool.close()
    assert process.wait(0) == 0
    assert pool.incidents == []


def kill(replica: Replica) -> None:
    os.kill(pid(replica), signal.SIGKILL)


# -- one copy


def test_models_that_differ_in_their_template_use_one_process(pool: EnginePool, tiny: Path) -> None:
    chat, plain = str(tiny), f"{tiny}?template=none"
    # The same conversations, and yet other prompts.
    first, second = ask(chat, "a", 4), [dataclasses.replace(entry, model=plain) for entry in ask(chat, "b", 4)]
    pool.submit([*first, *second])
    expected = {key: result.answer.text for key, result in answers(open_engine(tiny, "?template=none"), second).items()}
    assert texts(pool, first) == reference(tiny, first)
    assert texts(pool, second) == expected
    assert list(expected.values()) != list(reference(tiny, first).values())
    assert copies(pool, chat) is copies(pool, plain)
    assert [note for note in pool.notes if "starting" in note] == [f"{tiny.name}: starting the engine"]


def test_a_base_model_without_a_template_is_loaded_with_template_none(pool: EnginePool, base: Path) -> None:
    requests = ask(f"{base}?template=none", "a", 2)
    expected = {
        key: result.answer.text for key, result in answers(open_engine(base, "?template=none"), requests).items()
    }
    assert texts(pool, requests) == expected


# -- what is wrong with a model is known before any is loaded


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("*.safetensors", "*holds no weights*"),
        ("chat_template.jinja", "*has no chat template*?template=none*"),
        ("config.json", "*has no config.json*"),
        ("tokenizer*.json", "*has no tokenizer*"),
    ],
)
def test_an_incomplete_folder_is_a_usage_error(
    pytester: pytest.Pytester, tiny: Path, tmp_path: Path, missing: str, message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    for path in folder.glob(missing):
        path.unlink()
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("--evals", f"--evals-model={folder}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
