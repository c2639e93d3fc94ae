"""A page as one document: what is inlined, and that nothing in the data gets out of its element."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from pytest_evals.reports.html.page import json_text, page

HOSTILE = ["</script>", "<!--<script>", "\u2028\u2029", "\ud800", "{{ script }}", "{{ chunks }}", "\x00", "é 東京"]


@pytest.mark.parametrize("text", HOSTILE)
def test_json_inside_of_a_script_is_harmless_and_reads_back(text: str) -> None:
    written = json_text({"text": text, text: 1})
    assert "<" not in written
    assert not re.search("[\u2028\u2029\ud800-\udfff]", written)
    assert json.loads(written) == {"text": text, text: 1}


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert json.loads(json_text({"value": float("nan"), "rest": [float("inf"), 1]})) == {
        "value": None,
        "rest": [None, 1],
    }


def test_a_page_holds_its_data_whatever_that_says() -> None:
    samples = [{"text": text} for text in HOSTILE]
    document = "".join(page("report", "<b>&title", {"texts": HOSTILE}, [samples, samples]))
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', document, re.DOTALL)
    assert [json.loads(text) for text in found] == [{"texts": HOSTILE}, samples, samples]
    assert "<title>&lt;b&gt;&amp;title</title>" in document


def test_the_policy_allows_the_own_script_and_style_and_nothing_else() -> None:
    document = "".join(page("report", "title", {}))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', document)
    assert policy is not None
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        text = re.findall(rf"<{element}>(.*?)</{element}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{directive} &#x27;sha256-{digest}&#x27;" in policy[1]
    assert policy[1].startswith("default-src &#x27;none&#x27;; ")
    assert "unsafe" not in policy[1]
    assert set(re.findall(r"https?://[^\"'\s]*", document)) == {"http://www.w3.org/2000/svg"}, "a name, not an address"
