"""The switch: option, environment or configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from pytest_evals.options import enabled


@dataclass
class Configured:
    """As much of `pytest.Config` as the switch reads."""

    option: bool | None = None
    ini: bool = False

    def getoption(self, name: str) -> Any:
        assert name == "evals"
        return self.option

    def getini(self, name: str) -> Any:
        assert name == "evals"
        return self.ini


def switched(option: bool | None = None, *, ini: bool = False) -> bool:
    return enabled(cast("pytest.Config", Configured(option, ini)))


@pytest.fixture(autouse=True)
def _no_switch_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_EVALS", raising=False)


def test_evals_are_off_unless_something_turns_them_on() -> None:
    assert not switched()


@pytest.mark.parametrize(("option", "ini"), [(True, False), (None, True), (True, True)])
def test_the_option_and_the_configuration_file_turn_them_on(option: bool | None, ini: bool) -> None:
    assert switched(option, ini=ini)


@pytest.mark.parametrize("written", ["1", "true", "TRUE", "yes", "on", " 1 "])
def test_the_environment_turns_them_on(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS", written)
    assert switched()


@pytest.mark.parametrize("written", ["0", "false", "No", "off"])
def test_a_false_environment_wins_over_the_file_and_not_over_the_option(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_EVALS", written)
    assert not switched()
    assert not switched(ini=True)
    assert switched(option=True)


@pytest.mark.parametrize("written", ["", " "])
def test_an_empty_environment_leaves_it_to_the_file(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS", written)
    assert not switched()
    assert switched(ini=True)


def test_an_environment_that_is_neither_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS", "maybe")
    with pytest.raises(pytest.UsageError, match="PYTEST_EVALS='maybe' is neither true nor false; use 1 or 0"):
        switched()
