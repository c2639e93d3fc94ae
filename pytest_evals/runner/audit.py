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

from pytest_evals.collection.item import EVAL
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.runner.prefetch import Prefetcher
from pytest_evals.runner.requests import make_request, requests_of
from pytest_evals.text import pluralize

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
            f"audit: {pluralize(self.checked, 'case')} computed again one at a time: {pluralize(len(self.texts), 'text')}, "
            f"grades of {pluralize(len(self.grades), 'case')} changed"
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

    def __init__(self, prefetcher: Prefetcher, count: int, seed: int) -> None:
        self._prefetcher = prefetcher
        self._count = count
        self._seed = seed
        self._samples: dict[str, dict[str, Any] | None] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Draw the cases: the same ones in every process and every run with the same seed."""
        requests = requests_of(session.items, self._seed)
        # Those whose completion a model is asked for; others may have a grader that asks.
        asking = sorted(nodeid for nodeid, asked in requests.items() if asked[0].id == nodeid)
        drawn = random.Random(self._seed).sample(asking, min(self._count, len(asking)))  # noqa: S311 - a draw that can be repeated
        self._samples = dict.fromkeys(drawn)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the samples of the cases that were drawn; that of the last attempt counts."""
        line = getattr(report, "evals", None)
        if line is not None and report.nodeid in self._samples:
            self._samples[report.nodeid] = json.loads(line)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """After the last case: ask again, compare, and hand the findings to what reports them."""
        result = yield
        limit = self._prefetcher.context.time_limit
        if session.shouldstop or session.shouldfail or (limit and limit.passed):
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
        samples = {nodeid: sample for nodeid, sample in self._samples.items() if sample is not None}
        answered = [nodeid for nodeid, sample in samples.items() if sample["interaction"]["completion"] is not None]
        again = {nodeid: self._request(items[nodeid]) for nodeid in answered}
        for request in again.values():
            self._prefetcher.submit(request)
        for nodeid, request in again.items():
            result, sample = self._prefetcher.wait(request), samples[nodeid]
            if result.error is not None:
                findings.failed[nodeid] = result.error.message
                continue
            findings.checked += 1
            if result.answer.text != sample["interaction"]["completion"]["text"]:
                findings.texts.append(nodeid)
                if self._graded_again(items[nodeid], result) != _verdicts(sample["grades"]):
                    findings.grades.append(nodeid)
        return findings

    def _request(self, item: pytest.Item) -> Request:
        found = item.stash[EVAL]
        request = make_request(item.nodeid, found, found.key.model, self._seed)
        return dataclasses.replace(request, id=f"{item.nodeid}@audit", alone=True)

    def _graded_again(self, item: pytest.Item, result: Result) -> list[Any]:
        """Run the case once more with another completion, without reporting it, and return its grades."""
        with self._prefetcher.answering(item, dataclasses.replace(result, id=item.nodeid)):
            reports = runtestprotocol(item, log=False, nextitem=None)
        lines: Sequence[str] = [line for report in reports if (line := getattr(report, "evals", None))]
        return _verdicts(json.loads(lines[-1])["grades"]) if lines else []


def _verdicts(grades: Sequence[Mapping[str, Any]]) -> list[Any]:
    return sorted((grade["grader_key"], grade["status"], grade["value"], grade["passed"]) for grade in grades)
