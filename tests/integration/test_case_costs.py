"""What a case costs beside a plain test: counted, not timed, so that it does not creep back."""

from __future__ import annotations

import json

import pytest

CONFTEST = """
import collections, json, sys
import pytest

COUNTS = collections.defaultdict(list)

class Counter:
    def __init__(self):
        self.calls, self.named = 0, collections.Counter()

    def __call__(self, frame, event, argument):
        if event == "call":
            self.calls += 1
            self.named[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            self.calls += 1
            self.named[getattr(argument, "__qualname__", "")] += 1

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    counter = Counter()
    sys.setprofile(counter)
    try:
        return (yield)
    finally:
        sys.setprofile(None)
        COUNTS[item.originalname].append(counter)

NAMES = ("JSONEncoder.encode", "JSONDecoder.raw_decode", "RequestFixtureDef.__init__", "did_you_mean")

def pytest_unconfigure():
    # The first cases hand in requests and import what they need.
    found = {
        name: {"calls": sorted(c.calls for c in counters)[10], **{n: counters[10].named[n] for n in NAMES}}
        for name, counters in COUNTS.items()
    }
    print("COUNTED", json.dumps(found))
"""
SUITE = """
import pytest
from pytest_evals import cases, graders

named = graders.contains("answer {{item.n}}")

@cases([{"n": n} for n in range(20)], prompt="Question {{item.n}}?", gates=["named.mean >= 1"])
def test_eval(named):
    assert named

@pytest.mark.parametrize("n", range(20))
def test_plain(n):
    assert f"answer {n}" in f"the answer {n}"
"""
SCRIPT = """
def answer(messages):
    return "the answer " + messages[-1]["content"].split()[1].rstrip("?")
"""


@pytest.mark.usefixtures("new_interpreter")
def test_a_small_case_takes_few_more_calls_than_a_plain_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SUITE)
    pytester.makepyfile(script=SCRIPT)
    result = pytester.runpytest_subprocess("--evals", "--evals-model", "scripted:script:answer", "-s", "-p", "no:xdist")
    result.assert_outcomes(passed=40)
    line = next(line for line in result.outlines if line.startswith("COUNTED "))
    counted = json.loads(line.removeprefix("COUNTED "))
    case, plain = counted["test_eval"], counted["test_plain"]
    # 1.1 times as many when this was written; what the hooks of other plugins take is in both.
    assert case["calls"] < 1.2 * plain["calls"]
    # Its line of the artifact is not read again; the text is what identifies its conversation.
    assert case["JSONDecoder.raw_decode"] == 0
    assert case["JSONEncoder.encode"] <= 1
    assert case["RequestFixtureDef.__init__"] == 0
    assert case["did_you_mean"] == 0
