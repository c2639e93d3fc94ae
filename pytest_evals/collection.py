"""Collects suites: one test item for each case and model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_evals.declaration import MARK, Declaration
from pytest_evals.engines.spec import EMBEDDED, spec_of_record
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.gates import Gate, parse_gate, resolve
from pytest_evals.graders.judges.preflight import check_flight
from pytest_evals.grading import CASE, EXCLUDED, Asks, asks_of, check_of, models_of, runs_code_of, settings_of
from pytest_evals.marking import is_default_turn, is_judge_handle, is_model_handle
from pytest_evals.repeats import CaseKey, Recast, repeated, same_note
from pytest_evals.settings import Settings, model_text
from pytest_evals.steps.step import declaration_of
from pytest_evals.steps.workflow import Workflow, build_workflow
from pytest_evals.suite import Prepared, Suite, applies, build_suite, check_asks, check_settings
from pytest_evals.trust.labelling import Labels, read_labels
from pytest_evals.trust.scales import scale_of

PARAMETER = "_evals_case"
RECORDED = "recorded"
"""The model's name where completions came from the dataset."""
RUN_CODE_REFUSAL = (
    "runs programs that a model wrote; allow that with --evals-run-code, or 'evals_run_code = true' in the "
    "configuration file"
)


class Declared(NamedTuple):
    """What an item is: the case, the model (``""`` where none is asked) and which repeat of it."""

    case_id: str
    model: str
    repeat: int = 1


@dataclass(slots=True)
class SuiteInfo:
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
    items: dict[str, Declared] = field(default_factory=dict)
    """By nodeid, every case that was declared, selected or not."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the scores should know of how the suite was run."""
    stopped: dict[str, int] = field(default_factory=dict)
    """Models for which it was stopped early, with the number of cases that were not needed."""
    calls: bool = False
    """Whether its tests, tasks or graders call models on their own."""
    judges: bool = False
    """Whether one of them is the judge."""
    labelled: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By grader, how people labelled the cases: see `pytest_evals.trust.calibration.Labelled`."""
    identities: dict[str, str] = field(default_factory=dict)
    """By grader, which one it is, whatever it is called: the same in all suites of a run that use it."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SuiteInfo:
        """Return the suite that `to_dict` described."""
        return cls(**{**data, "items": {nodeid: Declared(*entry) for nodeid, entry in data["items"].items()}})

    @property
    def models(self) -> list[str]:
        """The models of its items, in their order."""
        return list(dict.fromkeys(item.model for item in self.items.values()))


@dataclass(slots=True)
class EvalItem:
    """An item's part in its suite."""

    key: CaseKey
    prepared: Prepared
    info: SuiteInfo
    models: tuple[str, ...]
    needs_completion: bool
    graders: tuple[str, ...]
    asks: Mapping[str, Asks]
    """Graders that need likelihoods, with what tells the texts."""
    workflow: Workflow = field(default_factory=Workflow)
    """Tasks and graders that run ahead of the tests."""
    label: Mapping[str, float] = field(default_factory=dict)
    """By grader, what people's label is worth."""


