"""A dying engine process costs a restart and no results; a request that kills it twice is that case's error."""

from __future__ import annotations

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases

@cases([{"id": f"c{n}", "n": n} for n in range(40)], prompt="{{item.n}}", id="id")
def test_it(completion, case):
    assert completion.text == str(case["n"])
"""


def script(condition: str, deed: str) -> str:
    return f"import os, pathlib, signal\n\ndef answer(messages):\n    n = int(messages[-1]['content'])\n    if {condition}:\n        {deed}\n    return str(n)\n"


@pytest.mark.parametrize("deed", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_request_that_kills_the_process_twice_is_the_only_error(evals_both: Evals, deed: str) -> None:
    evals_both.write(SUITE, script=script("n == 20", deed))
    result = evals_both.run()
    result.assert_outcomes(passed=39, errors=1)
    result.stdout.fnmatch_lines(["*this request ended the engine's process 2 times*"])
    (sample,) = [sample for sample in evals_both.artifact.samples if sample.outcome == "errored"]
    assert sample.case_id == "c20"
    assert sample.error is not None
    assert sample.error.kind == "engine"


def test_a_process_that_dies_once_is_started_again_and_nothing_is_lost(evals: Evals) -> None:
    once = "n == 20 and not pathlib.Path('died').exists()"
    evals.write(SUITE, script=script(once, "pathlib.Path('died').touch(); os._exit(1)"))
    result = evals.run()
    result.assert_outcomes(passed=40)
    result.stdout.fnmatch_lines(["*an engine process ended with status 1*"])


def test_what_a_script_has_registered_for_its_end_runs(evals: Evals) -> None:
    evals.write(
        SUITE, script="import atexit, pathlib\n" + script("n == 1", "atexit.register(pathlib.Path('ended').touch)")
    )
    evals.run().assert_outcomes(passed=40)
    assert (evals.pytester.path / "ended").exists()


def test_two_deadly_requests_are_both_found(evals: Evals) -> None:
    evals.write(SUITE, script=script("n in (3, 5)", "os._exit(3)"))
    evals.run().assert_outcomes(passed=38, errors=2)


def test_an_engine_that_always_dies_is_given_up(evals: Evals) -> None:
    evals.write(SUITE, script=script("True", "os._exit(3)"))
    result = evals.run()
    result.assert_outcomes(errors=40)
    result.stdout.fnmatch_lines(["*died * times in a row*"])


def test_a_process_that_dies_while_it_loads_is_tried_twice_and_its_last_words_are_shown(evals: Evals) -> None:
    loading = "import os, pathlib, sys\nwith open('loads', 'a') as f: f.write('x')\nprint('no memory for this', file=sys.stderr, flush=True)\nos._exit(9)\n"
    evals.write(SUITE, script=loading)
    result = evals.run()
    result.assert_outcomes(errors=1, skipped=39)
    assert evals.ledger() == {"collected": 40, "errored": 40}
    result.stdout.fnmatch_lines(["*ended with status 9*", "*no memory for this*"])
    assert (evals.pytester.path / "loads").read_text() == "xx"


def test_no_process_and_no_file_is_left_behind(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = evals.pytester.mkdir("tmp")
    monkeypatch.setenv("TMPDIR", str(temporary))
    evals.write(
        SUITE, script=script("n == 20", "os._exit(3)") + "\npathlib.Path('pids').open('a').write(f'{os.getpid()}\\n')\n"
    )
    evals.run()
    assert not list(temporary.glob("evals-*"))
    for pid in (evals.pytester.path / "pids").read_text().split():
        with pytest.raises(ProcessLookupError):
            __import__("os").kill(int(pid), 0)
