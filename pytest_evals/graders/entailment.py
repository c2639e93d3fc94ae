"""Whether documents support what an answer states, by a model of natural-language inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_evals.completion import Completion
from pytest_evals.engines.encoder_kind import find_label
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.encoders import (
    ANSWER,
    Subject,
    check_line,
    check_template,
    encoder_fixture,
    encoder_spec,
)
from pytest_evals.text import quotation


def supported_statements(
    kind: str,
    model: str,
    *,
    documents: str,
    statements: Callable[[str], Sequence[str]],
    answer: str | None,
    label: str | None,
    entailed_from: float,
    threshold: float | None,
    truncate: bool,
    check: Callable[[Mapping[str, Any]], object],
    read_documents: Callable[[Any], Sequence[str]],
    run_if: str | None,
    name: str | None,
) -> Fixture:
    """Return the grader of the share of an answer's statements that a document entails, by a model of natural-language inference.

    A statement is as likely to be supported as the document that supports it best says (as in SummaC, Laban et al., TACL
    2022), and is from ``entailed_from`` on.
    """
    line = check_line(kind, threshold, (0, 1))
    each_line = check_line(kind, entailed_from, (0, 1)) or 0.0
    templates = {
        "answer": check_template(kind, "answer", ANSWER if answer is None else answer),
        "context": check_template(kind, "context", documents),
    }
    spec = encoder_spec(kind, model, truncate=truncate)

    def entailment(labels: Sequence[str], who: str) -> str:
        if label is not None:
            return find_label(labels, label, who)
        found = [each for each in labels if each.casefold().startswith("entail")]
        if len(found) == 1:
            return found[0]
        raise SuiteError(
            f"{who} has no label that begins as 'entailment'; say with label= which one it is (labels: {', '.join(labels[:20])})"
        )

    async def grade(subject: Subject) -> Any:
        from pytest_evals.graders.judges.asking import together
        from pytest_evals.grades import Grade

        stated = list(statements(subject.text(templates["answer"])))
        if not stated:
            return Grade(None, "", "the answer states nothing", status="not_applicable")
        shown = list(read_documents(subject.scope))
        pairs = [(document, statement) for statement in stated for document in shown]
        found = await together(_asked(subject, *pair) for pair in pairs)
        wanted = entailment(list(found[0].scores or {}), f"{kind}: {model}")
        values = [(each.scores or {})[wanted] for each in found]
        parts = []
        for place, statement in enumerate(stated):
            own = values[place * len(shown) : (place + 1) * len(shown)]
            best = max(own)
            verdict = "YES" if best >= each_line else "NO"
            parts.append(
                {"text": statement, "verdict": verdict, "probability": round(best, 6), "document": own.index(best)}
            )
        share = sum(part["verdict"] == "YES" for part in parts) / len(parts)
        missed = [str(part["text"]) for part in parts if part["verdict"] == "NO"]
        cut = any(each.finish_reason == "length" for each in found)
        reason = f"{len(parts) - len(missed)} of {len(parts)}" + (f"; not: {quotation(missed[0])}" if missed else "")
        details = {"parts": parts, **({"truncated": True} if cut else {})}
        return Grade(share, "", reason, None if line is None else share >= line, metadata=details)

    return encoder_fixture(
        kind,
        spec,
        grade,
        templates,
        check_config=lambda head, who: entailment(head.labels, who),
        bounds=(0, 1),
        run_if=run_if,
        name=name,
        doc="The share of the answer's sentences that a document entails.",
        completion=answer is None,
        check=check,
    )


async def _asked(subject: Subject, premise: str, hypothesis: str) -> Completion:
    return await subject.scores(premise, hypothesis)
