"""One case: a row of a dataset, with its id, files and metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.errors import SuiteError, did_you_mean


class _Method:
    """A method of every case. Where the row has a field of its name, it is told apart from that: see `_MethodNotField`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Case | None, owner: type) -> Any:
        if instance is None:
            return self._function
        method = self._function.__get__(instance)
        return _MethodNotField(method, self._name) if self._name in instance else method


class _MethodNotField:
    """A method of a case that has a field of the same name: it can be called, and is no value."""

    __slots__ = ("_method", "_name")

    def __init__(self, method: Callable[..., Any], name: str) -> None:
        self._method = method
        self._name = name

    def __call__(self, *args: Any) -> Any:
        """Call the method."""
        return self._method(*args)

    def _refuse(self, *_: Any) -> Any:
        __tracebackhide__ = True
        raise SuiteError(f"case.{self._name} is a method of every case; the field of this name is case[{self._name!r}]")

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __str__ = __repr__ = __float__ = __int__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = _refuse
    __hash__ = None  # type: ignore[assignment]  # nothing is equal to it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


class Case(Mapping[str, Any]):
    """A row as mapping and attributes: ``case["country"]`` and ``case.country`` are the same.

    ``case.id``, ``case.files`` (name -> `Path`), ``case.metadata`` (the suite's, then the row's own ``metadata`` field)
    and ``case.place`` (``file:line``) describe the case; a row's field of such a name is reached by ``case["id"]``, and so is
    one that is called as a method of mappings: ``case["items"]``.
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

    items = _Method(Mapping.items)
    keys = _Method(Mapping.keys)
    values = _Method(Mapping.values)
    get = _Method(Mapping.get)

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
