"""One case: a row of a dataset, with its id, files and metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_evals.errors import did_you_mean


class UnknownFieldError(KeyError):
    """A row has no field of this name; the message is for people, as it is written."""

    def __str__(self) -> str:
        return str(self.args[0])


class MethodBesideField:
    """A method of a case whose row has a field of the same name: it can be called, and is not a value.

    Anything else raises `TypeError` that says how the field is written.
    """

    __slots__ = ("_method", "_name")

    def __init__(self, name: str, method: Callable[..., Any]) -> None:
        self._name = name
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        return self._method(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<method {self._name} of a case; the field of its row is case[{self._name!r}]>"

    def _refuse(self, *_: object) -> NoReturn:
        __tracebackhide__ = True
        raise TypeError(
            f"case.{self._name} is a method, as of any mapping; the field {self._name!r} of the row is case[{self._name!r}]"
        )

    __bool__ = __contains__ = __eq__ = __float__ = __format__ = __getitem__ = __ge__ = __gt__ = __int__ = _refuse
    __iter__ = __le__ = __len__ = __lt__ = __ne__ = __str__ = __add__ = __radd__ = _refuse
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self._refuse()
        raise AttributeError(name)


class _Method:
    """A method of a mapping, on the class of a case."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, case: Case | None, kind: type[Case]) -> Any:
        if case is None:
            return getattr(Mapping, self._name)
        # Those of the row itself are quick; its get may take no keywords.
        method = case._get if self._name == "get" else getattr(case._row, self._name)  # noqa: SLF001 - its own class
        return MethodBesideField(self._name, method) if self._name in case else method


class Case(Mapping[str, Any]):
    """A row of the data, as mapping and attributes: ``case["country"]`` and ``case.country`` are the same.

    Use ``case["id"]`` for a field with the name of an attribute or a method (``items``, ``keys``, ``values``, ``get``). An unknown field raises
    an error that names the fields of the row.

    Attributes:
        id: The case's id.
        files: Its files: a `Path` by name.
        metadata: The suite's ``metadata``, updated by the row's own field of this name.
        place: Where the row comes from, as ``file:line``.
    """

    # mypy: the methods stay callable with their own signatures for its sake, see `_Method`.
    if not TYPE_CHECKING:
        items, keys, values, get = map(_Method, ("items", "keys", "values", "get"))

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
        __tracebackhide__ = True
        try:
            return self._row[name]
        except KeyError:
            raise UnknownFieldError(self._unknown(name)) from None

    def __contains__(self, name: object) -> bool:
        # Not by `__getitem__`, which would word an error for each name that is not there.
        return name in self._row

    def _get(self, key: str, default: Any = None) -> Any:
        return self._row.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __getattr__(self, name: str) -> Any:
        # Only called for names that are not attributes. Underscored names are protocol look-ups (copy, pickle), never
        # fields; slots are not filled yet while a copy is made.
        if name in self.__slots__:
            raise AttributeError(name)
        if name.startswith("_"):
            known = f"the field {name!r} of the row is case[{name!r}]: names that begin with _ are Python's"
            raise AttributeError(known if name in self._row else name)
        if name in self._row:
            return self._row[name]
        __tracebackhide__ = True
        raise AttributeError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        return f"case {self.id!r} has no field {name!r} (fields: {', '.join(self._row)}){did_you_mean(name, self._row)}"

    def __repr__(self) -> str:
        return f"<Case {self.id} {self.place}>"

    @property
    def scope(self) -> dict[str, Any]:
        """What a template of this case may use: ``{"item": ...}``."""
        return {"item": {**self._row, "files": self.files} if self.files else self._row}
