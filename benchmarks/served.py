"""Requests a second of a served model: this package, which is told no number, beside a plain client with the best fixed one.

    python -m benchmarks.served                 # scripted servers, with times like those of real ones; some minutes
    python -m benchmarks.served --url URL NAME  # a server that runs already
    python -m benchmarks.served --llama         # llama.cpp's server on the embedded weights (package xllamacpp)

The plain client is `openai.AsyncOpenAI` with a semaphore of 1 to 64 requests (pip install openai). The scripted servers run in
a process of their own and batch as real ones do: a step takes longer the more rows it has, a request is one row until its
last token, and what finds no row waits, or is refused with 429.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_evals.completion import Message
from pytest_evals.engines.protocol import Inbox, Request, Result, Working
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.worker import load_engine
from pytest_evals.generation import GenerationParams

FIXED = (1, 2, 4, 8, 16, 32, 64)
RUNS = 3


# -- Scripted servers


@dataclass(frozen=True)
class Capacity:
    """A server's times, in seconds: a step of the batch takes ``step``, and ``row`` more for each row of it."""

    step: float
    row: float
    rows: int
    queue: int
    """How many may wait; the next one gets 429."""


SERVERS = {
    # A GPU: 32 rows cost little more than one.
    "batches of 32, the rest waits": Capacity(0.010, 0.0002, 32, 10_000),
    # A processor: rows cost nearly as much as steps.
    "batches of 4, the rest waits": Capacity(0.006, 0.004, 4, 10_000),
    # A hosted API with a limit of concurrent requests.
    "12 at a time, 429 beyond": Capacity(0.010, 0.0002, 12, 0),
}


@dataclass
class Row:
    """A request in the batch: how many tokens are left, and where they go."""

    left: int
    words: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)


