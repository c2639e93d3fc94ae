"""Which cases have a fixture in common: those for which pytest makes one instance of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest

from pytest_evals.item import PARAMETER

_NODES: dict[str, type[pytest.Item | pytest.Collector]] = {
    "session": pytest.Session,
    "package": pytest.Package,
    "module": pytest.Module,
    "class": pytest.Class,
}


def shared_by(item: pytest.Item, definition: Any) -> Hashable:
    """Return what is equal for the items of one process that share the instance of a fixture (a ``FixtureDef``)."""
    # Without such a parent the fixture is the item's own; a test outside of classes has a class-scoped one for itself.
    node: Any = item.getparent(_NODES[definition.scope]) if definition.scope in _NODES else None
    if node is None and definition.scope == "package":
        node = item.session
    return id(definition), id(node or item), _parameters(item)


def _parameters(item: pytest.Item) -> Hashable:
    """Return the item's parameters: a fixture may be parametrized, or build on one that is."""
    spec = getattr(item, "callspec", None)
    indices: dict[str, int] = dict(getattr(spec, "indices", {}))
    return tuple(sorted((name, index) for name, index in indices.items() if name != PARAMETER))
