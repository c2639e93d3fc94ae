"""The suites that were found so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_evals.declaration import Declaration
from pytest_evals.errors import SuiteError
from pytest_evals.location import Location
from pytest_evals.steps.step import Declaration as Grader
from pytest_evals.suites.building import build_suite
from pytest_evals.suites.info import SuiteInfo
from pytest_evals.suites.suite import Suite
from pytest_evals.trust.labelling import Labels, read_labels
from pytest_evals.trust.scales import scale_of


class Registry:
    """Suites by their declarations, and what is known of them by name. ``limit`` is that of ``--evals-limit``."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._suites: dict[tuple[int, Path], Suite] = {}
        self._declared_by: dict[str, Declaration] = {}
        self.infos: dict[str, SuiteInfo] = {}

    def suite(self, declaration: Declaration, base: Path) -> Suite:
        """Return the suite of a declaration for tests in the folder ``base``; it is read once."""
        key = (id(declaration), base)
        if key not in self._suites:
            self._suites[key] = build_suite(declaration, base, self._limit)
        return self._suites[key]

    def info(self, name: str, suite: Suite, location: Location) -> SuiteInfo:
        """Return what is known of a suite. Raises `SuiteError` where another one has its name."""
        declaration = suite.declaration
        other = self._declared_by.setdefault(name, declaration)
        if other is not declaration:
            raise SuiteError(
                f"two suites are named {name!r}: {other.place} and {declaration.place}; give one of them a name="
            )
        if name not in self.infos:
            self.infos[name] = SuiteInfo(
                name=name,
                path=location.path,
                line=location.line,
                dataset_key=suite.dataset.key,
                dataset_hash=suite.dataset.hash,
                n=len(suite.cases),
                total=len(suite.dataset.rows),
                graders=[],
                gates=[],
                tags=list(declaration.tags),
            )
        return self.infos[name]

    def withdraw(self, info: SuiteInfo) -> None:
        """Forget a suite that no test came of after all."""
        if not info.items:
            self.infos.pop(info.name, None)
            self._declared_by.pop(info.name, None)

    @staticmethod
    def labels(suite: Suite, info: SuiteInfo, graders: Mapping[str, Grader]) -> Labels:
        """Read what people said of the cases, and note for which graders."""
        identities = {name: f"{id(grader):x}" for name, grader in graders.items()}
        labels = read_labels(suite, {name: scale_of(grader.function) for name, grader in graders.items()}, identities)
        info.identities.update(identities)
        info.labelled.update({grader: how.to_dict() for grader, how in labels.graders.items()})
        return labels
