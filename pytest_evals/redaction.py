"""Secrets in what a run says of itself: its command line, its options, its addresses.

What a name gives away (``--api-key``, ``DB_PASSWORD=``), what an address holds (``https://user:password@host``), what looks like a
well-known kind of token, and the values of variables of the environment with such names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MASK = "***"

# The words of a name: api-key, apiKey, API_KEY.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = re.compile(
    r"(?:api|access|account|app|auth|client|crypt|db|deploy|encryption|license|master|private|secret|service|shared|sign|signing|ssh|"
    r"storage|subscription|user|web)?keys?"
    r"|\w*(?:token|secrets?|passwords?|passwd|passphrase|passcode|credentials?|apikeys?)|(?:secret|password|token)(?:key|id|value|s)"
    r"|\w*pwd|pass|pw|pat|auth|authorization|bearer|cookies?|dsn|jwt|cred|creds|sig|signature|sas|otp"
)
_NUMBERED = re.compile(r"tokens|pass|keys|sig")
"""These are of something else where their value is a number: ``--max-tokens 256``."""
_NAMES_A_SECRET = frozenset({"env", "envvar", "var", "variable", "variables"})
"""``key_env=OPENAI_API_KEY`` says where a secret is, not what it is."""
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?|true|false|none|auto|on|off|yes|no", re.IGNORECASE)

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|rk|pk|gsk|xai|pplx|nvapi|tvly|key)[-_](?=[\w-]{0,99}\d)[\w-]{8,}|sk-[\w-]{16,}"  # OpenAI, Anthropic, Stripe, Groq and others
    r"|gh[pousr]_\w{8,}|github_pat_\w{8,}|gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[\w-]{8,}"
    r"|hf_(?=[A-Za-z]{0,99}\d)[A-Za-z0-9]{8,}|hf_[A-Za-z]{20,}|api_org_\w{10,}|r8_\w{10,}"
    r"|(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,}"
    r"|AIza[\w-]{20,}|ya29\.[\w-]{10,}|GOCSPX-[\w-]{10,}"
    r"|xox[abeoprs]-[\w-]{8,}|xapp-[\w-]{8,}|SG\.[\w-]{8,}\.[\w-]{8,}"
    r"|npm_\w{10,}|pypi-[\w-]{10,}|do[opr]_v1_\w{10,}|dapi[0-9a-f]{16,}|lsv2_\w{8,}|shpat_\w{8,}|sq0\w{3}-[\w-]{8,}"
    r"|eyJ[\w-]{5,999}\.eyJ[\w-]{2,}(?:\.[\w-]*)?"  # a JSON web token
    r")"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Up to the last "@" of an address: a password may hold one. What follows a host's port is not a password.
_USER = re.compile(r"(://[^\s/:@?#'\"]*:)(?!\d{1,5}(?:[/?#,\s]|$))[^\s'\"]{0,999}@|(://)[^\s/:@?#'\"]{16,}@")
# name=value, "name": "value", Name: value inside of a text; a name is told by its words.
_NAMED = re.compile(r"""(?<![\w.-])-{0,2}(?P<name>[A-Za-z_][\w.-]*)["']?\s*(?:=(?!=)|:(?![:/]))\s*""")
_VALUE = re.compile(
    r"""(?P<open>["']).*?(?:(?P=open)|\Z)|(?:(?:Bearer|Basic|Token|Digest)\s+)?[^\s&,;"'})\]]+""",
    re.IGNORECASE | re.DOTALL,
)
_SCHEME = re.compile(r"\b(Bearer|Basic)\s+(?=[\w.~+/-]{0,99}\d)[\w.~+/=-]{8,}", re.IGNORECASE)
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_FLAG = re.compile(r"--[A-Za-z][\w-]*(=.*)?|-[A-Za-z]{1,4}\d{0,3}", re.DOTALL)
_NODEID = re.compile(r"[^=]*\.py(::.*)?", re.DOTALL)
# Options of pytest and of this plugin whose values are expressions, paths or names.
_NO_SECRETS = frozenset(
    {"-k", "-m", "-p", "-c", "--evals-gate", "--deselect", "--ignore", "--ignore-glob", "--rootdir"}
)
_SHORTEST = 8
"""The length of a variable's value to be looked for elsewhere: shorter ones (``1``, ``true``) occur in many words."""


