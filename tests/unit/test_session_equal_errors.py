"""Which errors of cases say the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.session.equal_errors import folded


def report(case_id: str, message: str, *, line: int = 4, when: str = "setup") -> Any:
    crash = SimpleNamespace(path="test_a.py", lineno=line, message=message)
    return SimpleNamespace(
        nodeid=f"test_a.py::test_a[{case_id}]", when=when, longrepr=SimpleNamespace(reprcrash=crash), sections=[]
    )


def kinds(*reports: Any) -> int:
    return len(folded(reports, {each.nodeid for each in reports}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("KeyError: 'capitol'", "KeyError: 'capitol'"),
        ("KeyError: 'k1'", "KeyError: 'k2'"),
        ("ValueError: no row k1 in the index", "ValueError: no row k2 in the index"),
        ("TimeoutError: 30.5 s were over", "TimeoutError: 31 s were over"),
        ("TypeError: got -1.5e-3 for 12,000 tokens", "TypeError: got 7 for 900 tokens"),
        ('json.JSONDecodeError: Extra data: line 1 column 5 (char 4) in "a b"', 'json.JSONDecodeError: Extra data: line 2 column 9 (char 44) in ""'),
        ("RuntimeError: <Engine object at 0x7f00a1> is gone", "RuntimeError: <Engine object at 0x7fffb2> is gone"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'a/k1.png'", "FileNotFoundError: [Errno 2] No such file or directory: 'b/k2.png'"),
        ("no completion (model error): HTTP 429: retry after 12 s", "no completion (model error): HTTP 429: retry after 3 s"),
        ("IndexError: list index `3` out of range", "IndexError: list index `17` out of range"),
    ],
)  # fmt: skip
def test_errors_that_differ_by_id_number_or_quoted_value_are_one(one: str, other: str) -> None:
    assert kinds(report("k1", one), report("k2", other)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (report("k1", "KeyError: 'a'"), report("k2", "IndexError: 'a'")),
        (report("k1", "KeyError: 'a'"), report("k2", "KeyError: 'a'", line=5)),
        (report("k1", "KeyError: 'a'"), report("k2", "KeyError: 'a'", when="teardown")),
        (report("k1", "ValueError: no utf8 text"), report("k2", "ValueError: no utf16 text")),
        # An assertion is about one case.
        (report("k1", "AssertionError: assert 1 == 2", when="call"), report("k2", "AssertionError: assert 1 == 2", when="call")),
        (report("k1", "Failed: no", when="call"), report("k2", "Failed: no", when="call")),
    ],
)  # fmt: skip
def test_other_errors_stay_apart(one: Any, other: Any) -> None:
    assert kinds(one, other) == 2


def test_the_first_is_shown_whole_with_how_many_there_are_and_the_names_of_others() -> None:
    reports = [report(f"k{number}", f"KeyError: 'k{number}'") for number in range(8)]
    (shown,) = folded(reports, {each.nodeid for each in reports})
    assert shown.longrepr.reprcrash.message == "(8 cases) KeyError: 'k0'"
    names = ", ".join(f"test_a[k{number}]" for number in range(1, 6))
    assert shown.sections == [("Errors like this one of 7 more", f"{names} and 2 more")]
    assert reports[0].sections == []
    assert folded(reports, set()) == reports, "only cases of suites"
