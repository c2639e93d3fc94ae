"""Metric graders in a suite: values and thresholds, corpus-level gates, and references that are missing."""

from __future__ import annotations

from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from .conftest import Evals

SCRIPT = """
ANSWERS = {"de": "the small house stands on the hill", "fr": "a cat sat on a mat", "it": "nothing of the kind"}
def answer(messages):
    return ANSWERS[messages[-1]["content"]]
"""
ROWS = """
ROWS = [
    {"id": "de", "kind": "prose", "references": ["the small house stands on a hill", "the little house is on the hill"]},
    {"id": "fr", "kind": "prose", "references": ["a cat sat on the mat"]},
    {"id": "it", "kind": "verse", "references": "an altogether different line"},
]
"""
SUITE = f"""
from pytest_evals import cases, graders
{ROWS}
overlap = graders.f1("item.references", threshold=0.5)
bleu = graders.bleu("item.references")
chrf = graders.chrf("{{{{item.references}}}}", word_order=2)
near = graders.levenshtein(["{{{{item.id}}}}", "a cat sat on a mat"], normalize="case")
rouge = graders.rouge("item.references", kind="L")
meteor = graders.meteor("item.references", synonyms=False)
exact = graders.exact_match("item.references", normalize="squad")

GATES = ["bleu.corpus >= 0.3", "bleu[kind=verse].corpus > 0", "chrf.corpus > 0.4", "overlap.pass_rate >= 0.6"]

@cases(ROWS, prompt="{{{{item.id}}}}", id="id", gates=[*GATES, "exact.corpus >= 0"])
def test_translation(overlap, bleu, chrf, near, rouge, meteor, exact):
    assert overlap
"""
HYPOTHESES = ["the small house stands on the hill", "a cat sat on a mat", "nothing of the kind"]
REFERENCES: list[Any] = [
    ["the small house stands on a hill", "a cat sat on the mat", "an altogether different line"],
    ["the little house is on the hill", None, None],
]


def test_a_suite_is_graded_and_gated_by_metrics(evals_both: Evals) -> None:
    evals_both.write(SUITE, SCRIPT)
    result = evals_both.run()
    result.assert_outcomes(passed=2, xfailed=1, failed=2)
    output = result.stdout.str()
    assert "bleu[kind=verse].corpus > 0: 0, not > 0 (n=1)" in output
    assert "gate PASSED     test_translation: overlap.pass_rate >= 0.6: 0.6667 (n=3)" in output
    assert "exact.corpus >= 0: its grades bring no counts of a corpus-level metric" in output.replace("\n    ", " ")
    scores = {row["grader"]: row for row in evals_both.artifact.scores()}
    expected = {
        "bleu": BLEU().corpus_score(HYPOTHESES, REFERENCES).score / 100,
        "chrf": CHRF(word_order=2).corpus_score(HYPOTHESES, REFERENCES).score / 100,
    }
    for name, value in expected.items():
        assert abs(scores[name]["corpus"] - value) < 1e-12
        assert abs(scores[name]["mean"] - value) > 1e-3
    assert scores["exact"]["corpus"] is None
    card = next(line for line in output.splitlines() if line.lstrip().startswith("bleu "))
    assert f"{expected['bleu']:.3f}" in card.split()
    summary = evals_both.artifact.summary
    assert summary is not None
    assert {row["grader"]: row["corpus"] for row in summary.scores} == {
        name: row["corpus"] for name, row in scores.items()
    }
    (sample,) = (sample for sample in evals_both.artifact.samples if sample.case_id == "de")
    grades = {grade.grader_key: grade for grade in sample.grades}
    assert grades["overlap"].passed is True
    assert grades["rouge"].passed is None
    assert "rougeL, f1" in grades["rouge"].metadata["definition"]
    assert grades["bleu"].metadata["definition"].startswith("nrefs:2|case:mixed|eff:yes|tok:13a|smooth:exp|version:")


def test_a_missing_reference_is_an_error_of_collection_that_names_its_row(evals: Evals) -> None:
    head = "from pytest_evals import cases, graders\n"
    rows = "[{'id': 'a', 'gold': 'x'}, {'id': 'b', 'gold': GOLD}]"
    for gold, words in (("None", "NoneType (None)"), ("['x', '']", "needs a reference, and none may be empty")):
        suite = f"bleu = graders.bleu('item.gold')\n@cases({rows}, prompt='?')\ndef test_it(bleu): ...\n"
        evals.write(head + suite.replace("GOLD", gold))
        result = evals.run()
        result.assert_outcomes(errors=1)
        output = " ".join(result.stdout.str().split())
        assert "row 2" in output
        assert words in output
        assert "grader bleu:" in output
        assert not evals.path.exists()


def test_collecting_metrics_imports_none_of_their_libraries(evals: Evals) -> None:
    names = "{'sacrebleu', 'nltk', 'rouge_score', 'rapidfuzz', 'wordllama', 'numpy', 'sentence_transformers'}"
    evals.pytester.makeconftest(
        f"import sys\ndef pytest_unconfigure(config):\n    print('HEAVY:', sorted({names} & set(sys.modules)))\n"
    )
    evals.write(SUITE, SCRIPT)
    evals.run("--collect-only", "-s").stdout.fnmatch_lines(["HEAVY: []"])
