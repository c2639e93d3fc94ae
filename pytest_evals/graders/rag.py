"""Graders of answers that are made from retrieved documents: is the answer in them, does it answer, do they help?

The documents of a case are in one place: the field ``documents`` of its row, a text or a list of texts or of objects
with a field ``text``; ``context=`` names another place, a task's result among them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.asking import ask, together
from pytest_evals.graders.judges.decisions import LONG, Decision, VerdictLabels, decide
from pytest_evals.graders.judges.grader import Scene, judge_fixture, messages_of
from pytest_evals.graders.judges.labels import closing
from pytest_evals.graders.judges.options import Common, Options, read_options
from pytest_evals.graders.judges.reading.thoughts import strip_thoughts
from pytest_evals.graders.judges.subject import (
    as_documents,
    check_sources,
    delimited,
    join_documents,
    last_user_turn,
    raw,
)

if TYPE_CHECKING:
    from pytest_evals.grades import Grade

DOCUMENTS = "item.documents"
YES_NO: VerdictLabels = {"YES": True, "NO": False}
_MOST_CLAIMS = 50
_LINE = re.compile(r"\A\s*(?:[-*\u2022]|\(?\d{1,3}[.)])?\s*")


def faithfulness(
    *,
    claims: Literal["sentences", "model"] = "sentences",
    by: Literal["judge", "nli"] = "judge",
    label: str | None = None,
    entailed_from: float = 0.5,
    truncate: bool = False,
    **common: Unpack[Common],
) -> Fixture:
    """The share of the answer's statements that its documents support, from 0 to 1.

    Statements that can be inferred from the documents over all statements (Es et al., "RAGAS", EACL 2024). Each statement is
    one call of the judge. An answer without a statement does not apply.

    Args:
        claims: Statements are the answer's ``sentences``, or the claims that the judge lists (``model``, one more call), as in the paper.
        by: Who decides: the ``judge``, or a classifier for entailment (``nli``), which reads each document as the premise and each sentence
            as the hypothesis. ``model`` then names the classifier.
        label: The classifier's label for entailment; by default the one whose name begins with "entail".
        entailed_from: The lowest probability of that label, for some document, that supports a sentence.
        truncate: Whether documents that are too long for the classifier are cut; otherwise they are errors.
        common: The options of all judges, see `judge`. Documents are in ``item.documents``, or where ``context`` says.

    Raises:
        SuiteError: A setting is wrong.
    """
    kind = "faithfulness"
    if by == "nli":
        return _by_nli(kind, common, claims, label, entailed_from, truncate=truncate)
    if by != "judge":
        raise SuiteError(f"{kind}: by must be 'judge' or 'nli', not {by!r}")
    if label is not None or truncate or entailed_from != _ENTAILED:
        raise SuiteError(f"{kind}: label, entailed_from and truncate go with by='nli'")
    options = _options(kind, common, context=True)
    if claims not in ("sentences", "model"):
        raise SuiteError(f"{kind}: claims must be 'sentences' or 'model', not {claims!r}")
    ending = closing("Does the context support the statement", list(YES_NO), options)
    head = (
        "Verify one statement against a context.\nYES: the statement can be inferred from the context.\n"
        "NO: the context contradicts it, or says nothing about it."
    )

    async def run(scene: Scene) -> Any:
        answer = scene.subject.answer
        stated = sentences(answer) if claims == "sentences" else await _listed_claims(scene)
        if isinstance(stated, Decision):
            return stated.grade()
        context = f"Context:\n{delimited('CONTEXT', join_documents(scene.subject.documents))}"
        asked = [(context, f"Statement:\n{delimited('STATEMENT', claim)}") for claim in stated]
        return await _share(scene, stated, head, asked, ending, "the answer states nothing")

    return judge_fixture(
        options, run, {}, bounds=(0, 1), doc="The share of the answer's statements that its documents support."
    )


_OF_NLI = ("model", "answer", "context", "threshold", "run_if", "name")
_ENTAILED = 0.5


def _by_nli(
    kind: str, common: Mapping[str, Any], claims: str, label: str | None, entailed_from: float, *, truncate: bool
) -> Fixture:
    from pytest_evals.graders.entailment import supported_statements

    if claims != "sentences":
        raise SuiteError(f"{kind}: claims={claims!r} asks a judge for them; by='nli' verifies sentences")
    for name in common:
        if name not in _OF_NLI:
            raise SuiteError(f"{kind}: {name} is of judges, and by='nli' asks none (options: {', '.join(_OF_NLI)})")
    model, context = common.get("model"), common.get("context") or DOCUMENTS
    if not isinstance(model, str):
        raise SuiteError(f"{kind}: by='nli' needs the model that verifies, as model='org/name', not {model!r:.60}")
    return supported_statements(
        kind,
        model,
        documents=context,
        statements=sentences,
        answer=common.get("answer"),
        label=label,
        entailed_from=entailed_from,
        threshold=common.get("threshold"),
        truncate=truncate,
        check=check_sources,
        read_documents=lambda scope: as_documents(raw(context, scope)),
        run_if=common.get("run_if"),
        name=common.get("name"),
    )


def answer_relevancy(**common: Unpack[Common]) -> Fixture:
    """The share of the answer's sentences that are about the question, from 0 to 1.

    Relevant statements over all statements, as in DeepEval. RAGAS' metric of this name differs: it compares embeddings of questions made from
    the answer. Each sentence is one call of the judge.

    Args:
        common: The options of all judges, see `judge`.

    Raises:
        SuiteError: A setting is wrong.
    """
    kind = "answer_relevancy"
    options = _options(kind, common, context=False)
    ending = closing("Does the statement help to answer the question", list(YES_NO), options)
    head = (
        "Decide whether one statement of an answer is relevant to the question.\n"
        "YES: it addresses the question or supports what does.\nNO: it has nothing to do with what was asked."
    )

    async def run(scene: Scene) -> Any:
        stated = sentences(scene.subject.answer)
        question = f"Question:\n{delimited('QUESTION', _question(scene))}"
        asked = [(question, f"Statement:\n{delimited('STATEMENT', sentence)}") for sentence in stated]
        return await _share(scene, stated, head, asked, ending, "the answer states nothing")

    return judge_fixture(
        options, run, {}, bounds=(0, 1), doc="The share of the answer's sentences that are about the question."
    )


def context_relevancy(**common: Unpack[Common]) -> Fixture:
    """The share of the documents that are relevant to the question, from 0 to 1; the answer does not matter.

    Context relevance by passage, as in ARES (Saad-Falcon et al., NAACL 2024). RAGAS counts sentences of the context instead. Each document is
    one call of the judge.

    Args:
        common: The options of all judges, see `judge`. Documents are in ``item.documents``, or where ``context`` says.

    Raises:
        SuiteError: A setting is wrong.
    """
    kind = "context_relevancy"
    options = _options(kind, common, context=True)
    ending = closing("Does the document help to answer the question", list(YES_NO), options)
    head = (
        "Decide whether one document is relevant to a question.\n"
        "YES: it holds something that helps to answer it.\nNO: it does not help to answer it."
    )

    async def run(scene: Scene) -> Any:
        documents = scene.subject.documents
        question = f"Question:\n{delimited('QUESTION', _question(scene))}"
        asked = [(question, f"Document:\n{delimited('DOCUMENT', document)}") for document in documents]
        return await _share(scene, documents, head, asked, ending, "there is no document")

    needs_answer = options.sources.question is None  # the question is in the conversation of the completion
    return judge_fixture(
        options,
        run,
        {},
        bounds=(0, 1),
        doc="The share of the documents that are relevant to the question.",
        needs_answer=needs_answer,
    )


def _options(kind: str, common: Mapping[str, Any], *, context: bool) -> Options:
    if context:
        common = {"context": DOCUMENTS, **{name: value for name, value in common.items() if value is not None}}
    return read_options(kind, common, how="majority", refused=("examples", "reference", "by", "abstain"))


def _question(scene: Scene) -> str:
    """Return what was asked: the author's ``question``, or the last turn of the user."""
    if scene.options.sources.question is None and "turns" in scene.scope:
        asked = last_user_turn(scene.scope["turns"][:-1])
        if asked:
            return asked
    if scene.subject.question:
        return scene.subject.question
    raise SuiteError(f"{scene.options.kind}: there is no question: the conversation has no user turn; give question=")


