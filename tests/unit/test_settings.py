"""Model specifications as the session knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.errors import ModelError
from pytest_evals.settings import model_text
from tests.unit.building import model_folder

ALIASES = {"small": "hf:smollm2?dtype=bf16", "mine": "./models/tiny", "script": "scripted:m:f"}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("smollm2", "smollm2"),
        (" org/name@v1 ", "org/name@v1"),
        ("small", "hf:smollm2?dtype=bf16"),
        (" script ", "scripted:m:f"),
    ],
)
def test_a_name_or_alias_is_the_specification(written: str, text: str, tmp_path: Path) -> None:
    assert model_text(written, tmp_path, tmp_path, ALIASES) == text


@pytest.mark.parametrize("written", ["./tiny", "../models/tiny", "{}/tiny"])
def test_a_folder_inside_of_the_root_is_relative_to_it(written: str, tmp_path: Path) -> None:
    base = model_folder(tmp_path / "models" / "tiny").parent
    assert model_text(written.format(base), base, tmp_path, {}) == "./models/tiny"


def test_a_folder_outside_of_the_root_is_absolute(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "tiny")
    (tmp_path / "root").mkdir()
    assert model_text("../tiny", tmp_path / "root", tmp_path / "root", {}) == folder.as_posix()


def test_options_of_a_folder_are_kept(tmp_path: Path) -> None:
    model_folder(tmp_path / "tiny")
    text = model_text("./tiny?dtype=fp32&batch=4", tmp_path, tmp_path, {})
    assert text == "./tiny?dtype=fp32&batch=4"


def test_the_path_of_an_alias_is_relative_to_the_root(tmp_path: Path) -> None:
    model_folder(tmp_path / "models" / "tiny")
    (tmp_path / "elsewhere").mkdir()
    assert model_text("mine", tmp_path / "elsewhere", tmp_path, ALIASES) == "./models/tiny"


@pytest.mark.parametrize("written", ["", "gpt9:x", "./no-such-folder", "smollm2?dtyp=bf16"])
def test_a_wrong_specification_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        model_text(written, tmp_path, tmp_path, ALIASES)
