"""Where a model runs, in which precision, and how much of it fits."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.engines.transformers.device import (
    CPU_CELLS,
    cell_bytes,
    choose_budget,
    choose_device,
    choose_dtype,
)
from pytest_evals.engines.transformers.scheduler import Budget
from pytest_evals.errors import ModelError


def test_the_policy_needs_no_torch() -> None:
    code = (
        "import sys, pytest_evals.engines.transformers.device, pytest_evals.engines.transformers.scheduler;"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("wish", "cuda", "mps", "device"),
    [
        ("auto", True, False, "cuda"),
        ("auto", True, True, "cuda"),
        ("auto", False, True, "mps"),
        ("auto", False, False, "cpu"),
        ("cpu", True, True, "cpu"),
        ("cuda", True, False, "cuda"),
        ("cuda:1", True, False, "cuda:1"),
        ("mps", False, True, "mps"),
    ],
)
def test_a_device_is_chosen_from_what_there_is(wish: str, cuda: bool, mps: bool, device: str) -> None:
    assert choose_device(wish, cuda=cuda, mps=mps) == device


@pytest.mark.parametrize(
    ("wish", "cuda", "mps"), [("cuda", False, True), ("cuda:0", False, False), ("mps", True, False)]
)
def test_a_device_that_is_not_there_says_what_to_use(wish: str, cuda: bool, mps: bool) -> None:
    with pytest.raises(ModelError, match=f"device '{wish}' is not available to torch here; use --evals-device=auto"):
        choose_device(wish, cuda=cuda, mps=mps)


@pytest.mark.parametrize(
    ("wish", "device", "bf16", "dtype"),
    [
        ("auto", "cpu", True, "float32"),
        ("auto", "cpu", False, "float32"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda:1", False, "float16"),
        ("auto", "mps", False, "float16"),
        ("fp32", "cuda", True, "float32"),
        ("bf16", "cpu", False, "bfloat16"),
        ("fp16", "cuda", True, "float16"),
    ],
)
def test_a_dtype_is_chosen_for_the_device(wish: str, device: str, bf16: bool, dtype: str) -> None:
    assert choose_dtype(wish, device, bf16=bf16) == dtype


def config(**changes: Any) -> SimpleNamespace:
    values = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        **changes,
    }
    return SimpleNamespace(**{name: value for name, value in values.items() if value != "absent"})


PASSING = 4 * 32 + 3 * 64


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({}, 2 * 2 * 2 * 8 + PASSING),
        ({"head_dim": 16}, 2 * 2 * 2 * 16 + PASSING),
        ({"head_dim": None}, 2 * 2 * 2 * 8 + PASSING),
        ({"num_key_value_heads": "absent"}, 2 * 2 * 4 * 8 + PASSING),
        ({"intermediate_size": "absent"}, 2 * 2 * 2 * 8 + 4 * 32 + 3 * 128),
        ({"intermediate_size": [64, 48]}, 2 * 2 * 2 * 8 + PASSING),
    ],
)
def test_a_token_takes_its_keys_values_and_activations(changes: dict[str, Any], numbers: int) -> None:
    assert cell_bytes(config(**changes), 4) == 4 * numbers


def budget(wish: str = "auto", device: str = "cuda", **changes: Any) -> Budget:
    facts = {"free": 10**9, "cell": 1000, "logits": 0, "one_by_one": False, **changes}
    return choose_budget(wish, device, **facts)


@pytest.mark.parametrize(("device", "rows"), [("cpu", 64), ("cuda", 256), ("cuda:3", 256), ("mps", 32), ("xpu", 32)])
def test_rows_depend_on_the_device_unless_they_are_given(device: str, rows: int) -> None:
    assert budget(device=device).rows == rows
    assert budget("7", device=device).rows == 7


def test_a_model_that_takes_rows_one_by_one_gets_one() -> None:
    assert budget(one_by_one=True).rows == 1
    assert budget("8", one_by_one=True).rows == 1


@pytest.mark.parametrize(("device", "cells"), [("cuda", 800_000), ("cuda:1", 800_000), ("mps", 400_000)])
def test_cells_are_a_share_of_what_is_free(device: str, cells: int) -> None:
    assert budget(device=device).cells == cells


def test_logits_of_all_rows_are_set_aside_twice() -> None:
    assert budget("100", logits=1_000_000).cells == 800_000 - 200_000


def test_a_cpu_has_an_upper_limit() -> None:
    assert budget(device="cpu").cells == CPU_CELLS
    assert budget(device="cpu", free=10**6).cells == 400


def test_with_no_memory_left_one_cell_remains_so_that_rows_go_one_by_one() -> None:
    assert budget(free=0).cells == 1
    assert budget(free=1000, logits=10**9).cells == 1
