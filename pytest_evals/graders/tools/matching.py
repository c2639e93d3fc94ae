"""Compares the calls that a model made with those that are expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_evals.completion import ToolCall
from pytest_evals.errors import SuiteError
from pytest_evals.text import one_line

Order = Literal["exact", "in_order", "any"]
Arguments = Literal["equal", "subset", "ignore", "any_of"]
Matches = Callable[["ExpectedCall", ToolCall], bool]


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that is expected. ``arguments`` is `None` where they do not matter."""

    name: str
    arguments: Mapping[str, Any] | None

    def __str__(self) -> str:
        return _written(self.name, self.arguments)


@dataclass(frozen=True, slots=True)
class CallComparison:
    """``pairs``: which expected call and which one made match, by their indices."""

    expected: Sequence[ExpectedCall]
    made: Sequence[ToolCall]
    pairs: Sequence[tuple[int, int]]
    allow_extra: bool

    @property
    def precision(self) -> float:
        """The share of the calls made that match; 1 where there is none."""
        return len(self.pairs) / len(self.made) if self.made else 1.0

    @property
    def recall(self) -> float:
        """The share of the calls expected that match; 1 where there is none."""
        return len(self.pairs) / len(self.expected) if self.expected else 1.0

    @property
    def value(self) -> float:
        """The F1 of the calls, or the recall where other calls are allowed."""
        if self.allow_extra:
            return self.recall
        both = len(self.made) + len(self.expected)
        return 2 * len(self.pairs) / both if both else 1.0

    @property
    def passed(self) -> bool:
        """Tell whether all calls match that have to."""
        return len(self.pairs) == len(self.expected) and (self.allow_extra or len(self.pairs) == len(self.made))

    @property
    def reason(self) -> str:
        """What matches, what is missing, and what is too much."""
        if not self.expected and not self.made:
            return "no call is expected, and none was made"
        found = {index for index, _ in self.pairs}
        used = {index for _, index in self.pairs}
        missing = [str(each) for index, each in enumerate(self.expected) if index not in found]
        extra = [_written(each.name, each.arguments) for index, each in enumerate(self.made) if index not in used]
        parts = [f"{len(self.pairs)} of {len(self.expected)} expected calls were made"]
        if missing:
            parts.append(f"missing {', '.join(missing)}")
        if extra:
            parts.append(f"{'further calls' if self.allow_extra else 'not expected'}: {', '.join(extra)}")
        return one_line("; ".join(parts), 600)

    def details(self) -> dict[str, Any]:
        """Return the numbers behind the grade."""
        return {
            "matched": len(self.pairs),
            "expected": len(self.expected),
            "made": len(self.made),
            "precision": self.precision,
            "recall": self.recall,
        }


def compare(
    expected: Sequence[ExpectedCall],
    made: Sequence[ToolCall],
    order: Order,
    arguments: Arguments,
    *,
    allow_extra: bool = False,
) -> CallComparison:
    """Return which calls match."""
    matches: Matches = lambda wanted, call: _matches(wanted, call, arguments)  # noqa: E731 - one way of matching, for all three orders
    if order == "exact":
        pairs = [(i, i) for i, (wanted, call) in enumerate(zip(expected, made, strict=False)) if matches(wanted, call)]
    elif order == "in_order":
        pairs = _common_subsequence(expected, made, matches)
    else:
        pairs = _largest_matching(expected, made, matches)
    return CallComparison(expected, made, pairs, allow_extra)


def _matches(wanted: ExpectedCall, call: ToolCall, how: Arguments) -> bool:
    if wanted.name != call.name:
        return False
    if wanted.arguments is None or how == "ignore":
        return True
    if how == "any_of":
        return _any_of(wanted.arguments, call.arguments)
    if how == "equal" and wanted.arguments.keys() != call.arguments.keys():
        return False
    return all(name in call.arguments and same(value, call.arguments[name]) for name, value in wanted.arguments.items())


def _any_of(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    if not given.keys() <= wanted.keys():
        return False
    return all(
        any(same(value, given[name]) for value in values) if name in given else "" in values
        for name, values in wanted.items()
    )


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal: numbers by value, and a boolean is not a number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _common_subsequence(
    expected: Sequence[ExpectedCall], made: Sequence[ToolCall], matches: Matches
) -> list[tuple[int, int]]:
    """Return the longest common subsequence."""
    best = [[0] * (len(made) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(made))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if matches(expected[i], made[j]):
                best[i][j] = max(best[i][j], best[i + 1][j + 1] + 1)
    pairs, i, j = [], 0, 0
    while i < len(expected) and j < len(made):
        if matches(expected[i], made[j]) and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _largest_matching(
    expected: Sequence[ExpectedCall], made: Sequence[ToolCall], matches: Matches
) -> list[tuple[int, int]]:
    """Return a largest matching of a bipartite graph, by augmenting paths: one call made may match several that are expected."""
    partner: dict[int, int] = {}

    def assign(index: int, tried: set[int]) -> bool:
        for other, call in enumerate(made):
            if other in tried or not matches(expected[index], call):
                continue
            tried.add(other)
            if other not in partner or assign(partner[other], tried):
                partner[other] = index
                return True
        return False

    for index in range(len(expected)):
        assign(index, set())
    return sorted((index, other) for other, index in partner.items())


def expected_calls(value: object, arguments: Arguments = "equal") -> list[ExpectedCall]:
    """Return the calls that are expected. Raises `SuiteError` for what says none."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    return [_expected_call(entry, arguments) for entry in entries]


def _expected_call(entry: object, how: Arguments) -> ExpectedCall:
    if isinstance(entry, str) and entry:
        return ExpectedCall(entry, None)
    if isinstance(entry, ToolCall):
        return ExpectedCall(entry.name, entry.arguments)
    function = entry.get("function", entry) if isinstance(entry, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise SuiteError(
            "tool_calls: an expected call is {'name': ..., 'arguments': {...}} or the name of a tool, not "
            f"{one_line(repr(entry), 120)}"
        )
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise SuiteError(
                f"tool_calls: the arguments of {function['name']!r} are not valid JSON: {error}"
            ) from error
    if arguments is not None and not isinstance(arguments, Mapping):
        raise SuiteError(
            f"tool_calls: the arguments of {function['name']!r} must be an object, not {one_line(repr(arguments), 80)}"
        )
    unlisted = [name for name, each in (arguments or {}).items() if not isinstance(each, (list, tuple))]
    if how == "any_of" and unlisted:
        raise SuiteError(
            f"tool_calls: with arguments='any_of' each expected argument is a list of values, and {unlisted[0]!r} of "
            f"{function['name']!r} is none"
        )
    return ExpectedCall(function["name"], arguments)


def _written(name: str, arguments: Mapping[str, Any] | None) -> str:
    if arguments is None:
        return f"{name}(...)"
    return f"{name}({', '.join(f'{key}={json.dumps(value, ensure_ascii=False, default=str)}' for key, value in arguments.items())})"
