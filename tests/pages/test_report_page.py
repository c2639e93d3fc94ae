"""The report page in a browser: what a reader sees, finds and reaches with the keyboard."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.media.parts import checked_content, recorded
from pytest_evals.media.sources import MediaPlaces
from pytest_evals.reports.history import RecordedRun, series
from pytest_evals.reports.html.page import page as page_of
from pytest_evals.reports.html.report import report_page, write_text
from tests.media import png, wav
from tests.pages.building import RUN, grade, report, sample, summary, written
from tests.pages.conftest import PHONE, Watched, expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

GATES = [
    {"gate": f"named.mean >= {bound}", "suite": "test_capitals", "model": model, "verdict": verdict, "value": value}
    | {"n": 10, "applicable": 10, "reason": f"{value} (n=10)"}
    for model, verdict, value, bound in (
        ("org/small", "failed", 0.5, "0.8"),
        ("org/large", "passed", 1.0, "0.8"),
        ("org/small", "inconclusive", 0.5, "baseline + 0.1"),
    )
]
COUNTRIES = [f"Country-{number:02d}" for number in range(10)]


def named(*, right: bool) -> dict[str, Any]:
    reasoning = f"expected the capital, {'found it' if right else 'found none'}"
    return grade("named", float(right), passed=right, reasoning=reasoning)


def answers(model: str, right: Callable[[int], bool]) -> list[dict[str, Any]]:
    return [
        sample(
            country,
            f"I think it is City-{number:02d}." if right(number) else "I do not know the answer.",
            named(right=right(number)),
            grade("short", number / 10, reasoning="by length"),
            model=model,
            outcome="passed" if right(number) else "missed",
            fields={"country": country, "continent": ("north", "south")[number % 2]},
            calls=[
                {
                    "by": "tone",
                    "handle": "judge",
                    "model": "org/judge",
                    "messages": [{"role": "user", "content": "Is it polite?"}],
                    "text": "Yes.",
                }
            ],
        )
        for number, country in enumerate(COUNTRIES)
    ]


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    now = [*answers("org/small", lambda number: number % 2 == 0), *answers("org/large", lambda _: True)]
    before = answers("org/small", lambda number: number < 5)
    ended = summary(GATES, passed=15, missed=5)
    earlier = written(folder / "before.jsonl", before, ended)
    return report(folder / "report.html", written(folder / "run.jsonl", now, ended), earlier)


def ready(page: Page) -> Page:
    page.wait_for_selector("[data-ready]")
    return page


def lists(page: Page, names: list[str]) -> None:
    """The list comes to show these cases, from the top. More than its window holds are not in it."""
    expect(page.locator(".row .id")).to_have_text(names)
    tops = page.locator(".row").evaluate_all("rows => rows.map(row => row.offsetTop)")
    assert tops == sorted(set(tops)), "each below the one before it"


def counts(page: Page, text: str) -> None:
    """The line above the list comes to say this."""
    expect(page.locator("#count")).to_have_text(text)


def test_the_overview_tells_verdict_scores_gates_slices_and_provenance(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(page_path))
    assert page.locator("h1:visible").inner_text() == "1 of 3 gates not met"
    scores = page.locator("table.scores")
    assert scores.locator("tbody").count() == 2
    assert scores.locator("tr", has_text="small").first.inner_text().split("\t")[2] == "0.500"
    assert (
        scores.locator("svg[role=img]").first.get_attribute("aria-label")
        == "mean 0.500, 95% interval 0.237 to 0.763, before 0.500"
    )
    grid = page.locator("table.grid")
    assert [text.split() for text in grid.locator("tbody tr").first.locator("th, td").all_inner_texts()] == [
        ["named"],
        ["10"],
        ["~", "0.500", "0.237", "to", "0.763"],
        ["*", "1.000", "0.722", "to", "1.000"],
    ]
    assert page.locator("table.gates tbody tr").first.inner_text().startswith("not met")
    assert page.locator("summary", has_text="1 gate met").count() == 1
    assert page.locator("summary", has_text="by continent").count() == 1
    north = page.locator("table.slices tbody", has_text="north").locator("tr").first.inner_text()
    assert north.split("\t")[3].split() == ["1.000", "0.566", "to", "1.000"]
    assert page.locator("table.slices strong.low").first.inner_text().split()[0] == "0.000"
    assert "15 passed" in page.locator(".counts").inner_text()
    assert "0123456789abcdef, with changes" in page.locator("dl.facts").inner_text()
    page.get_by_role("link", name="small").first.click()
    counts(page, "10 of 20 cases")
    expect(page).to_have_url(re.compile("model=org%2Fsmall"))


def test_the_overview_tells_what_changed_since_the_baseline(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(page_path))
    row = page.locator("table.changes tbody tr").first
    grader, model, verdict, change, interval, p, rose, fell, before, now, cases, gate = row.locator("th, td").all()
    texts = [cell.inner_text() for cell in (grader, model, verdict, change, p, rose, fell, before, now, cases)]
    # Country-01 and 03 fell, 06 and 08 rose; both graders of the model were compared.
    assert texts == ["named", "small", "unclear", "0.000", "1.000", "2", "2", "0.500", "0.500", "10"]
    assert "change 0.000, 95% interval \N{MINUS SIGN}0." in (interval.locator("svg").get_attribute("aria-label") or "")
    assert (gate.inner_text(), gate.locator("p").get_attribute("title")) == (
        "inconclusive",
        "named.mean >= baseline + 0.1: 0.5 (n=10)",
    )
    assert page.get_by_text("10 cases not compared").is_visible(), "the baseline has one model"
    fell.get_by_role("link").click()
    lists(page, ["Country-01", "Country-03"])


def test_cases_are_searched_filtered_and_ordered(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(f"{page_path.as_uri()}#cases"))
    clear = page.get_by_role("button", name="Clear")
    counts(page, "20 cases")
    page.get_by_role("searchbox").fill("city-04")
    counts(page, "2 of 20 cases")
    lists(page, ["Country-04", "Country-04"])
    clear.click()
    counts(page, "20 cases")
    page.get_by_label("any outcome").select_option("missed")
    lists(page, COUNTRIES[1::2])
    page.get_by_label("any slice").select_option("continent=north")
    expect(page.get_by_text("No case is like that.")).to_be_visible()
    clear.click()
    counts(page, "20 cases")
    page.get_by_label("all cases").select_option("models")
    counts(page, "10 of 20 cases")
    page.get_by_label("all cases").select_option("worse")
    lists(page, ["Country-01", "Country-03"])
    page.get_by_label("all cases").select_option("better")
    lists(page, ["Country-06", "Country-08"])
    clear.click()
    counts(page, "20 cases")
    page.get_by_label("in run order").select_option("low")
    page.get_by_label("any grader").select_option("named")
    page.get_by_label("any grade", exact=True).select_option("missed")
    lists(page, COUNTRIES[1::2])
    page.get_by_label("any grade", exact=True).select_option("")
    counts(page, "20 cases")
    page.get_by_label("any grader").select_option("short")
    for place, name in enumerate(["Country-00", "Country-00", "Country-01", "Country-01"]):
        expect(page.locator(".row .id").nth(place)).to_have_text(name)


def test_choices_that_follow_each_other_at_once_all_count(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(f"{page_path.as_uri()}#cases"))
    choose = """choices => {
        for (const [name, value] of Object.entries(choices)) {
            const control = document.getElementById("filters").elements[name];
            control.value = value;
            control.dispatchEvent(new Event("input", { bubbles: true }));
        }
    }"""
    page.evaluate(choose, {"q": "country-0", "grader": "named", "grade": "missed"})
    lists(page, COUNTRIES[1::2])
    expect(page).to_have_url(re.compile("q=country-0&grader=named&grade=missed$"))
    page.evaluate(f"choices => {{ ({choose})(choices); document.getElementById('clear').click(); }}", {"q": "city-04"})
    counts(page, "20 cases")
    page.get_by_label("any outcome").select_option("missed")
    counts(page, "5 of 20 cases")
    expect(page.get_by_role("searchbox")).to_have_value("")


def test_a_case_shows_its_conversation_grades_calls_change_and_the_other_model(
    watched: Watched, page_path: Path
) -> None:
    page = ready(watched.open(f"{page_path.as_uri()}#case=Country-01-small"))
    detail = page.locator("#detail")
    assert detail.locator("h2").inner_text() == "missed Country-01"
    assert "small · evals/capitals.jsonl:2" in detail.locator("header").inner_text()
    assert page.locator(".message .role").all_inner_texts()[:2] == ["user", "assistant 3 tokens, 0.50 s"]
    assert "expected the capital, found none" in detail.locator("table.grades").inner_text()
    assert detail.locator("#difference del").all_inner_texts() == ["think it is City-01"]
    assert "I think it is City-01." in detail.locator("#others").inner_text()
    detail.locator("summary", has_text="tone").click()
    expect(detail.get_by_text("Is it polite?")).to_be_visible()
    detail.locator("#others").get_by_role("link").click()
    expect(detail.locator("h2")).to_have_text("passed Country-01")
    expect(page).to_have_url(re.compile("#case=Country-01-large$"))
    expect(page.locator(".row[aria-selected=true] .where").first).to_have_text("large")
    expect(page.locator(".row[aria-selected=true]")).to_have_count(1)
    missing = watched.open(f"{page_path.as_uri()}#case=nothing")
    expect(ready(missing).get_by_text("There is no case nothing in this run.")).to_be_visible()


def test_calls_of_tools_and_their_results_are_shown_turn_by_turn(
    watched: Watched, tmp_path: Path, violations: Callable[[Any], list[str]]
) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "<b>Rome</b>", "days": [1, 2]}'}
    said = sample("Rome", "It is sunny.")
    said["interaction"]["thread"][1:1] = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": "sunny"},
    ]
    tried = sample("Oslo", '<tool_call>{"name"')
    tried["interaction"]["completion"] |= {
        "tool_calls": [{"name": "now", "arguments": {}, "id": "c2"}],
        "tool_call_error": "the call is cut off",
    }
    path = report(tmp_path / "report.html", written(tmp_path / "run.jsonl", [said, tried], summary(passed=2)))
    page = ready(watched.open(f"{path.as_uri()}#case=Rome-small"))
    assert page.locator(".message .role").all_inner_texts() == [
        "user",
        "assistant",
        "tool get_weather c1",
        "assistant 3 tokens, 0.50 s",
    ]
    assert page.locator(".message .call").all_inner_texts() == ["get_weather\ncity\n<b>Rome</b>\ndays\n[\n  1,\n  2\n]"]
    assert violations(page) == []
    page = ready(watched.open(f"{path.as_uri()}#case=Oslo-small"))
    answer = page.locator(".message.answer").inner_text()
    assert "now" in answer
    assert "A call that cannot be parsed: the call is cut off" in answer


def test_everything_is_reached_with_the_keyboard(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(page_path))
    press = page.keyboard.press
    press("c")
    expect(page.locator("#cases-view")).to_be_visible()
    title = page.locator("#detail h2")
    for key, name in (("j", "Country-00"), ("ArrowDown", "Country-01"), ("k", "Country-00")):
        press(key)
        expect(title).to_contain_text(name)
    expect(page).to_have_url(re.compile("#case=Country-00-small$"))
    press("]")
    expect(page).to_have_url(re.compile("#case=Country-00-large$"))
    press("Enter")
    expect(page.locator("#detail")).to_be_focused()
    press("Escape")
    expect(page.locator("#rows")).to_be_focused()
    press("/")
    expect(page.locator("input[name=q]")).to_be_focused()
    page.keyboard.type("jk 07")
    expect(page.locator("#none")).to_be_visible()
    press("Escape")
    counts(page, "20 cases")
    press("Escape")
    expect(page.locator("#rows")).to_be_focused()
    help_ = page.get_by_role("dialog", name="Keys")
    press("?")
    expect(help_).to_be_visible()
    press("Escape")
    expect(help_).to_be_hidden()
    press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    press("o")
    expect(page.locator("#overview-view")).to_be_visible()


def test_light_dark_and_phone_are_accessible_and_fit(
    watched: Watched, page_path: Path, violations: Callable[[Any], list[str]], fits: Callable[[Any], bool]
) -> None:
    case = f"{page_path.as_uri()}#case=Country-01-small"
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": PHONE, "has_touch": True}):
        for url in (page_path.as_uri(), f"{page_path.as_uri()}#cases", case):
            page = ready(watched.open(url, **options))
            assert violations(page) == [], (options, url)
            assert fits(page), (options, url)
    page.get_by_role("button", name="Back to the list").click()
    page.get_by_role("link", name="Overview").click()
    the_first_screen_has_the_result_and_tables_fit(page)
    page.get_by_role("link", name="Cases").click()
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("any outcome").select_option("missed")
    counts(page, "5 of 20 cases")
    page.locator(".row").first.click()
    expect(page.locator("#detail h2")).to_have_text("missed Country-01")
    expect(page.locator("#rows")).to_be_hidden()


def the_first_screen_has_the_result_and_tables_fit(page: Page) -> None:
    expect(page.locator("h1:visible")).to_have_text("1 of 3 gates not met")
    expect(page.locator(".ranking:visible")).to_have_text(["named: no clear difference between large and small"])
    for shown in ("h1:visible", ".ranking:visible", ".gates tbody tr >> nth=0"):
        expect(page.locator(shown)).to_be_in_viewport(ratio=1)
    assert page.locator(".wide").evaluate_all("all => all.filter(each => each.scrollWidth > each.clientWidth)") == []
    lesser = page.locator(".scores tbody .lesser", has_text="%")
    expect(lesser.first).to_be_hidden()
    page.get_by_label("with values, passed and graded").check()
    expect(lesser.first).to_be_visible()
    assert page.locator(".wide").evaluate_all("all => all.filter(each => each.scrollWidth > each.clientWidth)") == []
    page.get_by_text("Differences, and the run").click()
    expect(page.get_by_text("large is not clearly better than small: ahead by 0.500")).to_be_visible()


def test_the_page_follows_the_system_and_remembers_a_choice(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(page_path, color_scheme="dark"))
    root = page.locator("html")
    expect(root).to_have_css("background-color", "rgb(25, 24, 23)")
    page.get_by_role("button", name="Switch to light colours").click()
    expect(root).to_have_css("background-color", "rgb(253, 252, 250)")
    page.reload()
    ready(page)
    expect(root).to_have_css("background-color", "rgb(253, 252, 250)")


def test_the_page_of_a_history_has_a_chart_for_each_score_with_a_line_for_each_model(
    watched: Watched, tmp_path: Path, violations: Callable[[Any], list[str]], fits: Callable[[Any], bool]
) -> None:
    row = {"suite": "test_capitals", "grader": "named", "n": 400, "pass_rate": None}
    runs = [
        RecordedRun(
            {**RUN, "started": f"2026-11-0{day}T09:00:00+00:00"},
            day != 2,
            [
                {**row, "model": model, "mean": mean, "ci_low": mean - 0.05, "ci_high": mean + 0.05}
                for model, mean in (("org/small", small), ("org/large", large))
            ],
        )
        for day, small, large in ((1, 0.5, 0.9), (2, 0.55, 0.9), (3, 0.52, 0.7))
    ]
    entries = [{**each.to_data(), "short": each.model.removeprefix("org/")} for each in series(runs)]
    data = {"statistic": "mean", "runs": 3, "series": entries}
    write_text(tmp_path / "history.html", page_of("history", "History", data))
    for options in ({}, {"viewport": PHONE, "color_scheme": "dark"}):
        page = watched.open(tmp_path / "history.html", **options)
        chart = page.get_by_role("img")
        assert (
            chart.get_attribute("aria-label")
            == "named, 3 runs; small 0.520 (0.470 to 0.570); large 0.700 (0.650 to 0.750)"
        )
        assert chart.locator(".mark.partial").count() == 2
        assert chart.locator(".change").all_text_contents() == ["▼"]
        expect(page.locator(".legend li")).to_have_text(["small 0.520 0.470 to 0.570", "large 0.700 0.650 to 0.750 ▼"])
        # Without colours, a line has its own dashes and its own mark.
        for selector, attribute in (("polyline", "stroke-dasharray"), (".mark", "d")):
            drawn = page.locator(f".legend {selector}")
            assert len({drawn.nth(index).get_attribute(attribute) for index in range(2)}) == 2
        page.locator("summary").click()
        latest = page.locator("tbody tr").nth(1)
        expect(latest).to_be_visible()
        expect(latest.locator("td")).to_have_text(
            ["2026-11-03 09:00", "012345678+", "large", "▼ 0.700", "0.650 to 0.750", "400"],
        )
        assert violations(page) == []
        assert fits(page)


def test_images_and_recordings_are_shown_where_they_were_said(
    watched: Watched, tmp_path: Path, violations: Callable[[Any], list[str]]
) -> None:
    (tmp_path / "a picture.png").write_bytes(png(40, 30))
    content = [{"type": "image", "image": "a picture.png"}, "What is it?", {"type": "audio", "audio": wav()}]
    said = [{"role": "user", "content": checked_content(content, MediaPlaces((tmp_path,)), 1)}]
    (prompt,) = recorded(said, tmp_path)
    hostile = {"type": "image", "image": "javascript:alert(1)", "sha256": "00", "mime": "image/png"}
    lines = [sample("France", "Paris", prompt=prompt["content"]), sample("Chad", "no", prompt=[hostile])]
    path = tmp_path / "out" / "report.html"
    now = ArtifactReader(written(tmp_path / "run.jsonl", lines, summary(passed=2)))
    write_text(path, report_page(now, None, path))
    page = ready(watched.open(f"{path.as_uri()}#case=France-small"))
    image = page.locator(".message figure img")
    expect(image).to_be_visible()
    assert image.evaluate("image => [image.naturalWidth, image.alt]") == [40, "image: a picture.png, 40x30"]
    assert page.locator(".message figure a").get_attribute("href") == "./../a%20picture.png"
    expect(page.locator(".message figure audio")).to_have_count(1)
    expect(page.get_by_text("What is it?")).to_be_visible()
    assert violations(page) == []
    page = ready(watched.open(f"{path.as_uri()}#case=Chad-small"))
    expect(page.get_by_text("the file is not there, or has changed")).to_be_visible()
    expect(page.locator(".message figure a, .message figure img")).to_have_count(0)
