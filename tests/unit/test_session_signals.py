"""Signals that end a run, and those that wait."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_evals.session.signals import RunTerminated, Signals, held

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


class Config:
    """What of a configuration is asked for."""

    def __init__(self) -> None:
        self.cleanups: list[Any] = []

    def add_cleanup(self, undo: Any) -> None:
        self.cleanups.append(undo)


@pytest.fixture
def signals() -> Iterator[Signals]:
    names = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in names}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config: Any = Config()
    found = Signals()
    found.install(config)
    yield found
    for undo in config.cleanups:
        undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_ends_the_run_and_one_that_is_ignored_stays_so(signals: Signals) -> None:
    with pytest.raises(RunTerminated, match="SIGTERM: the process was told to end"):
        send(signal.SIGTERM)
    # nohup
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signals.ending = True
    send(signal.SIGTERM)


@pytest.mark.usefixtures("signals")
def test_a_child_that_a_test_forks_ends_as_it_would_without_evals() -> None:
    child = os.fork()
    if not child:
        send(signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, RunTerminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_waits_until_what_must_not_be_done_by_half_is_done(number: int, error: type[BaseException]) -> None:
    done = []

    def work(signals: int) -> None:
        with held():
            for _ in range(signals):
                send(number)
            done.append(signals)

    with pytest.raises(error):
        work(1)
    # Whoever asks twice does not wait.
    with pytest.raises(error):
        work(2)
    work(0)
    assert done == [1, 0]
    with pytest.raises(error):
        send(number)
