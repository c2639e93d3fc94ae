"""Batches of similar length: which texts are computed together."""

from __future__ import annotations

import random

import pytest

from pytest_evals.engines.transformers.encoder.batching import LengthSortedQueue


def filled(lengths: list[int], tokens: int, rows: int = 512, *, padded: bool = True) -> LengthSortedQueue[int]:
    queue: LengthSortedQueue[int] = LengthSortedQueue(tokens, rows, padded=padded)
    for place, length in enumerate(lengths):
        queue.add(length, place)
    return queue


def drained(queue: LengthSortedQueue[int]) -> list[list[int]]:
    found = []
    while queue:
        found.append(list(queue.take()))
    assert queue.take() == []
    return found


def test_the_longest_go_first_with_those_of_similar_length() -> None:
    assert drained(filled([1, 9, 3, 10, 2, 10], 20)) == [[3, 5], [1, 2], [4, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_each_text_is_in_one_batch_and_no_batch_is_larger_than_its_tokens(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - a sequence that can be repeated
    lengths = [source.randint(1, 300) for _ in range(200)]
    batches = drained(filled(lengths, 512, rows=7))
    assert sorted(place for batch in batches for place in batch) == list(range(200))
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert len(batch) == 1 or longest * len(batch) <= 512
        assert len(batch) <= 7


def test_a_text_that_is_longer_than_the_budget_is_alone() -> None:
    assert drained(filled([600, 10], 512)) == [[0], [1]]


def test_where_nothing_may_be_padded_equal_lengths_go_together() -> None:
    assert drained(filled([5, 7, 5, 7, 6], 100, padded=False)) == [[1, 3], [4], [0, 2]]


def test_what_arrives_late_joins_by_its_length() -> None:
    queue = filled([10, 1, 1], 10)
    assert list(queue.take()) == [0]
    queue.add(10, 9)
    assert drained(queue) == [[9], [1, 2]]
