"""Whatever a model or a data set says is text on the page: nothing of it runs, loads, closes an element or hides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pages.building import RUN, grade, report, sample, summary, written
from tests.pages.conftest import Watched, expect

HACK = "window.hacked=1"
TEXTS = {
    "script": f"</script><script>{HACK}</script>",
    "comment": f"<!--<script>{HACK}</script>--></script><!-- ]]>",
    "handler": f"<img src=x onerror={HACK}><svg onload={HACK}><a href='javascript:{HACK}'>go</a>",
    "style": "</style><style>body{display:none}</style><link rel=stylesheet href=https://example.com/x.css>",
    "template": "{{ data }} {{ chunks }} ${" + HACK + "} {% raw %} {{ script }}",
    "json": '"}]</script> \\u003c/script> \u2028\u2029 \\',
    "rtl": "user\u202egnp.exe \u2066mixed\u2069 \u0645\u0631\u062d\u0628\u0627",
    "surrogate": "half \ud83d a pair \udc00",
    "control": "a\x00b\x1b[31mred\x07\ufeff",
    "proto": "__proto__ constructor hasOwnProperty",
    "invisible": "zero\u200bwidth \u061c tags\U000e0041 joined\u200dletters soft\xad",
    "writing": "👩\u200d💻 ❤\ufe0f 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f \u0645\u06cc\u200c\u062e",
}
LONG = 10_000_000


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    samples = [
        sample(
            name,
            text,
            grade(text[:60], 0.0, passed=False, reasoning=text, metadata={text: text}),
            id=text[:80],
            model=text[:60],
            prompt=text,
            outcome="missed",
            fields={text: text, "__proto__": text},
            tasks={text: text},
            error={"kind": "test", "message": text},
            calls=[
                {"by": text, "handle": text, "model": text, "messages": [{"role": text, "content": text}], "text": text}
            ],
        )
        for name, text in TEXTS.items()
    ]
    samples.append(sample("long", "<b>word</b> " * (LONG // 12), grade("named", 1.0, passed=True)))
    gate = {"gate": TEXTS["script"], "suite": TEXTS["handler"], "model": "", "verdict": "failed", "value": None}
    last = summary([{**gate, "n": 0, "applicable": 0, "reason": TEXTS["style"]}], missed=len(TEXTS), passed=1)
    return report(folder / "report.html", written(folder / "run.jsonl", samples, last))


def test_hostile_text_is_shown_and_never_runs(watched: Watched, page_path: Path) -> None:
    page = watched.open(page_path)
    page.wait_for_selector("[data-ready]")
    elements = page.evaluate(
        "[...document.querySelectorAll('script, style, link, img, iframe')].map(node => node.tagName)"
    )
    assert elements == ["STYLE", "SCRIPT", "SCRIPT"]
    page.keyboard.press("c")
    for name, text in TEXTS.items():
        page.keyboard.press("j")
        shown = page.locator("#detail .message.answer .text").first
        expect(page.locator("#detail h2")).to_have_text(f"missed {name}")
        for details in page.locator("#detail summary").all():
            details.click()
        if name not in ("rtl", "surrogate", "control", "json", "invisible"):
            assert shown.evaluate("node => node.textContent") == text
    page.keyboard.press("k")
    expect(page.locator("#detail h2")).to_have_text(f"missed {list(TEXTS)[-2]}")
    expect(page.locator("#detail")).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert len(watched.requests) == 1, "only the page itself"


def test_what_reorders_or_hides_text_stands_there_as_its_code(watched: Watched, page_path: Path) -> None:
    page = watched.open(f"{page_path.as_uri()}#cases")
    page.wait_for_selector("[data-ready]")
    for name, codes in (
        ("rtl", ["U+202E", "U+2066", "U+2069"]),
        ("surrogate", ["U+D83D", "U+DC00"]),
        ("control", ["U+0000", "U+001B", "U+0007", "U+FEFF"]),
        ("invisible", ["U+200B", "U+061C", "U+E0041", "U+200D", "U+00AD"]),
        ("writing", []),
    ):
        page.locator(".row", has_text=name).first.click()
        expect(page.locator("#detail .conversation .answer .control")).to_have_text(codes)
    expect(page.locator("#detail .message.answer .text").first).to_have_attribute("dir", "auto")


def test_ten_megabytes_of_text_open_at_once_and_come_whole_when_asked_for(watched: Watched, page_path: Path) -> None:
    page = watched.open(f"{page_path.as_uri()}#case=long-small")
    page.wait_for_selector("[data-ready]")
    answer = page.locator("#detail .message.answer .text").first
    more = answer.get_by_role("button")
    expect(more).to_have_text("Show all 9,999,996 characters")
    more.click()
    expect(more).to_have_count(0)
    assert answer.evaluate("node => node.textContent.length") == LONG // 12 * 12
    # It would take hours, if the browser had to lay all of it out.
    later = "pieces => pieces.every(piece => getComputedStyle(piece).contentVisibility === 'auto')"
    pieces = answer.locator(".piece")
    assert pieces.count() > 100
    assert pieces.evaluate_all(later)


def test_the_facts_of_a_run_are_shown_without_its_secrets(tmp_path: Path) -> None:
    run = {**RUN, "command": ["pytest", "--api-key", "hunter2"], "options": {"url": "https://me:hunter2@example.org"}}
    artifact = written(tmp_path / "run.jsonl", [sample("a", "x")])
    lines = artifact.read_text(encoding="utf-8").splitlines()[1:]
    artifact.write_text("\n".join([json.dumps(run), *lines, ""]), encoding="utf-8")
    page = report(tmp_path / "page.html", artifact, artifact).read_text(encoding="utf-8")
    assert "hunter2" not in page
    assert "https://me:***@example.org" in page
