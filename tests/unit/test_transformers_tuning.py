"""The number of threads is measured among sensible candidates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pytest_evals.engines.transformers.cpu import tuning
from pytest_evals.engines.transformers.cpu.tuning import candidates, fastest, set_threads


@pytest.mark.parametrize(
    ("default", "allowed", "quota", "replicas", "expected"),
    [
        (8, 8, None, 1, [8, 4]),
        (64, 4, None, 1, [64, 4, 2]),
        (64, 64, 2.0, 1, [64, 2, 1]),
        (64, 64, 0.5, 1, [64, 1]),
        (8, 8, None, 2, [4, 2]),
        (2, 2, None, 4, [1]),
        (1, 1, None, 1, [1]),
    ],
)
def test_limits_and_replicas_decide_what_is_tried(
    default: int, allowed: int, quota: float | None, replicas: int, expected: list[int]
) -> None:
    assert candidates(default, allowed, quota, replicas) == expected


def test_the_default_stays_unless_another_number_is_clearly_faster() -> None:
    assert fastest([8, 4], {8: 1.0, 4: 0.95}.__getitem__) == 8
    assert fastest([8, 4], {8: 1.0, 4: 0.5}.__getitem__) == 4
    assert fastest([8, 4, 2], {8: 1.0, 4: 0.8, 2: 0.6}.__getitem__) == 2


def test_a_single_candidate_is_not_measured() -> None:
    def never(_number: int) -> float:
        raise AssertionError

    assert fastest([1], never) == 1


def test_torch_computes_with_the_number_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(tuning, "_seconds", float)
    monkeypatch.setattr(tuning, "_allowed", lambda: 4)
    monkeypatch.setattr(tuning, "_quota", lambda: None)
    try:
        torch.set_num_threads(4)
        assert set_threads(1) == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("text", "expected"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("odd", None)])
def test_the_quota_of_the_control_group_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: float | None
) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text)
    monkeypatch.setattr(tuning, "_QUOTA", path)
    assert tuning._quota() == expected


def test_without_a_control_group_there_is_no_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_QUOTA", tmp_path / "missing")
    assert tuning._quota() is None
