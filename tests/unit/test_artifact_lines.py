"""The first and the last line of an artifact."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts.provenance import provenance
from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.replica_set import ReplicaSet, weights_of
from pytest_evals.engines.spec import parse_spec
from pytest_evals.scorecard import Ledger, ModelUse, ScoreCard
from pytest_evals.session.artifact_lines import RunFacts, run_line, summary_line
from pytest_evals.suites.manifest import ItemKey, SuiteManifest

INFO = EngineInfo("cpu", "fp32", 256, {"weights": "f00"}, notes=("a note",), rows=8)


def suite_info(*models: str) -> SuiteManifest:
    items = {f"test_a.py::test[{model}]": ItemKey("a", model) for model in models}
    return SuiteManifest("capitals", "test_a.py", 3, "a.jsonl", "abc", 1, 1, [], [], ["tag"], items)


def replica_set_of(text: str, *loaded: EngineInfo | None) -> ReplicaSet:
    replica_set = ReplicaSet(weights_of(parse_spec(text, Path())), len(loaded))
    for replica, info in zip(replica_set.replicas, loaded, strict=True):
        replica.info = info
    return replica_set


@pytest.fixture
def facts(tmp_path: Path) -> RunFacts:
    started = datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    return RunFacts("r1", started, tmp_path, "-q", provenance(tmp_path, ["--evals"]))


def first_line(facts: RunFacts, models: list[str], replica_sets: dict[str, ReplicaSet]) -> dict[str, Any]:
    return run_line(facts, [suite_info(*models)], replica_sets, judge="smollm2", seed=3, options={"exact": True})


def test_the_run_names_its_models_with_what_they_were_loaded_as(facts: RunFacts) -> None:
    line = first_line(facts, ["org/one", "org/two"], {"org/one": replica_set_of("org/one", INFO)})
    assert line["models"] == [
        {"model": "org/one", "device": "cpu", "dtype": "fp32", "context": 256, "identity": {"weights": "f00"}},
        {"model": "org/two"},
    ]
    assert line["device"] == "cpu"
    assert (line["seed"], line["options"]) == (3, {"exact": True})
    assert (line["run_id"], line["started"], line["command"]) == (
        "r1",
        "2025-01-02T03:04:05+00:00",
        ["pytest", "--evals"],
    )
    assert (line["addopts"], line["folder"]) == ("-q", str(facts.folder))
    assert line["suites"] == [
        {"name": "capitals", "dataset_key": "a.jsonl", "dataset_hash": "abc", "n": 1, "tags": ["tag"]}
    ]


def test_models_that_share_a_copy_are_both_named_as_they_were_written(facts: RunFacts) -> None:
    replica_set = replica_set_of("org/one", INFO)
    line = first_line(
        facts, ["org/one", "org/one?template=none"], {"org/one": replica_set, "org/one?template=none": replica_set}
    )
    assert [(model["model"], model["dtype"]) for model in line["models"]] == [
        ("org/one", "fp32"),
        ("org/one?template=none", "fp32"),
    ]


def test_any_replica_tells_what_was_loaded(facts: RunFacts) -> None:
    line = first_line(facts, ["org/one"], {"org/one": replica_set_of("org/one?replicas=2", None, INFO)})
    assert line["models"][0]["dtype"] == "fp32"


def test_where_nothing_is_loaded_yet_only_the_names_are_known(facts: RunFacts) -> None:
    line = first_line(facts, ["org/one", ""], {"org/one": replica_set_of("org/one", None)})
    assert (line["models"], line["device"]) == ([{"model": "org/one"}], None)


def card(**more: Any) -> ScoreCard:
    return ScoreCard((), (), Ledger(), **more)


def test_the_summary_has_the_use_of_each_model_with_its_rates() -> None:
    use = ModelUse("m", "m", "cpu", "fp32", 10, 100, 50, 2.0, usage={"shared_tokens": 1, "prompt_tokens": 1})
    line = summary_line(card(uses=(use,)), complete=True)
    (model,) = line["throughput"]["models"]
    assert model == use.to_dict()
    assert (model["tokens_per_second"], model["shared_prompt"]) == (25.0, 0.5)


def test_an_audit_stands_in_the_summary_where_there_was_one() -> None:
    found = {"checked": 2, "texts": ["a"], "grades": [], "failed": {}}
    assert summary_line(card(audit=found), complete=True)["audit"] == found
    assert "audit" not in summary_line(card(), complete=True)


def test_only_an_incomplete_run_has_an_interruption() -> None:
    assert summary_line(card(interruption="Ctrl-C"), complete=False)["interruption"] == "Ctrl-C"
    assert summary_line(card(interruption="Ctrl-C"), complete=True)["interruption"] is None
