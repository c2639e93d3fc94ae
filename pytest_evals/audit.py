"""``--evals-audit N``: does what was computed in batches hold when it is computed one at a time?

Once all cases ran, N random ones are asked again, each alone and as plainly as the engine can. Where the text differs,
the case is graded again, so that the report can say what the difference did.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from pytest_evals.engines.protocol import Result
from pytest_evals.run import CaseRun

WORKER_OUTPUT = "evals_audit"


@dataclass(slots=True)
class Findings:
    """What an audit came to. ``texts`` and ``grades`` are the nodeids of cases whose text or grades changed."""

    checked: int = 0
    texts: list[str] = field(default_factory=list)
    grades: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Cases that could not be computed again, and why."""

    def add(self, other: Mapping[str, Any]) -> None:
        """Take in what another process found."""
        self.checked += other["checked"]
        self.texts += other["texts"]
        self.grades += other["grades"]
        self.failed |= other["failed"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return dataclasses.asdict(self)

    def note(self) -> str:
        """Return the line of the score card."""
        text = (
            f"audit: {self.checked} cases computed again one at a time: {len(self.texts)} texts and "
            f"{len(self.grades)} cases' grades changed"
        )
        named = [nodeid.rpartition("::")[2] for nodeid in self.grades or self.texts]
        return (
            text
            + (f" ({', '.join(named[:3])}{', ...' if len(named) > 3 else ''})" if named else "")
            + (f"; {len(self.failed)} could not be computed" if self.failed else "")
        )


# What the audits of this session found.
FINDINGS: pytest.StashKey[Findings] = pytest.StashKey()


class Audit:
    """Hooks of a process that runs cases."""

    def __init__(self, run: CaseRun, count: int, seed: int) -> None:
        self._run = run
        self._count = count
        self._seed = seed

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Draw the cases: the same ones in every process and every run with the same seed."""
        asking = sorted(self._run.asking(session.items))
        drawn = random.Random(self._seed).sample(asking, min(self._count, len(asking)))  # noqa: S311 - a draw that can be repeated
        self._run.keep_for_audit(drawn)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """After the last case: ask again, compare, and hand the findings to whoever reports them."""
        result = yield
        if session.shouldstop or session.shouldfail:
            return result
        findings = self._audit({item.nodeid: item for item in session.items})
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[WORKER_OUTPUT] = findings.to_dict()
        else:
            session.config.stash[FINDINGS] = findings
        return result

    def _audit(self, items: Mapping[str, pytest.Item]) -> Findings:
        findings = Findings()
        kept = self._run.kept_for_audit()
        again = {
            nodeid: dataclasses.replace(request, id=f"{nodeid}@audit", alone=True)
            for nodeid, (request, _) in kept.items()
        }
        for request in again.values():
            self._run.submit(request)
        for nodeid, request in again.items():
            result = self._run.wait(request)
            sample = kept[nodeid][1]
            if result.error is not None:
                findings.failed[nodeid] = result.error.message
                continue
            findings.checked += 1
            if result.text != sample["interaction"]["completion"]["text"]:
                findings.texts.append(nodeid)
                if self._graded_again(items[nodeid], result) != _verdicts(sample["grades"]):
                    findings.grades.append(nodeid)
        return findings

    def _graded_again(self, item: pytest.Item, result: Result) -> list[Any]:
        """Run the case once more with another completion, without reporting it, and return its grades."""
        with self._run.answering(item, dataclasses.replace(result, id=item.nodeid)):
            reports = runtestprotocol(item, log=False, nextitem=None)
        lines: Sequence[str] = [line for report in reports if (line := getattr(report, "evals", None))]
        return _verdicts(json.loads(lines[-1])["grades"]) if lines else []


def _verdicts(grades: Sequence[Mapping[str, Any]]) -> list[Any]:
    return sorted((grade["grader_key"], grade["status"], grade["value"], grade["passed"]) for grade in grades)
