"""What the formats of JSON Schema allow: the checkers of jsonschema, with what they let through ruled out.

jsonschema brings a checker for each format, where the package that it needs is installed. Some are lenient: any text with an
``@`` is an e-mail address to it, and a line break may follow a date. What the test suite of JSON Schema says of such texts holds
here.
"""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from pytest_evals.errors import SuiteError

EXTRA = "formats"
Check = Callable[[str], bool]

_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "color": ("webcolors",),
    "date": (),
    "date-time": ("rfc3339_validator",),
    "duration": (),
    "email": ("email_validator", "fqdn", "idna"),
    "hostname": ("fqdn", "idna"),
    "idn-email": ("email_validator", "idna"),
    "idn-hostname": ("idna",),
    "ipv4": (),
    "ipv6": (),
    "iri": ("rfc3986_validator",),
    "iri-reference": ("rfc3986_validator",),
    "json-pointer": ("jsonpointer",),
    "regex": (),
    "relative-json-pointer": (),
    "time": ("rfc3339_validator",),
    "uri": ("rfc3986_validator",),
    "uri-reference": ("rfc3986_validator",),
    "uri-template": ("uri_template",),
    "uuid": (),
}
"""The formats of all drafts that can be checked, and the packages that a check needs beside jsonschema."""
_OLD_NAMES = {"ip-address": "ipv4", "host-name": "hostname"}
"""Names of draft 3."""
_OTHER_NAMES = {"url": "uri", "ip": "ipv4", "guid": "uuid", "timestamp": "date-time", "mail": "email"}
"""Names that people write for a format which has another one."""
_FOREIGN = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double", "decimal", "number"),
    *("byte", "binary", "password", "char", "html", "markdown", "media-range", "date-time-local", "time-local"),
    *("path", "file-path", "directory-path", "json-string", "base64url", "any-url", "http-url", "multi-host-uri", "name-email"),
    *("uuid1", "uuid3", "uuid4", "uuid5", "uuid6", "uuid7", "uuid8", "ipvanyaddress", "ipvanyinterface", "ipvanynetwork"),
    *("ipv4network", "ipv6network", "ipv4interface", "ipv6interface", "phone", "style", "utc-millisec"),
)  # fmt: skip
"""What OpenAPI and pydantic write, and what no checker is known for: annotations, and no mistakes."""


def is_known(name: str) -> bool:
    """Tell whether JSON Schema knows the format, and it can be checked."""
    return name in _PACKAGES or name in _OLD_NAMES


def check_available(name: str) -> None:
    """Raise `SuiteError` with the command that brings what a known format needs, unless it is installed."""
    needed = _PACKAGES[_OLD_NAMES.get(name, name)]
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise SuiteError(
            f"json_schema: the schema has the format {name!r}, and checking it needs {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed: pip install 'pytest-evals-hf[{EXTRA}]'"
        )


