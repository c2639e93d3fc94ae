"""Token counts of prompts, by a tokenizer that is named for a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.openai.tokenizer import token_counter
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

TEMPLATE = (
    "{% for message in messages %}{{ message.role }} : {{ message.content }} ; {% endfor %}"
    "{% if tools %}tools {{ tools | length }} {% endif %}{% if add_generation_prompt %}assistant : {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of words."""
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    words: Any = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    found = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    found.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("words")
    found.save_pretrained(folder)
    return folder


def ask(*texts: str, choices: tuple[str, ...] = (), **params: Any) -> Request:
    messages = tuple({"role": "user", "content": text} for text in texts)
    return Request("a", "m", messages, GenerationParams(**params), choices)  # type: ignore[arg-type]  # plain messages


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_tokens_are_those_of_the_prompt_as_the_template_writes_it(folder: Path) -> None:
    count = token_counter(str(folder), plain=False)
    # user : one two ; assistant :
    assert count(ask("one two")) == 7
    assert count(ask("one two", "three")) == 11
    assert count(ask("one two", tools=(TOOL,))) == 9
    assert count(ask("one two", tools=(TOOL,), tool_choice="none")) == 7
    assert count(ask("one", choices=(" a", " b c"))) == 7 + 8
    parts: Any = [{"type": "text", "text": "one"}, {"type": "image", "image": "a.png"}]
    assert count(Request("a", "m", ({"role": "user", "content": parts},), GenerationParams())) >= 6
    assert token_counter(str(folder), plain=True)(ask("one two", "three")) == 3


def test_a_served_model_with_a_tokenizer_counts_before_it_is_asked(folder: Path) -> None:
    spec = parse_spec(f"openai:m@http://127.0.0.1:9?tokenizer={folder}", Path())
    counter = spec.kind.counter(spec)
    assert counter is not None
    assert counter(ask("one two")) == 7
    without = parse_spec("openai:m@http://127.0.0.1:9", Path())
    assert without.kind.counter(without) is None


def test_a_tokenizer_that_is_not_there_or_fails_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer=.*: there is no tokenizer"):
        token_counter(str(tmp_path), plain=True)
    template = folder / "chat_template.jinja"
    written = template.read_text()
    try:
        template.write_text("{{ raise_exception('no system messages') }}")
        with pytest.raises(ModelError, match="its chat template fails: no system messages"):
            token_counter(str(folder), plain=False)(ask("one"))
        template.unlink()
        with pytest.raises(ModelError, match="it has no chat template"):
            token_counter(str(folder), plain=False)
    finally:
        template.write_text(written)
