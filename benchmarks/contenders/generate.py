"""``model.generate`` in static batches, as people write it: sorted, padded on the left, with an attention mask.

Rows are sorted by their limit of new tokens, then by length: a batch runs to the largest limit in it, and what a row has
beyond its own is cut. A batch of one is the reference for exactness.
"""

from __future__ import annotations

import torch

from benchmarks.contenders.plain import Plain, batches, encode, load_plain, make_answer, pad
from benchmarks.job import Answer, Job, serve


@torch.inference_mode()
def work(plain: Plain, job: Job) -> list[Answer]:
    """Complete every row."""
    prompts = [(row, encode(plain.tokenizer, row)) for row in job.rows]
    prompts.sort(key=lambda pair: (pair[0].max_new_tokens, len(pair[1])), reverse=True)
    answers = []
    for batch in batches(prompts, job.batch):
        ids, mask = pad([prompt for _, prompt in batch], plain.pad, left=True)
        output = plain.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=max(row.max_new_tokens for row, _ in batch),
            pad_token_id=plain.pad,
        )
        for (row, _), tokens in zip(batch, output[:, ids.shape[1] :].tolist(), strict=True):
            answers.append(make_answer(plain.tokenizer, plain.ends, row, tokens))
    return answers


if __name__ == "__main__":
    serve(load_plain, work)
