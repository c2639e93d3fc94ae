"""What makes a load short: checks that are kept, setting up that is put off, imports that are left out."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_evals.engines import light_imports as light
from pytest_evals.engines.light_imports import light_imports
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers import kept_checks as module
from pytest_evals.engines.transformers.deferred_tuning import FEW_ROWS, MANY_FORWARDS, DeferredTuning
from pytest_evals.engines.transformers.kept_checks import KeptChecks, kept_checks
from pytest_evals.engines.transformers.usage import UsageMeter

PLACE = Path("checks", "one.json")
SPEC = ModelSpec("./some", "hf", "./some")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, on a machine that is not busy."""
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "is_busy", lambda: False)
    return tmp_path / "cache"


def never() -> float:
    raise AssertionError


# -- checks


def test_what_was_found_out_is_known_to_the_next_process() -> None:
    first = KeptChecks(PLACE)
    assert first.recall("difference", float, lambda: 1e-6) == 1e-6
    assert first.recall("difference", float, never) == 1e-6
    assert KeptChecks(PLACE).recall("difference", float, lambda: 2.0) == 2.0
    first.keep()
    assert KeptChecks(PLACE).recall("difference", float, never) == 1e-6


def test_a_difference_that_is_infinite_is_kept_as_it_is() -> None:
    checks = KeptChecks(PLACE)
    checks.recall("difference", float, lambda: float("inf"))
    checks.keep()
    assert KeptChecks(PLACE).recall("difference", float, never) == float("inf")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", '{"difference": "1e-6"}', '{"difference": true}', '{"difference": null}', "\x00"]
)
def test_a_damaged_file_is_passed_by(cache: Path, text: str) -> None:
    (cache / "checks").mkdir(parents=True)
    (cache / PLACE).write_text(text)
    checks = KeptChecks(PLACE)
    assert checks.recall("difference", float, lambda: 3.0) == 3.0
    checks.keep()
    assert json.loads((cache / PLACE).read_text())["difference"] == 3.0


def test_a_truth_value_is_no_number() -> None:
    checks = KeptChecks(PLACE)
    checks.recall("threads", bool, lambda: True)
    assert checks.recall("threads", int, lambda: 2) == 2


def test_what_was_timed_on_a_busy_machine_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_busy", lambda: True)
    checks = KeptChecks(PLACE)
    assert checks.recall("threads", int, lambda: 1, timed=True) == 1
    assert checks.recall("right", bool, lambda: True) is True
    checks.keep()
    assert KeptChecks(PLACE).recall("threads", int, lambda: 2, timed=True) == 2
    assert KeptChecks(PLACE).recall("right", bool, lambda: False) is True


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "file"))
    checks = KeptChecks(PLACE)
    assert checks.recall("right", bool, lambda: True)
    checks.keep()


def test_checks_hold_for_these_weights_options_and_processors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_checks(SPEC, {"batch": "auto"}, "weights")
    kept.recall("right", bool, lambda: True)
    kept.keep()
    assert kept_checks(SPEC, {"batch": "auto"}, "weights").recall("right", bool, lambda: False) is True
    others = [
        kept_checks(SPEC, {"batch": "auto"}, "other"),
        kept_checks(SPEC, {"batch": "8"}, "weights"),
        kept_checks(ModelSpec("./some", "hf", "./some", None, {"dtype": "fp32"}), {"batch": "auto"}, "weights"),
    ]
    monkeypatch.setattr(module, "processors", lambda: (77, None))
    others.append(kept_checks(SPEC, {"batch": "auto"}, "weights"))
    monkeypatch.undo()
    assert [checks.recall("right", bool, lambda: False) for checks in others] == [False] * 4


@pytest.mark.parametrize("weights", [None, "org/name@None"])
def test_checks_of_unknown_weights_are_not_kept(cache: Path, weights: str | None) -> None:
    checks = kept_checks(SPEC, {}, weights)
    checks.recall("right", bool, lambda: True)
    checks.keep()
    assert not cache.exists()


# -- what is put off


def test_setting_up_is_put_off_until_it_is_worth_it() -> None:
    done: list[int] = []
    meter = UsageMeter("cpu")
    tuning = DeferredTuning(lambda: done.append(1), meter)
    tuning.run_if_due(FEW_ROWS - 1)
    assert done == []
    tuning.run_if_due(FEW_ROWS)
    tuning.run_if_due(FEW_ROWS)
    tuning.run()
    assert done == [1]
    late = DeferredTuning(lambda: done.append(2), meter)
    meter.usage.forwards = MANY_FORWARDS
    late.run_if_due(1)
    assert done == [1, 2]


# -- imports that are left out


@pytest.fixture
def torch_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.SimpleNamespace]:
    """A torch whose compiler was not imported."""
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    own = types.SimpleNamespace(disable=lambda function: f"compiled {function}")
    yield types.SimpleNamespace(__file__="/place/torch/__init__.py", compiler=own)
    sys.modules.pop("torch._dynamo", None)


def test_decorators_of_the_compiler_do_nothing_for_a_while(torch_of_the_compiler: types.SimpleNamespace) -> None:
    torch = torch_of_the_compiler
    with light._idle_decorators(torch):
        idle = sys.modules["torch._dynamo"]
        assert torch._dynamo is idle
        assert idle.__path__ == ["/place/torch/_dynamo"]
        assert idle.allow_in_graph(never) is never
        assert torch.compiler.disable(never) is never
        assert torch.compiler.disable(recursive=False)(never) is never
    assert "torch._dynamo" not in sys.modules
    assert not hasattr(torch, "_dynamo")
    assert torch.compiler.disable("f") == "compiled f"


@pytest.mark.parametrize(
    ("config", "options", "plain"),
    [
        ({"model_type": "llama"}, {}, True),
        ({"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}, {}, False),
        ({"model_type": "gemma3", "vision_config": {"hidden_size": 8}}, {}, False),
        ({"model_type": "custom", "auto_map": {"AutoConfig": "configuration.Own"}}, {}, False),
        ({"model_type": "llama"}, {"tp": 2}, False),
        ([], {}, False),
        (None, {}, False),
    ],
)
def test_only_plain_models_are_loaded_with_less(
    tmp_path: Path, config: object, options: dict[str, object], plain: bool
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert light._is_plain(ModelSpec("x", "hf", str(tmp_path), None, options)) is plain


def test_a_model_that_needs_more_is_imported_as_usual(tmp_path: Path) -> None:
    finders = list(sys.meta_path)
    with light_imports(ModelSpec("x", "hf", str(tmp_path))):
        assert sys.meta_path == finders


def test_names_of_an_installed_package_are_looked_for_once(tmp_path: Path, cache: Path) -> None:
    models = tmp_path / "site-packages" / "transformers" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("")
    calls: list[str | None] = []
    found = {frozenset({"torch", "vision"}): {"a.b": {"C", "D"}}, frozenset[str](): {"e": {"F"}}}

    def find(_path: object, prefix: str | None = None) -> light.Structure:
        calls.append(prefix)
        return found

    for _ in range(3):
        assert light._remembered(find)(models, prefix="models") == found
    assert calls == ["models"]
    # Another release, and a damaged file.
    (models / "new").mkdir()
    assert light._remembered(find)(models, prefix="models") == found
    for path in (cache / "imports").iterdir():
        path.write_text('{"found": [1]}')
    assert light._remembered(find)(models, prefix="models") == found
    assert len(calls) == 3
    # Files that somebody works on, and small folders.
    light._remembered(find)(tmp_path)
    light._remembered(find)(models / "new", prefix="x")
    assert calls[3:] == [None, "x"]
