"""Classifiers, reward models and entailment as graders: grades, labels, and what is refused; batches by length."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.case import Case
from pytest_evals.completion import Completion
from pytest_evals.engines.encoder_kind import (
    HeadConfig,
    check_head,
    encoder_text,
    find_label,
    head_config,
    label_names,
)
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError, SuiteError
from pytest_evals.graders import encoders
from pytest_evals.settings import model_text

from .judging import completion


class FakeEncoders:
    """Answers by a function of the texts, and keeps what it was asked."""

    def __init__(self, answer: Callable[[Sequence[str]], Mapping[str, float]], *, cut: bool = False) -> None:
        self.asked: list[tuple[str, list[Any]]] = []
        self._answer = answer
        self._cut = cut

    async def ask(self, model: str, messages: Sequence[Any]) -> Completion:
        self.asked.append((model, [dict(message) for message in messages]))
        scores = dict(self._answer([message["content"] for message in messages]))
        return Completion(scores=scores, finish_reason="length" if self._cut else "stop", prompt_tokens=64)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], tuple[Any, dict[str, Any]]]:
    """Make a grader; return its function and what its fixture was told."""

    def make(write: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
        told: dict[str, Any] = {}

        def keep(function: Any, **settings: Any) -> Any:
            told.update(settings)
            return function

        monkeypatch.setattr(encoders, "grader_fixture", keep)
        return write(), told

    return make


Making = Callable[[Callable[[], Any]], tuple[Any, dict[str, Any]]]


def graded(
    function: Any, fake: FakeEncoders, answer: str = "It is Paris.", row: Mapping[str, Any] | None = None
) -> Any:
    case = Case("c1", row or {}, files={}, metadata={}, place="rows.jsonl:1")
    given = {"completion": completion(answer)} if "completion" in function.__signature__.parameters else {}
    return asyncio.run(function(case=case, _evals_encoder=fake, **given))


def test_the_grade_is_the_probability_of_the_label(made: Making) -> None:
    function, told = made(lambda: graders.classifier("org/toxic", label="TOXIC", threshold=0.5, passes="below"))
    fake = FakeEncoders(lambda texts: {"toxic": 0.2 if "Paris" in texts[0] else 0.9, "fine": 0.8})
    grade = graded(function, fake)
    assert (grade.value, grade.passed, grade.reasoning) == (0.2, True, "toxic 20.0%, fine 80.0%")
    assert grade.metadata == {"by": "probability", "label": "toxic", "scores": {"toxic": 0.2, "fine": 0.8}}
    assert fake.asked == [("encoder:org/toxic", [{"role": "user", "content": "It is Paris."}])]
    assert (told["models"], told["bounds"], told["encodes"]) == (("encoder:org/toxic",), (0, 1), True)
    assert not graded(function, fake, "Fie!").passed


def test_a_pair_and_rows_alone_need_no_completion(made: Making) -> None:
    function, told = made(
        lambda: graders.classifier(
            "./nli", label="entailment", text="item.premise", pair="So: {{item.claim}}", threshold=0.5
        )
    )
    fake = FakeEncoders(lambda _texts: {"entailment": 0.5, "neutral": 0.5})
    grade = graded(function, fake, row={"premise": "It rains.", "claim": "It is wet."})
    assert grade.passed
    assert [message["content"] for message in fake.asked[0][1]] == ["It rains.", "So: It is wet."]
    assert told["settings"] == {"text": "item.premise", "pair": "So: {{item.claim}}"}
    with pytest.raises(SuiteError, match="text is None for this row, and a classifier reads text"):
        told["check"]({"text": None})


def test_a_text_that_was_cut_says_so(made: Making) -> None:
    function, _ = made(lambda: graders.classifier("org/m?device=cpu", label="a", truncate=True))
    fake = FakeEncoders(lambda _texts: {"a": 1.0}, cut=True)
    grade = graded(function, fake)
    assert fake.asked[0][0] == "encoder:org/m?device=cpu&truncate=true"
    assert grade.metadata["truncated"] is True
    assert grade.reasoning == "a 100.0% (of the first 64 tokens)"


def test_a_label_that_there_is_not_names_those_that_there_are(made: Making) -> None:
    function, told = made(lambda: graders.classifier("org/toxic", label="toxc"))
    with pytest.raises(SuiteError, match=r"has no label 'toxc' \(labels: toxic, fine\).*toxic"):
        graded(function, FakeEncoders(lambda _texts: {"toxic": 0.2, "fine": 0.8}))
    assert told["check_model"] is not None


def test_a_reward_reads_the_conversation_and_has_no_bounds(made: Making) -> None:
    function, told = made(lambda: graders.reward("org/reward", threshold=0))
    fake = FakeEncoders(lambda _texts: {"LABEL_0": -3.25})
    grade = graded(function, fake)
    assert (grade.value, grade.passed, told["bounds"]) == (-3.25, False, None)
    model, messages = fake.asked[0]
    assert model == "encoder:org/reward?input=conversation&values=logits"
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[-1]["content"] == "It is Paris."
    several, _ = made(lambda: graders.reward("org/reward", prompt="Q: {{item.q}}", label="helpful"))
    asked = FakeEncoders(lambda _texts: {"helpful": 1.5, "honest": 2.0})
    assert graded(several, asked, row={"q": "Why?"}).value == 1.5
    assert asked.asked[0][1][0] == {"role": "user", "content": "Q: Why?"}
    one, _ = made(lambda: graders.reward("org/reward"))
    with pytest.raises(SuiteError, match=r"has 2 outputs; say with label= which one counts \(helpful, honest\)"):
        graded(one, asked)


def test_faithfulness_by_nli_is_the_share_of_sentences_that_a_document_entails(made: Making) -> None:
    function, told = made(lambda: graders.faithfulness(by="nli", model="org/nli", threshold=0.5))

    def entails(texts: Sequence[str]) -> Mapping[str, float]:
        premise, hypothesis = texts
        sure = 0.9 if hypothesis.split()[-1].strip(".") in premise else 0.2
        return {"contradiction": 0.05, "ENTAILMENT": sure, "neutral": 0.95 - sure}

    fake = FakeEncoders(entails)
    row = {"documents": ["Paris is in France.", {"text": "Rome is in Italy."}]}
    grade = graded(function, fake, "It is in France. The other is in Italy. Berlin is in Germany.", row)
    assert (grade.value, grade.passed) == (pytest.approx(2 / 3), True)
    assert [part["document"] for part in grade.metadata["parts"][:2]] == [0, 1]
    assert "Berlin" in grade.reasoning
    assert len(fake.asked) == 6
    assert graded(function, fake, "", row).status == "not_applicable"
    with pytest.raises(SuiteError, match="the context is empty"):
        told["check"]({"context": []})


def config(**given: Any) -> HeadConfig:
    return HeadConfig(**{"labels": ("a", "b"), "problem": None, "architectures": (), **given})


def test_what_a_model_cannot_do_is_told_by_its_configuration(made: Making, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    given: dict[str, Any] = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"1": "fine", "0": "toxic", "10": "other"},
    }

    def check(write: Callable[[], Any], **changes: Any) -> None:
        (folder / "config.json").write_text(json.dumps({**given, **changes}))
        _, told = made(write)
        told["check_model"](parse_spec(told["models"][0], tmp_path))

    check(lambda: graders.classifier("./model", label="other"))
    with pytest.raises(SuiteError, match=r"no label 'rude' \(labels: toxic, fine, other\)"):
        check(lambda: graders.classifier("./model", label="rude"))
    with pytest.raises(SuiteError, match=r"use graders\.reward"):
        check(lambda: graders.classifier("./model", label="toxic"), problem_type="regression")
    with pytest.raises(SuiteError, match="has 3 outputs; say with label="):
        check(lambda: graders.reward("./model"))
    with pytest.raises(SuiteError, match="no label that begins as 'entailment'"):
        check(lambda: graders.faithfulness(by="nli", model="./model"))
    with pytest.raises(ModelError, match="is a BertForMaskedLM, which has no head that classifies"):
        check(lambda: graders.classifier("./model", label="toxic"), architectures=["BertForMaskedLM"])
    with pytest.raises(ModelError, match="no such folder"):
        parse_spec("encoder:./elsewhere", tmp_path)
    with pytest.raises(ModelError, match="has no head that classifies"):
        parse_spec("encoder:smollm2", tmp_path)
    assert (
        model_text("encoder:./model?truncate=true", tmp_path, tmp_path, {}, encodes=True)
        == "encoder:./model?truncate=true"
    )


def test_labels_are_in_the_order_of_their_ids_and_in_the_models_spelling() -> None:
    assert label_names({"1": "b", "0": "a", "10": "c"}, None) == ("a", "b", "c")
    assert label_names(None, 3) == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert label_names(None, None) == ("LABEL_0", "LABEL_1")
    assert find_label(["Toxic", "ok"], "toxic", "m") == "Toxic"
    assert find_label(["toxic", "Toxic"], "Toxic", "m") == "Toxic"
    with pytest.raises(SuiteError, match="labels: toxic, Toxic"):
        find_label(["toxic", "Toxic"], "TOXIC", "m")
    check_head(parse_spec("encoder:org/m", Path()), config(architectures=("XLNetForSequenceClassification",)))
    assert head_config(parse_spec("encoder:org/that-nobody-has-here", Path())) is None


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: graders.classifier("", label="a"), "classifier: model must be the name of a model"),
    (lambda: graders.classifier(None, label="a"), "classifier: model must be the name of a model"),  # type: ignore[arg-type]  # what it refuses
    (lambda: graders.classifier("org/m", label=""), "label must be one of the model's labels"),
    (lambda: graders.classifier("org/m", label=1), "label must be one of the model's labels, not 1"),  # type: ignore[arg-type]  # what it refuses
    (lambda: graders.classifier("org/m", label="a", threshold=50), "threshold must be from 0 to 1"),
    (lambda: graders.classifier("org/m", label="a", threshold=float("nan")), "threshold must be a finite number"),
    (lambda: graders.classifier("org/m", label="a", passes="below"), "passes='below' needs a threshold="),
    (lambda: graders.classifier("org/m", label="a", passes="under"), "must be 'above' or 'below'"),  # type: ignore[arg-type]  # what it refuses
    (lambda: graders.classifier("org/m", label="a", text=" "), "text must be a template"),
    (lambda: graders.classifier("org/m", label="a", pair=""), "pair must be a template"),
    (lambda: graders.classifier("org/m", label="a", truncate="yes"), "truncate must be True or False"),  # type: ignore[arg-type]  # what it refuses
    (lambda: graders.classifier("org/m?truncate=true", label="a"), "truncate is set by the grader"),
    (lambda: graders.classifier("org/m", label="a", text="{{ context }}"), "uses 'context'"),
    (lambda: graders.reward("org/m", label=""), "reward: label must be one of the model's labels"),
    (lambda: graders.reward("org/m", threshold="1"), "threshold must be a finite number"),  # type: ignore[arg-type]  # what it refuses
    (lambda: graders.reward("org/m?values=logits"), "values is set by the grader"),
    (lambda: graders.faithfulness(by="nli"), "needs the model that verifies"),
    (lambda: graders.faithfulness(by="nli", model=["a/b", "c/d"]), "needs the model that verifies"),
    (lambda: graders.faithfulness(by="nli", model="org/m", claims="model"), "by='nli' verifies sentences"),
    (lambda: graders.faithfulness(by="nli", model="org/m", votes=3), "votes is of judges, and by='nli' asks none"),
    (lambda: graders.faithfulness(by="nli", model="org/m", entailed_from=2), "threshold must be from 0 to 1"),
    (lambda: graders.faithfulness(by="entailment"), "by must be 'judge' or 'nli'"),  # type: ignore[arg-type]  # what it refuses
    (lambda: graders.faithfulness(label="entailment"), "go with by='nli'"),
    (lambda: encoder_text("encoder:"), "model must be the name of a model"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        make()
