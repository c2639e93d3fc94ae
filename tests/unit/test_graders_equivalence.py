"""Whether the expression that a completion gives is equal to another one."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.graders import equivalence_process
from pytest_evals.graders.equivalence import check_expected, equivalent
from pytest_evals.graders.equivalence_process import Comparer, comparer
from pytest_evals.graders.expressions import as_latex, candidates

pytest.importorskip("math_verify", reason="needs: pip install 'pytest-evals-hf[math]'")

SECONDS = 60.0
"""For what is computed at once: so long only where the machine is busy."""


@pytest.fixture
def ended() -> Iterator[None]:
    """End the process that others use, before and after."""
    comparer().close()
    yield
    comparer().close()


@pytest.mark.parametrize(
    ("expected", "completion"),
    [
        # numbers
        (r"\frac{1}{2}", "The answer is 0.5."),
        (r"\frac{\sqrt{2}}{2}", r"So it is $\boxed{\frac{1}{\sqrt{2}}}$."),
        (r"\frac{\sqrt{2}}{2}", "The answer is sqrt(2)/2."),
        (r"2\sqrt{3}", "Answer: √12"),
        (r"2\sqrt{3}", "Answer: 2√3"),
        (r"3\pi", "The answer is 3pi."),
        (r"3\pi", "3π"),
        (r"2\frac{1}{2}", "2 1/2"),
        ("2.5", "5/2"),
        ("1234", "1,234"),
        (r"\$32,348", "$32,348"),
        ("1e6", "1000000"),
        (r"1.2 \times 10^{-7}", "1.2e-7"),
        (r"0.\overline{3}", "1/3"),
        (r"0.1\overline{6}", r"\boxed{\frac{1}{6}}"),
        (r"30^\circ", "30°"),
        (r"10\%", "10%"),
        (r"12\text{ cm}^2", r"\boxed{12}"),
        ("12", "The answer is 12 square metres."),
        ("12", "Answer: 12 cm^2"),
        (r"\log_2 8", "3"),
        ("6!", "720"),
        (r"\binom{5}{2}", "10"),
        ("1+i", "i + 1"),
        # terms
        ("(x+1)^2", "x**2 + 2*x + 1"),
        ("(x+1)^2", "x² + 2x + 1"),
        (r"\frac{n(n+1)}{2}", "The answer is (n^2+n)/2."),
        ("2^{n+1}", "2^(n+1)"),
        ("e^{x+1}", "exp(x+1)"),
        (r"\sin^2 x+\cos^2 x", "1"),
        # equations and inequalities
        ("x=5", "The answer is $x = 5$, since $y=3$."),
        ("5", "x = 5"),
        ("y=2x+3", "y = 3 + 2x"),
        ("y=2x+3", "2x - y + 3 = 0"),
        (r"x \ge 3", "The answer is x >= 3."),
        # sets, tuples, intervals, matrices, words
        (r"\{1,2\}", "The solutions are $x=1$ and $x=2$."),
        ("1,2", "Answer: 2, 1"),
        ("(3,4)", r"\boxed{(3, 4)}"),
        (r"(-\infty,3)", r"\boxed{(-\infty, 3)}"),
        ("[2,3)", "The answer is $[2, 3)$"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\[\boxed{\begin{bmatrix} 1 \\ 2 \end{bmatrix}}\]"),
        (r"\text{Evelyn}", "The answer is Evelyn."),
        (r"\text{(B)}", "Answer: (B)"),
        # where the answer is
        (r"\frac{1}{2}", r"First \boxed{3}. Correcting it: \boxed{\frac{2}{4}}"),
        ("7", r"\boxed{8}. Wait. The answer is 7."),
        ("x^2", "Answer: **x^2**"),
        ("14", "<answer>14</answer> in 2 steps"),
        ("14", "The answer is\n$$\n14\n$$\nwhere $x = 2$."),
        ("72", "48+24 = 72\n#### 72"),
        ("x^2", r"We get \(x + 1\), and so finally \(x^2\)."),
        # what is expected
        (Fraction(1, 3), r"\frac{2}{6}"),
        (Decimal("0.1"), r"\frac{1}{10}"),
        (0.5, r"\frac{1}{2}"),
        (3, "3"),
        (r"We get $x=2$, so it is $\boxed{\frac{3}{4}}$.", "0.75"),
    ],
)
def test_equal_expressions_pass(expected: object, completion: str) -> None:
    assert equivalent(completion, expected, SECONDS).passed


@pytest.mark.parametrize(
    ("expected", "completion"),
    [
        ("(x+1)^2", "x^2+2x+2"),
        ("[2,3)", "(2,3)"),
        ("(3,4)", "(4,3)"),
        (r"3\pi", "9.42"),
        ("1.2e-7", "3e-7"),
        ("1000000", "1000001"),
        (r"\text{Evelyn}", "The answer is John."),
        ("12", "The area is 12 square metres, and not 15."),
        ("5", "5x"),
        ("5", ""),
        ("5", "I do not know."),
        ("5", r"\boxed{\frac{}"),
        ("5", "__import__('os').getcwd()"),
        ("5", "().__class__.__mro__"),
        ("5", r"\boxed{\int_0^1 e^{x^x} dx}"),
    ],
)
def test_others_miss(expected: object, completion: str) -> None:
    assert not equivalent(completion, expected, SECONDS).passed


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("The answer is 3.", "expected '2', found '3' in 'The answer is 3.'"),
        ("", "expected '2', found no expression in ''"),
        (r"\boxed{\frac{1}}", r"expected '2', '\frac{1}' is not readable as an expression"),
    ],
)
def test_the_reason_says_what_was_found(completion: str, reason: str) -> None:
    assert equivalent(completion, "2", SECONDS).reason == reason


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("", "math needs an expression to compare with, and was given ''"),
        ("hello world", "math needs an expression to compare with, and was given 'hello world'"),
        (r"\frac{", r"is not readable as an expression; write it as LaTeX, a word as \\text"),
        ("x in [2,3)", "is not readable as an expression"),
        (None, "math compares expressions, and was given NoneType"),
        (True, "math compares expressions, and was given bool"),
        (["1"], "math compares expressions, and was given list"),
    ],
)
def test_what_is_no_expression_cannot_be_expected(expected: object, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        check_expected(expected, SECONDS)


@pytest.mark.usefixtures("ended")
def test_an_expression_that_cannot_be_computed_misses_in_the_time_that_it_has() -> None:
    assert check_expected("5.5", SECONDS) == "5.5"  # the process is there
    verdict = equivalent(r"\boxed{9^{9^{9^9}}}", "5.5", 0.5)
    assert not verdict.passed
    assert verdict.reason == "expected '5.5', not shown to be equal to '9^{9^{9^9}}': comparing takes more than 0.5 s"
    # The next one is answered, by a new process.
    assert equivalent(r"\frac{11}{2}", "5.5", SECONDS).passed


@pytest.mark.usefixtures("ended")
def test_an_expected_expression_that_cannot_be_computed_is_refused() -> None:
    with pytest.raises(SuiteError, match=r"cannot be compared with anything: comparing takes more than 0\.5 s"):
        check_expected("9^{9^{9^9}} + 1", 0.5)


def test_a_process_that_died_is_started_again() -> None:
    made = Comparer()
    try:
        assert made.compare("x", ["x"], SECONDS).equal
        assert made._process is not None
        made._process.kill()
        made._process.wait()
        assert made.compare("x", ["x"], SECONDS).equal
    finally:
        made.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timers of processes")
def test_a_process_whose_other_side_is_gone_ends_by_itself() -> None:
    question = {"gold": "9^{9^{9^9}} + 1", "answers": ["1"], "seconds": 0.1}
    worker = subprocess.run(
        [sys.executable, "-P", str(equivalence_process.HOST)],
        input=f"{json.dumps(question)}\n",
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert json.loads(worker.stdout) == {"ready": True}
    assert worker.returncode == -signal.SIGALRM


def test_a_process_that_cannot_start_is_an_error_and_no_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.setattr(equivalence_process, "HOST", broken)
    made = Comparer()
    for _ in range(2):
        with pytest.raises(EvalsError, match="the process that compares expressions failed: it ended"):
            made.compare("x", ["x"], SECONDS)
    made.close()


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("x**2", "x^2"),
        ("2*x", r"2\cdot x"),
        ("sqrt(2)/2", r"\sqrt{2}/2"),
        ("2^(n+1)", "2^{n+1}"),
        ("10^12", "10^{12}"),
        ("1 1/2", r"1\frac{1}{2}"),
        ("1.5e-3", r"1.5\cdot 10^{-3}"),
        ("x ≤ 3", r"x \leq 3"),
        ("(-oo, 3)", r"(-\infty , 3)"),
        ("sin(x)", r"\sin(x)"),
        ("50%", r"50\%"),
        ("**x + 1**.", "x + 1"),
        (r"\(x\)", "x"),
        ("5 km/h", "5"),
    ],
)
def test_plain_expressions_become_latex(text: str, latex: str) -> None:
    assert [" ".join(each.split()) for each in as_latex(text)] == [latex]


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 100_000,
        "$" * 500_000,
        "$a" * 250_000,
        r"\(" * 300_000,
        r"\[x" * 300_000,
        "answer is " * 60_000,
        "(" * 500_000,
        "word " * 100_000,
        "1 " * 300_000,
        "sqrt" * 100_000,
        r"\overline{" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_the_expression_of_a_long_completion_is_found(text: str) -> None:
    assert candidates(f"{text}\nThe answer is $y^2$.")[0] == "y^2"


@pytest.mark.parametrize("timeout", [0, -1, True, "1", float("inf"), float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(SuiteError, match="math: timeout must be a number of seconds above 0"):
        graders.math("1", timeout=timeout)


def test_a_mistake_is_found_where_the_grader_is_written() -> None:
    with pytest.raises(SuiteError, match="math needs an expression to compare with"):
        graders.math("  ")


def test_the_library_that_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SuiteError) as caught:
        graders.math("1")
    assert str(caught.value) == (
        "math needs the package 'math_verify', which is not installed: pip install 'pytest-evals-hf[math]'"
    )
