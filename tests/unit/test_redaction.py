"""Secrets in what a run says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.redaction import is_secret, masked, masked_command, masked_options, masked_run, secret_values


@pytest.mark.parametrize(
    "name",
    [
        "--api-key", "apiKey", "API_KEY", "OPENAI_API_KEY", "--apikey", "x-api-key", "keys", "--token", "HF_TOKEN", "--access-token", "authToken", "GITHUB_PAT",
        "--secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "--password", "PGPASSWORD", "MYSQL_PWD", "db-pass", "--passphrase",
        "--credentials", "credential", "Authorization", "SENTRY_DSN", "cookie", "private-key", "secretkey", "dbpassword", "--proxy-auth", "jwt", "sas_signature",
    ],
)  # fmt: skip
def test_a_name_gives_a_secret_away(name: str) -> None:
    assert is_secret(name, "x")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("--keyword", "x"), ("monkey", "x"), ("--tokenizer", "gpt2"), ("TOKENIZERS_PARALLELISM", "false"), ("--max-tokens", "256"), ("evals_case_tokens", "200000"),
        ("key_env", "OPENAI_API_KEY"), ("--keep-going", "x"), ("--pass-rate", "0.8"), ("--author", "x"), ("--hockey", "x"), ("--passed", "x"), ("", ""), ("--patch", "x"), ("design", "x"),
    ],
)  # fmt: skip
def test_a_name_that_only_looks_like_one_does_not(name: str, value: str) -> None:
    assert not is_secret(name, value)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["--api-key", "abc"], ["--api-key", "***"]),
        (["--api-key=abc"], ["--api-key=***"]),
        (["--password", "-x1y2"], ["--password", "***"]),
        (["--password", ""], ["--password", "***"]),
        (["--show-secrets", "-v"], ["--show-secrets", "-v"]),
        (["--show-secrets", "--evals"], ["--show-secrets", "--evals"]),
        (["-o", "api_key=abc"], ["-o", "api_key=***"]),
        (["-e", "OPENAI_API_KEY=abc"], ["-e", "OPENAI_API_KEY=***"]),
        (["--env=OPENAI_API_KEY=abc"], ["--env=OPENAI_API_KEY=***"]),
        (["-o", "addopts=--login-token=abc"], ["-o", "addopts=--login-token=***"]),
        (["--header", "Authorization: Bearer abc"], ["--header", "Authorization: ***"]),
        (["--header=X-Api-Key: abc"], ["--header=X-Api-Key: ***"]),
        (["--config", '{"api_key": "x y", "model": "m"}'], ["--config", '{"api_key": "***", "model": "m"}']),
        (["--config={'password':'x'}"], ["--config={'password':'***'}"]),
        (["--db-url", "postgres://me:pw@db/x"], ["--db-url", "postgres://me:***@db/x"]),
        (["--db-url=postgres://me:p@ss/w@db:5432/x?y=1"], ["--db-url=postgres://me:***@db:5432/x?y=1"]),
        (["redis://:pw@h:1"], ["redis://:***@h:1"]),
        (["https://0123456789abcdef0123@git.example/x"], ["https://***@git.example/x"]),
        (["git+ssh://git@github.com/x"], ["git+ssh://git@github.com/x"]),
        (["--url=https://h/?api_key=abc&x=1"], ["--url=https://h/?api_key=***&x=1"]),
        (["--evals-model", "openai:m@http://a:80/v1,http://b:80/v1"], ["--evals-model", "openai:m@http://a:80/v1,http://b:80/v1"]),
        (["--evals-model", "openai:m@http://a/v1?key_env=MY_KEY"], ["--evals-model", "openai:m@http://a/v1?key_env=MY_KEY"]),
        (["--evals-gate", "keys.mean == 0.8"], ["--evals-gate", "keys.mean == 0.8"]),
        (["--evals-gate=token=0.8"], ["--evals-gate=token=0.8"]),
        (["-k", "token or password=1"], ["-k", "token or password=1"]),
        (["tests/test_api.py::test_it[token=abc]"], ["tests/test_api.py::test_it[token=abc]"]),
        (["--evals-artifact", "run.jsonl", "-n", "4"], ["--evals-artifact", "run.jsonl", "-n", "4"]),
        (["--remote=plain-value-of-a-variable"], ["--remote=***"]),
        (["-k", "plain-value-of-a-variable"], ["-k", "***"]),
    ],
)  # fmt: skip
def test_a_command_line_is_kept_without_its_secrets(written: list[str], kept: list[str]) -> None:
    assert masked_command(written, {"MY_TOKEN": "plain-value-of-a-variable", "OTHER": "pytest"}) == kept
    assert masked_command(kept, {}) == kept, "and nothing changes when it is read again"


@pytest.mark.parametrize(
    "token",
    [
        "sk-proj-abcdefghijklmnop12", "sk-ant-api03-abcdefghijk1", "sk-abcdefghijklmnopqrstuvwx", "ghp_1234567890abcdef", "github_pat_11AAAAAAA0abcdefg", "gho_abcdefghij12",
        "glpat-abcdefghij12", "hf_abcdefghijklmnopqrstuvwx", "hf_abc123def456", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "xoxb-1234-5678-abcdef", "npm_abcdefghij1234", "pypi-AgEIcHlwaS5vcmc", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP", "sk_live_abcdefgh1234", "gsk_abcdefgh1234",
        "SG.abcdefgh.abcdefgh", "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "r8_abcdefghij12", "dapi0123456789abcdef",
    ],
)  # fmt: skip
def test_well_known_tokens_are_secrets_wherever_they_stand(token: str) -> None:
    assert masked(f"x {token} y") == "x *** y"
    assert masked_options({"a": [token]}) == {"a": ["***"]}


@pytest.mark.parametrize(
    "text",
    ["sk-learn", "smollm2", "hf:org/name@0123456789abcdef", "https://example.org:8080/x@y", "ASIA", "eyJ", "ghp_", "hf_hub", "a=b", "x: y", "key=", "12:30:00", "./model-key", "org/token-model"],
)  # fmt: skip
def test_other_text_stays(text: str) -> None:
    assert masked(text) == text


def test_options_are_masked_by_their_names_and_values_at_any_depth() -> None:
    options = {"batch": "auto", "seed": 3, "api_key": "x", "headers": {"Authorization": "Bearer x", "Accept": "y"}, "url": "http://u:p@h", "key": None, "empty_token": ""}  # fmt: skip
    assert masked_options(options) == {
        **options,
        "api_key": "***",
        "headers": {"Authorization": "***", "Accept": "y"},
        "url": "http://u:***@h",
    }


def test_the_first_line_of_an_older_artifact_is_masked_when_it_is_shown() -> None:
    run = {"type": "run", "run_id": "r", "command": ["pytest", "--api-key", "abc"], "options": {"token": "abc"}}
    assert masked_run(run) == {**run, "command": ["pytest", "--api-key", "***"], "options": {"token": "***"}}
    assert masked_run({"run_id": "r"}) == {"run_id": "r"}


def test_values_of_variables_are_secrets_unless_they_are_short_numbers_or_paths(tmp_path: Path) -> None:
    environment = {"A_TOKEN": "long-enough", "B_TOKEN": "short", "C_KEY": str(tmp_path), "D_SECRET": "123456789", "E": "something", "F_PASSWORD": "the-longest-of-all"}  # fmt: skip
    assert secret_values(environment) == ["the-longest-of-all", "long-enough"]


@pytest.mark.parametrize(
    "piece",
    [
        " ",
        "a",
        "a=",
        "://x:",
        "sk-",
        "-eyJ",
        "Bearer ",
        "-----BEGIN PRIVATE KEY-----",
        "a='",
        'a="',
        "https://",
        "hf_",
        "--",
    ],
)
def test_time_grows_with_the_text_alone(piece: str) -> None:
    assert masked(piece * (300_000 // len(piece))) is not None
    assert masked_command([piece * 10_000]) is not None