def is_secret(name: str, value: object = "") -> bool:
    """Tell whether what is called ``name`` is a secret: a key, token, password, credential. A number is none where the name
    may as well be that of a count.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    # Options and keys of our own hold no secrets: evals_case_tokens is a number of tokens.
    if words and (words[0] == "evals" or words[-1] in _NAMES_A_SECRET):
        return False
    found = [word for word in words if _SECRET.fullmatch(word)]
    if found and all(_NUMBERED.fullmatch(word) for word in found):
        return not _NUMBER.fullmatch(str(value))
    return bool(found)


def masked(text: str, known: Iterable[str] = ()) -> str:
    """Return ``text`` without the secrets that can be recognized; ``known`` are values that are secrets wherever they are."""
    for value in known:
        text = text.replace(value, MASK)
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _USER.sub(lambda match: f"{match[1] or match[2]}{MASK}@", text)
    return _TOKEN.sub(MASK, _SCHEME.sub(rf"\1 {MASK}", _without_assigned(text)))


def _without_assigned(text: str) -> str:
    found, start, position = [], 0, 0
    while named := _NAMED.search(text, position):
        # What is assigned may hold an assignment itself: env=API_KEY=...
        position = named.end()
        value = _VALUE.match(text, position) if is_secret(named["name"]) else None
        if value and is_secret(named["name"], value[0].strip("\"'")):
            quote = value["open"] or ""
            found += [text[start:position], f"{quote}{MASK}{quote}"]
            start = position = value.end()
    return "".join([*found, text[start:]])


def masked_command(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a command line without secrets. The value of an option with such a name is one, also as the next argument."""
    known = secret_values(os.environ if environment is None else environment)
    found: list[str] = []
    waits = ""
    for argument in arguments:
        if waits in _NO_SECRETS:
            found.append(_without_known(argument, known))
            waits = ""
        elif waits and is_secret(waits, argument) and not _FLAG.fullmatch(argument):
            found.append(MASK)
            waits = ""
        else:
            option, equals, value = argument.partition("=")
            if (equals and option in _NO_SECRETS) or _NODEID.fullmatch(argument):
                found.append(_without_known(argument, known))
            elif equals and _OPTION.fullmatch(option) and is_secret(option, value):
                found.append(f"{option}={MASK}")
            else:
                found.append(masked(argument, known))
            waits = argument if _OPTION.fullmatch(argument) else ""
    return found


def _without_known(text: str, known: Iterable[str]) -> str:
    for value in known:
        text = text.replace(value, MASK)
    return _TOKEN.sub(MASK, text)


def masked_options(options: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return options, which are plain data, without secrets."""
    known = secret_values(os.environ if environment is None else environment)
    return {str(name): _masked_value(str(name), value, known) for name, value in options.items()}


def _masked_value(name: str, value: Any, known: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked_value(str(key), entry, known) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked_value(name, entry, known) for entry in value]
    if isinstance(value, str):
        return MASK if value and is_secret(name, value) else masked(value, known)
    return value


def masked_run(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first line of an artifact without secrets; an older version, or another program, may have left some."""
    found = dict(run)
    if isinstance(found.get("command"), list):
        found["command"] = masked_command([str(argument) for argument in found["command"]])
    if isinstance(found.get("options"), Mapping):
        found["options"] = masked_options(found["options"])
    return found


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables that have the names of secrets, the longest first. A path or a number is none."""
    found = {
        value
        for name, value in environment.items()
        if len(value) >= _SHORTEST and is_secret(name, value) and not _NUMBER.fullmatch(value) and not _is_path(value)
    }
    return sorted(found, key=len, reverse=True)


def _is_path(value: str) -> bool:
    try:
        return os.path.exists(value)  # noqa: PTH110 - a Path of any text may fail, and this says false
    except ValueError:
        return False
