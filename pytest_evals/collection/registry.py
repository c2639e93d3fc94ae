"""The suites that were found so far, and how each is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_evals.collection.labels import CaseLabels, read_labels
from pytest_evals.collection.location import Location, seen_from
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.declaration import FixtureSpec
from pytest_evals.media.sources import Fetch
from pytest_evals.questions.scales import scale_of
from pytest_evals.suites.declaration import EvalDeclaration
from pytest_evals.suites.manifest import SuiteManifest
from pytest_evals.suites.suite import Suite, build_suite


@dataclass(frozen=True, slots=True)
class _Named:
    """A suite that has a name: who declared it, the folder of its tests, and what is known of it."""

    declaration: EvalDeclaration
    folder: Path
    info: SuiteManifest


class Registry:
    """Suites by their declarations, and what is known of them by name. ``limit`` is that of ``--evals-limit``; folders are
    named as seen from ``root``. ``fetch`` brings media from addresses, `None` where that is not allowed.
    """

    def __init__(self, limit: int | None, root: Path, fetch: Fetch | None = None) -> None:
        self._limit = limit
        self._fetch = fetch
        self._root = root
        self._suites: dict[tuple[int, Path], Suite] = {}
        self._named: dict[str, list[_Named]] = {}
        self.infos: dict[str, SuiteManifest] = {}

    def suite(self, declaration: EvalDeclaration, base: Path) -> Suite:
        """Return the suite of a declaration for tests in the folder ``base``; it is read once."""
        key = (id(declaration), base)
        if key not in self._suites:
            self._suites[key] = build_suite(declaration, base, self._limit, self._fetch)
        return self._suites[key]

    def name_by_folder(self, plain: str, folder: Path) -> str:
        """Return the name of a suite with its folder."""
        return f"{seen_from(self._root, folder)}/{plain}"

    def is_taken(self, plain: str, declaration: EvalDeclaration, folder: Path) -> bool:
        """Tell whether a suite of another folder has the name. Raises `SuiteError` where one of the same folder has it."""
        others = [each for each in self._named.get(plain, ()) if each.folder != folder]
        same = next((each for each in self._named.get(plain, ()) if each.folder == folder), None)
        if same is not None and same.declaration is not declaration:
            raise SuiteError(
                f"two suites are named {plain!r}: {self._place(same.declaration)} and {self._place(declaration)}; give one of them "
                "a name="
            )
        return bool(others)

    def info(self, plain: str, name: str, suite: Suite, folder: Path, location: Location) -> SuiteManifest:
        """Return what is known of a suite that is called ``name``; those of other folders with its ``plain`` name get theirs
        by their folders.
        """
        named = self._named.setdefault(plain, [])
        known = next((each.info for each in named if each.folder == folder), None)
        if known is not None:
            return known
        made = SuiteManifest(
            name=name,
            plain_name="" if name == plain else plain,
            path=location.path,
            line=location.line,
            dataset_key=suite.dataset.key,
            dataset_hash=suite.dataset.hash,
            n=len(suite.cases),
            total=len(suite.dataset.rows),
            graders=[],
            gates=[],
            tags=list(suite.declaration.tags),
        )
        named.append(_Named(suite.declaration, folder, made))
        for each in named if len(named) > 1 else ():
            each.info.rename(self.name_by_folder(plain, each.folder))
        # In place: the code that judges has this very dict.
        known_before = [*self.infos.values(), made]
        self.infos.clear()
        self.infos.update({info.name: info for info in known_before})
        return made

    def _place(self, declaration: EvalDeclaration) -> str:
        return f"{seen_from(self._root, declaration.path)}:{declaration.line}"

    def withdraw(self, info: SuiteManifest) -> None:
        """Forget a suite that no test came of after all."""
        if not info.items:
            self.infos.pop(info.name, None)
            named = self._named.get(info.own_name, [])
            named[:] = [each for each in named if each.info is not info]

    @staticmethod
    def labels(suite: Suite, info: SuiteManifest, graders: Mapping[str, FixtureSpec]) -> CaseLabels:
        """Read what people said of the cases, and note for which graders."""
        identities = {name: f"{id(grader):x}" for name, grader in graders.items()}
        labels = read_labels(suite, {name: scale_of(grader.function) for name, grader in graders.items()}, identities)
        info.identities.update(identities)
        info.labelled.update({grader: how.to_dict() for grader, how in labels.graders.items()})
        return labels
