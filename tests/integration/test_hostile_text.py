"""Whatever a model says stays text: kept whole in the artifact, harmless on the terminal and in JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from .conftest import Evals

TEXTS = {
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "nul": "a\x00b",
    "surrogate": "\ud800 half a pair",
    "bidi": "abc\u202egnp.exe",
    "xml": "]]></failure><script>alert(1)</script>&amp;",
    "lines": "one\r\ntwo\u2028three",
    "percent": "%s %(x)s {0} {{item.x}} {% raw %}",
    "long": "x" * 1_000_000,
    "empty": "",
}
SUITE = """
import pytest
from pytest_evals import cases, graders

exact = graders.exact_match("item.id")

@cases([{"id": name} for name in NAMES], prompt="{{item.id}}", id="id")
def test_it(exact, completion):
    assert exact, completion.text[:100]
    assert completion.text == "never"
"""


@pytest.fixture
def hostile(evals_both: Evals) -> Evals:
    evals_both.write(
        SUITE.replace("NAMES", repr(list(TEXTS))),
        script=f"TEXTS = {TEXTS!r}\n\ndef answer(messages):\n    return TEXTS[messages[-1]['content']]\n",
    )
    return evals_both


def test_the_artifact_keeps_the_text_as_it_was(hostile: Evals) -> None:
    hostile.run()
    texts = {sample.case_id: sample.interaction.completion for sample in hostile.artifact.samples}
    assert {name: completion.text if completion else None for name, completion in texts.items()} == TEXTS


@pytest.mark.parametrize("verbosity", ["-q", "-vv"])
def test_nothing_reaches_the_terminal_that_could_steer_it(hostile: Evals, verbosity: str) -> None:
    result = hostile.run(verbosity, "-rA")
    result.assert_outcomes(failed=len(TEXTS))
    out = result.stdout.str()
    assert "INTERNALERROR" not in out
    for character in ("\x1b", "\x00", "\x07", "\ud800", "\u202e"):
        assert character not in out
    assert "x" * 100_000 not in out


def test_junit_stays_well_formed(hostile: Evals) -> None:
    hostile.run("--junitxml=junit.xml")
    root = ET.parse(hostile.pytester.path / "junit.xml").getroot()  # noqa: S314 - the file of this test
    assert len(root.findall(".//testcase")) == len(TEXTS)
    assert root.find(".//script") is None


def test_error_messages_of_a_model_are_harmless_too(evals_both: Evals) -> None:
    evals_both.write(
        SUITE.replace("NAMES", "['a']"),
        script="def answer(messages):\n    raise ValueError('\\x1b[31m \\ud800 \\x00')\n",
    )
    result = evals_both.run("--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    assert "\x1b" not in result.stdout.str()
    assert "raised ValueError: \\x1b[31m \\ud800 \\x00" in result.stdout.str()
    ET.parse(evals_both.pytester.path / "junit.xml")  # noqa: S314 - the file of this test
