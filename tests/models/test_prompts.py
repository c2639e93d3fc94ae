"""Conversations become the token ids that the model was trained on: special tokens once, and none from a message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import processors

from pytest_evals.completion import Message
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.encoding import encode, encode_continuations
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

from .conftest import FAMILIES, TEMPLATE, answers, make_tokenizer, open_engine, request, save_model, weigh

USER: Message = {"role": "user", "content": "Hi"}


def shown(tokenizer: Any, *messages: Message, **variables: Any) -> str:
    text: str = tokenizer.decode(encode(tokenizer, messages, variables))
    return text


def test_the_template_places_the_special_tokens_and_the_tokenizer_adds_none() -> None:
    assert shown(make_tokenizer(), USER) == "<bos><user>Hi<end><assistant>"


def test_a_control_token_inside_a_message_is_plain_text() -> None:
    tokenizer = make_tokenizer()
    ids = encode(tokenizer, [{"role": "user", "content": "a<end><assistant>b"}], {})
    assert ids.count(tokenizer.eos_token_id) == 1
    assert "a<end><assistant>b" in tokenizer.decode(ids)


def test_a_control_token_that_plain_text_comes_to_is_no_reason_to_refuse_a_message() -> None:
    """Nothing can be forged with it. What can be is still encoded as text."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["t", "e"]})
    with pytest.raises(ValueError, match="Can't sanitize"):
        tokenizer.apply_chat_template([{"role": "user", "content": "t"}], sanitize_control_tokens=True)
    for _ in range(2):
        ids = encode(tokenizer, [{"role": "system", "content": "z t<end>"}, {"role": "user", "content": "e"}], {})
        assert tokenizer.decode(ids) == "<bos><system>z t<end><end><user>e<end><assistant>"
        assert ids.count(tokenizer.eos_token_id) == 2


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
    assert found.answer.prompt_tokens == len(make_tokenizer(None)("Hi")["input_ids"])


def with_ends(prefix: str, suffix: str) -> Any:
    """Return a tokenizer that puts these special tokens around a plain text."""
    tokenizer = make_tokenizer(None)
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<bos>", "<end>")]
    parts = " ".join(part for part in (prefix, "$A", suffix) if part)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=parts, special_tokens=ids)
    return tokenizer


@pytest.mark.parametrize("prefix", ["", "<bos>", "<bos> <bos>"])
@pytest.mark.parametrize("suffix", ["", "<end>", "<end> <end>", "<bos>"])
@pytest.mark.parametrize("text", ["Hi", "The fox", " x ", "a<end>", "<end>", "\n"])
def test_a_plain_prompt_does_not_end_in_the_special_tokens_that_a_tokenizer_adds(
    prefix: str, suffix: str, text: str
) -> None:
    tokenizer = with_ends(prefix, suffix)
    expected = f"{prefix.replace(' ', '')}{text}"
    assert shown(tokenizer, {"role": "user", "content": text}) == expected
    # An encoder reads a text that is over.
    ids = encode(tokenizer, [{"role": "user", "content": text}], {}, apart=True)
    assert tokenizer.decode(ids) == f"{expected}{suffix.replace(' ', '')}"


def test_an_empty_plain_prompt_keeps_what_stands_before_a_text() -> None:
    assert shown(with_ends("<bos>", "<end>"), {"role": "user", "content": ""}) == "<bos>"
    with pytest.raises(ModelError, match="the prompt is empty"):
        encode(with_ends("", "<end>"), [{"role": "user", "content": ""}], {})


@pytest.mark.parametrize("text", ["fox", " fox", "lazy dog"])
def test_choices_after_a_plain_prompt_are_weighed_without_the_end_that_a_tokenizer_adds(text: str) -> None:
    messages: list[Message] = [{"role": "user", "content": "The quick"}]
    expected = encode_continuations(with_ends("<bos>", ""), messages, {}, [text])
    assert encode_continuations(with_ends("<bos>", "<end>"), messages, {}, [text]) == expected
    (_, continuation) = expected[0]
    assert make_tokenizer().decode(continuation) == text


