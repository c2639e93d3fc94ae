"""vLLM's build for CPUs, eager and in fp32, greedy, with the same token ids as everybody."""

from __future__ import annotations

from typing import Any

from vllm import LLM, SamplingParams  # type: ignore[import-not-found,unused-ignore]  # another environment's

from benchmarks.job import Answer, Job, serve


def load(job: Job) -> Any:
    """Start the engine."""
    return LLM(model=job.model, dtype="float32", enforce_eager=True, max_model_len=4096, disable_log_stats=True)


def work(llm: Any, job: Job) -> list[Answer]:
    """Complete every row."""
    tokenizer = llm.get_tokenizer()
    prompts, params = [], []
    for row in job.rows:
        messages = [dict(message) for message in row.messages]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        prompts.append({"prompt_token_ids": ids})
        # What is not said here would come from the model's own sampling defaults.
        params.append(SamplingParams(temperature=0, max_tokens=row.max_new_tokens, detokenize=False))
    answers = []
    for row, output in zip(job.rows, llm.generate(prompts, params, use_tqdm=False), strict=True):
        tokens = tuple(output.outputs[0].token_ids)
        answers.append(Answer(row.id, tokenizer.decode(tokens, skip_special_tokens=True), tokens, len(tokens)))
    return answers


if __name__ == "__main__":
    serve(load, work)
