"""Several models on one device take turns, and what is wrong with one is known before any is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_evals.artifact import EvaluationArtifact

SUITE = """
from pytest_evals import cases, grader

@grader
def length(completion):
    return completion.completion_tokens

@cases([{"id": f"c{n}", "q": "fox " * n} for n in range(1, 6)], prompt="{{item.q}}", id="id", generation={"max_new_tokens": 6})
def test_it(length): ...
"""


@pytest.mark.parametrize("workers", [("-p", "no:xdist"), ("-n", "2")])
def test_each_is_loaded_when_the_one_before_is_done(
    pytester: pytest.Pytester, tiny: Path, other: Path, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(SUITE)
    models = [f"--evals-model={tiny}", f"--evals-model={other}"]
    result = pytester.runpytest_subprocess("--evals", "--evals-artifact=run.jsonl", *models, *workers)
    result.assert_outcomes(passed=10)
    result.stdout.fnmatch_lines(["*tiny-llama0: loaded*", "*tiny-llama0: done, unloading*", "*tiny-gpt0: loading*"])
    artifact = EvaluationArtifact.load(pytester.path / "run.jsonl")
    assert {row["model"]: (row["n"], row["mean"]) for row in artifact.scores()} == {
        str(tiny): (5, 6.0),
        str(other): (5, 6.0),
    }


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
