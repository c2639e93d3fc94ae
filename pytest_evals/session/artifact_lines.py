"""The first and the last line of an artifact, and the sample of a case whose process died."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.sample import sample_id
from pytest_evals.artifacts.writer import SCHEMA
from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.replica_set import ReplicaSet
from pytest_evals.errors import EvalsError
from pytest_evals.gates import GateResult
from pytest_evals.grades import Grade
from pytest_evals.redaction import masked_options
from pytest_evals.reuse.setup import ReuseContext
from pytest_evals.scorecard import ScoreCard
from pytest_evals.settings import Settings, model_text
from pytest_evals.suites.manifest import SuiteManifest


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What tells a run from others. ``made_with`` is what `provenance` found; ``addopts`` is ``PYTEST_ADDOPTS``, without secrets."""

    run_id: str
    started: datetime.datetime
    folder: Path
    addopts: str | None
    made_with: Mapping[str, Any]


def run_line(
    run: RunFacts,
    suites: Iterable[SuiteManifest],
    replica_sets: Mapping[str, ReplicaSet],
    *,
    judge: str,
    seed: int,
    options: Mapping[str, Any],
    aliases: Mapping[str, str] | None = None,
    recalled: ReuseContext | None = None,
) -> dict[str, Any]:
    """Return the first line. ``aliases``: what models are called, by their specifications. How a model was loaded is known for
    those that are loaded by then; one that need not be has no device. ``judge`` is there where a suite asks for it.
    """
    suites = list(suites)
    loaded = {
        model: info for model, replica_set in replica_sets.items() for info in [_info(model, replica_set)] if info
    }
    models = dict.fromkeys(model for suite in suites for model in suite.models if model)
    return {
        "type": "run",
        "schema": SCHEMA,
        "run_id": run.run_id,
        "started": run.started.isoformat(timespec="seconds"),
        **run.made_with,
        "device": next((info.device for info in loaded.values() if info.device), None),
        "models": [
            _model(model, loaded.get(model), recalled)
            | ({"alias": (aliases or {})[model]} if model in (aliases or {}) else {})
            for model in models
        ],
        "judge": _model(judge, loaded.get(judge), None) if any(suite.judges for suite in suites) else None,
        "seed": seed,
        "options": masked_options(options),
        "suites": [_suite(suite) for suite in suites],
        "reused": recalled.reused if recalled is not None else None,
        "addopts": run.addopts,
        "folder": str(run.folder),
    }


def model_aliases(settings: Settings) -> dict[str, str]:
    """Return the aliases of models by their specifications, the first one of each."""
    found: dict[str, str] = {}
    for alias in settings.aliases:
        # One that is used nowhere may be of a model that is not there.
        with contextlib.suppress(EvalsError):
            found.setdefault(model_text(alias, settings.root, settings.root, settings.aliases), alias)
    return found


def _info(model: str, replica_set: ReplicaSet) -> EngineInfo | None:
    """Return what a model was loaded as; an adapter is told beside the weights of its base."""
    info = next((replica.info for replica in replica_set.replicas if replica.info), replica_set.predicted_info)
    adapter = replica_set.adapters.get(model)
    if info is None or adapter is None:
        return info
    from pytest_evals.engines.identity import place_identity

    return replace(info, identity={**info.identity, "adapter": place_identity(adapter, "adapter_config.json")})


def _model(model: str, info: EngineInfo | None, recalled: ReuseContext | None) -> dict[str, Any]:
    names = ("device", "dtype", "context", "identity")
    if info is None and recalled is not None and model in recalled.models:
        return dict(recalled.models[model])
    return {"model": model, **({name: getattr(info, name) for name in names} if info else {})}


def _suite(suite: SuiteManifest) -> dict[str, Any]:
    names = ("name", "dataset_key", "dataset_hash", "n", "tags", "graders", "gates")
    # Also what does not run here: another run may have it.
    declared = Counter(item.model for item in suite.items.values())
    return {**{name: getattr(suite, name) for name in names}, "declared": dict(declared)}


def summary_line(card: ScoreCard, *, complete: bool) -> dict[str, Any]:
    """Return the last line; ``complete`` tells whether the run came to its end."""
    return {
        "type": "summary",
        "complete": complete,
        "interruption": None if complete else card.interruption,
        "scores": [score.to_row() for score in card.scores],
        "gates": [_gate(result) for result in card.gates],
        "ledger": card.ledger.to_dict(),
        "throughput": {"models": [use.to_dict() for use in card.uses]},
        "calibrations": [calibration.to_dict() for calibration in card.calibrations],
        "agreements": [agreement.to_dict() for agreement in card.agreements],
        "baseline": _baseline(card),
        **({"audit": dict(card.audit)} if card.audit else {}),
    }


def _baseline(card: ScoreCard) -> dict[str, Any] | None:
    if card.baseline is None:
        return None
    return {"run": card.baseline, "movements": [asdict(each) for each in card.movements]}


def _gate(result: GateResult) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__slots__}


def crashed_line(nodeid: str, suite: SuiteManifest, message: str) -> dict[str, Any]:
    """Return the sample of a case in which a worker of pytest-xdist died: nothing of it came through."""
    from pytest_evals.artifacts.schema import EvalSample, EvalSampleInteraction, LocationRecord, SampleError

    case_id, model, repeat = suite.items[nodeid]
    sample = EvalSample(
        id=sample_id(nodeid, model or None),
        nodeid=nodeid,
        suite=suite.name,
        case_id=case_id,
        repeat=repeat,
        dataset_key=suite.dataset_key,
        location=LocationRecord(path=suite.path, line=suite.line),
        interaction=EvalSampleInteraction(thread=[], source=model or None),
        grades=[Grade(None, key, f"did not run: {message}", None, "error") for key in suite.graders],
        outcome="errored",
        error=SampleError(kind="crash", message=message),
    )
    return sample.model_dump()