# What the plugin knows of an item that is a case.
EVAL: pytest.StashKey[EvalItem] = pytest.StashKey()


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a test wants of its models: the default turn, likelihoods for its graders, calls of its own; and whether it calls
    the judge.
    """

    completion: bool
    likelihoods: bool
    calls: bool
    judge: bool


@dataclass(frozen=True, slots=True)
class _Current:
    """The test function that is being parametrized: pytest makes its items right after."""

    suite: Suite
    info: SuiteInfo
    models: tuple[str, ...]
    needs_completion: bool
    graders: tuple[str, ...]
    asks: Mapping[str, Asks]
    workflow: Workflow
    labels: Labels


class Collection:
    """Hooks of collection. ``infos`` are the suites found, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._suites: dict[tuple[int, Path], Suite] = {}
        self._current: _Current | None = None
        self._declared_by: dict[str, Declaration] = {}
        self.infos: dict[str, SuiteInfo] = {}
        self.on_model_needed: Any = None
        """Called with a model's name as soon as a case is found that needs it."""
        self.recast: Mapping[str, Recast] = {}
        """Models and repeats of suites by name, where a recorded run decides."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize a test that has the mark: one item a case and model."""
        mark = metafunc.definition.get_closest_marker(MARK)
        if mark is None:
            return
        try:
            self._parametrize(metafunc, mark)
        except EvalsError as error:
            raise pytest.Collector.CollectError(str(error)) from error

    def _parametrize(self, metafunc: pytest.Metafunc, mark: pytest.Mark) -> None:
        declaration = _declaration(mark, metafunc)
        path = metafunc.definition.path
        suite = self._suite(declaration, path.parent)
        name = declaration.name or metafunc.function.__name__
        lookup = _Lookup(metafunc.definition)
        try:
            workflow = build_workflow(metafunc.fixturenames, lookup, lookup.names)
        except EvalsError as error:
            raise type(error)(f"{declaration.place}: {name}: {error}") from error
        graders = _graders(metafunc, lookup, workflow)
        workflow.applies_to = self._applies_to(suite, metafunc, lookup, workflow)
        for grader, settings in graders.items():
            function = lookup.function(grader)
            if runs_code_of(function) and not self._settings.run_code:
                raise SuiteError(f"{declaration.place}: {name}: grader {grader!r} {RUN_CODE_REFUSAL}")
            later = (*workflow.aliases.get(grader, ()), *_names_of(function))
            check_settings(suite, grader, settings, check_of(function), later, workflow.applies_to.get(grader))
            self._check_models(models_of(function), f"{declaration.place}: grader {grader}")
            check_flight(function)
        suite.check_gates(name, list(graders), suite.gates)
        # Gates of the session concern the suites that have what they name; one that none has is refused later.
        session_gates = [gate for gate in self._settings.gates if resolve(gate, name, list(graders)) is not None]
        extra = [gate for gate in session_gates if gate.slice is None or suite.has_slice(*gate.slice)]
        needs_completion = _asks_for_default_turn(lookup, metafunc.fixturenames) or workflow.asks_for("completion")
        asks = _asks(metafunc, lookup, workflow)
        for grader, asked in asks.items():
            if grader in workflow.aliases:
                raise SuiteError(
                    f"{declaration.place}: {name}: grader {grader}: what choice weighs comes from the case; for the results of tasks "
                    "write an async grader that awaits model.choose(...)"
                )
            check_asks(suite, grader, asked)
        recast = self.recast.get(name)
        models = (recast.models if recast else ()) or self._models(metafunc, declaration)
        info = self._info(name, suite, metafunc, list(graders), extra)
        labels = self._labels(suite, info, graders, lookup)
        self._current = _Current(suite, info, models, needs_completion, tuple(graders), asks, workflow, labels)
        calls = _asks_for(lookup, metafunc.fixturenames, "model", is_model_handle) or workflow.asks_for("model")
        judges = _asks_for(lookup, metafunc.fixturenames, "judge", is_judge_handle) or workflow.asks_for("judge")
        info.calls, info.judges = info.calls or calls or judges, info.judges or judges
        needs = _Needs(needs_completion, bool(asks), calls, judges)
        keys, ids = self._keys(suite, models, needs, where=f"{declaration.place}: {name}")
        keys, ids = self._repeated(suite, keys, ids, info, needs)
        if labels.values and needs_completion and any(key.model != RECORDED for key in keys):
            note = (
                f"{name}: people labelled answers of their time, and the grades are of answers that were generated now"
            )
            info.notes = list(dict.fromkeys([*info.notes, note]))
        if PARAMETER not in metafunc.fixturenames:
            metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, keys, ids=ids, indirect=True)

    @staticmethod
    def _labels(suite: Suite, info: SuiteInfo, graders: Iterable[str], lookup: _Lookup) -> Labels:
        """Read what people said of the cases, and note for whom."""
        functions = {grader: lookup.function(grader) for grader in graders}
        identities = {grader: f"{id(declaration_of(function)):x}" for grader, function in functions.items()}
        labels = read_labels(suite, {grader: scale_of(function) for grader, function in functions.items()}, identities)
        info.identities.update(identities)
        info.labelled.update({grader: how.to_dict() for grader, how in labels.graders.items()})
        return labels

    def _check_models(self, models: Iterable[str], where: str) -> None:
        """Raise `ModelError` for a model that a grader names and nobody can load."""
        for model in models:
            try:
                model_text(model, self._settings.root, self._settings.root, self._settings.aliases)
            except EvalsError as error:
                raise type(error)(f"{where}: {error}") from error

    @staticmethod
    def _applies_to(
        suite: Suite, metafunc: pytest.Metafunc, lookup: _Lookup, workflow: Workflow
    ) -> dict[str, frozenset[str]]:
        """Evaluate each ``run_if`` for every case."""
        conditions = workflow.conditions()
        for name in metafunc.fixturenames:
            declaration = declaration_of(lookup.function(name))
            if declaration is not None and declaration.run_if is not None:
                conditions.setdefault(name, (declaration.run_if, f"{declaration.kind} {name!r} ({declaration.place})"))
        return {key: applies(suite, who, condition) for key, (condition, who) in conditions.items()}

    def _suite(self, declaration: Declaration, base: Path) -> Suite:
        key = (id(declaration), base)
        if key not in self._suites:
            self._suites[key] = build_suite(declaration, base, self._settings.limit)
        return self._suites[key]

    def _models(self, metafunc: pytest.Metafunc, declaration: Declaration) -> tuple[str, ...]:
        """Command line, then the suite, then the nearest conftest, then the configuration file, then the embedded
        default.
        """
        settings = self._settings
        if settings.models:
            return settings.models
        own = [declaration.model] if isinstance(declaration.model, str) else declaration.model
        found = own or metafunc.definition.ihook.pytest_evals_models(config=metafunc.config)
        if isinstance(found, str):
            found = [found]
        if not found:
            return settings.default_models or (EMBEDDED,)
        base = metafunc.definition.path.parent if own else settings.root
        try:
            return tuple(dict.fromkeys(model_text(text, base, settings.root, settings.aliases) for text in found))
        except EvalsError as error:
            raise type(error)(f"{declaration.place}: {error}") from error

    def _info(
        self, name: str, suite: Suite, metafunc: pytest.Metafunc, graders: list[str], extra: Sequence[Gate]
    ) -> SuiteInfo:
        declaration = suite.declaration
        other = self._declared_by.setdefault(name, declaration)
        if other is not declaration:
            raise SuiteError(
                f"two suites are named {name!r}: {other.place} and {declaration.place}; give one of them a name="
            )
        gates = [gate.text for gate in (*suite.gates, *extra)]
        if name not in self.infos:
            self.infos[name] = SuiteInfo(
                name=name,
                path=metafunc.definition.nodeid.partition("::")[0],
                line=declaration.line,
                dataset_key=suite.dataset.key,
                dataset_hash=suite.dataset.hash,
                n=len(suite.cases),
                total=len(suite.dataset.rows),
                graders=[],
                gates=[],
                tags=list(declaration.tags),
            )
        info = self.infos[name]
        info.graders = list(dict.fromkeys([*info.graders, *graders]))
        info.gates = list(dict.fromkeys([*info.gates, *gates]))
        return info

    def _keys(
        self, suite: Suite, models: tuple[str, ...], needs: _Needs, where: str
    ) -> tuple[list[CaseKey], list[str]]:
        """Return parameters and ids, model by model, so that one model's cases stand together."""
        keys: list[CaseKey] = []
        open_cases: list[Prepared] = []
        for prepared in suite.cases.values():
            if not (needs.completion or needs.likelihoods or needs.calls):
                keys.append(CaseKey(prepared.case.id, None))
            elif needs.completion and prepared.recorded is not None:
                if needs.likelihoods or needs.calls:
                    raise SuiteError(
                        f"{where}: {prepared.case.place} brings a completion, and the test or a grader of it asks a model: "
                        "which one wrote the completion is not known; grade recorded completions in a test of their own"
                    )
                keys.append(CaseKey(prepared.case.id, RECORDED))
            elif prepared.problem and (needs.completion or needs.likelihoods):
                raise SuiteError(f"{where}: {prepared.case.place} {prepared.problem}")
            else:
                open_cases.append(prepared)
        keys += [CaseKey(prepared.case.id, model) for model in models for prepared in open_cases]
        if self.on_model_needed and (open_cases or needs.judge):
            self.on_model_needed(models[0] if open_cases else self._settings.judge_name)
        shorts = _short_names(models, self._settings.root) if len(models) > 1 else {}
        ids = [f"{key.case_id}-{shorts[key.model]}" if key.model in shorts else key.case_id for key in keys]
        return keys, ids

    def _repeated(
        self, suite: Suite, keys: list[CaseKey], ids: list[str], info: SuiteInfo, needs: _Needs
    ) -> tuple[list[CaseKey], list[str]]:
        """Make each key as many as the case is repeated. A completion that the row brings is there once."""
        count = self._settings.repeat or suite.declaration.repeat or 1
        if info.name in self.recast:
            count = self.recast[info.name].repeats
        if count > 1 and needs.completion:
            shared = {
                model
                for model in {key.model for key in keys} - {None, RECORDED}
                if spec_of_record(str(model), self._settings.root).deduplicates
            }
            greedy = sum(key.model in shared and suite.cases[key.case_id].params.greedy for key in keys)
            info.notes = list(dict.fromkeys([*info.notes, *same_note(info.name, greedy, len(keys))]))
        return repeated(keys, ids, [1 if key.model == RECORDED else count for key in keys])

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self) -> Any:
        """Note every item of a suite as it is made: later steps see only those that were selected."""
        self._current = None
        made = yield
        current = self._current
        if current is not None:
            for item in made:
                key = item.callspec.params[PARAMETER]
                current.info.items[item.nodeid] = Declared(key.case_id, key.model or "", key.repeat)
                prepared = current.suite.cases[key.case_id]
                item.stash[CASE] = prepared.case
                item.stash[EVAL] = EvalItem(
                    key,
                    prepared,
                    current.info,
                    current.models,
                    current.needs_completion,
                    current.graders,
                    current.asks,
                    current.workflow,
                    current.labels.values.get(key.case_id, {}),
                )
                excluded = {name for name, cases in current.workflow.applies_to.items() if key.case_id not in cases}
                if excluded:
                    item.stash[EXCLUDED] = frozenset(excluded)
        return made


