"""A limit on the time that a piece of Python may take."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from pytest_evals.fixtures.limits import TimeLimitExceeded, time_limit

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")


@pytest.fixture(autouse=True)
def _no_timer_from_outside() -> Iterator[None]:
    """pytest-timeout may have set one."""
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.setitimer(signal.ITIMER_REAL, left, interval)


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_block_that_takes_too_long_is_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(TimeLimitExceeded, match=r"took longer than 0\.05 s") as caught, time_limit(0.05):
        spin(600)
    assert caught.value.seconds == 0.05
    assert time.monotonic() - started < 300


def test_a_sleep_is_stopped_too() -> None:
    with pytest.raises(TimeLimitExceeded), time_limit(0.05):
        time.sleep(10)


def test_catching_exceptions_in_the_block_does_not_swallow_the_limit() -> None:
    def careless() -> None:
        try:
            spin(10)
        except Exception:  # noqa: BLE001 - this is what is tested
            pytest.fail("the limit was swallowed")

    with pytest.raises(TimeLimitExceeded), time_limit(0.05):
        careless()


def test_a_block_in_time_is_left_alone_and_no_timer_remains() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(30):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_no_timer_remains_when_the_block_raises() -> None:
    with pytest.raises(KeyError), time_limit(30):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_zero_is_no_limit() -> None:
    with time_limit(0):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_outer_limit_still_holds_after_an_inner_one() -> None:
    left: list[float] = []

    def block() -> None:
        with time_limit(20):
            spin(0.01)
        left.append(signal.getitimer(signal.ITIMER_REAL)[0])
        spin(10)

    with pytest.raises(TimeLimitExceeded) as caught, time_limit(0.5):
        block()
    assert 0 < left[0] <= 0.5
    assert caught.value.seconds == 0.5


def test_an_outer_limit_that_passed_meanwhile_is_kept() -> None:
    def block() -> None:
        with time_limit(20):
            spin(0.05)
        spin(10)

    with pytest.raises(TimeLimitExceeded) as caught, time_limit(0.02):
        block()
    assert caught.value.seconds == 0.02


def test_outside_of_the_main_thread_the_block_just_runs() -> None:
    done: list[bool] = []

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_the_limit_rests_while_a_debugger_is_at_work() -> None:
    def trace(_frame: FrameType, _event: str, _argument: object) -> None: ...

    trace.__module__ = "pydevd.tracing"
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with time_limit(0.02):
            spin(0.1)
    finally:
        sys.settrace(before)
