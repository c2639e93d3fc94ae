"""Which of the cases that were collected are going to run, once other plugins have chosen, ordered and renamed items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest

from pytest_evals.collection.item import EVAL, CaseKey, EvalItem
from pytest_evals.errors import EvalsError
from pytest_evals.suites.manifest import SuiteManifest
from pytest_evals.suites.skipping import is_chosen

_SHOWN = 3
"""Cases that a message names of many."""


def without_copies(items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the items, and apart from them further copies of a case: ``--keep-duplicates`` collects a file as often as it is named,
    and a run has each case once.
    """
    kept: list[pytest.Item] = []
    copies: list[pytest.Item] = []
    seen: set[tuple[str, str, CaseKey]] = set()
    for item in items:
        found = item.stash.get(EVAL, None)
        # By the first id: that two cases are given the same one later is a mistake.
        case = None if found is None else (found.nodeid, found.info.name, found.key)
        (copies if case in seen else kept).append(item)
        if case is not None:
            seen.add(case)
    return kept, copies


def chosen(items: Sequence[pytest.Item], where: str) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return the items for which ``--evals-where`` is true, and the other cases; tests that are not evals stay.

    Raises `pytest.UsageError` where no row has what it names.
    """
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    told = False
    scope: Mapping[str, object] = {}
    for item in items:
        found = item.stash.get(EVAL, None)
        if found is None:
            kept.append(item)
            continue
        scope = found.prepared.case.scope
        try:
            is_one = is_chosen(where, scope)
        except EvalsError as error:
            raise pytest.UsageError(f"{found.prepared.case.place}: {error}") from error
        told = told or is_one is not None
        (kept if is_one else others).append(item)
    if others and not told:
        fields = scope.get("item")
        known = ", ".join(fields) if isinstance(fields, Mapping) else ""
        raise pytest.UsageError(
            f"--evals-where {where!r}: no row of the {len(others)} cases has what it names (fields: {known})"
        )
    return kept, others


def note_selection(infos: Iterable[SuiteManifest], items: Iterable[pytest.Item]) -> None:
    """Tell suites by which ids their cases are going to run, and which are not.

    Raises `pytest.UsageError` where two cases have got the same id.
    """
    cases = [(item.nodeid, item.stash[EVAL]) for item in items if EVAL in item.stash]
    check_ids(cases)
    renamed = {found.nodeid: nodeid for nodeid, found in cases if found.nodeid != nodeid}
    selected = {nodeid for nodeid, _ in cases}
    for nodeid, found in cases:
        found.nodeid = nodeid
    for info in infos:
        if renamed:
            info.items = {renamed.get(nodeid, nodeid): key for nodeid, key in info.items.items()}
        info.unselected = [nodeid for nodeid in info.items if nodeid not in selected]


def check_ids(cases: Sequence[tuple[str, EvalItem]]) -> None:
    """Raise `pytest.UsageError` where cases have got the same id; ``cases`` are with the ids that they have now."""
    counts = Counter(nodeid for nodeid, _ in cases)
    if len(counts) == len(cases):
        return
    places: dict[str, list[str]] = {nodeid: [] for nodeid, count in counts.items() if count > 1}
    for nodeid, found in cases:
        if nodeid in places:
            places[nodeid].append(f"{found.nodeid} (case {found.key.case_id} of {found.info.name})")
    shown = [f"{nodeid}: {_some(each)}" for nodeid, each in places.items()]
    raise pytest.UsageError(
        f"several cases have one id, which a plugin or a conftest.py gave them; results are kept by id, so each needs its own. {_some(shown)}"
    )


def _some(texts: Sequence[str]) -> str:
    left = len(texts) - _SHOWN
    return "; ".join(texts[:_SHOWN]) + (f"; and {left} more" if left > 0 else "")


def names_case(argument: str) -> bool:
    """Tell whether an argument of pytest's command line is the id of a single case, or of another test with parameters."""
    return "::" in argument and "[" in argument


def single_cases(arguments: Iterable[str], items: Iterable[pytest.Item]) -> frozenset[str]:
    """Return the ids of the cases that were named one by one, as an IDE does for a click, and whose gates cannot be judged since other
    cases of their suite are not going to run.
    """
    names = {_name_in(argument) for argument in arguments if names_case(argument)}
    named = [item for item in items if item.name in names and EVAL in item.stash] if names else []
    cut: Mapping[str, set[str]] = {
        info.name: {info.items[nodeid].model for nodeid in info.unselected}
        for info in (item.stash[EVAL].info for item in named)
    }
    return frozenset(item.nodeid for item in named if _is_cut(item.stash[EVAL], cut))


def _is_cut(found: EvalItem, cut: Mapping[str, set[str]]) -> bool:
    return (found.key.model or "") in cut[found.info.name]


def _name_in(argument: str) -> str:
    before, bracket, parameters = argument.partition("[")
    return f"{before.rpartition('::')[2]}{bracket}{parameters}"
