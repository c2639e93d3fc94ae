"""Perplexities are those of a plain forward in torch over the whole text, or over windows of a long one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.engines.transformers.encoding import windows

from .conftest import (
    FAMILIES,
    answers,
    make_tokenizer,
    open_engine,
    reference_model,
    save_model,
    tokenizer_of_all,
    weigh,
)

TEXTS = ("The fox jumps over the lazy dog.", "Paris", "zebra 0123\n\nÉté: 🦊", " a text  that begins with a space")
SUITE = """
from pytest_evals import cases, graders

tokens = graders.perplexity("item.text")
words = graders.perplexity("{{item.text}}", per="word")
bits = graders.perplexity(text="item.text", per="byte", bits=True)

@cases(ROWS, id="id", prompt="", gates=["tokens.corpus > 1", "words.corpus > 1", "bits.corpus > 0"])
def test_texts(tokens, words, bits): ...
"""


@torch.no_grad()
def logprob(model: Any, before: list[int], text: list[int]) -> float:
    """The log-probability of the tokens, in one forward of everything."""
    logits = model(input_ids=torch.tensor([[*before, *text][:-1]])).logits[0, len(before) - 1 :]
    return float(logits.double().log_softmax(-1).gather(1, torch.tensor(text).unsqueeze(1)).sum())


def token_ids(text: str) -> list[int]:
    ids: list[int] = tokenizer_of_all()(text, add_special_tokens=False)["input_ids"]
    return ids


def test_perplexities_of_a_suite_are_those_of_torch(tiny: Path, pytester: pytest.Pytester) -> None:
    rows = [{"id": f"t{number}", "text": text} for number, text in enumerate(TEXTS)]
    pytester.makepyfile(test_suite=SUITE.replace("ROWS", repr(rows)))
    model = f"{tiny}?template=none&dtype=fp32"
    result = pytester.runpytest_subprocess(
        *("--evals", "--evals-model", model, "--evals-device", "cpu", "--evals-artifact", "run.jsonl", "-v")
    )
    assert result.ret == 0, result.stdout.str()
    artifact = EvaluationArtifact.load(pytester.path / "run.jsonl")
    plain = reference_model(tiny)
    texts = {row["id"]: row["text"] for row in rows}
    sums = {name: logprob(plain, [0], token_ids(text)) for name, text in texts.items()}
    for sample in artifact.samples:
        total, text = sums[sample.case_id], texts[sample.case_id]
        found = {grade.grader_key: grade for grade in sample.grades}
        assert found["tokens"].metadata["logprob"] == pytest.approx(total, rel=1e-5)
        assert found["tokens"].value == pytest.approx(math.exp(-total / len(token_ids(text))), rel=1e-5)
        words = len(re.split(r"\s+", text))
        assert found["words"].value == pytest.approx(math.exp(-total / words), rel=1e-4)
        assert found["bits"].value == pytest.approx(-total / math.log(2) / len(text.encode()), rel=1e-5)
    scores = {score["grader"]: score for score in artifact.scores()}
    total, count = sum(sums.values()), sum(len(token_ids(text)) for text in TEXTS)
    assert scores["tokens"]["corpus"] == pytest.approx(math.exp(-total / count), rel=1e-5)
    size = sum(len(text.encode()) for text in TEXTS)
    assert scores["bits"]["corpus"] == pytest.approx(-total / math.log(2) / size, rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_text_that_nothing_stands_before_comes_after_the_token_that_begins_texts(
    folder: Callable[[str], Path], family: str
) -> None:
    plain = reference_model(folder(family))
    found = answers(open_engine(folder(family), "?template=none"), [weigh("r", "", *TEXTS)])["r"]
    sums = [each.logprob for each in found.answer.likelihoods or ()]
    assert sums == pytest.approx([logprob(plain, [0], token_ids(text)) for text in TEXTS], rel=1e-5)


def test_without_such_a_token_it_comes_after_the_one_that_ends_them(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.bos_token = None
    place = save_model(tmp_path, FAMILIES["llama"](), tokenizer)
    found = answers(open_engine(place, "?template=none"), [weigh("r", "", TEXTS[0])])["r"]
    (likelihood,) = found.answer.likelihoods or ()
    assert likelihood.logprob == pytest.approx(logprob(reference_model(place), [1], token_ids(TEXTS[0])), rel=1e-5)


def test_a_tokenizer_that_has_neither_is_an_error(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.bos_token = tokenizer.eos_token = None
    place = save_model(tmp_path, FAMILIES["llama"](), tokenizer)
    error = answers(open_engine(place, "?template=none"), [weigh("r", "", "x")])["r"].error
    assert error is not None
    assert "the prompt is empty: it has no tokens" in error.message


# -- texts that are longer than the model's context


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("repeats", [28, 29, 60, 100])
def test_a_text_longer_than_the_context_is_computed_in_windows(
    folder: Callable[[str], Path], family: str, repeats: int
) -> None:
    text = "The fox jumps. " * repeats
    ids, size, plain = token_ids(text), 256, reference_model(folder(family))
    total = logprob(plain, [0], ids[:size])
    for begin in range(size, len(ids), size):
        end = min(begin + size, len(ids))
        # As many tokens before it as the context holds with it.
        total += logprob(plain, ids[end - size - 1 : begin], ids[begin:end])
    found = answers(open_engine(folder(family), "?template=none"), [weigh("r", "", text, "short")])["r"]
    long, short = found.answer.likelihoods or ()
    assert (long.tokens, long.bytes, short.tokens) == (len(ids), len(text.encode()), len(token_ids("short")))
    assert long.logprob == pytest.approx(total, rel=1e-5)
    assert short.logprob == pytest.approx(logprob(plain, [0], token_ids("short")), rel=1e-5)


def test_behind_a_prompt_a_text_longer_than_the_context_is_an_error(folder: Callable[[str], Path]) -> None:
    found = answers(open_engine(folder("llama"), "?template=none"), [weigh("r", "fox", "The fox jumps. " * 60)])["r"]
    assert found.error is not None
    assert "more than the model's context of 256" in found.error.message


@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 16, 17, 64])
@pytest.mark.parametrize("beginning", [[100], [100, 101, 102]])
def test_windows_hold_each_token_once_and_fit_into_the_context(length: int, beginning: list[int]) -> None:
    text = list(range(length))
    found = list(windows(beginning, text, 8))
    assert [token for _, part in found for token in part] == text
    assert all(len(before) + len(part) - 1 <= 8 for before, part in found)
    assert all(len(before) >= 1 for before, _ in found)
    assert found[0][0] == beginning
    for before, part in found[1:]:
        assert [*before, *part] == text[part[0] - len(before) : part[-1] + 1]
        assert len(before) + len(part) - 1 == min(8, part[-1])
