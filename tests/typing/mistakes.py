"""Calls that a checker of types must refuse: an ignore that is not needed is an error of both checkers."""

from __future__ import annotations

from pytest_evals import Completion, Grade, Model, cases, grader, graders, nonsense  # type: ignore[attr-defined]
from pytest_evals.testing import Evals

a = graders.contains("x", require="some")  # type: ignore[arg-type]
b = graders.matches(r"x", flags=1)  # type: ignore[call-arg]
c = graders.no_such_grader("x")  # type: ignore[attr-defined]
d = graders.judge.binary("x", voices=3)  # type: ignore[call-arg]
e = graders.judge.scale("x", low="1")  # type: ignore[arg-type]
f = cases([], gates=1)  # type: ignore[arg-type]
g = cases([], promt="x")  # type: ignore[call-arg]
h = Grade("good")  # type: ignore[arg-type]
i = Grade(1, status="fine")  # type: ignore[arg-type]


j = grader(treshold=0.5)  # type: ignore[call-overload]


def use(completion: Completion, evals: Evals, model: Model) -> None:
    evals.run(model=1)  # type: ignore[arg-type]
    assert completion.txt  # type: ignore[attr-defined]
    assert model.generate("x").text  # type: ignore[attr-defined]  # it was not awaited
    assert nonsense
