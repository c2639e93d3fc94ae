"""Cases that ask for the plugin's fixtures alone are set up without pytest's own machinery: what users see is the same."""

from __future__ import annotations

import pytest

from pytest_evals.testing import Evals

CONFTEST = """
import pytest

def pytest_collection_finish(session):
    names = {item.originalname for item in session.items if "setup" in vars(item)}
    print("DIRECT", *sorted(names))
"""
SUITE = """
import pytest
from pytest_evals import Grade, cases, grader, graders, task

ROWS = [{"n": 0}, {"n": 1}]
ORDER = []
named = graders.contains("{{item.n}}")

@grader
def length(completion, named):
    ORDER.append("length")
    return Grade(named.passed and len(completion.text) > 3, metadata={"words": 3})

@grader
def breaks(completion):
    raise RuntimeError("no such thing")

@grader
def asking(completion, request):
    return request.node.originalname == "test_request"

@pytest.fixture
def before():
    ORDER.append("before")

@task
def doubled(case):
    return case.n * 2

@cases(ROWS, prompt="{{item.n}}")
def test_direct(length, case, completion, record):
    record("seen", completion.text)
    assert length and case.n in (0, 1) and ORDER == ["length"] * (case.n + 1)

@cases(ROWS, prompt="{{item.n}}")
class TestClass:
    def test_in_class(self, named):
        assert named

@cases(ROWS, prompt="{{item.n}}")
def test_broken(breaks):
    assert breaks

@cases(ROWS, prompt="{{item.n}}")
@pytest.mark.skip(reason="not now")
def test_skipped(breaks):
    raise AssertionError

@cases(ROWS, prompt="{{item.n}}")
def test_request(asking):
    assert asking

@cases(ROWS, prompt="{{item.n}}")
@pytest.mark.usefixtures("before")
def test_fixture(named):
    assert named and ORDER[-1] == "before"

@cases(ROWS, prompt="{{item.n}}")
@pytest.mark.parametrize("m", [1, 2])
def test_parameter(named, m):
    assert named

@cases(ROWS, prompt="{{item.n}}")
def test_task(named, doubled, case):
    assert doubled == 2 * case.n
"""
SCRIPT = """
def answer(messages):
    return "it is " + messages[-1]["content"]
"""


def test_which_cases_are_set_up_directly_and_that_they_see_and_say_the_same(
    evals: Evals, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(CONFTEST)
    evals.write(SUITE, SCRIPT)
    run = evals.run("-s", "-rs")
    run.assert_outcomes(passed=14, skipped=2, errors=2)
    run.stdout.fnmatch_lines(
        [
            "*DIRECT test_broken test_direct test_in_class test_skipped",
            "*ERROR at setup of test_broken*",
            "*raise RuntimeError(*no such thing*",
            "SKIPPED*not now",
        ]
    )
    samples = {sample.nodeid: sample for sample in evals.artifact.samples}
    direct = next(sample for name, sample in samples.items() if "test_direct" in name)
    assert direct.tasks == {"seen": "it is 0"}
    assert [grade.grader_key for grade in direct.grades] == ["named", "length"]
    broken = next(sample for name, sample in samples.items() if "test_broken" in name)
    assert (broken.outcome, broken.error and broken.error.kind) == ("errored", "grader")
    # What shows fixtures, and a plugin that hears of them, leaves the setup to pytest.
    shown = evals.run("--setup-show", "-k", "test_direct")
    shown.stdout.fnmatch_lines(["*SETUP    F named*", "*SETUP    F length*"])
    pytester.makeconftest(
        f"{CONFTEST}\ndef pytest_fixture_setup(fixturedef):\n    print('HEARD', fixturedef.argname)\n"
    )
    heard = evals.run("-s", "-k", "test_direct")
    heard.assert_outcomes(passed=2)
    heard.stdout.fnmatch_lines(["*DIRECT", "*HEARD named*"])