class Batcher:
    """Computes rows side by side, step by step."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.rows: list[Row] = []
        self.waiting: deque[Row] = deque()
        self.work = asyncio.Event()

    def add(self, tokens: int) -> Row | None:
        """Take a request; `None` where there is no room."""
        if len(self.rows) >= self.capacity.rows and len(self.waiting) >= self.capacity.queue:
            return None
        row = Row(tokens)
        self.waiting.append(row)
        self.work.set()
        return row

    async def run(self) -> None:
        """Step for ever."""
        while True:
            while self.waiting and len(self.rows) < self.capacity.rows:
                self.rows.append(self.waiting.popleft())
            if not self.rows:
                self.work.clear()
                await self.work.wait()
                continue
            await asyncio.sleep(self.capacity.step + self.capacity.row * len(self.rows))
            for row in self.rows:
                row.left -= 1
                row.words.put_nowait(row.left > 0)
            self.rows = [row for row in self.rows if row.left > 0]


def tokens_of(text: str) -> int:
    """Return how long the answer to a text is: the same for every contender."""
    return random.Random(text).randint(4, 28)


async def serve(capacity: Capacity) -> None:
    """Serve at a free port, which is printed."""
    batcher = Batcher(capacity)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await answer(head.decode().lower(), reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith("get"):
            writer.write(_json(200, {"data": [{"id": "tiny"}]}))
            return
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        row = batcher.add(tokens := tokens_of(body["messages"][-1]["content"]))
        usage = {"prompt_tokens": 9, "completion_tokens": tokens}
        if row is None:
            writer.write(_json(429, {"error": {"message": "too many requests"}}))
        elif not body.get("stream"):
            while await row.words.get():
                pass
            message = {"role": "assistant", "content": "word " * tokens}
            writer.write(_json(200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            more = True
            while more:
                more = await row.words.get()
                choice = {"delta": {"content": "word "}, "finish_reason": None if more else "stop"}
                writer.write(_chunk({"choices": [choice]}))
            writer.write(_chunk({"choices": [], "usage": usage}) + _chunk(None) + b"0\r\n\r\n")

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await batcher.run()


def _json(status: int, data: Any) -> bytes:
    text = json.dumps(data).encode()
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n".encode() + text
    )


def _chunk(data: Any) -> bytes:
    text = f"data: {'[DONE]' if data is None else json.dumps(data)}\n\n".encode()
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


@contextmanager
def scripted(name: str) -> Iterator[str]:
    """Run a scripted server; yield its address."""
    command = [sys.executable, "-m", "benchmarks.served", "--serve", name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


# -- Contenders


def ours(url: str, name: str, texts: Sequence[str], tokens: int) -> tuple[float, int]:
    """Return the requests a second of this package, and the limit that it settled on."""
    engine = load_engine(parse_spec(f"openai:{name}@{url}", Path()), {}, lambda _text: None)
    messages: list[Message] = [{"role": "user", "content": text} for text in texts]
    params = GenerationParams(max_new_tokens=tokens)
    requests = [Request(str(number), name, (message,), params) for number, message in enumerate(messages)]
    began, answers, limit = time.perf_counter(), 0, 0
    for event in engine.generate(Inbox(requests, closed=True)):
        if isinstance(event, Result):
            answers += event.completion is not None
        elif isinstance(event, Working) and event.usage:
            limit = int(event.usage["most_concurrency"])
    seconds = time.perf_counter() - began
    engine.close()
    _check(answers, texts)
    return answers / seconds, limit


def plain(url: str, name: str, texts: Sequence[str], tokens: int, concurrency: int) -> float:
    """Return the requests a second of a plain client with a fixed number of requests at a time."""
    import openai

    async def run() -> int:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=50)
        room = asyncio.Semaphore(concurrency)

        async def ask(text: str) -> bool:
            async with room:
                answer = await client.chat.completions.create(
                    model=name, messages=[{"role": "user", "content": text}], max_tokens=tokens, temperature=0
                )
                return answer.choices[0].message.content is not None

        found = await asyncio.gather(*map(ask, texts))
        await client.close()
        return sum(found)

    began = time.perf_counter()
    answers = asyncio.run(run())
    seconds = time.perf_counter() - began
    _check(answers, texts)
    return answers / seconds


def _check(answers: int, texts: Sequence[str]) -> None:
    if answers < len(texts):
        raise SystemExit(f"only {answers} of {len(texts)} requests were answered")


def compare(url: str, name: str, texts: Sequence[str], tokens: int, runs: int) -> list[Any]:
    """Return the medians of a row: this package and its limit, then each fixed number, then the share of the best."""
    mine: list[tuple[float, int]] = []
    others: dict[int, list[float]] = {number: [] for number in FIXED}
    for _ in range(runs):
        # In turns, so that a disturbance of the machine is not one contender's alone.
        mine.append(ours(url, name, texts, tokens))
        for number, rates in others.items():
            # One at a time would take minutes for all of them, and the rate is the same for fewer.
            rates.append(plain(url, name, texts[: max(20, len(texts) * number // 8)], tokens, number))
    rate = statistics.median(rate for rate, _ in mine)
    fixed = {number: statistics.median(rates) for number, rates in others.items()}
    return [
        f"{rate:.1f}",
        mine[-1][1],
        *(f"{each:.1f}" for each in fixed.values()),
        f"{rate / max(fixed.values()):.2f}",
    ]


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--url", nargs=2, metavar=("URL", "NAME"))
    parser.add_argument("--llama", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    told = parser.parse_args(arguments)
    if told.serve:
        asyncio.run(serve(SERVERS[told.serve]))
    texts = [f"Say {number}." for number in range(told.requests)]
    rows: list[list[Any]] = []

    def add(name: str, measure: Callable[[], list[Any]]) -> None:
        rows.append([name, *measure()])
        print(rows[-1], file=sys.stderr)

    if told.url:
        add(told.url[0], lambda: compare(*told.url, texts, 16, told.runs))
    elif told.llama:
        from campaigns.served_models import llama_cpp

        with tempfile.TemporaryDirectory() as folder, llama_cpp(Path(folder)) as (url, name):
            add("llama.cpp, 4 slots", lambda: compare(url, name, texts, 16, told.runs))
    else:
        for server in SERVERS:
            with scripted(server) as url:
                add(server, lambda url=url: compare(url, "tiny", texts, 32, told.runs))  # type: ignore[misc]  # bound at once
    head = ["server", "evals", "its limit", *(f"plain, {number}" for number in FIXED), "of the best"]
    print(tabulate(rows, headers=head, disable_numparse=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
