"""Models behind a server: runs, workers, caches, judges, plans and what goes wrong, as a user sees it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.openai_server import Body, Reply, Script, ScriptedServer, said

from .conftest import Evals

KEY = "right-and-secret-0815"
SUITE = """
from pytest_evals import cases, graders

said = graders.contains("{{item.answer}}")

@cases(
    [{"id": f"c{n}", "answer": f"{n} is {n}"} for n in range(8)],
    id="id", prompt="{{item.id}}", generation={"max_new_tokens": 16},
)
def test_it(said):
    assert said
"""


def number(body: Body, _asked: int = 0) -> Reply:
    text = said(body).removeprefix("c")
    return Reply(f"The number {text} is {text}")


Serve = Callable[..., ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started = []

    def start(script: Script = number, **told: Any) -> ScriptedServer:
        certificate = told.pop("certificate", None)
        started.append(ScriptedServer(script, **told).start(certificate=certificate))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def test_a_served_model_runs_evals_and_its_key_is_written_nowhere(
    evals_both: Evals, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(body: Body, asked: int) -> Reply:
        if said(body) == "c3" and asked == 0:
            return Reply(status=429, headers={"retry-after": "0.2"}, error={"message": f"slow down, {KEY}"})
        if said(body) == "c5":
            return Reply(status=400, error={"message": f"the key {KEY} may not ask this"})
        return number(body)

    server = serve(busy, key=KEY)
    monkeypatch.setenv("MINE", KEY)
    evals_both.write(SUITE)
    model = f"openai:tiny@{server.url}?key_env=MINE"
    result = evals_both.run("--evals-html", "report.html", model=model)
    result.assert_outcomes(passed=7, errors=1)
    host = server.url.split("/")[2]
    result.stdout.fnmatch_lines(
        [
            "*the server refused this request: 400: the key ???*may not ask this*",
            f"*tiny: {host} serves it; which weights these are was not checked*",
            f"tiny ({host}): 7 completions, 35 tokens*",
            "*1 tried again; 1 refused for now*",
        ]
    )
    (use,) = evals_both.lines()[-1]["throughput"]["models"]
    assert use["usage"] | {"requests": 9, "retries": 1, "throttled": 1, "most_concurrency": 16} == use["usage"]
    (recorded,) = evals_both.artifact.run.models
    assert recorded["identity"]["weights"] == "not checked"
    assert recorded["identity"]["servers"] == [server.url]
    assert set(server.authorizations) == {f"Bearer {KEY}"}
    written = [path for path in evals_both.pytester.path.rglob("*") if path.is_file()]
    assert len(written) > 3
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in result.stdout.str() + result.stderr.str()
    completion = evals_both.artifact.samples[0].interaction.completion
    assert completion is not None
    assert (completion.prompt_tokens, completion.completion_tokens, completion.finish_reason) == (1, 5, "stop")


def test_what_is_known_needs_no_server(evals: Evals, serve: Serve) -> None:
    server = serve()
    model = f"openai:tiny@{server.url}"
    evals.write(SUITE)
    plan = evals.run("--evals-plan", model=model)
    plan.stdout.fnmatch_lines([f"*model {model}: 8 requests*"])
    assert not server.bodies
    evals.run("--evals-cache", "write", model=model).assert_outcomes(passed=8)
    recorded = evals.path.rename(evals.pytester.path / "before.jsonl")
    server.stop()
    again = evals.run("--evals-cache", "read", model=model)
    again.assert_outcomes(passed=8)
    again.stdout.fnmatch_lines(["*tiny: not loaded; all 8 answers asked of it were known from before*"])
    replayed = evals.run("--evals-replay", str(recorded), model=None)
    replayed.assert_outcomes(passed=8)
    # Another server may hold other weights under the same name.
    other = serve(lambda _body, _asked: Reply("nothing"))
    evals.run("--evals-cache", "read", model=f"openai:tiny@{other.url}").assert_outcomes(failed=8)
    assert len(other.bodies) == 8


def test_a_resumed_run_asks_for_the_rest(evals: Evals, serve: Serve) -> None:
    spoiled = serve(lambda body, _asked: Reply(status=400) if said(body) == "c5" else number(body))
    evals.write(SUITE)
    model = f"openai:tiny@{spoiled.url}"
    evals.run(model=model).assert_outcomes(passed=7, errors=1)
    recorded = evals.path.rename(evals.pytester.path / "before.jsonl")
    spoiled.script = number
    evals.run("--evals-resume", str(recorded), model=model).assert_outcomes(passed=8)
    assert len(spoiled.bodies) == 9


def test_what_answers_cost_is_in_the_card_the_artifact_and_budgets(evals: Evals, serve: Serve) -> None:
    server = serve(
        lambda body, asked: replace(number(body, asked), usage={"prompt_tokens": 1000, "completion_tokens": 50})
    )
    evals.write(SUITE.replace("id=", "gates=['cost.mean <= 0.0004', 'cost.max < 0.0003', 'said.mean >= 1'], id=", 1))
    evals.pytester.makeini("[pytest]\nevals_prices =\n    tiny = 0.25 2\n    other = 9 9\n")
    model = f"openai:tiny@{server.url}"
    result = evals.run(model=model)
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*cost.max < 0.0003*0.00035*",
            "*cost.mean <= 0.0004*0.00035*",
            "tiny (*): 8 completions, 400 tokens*; cost 0.002800*",
        ]
    )
    artifact = evals.artifact
    assert [sample.interaction.completion.cost for sample in artifact.samples if sample.interaction.completion] == [
        pytest.approx(0.00035)
    ] * 8
    (use,) = evals.lines()[-1]["throughput"]["models"]
    assert use["cost"] == pytest.approx(0.0028)
    evals.pytester.makeini("[pytest]\nevals_prices =\n    tiny = free 2\n")
    wrong = evals.run(model=model)
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["*evals_prices: 'tiny = free 2': a price is a number of at least 0, not 'free'*"])


JUDGED = """
from pytest_evals import cases, graders, task

