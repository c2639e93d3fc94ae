"""The calls of a completion as templates of judges see them: a call or an argument that the model did not write is an empty text,
which is the model's fault; a name that calls do not have stays an error of the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class NotMade(str):
    """Takes the place of something that the model did not write: an empty text, as is all that is looked for in it."""

    __slots__ = ()

    def __getitem__(self, name: Any) -> NotMade:
        return self


class MadeArguments(dict[str, Any]):
    """The arguments of a call."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> NotMade:
        return NotMade()


class MadeCalls(list[Any]):
    """The calls of a completion, each with ``name``, ``arguments`` and ``id``."""

    def __init__(self, calls: Sequence[Mapping[str, Any]]) -> None:
        super().__init__({**call, "arguments": MadeArguments(call["arguments"])} for call in calls)

    def __getitem__(self, place: Any) -> Any:
        try:
            return super().__getitem__(place)
        except IndexError:
            return {"name": NotMade(), "arguments": MadeArguments(), "id": NotMade()}
