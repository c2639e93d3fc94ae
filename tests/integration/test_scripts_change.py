"""A script is what it imports from the project: after a change of a helper, answers of before are not its own."""

from __future__ import annotations

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

new = graders.contains("new")

@cases([{"id": "a"}, {"id": "b"}], prompt="{{item.id}}", id="id")
def test_app(new):
    assert new
"""
SCRIPTS = {
    "import": ("import helper\n\ndef answer(messages):\n    return helper.PREFIX\n", "helper.py"),
    "lazily": ("def answer(messages):\n    from helper import PREFIX\n    return PREFIX\n", "helper.py"),
    "package": ("from pack.parts import PREFIX\n\ndef answer(messages):\n    return PREFIX\n", "pack/parts.py"),
    "function": ("from helper import answer\n", "helper.py"),
    "indirect": ("from middle import PREFIX\n\ndef answer(messages):\n    return PREFIX\n", "helper.py"),
}


def write(evals: Evals, script: str, helper: str, prefix: str) -> None:
    evals.write(SUITE, script, middle__py="from helper import PREFIX\n")
    path = evals.pytester.path / helper
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'PREFIX = "{prefix}"\n\ndef answer(messages):\n    return PREFIX\n', encoding="utf-8")


@pytest.mark.parametrize("form", SCRIPTS)
def test_a_changed_helper_makes_another_model_for_cache_and_resume(evals: Evals, form: str) -> None:
    script, helper = SCRIPTS[form]
    write(evals, script, helper, "old")
    evals.run("--evals-cache=write").assert_outcomes(failed=2)
    evals.path.rename(evals.pytester.path / "old.jsonl")
    same = " ".join(evals.run("--evals-resume=old.jsonl").stdout.str().split())
    assert "2 completions taken over, none generated" in same
    write(evals, script, helper, "new")
    cached = evals.run("--evals-cache=read")
    cached.assert_outcomes(passed=2)
    assert "0 completions taken from it" in " ".join(cached.stdout.str().split())
    resumed = evals.run("--evals-resume=old.jsonl")
    resumed.assert_outcomes(passed=2)
    assert "0 completions taken over, 2 generated (2 with another model)" in " ".join(resumed.stdout.str().split())


def test_what_cannot_be_told_from_its_modules_is_said_where_answers_are_taken_over(evals_both: Evals) -> None:
    script = "from pathlib import Path\n\ndef answer(messages):\n    return Path('data.txt').read_text()\n"
    evals_both.write(SUITE, script, data__txt="old")
    evals_both.run().assert_outcomes(failed=2)
    evals_both.path.rename(evals_both.pytester.path / "old.jsonl")
    text = " ".join(evals_both.run("--evals-resume=old.jsonl").stdout.str().split())
    assert "2 completions taken over" in text
    assert (
        "scripted:script:answer: answers from before count as its own while its modules stay the same; what else it reads"
        in text
    )
    assert "(script.py:4) may have changed since" in text
    assert "may have changed since" not in evals_both.run().stdout.str()
