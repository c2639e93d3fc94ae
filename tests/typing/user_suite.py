"""What a user writes, with types: each part of the public interface once, as mypy and pyright see it in their strictest modes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import pytest
from pydantic import BaseModel

from pytest_evals import (
    Calibration,
    Case,
    Choice,
    Completion,
    EvalSample,
    EvaluationArtifact,
    Grade,
    Likelihood,
    Model,
    ToolCall,
    calibrate,
    cases,
    grader,
    graders,
    task,
    tool_loop,
)
from pytest_evals.testing import Evals, as_grade, make_completion

# -- Ready-made graders of every kind.

named = graders.contains("{{item.capital}}", ignore_case=True)
exact = graders.exact_match("item.capital", normalize=["case", "punctuation"])
listed = graders.one_of(["Paris", "Tokyo"])
shaped = graders.matches(r"\w+", full=False)
counted = graders.number("item.population", tolerance=0.1, kind="relative", run_if="item.population is defined")
valid = graders.json_valid(run_if="item.kind == 'json'")
schema = graders.json_schema({"type": "object"}, of="reply", run_if="false")
chosen = graders.choice([" Paris", " Rome"], expected="item.answer", by="token", run_if="false")
overlap = graders.f1("item.capital", threshold=0.5)
edits = graders.levenshtein("item.capital", unit="word")
called = graders.tool_calls(
    [{"name": "find", "arguments": {"city": "Paris"}}], order="in_order", arguments="subset", run_if="false"
)
silent = graders.no_tool_calls(of="agent", run_if="false")
few = graders.max_tool_calls(3, run_if="false")
programs = graders.python_tests(["assert True", "assert x"], before=["import math"], setup="x = 1", run_if="false")
followed = graders.instructions(["punctuation:no_comma"], [None], by="kind", run_if="false")
asked = graders.human("Is it polite?", choices={"yes": True, "no": False})
weighed = graders.weighted({named: 2, "exact": 1}, threshold=0.5)
both = graders.all_of(named, "exact")
either = graders.any_of("named", "exact")
most = graders.majority("named", "exact", "overlap")
fallback = graders.first(named, graders.judge.binary("names the capital", images="item.files.flag"))

# -- Judges.

POLITE = graders.question("Is it polite?", choices={"yes": True, "no": False, "cannot tell": None})


class Review(BaseModel):
    """What the judge writes."""

    score: int
    why: str


binary = graders.judge.binary(POLITE, model="scripted:script:judge", votes=3, reasoning=True)
labelled = graders.judge.labels("Which tone?", {"warm": 1, "cold": 0, "none": None})
scaled = graders.judge.scale("is helpful", low=1, high=5, levels={1: "not at all"}, normalize=True, threshold=0.5)
rubric = graders.judge.rubric({"names the city": 3, "is short": 1}, calls="one")
better = graders.judge.pairwise("answers better", against="I do not know.")
reviewed = graders.judge("{{ completion }} {{ output_schema }}", response=Review, score="score", reason="why")
faithful = graders.faithfulness(threshold=0.5, context="item.documents")
entailed = graders.faithfulness(by="nli", model="org/nli", entailed_from=0.6, truncate=True)
toxic = graders.classifier(
    "org/toxic", label="toxic", pair="item.context", threshold=0.5, passes="below", truncate=True
)
liked = graders.reward("org/reward", prompt="{{item.country}}", label="helpful", threshold=0.0)
sure = graders.judge.binary(POLITE, by="probability", abstain=(0.4, 0.6), threshold=0.7)
expected = graders.judge.scale("is helpful", by="probability", abstain=(2.5, 3.5))
relevant = graders.answer_relevancy()
retrieved = graders.context_relevancy(context="item.documents")
golden = graders.judge.binary("is right", preflight=graders.Preflight("golden.jsonl", label="human", agreement=0.9))

# -- Graders and tasks of one's own.


@grader
def short(completion: Completion) -> bool:
    assert_type(completion.text, str)
    assert_type(completion.logprobs, tuple[float, ...] | None)
    assert_type(completion.reasoning, str | None)
    assert_type(completion.tool_calls, tuple[ToolCall, ...])
    assert_type(completion.samples, tuple[Completion, ...])
    return len(completion.text.split()) <= 12


@grader(threshold=0.5, bounds=(0, 1))
def density(completion: Completion, case: Case) -> float:
    assert_type(case.id, str)
    assert_type(case.files, Mapping[str, Path])
    words = completion.text.lower().split()
    return len(set(words)) / max(1, len(words))


@grader(name="style")
def _style(completion: Completion) -> dict[str, Grade | bool]:
    return {"sentence": completion.text.endswith("."), "words": Grade(3, reasoning="counted", metadata={"n": 3})}


@grader(run_if="item.country == 'France'")
def good(short: Grade, density: Grade) -> Grade | None:
    assert_type(short.value, float | None)
    assert_type(short.passed, bool | None)
    return Grade(density >= 0.5 and bool(short), bounds=(0, 1))


@grader
async def agreed(completion: Completion, judge: Model) -> float:
    votes = await asyncio.gather(*(judge.generate(f"Polite? {completion.text}") for _ in range(3)))
    assert_type(votes, list[Completion])
    return sum("PASS" in vote.text for vote in votes) / 3


@dataclass
class Reply:
    """The result of a task."""

    city: str
    sources: list[str]


@task
async def reply(case: Case, model: Model) -> Reply:
    answer = await model.generate(f"Capital of {case['country']}?", max_new_tokens=8)
    assert_type(answer, Completion)
    return Reply(answer.text, [answer.text])


@task(name="looked_up", run_if="true")
def _looked_up(case: Case, model: Model) -> str:
    pending = model.generate([{"role": "user", "content": case.id}])
    assert_type(pending.result(), Completion)
    return pending.result().text


@task
async def weighed_up(model: Model) -> int:
    choice = await model.choose(["a", "b"], by="token")
    assert_type(choice, Choice)
    assert_type(choice.likelihoods, tuple[Likelihood, ...])
    likelihood = await model.using("scripted:script:answer").score("a")
    assert_type(likelihood, Likelihood)
    assert_type(likelihood.per_byte, float)
    return choice.index


@pytest.fixture(scope="session")
def shelf() -> dict[str, str]:
    return {"France": "Paris is the capital of France."}


@task
async def passages(case: Case, shelf: dict[str, str]) -> list[str]:
    return [shelf.get(case["country"], "")]


# -- Suites.

ROWS: list[dict[str, Any]] = [
    {"id": "fr", "country": "France", "capital": "Paris", "kind": "text"},
    {"id": "jp", "country": "Japan", "capital": "Tokyo", "kind": "text"},
]


def rows() -> Sequence[Mapping[str, Any]]:
    return ROWS


@cases(
    rows,
    prompt="What is the capital of {{item.country}}?",
    id="id",
    generation={"max_new_tokens": 16, "temperature": 0.0},
    gates=["named.mean >= 0.5", "short.pass_rate == 1"],
    tags=("smoke",),
    metadata={"level": 1},
)
def test_capitals(
    named: Grade, short: Grade, density: Grade, style: Mapping[str, Grade], overlap: Grade, case: Case, record: Any
) -> None:
    record(country=case["country"])
    assert density > 0.1
    assert style["words"] == 3
    assert overlap <= 1
    assert short
    assert named


@cases(ROWS, messages=[{"role": "user", "content": "{{item.country}}"}], id="id", repeat=1, cluster="country")
def test_tasks(reply: Reply, looked_up: str, passages: list[str], agreed: Grade, completion: Completion) -> None:
    assert reply.city in reply.sources
    assert looked_up
    assert len(passages) == 1
    assert agreed >= 0
    assert completion.finish_reason in ("stop", "length", "tool_calls", "recorded")


@pytest.mark.parametrize("word", ["Paris", "Tokyo"])
@cases(ROWS, prompt="{{item.country}}", id="id", gates="exact.coverage >= 1")
class TestClass:
    def test_words(self, word: str, exact: Grade, model: Model) -> None:
        assert_type(model.name, str)
        assert word
        assert exact.status == "graded"


def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
        city: The city.
    """
    return city