async def _share(
    scene: Scene,
    judged: Sequence[str],
    head: str,
    asked: Sequence[Sequence[str]],
    ending: str,
    nothing: str,
) -> Grade:
    """Ask about each part and return the share of those with a yes; an error of one is an error of the whole."""
    from pytest_evals.grades import Grade

    if not asked:
        return Grade(None, "", nothing, status="not_applicable")
    calls = [
        decide(
            scene.judge,
            scene.options,
            YES_NO,
            messages_of(scene, head, ending, blocks=blocks),
            scene.material(part),
        )
        for part, blocks in zip(judged, asked, strict=True)
    ]
    decisions = await together(calls)
    broken = [decision for decision in decisions if decision.status == "error"]
    if broken:
        reason = f"{len(broken)} of {len(decisions)} parts have no verdict; the first: {broken[0].reasoning}"
        return Grade(None, "", reason, status="error", metadata=broken[0].metadata)
    verdicts = [decision.value == 1 for decision in decisions]
    value = math.fsum(verdicts) / len(verdicts)
    threshold = scene.options.threshold
    parts = [{"text": text, "verdict": "YES" if yes else "NO"} for text, yes in zip(judged, verdicts, strict=True)]
    missed = [text for text, yes in zip(judged, verdicts, strict=True) if not yes]
    reason = f"{sum(verdicts)} of {len(verdicts)}" + (f"; not: {missed[0]!r:.160}" if missed else "")
    return Grade(value, "", reason, None if threshold is None else value >= threshold, metadata={"parts": parts})