def meant_format(name: str) -> str | None:
    """Return the known format that an unknown one is a misspelling of, `None` where it may be a format of its own."""
    plain = _plain(name)
    if plain in {_plain(foreign) for foreign in _FOREIGN}:
        return None
    spelled = {_plain(known): known for known in (*_OLD_NAMES, *_PACKAGES)}
    found = spelled.get(plain) or _OTHER_NAMES.get(plain)
    close = difflib.get_close_matches(plain, spelled, n=1, cutoff=0.8)
    return found or (spelled[close[0]] if close else None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def checker_of(own: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> Any:
    """Return a `jsonschema.FormatChecker` for all formats that can be checked.

    ``own``: the checkers of the schema's draft, by format; ``others``: those of other drafts, for formats that this one does not
    know, as ``uuid`` in draft 7.
    """
    import jsonschema

    found: dict[str, Any] = {}
    for checkers in (own, *others):
        found = {**checkers, **found}
    checker = jsonschema.FormatChecker(formats=())
    checker.checkers = {name: (_as_check(name, *entry), ()) for name, entry in found.items()}
    for name, check in _OWN.items():
        checker.checkers[name] = (_on_text(check), ())
    return checker


def _as_check(name: str, function: Callable[[object], bool], raises: Any) -> Callable[[object], bool]:
    """Return a checker of jsonschema with the further condition that texts of the format meet."""
    condition = _CONDITIONS.get(_OLD_NAMES.get(name, name))
    failures: tuple[type[Exception], ...] = raises if isinstance(raises, tuple) else (raises,)

    def check(value: object) -> bool:
        if isinstance(value, str) and condition is not None and not condition(value):
            return False
        try:
            return bool(function(_without_leap_second(value) if name in ("date-time", "time") else value))
        except failures:
            return False

    return check


def _on_text(check: Check) -> Callable[[object], bool]:
    """Return a checker that accepts everything that is not a text."""
    return lambda value: not isinstance(value, str) or check(value)


# -- Conditions beside jsonschema's checkers.

_PLAIN_TEXT = re.compile(r"[\x21-\x7e]*")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DURATION_TIME = r"T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S)"
_DURATION = re.compile(
    rf"P(?:\d+W|(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)(?:{_DURATION_TIME})?|{_DURATION_TIME})", re.ASCII
)
"""RFC 3339, appendix A, which JSON Schema refers to."""
_RELATIVE_POINTER = re.compile(r"(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^/~]|~[01])*)*)")
_TEMPLATE = re.compile(r"(?:[^\x00-\x20\x7f{}]|\{[^\x00-\x20\x7f{}]*\})*+")
"""Expressions are side by side, each of them closed; the package takes time that grows as the square of open braces."""
_LEAP = re.compile(r"(?P<before>.*T|)(?P<hour>\d\d):(?P<minute>\d\d):60(?P<rest>(?:\.\d+)?(?:Z|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d)))", re.ASCII | re.IGNORECASE)  # fmt: skip


_LONGEST_NAME = 255
"""Octets of a name of the domain system, and of what comes before the @ of an address, which may have fewer; libraries take their time
with longer ones.
"""


def _is_plain(text: str) -> bool:
    """Tell whether a text is made of ASCII characters that can be seen."""
    return _PLAIN_TEXT.fullmatch(text) is not None


def _without_leap_second(value: object) -> object:
    """Return a time with the second 59 for a leap second, which is in the last minute of a day in UTC."""
    found = _LEAP.fullmatch(value) if isinstance(value, str) else None
    if not found or not isinstance(value, str):
        return value
    away = int(found["hours"] or 0) * 60 + int(found["minutes"] or 0)
    minute = int(found["hour"]) * 60 + int(found["minute"]) + (away if found["sign"] == "-" else -away)
    if minute % (24 * 60) != 24 * 60 - 1:
        return value
    return f"{found['before']}{found['hour']}:{found['minute']}:59{found['rest']}"


def _is_hostname(text: str) -> bool:
    """Tell whether a text is a host name; a label in punycode must be that of an international one."""
    from fqdn import FQDN

    if (
        not text
        or len(text) > _LONGEST_NAME
        or not _is_plain(text)
        or text.endswith(".")
        or not FQDN(text, min_labels=1).is_valid
    ):
        return False
    return all(_is_a_label(label) for label in text.split(".") if label[2:4] == "--")


def _is_a_label(label: str) -> bool:
    import idna

    with suppress(idna.IDNAError, UnicodeError):
        return label.lower().startswith("xn--") and bool(idna.ulabel(label))
    return False


def _is_email(text: str, *, international: bool = False) -> bool:
    """Tell whether a text is an address, as in RFC 5321 (RFC 6531), without asking whether it exists."""
    import email_validator

    local, at, domain = text.rpartition("@")
    if not at or len(local) > _LONGEST_NAME or not _is_mail_domain(domain, international=international):
        return False
    try:
        # The library refuses names that are kept for tests. Names are looked at above.
        email_validator.validate_email(
            f"{local}@example.com",
            check_deliverability=False,
            allow_smtputf8=international,
            allow_quoted_local=True,
        )
    except email_validator.EmailNotValidError:
        return False
    return True


def _is_mail_domain(domain: str, *, international: bool) -> bool:
    if not (domain.startswith("[") and domain.endswith("]")):
        return _is_international(domain) if international else _is_hostname(domain)
    literal = domain[1:-1]
    try:
        if literal.startswith("IPv6:"):
            return bool(ipaddress.IPv6Address(literal.removeprefix("IPv6:")))
        return bool(ipaddress.IPv4Address(literal))
    except ipaddress.AddressValueError:
        return False


def _is_international(text: str) -> bool:
    import idna

    if not text or len(text) > _LONGEST_NAME or text[-1] in ".\u3002\uff0e\uff61":
        return False
    try:
        return bool(idna.encode(text))
    except (idna.IDNAError, UnicodeError):
        return False


# What RFC 3987 allows beyond ASCII: no control characters, private ones in a query alone.
_NO_IRI = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufff0-\uffff]")
_PRIVATE = re.compile(r"[\ue000-\uf8ff\U000f0000-\U0010ffff]")


def _is_iri(text: str, *, rule: str) -> bool:
    """Tell whether a text is an IRI, by what RFC 3987 maps it to (section 3.1): a URI."""
    from rfc3986_validator import validate_rfc3986

    path, _, rest = text.partition("?")
    if _NO_IRI.search(text) or _PRIVATE.search(path) or _PRIVATE.search(rest.partition("#")[2]):
        return False
    mapped = quote(text, safe="".join(map(chr, range(0x21, 0x7F))))
    return bool(validate_rfc3986(mapped, rule=rule))


_CONDITIONS: Mapping[str, Check] = {
    "date": _is_plain,
    "date-time": _is_plain,
    "ipv4": _is_plain,
    "ipv6": _is_plain,
    "time": _is_plain,
    "uri": _is_plain,
    "uri-reference": _is_plain,
    "uri-template": lambda text: _TEMPLATE.fullmatch(text) is not None,
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
}
_OWN: Mapping[str, Check] = {
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": _is_email,
    "host-name": _is_hostname,
    "hostname": _is_hostname,
    "idn-email": lambda text: _is_email(text, international=True),
    "idn-hostname": _is_international,
    "iri": lambda text: _is_iri(text, rule="URI"),
    "iri-reference": lambda text: _is_iri(text, rule="URI_reference"),
    "relative-json-pointer": lambda text: _RELATIVE_POINTER.fullmatch(text) is not None,
}
