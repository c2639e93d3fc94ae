"""A grader or task that a test uses and did not ask for is an error in words, never true or false."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals import grader, graders, task
from pytest_evals.errors import SuiteError

from .conftest import Evals

SUITE = """
from pytest_evals import cases, grader, graders, task

exact = graders.exact_match("Paris")

@grader
def short(completion):
    return len(completion.text) < 9

@grader
async def slow(completion):
    return True

@task
async def draft(model):
    return "x"

class Holder:
    exact = graders.exact_match("Paris")

def helper(value):
    return {use}

@cases([{{"id": "a"}}], prompt="France?", id="id", gates=["short.mean >= 0"])
def test_it({arguments}):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("assert exact", "exact"),
        ("assert not exact", "exact"),
        ("assert exact == 1", "exact"),
        ("assert exact is True", "exact"),
        ("assert exact(completion)", "exact"),
        ("assert exact.passed", "exact"),
        ("assert all([short, exact])", "exact"),
        ("assert any(one for one in (exact,))", "exact"),
        ("assert (lambda: exact)()", "exact"),
        ("assert slow", "slow"),
        ("assert draft == 'x'", "draft"),
        ("helper(exact)", "exact"),
    ],
)
def test_a_test_that_uses_a_grader_of_its_module_without_asking_is_an_error_of_collection(
    evals: Evals, body: str, named: str
) -> None:
    evals.write(SUITE.format(arguments="short, completion", body=body, use="True"))
    result = evals.run()
    kind = "task" if named == "draft" else "grader"
    said = " ".join(result.stdout.str().split())
    assert f"test_it uses the {kind} '{named}' and does not ask for it" in said
    assert f"name it among the arguments, as in def test_it({named})" in said
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert not evals.path.exists()


def test_a_grader_or_task_that_uses_another_one_without_asking_is_found_too(evals: Evals) -> None:
    source = SUITE.format(arguments="both", body="assert both", use="True").replace(
        "class Holder", "@grader\ndef both(completion):\n    return short and exact\n\nclass Holder"
    )
    evals.write(source)
    evals.run().stdout.fnmatch_lines(["*both uses the grader 'short' and does not ask for it*"])


@pytest.mark.parametrize(
    "use", ["bool(value)", "value == 1", "value >= 0.5", "1 != value", "value in [1, 2]", "not value"]
)
def test_what_collection_cannot_see_is_an_error_of_the_case_and_no_miss(evals_both: Evals, use: str) -> None:
    evals_both.write(SUITE.format(arguments="short", body="assert helper(Holder.exact)", use=use))
    result = evals_both.run()
    result.assert_outcomes(errors=0, failed=1)
    assert evals_both.ledger() == {"collected": 1, "errored": 1}
    said = evals_both.artifact.samples[0].error
    assert said is not None
    assert "helper uses the grader 'value' and does not ask for it" in said.message


def test_a_grader_that_is_asked_for_is_what_it_was(evals: Evals) -> None:
    evals.write(
        SUITE.format(
            arguments="exact, short, slow, draft, completion",
            body="assert exact and exact == 1 and short and slow and draft == 'x' and Holder.exact is Holder.exact or exact",
            use="True",
        )
    )
    evals.run().assert_outcomes(passed=1)


def test_other_fixtures_are_as_they_were(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pytest_evals import graders

        exact = graders.exact_match("x")

        @pytest.fixture
        def ordinary(): ...

        other = ordinary

        def test_it():
            assert ordinary
            assert ordinary == other
            assert ordinary != 3
            assert {ordinary: 1}[other] == 1
            with pytest.raises(TypeError):
                ordinary < 3
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_object_itself_says_so_without_any_run() -> None:
    exact: Any = graders.exact_match("x")
    assert exact is exact  # noqa: PLR0124 - what is compared is the point
    assert {exact: 1}[exact] == 1
    for use in (lambda: bool(exact), lambda: exact == 1, lambda: exact > 0, lambda: exact >= 0, lambda: exact != "x"):
        with pytest.raises(SuiteError, match="uses the grader 'exact' and does not ask for it"):
            use()

    @task
    async def draft() -> str:
        return "x"

    @grader(name="other")
    def own() -> bool:
        return True

    for made in (draft, own):
        with pytest.raises(SuiteError, match="name it among the arguments"):
            bool(made)
