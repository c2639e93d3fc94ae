"""promptfoo's providers become model specifications, where one can be named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_evals.importing.configuration import as_list, as_mapping
from pytest_evals.importing.suite import Suite

_SERVERS = {
    "openai": "https://api.openai.com/v1?key_env=OPENAI_API_KEY",
    "openrouter": "https://openrouter.ai/api/v1?key_env=OPENROUTER_API_KEY",
    "groq": "https://api.groq.com/openai/v1?key_env=GROQ_API_KEY",
    "deepseek": "https://api.deepseek.com/v1?key_env=DEEPSEEK_API_KEY",
    "mistral": "https://api.mistral.ai/v1?key_env=MISTRAL_API_KEY",
    "togetherai": "https://api.together.xyz/v1?key_env=TOGETHER_API_KEY",
    "ollama": "http://127.0.0.1:11434",
    "localai": "http://127.0.0.1:8080/v1",
    "vllm": "http://127.0.0.1:8000/v1",
}
_KINDS = ("chat", "completion", "responses", "text-generation", "messages")
_GENERATION = {
    "temperature": "temperature",
    "top_p": "top_p",
    "topP": "top_p",
    "seed": "seed",
    "max_tokens": "max_new_tokens",
    "max_new_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_output_tokens": "max_new_tokens",
    "num_predict": "max_new_tokens",
    "stop": "stop",
}
_ADDRESS = ("apiBaseUrl", "apiHost", "apiKeyEnvar")


def models_of(suite: Suite, written: Any) -> dict[str, Any]:
    """Return ``model=`` and ``generation=`` for the providers that can be named; the others are noted."""
    models: list[str] = []
    parameters: list[dict[str, Any]] = []
    for provider in as_list(written):
        name, config = _parts(provider)
        model = specification(name, config)
        if model is None:
            suite.note(f"the provider {name or provider!r:.80}: there is no engine for it; see --evals-model")
            continue
        models.append(model)
        parameters.append({_GENERATION[key]: value for key, value in config.items() if key in _GENERATION})
        for key in config:
            if key not in _GENERATION and key not in _ADDRESS:
                suite.note(f"the provider {name}: {key}: {config[key]!r:.80}")
    options: dict[str, Any] = {}
    if models:
        options["model"] = models[0] if len(models) == 1 else list(dict.fromkeys(models))
    if parameters and all(each == parameters[0] for each in parameters):
        options |= {"generation": parameters[0]} if parameters[0] else {}
    elif parameters:
        suite.note(f"the providers have parameters of their own, and a suite has one generation=: {parameters}")
    return options


def _parts(provider: Any) -> tuple[str, Mapping[str, Any]]:
    """Return a provider's name and its configuration, of the three ways to write one."""
    if not isinstance(provider, Mapping):
        return str(provider), {}
    if "id" in provider:
        return str(provider["id"]), as_mapping(provider.get("config"), "config of a provider")
    if len(provider) == 1:
        ((name, inner),) = provider.items()
        return str(name), as_mapping(as_mapping(inner, str(name)).get("config"), "config of a provider")
    return "", {}


def specification(name: str, config: Mapping[str, Any]) -> str | None:
    """Return the model specification of a provider such as ``openai:chat:gpt-5-mini``, `None` where there is none."""
    vendor, _, rest = name.partition(":")
    kind, _, after = rest.partition(":")
    model = after if kind in _KINDS and after else rest
    if not model or "{{" in name:
        return None
    if vendor == "huggingface":
        return f"hf:{model}" if kind in ("text-generation", "chat") else None
    if vendor not in _SERVERS or kind in ("embedding", "embeddings", "image", "realtime", "assistant", "moderation"):
        return None
    base = config.get("apiBaseUrl") or (f"https://{config['apiHost']}/v1" if config.get("apiHost") else None)
    if base is None:
        return f"openai:{model}@{_SERVERS[vendor]}"
    if "{{" in str(base):
        return None
    key = config.get("apiKeyEnvar")
    return f"openai:{model}@{base}{f'?key_env={key}' if key else ''}"
