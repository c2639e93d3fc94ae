"""How numbers look."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_evals.reports import formatting
from pytest_evals.reports.formatting import Column, fitted_table


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (0, "0.000"),
        (1, "1.000"),
        (0.12345, "0.123"),
        (-2.5, "-2.500"),
        (999.9, "999.900"),
        (1000, "1,000.0"),
        (1234567.89, "1,234,567.9"),
        (-1234.5, "-1,234.5"),
    ],
)
def test_a_score_has_three_decimals_until_it_is_large(number: float | None, text: str) -> None:
    assert formatting.value(number) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (0, "0%"), (0.0, "0%"), (1, "100%"), (0.5, "50%"), (2 / 3, "67%"), (0.994, "99%"), (0.01, "1%")],
)
def test_a_share_is_a_percentage(share: float | None, text: str) -> None:
    assert formatting.percent(share) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.996, "99.6%"), (0.9999, "99.9%"), (0.004, "0.4%"), (0.0001, "0.1%"), (0.999999999, "99.9%")]
)
def test_only_all_is_100_percent_and_only_nothing_is_0(share: float, text: str) -> None:
    assert formatting.percent(share) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1234567, "1,234,567")])
def test_a_count_separates_thousands(number: int, text: str) -> None:
    assert formatting.count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (125.9, "2 min 5 s"), (3600, "60 min 0 s")],
)
def test_a_duration_is_in_seconds_or_minutes(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (269_030_016, "269 MB"), (1.5e9, "1.5 GB"), (2.5e12, "2500.0 GB")],
)
def test_a_size_is_in_the_unit_that_fits(size: float, text: str) -> None:
    assert formatting.size(size) == text


# -- Tables that fit


LONG = ("smollm2?template=template.jinja", "smollm2?template=other.jinja", "org/large")


@pytest.mark.parametrize("limit", [8, 9, 12, 16, 40])
@pytest.mark.parametrize(
    "texts",
    [
        LONG,
        ["same" * 9 + str(number) for number in range(150)],
        ["a" * 50 + "b" * number for number in range(60)],
        ["", "x" * 99],
    ],
)
def test_short_forms_are_short_and_not_the_same_for_two(texts: Sequence[str], limit: int) -> None:
    forms = formatting.short_forms([*texts, *texts], limit)
    assert set(forms) == set(texts)
    assert len(set(forms.values())) == len(texts)
    assert max(map(len, forms.values())) <= limit
    assert all(forms[text] == text for text in texts if len(text) <= limit)


def table(width: int) -> list[str]:
    return fitted_table(
        [
            Column("model", LONG, named=True),
            Column("mean", ["0.5"] * 3, numeric=True),
            Column("95% interval", ["0.375 .. 0.671"] * 3, numeric=True, rank=3),
            Column("max", ["1.0"] * 3, numeric=True, rank=9),
        ],
        width,
    )


@pytest.mark.parametrize(
    ("width", "shown", "hidden", "whole"),
    [
        (80, ("95% interval", "max"), "", True),
        (56, ("95% interval",), "no room for: max", True),
        # A name gives way to an interval, as long as it can be read.
        (37, ("95% interval", "smollm2?templ.."), "no room for: max", False),
        (35, (), "", False),
        (30, ("0.5",), "", False),
    ],
)
def test_a_name_is_shortened_before_a_wanted_column_goes(
    width: int, shown: tuple[str, ...], hidden: str, whole: bool
) -> None:
    lines = table(width)
    text = "\n".join(lines)
    assert all(part in text for part in shown)
    assert (hidden in lines) or not hidden
    assert ("smollm2?template=template.jinja" in lines[2]) is whole
    assert whole or any(line.endswith("is") or " is smollm2?temp" in line for line in lines)
    assert max(map(len, lines[:5])) <= width


def headed(width: int) -> list[str]:
    return fitted_table(
        [
            Column("suite", ["invoices", "", "orders"], heading=True),
            Column("model", ["org/small", "org/large", "org/small"], named=True, heading=True),
            Column("grader", ["right", "right", "short"], named=True),
            Column("mean", ["0.5", "1.0", "0.2"], numeric=True),
            Column("95% interval", ["0.375 .. 0.671"] * 3, numeric=True, rank=3),
            Column("max", ["1.0"] * 3, numeric=True, rank=9),
        ],
        width,
    )


def test_headings_are_columns_where_there_is_room_and_else_lines_above_their_rows() -> None:
    assert headed(60)[:4] == [
        "suite     model      grader  mean    95% interval  max",
        "--------  ---------  ------  ----  --------------  ---",
        "invoices  org/small  right    0.5  0.375 .. 0.671  1.0",
        "          org/large  right    1.0  0.375 .. 0.671  1.0",
    ]
    assert headed(50)[:2] == [
        "suite     model      grader  mean    95% interval",
        "--------  ---------  ------  ----  --------------",
    ]
    assert headed(41) == [
        "  model      grader  mean    95% interval",
        "  ---------  ------  ----  --------------",
        "invoices",
        "  org/small  right    0.5  0.375 .. 0.671",
        "  org/large  right    1.0  0.375 .. 0.671",
        "orders",
        "  org/small  short    0.2  0.375 .. 0.671",
        "no room for: max",
    ]
    assert headed(32) == [
        "  grader  mean    95% interval",
        "  ------  ----  --------------",
        "invoices org/small",
        "  right    0.5  0.375 .. 0.671",
        "invoices org/large",
        "  right    1.0  0.375 .. 0.671",
        "orders org/small",
        "  short    0.2  0.375 .. 0.671",
        "no room for: max",
    ]


@pytest.mark.parametrize("width", [20, 24, 29])
def test_where_headings_above_make_no_room_either_the_interval_goes_and_is_named(width: int) -> None:
    lines = headed(width)
    assert not any(".." in line and "0.375" in line for line in lines)
    assert "95% interval" in " ".join(" ".join(lines[2:]).split()), "named as missing"
    assert max(map(len, lines)) <= max(width, 24)