def place_of(infos: Mapping[str, SuiteInfo], nodeid: str) -> tuple[str, str, str, int] | None:
    """Return suite, case id, model and repeat of an item; `None` where the nodeid is no case's."""
    return next(((info.name, *info.items[nodeid]) for info in infos.values() if nodeid in info.items), None)


def under_test(infos: Mapping[str, SuiteInfo], model: str, judge: str) -> bool:
    """Tell whether a model is only under test: it does not judge as well."""
    judges = any(info.judges for info in infos.values())
    return not (judges and model == judge) and any(model in info.models for info in infos.values())


def gates_of(info: SuiteInfo) -> list[Gate]:
    """Return the gates of a suite, parsed."""
    return [parse_gate(text) for text in info.gates]


def _declaration(mark: pytest.Mark, metafunc: pytest.Metafunc) -> Declaration:
    declaration = mark.args[0] if len(mark.args) == 1 else None
    if not isinstance(declaration, Declaration):
        raise SuiteError(f"{metafunc.definition.nodeid}: use @cases(...) of pytest_evals, not @pytest.mark.{MARK}")
    return declaration


class _Lookup:
    """Finds the fixtures that a test sees: those that it asks for, and others by name."""

    def __init__(self, definition: Any) -> None:
        # Not public in pytest, and used by other plugins in the same way; custom items lack it.
        info = getattr(definition, "_fixtureinfo", None)
        self._asked: Mapping[str, Sequence[Any]] = getattr(info, "name2fixturedefs", {})
        self._manager = getattr(definition.session, "_fixturemanager", None)
        self._node = definition

    def __call__(self, name: str) -> Sequence[Any]:
        """Return the definitions of a fixture, the one that wins last; none for an unknown name."""
        found: Sequence[Any] | None = self._asked.get(name)
        if not found and self._manager is not None:
            found = self._manager.getfixturedefs(name, self._node)
        return found or ()

    def function(self, name: str) -> Any:
        """Return the function of the definition that wins, `None` for an unknown name."""
        definitions = self(name)
        return definitions[-1].func if definitions else None

    def names(self) -> set[str]:
        """Return every name that somebody defined, for a hint."""
        tables = ("_arg2fixturedefs", "_arg2node2fixturedefs", "_arg2nodeid2fixturedefs")
        return {*self._asked, *(name for table in tables for name in getattr(self._manager, table, {}))}


