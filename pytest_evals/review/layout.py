"""How a case is laid out beside its questions: rows and columns of named parts, as the suite asks.

``{"direction": "row", "children": [{"data": "item.question", "label": "Question"}, {"data": "completion"}]}``; a child may be a
layout again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pytest_evals.errors import SuiteError

SPECIAL = ("conversation", "completion")
"""Parts that every sample has: the messages before the answer, and the answer. They are not written twice."""
DEFAULT: Mapping[str, Any] = {"direction": "column", "children": [{"data": "conversation"}, {"data": "completion"}]}
_DEEPEST = 8


def check_layout(layout: Any, depth: int = 0) -> None:
    """Raise `SuiteError` for what is not a layout."""
    if not isinstance(layout, Mapping):
        raise SuiteError(f"human: layout is a dict with 'direction' and 'children', not {layout!r:.60}")
    if "data" in layout:
        unknown = sorted(set(layout) - {"data", "label"})
        if unknown or not all(isinstance(value, str) and value for value in layout.values()):
            raise SuiteError(
                f"human: a part of the layout is {{'data': 'item.field', 'label': 'text'}}, not {dict(layout)!r:.120}"
            )
        return
    children = layout.get("children")
    if layout.get("direction", "row") not in ("row", "column"):
        raise SuiteError(f"human: a layout's direction is 'row' or 'column', not {layout['direction']!r:.60}")
    if not isinstance(children, (list, tuple)) or not children or set(layout) - {"direction", "children"}:
        raise SuiteError(
            f"human: a layout has 'children', a list of parts and layouts, and 'direction'; found {dict(layout)!r:.120}"
        )
    if depth >= _DEEPEST:
        raise SuiteError(f"human: a layout is at most {_DEEPEST} layouts deep")
    for child in children:
        check_layout(child, depth + 1)


def locators(layout: Mapping[str, Any]) -> list[str]:
    """Return what the parts show, in their order, but for those that every sample has."""
    if "data" in layout:
        return [] if layout["data"] in SPECIAL else [layout["data"]]
    return [data for child in layout["children"] for data in locators(child)]


def filled(layout: Mapping[str, Any], show: Callable[[str], Any]) -> dict[str, Any]:
    """Return the layout with the text of each part: ``show`` gives what a locator stands for."""
    if "data" not in layout:
        children = [filled(child, show) for child in layout["children"]]
        return {"direction": layout.get("direction", "row"), "children": children}
    data = layout["data"]
    if data in SPECIAL:
        return {"label": layout.get("label", ""), "part": data}
    label = layout.get("label", data.strip("{} ").rpartition(".")[2])
    return {"label": label, "text": as_text(show(data))}


def as_text(value: Any) -> str:
    """Return a field as people read it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
