"""Similarity of embeddings: the library's own values, from a process that the tests' does not share."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.metrics_table import pairs
from pytest_evals import graders
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.graders.metrics import embeddings
from pytest_evals.graders.metrics.embeddings import Encoder, embedding_similarity

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


def test_an_encoder_that_ended_starts_again_and_one_that_cannot_start_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = Encoder("wordllama", "cpu")
    first = encoder.similarities("a cat", ["a dog"])
    assert encoder._process is not None
    encoder._process.kill()
    with pytest.raises(EvalsError, match="the embedding model 'wordllama' failed: its process ended with status -9"):
        encoder.similarities("a cat", ["a dog"])
    assert encoder.similarities("a cat", ["a dog"]) == first
    encoder.close()
    monkeypatch.setattr(embeddings, "HOST", Path("nowhere.py"))
    broken = Encoder("wordllama", "cpu")
    with pytest.raises(EvalsError, match="its process ended with status 2"):
        broken.similarities("a", ["b"])
    started = broken._process
    with pytest.raises(EvalsError, match="its process ended with status 2"):
        broken.similarities("a", ["b"])
    assert broken._process is started is None


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


def test_the_most_similar_reference_counts() -> None:
    text, references = next(pair for pair in pairs(8, seed=5) if len(pair[1]) > 2)
    single = [embedding_similarity(text, [each], model="wordllama", device="cpu").value for each in references]
    assert embedding_similarity(text, references, model="wordllama", device="cpu").value == pytest.approx(max(single))