right = graders.judge.binary("names the number", answer="{{asked_twice}}")

@task
async def asked_twice(model, case):
    first = await model.generate(case.id)
    return (await model.generate(f"{first.text} again")).text

@cases([{"id": "c1"}, {"id": "c2"}], id="id", prompt="{{item.id}}")
def test_it(right):
    assert right
"""


def test_judges_and_tasks_ask_served_models(evals: Evals, serve: Serve) -> None:
    judge = serve(
        lambda body, _asked: Reply("PASS" if "again again" in str(body["messages"]) else "FAIL"), models=("judge",)
    )
    model = serve(lambda body, _asked: Reply(f"{said(body)} again"))
    evals.write(JUDGED)
    result = evals.run("--evals-judge", f"openai:judge@{judge.url}", model=f"openai:tiny@{model.url}")
    result.assert_outcomes(passed=2)
    assert (len(judge.bodies), len(model.bodies)) == (2, 4)


def test_a_server_that_falls_silent_is_ended_by_the_stall_timeout_and_the_others_are_answered(
    evals: Evals, serve: Serve
) -> None:
    server = serve(lambda body, _asked: Reply("a b", pauses=60) if said(body) == "c3" else number(body))
    evals.write(SUITE)
    began = time.monotonic()
    result = evals.run("-o", "evals_stall_timeout=1.5", model=f"openai:tiny@{server.url}")
    assert time.monotonic() - began < 60
    result.assert_outcomes(passed=7, errors=1)
    result.stdout.fnmatch_lines(["*it gave no sign of life for 1.5 s (evals_stall_timeout)*"])


def test_what_is_wrong_is_said_before_any_case(evals: Evals, serve: Serve) -> None:
    server = serve(models=("other",))
    evals.write(SUITE)
    for model, status, message in (
        ("openai:tiny", pytest.ExitCode.USAGE_ERROR, "a served model is written openai:NAME@URL"),
        (f"openai:tiny@{server.url}?key=x", pytest.ExitCode.USAGE_ERROR, "unknown option 'key'"),
        (f"openai:tiny@{server.url}?key_env=sk-12345678", pytest.ExitCode.USAGE_ERROR, "write key_env=OPENAI_API_KEY"),
        (f"openai:tiny@{server.url}", pytest.ExitCode.TESTS_FAILED, "has no model 'tiny' (it has: other)"),
        (f"openai:other@{server.url}?key_env=NOT_THERE", pytest.ExitCode.TESTS_FAILED, "that is not set, or empty"),
        ("openai:tiny@http://127.0.0.1:9/v1", pytest.ExitCode.TESTS_FAILED, "no connection"),
    ):
        result = evals.run(model=model)
        assert result.ret == status
        shown = result.stdout.str() + result.stderr.str()
        assert message in shown
        assert "Traceback" not in shown
        assert "sk-12345678" not in shown
    assert not server.bodies


def test_a_certificate_that_cannot_be_verified_is_named(
    evals: Evals, serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = (tmp_path / "certificate.pem", tmp_path / "key.pem")
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])),
            ],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no openssl that makes a certificate: {error}")
    server = serve(certificate=files)
    evals.write(SUITE)
    result = evals.run(model=f"openai:tiny@{server.url}")
    result.assert_outcomes(errors=1, skipped=7)
    assert "its certificate cannot be verified: self-signed certificate" in result.stdout.str()
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    evals.run(model=f"openai:tiny@{server.url}").assert_outcomes(passed=8)
