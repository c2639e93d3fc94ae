"""Log-likelihoods with plain forward passes: context and choice together, padded on the right, log_softmax of all logits."""

from __future__ import annotations

import torch

from benchmarks.contenders.plain import Plain, batches, load_plain, pad
from benchmarks.job import Answer, Job, serve


@torch.inference_mode()
def work(plain: Plain, job: Job) -> list[Answer]:
    """Score every choice of every row."""
    pairs = []
    for row in job.rows:
        start = len(plain.tokenizer(row.context)["input_ids"])
        for number, choice in enumerate(row.choices):
            pairs.append(((row.id, number), start, plain.tokenizer(row.context + choice)["input_ids"]))
    pairs.sort(key=lambda pair: len(pair[2]), reverse=True)
    sums = {}
    for batch in batches(pairs, job.batch):
        ids, mask = pad([whole for _, _, whole in batch], plain.pad, left=False)
        logprobs = plain.model(ids, attention_mask=mask).logits.log_softmax(-1)
        for number, (key, start, whole) in enumerate(batch):
            targets = ids[number, start : len(whole)]
            chosen = logprobs[number, start - 1 : len(whole) - 1].gather(-1, targets[:, None])
            sums[key] = float(chosen.sum())
    return [Answer(row.id, sums=tuple(sums[row.id, n] for n in range(len(row.choices)))) for row in job.rows]


if __name__ == "__main__":
    serve(load_plain, work)
