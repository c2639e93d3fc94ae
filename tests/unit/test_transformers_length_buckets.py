"""Slots are read in bands of about equal length."""

from __future__ import annotations

import random

import pytest

from pytest_evals.engines.transformers.packed.forward_context import LEAST_ROWS, LengthBucket, bands_of


def test_rows_of_one_length_are_one_band() -> None:
    assert bands_of([100] * 64) == [LengthBucket(0, 64, 100)]


def test_short_rows_are_not_read_to_the_end_of_long_ones() -> None:
    assert bands_of([300] * 16 + [100] * 16) == [LengthBucket(0, 16, 300), LengthBucket(16, 32, 100)]


def test_lengths_that_are_close_share_a_band() -> None:
    assert bands_of([100] * 8 + [95] * 8) == [LengthBucket(0, 16, 100)]


def test_a_band_reaches_to_its_own_longest_row() -> None:
    assert bands_of([10] * 7 + [90] + [10] * 8) == [LengthBucket(0, 8, 90), LengthBucket(8, 16, 10)]


def test_a_few_rows_at_the_end_join_the_band_before() -> None:
    assert bands_of([50] * 8 + [500]) == [LengthBucket(0, 9, 500)]


def test_no_slots_are_no_bands() -> None:
    assert bands_of([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_bands_cover_every_slot_once_and_no_cell_is_missed(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - a draw that can be repeated
    lengths = [draw.randint(1, 600) for _ in range(draw.randint(1, 100))]
    bands = bands_of(lengths)
    assert [slot for band in bands for slot in range(band.begin, band.end)] == list(range(len(lengths)))
    assert all(band.cells == max(lengths[band.begin : band.end]) for band in bands)
    assert all(band.end - band.begin >= min(LEAST_ROWS, len(lengths)) for band in bands)