def _asks_for_default_turn(lookup: _Lookup, names: Sequence[str]) -> bool:
    """Tell whether the test gets the plugin's own ``completion``, itself or through a fixture that overrides and uses it."""
    for definition in reversed(lookup("completion") if "completion" in names else ()):
        if is_default_turn(definition.func):
            return True
        if "completion" not in definition.argnames:
            return False
    return False


def _asks_for(lookup: _Lookup, names: Sequence[str], name: str, is_it: Callable[[object], bool]) -> bool:
    """Tell whether the test asks for one of the plugin's own fixtures, itself or through another one."""
    return name in names and is_it(lookup.function(name))


def _graders(metafunc: pytest.Metafunc, lookup: _Lookup, workflow: Workflow) -> dict[str, Mapping[str, Any]]:
    """Return the graders that the test asks for, itself or through others, with their settings."""
    names = dict.fromkeys((*metafunc.fixturenames, *workflow.steps))
    found = ((name, settings_of(lookup.function(name))) for name in names)
    return {name: settings for name, settings in found if settings is not None}


def _names_of(function: Any) -> tuple[str, ...]:
    declaration = declaration_of(function)
    return declaration.names if declaration else ()


def _asks(metafunc: pytest.Metafunc, lookup: _Lookup, workflow: Workflow) -> dict[str, Asks]:
    """Return the graders of the test that need likelihoods."""
    names = dict.fromkeys((*metafunc.fixturenames, *workflow.steps))
    found = ((name, asks_of(lookup.function(name))) for name in names)
    return {name: asks for name, asks in found if asks is not None}


def _short_names(models: Sequence[str], root: Path) -> dict[str | None, str]:
    """Return a name for each model, for ids; equal ones are numbered."""
    names: dict[str | None, str] = {}
    for model in models:
        short = spec_of_record(model, root).short
        taken = sum(name == short or name.startswith(f"{short}-") for name in names.values())
        names[model] = f"{short}-{taken + 1}" if taken else short
    return names
