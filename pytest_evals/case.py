"""One case: a row of a dataset, with its id, files and metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.errors import did_you_mean


class Case(Mapping[str, Any]):
    """A row as mapping and attributes: ``case["country"]`` and ``case.country`` are the same.

    ``case.id``, ``case.files`` (name -> `Path`), ``case.metadata`` (the suite's, then the row's own ``metadata`` field)
    and ``case.place`` (``file:line``) describe the case; a row's field of such a name is reached by ``case["id"]``.
    """

    __slots__ = ("_row", "files", "id", "metadata", "place")

    def __init__(
        self,
        case_id: str,
        row: Mapping[str, Any],
        *,
        files: Mapping[str, Path],
        metadata: Mapping[str, Any],
        place: str,
    ) -> None:
        self.id = case_id
        self.files = files
        self.metadata = metadata
        self.place = place
        self._row = row

    def __getitem__(self, name: str) -> Any:
        return self._row[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __getattr__(self, name: str) -> Any:
        # Only called for names that are not attributes. Underscored names are protocol look-ups (copy, pickle), never
        # fields; slots are not filled yet while a copy is made.
        if name.startswith("_") or name in self.__slots__:
            raise AttributeError(name)
        if name in self._row:
            return self._row[name]
        __tracebackhide__ = True
        raise AttributeError(
            f"case {self.id!r} has no field {name!r} (fields: {', '.join(self._row)}){did_you_mean(name, self._row)}"
        )

    def __repr__(self) -> str:
        return f"<Case {self.id} {self.place}>"

    @property
    def scope(self) -> dict[str, Any]:
        """The names that a template of this case may use."""
        return {"item": {**self._row, "files": self.files} if self.files else self._row}
