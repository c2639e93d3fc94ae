"""Similarity of embeddings: the library's own values, from a process that the tests' does not share."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.engines.embeddings import EmbeddingEngine, LoadedEmbedder
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError, SuiteError
from pytest_evals.generation import GenerationParams
from pytest_evals.graders.metrics import embeddings

from .conftest import Evals

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("wordllama") is None, reason="needs: pip install 'pytest-evals-hf[embeddings]'"
)

# In a process of its own, because importing wordllama sets up logging, and sentence-transformers brings torch.
COMPARE = """
from benchmarks.metrics_table import differences, embedding_comparisons, pairs
for each in embedding_comparisons():
    print("compared:", differences(each, list(pairs(24, seed=3)))[0])
"""
SUITE = """
import sys
from pytest_evals import cases, graders
close = graders.embedding_similarity("item.reference", threshold=0.5)
ROWS = [
    {"id": "like", "completion": "The cat sleeps on the sofa.", "reference": ["A cat is sleeping on the couch.", "Rome"]},
    {"id": "unlike", "completion": "Interest rates rose.", "reference": "A cat is sleeping on the couch."},
    {"id": "empty", "completion": "", "reference": "A cat is sleeping on the couch."},
]
@cases(ROWS, id="id", gates=["close.max > 0.7", "close.min < 0.1"])
def test_it(close):
    assert not {"wordllama", "numpy", "torch"} & set(sys.modules)
    assert close
"""


def test_values_are_those_of_the_library() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=True)
    found = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("compared:")]
    assert found
    assert max(found) < 1e-6  # the libraries compute in single precision


def test_a_suite_is_graded_by_similarity(evals: Evals) -> None:
    evals.write(SUITE)
    evals.run(model=None).assert_outcomes(passed=1, xfailed=2)
    grades = {sample.case_id: sample.grades[0] for sample in evals.artifact.samples}
    assert [grades[name].passed for name in ("like", "unlike", "empty")] == [True, False, False]
    assert grades["empty"].value == 0
    assert grades["like"].metadata["definition"].startswith("cosine, wordllama ")
    assert "couch" in (grades["like"].reasoning or "")
    (call,) = evals.artifact.samples[0].calls
    assert (call.handle, call.model) == ("encoder", "encoder:wordllama?head=embedding&device=cpu")
    evals.run("--evals-replay", "run.jsonl", "--evals-artifact", "again.jsonl", model=None).assert_outcomes(
        passed=1, xfailed=2
    )


def test_a_model_that_is_not_there_is_refused_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "require", lambda *_: None)
    with pytest.raises(SuiteError, match=r"no model in .*nowhere: it has neither modules\.json nor config\.json"):
        graders.embedding_similarity("a", model="./nowhere")
    with pytest.raises(SuiteError, match="threshold must be a number from -1 to 1"):
        graders.embedding_similarity("a", threshold=2)
    (tmp_path / "modules.json").touch()
    assert embeddings.check_model("./", tmp_path) == str(tmp_path.resolve())
    assert embeddings.check_model("org/name", tmp_path) == "org/name"


def test_what_cases_have_in_common_is_embedded_once_for_all_of_them(tmp_path: Path) -> None:
    embedded: list[list[str]] = []

    def embed(texts: Sequence[str]) -> list[list[float]]:
        embedded.append(list(texts))
        if "broken" in texts:
            raise ValueError("no such word")
        return [[float(len(text)), 1.0] if text else [0.0, 0.0] for text in texts]

    def asked(key: str, *texts: str) -> Request:
        messages: Any = tuple({"role": "user", "content": text} for text in texts)
        return Request(key, "encoder:m?head=embedding", messages, GenerationParams())

    def answers(*requests: Request) -> dict[str, Result]:
        events = engine.generate(Inbox(requests, closed=True))
        return {event.id: event for event in events if isinstance(event, Result)}

    engine = EmbeddingEngine(LoadedEmbedder(embed, lambda text: len(text) > 4, "cpu"), {"engine": "embeddings"})
    found = answers(asked("a", "cat", "dog", "horse"), asked("b", "dog", "cat"), asked("c", "", "cat"))
    assert embedded == [["cat", "dog", "horse", ""]]
    scores = found["a"].answer.scores or {}
    assert scores["0"] == pytest.approx(1)
    assert scores["1"] < 1
    assert [found[key].answer.finish_reason for key in "abc"] == ["length", "stop", "stop"]
    assert found["c"].answer.scores == {"0": 0.0}, "there is nothing to embed in it"
    broken = answers(asked("d", "broken", "cat"))["d"].error
    assert broken is not None
    assert broken.message == "the model failed: ValueError: no such word"
    with pytest.raises(ModelError, match=r"neither modules\.json nor config\.json"):
        parse_spec("encoder:./nowhere?head=embedding", tmp_path)
