"""Why an expression chose no case: values that no case has, as the number 1 in a field of CSV, which holds texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.artifacts.linecheck import Line
from pytest_evals.artifacts.query import Names, scope_of
from pytest_evals.templates.expressions import literals_in

_EQUAL, _ORDERED = ("eq", "in"), ("lt", "lteq", "gt", "gteq")
_SHOWN = 5


def why_none(expression: str, samples: Iterable[Line], names: Names) -> list[str]:
    """Say, of an expression that is true for none of the ``samples``, which of the values written in it no sample has, and what
    there is in their place. An expression of which each part is true somewhere needs no words.
    """
    comparisons = [_Comparison(*each) for each in literals_in(expression) if each[1] in (*_EQUAL, *_ORDERED)]
    for sample in samples if comparisons else ():
        scope = scope_of(sample, names)
        for comparison in comparisons:
            comparison.meet(_at(scope, comparison.path))
    return [text for text in (comparison.puzzle() for comparison in comparisons) if text]


@dataclass(slots=True)
class _Comparison:
    """A path compared with values that are written out, and what the samples have there."""

    path: list[str]
    operator: str
    wanted: tuple[Any, ...]
    found: list[Any] = field(default_factory=list)
    met: bool = False
    texts: bool = True

    def meet(self, value: Any) -> None:
        """Take what a sample has."""
        if value is None:
            return
        self.met = self.met or value in self.wanted
        self.texts = self.texts and isinstance(value, str)
        if len(self.found) <= _SHOWN and value not in self.found:
            self.found.append(value)

    def puzzle(self) -> str:
        """Say why this is never true, or cannot be told; ``""`` where neither is so."""
        name = ".".join(self.path)
        if not self.found:
            return ""
        if self.operator in _ORDERED:
            numbers = all(isinstance(value, (int, float)) for value in self.wanted)
            return f"{name} is text, as {self.found[0]!r:.60}; compare {name}|float" if numbers and self.texts else ""
        if self.met:
            return ""
        shown = ", ".join(f"{value!r:.60}" for value in self.found[:_SHOWN])
        more = ", ..." if len(self.found) > _SHOWN else ""
        return f"{name} is never {' or '.join(map(repr, self.wanted))}; it is one of {shown}{more}"


def _at(scope: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = scope
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
