"""What a model takes, read from its files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.resources import Footprint, footprint_of_files
from pytest_evals.engines.spec import parse_spec
from tests.unit.building import model_folder

CONFIG: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "num_key_value_heads": 2}


def write_tensors(path: Path, *shapes: list[int]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for number, shape in enumerate(shapes):
        header[f"t{number}"] = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)


def measured(folder: Path) -> Footprint | None:
    return footprint_of_files(str(folder))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model of 32 x 10 + 5 + 1 parameters."""
    folder = model_folder(tmp_path / "tiny", **CONFIG)
    write_tensors(folder / "model.safetensors", [32, 10], [5], [])
    return folder


def test_parameters_are_summed_over_all_tensors_and_files(tiny: Path) -> None:
    write_tensors(tiny / "model-00002.safetensors", [100])
    found = measured(tiny)
    assert found is not None
    assert found.parameters == 320 + 5 + 1 + 100


def test_the_cache_keeps_keys_and_values_of_all_layers(tiny: Path) -> None:
    found = measured(tiny)
    assert found is not None
    assert found.cache_numbers == 2 * 2 * 2 * 8  # keys and values, layers, heads, size of a head


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"head_dim": 16}, 2 * 2 * 2 * 16),
        ({"head_dim": None}, 2 * 2 * 2 * 8),
        ({"num_key_value_heads": None}, 2 * 2 * 4 * 8),
    ],
)
def test_what_a_configuration_may_leave_out(changes: dict[str, Any], numbers: int, tiny: Path) -> None:
    (tiny / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    found = measured(tiny)
    assert found is not None
    assert found.cache_numbers == numbers


def test_a_model_of_several_modes_is_measured_by_its_text_part(tiny: Path) -> None:
    before = measured(tiny)
    (tiny / "config.json").write_text(json.dumps({"text_config": CONFIG, "vision_config": {}}))
    assert measured(tiny) == before


def test_bytes_follow_from_the_dtype() -> None:
    found = Footprint(parameters=10, cache_numbers=3)
    assert [(found.weights_bytes(dtype), found.cache_bytes(dtype)) for dtype in ("fp32", "bf16", "fp16")] == [
        (40, 12),
        (20, 6),
        (20, 6),
    ]


def test_the_embedded_model_is_known_without_its_files() -> None:
    found = footprint_of_files("smollm2")
    assert found is not None
    assert found.weights_bytes("bf16") == pytest.approx(269e6, rel=0.01)


def test_a_script_takes_nothing_that_is_known() -> None:
    spec = parse_spec("scripted:m:f", Path())
    assert spec.kind.footprint(spec) is None


def test_a_model_of_the_hub_is_not_known() -> None:
    assert footprint_of_files("org/name") is None


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "{}", '{"num_attention_heads": 0, "hidden_size": 8, "num_hidden_layers": 1}']
)
def test_an_odd_configuration_is_not_known(config: str, tiny: Path) -> None:
    (tiny / "config.json").write_text(config)
    assert measured(tiny) is None


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"short",
        b"version https://git-lfs.github.com/spec/v1\n",
        struct.pack("<Q", 5) + b"{oops",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10) + b'{"t": {} }',
        struct.pack("<Q", 2**40) + b"{}",
    ],
)
def test_damaged_weights_are_not_known(weights: bytes, tiny: Path) -> None:
    (tiny / "model.safetensors").write_bytes(weights)
    assert measured(tiny) is None


def test_weights_in_another_format_are_not_known(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    assert measured(tiny) is None
