"""Specifications of served models: what is read, and what is refused before any server is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.identity import cached_identity
from pytest_evals.engines.openai.address import parse_address
from pytest_evals.engines.openai.loading import aliases, read_headers
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError


@pytest.mark.parametrize(
    ("text", "name", "urls", "short"),
    [
        ("tiny@http://127.0.0.1:8000", "tiny", ["http://127.0.0.1:8000/v1"], "tiny"),
        ("tiny@http://127.0.0.1:8000/", "tiny", ["http://127.0.0.1:8000/v1"], "tiny"),
        ("org/Name-7B@http://localhost:8000/v1/", "org/Name-7B", ["http://localhost:8000/v1"], "Name-7B"),
        ("llama3:8b@http://localhost:11434", "llama3:8b", ["http://localhost:11434/v1"], "llama3-8b"),
        (
            "@cf/meta/llama-3@https://api.example.com/client/v4/accounts/x/ai/v1",
            "@cf/meta/llama-3",
            ["https://api.example.com/client/v4/accounts/x/ai/v1"],
            "llama-3",
        ),
        ("gpt-5@HTTPS://API.Example.com/v1", "gpt-5", ["https://api.example.com/v1"], "gpt-5"),
        ("m@http://[::1]:8000", "m", ["http://[::1]:8000/v1"], "m"),
        ("m@http://a:1,http://b:2/v1, http://c:3/x", "m", ["http://a:1/v1", "http://b:2/v1", "http://c:3/x"], "m"),
        ("m@http://a/v1/chat/completions", "m", ["http://a/v1"], "m"),
        ("m@http://a/v1/models", "m", ["http://a/v1"], "m"),
        ("user@host@http://a", "user@host", ["http://a/v1"], "user-host"),
        ("./models/x.gguf@http://a:8080", "./models/x.gguf", ["http://a:8080/v1"], "x-gguf"),
    ],
)
def test_a_served_model_is_a_name_and_addresses(text: str, name: str, urls: list[str], short: str) -> None:
    served = parse_address(text)
    assert (served.name, list(served.urls)) == (name, urls)
    spec = parse_spec(f"openai:{text}", Path())
    assert (spec.engine, spec.name, spec.revision, spec.short) == ("openai", f"{name}@{','.join(urls)}", None, short)
    assert parse_spec(f"openai:{spec.name}", Path()).name == spec.name


def test_options_are_values() -> None:
    options = (
        "concurrency=8&timeout=2.5&retries=0&key_env=MY_KEY&headers_env=MORE&extra_body=%7B%22a%22%3A1%7D"
        "&logprobs=none&tokenizer=org/x&reasoning=none&template=none"
    )
    assert parse_spec(f"openai:m@http://a?{options}", Path()).options == {
        "concurrency": 8,
        "timeout": 2.5,
        "retries": 0,
        "key_env": "MY_KEY",
        "headers_env": "MORE",
        "extra_body": {"a": 1},
        "logprobs": "none",
        "tokenizer": "org/x",
        "reasoning": "none",
        "template": "none",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpt-5", "a served model is written openai:NAME@URL"),
        ("http://127.0.0.1:8000/v1", "a served model is written openai:NAME@URL"),
        ("gpt-5@127.0.0.1:8000", "a served model is written openai:NAME@URL"),
        ("m@http://", "is not a server's address"),
        ("m@http://a:port", "is not a server's address"),
        ("m@http://a:0", "is not a server's address"),
        ("m@http://a:99999", "is not a server's address"),
        ("m@http://a b", "is not a server's address"),
        ("m@http://a,", "is not a server's address"),
        ("m@http://a,ftp://b", "'ftp://b' is not a server's address"),
        ("m@http://a,http://a/v1", "the same address is named twice"),
        ("m@https://me:hunter2@host/v1", "the address of host holds a user or password"),
        ("m@http://a?concurrency=0", "concurrency must be auto or a whole number from 1 to 1024"),
        ("m@http://a?timeout=0", "timeout must be a number of seconds above 0"),
        ("m@http://a?timeout=nan", "timeout must be a number of seconds above 0"),
        ("m@http://a?timeout=soon", "timeout must be a number of seconds above 0"),
        ("m@http://a?retries=-1", "retries must be a whole number from 0 to 100"),
        ("m@http://a?extra_body=[1]", "extra_body must be an object of JSON"),
        ("m@http://a?extra_body=x", "extra_body must be an object of JSON"),
        ('m@http://a?extra_body={"seed":1}', "extra_body must not have 'seed'"),
        ("m@http://a?logprobs=yes", "logprobs must be auto, completions, chat or none"),
        ("m@http://a?logprobs=completions", "logprobs=completions needs the prompt as a text"),
        ("m@http://a?reasoning=think", "reasoning must be auto, none or OPEN..CLOSE"),
        ("m@http://a?template=x.jinja", "template must be none"),
        ("m@http://a?api_key=x", "unknown option 'api_key'"),
    ],
)
def test_what_cannot_be_a_served_model_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        parse_spec(f"openai:{text}", Path())
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["sk-proj-abcdefghijkl12345", "hf_abcdefgh12345678", "not a name", "a-b", ""])
def test_a_key_in_the_place_of_its_variable_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ModelError, match=r"take the name of the environment variable") as caught:
        parse_spec(f"openai:m@http://a?key_env={key}", Path())
    assert not key or key not in str(caught.value)


def test_keys_and_headers_are_read_from_the_environment_and_are_secrets() -> None:
    environment = {"KEY": "sk-12345678 \n", "MORE": '{"api-key": "abcdefgh"}'}
    headers, secrets = read_headers({"key_env": "KEY", "headers_env": "MORE"}, environment)
    assert headers == {"Authorization": "Bearer sk-12345678", "api-key": "abcdefgh"}
    assert set(secrets) == {"Bearer sk-12345678", "sk-12345678", "abcdefgh"}
    assert read_headers({}, environment) == ({}, ())


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        ({"key_env": "KEY"}, {}, "key_env names a variable of the environment that is not set"),
        ({"key_env": "KEY"}, {"KEY": " "}, "not set, or empty"),
        ({"key_env": "KEY"}, {"KEY": "schl\u00fcssel"}, "characters that cannot be sent"),
        ({"key_env": "KEY"}, {"KEY": "a\nb"}, "characters that cannot be sent"),
        ({"headers_env": "MORE"}, {"MORE": "x: y"}, "MORE must hold an object of JSON"),
        ({"headers_env": "MORE"}, {"MORE": '{"x": 1}'}, "MORE must hold an object of JSON"),
    ],
)
def test_variables_that_hold_no_key_are_errors(
    options: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        read_headers(options, environment)
    assert message in str(caught.value)


def test_what_it_is_identified_by_is_known_without_a_server_and_says_that_weights_were_not_checked() -> None:
    options = "extra_body=%7B%22a%22%3A1%7D&concurrency=4&key_env=MY_KEY"
    info = cached_identity(parse_spec(f"openai:m@http://a:1,http://b:2?{options}", Path()), {}, [])
    assert info is not None
    assert info.identity == {
        "engine": "openai",
        "model": "m",
        "servers": ["http://a:1/v1", "http://b:2/v1"],
        "weights": "not checked",
        "version": 1,
        "extra_body": {"a": 1},
    }


def test_models_are_found_under_the_names_that_servers_list_them_by() -> None:
    assert {"llama3:latest", "models/llama3", "llama3"} <= set(aliases("llama3"))
    assert "org/name" in aliases("org/name:fastest")
