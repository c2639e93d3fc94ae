"""No message is dropped on its way to the model, no variable is passed over, and a completion ends where its turn does."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers

from pytest_evals.completion import Message
from pytest_evals.engines import run_date
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers import chat_templates
from pytest_evals.engines.transformers.encoding import encode
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

from .conftest import FAMILIES, TEMPLATE, answers, make_tokenizer, open_engine, reference, request, save_model, texts

USER: Message = {"role": "user", "content": "Hi"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
DEVELOPER: Message = {"role": "developer", "content": "Be kind."}
CALL: Any = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Rome"}'}}
TOOLS: list[Message] = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "sunny", "tool_call_id": "c1", "name": "find"},
]


def turns_of(*roles: str) -> str:
    """A template that passes over messages of other roles."""
    shown = "{% if message.role in ROLES %}<{{ message.role }}>{{ message.content }}<end>{% endif %}"
    body = shown.replace("ROLES", repr(list(roles)))
    return (
        f"{{% for message in messages %}}{body}{{% endfor %}}{{% if add_generation_prompt %}}<assistant>{{% endif %}}"
    )


IN_PARTS = (
    "{% for message in messages %}<{{ message.role }}>{% for part in message.content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% endif %}{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
WITH_CALLS = TEMPLATE.replace(
    "{{ message.content }}",
    "{{ message.content }}{% for call in message.tool_calls or [] %}{{ call.function.name }}"
    "{{ call.function.arguments | tojson }}{% endfor %}",
)


def shown(template: str, *messages: Message) -> str:
    tokenizer = make_tokenizer(template)
    text: str = tokenizer.decode(encode(tokenizer, messages, {}))
    return text


@pytest.mark.parametrize(
    ("template", "messages", "text"),
    [
        (turns_of("user", "assistant"), [SYSTEM, USER], "<user>Be brief.\n\nHi<end><assistant>"),
        (turns_of("user", "assistant"), [DEVELOPER, USER], "<user>Be kind.\n\nHi<end><assistant>"),
        (turns_of("user", "assistant"), [SYSTEM, DEVELOPER, USER], "<user>Be brief.\n\nBe kind.\n\nHi<end><assistant>"),
        (turns_of("system", "user"), [DEVELOPER, USER], "<system>Be kind.<end><user>Hi<end><assistant>"),
        (TEMPLATE, [DEVELOPER, USER], "<bos><developer>Be kind.<end><user>Hi<end><assistant>"),
        (IN_PARTS, [SYSTEM, USER], "<system>Be brief.<end><user>Hi<end><assistant>"),
        (
            TEMPLATE,
            [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "<bos><user>Hi<end><assistant>",
        ),
        (IN_PARTS, [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "<user>Hi<end><assistant>"),
        (
            WITH_CALLS,
            TOOLS,
            '<bos><user>Hi<end><assistant>find{"city": "Rome"}<end><tool>sunny<end><assistant>',
        ),
    ],
)
def test_every_message_reaches_the_model(template: str, messages: list[Message], text: str) -> None:
    assert shown(template, *messages) == text


@pytest.mark.parametrize(
    ("template", "messages", "words"),
    [
        (turns_of("user", "assistant"), TOOLS, "drops message 3, whose role is 'tool'"),
        (turns_of("user", "assistant"), [USER, SYSTEM, USER], "drops message 2, whose role is 'system'"),
        (turns_of("user", "tool"), [USER, {"role": "assistant", "content": "Yes"}, USER], "whose role is 'assistant'"),
        ("{{ messages[-1].content }}", [USER, {"role": "assistant", "content": "Yes"}, USER], "drops message 1"),
        ("nothing", [USER], "drops message 1, whose role is 'user'"),
    ],
)
def test_a_message_that_a_template_drops_is_the_cases_error(template: str, messages: list[Message], words: str) -> None:
    with pytest.raises(ModelError) as caught:
        shown(template, *messages)
    assert words in str(caught.value)
    assert "?template=FILE" in str(caught.value)


R1 = (
    "{% for message in messages %}{% set content = message.content %}{% if message.role == 'assistant' %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}<{{ message.role }}>{{ content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)


@pytest.mark.parametrize(
    ("begun", "text"),
    [
        ("<think>\nLyon? No.\n</think>\n\nIt is", "<user>Hi<end><assistant><think>\nLyon? No.\n</think>\n\nIt is"),
        ("Lyon? No.\n</think>\n\nIt is", "<user>Hi<end><assistant><think>\nLyon? No.\n</think>\n\nIt is"),
        ("It is", "<user>Hi<end><assistant>It is"),
    ],
)
def test_an_answer_that_begins_with_thoughts_is_continued(begun: str, text: str) -> None:
    assert shown(R1, USER, {"role": "assistant", "content": begun}) == text


# -- named templates, variables, dates


def test_of_several_templates_the_default_one_is_taken_or_the_one_that_is_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": TEMPLATE, "rag": "rag " + TEMPLATE, "tool_use": "tools " + TEMPLATE}
    folder = save_model(tmp_path, FAMILIES["llama"](), tokenizer)
    engine = open_engine(folder)
    plain = request("plain", "Hi", max_new_tokens=2)
    named = Request("named", f"{folder}?template=rag", plain.messages, plain.params)
    found = answers(engine, [plain, named])
    lengths = [found[key].answer.prompt_tokens or 0 for key in ("plain", "named")]
    assert lengths[1] == lengths[0] + len(tokenizer("rag ", add_special_tokens=False)["input_ids"])


def test_one_template_under_a_name_is_taken_and_of_several_none_is_guessed() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"tool_use": TEMPLATE}
    assert tokenizer.decode(encode(tokenizer, [USER], {})) == "<bos><user>Hi<end><assistant>"
    tokenizer.chat_template = {"tool_use": TEMPLATE, "rag": TEMPLATE}
    with pytest.raises(ModelError, match=r"none by default; name one with \?template=NAME \(rag, tool_use\)"):
        encode(tokenizer, [USER], {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"enable_thinkin": False}, "never reads 'enable_thinkin' (it reads: enable_thinking, mood)"),
        ({"return_dict": True}, "never reads 'return_dict'"),
        ({"truncation": True}, "never reads 'truncation'"),
        ({"chat_template": "tool_use"}, "never reads 'chat_template'"),
        ({"messages": []}, "never reads 'messages'"),
    ],
)
def test_a_variable_that_the_template_never_reads_is_refused(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    template = TEMPLATE + "{% if enable_thinking %}x{% endif %}{{ mood }}"
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(template))
    for engine, entry in (
        (open_engine(folder), request("r", "Hi", chat_template_kwargs=given)),
        (open_engine(folder, "?template=none"), request("r", "Hi", chat_template_kwargs={"mood": "calm"})),
    ):
        error = answers(engine, [entry])["r"].error
        assert error is not None
        assert error.kind == "unsupported"
        assert words in error.message or "has no chat template that could read them" in error.message


def test_variables_of_a_model_are_those_of_its_requests_unless_they_say_otherwise(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(TEMPLATE + "{{ mood }}"))
    model = f'{folder}?chat_template_kwargs={{"mood": "calm and slow"}}'
    plain = request("plain", "Hi", max_new_tokens=2)
    own = Request("own", model, plain.messages, plain.params)
    other = Request(
        "other", model, plain.messages, GenerationParams(max_new_tokens=2, chat_template_kwargs={"mood": ""})
    )
    found = answers(open_engine(folder), [plain, own, other])
    counts = {key: result.answer.prompt_tokens for key, result in found.items()}
    assert counts["plain"] == counts["other"]
    assert (counts["own"] or 0) > (counts["plain"] or 0)


def test_a_template_reads_the_date_of_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(run_date.VARIABLE, "2024-02-29")
    template = "{{ strftime_now('%d %b %Y') }} " + TEMPLATE
    chat_templates.pin_date.cache_clear()
    assert shown(template, USER).startswith("29 Feb 2024 ")
    folder = save_model(tmp_path, FAMILIES["llama"](), make_tokenizer(template))
    assert open_engine(folder).info.identity["date"] == "2024-02-29"
    monkeypatch.delenv(run_date.VARIABLE)
    assert run_date.run_date() == datetime.datetime.now().astimezone().date()
    chat_templates.pin_date.cache_clear()


# -- where a completion ends


def test_a_turn_ends_with_the_token_that_the_template_writes(tmp_path: Path) -> None:
    """The generation config names another: the model would write further turns up to its limit."""
    seeds = range(20)
    requests = [
        request(str(seed), "fox " * (1 + seed), max_new_tokens=40, temperature=2.0, seed=seed) for seed in seeds
    ]
    folder = save_model(tmp_path / "other", FAMILIES["llama"](), ends=(2,))
    engine = open_engine(folder)
    found = answers(engine, requests)
    same = texts(open_engine(save_model(tmp_path / "both", FAMILIES["llama"](), ends=(1, 2))), requests)
    assert {key: result.answer.text for key, result in found.items()} == same
    assert any(result.answer.finish_reason == "stop" for result in found.values())
    (note,) = [note for note in engine.info.notes if "ends turns" in note]
    assert "its chat template ends turns with '<end>'" in note
    assert "its generation_config with '<system>'" in note


def test_a_model_whose_template_and_configuration_agree_says_nothing(tiny: Path) -> None:
    engine = open_engine(tiny)
    assert not [note for note in engine.info.notes if "ends turns" in note]
    entry = request("r", "the quick brown fox", max_new_tokens=12)
    assert texts(engine, [entry]) == reference(tiny, [entry])


def test_a_stop_string_may_be_a_special_token(tiny: Path) -> None:
    entries = [request(str(seed), "fox", max_new_tokens=60, temperature=100.0, seed=seed) for seed in range(8)]
    stopped = [Request(entry.id, "m", entry.messages, _stopping(entry.params, *STOPS)) for entry in entries]
    found = answers(open_engine(tiny), stopped)
    whole = answers(open_engine(tiny), entries)
    ended = [key for key in found if found[key].answer.completion_tokens != whole[key].answer.completion_tokens]
    assert ended
    for key in ended:
        assert found[key].answer.finish_reason == "stop"
        raw = whole[key].answer.raw or ""
        assert any(raw.startswith(f"{found[key].answer.text}{stop}") for stop in STOPS)
    for key in found.keys() - set(ended):
        assert found[key].answer.text == whole[key].answer.text


STOPS = ("<user>", "<system>", "<assistant>")


def _stopping(params: GenerationParams, *stops: str) -> GenerationParams:
    return GenerationParams(
        max_new_tokens=params.max_new_tokens, temperature=params.temperature, seed=params.seed, stop=stops
    )


# -- sampling as the model is configured


def configured(folder: Path, **settings: Any) -> Path:
    save_model(folder, FAMILIES["llama"]())
    config = transformers.GenerationConfig.from_pretrained(folder)
    config.update(**settings)
    config.save_pretrained(folder)
    return folder


def test_sampling_follows_the_models_own_configuration(tmp_path: Path) -> None:
    folder = configured(tmp_path, do_sample=True, temperature=0.7, top_k=7, top_p=0.9, repetition_penalty=1.1)
    own = [request(f"own {seed}", "fox", max_new_tokens=12, sampling="model", seed=seed) for seed in range(3)]
    given = {"temperature": 0.7, "top_k": 7, "top_p": 0.9, "repetition_penalty": 1.1}
    explicit = [request(f"given {seed}", "fox", max_new_tokens=12, seed=seed, **given) for seed in range(3)]
    engine = open_engine(folder)
    found = texts(engine, [*own, *explicit])
    assert [found[f"own {seed}"] for seed in range(3)] == [found[f"given {seed}"] for seed in range(3)]
    assert len(set(found.values())) == 3
    assert engine.info.identity["generation_config"] == given


def test_tokens_that_the_model_suppresses_are_never_chosen(tmp_path: Path) -> None:
    entries = [request(str(number), "fox " * number, max_new_tokens=12) for number in range(1, 5)]
    base = configured(tmp_path / "base")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base)
    written = [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts(open_engine(base), entries).values()
    ]
    first, later = written[0][0], written[1][3]
    folder = configured(tmp_path / "hidden", suppress_tokens=[later], begin_suppress_tokens=[first])
    own = [
        Request(entry.id, "m", entry.messages, GenerationParams(max_new_tokens=12, sampling="model"))
        for entry in entries
    ]
    assert texts(open_engine(folder), own) == reference(folder, own)
    assert texts(open_engine(folder), entries) == texts(open_engine(base), entries)


def test_what_cannot_be_honoured_of_a_models_configuration_is_refused(tmp_path: Path) -> None:
    folder = configured(tmp_path, no_repeat_ngram_size=3, num_beams=4, forced_eos_token_id=1)
    error = answers(open_engine(folder), [request("r", "Hi", sampling="model")])["r"].error
    assert error is not None
    assert error.kind == "unsupported"
    assert "sets num_beams=4, no_repeat_ngram_size=3, forced_eos_token_id=1, which is not supported" in error.message
