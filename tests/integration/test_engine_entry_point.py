"""An engine of another distribution: registered as an entry point, named in a specification, used as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact

TOY = """
from pytest_evals.completion import Completion
from pytest_evals.engines.kind import EngineKind, one_of, whole_number
from pytest_evals.engines.protocol import Capabilities, EngineInfo, Result, Started, refusal
from pytest_evals.errors import ModelError


class ToyEngine:
    def __init__(self, spec):
        self.info = EngineInfo(device="toy", identity={"engine": "toy", "name": spec.name}, notes=("a toy answers",))
        self.capabilities = Capabilities(params=frozenset({"max_new_tokens", "seed"}))
        self._times = spec.options.get("times", 1)
        self._case = spec.options.get("case", "lower")

    def generate(self, requests):
        while taken := requests.take():
            yield Started(tuple(request.id for request in taken))
            for request in taken:
                refused = refusal(request, self.capabilities)
                text = " ".join([request.messages[-1]["content"]] * self._times)
                text = text.upper() if self._case == "upper" else text.lower()
                yield Result(request.id, error=refused) if refused else Result(request.id, Completion(text))

    def close(self):
        pass


def load(spec, options, report):
    report("winding up")
    if spec.name == "broken":
        raise ModelError("the spring is broken")
    return ToyEngine(spec)


def locate(name, options, written, root):
    if not name.isalnum():
        raise ModelError(f"model {written!r}: a toy has a plain name")
    return name, None


KIND = EngineKind("toy", load, options={"times": whole_number("a whole number from 1 to 9", 9), "case": one_of("lower", "upper")}, locate=locate)
"""
SUITE = """
from pytest_evals import cases, graders

said = graders.exact_match("{{item.answer}}")

@cases([{"q": "Hello", "answer": "HELLO HELLO"}, {"q": "Bye", "answer": "BYE BYE"}], prompt="{{item.q}}", gates=["said.mean == 1"])
def test_toy(said):
    assert said
"""


@pytest.fixture
def toy(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with an engine, as pip would install it."""
    site = pytester.mkdir("site")
    (site / "toy_engine.py").write_text(TOY)
    info = site / "toy_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[pytest_evals.engines]\ntoy = toy_engine:KIND\nlost = nowhere:KIND\nodd = toy_engine:load\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    pytester.makepyfile(test_suite=SUITE)
    return site


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["plain", "xdist"])
def test_an_engine_that_another_distribution_registers_runs_evals(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    result = pytester.runpytest_subprocess(
        "--evals", "--evals-model", "toy:bear?times=2&case=upper", "--evals-artifact", "run.jsonl", *workers
    )
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*a toy answers*", "bear (toy): 2 completions*", "*2 passed*"])
    artifact = EvaluationArtifact.load(pytester.path / "run.jsonl")
    completions = [sample.interaction.completion for sample in artifact.samples]
    assert sorted(completion.text for completion in completions if completion) == ["BYE BYE", "HELLO HELLO"]
    assert artifact.run.models[0]["model"] == "toy:bear?times=2&case=upper"


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("toy:bear?times=0", "times must be a whole number from 1 to 9, not '0'"),
        ("toy:bear?case=Upper", "case must be lower or upper, not 'Upper'"),
        ("toy:bear?tims=2", "unknown option 'tims' (known for toy: times, case); did you mean 'times'?"),
        ("toy:-", "a toy has a plain name"),
        ("toi:bear", "unknown engine 'toi' (known: hf, openai, scripted, toy, lost, odd); did you mean 'toy'?"),
        ("lost:bear", "the engine 'lost' cannot be imported from nowhere:KIND, which toy-engine registers"),
        ("odd:bear", "toy_engine:load, which toy-engine registers, is not an EngineKind of that name"),
    ],
)
def test_what_is_wrong_with_its_specification_is_a_usage_error(
    pytester: pytest.Pytester, model: str, said: str
) -> None:
    result = pytester.runpytest_subprocess("--evals", "--evals-model", model)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()


@pytest.mark.usefixtures("toy")
def test_what_it_cannot_honour_is_refused_and_what_it_cannot_load_is_an_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--evals", "--evals-model", "toy:broken")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the spring is broken*"])
    pytester.makepyfile(test_suite=SUITE.replace("gates=", "generation={'temperature': 0.5}, gates="))
    result = pytester.runpytest_subprocess("--evals", "--evals-model", "toy:bear")
    result.stdout.fnmatch_lines(["*cannot honour the generation parameter 'temperature'*"])


@pytest.mark.usefixtures("toy")
def test_a_plan_knows_it_without_loading_it(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--evals", "--evals-model", "toy:bear", "--evals-plan")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*model toy:bear: 2 requests*"])


WITH_TOOLS = """
from pytest_evals import cases, graders, tool_loop

def now() -> str:
    "Tell the time."

called = graders.no_tool_calls()
agent = tool_loop([now], name="agent")

@cases([{"id": "a"}, {"id": "b"}, {"id": "c"}], id="id", prompt="x", tools=[now], gates=["called.mean >= 0"])
def test_offered(called): ...

@cases([{"id": "a"}, {"id": "b"}], id="id", prompt="x")
def test_loop(agent): ...

@cases([{"id": "a"}], id="id", prompt="x")
def test_plain(completion): ...
"""


@pytest.mark.usefixtures("toy")
def test_what_no_case_of_a_suite_can_have_is_one_error_of_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite=WITH_TOOLS)
    result = pytester.runpytest_subprocess("--evals", "--evals-model", "toy:bear", "-rs", "-p", "no:xdist")
    result.assert_outcomes(passed=1, skipped=3, errors=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*cannot honour the generation parameter 'tools'*",
            "*no case has a grade (1 error, 2 not applicable)*",
            "SKIPPED*the model cannot be shown tools: see the error of test_suite.py::test_*",
        ]
    )
