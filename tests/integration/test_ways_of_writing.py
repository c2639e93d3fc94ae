"""What pytest users write beside the examples: classes, parameters, skips, xfails, async tests, and slips."""

from __future__ import annotations

from .conftest import Evals

SHARED = """
from pytest_evals import grader, graders, task

good = graders.contains("never")

@task
async def draft(case):
    return "shared"
"""
WAYS = """
import pytest

from pytest_evals import cases, grader, graders, task

ROWS = [{"id": "a", "text": "apple"}, {"id": "b", "text": "banana"}]
only_a = graders.contains("apple", run_if="item.id == 'a'")

@task
async def doubled(case, times):
    return case.text * times

@pytest.mark.parametrize("times", [1, 2])
@cases(ROWS, id="id")
def test_parameters(doubled, case, times):
    assert doubled == case.text * times

@cases(ROWS, id="id", prompt="{{item.text}}")
class TestInClasses:
    good = graders.contains("{{item.text}}")
    both = graders.all_of("good", "ours")

    @grader
    def ours(self, completion):
        return isinstance(self, TestInClasses)

    @task
    async def draft(draft, case):
        return f"{draft} {case.id}"

    def test_own(self, good, both, draft, case):
        assert good and both and draft == f"shared {case.id}"

class TestBeside:
    @cases(ROWS, id="id", prompt="{{item.text}}")
    def test_shared(self, good, draft):
        assert not good and draft == "shared"

@cases(ROWS, id="id", prompt="{{item.text}}")
@pytest.mark.xfail(reason="known", strict=True)
def test_known(case):
    assert case.id == "a"

@cases(ROWS, id="id", prompt="{{item.text}}")
def test_not_for_all(only_a):
    assert only_a

@cases(ROWS[:1], id="id", prompt="{{item.text}}", gates=["good.mean >= 0"])
async def test_async(good):
    assert False
"""


# A plugin may run async tests, and this one does not run them.
OTHER_RUNNER = """
def pytest_pyfunc_call(pyfuncitem): pass
"""


def test_what_pytest_users_write_works_and_what_does_not_says_why(evals_both: Evals) -> None:
    evals_both.write(
        WAYS, script="def answer(messages):\n    return messages[-1]['content']\n", conftest__py=SHARED + OTHER_RUNNER
    )
    result = evals_both.run("-rs", "-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(passed=9, failed=2, xfailed=1, skipped=1)
    found = {sample.nodeid.partition("::")[2]: sample for sample in evals_both.artifact.samples}
    assert {name: sample.outcome for name, sample in found.items() if sample.outcome != "passed"} == {
        "test_known[a]": "failed", "test_known[b]": "missed", "test_not_for_all[b]": "skipped", "test_async[a]": "errored"
    }  # fmt: skip
    assert found["test_parameters[b-2]"].tasks == {"doubled": "bananabanana"}
    # A gate does not make a miss of a test that nobody ran.
    error = found["test_async[a]"].error
    assert error is not None
    assert error.message.startswith(
        "SuiteError: the test is async, and no plugin that runs such tests is in charge of it;"
    )
    # Skipped where the test stands, not where this package says so.
    result.stdout.fnmatch_lines(["SKIPPED [[]1[]] test_suite.py:*only_a does not apply to this case*"])


SLIPS = """
import pytest

from pytest_evals import cases, grader, graders, task

@task
async def draft(case, model):
    answer = model.generate("x")
    return answer.text

@grader
def worded(completion):
    return "yes"

@grader
async def unawaited(judge):
    return judge.generate("x")

@cases([{"id": "draft"}], id="id", prompt="q")
def test_draft(draft): ...

@cases([{"id": "worded"}], id="id", prompt="q")
def test_worded(worded): ...

@cases([{"id": "unawaited"}], id="id", prompt="q")
def test_unawaited(unawaited): ...

def test_ordinary(case): ...
"""


def test_a_slip_is_told_in_a_sentence_without_the_frames_of_this_package(evals: Evals) -> None:
    evals.write(SLIPS)
    result = evals.run("--evals-judge", "scripted:script:answer")
    result.assert_outcomes(errors=4)
    output = result.stdout.str()
    for sentence in (
        "AttributeError: this is a call on its way, which has no 'text': await it, or take its result()",
        "GradeError: grader 'worded' returned str ('yes'); a grader returns a bool, a finite number, a Grade, a dict of these, or None",
        "GradeError: grader 'unawaited' returned PendingCall, which has yet to be waited for; await it in an async grader, or take its result()",
        "the fixture 'case' is for evals: put @cases(...) on test_suite.py::test_ordinary, and run it with --evals",
    ):
        assert sentence in output
    assert ">       return answer.text" in output
    assert "pytest_evals/" not in output.partition("score card")[0].partition("= ERRORS =")[2]
