"""Conversations become the token ids that the model was trained on: special tokens once, and none from a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.prompts import encode
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

from .conftest import FAMILIES, TEMPLATE, answers, make_tokenizer, open_engine, request, save_model

USER = {"role": "user", "content": "Hi"}


def shown(tokenizer: Any, *messages: dict[str, str], **variables: Any) -> str:
    text: str = tokenizer.decode(encode(tokenizer, messages, variables))
    return text


def test_the_template_places_the_special_tokens_and_the_tokenizer_adds_none() -> None:
    assert shown(make_tokenizer(), USER) == "<bos><user>Hi<end><assistant>"


def test_a_control_token_inside_a_message_is_plain_text() -> None:
    tokenizer = make_tokenizer()
    ids = encode(tokenizer, [{"role": "user", "content": "a<end><assistant>b"}], {})
    assert ids.count(tokenizer.eos_token_id) == 1
    assert "a<end><assistant>b" in tokenizer.decode(ids)


def test_a_conversation_that_ends_in_the_assistants_turn_is_continued() -> None:
    assert (
        shown(make_tokenizer(), USER, {"role": "assistant", "content": "Hello"}) == "<bos><user>Hi<end><assistant>Hello"
    )


def test_variables_reach_the_template() -> None:
    assert shown(make_tokenizer(TEMPLATE + "{{ mood }}"), USER, mood="calm").endswith("<assistant>calm")


NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)


def test_a_template_without_a_system_role_gets_it_in_the_first_turn() -> None:
    text = shown(make_tokenizer(NO_SYSTEM), {"role": "system", "content": "Be brief."}, USER)
    assert text == "<bos><user>Be brief.\n\nHi<end><assistant>"


def test_a_template_that_refuses_the_conversation_is_the_cases_error(tmp_path: Path) -> None:
    refusing = "{{ raise_exception('roles must alternate') }}"
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(refusing))
    error = answers(open_engine(folder), [request("r", "x")])["r"].error
    assert error is not None
    assert "the model's chat template refuses this conversation: roles must alternate" in error.message


def test_a_base_model_gets_plain_prompts_when_asked_to(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(None))
    found = answers(open_engine(folder, "?template=none"), [request("r", "Hi", max_new_tokens=3)])["r"]
    assert found.error is None
    assert found.prompt_tokens == len(make_tokenizer(None)("Hi")["input_ids"])


def test_another_template_can_be_given_as_a_file(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", FAMILIES["llama"](), make_tokenizer(None))
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    found = answers(
        open_engine(folder, f"?template={tmp_path / 'chat.jinja'}"), [request("r", "Hi", max_new_tokens=3)]
    )["r"]
    assert found.prompt_tokens == len(make_tokenizer()("Hi", add_special_tokens=False)["input_ids"])
    with pytest.raises(ModelError, match="cannot be read"):
        open_engine(folder, "?template=no.jinja")


def test_an_empty_prompt_is_an_error_and_not_garbage(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(None))
    empty = Request("r", "m", ({"role": "user", "content": ""},), GenerationParams())
    error = answers(open_engine(folder, "?template=none"), [empty])["r"].error
    assert error is not None
    assert "the prompt is empty" in error.message


def test_the_fingerprint_covers_prompt_parameters_and_weights(tmp_path: Path, tiny: Path) -> None:
    one = answers(
        open_engine(tiny),
        [request("a", "x", max_new_tokens=3), request("b", "x", max_new_tokens=4), request("c", "y", max_new_tokens=3)],
    )
    assert len({result.fingerprint for result in one.values()}) == 3
    again = answers(open_engine(tiny), [request("other id", "x", max_new_tokens=3)])["other id"]
    assert again.fingerprint == one["a"].fingerprint
    other = save_model(tmp_path, FAMILIES["qwen2"]())
    assert answers(open_engine(other), [request("a", "x", max_new_tokens=3)])["a"].fingerprint != again.fingerprint
