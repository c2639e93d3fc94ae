"""Probabilities of verdicts on tiny models, beside transformers' decision pipeline on the same prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
import transformers

from pytest_evals.graders.judges.probability import exclusive

from .conftest import answers, open_engine, reference_model, usage_of, weigh

decision = pytest.importorskip("transformers.decision", reason="this transformers has no decision pipeline")

STATE = "What is the capital of France? Paris."
QUESTIONS: dict[str, Any] = {
    "tone": {"type": "choice", "instructions": "the tone", "criteria": {"calm": "quiet", "rude": None, "brown": "fox"}},
    "quick": {"type": "score", "instructions": "how quick", "criteria": ["slow", "fast"]},
}


@pytest.mark.parametrize("query", ["", "?loop=generate"])
def test_probabilities_are_those_of_the_decision_pipeline(tiny: Path, query: str) -> None:
    config = decision.DecisionConfig()
    pipeline: Any = transformers.pipeline(
        "decision",
        model=reference_model(tiny),
        tokenizer=transformers.AutoTokenizer.from_pretrained(tiny),
        decision_config=config,
    )
    expected = pipeline({"state": STATE, "questions": QUESTIONS})
    asked = [decision.Question.from_request(name, data, config) for name, data in QUESTIONS.items()]
    prompt = jinja2.Template(decision.DECISION_PROMPT)
    engine = open_engine(tiny, query)
    requests = [weigh(each.name, prompt.render(state=STATE, question=each), *each.labels) for each in asked]
    found = answers(engine, requests)
    for each in asked:
        shares, mass = exclusive(found[each.name].answer.likelihoods or ())
        assert shares == pytest.approx(list(expected[each.name]["probabilities"].values()), abs=1e-4)
        assert 0 < mass < 1


def test_what_stands_before_the_questions_of_a_case_is_computed_once(tiny: Path) -> None:
    engine = open_engine(tiny)
    # Nothing is in the cache yet when the first of them is computed; the others find the prefix there.
    requests = [weigh(f"q{number}", f"{STATE * 3} {number}?", "A", "B") for number in range(4)]
    answers(engine, requests)
    usage = usage_of(engine)
    assert usage["shared_tokens"] > 2 * usage["prompt_tokens"]