async def _listed_claims(scene: Scene) -> Sequence[str] | Decision:
    """Ask the judge for the claims of the answer; the first of a panel speaks for all, so that all verify the same ones."""
    head = "List the factual claims that an answer makes, each as a short sentence that can be understood by itself."
    tail = "Reply with one claim a line and nothing else; with NONE if it makes no claim."
    messages = messages_of(scene, head, tail)
    judge = scene.judge.using(scene.options.models[0]) if scene.options.models else scene.judge
    schema = {
        "type": "object",
        "properties": {"claims": {"type": "array", "items": {"type": "string"}, "maxItems": _MOST_CLAIMS}},
        "required": ["claims"],
        "additionalProperties": False,
    }
    generation = {"max_new_tokens": LONG, **scene.options.generation}
    answered = await ask(
        judge,
        messages,
        lambda reply: read_claims(reply.text),
        guide={"json_schema": schema},
        generation=generation,
        remind=tail,
    )
    if answered.value is None:
        details = {"replies": list(answered.replies)}
        return Decision("error", None, None, f"the judge listed no claims: {answered.problem}", details)
    return answered.value


def read_claims(reply: str) -> tuple[list[str] | None, str | None]:
    """Return the claims of a reply, of JSON or of a line each, or what is wrong with it."""
    text = strip_thoughts(reply)
    if not text:
        return None, "the reply is empty"
    try:
        given = json.loads(text)
    except ValueError:
        given = {"claims": [_LINE.sub("", line).strip() for line in text.splitlines()]}
    claims = given.get("claims") if isinstance(given, Mapping) else given
    if not isinstance(claims, list) or not all(isinstance(claim, str) for claim in claims):
        return None, "the reply is not a list of claims"
    found = [claim for claim in claims if claim.strip() and claim.strip(" .").casefold() != "none"]
    if len(found) > _MOST_CLAIMS:
        return None, f"the reply lists {len(found)} claims, and no answer makes that many"
    return found, None


# -- Splits text into sentences: enough to judge an answer one statement at a time.

# Words whose full stop ends no sentence, as far as they are common in answers.
_ABBREVIATIONS = re.compile(
    r"(?:mrs?|ms|dr|prof|sr|jr|st|vs|e\.g|i\.e|eg|ie|cf|al|figs?|vol|pp|eq|approx|ca|inc|ltd|co|corp|dept|jan|feb|mar|apr|jun|"
    r"jul|aug|sept?|oct|nov|dec|u\.s|u\.k|a\.m|p\.m|ph\.d|bzw|z\.b|d\.h)"
)
_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f\u2026])[\"')\]\u201d\u2019]*(?:\s+|(?<=[\u3002\uff01\uff1f]))")
_ITEM = re.compile(r"\A\s*(?:[-*\u2022]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+", re.IGNORECASE)
_LAST_WORD = re.compile(r"[\w.]+\Z")
_LONGEST_WORD = 16
"""Of what may be an abbreviation or an initial."""


def sentences(text: str) -> list[str]:
    """Return the sentences of ``text``, in order: lines and list items are at least one each; headings and code fences,
    which state nothing, are none.
    """
    found: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "```", "---", "===")):
            continue
        found += _split(_ITEM.sub("", stripped))
    return [sentence for sentence in found if any(character.isalnum() for character in sentence)]


def _split(line: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for end in _END.finditer(line):
        if _ends(line, start, end):
            parts.append(line[start : end.end()].strip())
            start = end.end()
    return [*parts, line[start:].strip()] if line[start:].strip() else parts


def _ends(line: str, start: int, end: re.Match[str]) -> bool:
    """Tell whether a full stop before ``end`` ends the sentence from ``start`` on: not after an abbreviation or an initial, nor before
    a lower-case letter.
    """
    stop = end.start() - 1
    word = _LAST_WORD.search(line[max(start, stop - _LONGEST_WORD) : stop]) if line[stop] == "." else None
    if word is None:
        return True
    last = word[0].casefold()
    initial = len(last) == 1 and last.isalpha()
    return not (_ABBREVIATIONS.fullmatch(last) or initial or line[end.end() : end.end() + 1].islower())
