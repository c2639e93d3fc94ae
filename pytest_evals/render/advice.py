"""What to run next, after a run that left something to look at."""

from __future__ import annotations

import shlex

from pytest_evals.scores.card import ScoreCard


def advice(card: ScoreCard) -> list[str]:
    """Return commands, each with what it is for; nothing where there is nothing to look at, or no artifact to look into."""
    if card.artifact is None:
        return []
    ledger = card.ledger
    # The newest run of the usual folder needs no name.
    usual = card.artifact.startswith((".evals/", ".evals\\"))
    run, named = ("latest", "") if usual else (shlex.quote(card.artifact), f" {shlex.quote(card.artifact)}")
    found = []
    if ledger.errored or ledger.failed:
        found.append("pytest --evals --lf")
    wrong = next((name for name in ("missed", "failed", "errored") if getattr(ledger, name)), None)
    if wrong:
        found.append(f"pytest-evals cases{named} -v --where \"outcome == '{wrong}'\"")
    if any(score.pending for score in card.scores):
        found.append(f"pytest-evals annotate{named}")
    if card.baseline and any(each.verdict in ("worse", "unclear") for each in card.movements):
        found.append(f"pytest-evals compare {shlex.quote(card.baseline)} {run} -v")
    return found
