"""``--evals-artifact`` with an address: written here, and uploaded at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

exact = graders.exact_match("item.id")

@cases([{"id": "a"}, {"id": "b"}], prompt="{{item.id}}", id="id")
def test_it(exact):
    assert exact
"""


def test_the_artifact_is_written_here_and_uploaded(evals: Evals, tmp_path: Path) -> None:
    evals.write(SUITE, "def answer(messages):\n    return messages[-1]['content']\n")
    run = ("--evals", "--evals-model=scripted:script:answer")
    away = tmp_path / "bucket" / "new" / "run.jsonl"
    result = evals.pytester.runpytest_subprocess(*run, f"--evals-artifact=file://{away}")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    result.stdout.fnmatch_lines(["artifact: .evals/*.jsonl", f"artifact uploaded: file://{away}"])
    assert [sample.case_id for sample in EvaluationArtifact.load(away).samples] == ["a", "b"]
    (here,) = (evals.pytester.path / ".evals").glob("*.jsonl")
    assert here.read_bytes() == away.read_bytes()
    assert not list(evals.pytester.path.glob("file:*")), "no folder is called like a scheme"
    (tmp_path / "taken").touch()
    result = evals.pytester.runpytest_subprocess(*run, f"--evals-artifact=file://{tmp_path}/taken/run.jsonl")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["artifact not uploaded to file://*/taken/run.jsonl (*); it is whole here: .evals/*.jsonl"]
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/run.jsonl", "fsspec knows no addresses of the kind s4://"),
        ("oci://bucket/run.jsonl", "oci:// cannot be used: *ocifs*"),
        ("memory://", "memory:// names no file; write memory://FOLDER/run.jsonl"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_before_anything_runs(evals: Evals, url: str, said: str) -> None:
    evals.write(SUITE)
    result = evals.pytester.runpytest_subprocess("--evals", f"--evals-artifact={url}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--evals-artifact: {said}*"])
