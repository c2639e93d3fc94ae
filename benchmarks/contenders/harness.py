"""lm-evaluation-harness: its ``HFLM`` with ``generate_until`` and ``loglikelihood``, called as its evaluator calls them.

The harness batches rows of equal generation arguments only, so that rows with limits of their own run nearly alone.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance  # type: ignore[import-not-found,unused-ignore]  # another environment's
from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found,unused-ignore]  # another environment's

from benchmarks.job import Answer, Job, serve


def load(job: Job) -> Any:
    """Load the model as ``lm_eval --model hf`` does."""
    return HFLM(pretrained=job.model, dtype="float32", device="cpu", batch_size=job.batch)


def work(harness: Any, job: Job) -> list[Answer]:
    """Complete or score every row."""
    return _score(harness, job) if job.scored else _complete(harness, job)


def _complete(harness: Any, job: Job) -> list[Answer]:
    requests = []
    for number, row in enumerate(job.rows):
        prompt = harness.apply_chat_template([dict(message) for message in row.messages])
        options = {"until": [], "do_sample": False, "max_gen_toks": row.max_new_tokens}
        requests.append(Instance("generate_until", {}, (prompt, options), number))
    texts = harness.generate_until(requests, disable_tqdm=True)
    return [Answer(row.id, text) for row, text in zip(job.rows, texts, strict=True)]


def _score(harness: Any, job: Job) -> list[Answer]:
    pairs = [(row.context, choice) for row in job.rows for choice in row.choices]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    sums = iter([total for total, _ in harness.loglikelihood(requests, disable_tqdm=True)])
    return [Answer(row.id, sums=tuple(next(sums) for _ in row.choices)) for row in job.rows]


if __name__ == "__main__":
    serve(load, work)
