"""The page on which people answer: by keyboard alone, nothing lost, nothing executed, nobody else let in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.cli.annotate import make_desk
from pytest_evals.questions.declaration import make_question
from pytest_evals.questions.question import Question
from pytest_evals.review.answers import AnswerBook, HumanAnswer, answers_path
from pytest_evals.review.server import AnnotationServer
from tests.pages.building import RUN, grade, sample, summary, written
from tests.pages.conftest import PHONE, Watched, expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

POLITE = make_question("Is it polite?", "choice", choices={"yes": True, "no": False, "does not apply": None})
TONE = make_question("How good is the tone?", "rating", ends=("poor", "excellent"))
FORM = make_question(
    "About the answer",
    "form",
    fields={
        "clear": {"question": "Is it clear?"},
        "words": {"question": "Words too many?", "kind": "number", "minimum": 0},
    },
)
LAYOUT = {
    "direction": "row",
    "children": [
        {"label": "Source", "text": "<img src=x onerror=window.hacked=1>"},
        {
            "direction": "column",
            "children": [{"label": "", "part": "conversation"}, {"label": "", "part": "completion"}],
        },
    ],
}
SHOWN = "shown-digest"


def pending(key: str, question: Question, **more: Any) -> dict[str, Any]:
    terms = {"queue": "default", "required": True, "reviewers": 1, "layout": LAYOUT, "shown": SHOWN}
    metadata = {"question": question.to_data(), "digest": question.digest, **terms, "answers": [], **more}
    return grade(key, None, status="pending", metadata=metadata)


def started(folder: Path, samples: list[dict[str, Any]], reviewer: str = "ana") -> AnnotationServer:
    path = written(folder / "run.jsonl", samples, summary(passed=len(samples)))
    artifact = ArtifactReader(path)
    desk, _ = make_desk(artifact, path, None, reviewer, partial=False)
    server = AnnotationServer(desk, artifact.run)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., AnnotationServer]]:
    servers: list[AnnotationServer] = []

    def start(*grades: dict[str, Any], count: int = 1, reviewer: str = "ana") -> AnnotationServer:
        samples = [sample(f"case-{number:02d}", f"Answer {number} </script>", *grades) for number in range(count)]
        servers.append(started(tmp_path, samples, reviewer))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def saved(page: Page) -> None:
    """The page comes to say that the server has all that was answered. Wait first for what the last action changes: it said so before, too."""
    expect(page.locator("#saved")).to_have_text("saved")


def kept(folder: Path) -> list[HumanAnswer]:
    return AnswerBook(answers_path(folder / "run.jsonl"), RUN["run_id"]).all()


def test_twenty_cases_are_answered_by_keyboard_alone(
    watched: Watched, serve: Callable[..., AnnotationServer], tmp_path: Path
) -> None:
    page = watched.open(serve(pending("polite", POLITE), pending("tone", TONE), count=20).link)
    press = page.keyboard.press
    for number in range(20):
        expect(page.locator("#case-title")).to_have_text(f"case-{number:02d}test_capitals")
        if number == 3:
            press("s")
            continue
        press("2" if number % 2 else "1")
        press("Enter")
        press(str(number % 5 + 1))
        if number == 4:
            press("c")
            expect(page.locator("fieldset.active textarea")).to_be_focused()
            page.keyboard.type("not sure")
            press("Control+Enter")
            continue
        if number == 5:
            press("f")
        press("Enter")
    expect(page.locator("#progress")).to_have_text(
        "case 20 of 20, 20 done, 1 skipped, 1 flagged. That was all: this page can be closed."
    )
    saved(page)
    answers = {(answer.sample, answer.grader): answer for answer in kept(tmp_path)}
    assert len(answers) == 40
    assert [answers[f"case-{number:02d}-small", "polite"].value for number in range(20)] == [
        None if number == 3 else "no" if number % 2 else "yes" for number in range(20)
    ]
    assert [answers[f"case-{number:02d}-small", "tone"].value for number in (0, 6, 19)] == [1, 2, 5]
    assert answers["case-03-small", "tone"].skipped
    assert answers["case-04-small", "tone"].comment == "not sure"
    assert answers["case-05-small", "polite"].flagged
    page.reload()
    expect(page.locator("label:has(input:checked) span")).to_have_text(["yes", "1"])


def test_a_form_a_number_and_taking_back(
    watched: Watched, serve: Callable[..., AnnotationServer], tmp_path: Path
) -> None:
    link = serve(
        pending("form.clear", FORM, field="clear"),
        grade("form.words", None, status="pending", metadata={"field": "words", "of": "form"}),
    ).link
    page = watched.open(link)
    page.keyboard.press("1")
    expect(page.locator("input:checked")).to_have_count(1)
    page.get_by_label("A number, at least 0").fill("-3")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Not saved: a number, at least 0, please.")
    assert kept(tmp_path) == []
    page.get_by_label("A number, at least 0").fill("2,5")
    page.keyboard.press("Escape")
    saved(page)
    assert [answer.value for answer in kept(tmp_path)] == [{"clear": "yes", "words": 2.5}]
    page.keyboard.press("u")
    expect(page.locator("input:checked")).to_have_count(0)
    saved(page)
    assert [answer.value for answer in kept(tmp_path)] == [None]


def test_two_windows_show_the_same_and_an_answer_that_cannot_be_sent_is_sent_later(
    watched: Watched, serve: Callable[..., AnnotationServer], tmp_path: Path
) -> None:
    server = serve(pending("polite", POLITE), count=2)
    one, other = watched.window(), watched.open(server.link)
    one.route("**/answers", lambda route: route.abort())
    one.goto(server.link)
    # A window behind another may be painted late, and is looked at when it is painted.
    one.bring_to_front()
    one.keyboard.press("1")
    expect(one.locator("#saved.trouble")).to_be_visible()
    assert kept(tmp_path) == []
    one.unroute("**/answers")
    other.keyboard.press("Enter")
    expect(other.locator("#case-title")).to_contain_text("case-01")
    other.keyboard.press("2")
    saved(other)
    saved(one)
    assert {answer.sample: answer.value for answer in kept(tmp_path)} == {"case-00-small": "yes", "case-01-small": "no"}
    one.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(one.locator("#progress")).to_contain_text("2 done")
    # Chromium logs the request that the test itself broke.
    watched.trouble[:] = [text for text in watched.trouble if "ERR_FAILED" not in text]


def test_the_page_is_accessible_fits_a_phone_and_runs_nothing_of_the_case(
    watched: Watched,
    serve: Callable[..., AnnotationServer],
    violations: Callable[[Any], list[str]],
    fits: Callable[[Any], bool],
) -> None:
    server = serve(pending("polite", POLITE), pending("tone", TONE), pending("form.clear", FORM, field="clear"))
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": PHONE}):
        page = watched.open(server.link, **options)
        assert violations(page) == [], options
        assert fits(page), options
        assert page.get_by_text("<img src=x onerror=window.hacked=1>").is_visible()
        assert page.evaluate("window.hacked") is None
    page.get_by_role("radio", name="does not apply").check()
    saved(page)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/{token}/", {}, 200),
        ("GET", "/{token}/state", {}, 200),
        ("GET", "/", {}, 403),
        ("GET", "/wrong/", {}, 403),
        ("GET", "/{token}/other", {}, 404),
        ("GET", "/{token}/", {"Host": "evil.example"}, 403),
        ("GET", "/{token}/", {"Origin": "https://evil.example"}, 403),
        ("POST", "/{token}/answers", {}, 403),
        ("POST", "/{token}/answers", {"Origin": "https://evil.example"}, 403),
        ("POST", "/wrong/answers", {"Origin": "{origin}"}, 403),
        ("POST", "/{token}/answers", {"Origin": "{origin}", "Content-Type": "text/plain"}, 404),
        ("POST", "/{token}/answers", {"Origin": "{origin}", "Content-Length": "99999999"}, 413),
        ("POST", "/{token}/answers", {"Origin": "{origin}"}, 200),
    ],
)
def test_only_the_page_with_the_link_is_answered(
    serve: Callable[..., AnnotationServer], tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    server = serve(pending("polite", POLITE))
    names = {"token": server.token, "origin": f"http://127.0.0.1:{server.server_port}"}
    answer = {"sample": "case-00-small", "grader": "polite", "value": "yes", "question": POLITE.digest, "shown": SHOWN}
    body = json.dumps(answer) if method == "POST" else None
    sent = {"Content-Type": "application/json", **{name: value.format(**names) for name, value in headers.items()}}
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path.format(**names), body, sent)
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    assert response.status == status, content
    assert response.headers["Cache-Control"] == "no-store"
    assert len(kept(tmp_path)) == (status == 200 and method == "POST")
    if status != 200:
        assert server.token not in content
        assert "polite" not in content
