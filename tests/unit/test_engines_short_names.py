"""Models are called by names that are short and tell them apart."""

from __future__ import annotations

import pytest

from pytest_evals.engines.short_names import short_names


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["smollm2"], ["smollm2"]),
        (["", "recorded", "smollm2"], ["", "recorded", "smollm2"]),
        (["hf:Qwen/Qwen2.5-0.5B-Instruct", "meta-llama/Llama-3.2-1B"], ["Qwen2.5-0.5B-Instruct", "Llama-3.2-1B"]),
        # Options that all share are no news.
        (["org/a?dtype=fp32&batch=8", "org/b?dtype=fp32&batch=8"], ["a", "b"]),
        (["org/a?dtype=fp32&batch=8", "org/a?dtype=bf16&batch=8"], ["a?dtype=fp32", "a?dtype=bf16"]),
        (["org/a", "org/a?batch=8"], ["a", "a?batch=8"]),
        (["org/a?template=./t/one.jinja", "org/a?template=./t/two.jinja"], ["a?template=one.jinja", "a?template=two.jinja"]),
        (["org/a?template=x/t.jinja", "org/a?template=y/t.jinja"], ["a?template=x/t.jinja", "a?template=y/t.jinja"]),
        # Folders as far as they tell.
        (["./runs/one/checkpoint-200", "./runs/two/checkpoint-200"], ["one/checkpoint-200", "two/checkpoint-200"]),
        (["/data/x/one/last", "/data/y/one/last"], ["x/one/last", "y/one/last"]),
        (["./out/last/", "./out/best/"], ["last", "best"]),
        ([r"C:\models\one\last", r"C:\models\two\last"], [r"one\last", r"two\last"]),
        (["google/gemma", "mirror/gemma", "other"], ["google/gemma", "mirror/gemma", "other"]),
        (["org/a@v1", "org/a@v2"], ["a@v1", "a@v2"]),
        (["org/a@refs/pr/1", "org/a"], ["a@refs/pr/1", "a"]),
        (["scripted:bots:large", "scripted:bots:small"], ["large", "small"]),
        (["scripted:one:answer", "scripted:two:answer"], ["one:answer", "two:answer"]),
        # A server's address only where one model is served by several.
        (["openai:llama3:8b@http://10.0.0.1:8000/v1", "openai:org/b@http://10.0.0.1/v1"], ["llama3:8b", "b"]),
        (["openai:m@http://10.0.0.1:8000/v1", "openai:m@http://10.0.0.2:8000/v1"], ["m@10.0.0.1:8000", "m@10.0.0.2:8000"]),
        (["openai:@cf/org/m@https://a.example/v1"], ["m"]),
        (["openai:org/m@http://h/v1", "hf:org/m"], ["m@h", "m"]),
        (["foreign:team/x", "hf:team/x"], ["foreign:x", "hf:x"]),
        (["not here:x", "???"], ["x", "???"]),
    ],
)  # fmt: skip
def test_a_name_says_as_much_as_tells_models_apart(models: list[str], names: list[str]) -> None:
    assert short_names(models) == dict(zip(models, names, strict=True))


def test_no_two_models_ever_share_a_name() -> None:
    options = ["", "?batch=8", "?batch=9", "?batch=8&dtype=fp32"]
    names = ["org/a", "a/a", "x/org/a", "hf:org/a", "scripted:org:a", "org/a@v1", "openai:org/a@http://h/v1"]
    models = [f"{name}{option}" for name in names for option in options]
    assert len({*short_names(models).values()}) == len(models)
