"""How far engines are, in words for a person who waits: what is done of what was asked, how fast, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_evals.engines.replica import Replica


def progress_texts(replicas: Sequence[Replica], now: float) -> list[str]:
    """Return a text for each model that has work, its copies taken together, and one for each copy that loads or sets something up."""
    models: dict[str, list[Replica]] = {}
    for replica in replicas:
        models.setdefault(replica.spec.text, []).append(replica)
    return [text for copies in models.values() for text in _doings(copies, now)]


def _doings(copies: Sequence[Replica], now: float) -> list[str]:
    """Return what the copies of a model are doing: how far they are together, and what keeps single ones from it."""
    aside = [copy for copy in copies if copy.progress and (copy.state == "starting" or copy.working_since is not None)]
    working = [copy for copy in copies if copy.working_since is not None and copy not in aside]
    told = [f"{copy.label}: {'loading: ' if copy.state == 'starting' else ''}{copy.progress}" for copy in aside]
    return [*([state(copies, now)] if working else []), *told]


def state(copies: Sequence[Replica], now: float) -> str:
    """Return how far the copies of one model are together: completions and scored texts, their rates, time left."""
    seconds = max(copy.seconds + (now - copy.working_since if copy.working_since is not None else 0) for copy in copies)
    # Tokens of finished completions are in both counts once they finish; the larger one is the better estimate.
    tokens = sum(max(copy.tokens, copy.unfinished_tokens) for copy in copies)
    done, asked = sum(copy.done for copy in copies), sum(copy.asked for copy in copies)
    scored, to_score = sum(copy.scored for copy in copies), sum(copy.scored_asked for copy in copies)
    parts = []
    if asked > to_score:
        # Of what is no completion, as the classes of an encoder, nothing was generated.
        what = "completions" if tokens or done == scored else "answers"
        parts.append(f"{min(done - scored, asked - to_score)}/{asked - to_score} {what}")
        parts += [f"{_rate(tokens / seconds)} tokens/s"] if tokens and seconds > 1 else []
    if to_score:
        texts = sum(copy.texts for copy in copies)
        parts.append(f"{texts}/{sum(copy.texts_asked for copy in copies)} texts scored")
        parts += [f"{_rate(texts / seconds)} texts/s"] if texts and seconds > 1 else []
    if done < asked and seconds > 1:
        parts += _left_text(copies, seconds, now)
    return f"{copies[0].spec.short} {', '.join(parts)}"


def _rate(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def _left_text(copies: Sequence[Replica], seconds: float, now: float) -> list[str]:
    """Say how long the rest takes, where that can be told."""
    done, asked = sum(copy.done for copy in copies), sum(copy.asked for copy in copies)
    busy = [copy for copy in copies if len(copy.work)]
    estimates = [copy.work.seconds_left(copy.rows or 1, now, copy.info.device if copy.info else None) for copy in busy]
    known = [left for left in estimates if left is not None]
    if not known or len(known) < len(estimates):
        return []
    # What waits for the first copy that is free.
    backlog = asked - done - sum(len(copy.work) for copy in busy) if len(copies) > 1 else 0
    each = seconds * len(busy) / done if done else 0.0
    left = max(*known, (sum(known) + max(backlog, 0) * each) / len(known))
    return [f"{'up to' if all(copy.work.at_most for copy in busy) else 'about'} {_time(left)} left"]


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
