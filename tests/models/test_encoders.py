"""Classifiers and reward models on tiny random ones, beside transformers' own pipeline, one text at a time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.encoder_kind import check_head, head_config
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

from .classifiers import classify, open_encoder, results, save_classifier, save_fitted, save_reward, told_moods
from .conftest import OPTIONS, TEMPLATE, make_tokenizer

LABELS = ("entailment", "neutral", "contradiction")
TEXTS = [
    "The capital of France is Paris.",
    "a",
    "the quick brown fox jumps over the lazy dog",
    "[SEP] entailment [CLS]",
    "déjà vu 東京",
    "",
]
HEADS = [
    ("bert", LABELS, None),
    ("bert", ("score",), "regression"),
    ("roberta", ("toxic", "insult"), "multi_label_classification"),
    ("distilbert", ("good", "bad"), "single_label_classification"),
    ("modernbert", ("relevant",), None),
]


def pipeline(folder: Path) -> Any:
    """Transformers' own, which computes one text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)


@pytest.mark.parametrize(("kind", "labels", "problem"), HEADS)
def test_scores_are_those_of_the_pipeline(
    tmp_path: Path, kind: str, labels: tuple[str, ...], problem: str | None
) -> None:
    folder = save_classifier(tmp_path, kind, labels, problem)
    theirs = pipeline(folder)
    engine = open_encoder(folder, "?batch=128")
    assert engine.notes == (), "texts of different lengths are computed together"
    query = "?values=logits" if problem == "regression" else ""
    asked = [classify(f"s{place}", text, query=query) for place, text in enumerate(TEXTS)]
    asked += [classify(f"p{place}", text, TEXTS[0], query=query) for place, text in enumerate(TEXTS)]
    found = results(engine, asked)
    options = {"top_k": None, "split_special_tokens": True}
    for place, text in enumerate(TEXTS):
        for key, given in ((f"s{place}", {"text": text}), (f"p{place}", {"text": text, "text_pair": TEXTS[0]})):
            expected = {each["label"]: each["score"] for each in theirs(given, **options)}
            assert found[key].answer.scores == pytest.approx(expected, abs=1e-5)
    assert engine.usage.forwards < len(asked)
    assert engine.usage.padding_tokens > 0


def test_a_fitted_classifier_is_as_accurate_as_in_the_pipeline(tmp_path: Path) -> None:
    told = told_moods()
    random.Random(1).shuffle(told)  # noqa: S311 - an order, the same each time
    folder = save_fitted(tmp_path, told[:28])
    theirs = pipeline(folder)
    found = results(open_encoder(folder), [classify(text, text) for text, _ in told])
    scores = {text: found[text].answer.scores or {} for text, _ in told}
    expected = {text: {each["label"]: each["score"] for each in theirs(text, top_k=None)} for text, _ in told}
    for text, _ in told:
        assert scores[text] == pytest.approx(expected[text], abs=1e-5)
    ours, right = (
        sum((each[text]["good"] >= 0.5) == (mood == "good") for text, mood in told) for each in (scores, expected)
    )
    assert ours == right
    assert len(told) * 0.75 < right < len(told), "it has learned something, and not everything"


@pytest.mark.parametrize("padding", [1, None])
def test_rewards_are_those_of_a_plain_forward(tmp_path: Path, padding: int | None) -> None:
    folder = save_reward(tmp_path, TEMPLATE, padding=padding)
    engine = open_encoder(folder)
    assert bool(engine.notes) is (padding is None)
    conversations = [
        [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": answer}] for answer in TEXTS[:3]
    ]
    asked = [
        Request(str(place), "encoder:m?input=conversation&values=logits", tuple(turns), GenerationParams())  # type: ignore[arg-type]  # messages in short
        for place, turns in enumerate(conversations)
    ]
    found = results(engine, asked)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    for place, turns in enumerate(conversations):
        ids = torch.tensor([make_tokenizer().apply_chat_template(turns, return_dict=False)])
        with torch.no_grad():
            expected = model(ids).logits[0, 0].item()
        assert found[str(place)].answer.scores == pytest.approx({"LABEL_0": expected}, abs=1e-5)


def test_a_reward_model_without_a_chat_template_reads_a_pair(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, "bert", ("reward",))
    turns: Any = ({"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": TEXTS[2]})
    engine = open_encoder(folder)
    reward = Request("r", "encoder:m?input=conversation&values=logits", turns, GenerationParams())
    found = results(engine, [reward, classify("p", TEXTS[0], TEXTS[2], query="?values=logits")])
    assert found["r"].answer.scores == pytest.approx(dict(found["p"].answer.scores or {}))


def test_a_text_that_is_too_long_is_an_error_or_says_that_it_was_cut(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, "roberta", LABELS)
    engine = open_encoder(folder)
    assert engine.info.context == 64, "two of the positions are before the first token's"
    long = "the quick brown fox " * 40
    found = results(
        engine,
        [
            classify("long", long),
            classify("cut", long, query="?truncate=true"),
            classify("pair", long, "It jumps.", query="?truncate=true"),
            classify("fits", "the fox", query="?truncate=true"),
        ],
    )
    assert found["long"].error is not None
    assert "more than the 64 that" in found["long"].error.message
    assert "truncate=True" in found["long"].error.message
    assert [found[key].answer.finish_reason for key in ("cut", "pair", "fits")] == ["length", "length", "stop"]
    assert found["cut"].answer.prompt_tokens == 64


def test_each_request_that_cannot_be_answered_says_why(tmp_path: Path) -> None:
    engine = open_encoder(save_classifier(tmp_path, "bert", ("score",), "regression"))
    found = results(
        engine,
        [
            classify("regression", "a"),
            Request("choices", "encoder:m", ({"role": "user", "content": "a"},), GenerationParams(), ("a", "b")),
            Request("schema", "encoder:m", ({"role": "user", "content": "a"},), GenerationParams(json_schema={})),
            classify("fine", "a", query="?values=logits"),
        ],
    )
    messages = {key: result.error.message if result.error else "" for key, result in found.items()}
    assert "use graders.reward" in messages["regression"]
    assert "cannot tell how likely a text is" in messages["choices"]
    assert "json_schema" in messages["schema"]
    assert not messages["fine"]


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, "bert", LABELS, head=False)
    spec = parse_spec(f"encoder:{folder}", tmp_path)
    head = head_config(spec)
    assert head is not None
    with pytest.raises(ModelError, match="is a BertForMaskedLM, which has no head that classifies"):
        check_head(spec, head)
    with pytest.raises(ModelError, match=r"has no weights for .*classifier.* which would be made up: it was saved as"):
        open_encoder(folder)


def test_a_classifier_in_a_process_of_its_own_is_asked_by_the_pool(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "nli", "bert", LABELS)
    pool = EnginePool(tmp_path, {**OPTIONS, "exact": False})
    model = "encoder:./nli?truncate=true"
    asked = [
        Request(str(place), model, classify("", text).messages, GenerationParams()) for place, text in enumerate(TEXTS)
    ]
    try:
        pool.submit(asked)
        found = [pool.result(each, timeout=120) for each in asked]
        (replica_set,) = {id(each): each for each in pool.replica_sets().values()}.values()
        info = replica_set.replicas[0].info
    finally:
        pool.close()
    here = results(open_encoder(folder), asked)
    assert info is not None
    assert info.identity["engine"] == "encoder"
    for place, result in enumerate(found):
        assert result is not None
        assert result.answer.scores == pytest.approx(dict(here[str(place)].answer.scores or {}), abs=1e-5)
