"""Structured output: what a random model writes is what the grammar allows, and a grammar is that case's affair."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.grammar import GrammarCompiler
from pytest_evals.generation import GenerationParams

from .conftest import (
    FAMILIES,
    TEMPLATE,
    answers,
    make_tokenizer,
    open_engine,
    reference,
    request,
    runner_of,
    save_model,
    texts,
    usage_of,
    weigh,
)

pytest.importorskip("xgrammar", reason="needs: pip install 'pytest-evals-hf[structured]'")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Rome"]},
        "sure": {"type": "boolean"},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["city", "sure", "size"],
    "additionalProperties": False,
}
LIST: dict[str, Any] = {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}
NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "object", "properties": {"b": {"const": 'é\n"🦊'}}, "required": ["b"]}},
    "required": ["a"],
    "additionalProperties": False,
}
REGEXES = [r"[a-c]{3}\d{2}", r"(yes|no), (fox|dog)\.", r"[0-9]{4}-(0[1-9]|1[0-2])", r"é+ü", r"\w{2,5}"]
CHOICES = [
    ("Paris", "Rome", "Madrid"),
    ("a", "ab", "abc"),
    ('say "no"', "back\\slash", "new\nline"),
    ("é", "🦊", "naïve 日本"),
    ("one",),
]
PROMPTS = ["a", "the quick brown fox", "0123 " * 9, "zebra " * 12, "x"]


def asked(**params: Any) -> list[Request]:
    """Grammars of all kinds side by side, with requests that may write anything between them."""
    guides: list[dict[str, Any]] = [
        *({"json_schema": schema} for schema in (SCHEMA, LIST, NESTED)),
        *({"regex": regex} for regex in REGEXES),
        *({"choice": choice} for choice in CHOICES),
    ]
    guided = [
        request(f"{next(iter(guide))} {n}", PROMPTS[n % 5], max_new_tokens=120, **guide, **{"seed": n, **params})
        for n, guide in enumerate(guides)
    ]
    free = [request(f"free {n}", text, max_new_tokens=7 + n) for n, text in enumerate(PROMPTS)]
    return [entry for pair in zip(guided[:5], free, strict=True) for entry in pair] + guided[5:]


def check(entry: Request, result: Result) -> None:
    """The text is what the grammar allows, and came to its end."""
    params = entry.params
    assert result.error is None
    if not params.guided:
        return
    assert result.answer.finish_reason == "stop"
    for text in map(str, result.answer.samples or (result.answer,)):
        if params.json_schema is not None:
            jsonschema.validate(json.loads(text), dict(params.json_schema))
        elif params.regex is not None:
            assert re.fullmatch(params.regex, text)
        else:
            assert text in params.choice


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 2.0},
    "penalised": {"repetition_penalty": 1.5},
    "filtered": {"temperature": 1.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", ["auto", "3"])
def test_everything_written_is_what_its_grammar_allows(tiny: Path, way: str, batch: str) -> None:
    requests = asked(**WAYS[way])
    found = answers(open_engine(tiny, batch=batch), requests)
    for entry in requests:
        check(entry, found[entry.id])
    free = [entry for entry in requests if not entry.params.guided]
    assert {entry.id: found[entry.id].answer.text for entry in free} == reference(tiny, free)


@pytest.mark.parametrize("family", ["mamba", "t5"])
def test_models_that_run_through_generate_are_guided_too(tmp_path: Path, family: str) -> None:
    engine = open_engine(save_model(tmp_path, FAMILIES[family]()), "?template=none", batch="4")
    requests = asked()
    found = answers(engine, requests)
    for entry in requests:
        check(entry, found[entry.id])


def test_a_text_does_not_depend_on_the_grammars_beside_it(tiny: Path) -> None:
    engine = open_engine(tiny, batch="3")
    requests = asked(temperature=1.0)
    together = texts(engine, requests)
    assert {entry.id: texts(engine, [entry])[entry.id] for entry in requests} == together


def test_a_guided_text_is_the_likeliest_that_is_allowed(tiny: Path) -> None:
    """Of choices of a token each, greedy decoding writes the likeliest."""
    engine = open_engine(tiny)
    letters = tuple("abcdefgh")
    for n, prompt in enumerate(PROMPTS):
        found = answers(engine, [request("g", prompt, choice=letters, max_new_tokens=3), weigh("w", prompt, *letters)])
        best = max(found["w"].answer.likelihoods or (), key=lambda each: each.logprob)
        assert found["g"].answer.text == best.text, n


def test_logprobs_are_those_of_the_model_and_not_of_what_is_allowed(tiny: Path) -> None:
    engine = open_engine(tiny)
    found = answers(engine, [request("g", "x", choice=("q",), logprobs=True, max_new_tokens=3), weigh("w", "x", "q")])
    assert found["w"].answer.likelihoods is not None
    assert found["g"].answer.logprobs is not None
    assert found["g"].answer.logprobs[0] == pytest.approx(found["w"].answer.likelihoods[0].logprob, abs=1e-4)


def test_any_text_can_be_the_only_choice(tiny: Path) -> None:
    wanted = [
        *(text for choice in CHOICES for text in choice),
        "tab\tand\rmore",
        "\x01\x7f\x0c",
        " ",
        "[a-z]*|(b)",
        "\\u0041 $ ::=",
    ]
    requests = [request(text, "x", choice=(text,), max_new_tokens=40) for text in wanted]
    assert texts(open_engine(tiny), requests) == {text: text for text in wanted}


def test_each_sample_follows_the_grammar_for_itself(tiny: Path) -> None:
    entry = request("r", "x", temperature=3.0, n=6, seed=1, json_schema=SCHEMA, max_new_tokens=120)
    result = answers(open_engine(tiny, batch="4"), [entry])["r"]
    check(entry, result)
    assert len(set(result.answer.samples or ())) > 1


def test_json_is_written_on_one_line_without_needless_spaces(tiny: Path) -> None:
    (text,) = texts(open_engine(tiny), [request("r", "x", json_schema=SCHEMA, max_new_tokens=120)]).values()
    assert text == json.dumps(json.loads(text))


def test_a_limit_may_cut_a_text_before_its_grammar_ends(tiny: Path) -> None:
    result = answers(open_engine(tiny), [request("r", "x", choice=("a very long text",), max_new_tokens=3)])["r"]
    assert result.answer.finish_reason == "length"
    assert "a very long text".startswith(result.answer.text)
    assert result.answer.completion_tokens == 3


@pytest.mark.filterwarnings("ignore:When constructing TokenizerInfo from a huggingface")
def test_without_a_token_that_ends_a_text_the_grammar_ends_it(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(TEMPLATE.replace("<end>", ""))
    tokenizer.eos_token = None
    folder = save_model(tmp_path, FAMILIES["llama"](), tokenizer)
    for name in ("config.json", "generation_config.json"):
        data = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**data, "eos_token_id": None}), encoding="utf-8")
    engine = open_engine(folder)
    assert engine._intake._ends == frozenset()
    for entry in asked():
        if entry.params.json_schema is not None or entry.params.choice in {CHOICES[0], CHOICES[4]}:
            check(entry, answers(engine, [entry])[entry.id])


@pytest.mark.parametrize(
    "params",
    [
        {"regex": r"(?=a)a"},
        {"regex": r"(a)\1"},
        {"json_schema": {"$ref": "#/nowhere"}},
        {"json_schema": {"type": "integer", "minimum": 5, "maximum": 1}},
    ],
    ids=["lookahead", "group again", "reference to nothing", "nothing is valid"],
)
def test_a_grammar_that_cannot_be_enforced_is_that_cases_error(tiny: Path, params: dict[str, Any]) -> None:
    requests = [request("bad", "x", max_new_tokens=20, **params), *asked()]
    found = answers(open_engine(tiny), requests)
    error = found["bad"].error
    assert error is not None
    assert error.kind == "unsupported"
    assert error.message.startswith("this structured output cannot be enforced: ")
    assert len(error.message.splitlines()) == 1
    for entry in requests[1:]:
        check(entry, found[entry.id])


@pytest.mark.parametrize("eos", ["<end>", None])
def test_logits_beyond_the_vocabulary_are_hidden_and_nothing_is_warned_of(eos: str | None) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = eos
    guide = GrammarCompiler(tokenizer, 320, [1] if eos else []).guide(GenerationParams(regex="[0-9]"))
    assert guide is not None
    logits = torch.zeros(400)
    guide.hide(logits)
    allowed = [tokenizer.decode([token]) for token in logits.isfinite().nonzero().flatten().tolist()]
    assert sorted(allowed) == list("0123456789")


def test_equal_grammars_are_compiled_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import xgrammar

    made: list[object] = []
    compiler = xgrammar.GrammarCompiler

    def counted(info: Any) -> Any:
        made.append(info)
        return compiler(info)

    monkeypatch.setattr(xgrammar, "GrammarCompiler", counted)
    engine = open_engine(tiny)
    assert made == []
    texts(engine, asked())
    assert len(made) == 1


def test_without_xgrammar_a_guided_request_says_what_to_install_and_others_run(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    found = answers(
        engine, [request("guided", "x", choice=("a",), max_new_tokens=3), request("free", "x", max_new_tokens=3)]
    )
    error = found["guided"].error
    assert error is not None
    assert (error.kind, error.message) == (
        "unsupported",
        "structured output needs xgrammar: pip install 'pytest-evals-hf[structured]'",
    )
    assert found["free"].error is None


def test_a_row_that_is_tried_again_goes_on_where_its_grammar_was(
    tiny: Path, out_of_memory: Callable[[Any, int], None]
) -> None:
    requests = asked(temperature=1.0)
    expected = texts(open_engine(tiny), requests)
    engine = open_engine(tiny)
    out_of_memory(runner_of(engine), 3)
    assert texts(engine, requests) == expected
    assert usage_of(engine)["most_rows"] > 3


@pytest.fixture
def out_of_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, int], None]:
    """Let a forward of so many rows or more fail, once six forwards went well."""

    def install(runner: Any, most: int) -> None:
        forward, calls = runner._forward, 0

        def scarce(layout: Any, step: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > 6 and len(layout.rows) > most:
                raise MemoryError
            return forward(layout, step)

        monkeypatch.setattr(runner, "_forward", scarce)

    return install
