"""What a pytest run pays for the plugin: no heavy import, with evals off or before an engine is needed."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("new_interpreter")

HEAVY = "{'torch', 'transformers', 'accelerate', 'numpy', 'pydantic', 'jinja2', 'jsonschema', 'tabulate', 'yaml'}"
CONFTEST = f"""
import sys
def pytest_unconfigure(config):
    print("HEAVY:", sorted({HEAVY} & set(sys.modules)))
"""
SUITE = """
from pytest_evals import cases, grader, graders
named = graders.contains("item.capital")
@cases([{"capital": "Paris"}], prompt="Which city?")
def test_it(named): ...
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "HEAVY: []"),
        (("--collect-only",), "HEAVY: []"),
        (("--evals", "--collect-only"), "HEAVY: []"),
        (("--evals", "--evals-plan"), "HEAVY: []"),
    ],
)
def test_nothing_heavy_is_imported_before_an_engine_is_needed(
    pytester: pytest.Pytester, arguments: tuple[str, ...], expected: str
) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:cacheprovider", *arguments, "-s")
    result.stdout.fnmatch_lines([expected])


def test_a_run_never_imports_torch_into_the_process_of_the_tests(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_suite=SUITE, script='def answer(messages):\n    return "Paris"\n')
    result = pytester.runpytest_subprocess("--evals", "--evals-model=scripted:script:answer", "-p", "no:xdist", "-s")
    result.assert_outcomes(passed=1)
    assert "torch" not in result.stdout.str().partition("HEAVY:")[2].partition("\n")[0]


COUNTING = """
import sys
import pytest

def own():
    return len([name for name in sys.modules if name.startswith("pytest_evals")])

@pytest.hookimpl(trylast=True)
def pytest_sessionstart():
    print(f"AT START: {own()}.")
"""


@pytest.mark.parametrize(("arguments", "most"), [((), 7), (("--evals", "--evals-model=scripted:script:answer"), 149)])
def test_a_run_starts_with_few_modules_of_this_package(
    pytester: pytest.Pytester, arguments: tuple[str, ...], most: int
) -> None:
    pytester.makeconftest(COUNTING)
    pytester.makepyfile(test_suite=SUITE, script='def answer(messages):\n    return "Paris"\n')
    result = pytester.runpytest_subprocess(*arguments, "-p", "no:xdist", "-s")
    found = int(result.stdout.str().partition("AT START: ")[2].partition(".")[0])
    assert 1 < found <= most