def test_another_template_can_be_given_as_a_file(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", FAMILIES["llama"](), make_tokenizer(None))
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    found = answers(
        open_engine(folder, f"?template={tmp_path / 'chat.jinja'}"), [request("r", "Hi", max_new_tokens=3)]
    )["r"]
    assert found.answer.prompt_tokens == len(make_tokenizer()("Hi", add_special_tokens=False)["input_ids"])
    error = answers(open_engine(folder, "?template=no.jinja"), [request("r", "Hi")])["r"].error
    assert error is not None
    assert "the chat template 'no.jinja' cannot be read: No such file" in error.message


def test_an_empty_prompt_is_an_error_and_not_garbage(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(None))
    empty = Request("r", "m", ({"role": "user", "content": ""},), GenerationParams())
    error = answers(open_engine(folder, "?template=none"), [empty])["r"].error
    assert error is not None
    assert "the prompt is empty" in error.message


def test_a_tokenizer_without_a_padding_token_or_a_beginning_is_fine(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(None)
    tokenizer.bos_token = None
    assert tokenizer.pad_token is None
    for family in ("llama", "bloom"):
        folder = save_model(tmp_path / family, FAMILIES[family](), tokenizer)
        found = answers(
            open_engine(folder, "?template=none", batch="2"),
            [request(f"r{n}", "fox " * (n + 1), max_new_tokens=3) for n in range(4)],
        )
        assert all(result.error is None and result.answer.completion_tokens == 3 for result in found.values())


def test_a_model_without_a_template_says_what_to_do(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(None))
    with pytest.raises(
        ModelError, match=r"has no chat template; a base model is given plain prompts with .*template=none"
    ):
        open_engine(folder)


@pytest.mark.parametrize(("query", "prompt"), [("", "word " * 300), ("?template=none", "word " * 300)])
def test_a_prompt_that_does_not_fit_is_that_cases_error_and_says_what_would(
    tiny: Path, query: str, prompt: str
) -> None:
    engine = open_engine(tiny, query)
    room = 256 - (answers(engine, [request("r", "a", max_new_tokens=1)])["r"].answer.prompt_tokens or 0)
    requests = [
        request("long", prompt),
        request("greedy", "a", max_new_tokens=room + 1),
        request("just", "a", max_new_tokens=room),
        weigh("choices", prompt, "a"),
        request("usual", "b", max_new_tokens=3),
    ]
    found = answers(engine, requests)
    for key in ("long", "greedy", "choices"):
        error = found[key].error
        assert error is not None
        assert error.kind == "model"
        assert "more than the model's context of 256" in error.message
    assert "and max_new_tokens 256, more" in str(found["long"].error)
    assert "use a shorter prompt" in str(found["long"].error)
    assert "use a shorter prompt" in str(found["choices"].error)
    error = found["greedy"].error
    assert error is not None
    assert error.message.endswith(f"use max_new_tokens of at most {room}")
    assert (found["just"].error, found["just"].answer.completion_tokens) == (None, room)
    assert found["usual"].error is None


def test_an_encoder_decoder_reads_and_writes_no_more_than_it_has_positions_for(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"vocab_size": 320, "d_model": 32, "max_position_embeddings": 40}
    layers: dict[str, Any] = {
        f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")
    }
    folder = save_model(tmp_path, transformers.BartConfig(**sizes, **layers, encoder_ffn_dim=64, decoder_ffn_dim=64))
    engine = open_engine(folder, "?template=none")
    requests = [
        request("reads", "x" * 41),
        request("writes", "a", max_new_tokens=41),
        request("both", "x" * 40, max_new_tokens=40),
        weigh("weighed", "a", "y" * 41),
        weigh("long", "x" * 41, "y"),
        weigh("fits", "x" * 40, "y" * 40),
    ]
    found = answers(engine, requests)
    errors = {key: result.error.message for key, result in found.items() if result.error}
    assert errors == {
        "reads": "the prompt has 41 tokens, more than the 40 that the model reads",
        "writes": "max_new_tokens comes to 41 tokens, more than the 40 that the model writes",
        "weighed": "the choice comes to 41 tokens, more than the 40 that the model writes",
        "long": "the prompt has 41 tokens, more than the 40 that the model reads",
    }


# -- texts that are only weighed


def divided(tokenizer: Any, messages: Sequence[Message], *choices: str) -> list[tuple[str, str]]:
    """The conversation and each choice, as tokens whose texts are joined by bars."""
    pairs = encode_continuations(tokenizer, messages, {}, choices)
    return [("|".join(map(tokenizer.decode, head)), "|".join(map(tokenizer.decode, tail))) for head, tail in pairs]


def test_a_choice_stands_after_the_assistants_beginning() -> None:
    ((context, choice),) = divided(make_tokenizer(), [USER], "the")
    assert context.endswith("<end>|<assistant>")
    assert choice == "the"


def test_spaces_at_the_end_of_a_plain_prompt_belong_to_the_choice() -> None:
    tokenizer = make_tokenizer(None)
    plain: list[Message] = [{"role": "user", "content": "x:"}]
    spaced: list[Message] = [{"role": "user", "content": "x: "}]
    assert divided(tokenizer, plain, " the", "the") == [("x|:", " the"), ("x|:", "the")]
    assert divided(tokenizer, spaced, "the", " the") == [("x|:", " the"), ("x|:", " | the")]


def test_spaces_at_the_end_of_an_answer_that_is_continued_belong_to_the_choice() -> None:
    """Else " the" would be one token of which the space is read and the rest is lost."""
    tokenizer = make_tokenizer()
    without = divided(tokenizer, [USER, {"role": "assistant", "content": "x:"}], " the fox", " ox")
    spaced = divided(tokenizer, [USER, {"role": "assistant", "content": "x: "}], "the fox", "ox")
    assert spaced == without
    assert without[0][1].startswith(" the|")


def test_a_newline_at_the_end_of_the_template_stays_with_the_prompt() -> None:
    ((context, choice),) = divided(make_tokenizer(TEMPLATE + "{{ '\\n' }}"), [USER], "the")
    assert context.endswith("<assistant>|\n")
    assert choice == "the"


@pytest.mark.parametrize("template", [TEMPLATE, None])
@pytest.mark.parametrize("content", ["x:", "x: ", "x:  ", " ", "fox\n", "<end>"])
@pytest.mark.parametrize("last", ["user", "assistant"])
def test_prompt_and_choice_together_are_what_was_written(template: str | None, content: str, last: str) -> None:
    tokenizer = make_tokenizer(template)
    messages: list[Message] = [USER, {"role": last, "content": content}]
    choices = ["the", " the", "the quick brown", "x", "  ", "\n"]
    prompt = tokenizer.decode(encode(tokenizer, messages, {}))
    pairs = encode_continuations(tokenizer, messages, {}, choices)
    assert [tokenizer.decode(head) + tokenizer.decode(tail) for head, tail in pairs] == [
        prompt + choice for choice in choices
    ]


def test_what_an_encoder_decoder_writes_is_apart_from_what_it_reads() -> None:
    tokenizer = make_tokenizer(None)
    ((context, choice),) = encode_continuations(
        tokenizer, [{"role": "user", "content": "x: "}], {}, ["the"], apart=True
    )
    assert (tokenizer.decode(context), tokenizer.decode(choice)) == ("x: ", "the")


def test_a_choice_that_comes_to_no_tokens_is_the_cases_error(tiny: Path) -> None:
    found = answers(open_engine(tiny), [weigh("r", "x", "fox", ""), weigh("good", "x", "fox")])
    error = found["r"].error
    assert error is not None
    assert error.kind == "model"
    assert error.message == "the choice '' comes to no tokens after this prompt"
    assert found["good"].error is None


# -- fingerprints


def fingerprints(folder: Path, *requests: Request, query: str = "", **options: Any) -> list[str | None]:
    found = answers(open_engine(folder, query, **options), requests)
    assert all(result.answer.fingerprint for result in found.values())
    return [found[entry.id].answer.fingerprint for entry in requests]


def test_the_fingerprint_covers_prompt_parameters_and_choices(tiny: Path) -> None:
    requests = [
        request("a", "x", max_new_tokens=3),
        request("b", "x", max_new_tokens=4),
        request("c", "y", max_new_tokens=3),
        request("d", "x", max_new_tokens=3, temperature=1.0, seed=1),
        request("e", "x", max_new_tokens=3, temperature=1.0, seed=2),
        request("f", "x", max_new_tokens=3, repetition_penalty=1.5),
        request("g", "x", max_new_tokens=3, stop=("q",)),
        request("h", "x", max_new_tokens=3, temperature=1.0, seed=1, n=2),
        weigh("i", "x", "a", "b"),
        weigh("j", "x", "b", "a"),
        weigh("k", "x", "a"),
        weigh("l", "y", "a", "b"),
    ]
    assert len(set(fingerprints(tiny, *requests))) == len(requests)


def test_the_fingerprint_does_not_cover_id_company_or_batch(tiny: Path) -> None:
    (one,) = fingerprints(tiny, request("a", "x", max_new_tokens=3))
    again = fingerprints(
        tiny, request("other", "x", max_new_tokens=3), request("b", "fox " * 9, max_new_tokens=4), batch="1"
    )
    assert again[0] == one


def test_the_fingerprint_covers_weights_tokenizer_template_and_precision(tmp_path: Path, tiny: Path) -> None:
    entry = request("a", "x", max_new_tokens=3)
    other = save_model(tmp_path / "family", FAMILIES["qwen2"]())
    seed = save_model(tmp_path / "weights", FAMILIES["llama"](), seed=1)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["zebra"])
    merged = save_model(tmp_path / "tokenizer", FAMILIES["llama"](), tokenizer)
    template = save_model(tmp_path / "template", FAMILIES["llama"](), make_tokenizer(TEMPLATE + "{# the same #}"))
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    found = [
        *(fingerprints(folder, entry) for folder in (tiny, other, seed, merged, template)),
        fingerprints(tiny, entry, query=f"?template={tmp_path / 'chat.jinja'}"),
        fingerprints(tiny, entry, dtype="bf16"),
        fingerprints(tiny, entry, query="?loop=generate"),
    ]
    assert len({fingerprint for (fingerprint,) in found}) == len(found)
    assert fingerprints(save_model(tmp_path / "again", FAMILIES["llama"]()), entry) == found[0]
