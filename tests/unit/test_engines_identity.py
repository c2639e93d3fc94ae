"""What a model would be loaded as, told from its files and from what it was loaded as before."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from pytest_evals.engines import identity, model_cache
from pytest_evals.engines.identity import cached_identity, remember, script_identity
from pytest_evals.engines.model_cache import conversion_of, files_digest
from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.scripted import ScriptedEngine
from pytest_evals.engines.spec import ModelSpec

OPTIONS = {"device": "auto", "dtype": "auto", "replica": 0, "replicas": 1}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what is kept."""
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """A model in a folder."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return ModelSpec("./model", "hf", str(folder), None, {"dtype": "fp32"})


def load(spec: ModelSpec, **options: Any) -> EngineInfo:
    """Have a model remembered as loaded, and return what it would be loaded as."""
    info = {"engine": "transformers", "weights": files_digest(Path(spec.name)), "loop": "packed"}
    remember(spec, {**OPTIONS, **options}, EngineInfo("cpu", "float32", 256, info, ("a note",), 64, 3.0))
    return EngineInfo(None, "float32", 256, info)


def test_what_was_loaded_before_is_told_until_something_changes(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cached_identity(spec, OPTIONS, []) is None
    expected = load(spec)
    assert cached_identity(spec, OPTIONS, []) == expected
    # Another copy of the same; the same files in another folder.
    assert cached_identity(spec, {**OPTIONS, "replica": 1}, []) == expected
    moved = Path(spec.name).rename(tmp_path / "moved")
    spec = replace(spec, name=str(moved))
    assert cached_identity(spec, OPTIONS, []) == expected
    assert cached_identity(spec, {**OPTIONS, "dtype": "bf16"}, []) is None
    assert cached_identity(spec, {**OPTIONS, "replicas": 2}, []) is None
    assert cached_identity(replace(spec, options={"loop": "generate"}), OPTIONS, []) is None
    for what in ("_versions", "_code", "_machine"):
        with monkeypatch.context() as patch:
            patch.setattr(identity, what, lambda: "another")
            assert cached_identity(spec, OPTIONS, []) is None
    (moved / "model.safetensors").write_bytes(b"WEIGHTS")
    assert cached_identity(spec, OPTIONS, []) is None
    assert cached_identity(replace(spec, name=str(tmp_path / "gone")), OPTIONS, []) is None


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"identity": 3}', '{"identity": {"weights": "others"}}'])
def test_what_is_kept_and_damaged_tells_nothing(spec: ModelSpec, kept: Path, damage: str) -> None:
    load(spec)
    (path,) = kept.glob("identities/*")
    path.write_text(damage, encoding="utf-8")
    assert cached_identity(spec, OPTIONS, []) is None


def test_the_devices_and_versions_of_this_machine_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert identity._machine.__wrapped__()[-1]["CUDA_VISIBLE_DEVICES"] == "3"
    assert {"torch", "transformers", "build"} <= identity._versions.__wrapped__().keys()


def test_where_nothing_can_be_kept_all_goes_on(spec: ModelSpec, kept: Path) -> None:
    kept.write_text("a file where the folder should be", encoding="utf-8")
    load(spec)
    assert cached_identity(spec, OPTIONS, []) is None


def test_a_model_on_the_hub_is_its_name_and_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789" * 4
    spec = ModelSpec("org/name@main", "hf", "org/name", "main")
    info = EngineInfo("cpu", identity={"weights": f"org/name@{commit}"})
    remember(spec, OPTIONS, info)
    answers: list[Any] = [
        SimpleNamespace(commit_hash=commit),
        SimpleNamespace(commit_hash="f" * 40),
        OSError("no network"),
    ]

    def ask(_url: str, **_more: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    assert [cached_identity(spec, OPTIONS, []) is not None for _ in range(3)] == [True, False, False]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = {"main": f"/cache/snapshots/{commit}/config.json"}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _name, _file, revision: cached.get(revision))
    assert cached_identity(spec, OPTIONS, []) is not None
    assert cached_identity(replace(spec, revision="other"), OPTIONS, []) is None
    # A commit needs nobody who says what it stands for.
    pinned = replace(spec, revision=commit)
    remember(pinned, OPTIONS, info)
    assert cached_identity(pinned, OPTIONS, []) is not None


def large(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(17 << 20)
    return path


@pytest.mark.parametrize(
    ("digest", "slow"), [(conversion_of, "_content_digest"), (lambda path: files_digest(path.parent), "_probes_digest")]
)
def test_files_are_read_again_only_when_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: Callable[[Path], object], slow: str
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    files = [large(folder / f"{number}.gguf") for number in range(9)]
    first = digest(files[0])
    read: list[object] = []
    compute = getattr(model_cache, slow)

    def noted(what: object) -> object:
        read.append(what)
        return compute(what)

    monkeypatch.setattr(model_cache, slow, noted)
    assert (digest(files[0]), read) == (first, [])
    os.utime(files[0], ns=(1, 1))
    assert (digest(files[0]), len(read)) == (first, 1)
    with files[0].open("r+b") as file:
        file.write(b"x")
    assert digest(files[0]) != first
    assert len(read) == 2


PLAIN = "def answer(messages):\n    return 'x'"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (PLAIN, True),
        (f"import asyncio\n{PLAIN}\n\ndef score(messages, text):\n    return 1.0\n", True),
        (f"async {PLAIN}\n", True),
        ("from elsewhere import answer\n", False),
        ("from elsewhere import *\n" + PLAIN, False),
        (f"import functools\n@functools.cache\n{PLAIN}", False),
        (f"{PLAIN}\nanswer = other = len\n", False),
        (f"if True:\n    {PLAIN.replace(chr(10), chr(10) + '    ')}\n", False),
        ("def answer(", False),
    ],
)
def test_a_script_is_told_from_its_file_if_its_function_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: bool
) -> None:
    # Modules that were imported before would be found by their names.
    scripts, name = f"scripts_{abs(hash(source))}", "answers"
    package = tmp_path / scripts
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / f"{name}.py").write_text(source, encoding="utf-8")
    spec = ModelSpec(f"scripted:{scripts}.{name}:answer", "scripted", f"{scripts}.{name}:answer")
    found = cached_identity(spec, OPTIONS, [str(tmp_path)])
    assert (found is not None) == told
    assert cached_identity(replace(spec, name=f"{scripts}.{name}:gone"), OPTIONS, [str(tmp_path)]) is None
    assert cached_identity(spec, OPTIONS, [str(package)]) is None
    if found is not None:
        monkeypatch.syspath_prepend(tmp_path)
        assert found.identity == ScriptedEngine(spec.name).info.identity


@pytest.mark.parametrize(
    "source",
    [
        "def identity():\n    return 'http://a'\n",
        "from somewhere import identity\n",
        "from somewhere import state as identity\n",
        "identity = lambda: 'http://a'\n",
    ],
)
def test_a_script_that_may_state_an_identity_is_known_once_it_was_imported(source: str, tmp_path: Path) -> None:
    plain = "def answer(messages):\n    return 'a'\n"
    (tmp_path / "some_script_of_a_test.py").write_text(plain)
    assert script_identity("some_script_of_a_test:answer", [str(tmp_path)]) is not None
    (tmp_path / "other_script_of_a_test.py").write_text(source + plain)
    assert script_identity("other_script_of_a_test:answer", [str(tmp_path)]) is None
