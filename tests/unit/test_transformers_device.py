"""Where a model runs, in which precision, and how much of it fits."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_evals.engines.transformers.device import (
    CASCADE,
    CPU_CELLS,
    ModelShape,
    choose_budget,
    choose_device,
    choose_dtype,
    shape_of,
)
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.errors import ModelError


def test_the_policy_needs_no_torch() -> None:
    code = (
        "import sys, pytest_evals.engines.transformers.device, pytest_evals.engines.transformers.scheduling.scheduler;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
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
        "vocab_size": 100,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        **changes,
    }
    return SimpleNamespace(**{name: value for name, value in values.items() if value != "absent"})


KEPT = 2 * 2 * 2 * 8
PASSING = 8 * 32 + 3 * 64


@pytest.mark.parametrize(
    ("changes", "kept", "passing"),
    [
        ({}, KEPT, PASSING),
        ({"head_dim": 16}, 2 * KEPT, PASSING),
        ({"head_dim": None}, KEPT, PASSING),
        ({"num_key_value_heads": "absent"}, 2 * KEPT, PASSING),
        ({"num_key_value_heads": None}, 2 * KEPT, PASSING),
        # Latent attention: keys of 12 + 4, values of 8, for each of 4 heads. What `head_dim` says is one part of a key.
        (
            {"kv_lora_rank": 8, "qk_nope_head_dim": 12, "qk_rope_head_dim": 4, "v_head_dim": 8, "head_dim": 4},
            2 * 4 * (12 + 4 + 8),
            PASSING,
        ),
        ({"num_hidden_layers": 6}, 3 * KEPT, PASSING),
        ({"intermediate_size": "absent"}, KEPT, 8 * 32 + 3 * 128),
        ({"intermediate_size": [64, 48]}, KEPT, PASSING),
        ({"num_attention_heads": "absent", "num_key_value_heads": "absent"}, 2 * 2 * 32, PASSING),
    ],
)
@pytest.mark.parametrize("size", [2, 4])
def test_a_token_takes_its_keys_values_and_activations(
    changes: dict[str, Any], kept: int, passing: int, size: int
) -> None:
    assert shape_of(config(**changes), size) == ModelShape(size * kept, size * passing, 4 * 100)


def budget(wish: str = "auto", device: str = "cuda", *, packed: bool = True, **changes: Any) -> BatchLimits:
    free = changes.pop("free", 10**9)
    return choose_budget(
        wish, device, free=free, shape=ModelShape(**{"kept": 1000, "passing": 0, "logits": 0, **changes}), packed=packed
    )


@pytest.mark.parametrize(("device", "rows"), [("cpu", 64), ("cuda", 256), ("cuda:3", 256), ("mps", 32), ("xpu", 32)])
@pytest.mark.parametrize("packed", [True, False])
def test_rows_depend_on_the_device_unless_they_are_given(device: str, rows: int, packed: bool) -> None:
    assert budget(device=device, packed=packed).rows == rows
    assert budget("7", device=device, packed=packed).rows == 7


@pytest.mark.parametrize(
    ("device", "cells"), [("cuda", 800_000), ("cuda:1", 800_000), ("mps", 400_000), ("cpu", 400_000)]
)
def test_cells_are_a_share_of_what_is_free(device: str, cells: int) -> None:
    assert budget(device=device).cells == cells


def test_logits_of_all_rows_are_set_aside_twice() -> None:
    assert budget("100", logits=1_000_000).cells == 800_000 - 200_000
    assert budget("100", logits=1_000_000, packed=False).cells == 800_000 - 200_000


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 1024), ("cuda:1", 8192), ("mps", 2048), ("xpu", 1024)])
def test_activations_of_one_forward_are_set_aside_where_prompts_go_in_pieces(device: str, tokens: int) -> None:
    assert budget(device=device).tokens == tokens
    assert budget(device=device).cells - budget(device=device, passing=10_000).cells == 10 * tokens


def test_activations_belong_to_every_cell_where_a_padded_batch_goes_through_at_once() -> None:
    assert budget(passing=3000, packed=False).cells == 200_000


def test_prefixes_are_attended_to_in_place_but_on_cuda() -> None:
    assert budget(device="cpu").cascade == CASCADE
    assert budget(device="mps").cascade == CASCADE
    assert budget(device="cuda:1").cascade is None


def test_a_padded_batch_on_a_cpu_has_an_upper_limit() -> None:
    assert budget(device="cpu", packed=False).cells == CPU_CELLS
    assert budget(device="cpu", packed=False, free=10**6).cells == 400
    assert budget(device="cuda", packed=False).cells > CPU_CELLS


@pytest.mark.parametrize("packed", [True, False])
def test_with_no_memory_left_one_cell_remains_so_that_rows_go_one_by_one(packed: bool) -> None:
    assert budget(free=0, packed=packed).cells == 1
    assert budget(free=1000, logits=10**9, passing=5, packed=packed).cells == 1
    assert budget(kept=0, packed=True).cells > 1
