"""Text on its way out: what a place would take for more than text is text there."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable

import pytest

from campaigns import hostile_inputs as hostile
from pytest_evals import sinks
from pytest_evals.export.csv import write_csv
from pytest_evals.sinks import (
    FilteredStream,
    LogFilter,
    for_csv,
    for_github,
    for_github_property,
    for_json,
    for_markdown,
    for_markdown_block,
    for_markdown_code,
    for_terminal,
    log_is_read,
)

COMMANDS = [
    pytest.param(reader, text.replace("{tag}", "tag1z"), id=f"{language}-{number}")
    for language, (texts, reader, _) in hostile.LANGUAGES.items()
    for number, text in enumerate(texts)
]


def tagged(texts: list[str]) -> list[str]:
    return [text.replace("{tag}", "tag1z") for text in texts]


@pytest.mark.parametrize(("reader", "text"), COMMANDS)
def test_no_line_of_a_log_is_a_command(reader: Callable[[str], set[str]], text: str) -> None:
    assert reader(text) == {"tag1z"}, "the reader knows it"
    bit_by_bit = LogFilter()
    for written in (
        for_terminal(text),
        f"before\n{for_terminal(text)}",
        LogFilter()(text),
        "".join(map(bit_by_bit, text)),
        for_json(json.dumps(text, ensure_ascii=False)),
    ):
        assert reader(written) == set()


@pytest.mark.parametrize(
    "text",
    [
        "a::b", "std::vector<int>", "test_it.py::test_it[a] PASSED", "E   assert 'x' == 'y'", "## Heading", "# [link](x)", "a[0]", "section 1: start",
        "==== FAILURES ====", "\x1b[31mred\x1b[0m", "one\r\ntwo", "::", "50 %", "C:\\x\\y", "x: :y", "#![feature]",
    ],
)  # fmt: skip
def test_what_is_no_command_passes_the_filter_of_a_log_unchanged(text: str) -> None:
    assert LogFilter()(f"x {text}\n") == f"x {text}\n"


def test_a_filter_knows_where_a_line_starts_across_writes() -> None:
    log = LogFilter()
    assert log("a") + log("::error::x") == "a::error::x"
    assert log("\n") + log("::error::x") == "\n:\\x3aerror::x"
    assert log("\r") + log(" ") + log(":") + log(":") == "\r :\\x3a"
    log.pass_by("\n")
    assert log("::error::x") == ":\\x3aerror::x"
    log.pass_by("x" * 1000)
    assert log("::error::x") == "::error::x"
    assert log("#") + log("#") + log("v") + log("so[task") == "##vso\\x5btask"


def test_threads_may_write_at_the_same_time() -> None:
    written: list[str] = []
    log = LogFilter()
    threads = [
        threading.Thread(target=lambda: written.extend(log("\n::error::x\n") for _ in range(200))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(written) == {"\n:\\x3aerror::x\n"}


def test_a_filtered_stream_is_the_stream_in_everything_else() -> None:
    inner = io.StringIO()
    stream = FilteredStream(inner)
    assert stream.write("::error::x") == len("::error::x")
    stream.writelines(["\n", "##[group]"])
    stream.flush()
    assert inner.getvalue() == ":\\x3aerror::x\n##\\x5bgroup]"
    assert stream.isatty() is False


@pytest.mark.parametrize(
    ("environment", "read"),
    [
        ({}, False),
        ({"CI": "true"}, False),
        ({"GITHUB_ACTIONS": "true"}, True),
        ({"GITHUB_ACTIONS": "false"}, False),
        ({"TF_BUILD": "True"}, True),
        ({"TEAMCITY_VERSION": "2025.03 (build 1)"}, True),
        ({"GITLAB_CI": "true"}, True),
        ({"GITLAB_CI": ""}, False),
        ({"PYCHARM_HOSTED": "1"}, True),
    ],
)
def test_logs_are_read_where_a_system_that_reads_them_says_so(environment: dict[str, str], read: bool) -> None:
    assert log_is_read(environment) is read


@pytest.mark.parametrize("text", tagged(hostile.MARKDOWN))
@pytest.mark.parametrize("allow_html", [True, False])
def test_in_markdown_nothing_is_a_link_an_element_or_a_reference(text: str, *, allow_html: bool) -> None:
    cells = " | ".join((for_markdown(text), for_markdown_code(text, cell=True)))
    for written in (
        for_markdown(text),
        f"- {for_markdown(text)}",
        for_markdown_code(text),
        f"| a | b |\n| - | - |\n| {cells} |",
        f"Answered\n{for_markdown_block(text)}\n",
    ):
        assert hostile.markdown(written, allow_html=allow_html) == set()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", "a\\|b"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("`code` *x* _y_ [l](u)", "\\`code\\` \\*x\\* \\_y\\_ \\[l\\](u)"),
        ("two\nlines", "two lines"),
        ("@somebody", "@&#8288;somebody"),
        ("see #1 and GH-3", "see \\#&#8288;1 and GH-&#8288;3"),
        ("https://e.org", "https:/&#8288;/e.&#8288;org"),
        ("at 0123456789abcdef", "at 012345&#8288;6789ab&#8288;cdef"),
        ("-0.5, not >= 0.8 (n=2)", "-0.5, not &gt;= 0.8 (n=2)"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("1.5 of 2", "1.5 of 2"),
        ("test_capitals[France] 95%", "test\\_capitals\\[France\\] 95%"),
        ("\x1b[1m\u202e", "\\\\x1b\\[1m\\\\u202e"),
        ("", ""),
    ],
)
def test_text_in_a_paragraph_reads_as_it_was(text: str, written: str) -> None:
    assert for_markdown(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [("a", "`a`"), ("", ""), ("a`b``c", "```a`b``c```"), ("`a", "`` `a ``"), ("a|b\nc", "`a|b c`")],
)
def test_code_is_fenced_by_more_backticks_than_it_has(text: str, written: str) -> None:
    assert for_markdown_code(text) == written
    assert for_markdown_block(text).startswith("```text\n")


def test_the_fence_of_a_block_is_longer_than_any_in_it() -> None:
    assert for_markdown_block("a\n`````\n</details>") == "``````text\na\n`````\n</details>\n``````"


@pytest.mark.parametrize("text", tagged(hostile.CSV))
def test_no_spreadsheet_finds_a_formula_wherever_it_separates_cells(text: str) -> None:
    file = io.StringIO(newline="")
    write_csv(file, ["before", "text", text], [{"before": "x", "text": text, text: 1}, {"text": text}])
    assert hostile.spreadsheet(file.getvalue()) == set()
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert [len(row) for row in rows] == [3, 3, 3]
    assert rows[1][1].replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    "text",
    ["Here:\n- one\n- two", "a; b; c", "x = 1", "-5", "+1.5e-3", "Paris\nLyon", "1;2", 'say "hi"', "a\rb", "e-mail: a@b.c"],
)  # fmt: skip
def test_ordinary_text_stands_in_a_cell_as_it_is(text: str) -> None:
    file = io.StringIO(newline="")
    write_csv(file, ["text", "n"], [{"text": text, "n": 1}])
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == [["text", "n"], [text, "1"]]


def test_a_row_of_one_empty_cell_is_a_row() -> None:
    file = io.StringIO(newline="")
    write_csv(file, ["a"], [{"a": None}, {"a": "x"}])
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == [["a"], [""], ["x"]]


@pytest.mark.parametrize(
    "data",
    [
        *tagged(hostile.TERMINAL),
        *tagged(hostile.AZURE),
        "\\\u202e",
        "\\\\##[x]",
        '"##[',
        "👨\u200d👩",
        ["##[a]", {"##[": 1}],
    ],
)
def test_json_with_escapes_means_the_same(data: object) -> None:
    written = for_json(json.dumps(data, ensure_ascii=False, indent=2))
    assert json.loads(written) == data
    assert written.encode()
    assert "##[" not in written


@pytest.mark.parametrize("text", tagged(hostile.XML) + tagged(hostile.TERMINAL))
def test_xml_holds_what_is_left_of_any_text(text: str) -> None:
    escaped = sinks.for_junit(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert hostile.xml(f"<a>{escaped}</a>") == set()


def test_a_workflow_command_of_our_own_is_one_line() -> None:
    assert for_github("50%\r\n::error::x\x1b") == "50%25\\x0d%0A::error::x\\x1b"
    assert for_github("x ##[set-output name=a]b") == "x ##\\x5bset-output name=a]b"
    assert for_github_property("a,b:c\n") == "a%2Cb%3Ac%0A"


@pytest.mark.parametrize("sink", sinks.SINKS)
@pytest.mark.parametrize("text", ["", "x", "\ud800", "\x00" * 10, "#" * 1000, "::" * 1000, "`" * 1000, "\n" * 1000])
def test_every_sink_takes_every_text(sink: str, text: str) -> None:
    assert sinks.SINKS[sink](text).encode() is not None


@pytest.mark.parametrize("sink", [for_terminal, LogFilter(), for_markdown, for_csv, for_json])
@pytest.mark.parametrize(
    "piece", [" ", "\n", "#", ":", "\x1b[0m", "-", "a", "0", "=", ";", "[", "/", "\u200d", "@", "`"]
)
def test_time_grows_with_the_text_alone(sink: Callable[[str], str], piece: str) -> None:
    # A pattern that is tried again from every character would take hours.
    assert sink(piece * 300_000) is not None
