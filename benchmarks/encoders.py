"""What batches bring to models that grade, and what probabilities bring to judges: each against one text at a time.

    python -m benchmarks.encoders [--pairs 500] [--model FOLDER] [--device cpu] [--runs 1]
    python -m benchmarks.encoders decisions [--cases 40] [--model smollm2] [--device cpu]

The first has pairs of texts classified by the encoder engine, and one at a time by transformers' text-classification
pipeline; without ``--model`` by a random BERT of the size of MiniLM (6 layers of 384). The second asks three questions about each case,
of the engine in one go and of transformers' decision pipeline one prompt at a time. Both compare the numbers too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from jinja2 import Template
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from pytest_evals.completion import Completion, Message
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.generation import GenerationParams
from pytest_evals.graders.judges.probability import exclusive

WORDS = [
    "the",
    "capital",
    "of",
    "France",
    "is",
    "Paris",
    "and",
    "a",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "dogs",
    "while",
    "rain",
    "falls",
    "on",
    "green",
    "hills",
]
LABELS = ("entailment", "neutral", "contradiction")
QUESTIONS: dict[str, Any] = {
    "answers": {"type": "noul", "instructions": "Does the answer answer the question?"},
    "tone": {
        "type": "choice",
        "instructions": "What is the tone?",
        "criteria": {"kind": None, "neutral": None, "rude": None},
    },
    "clarity": {"type": "score", "instructions": "How clear is it?", "criteria": ["unclear", "fair", "clear"]},
}


def text(source: random.Random, shortest: int, longest: int) -> str:
    """Return words in a row."""
    return " ".join(source.choice(WORDS) for _ in range(source.randint(shortest, longest)))


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return premises of a paragraph or less, and hypotheses of a sentence."""
    source = random.Random(seed)
    return [(text(source, 10, 150), text(source, 4, 20)) for _ in range(count)]


def random_bert(folder: Path) -> Path:
    """Save a random classifier of the size of MiniLM."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer.train_from_iterator(WORDS, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "unk")},
    )
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30_522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        id2label=dict(enumerate(LABELS)),
        label2id={label: place for place, label in enumerate(LABELS)},
    )
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def timed(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Return the median of the seconds that some runs take, and what the last one returned."""
    seconds = []
    found: Any = None
    for _ in range(runs):
        begun = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), found


def answered(engine: Any, requests: Sequence[Request]) -> dict[str, Completion]:
    """Run requests to their end."""
    events = engine.generate(Inbox(requests, closed=True))
    return {event.id: event.answer for event in events if isinstance(event, Result)}


def classify(count: int, folder: Path, device: str, runs: int) -> str:
    """Return how long pairs take in batches and one at a time."""
    from pytest_evals.engines.transformers.encoder.engine import load

    engine = load(
        parse_spec(f"encoder:{folder}", folder),
        {"device": device, "dtype": "fp32", "batch": "auto"},
        lambda _text: None,
    )
    given = pairs(count)
    requests = [_request(str(place), *each) for place, each in enumerate(given)]
    pipeline: Any = transformers.pipeline(
        "text-classification", model=engine.loaded.model, tokenizer=engine.loaded.tokenizer
    )
    inputs = [{"text": premise, "text_pair": hypothesis} for premise, hypothesis in given]

    def one_at_a_time() -> list[dict[str, float]]:
        return [{each["label"]: each["score"] for each in pipeline(one, top_k=None)} for one in inputs]

    answered(engine, requests[:16])
    ours, found = timed(lambda: answered(engine, requests), runs)
    theirs, expected = timed(one_at_a_time, runs)
    most = max(
        abs((found[str(place)].scores or {})[label] - score)
        for place, scores in enumerate(expected)
        for label, score in scores.items()
    )
    return _line(f"{count} pairs classified", ours, theirs, count, most)


def _request(key: str, *texts: str) -> Request:
    messages: tuple[Message, ...] = tuple({"role": "user", "content": each} for each in texts)
    return Request(key, "encoder:m", messages, GenerationParams())


def decide(count: int, model: str, device: str) -> str:
    """Return how long three questions about each case take, of the engine and of transformers' decision pipeline."""
    from transformers.decision import DECISION_PROMPT, DecisionConfig
    from transformers.decision import Question as DecisionQuestion

    from pytest_evals.engines.transformers.engine import load
    from pytest_evals.engines.transformers.loading import load_model

    spec, options = parse_spec(model, Path.cwd()), {"device": device, "dtype": "fp32", "batch": "auto"}
    loaded = load_model(spec, options, lambda _text: None)
    config = DecisionConfig()
    pipeline: Any = transformers.pipeline(
        "decision",  # type: ignore[call-overload]  # its overloads do not know this task
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        decision_config=config,
    )
    states = [f"Question: {asked}\nAnswer: {answer}" for answer, asked in pairs(count, seed=1)]
    theirs, expected = timed(lambda: [pipeline({"state": state, "questions": QUESTIONS}) for state in states], runs=1)
    engine = load(spec, options, lambda _text: None)
    prompt = Template(DECISION_PROMPT)
    asked = [DecisionQuestion.from_request(name, data, config) for name, data in QUESTIONS.items()]
    requests = [
        Request(
            f"{place}.{each.name}",
            model,
            ({"role": "user", "content": prompt.render(state=state, question=each)},),
            GenerationParams(),
            tuple(each.labels),
        )
        for place, state in enumerate(states)
        for each in asked
    ]
    answered(engine, requests[:3])
    ours, found = timed(lambda: answered(engine, requests[3:]), runs=1)
    most = 0.0
    for place, answers in enumerate(expected[1:], start=1):
        for each in asked:
            shares, _ = exclusive(found[f"{place}.{each.name}"].likelihoods or ())
            said = answers[each.name]
            those = said.get("probabilities") or {"true": said["noul"], "false": 1 - said["noul"]}
            most = max(most, *(abs(share - those[option]) for option, share in zip(each.options, shares, strict=True)))
    share = (count - 1) / count
    return _line(
        f"{len(requests) - 3} questions about {count - 1} cases", ours, theirs * share, len(requests) - 3, most
    )


def _line(what: str, ours: float, theirs: float, count: int, most: float) -> str:
    return (
        f"{what}: {ours:.2f} s in batches ({count / ours:.0f}/s), {theirs:.2f} s one at a time ({count / theirs:.0f}/s), "
        f"{theirs / ours:.1f} times as fast; largest difference {most:.1e}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["pairs", "decisions"], default="pairs")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=1, help="of pairs; the median counts")
    given = parser.parse_args()
    if given.what == "decisions":
        print(decide(given.cases, given.model or "smollm2", given.device))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(
            classify(
                given.pairs, Path(given.model) if given.model else random_bert(Path(folder)), given.device, given.runs
            )
        )


if __name__ == "__main__":
    main()
