"""The report page in a browser: what a reader sees, finds and reaches with the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.history import RecordedRun, series
from pytest_evals.pages.assemble import page as page_of
from pytest_evals.pages.writing import write_text
from tests.pages.building import RUN, grade, report, sample, summary, written
from tests.pages.conftest import PHONE, Watched

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


def found(page: Page) -> list[str]:
    """The cases in the list, from the top."""
    names = page.locator(".row .id").all_inner_texts()
    return [
        name
        for _, name in sorted(
            zip(page.locator(".row").evaluate_all("rows => rows.map(row => row.offsetTop)"), names, strict=True)
        )
    ]


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
    assert page.locator("table.gates tbody tr").first.inner_text().startswith("not met")
    assert page.locator("summary", has_text="1 gate met").count() == 1
    assert page.locator("summary", has_text="by continent").count() == 1
    north = page.locator("table.slices tbody", has_text="north").locator("tr").first.inner_text()
    assert north.split("\t")[3].split() == ["1.000", "0.566", "to", "1.000"]
    assert page.locator("table.slices strong.low").first.inner_text().split()[0] == "0.000"
    assert "15 passed" in page.locator(".counts").inner_text()
    assert "0123456789abcdef, with changes" in page.locator("dl.facts").inner_text()
    page.get_by_role("link", name="small").first.click()
    assert page.locator("#count").inner_text() == "10 of 20 cases"
    assert "model=org%2Fsmall" in page.url


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
    assert found(page) == ["Country-01", "Country-03"]


def test_cases_are_searched_filtered_and_ordered(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(f"{page_path.as_uri()}#cases"))
    assert page.locator("#count").inner_text() == "20 cases"
    page.get_by_role("searchbox").fill("city-04")
    page.wait_for_selector("#count:has-text('2 of 20')")
    assert found(page) == ["Country-04", "Country-04"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("any outcome").select_option("missed")
    assert found(page) == COUNTRIES[1::2]
    page.get_by_label("any slice").select_option("continent=north")
    assert page.get_by_text("No case is like that.").is_visible()
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("all cases").select_option("models")
    assert page.locator("#count").inner_text() == "10 of 20 cases"
    page.get_by_label("all cases").select_option("worse")
    assert found(page) == ["Country-01", "Country-03"]
    page.get_by_label("all cases").select_option("better")
    assert found(page) == ["Country-06", "Country-08"]
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("any grader").select_option("named")
    page.get_by_label("any grade", exact=True).select_option("missed")
    assert page.locator("#count").inner_text() == "5 of 20 cases"
    page.get_by_label("in run order").select_option("low")
    page.get_by_label("any grader").select_option("short")
    page.get_by_label("any grade", exact=True).select_option("")
    assert found(page)[:4] == ["Country-00", "Country-00", "Country-01", "Country-01"]


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
    assert detail.get_by_text("Is it polite?").is_visible()
    detail.locator("#others").get_by_role("link").click()
    assert page.url.endswith("#case=Country-01-large")
    assert page.locator(".row[aria-selected=true]").count() == 1
    missing = watched.open(f"{page_path.as_uri()}#case=nothing")
    assert ready(missing).get_by_text("There is no case nothing in this run.").is_visible()


def test_everything_is_reached_with_the_keyboard(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(page_path))
    press = page.keyboard.press
    press("c")
    page.wait_for_selector("#cases-view:visible")
    for key in ("j", "ArrowDown", "k"):
        press(key)
    assert page.url.endswith("#case=Country-00-small")
    press("]")
    assert page.url.endswith("#case=Country-00-large")
    press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"
    press("Escape")
    assert page.evaluate("document.activeElement.id") == "rows"
    press("/")
    page.wait_for_selector("input[name=q]:focus")
    page.keyboard.type("jk 07")
    page.wait_for_selector("#none")
    press("Escape")
    page.wait_for_selector("#count:text-is('20 cases')")
    press("Escape")
    press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    press("Escape")
    press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    press("o")
    page.wait_for_selector("#overview-view:visible")


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
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("any outcome").select_option("missed")
    page.locator(".row").first.click()
    assert page.locator("#detail h2").inner_text() == "missed Country-01"
    assert not page.locator("#rows").is_visible()


def test_the_page_follows_the_system_and_remembers_a_choice(watched: Watched, page_path: Path) -> None:
    page = ready(watched.open(page_path, color_scheme="dark"))
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(background) == "rgb(25, 24, 23)"
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(background) == "rgb(253, 252, 250)"
    page.reload()
    assert ready(page).evaluate(background) == "rgb(253, 252, 250)"


def test_the_page_of_a_history_draws_each_score(
    watched: Watched, tmp_path: Path, violations: Callable[[Any], list[str]], fits: Callable[[Any], bool]
) -> None:
    row = {"suite": "test_capitals", "model": "m", "grader": "named", "n": 4, "pass_rate": None}
    runs = [
        RecordedRun(
            {**RUN, "started": f"2026-11-0{day}T09:00:00+00:00"},
            day != 2,
            [{**row, "mean": mean, "ci_low": mean, "ci_high": 1.0}],
        )
        for day, mean in ((1, 0.5), (2, 0.75), (3, 0.9))
    ]
    data = {"statistic": "mean", "runs": 3, "series": [each.to_data() for each in series(runs)]}
    write_text(tmp_path / "history.html", page_of("history", "History", data))
    for options in ({}, {"viewport": PHONE, "color_scheme": "dark"}):
        page = watched.open(tmp_path / "history.html", **options)
        chart = page.get_by_role("img")
        assert chart.get_attribute("aria-label") == "3 runs; the latest 0.900, interval 0.900 to 1.000"
        assert chart.locator("circle.partial").count() == 1
        page.locator("summary").click()
        assert page.locator("tbody tr").first.inner_text().split("\t") == [
            "2026-11-03 09:00",
            "012345678+",
            "0.900",
            "0.900 to 1.000",
            "4",
        ]
        assert violations(page) == []
        assert fits(page)
