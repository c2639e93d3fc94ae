"""What the process that judges must know of a suite, and of the items that its cases became."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from pytest_evals.gates import Gate, parse_gate
from pytest_evals.text import pluralize


class ItemKey(NamedTuple):
    """What an item is: the case (with its parameters), the model (``""`` where none is asked) and which repeat of it."""

    case_id: str
    model: str
    repeat: int = 1


@dataclass(slots=True)
class SuiteManifest:
    """What the process that judges must know of a suite; plain data, since it may have been collected elsewhere."""

    name: str
    path: str
    line: int
    dataset_key: str
    dataset_hash: str
    n: int
    total: int
    graders: list[str]
    gates: list[str]
    tags: list[str]
    items: dict[str, ItemKey] = field(default_factory=dict)
    """By nodeid, every case that was declared, selected or not."""
    unselected: list[str] = field(default_factory=list)
    """Those of them that are not going to run."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the scores should know of how the suite was run."""
    stopped: dict[str, int] = field(default_factory=dict)
    """Models for which it was stopped early, with the number of cases that were not needed."""
    calls: bool = False
    """Whether its tests, tasks or graders call models on their own."""
    judges: bool = False
    """Whether one of them is the judge."""
    labelled: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By grader, how people labelled the cases: see `pytest_evals.agreement.calibration.Labelled`."""
    plain_name: str = ""
    """What it is called where no other suite has the name, if that is not ``name``."""
    recorded_beside: str = ""
    """What a model could be asked by, where rows bring their completions anyway: ``prompt=``, ``--evals-model``."""
    identities: dict[str, str] = field(default_factory=dict)
    """By grader, which one it is, whatever it is called: the same in all suites of a run that use it."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SuiteManifest:
        """Return the suite that `to_dict` described."""
        return cls(**{**data, "items": {nodeid: ItemKey(*entry) for nodeid, entry in data["items"].items()}})

    def add(self, graders: Iterable[str], gates: Iterable[str]) -> None:
        """Add graders and gates of a test, each once."""
        self.graders = list(dict.fromkeys([*self.graders, *graders]))
        self.gates = list(dict.fromkeys([*self.gates, *map(self.named, gates)]))

    def named(self, gate: str) -> str:
        """Return the text of a gate that may name the suite, with the name that it has now."""
        return _renamed(gate, f"{self.own_name}.", f"{self.name}.")

    @property
    def own_name(self) -> str:
        """Its name, whatever else was collected."""
        return self.plain_name or self.name

    def rename(self, name: str) -> None:
        """Call the suite by another name, in its notes and gates too; its plain name stays."""
        self.plain_name, before, self.name = self.own_name, self.name, name
        self.notes = [_renamed(note, f"{before}: ", f"{name}: ") for note in self.notes]
        self.gates = list(map(self.named, self.gates))

    def note(self, *lines: str) -> None:
        """Add notes, each once."""
        self.notes = list(dict.fromkeys([*self.notes, *lines]))

    @property
    def models(self) -> list[str]:
        """The models of its items, in their order."""
        return list(dict.fromkeys(item.model for item in self.items.values()))


def _renamed(text: str, before: str, after: str) -> str:
    return f"{after}{text.removeprefix(before)}" if text.startswith(before) else text


def recorded_note(info: SuiteManifest, recorded: int, cases: int) -> str:
    """Say that ``recorded`` of the ``cases`` bring their completions, beside what a model could be asked by."""
    them = "" if recorded == cases else " for them"
    return (
        f"recorded: {recorded:,} of {pluralize(cases, 'answer')} come from the data, no model was asked{them} "
        f"({info.name}, beside {info.recorded_beside})"
    )


def place_of(infos: Mapping[str, SuiteManifest], nodeid: str) -> tuple[str, str, str, int] | None:
    """Return suite, case id, model and repeat of an item; `None` where the nodeid is not a case's."""
    return next(((info.name, *info.items[nodeid]) for info in infos.values() if nodeid in info.items), None)


def under_test(infos: Mapping[str, SuiteManifest], model: str, judge: str) -> bool:
    """Tell whether a model is only under test: it does not judge as well."""
    judges = any(info.judges for info in infos.values())
    return not (judges and model == judge) and any(model in info.models for info in infos.values())


def gates_of(info: SuiteManifest) -> list[Gate]:
    """Return the gates of a suite, parsed."""
    return [parse_gate(text) for text in info.gates]