agent = tool_loop([get_weather], max_turns=4, name="agent", run_if="false")


@cases([{"id": "a"}], prompt="Weather in Paris?", tools=[get_weather, {"name": "now"}])
def test_tools(called: Grade, completion: Completion) -> None:
    assert called or completion.tool_call_error


# -- Afterwards, and in tests of graders.


def look_at(path: Path) -> dict[str, float]:
    artifact = EvaluationArtifact.load(path)
    assert_type(artifact.samples, list[EvalSample])
    sample = artifact.samples[0]
    assert_type(sample.grades, list[Grade])
    assert_type(calibrate(artifact, grader="binary", label="human"), list[Calibration])
    return {row["grader"]: row["mean"] for row in artifact.scores()}


SUITE = """
from pytest_evals import cases, graders
named = graders.contains("Paris")
@cases("rows.jsonl", prompt="Capital of {{item.country}}?", id="id", gates="named.mean >= 0.5")
def test_it(named):
    assert named
"""


def test_grader_functions(evals: Evals) -> None:
    assert as_grade(len(make_completion("one two").text.split())) == 2
    evals.write(SUITE, rows__jsonl=ROWS)
    result = evals.run("-q", model="scripted:script:answer")
    assert_type(result, pytest.RunResult)
    result.assert_outcomes(passed=1, xfailed=1)
    assert_type(evals.grades("named"), dict[str, Grade])
    assert evals.ledger()["missed"] == 1
