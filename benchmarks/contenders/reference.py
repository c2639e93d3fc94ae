"""The judge: ``generate`` one prompt at a time, and how close the decision was where a text leaves it.

It is no contender; nothing here is timed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders.plain import Plain, encode, load_plain, make_answer
from benchmarks.job import Job, Row


@torch.inference_mode()
def generate(plain: Plain, row: Row) -> list[int]:
    """Return the tokens of the row's completion, the one that ended it included."""
    ids = torch.tensor([encode(plain.tokenizer, row)])
    output = plain.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=row.max_new_tokens,
        pad_token_id=plain.pad,
    )
    return list(make_answer(plain.tokenizer, plain.ends, row, output[0, ids.shape[1] :].tolist()).tokens or ())


def shared_tokens(plain: Plain, expected: list[int], text: str) -> int:
    """Return how many of the ``expected`` tokens ``text`` begins with; the token that ends the text is not among them."""
    body = expected[:-1] if expected and expected[-1] in plain.ends else expected
    for count in range(1, len(body) + 1):
        # Half a character decodes to a replacement; the next token completes it.
        start = plain.tokenizer.decode(body[:count], skip_special_tokens=True).rstrip("\ufffd")
        if not text.startswith(start):
            return count - 1
    return len(body)


@torch.inference_mode()
def margin(plain: Plain, row: Row, tokens: list[int]) -> float:
    """Return the distance of the two largest logits after the row's prompt and ``tokens``."""
    ids = torch.tensor([encode(plain.tokenizer, row) + tokens])
    top = plain.model(ids).logits[0, -1].topk(2).values
    return float(top[0] - top[1])


def judge(plain: Plain, row: Row, known: list[int] | None, texts: dict[str, str]) -> dict[str, Any]:
    """Return the reference's text and, for each of ``texts`` that differs, its first token that does and the margin there.

    The margin is `None` where the reference has nothing at this place: the text is longer than the row's limit allows.
    """
    expected = known if known is not None else generate(plain, row)
    reference = plain.tokenizer.decode(expected, skip_special_tokens=True)
    differences = {}
    for name, text in texts.items():
        if text != reference:
            place = shared_tokens(plain, expected, text)
            decided = place < len(expected)
            differences[name] = {
                "token": place,
                "margin": margin(plain, row, expected[:place]) if decided else None,
            }
    return {"id": row.id, "text": reference, "differences": differences}


def main() -> None:
    """Judge the rows of the file that the command line names first, and write the verdicts to the second one."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    job = Job.from_dict(order)
    plain = load_plain(job)
    verdicts = [judge(plain, row, order["known"].get(row.id), order["texts"][row.id]) for row in job.rows]
    Path(sys.argv[2]).write_text(json.dumps({"verdicts": verdicts}), encoding="utf-8")


if __name__ == "__main__":
    main()
