"""How numbers look."""

from __future__ import annotations

import pytest

from pytest_evals.reports import formatting


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
