"""Continuous batching as transformers brings it, set up with what its documentation leaves to the user.

Without ``num_blocks`` it takes more than half of the machine's memory for its cache; with its default page of 256 tokens
it shares no prefix that is shorter; without ``eos_token_id`` in the configuration that it is given it never stops.
"""

from __future__ import annotations

from transformers import ContinuousBatchingConfig, GenerationConfig

from benchmarks.contenders.plain import Plain, encode, load_plain, make_answer
from benchmarks.job import Answer, Job, serve

PAGE = 32
CACHE_TOKENS = 32_768


def work(plain: Plain, job: Job) -> list[Answer]:
    """Complete every row. Raises `RuntimeError` when the manager lost one."""
    prompts = {row.id: encode(plain.tokenizer, row) for row in job.rows}
    limits = {row.id: row.max_new_tokens for row in job.rows}
    generated: dict[str, list[int]] = {}
    ends = sorted(plain.ends)
    config = GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=plain.pad)  # type: ignore[no-untyped-call]  # transformers annotates it not
    batching = ContinuousBatchingConfig(page_size=PAGE, num_blocks=CACHE_TOKENS // PAGE)
    with plain.model.continuous_batching_context_manager(
        generation_config=config, continuous_batching_config=batching
    ) as manager:
        # The order in which its own generate_batch hands requests in: neighbours share the most.
        for key, prompt in sorted(prompts.items(), key=lambda pair: pair[1], reverse=True):
            manager.add_request(prompt, request_id=key, max_new_tokens=limits[key], eos_token_id=ends)
        while len(generated) < len(prompts):
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                raise RuntimeError(f"continuous batching ended with {len(generated)} of {len(prompts)} rows")
            if result is not None and result.is_finished():
                if result.error is not None:
                    raise RuntimeError(f"{result.request_id}: {result.error}")
                generated[result.request_id] = result.generated_tokens
    return [make_answer(plain.tokenizer, plain.ends, row, generated[row.id]) for row in job.rows]


if __name__ == "__main__":
    serve(load_plain, work)
