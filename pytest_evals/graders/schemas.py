"""JSON Schemas as graders use them: read and checked as a whole where they are written, so that no check of them is left out unsaid.

What a schema asks for is looked through once: every ``$ref`` leads somewhere, every ``format`` has a checker, every keyword is one
of its draft. A misspelled one is refused. What the standard leaves to others, as the formats of OpenAPI, is kept in
`JsonSchema.unchecked`.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from pytest_evals.errors import SuiteError
from pytest_evals.graders.formats import check_available, checker_of, is_known, meant_format
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from referencing import Registry, Resource, Specification

NOWHERE = "schema:"
"""The base of references of a schema that is not in a folder: they stay inside it."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose schemas are about the same value as theirs."""


class JsonSchema:
    """A schema that was checked as a whole.

    Args:
        contents: The schema.
        base: URI that its references are relative to.
        folder: Where a file beside it may be read, `None` where none may.

    Attributes:
        contents: The schema.
        base: See above.
        folder: See above.
        unchecked: What the schema says and nothing checks, for a reader.

    Raises `SuiteError` for an unknown draft, a schema that is not valid, a reference that leads nowhere or in a circle, a misspelled
    format or keyword, and a format that needs a package which is not installed.
    """

    def __init__(self, contents: Mapping[str, Any] | bool, base: str, folder: Path | None) -> None:
        import referencing

        self.contents = contents
        self.base = base
        self.folder = folder
        self._read: dict[str, Resource[Any]] = {}
        draft = draft_of(contents)
        check_valid(draft, contents)
        # A schema that names its draft would be checked by jsonschema's own class of that draft, and not by the one below.
        bare = (
            {name: part for name, part in contents.items() if name != "$schema"}
            if isinstance(contents, Mapping)
            else contents
        )
        root = _resource(bare, draft)
        identifier = root.id()
        uri = urljoin(base, identifier) if identifier else base
        self._beside = urljoin(uri, ".") if identifier and urlsplit(identifier).scheme else None
        registry: Registry[Any] = referencing.Registry(retrieve=self._retrieve).with_resource(uri, root).crawl()  # type: ignore[call-arg]  # an attrs class, whose types mypy does not see through
        self.unchecked = tuple(dict.fromkeys(_Survey().notes(root, registry.resolver(base_uri=uri), draft)))
        others = [each.FORMAT_CHECKER.checkers for each in drafts().values()]
        # With a reference in front, those of the schema are relative to its file.
        self._validator = _exact(draft)(
            {"$ref": uri}, registry=registry, format_checker=checker_of(draft.FORMAT_CHECKER.checkers, others)
        )

    @property
    def has_patterns(self) -> bool:
        """Tell whether it may hold regular expressions: it names some, or refers to another file."""
        written = json.dumps(self.contents)
        return '"pattern' in written or bool(self._read)

    def mistake(self, value: object) -> tuple[str, str] | None:
        """Return where a value is not as the schema wants it, and how; `None` for a value that is valid.

        Raises `SuiteError` where that cannot be found out, as for a value nested too deeply for a schema that refers to itself.
        """
        import jsonschema

        try:
            found = jsonschema.exceptions.best_match(self._validator.iter_errors(value))
        except (RecursionError, ArithmeticError, TypeError) as error:
            raise SuiteError(
                f"json_schema: whether the value is valid cannot be found out, because jsonschema gave up: "
                f"{type(error).__name__}: {one_line(str(error), 80)}"
            ) from None
        return None if found is None else (found.json_path, one_line(found.message))

    def _retrieve(self, uri: str) -> Resource[Any]:
        """Read a file that the schema refers to, once. Raises `SuiteError` where it holds no schema."""
        from jsonschema_specifications import REGISTRY
        from referencing.exceptions import NoSuchResource

        if uri in REGISTRY:
            known: Resource[Any] = REGISTRY[uri]
            return known
        path = self._path(uri)
        if path is None:
            raise NoSuchResource(ref=uri)  # type: ignore[call-arg]  # an attrs class, whose types mypy does not see through
        if uri not in self._read:
            contents = read_schema(path)
            draft = draft_of(contents, draft_of(self.contents))
            check_valid(draft, contents, f" ({path.name})")
            self._read[uri] = _resource(contents, draft)
        return self._read[uri]

    def _path(self, uri: str) -> Path | None:
        """Return the file that a URI names: one beside the schema, also by the URI that the schema gives itself."""
        parts = urlsplit(uri)
        if self.folder is None:
            return None
        if self._beside and uri.startswith(self._beside):
            return self.folder / unquote(uri.removeprefix(self._beside))
        if not parts.scheme:
            return self.folder / unquote(uri)
        return Path(url2pathname(parts.path)) if parts.scheme == "file" and not parts.netloc else None


@functools.cache
def _exact(draft: Any) -> Any:
    """Return the validator of a draft by which 0.07 is a multiple of 0.01: of the numbers as they are written."""
    import jsonschema

    names = [name for name in ("multipleOf", "divisibleBy") if name in draft.VALIDATORS]
    own = {name: functools.partial(_multiple_of, draft.VALIDATORS[name]) for name in names}
    return jsonschema.validators.extend(draft, own)  # type: ignore[no-untyped-call]  # its types are incomplete


def _multiple_of(inexact: Any, validator: Any, divisor: Any, value: Any, schema: Any) -> Iterator[Any]:
    import jsonschema

    # Others are whole, or too large for a float.
    if not any(isinstance(each, float) for each in (value, divisor)) or type(value) not in (int, float):
        yield from inexact(validator, divisor, value, schema)
        return
    exact, step = (Fraction(repr(each)) for each in (value, divisor))
    if exact % step:
        yield jsonschema.ValidationError(f"{value!r} is not a multiple of {divisor}")


def _resource(contents: Mapping[str, Any] | bool, draft: Any) -> Resource[Any]:
    import referencing
    from referencing.jsonschema import specification_with

    specification: Specification[Any] = specification_with(str(draft.META_SCHEMA["$schema"]))
    return referencing.Resource.from_contents(contents, default_specification=specification)


# -- Reads schemas, and finds out by which draft they go.


def load_schema(schema: object, base: Path) -> JsonSchema:
    """Return the schema, read from a file when it is a path (relative to ``base``); its references are relative to its file, of a
    schema that is written out to ``base``.

    Raises `SuiteError` when it cannot be read, and as `JsonSchema` does.
    """
    if isinstance(schema, (str, Path)):
        path = (base / schema).absolute()
        return JsonSchema(read_schema(path), path.as_uri(), path.parent)
    check_kind(schema)
    assert isinstance(schema, (Mapping, bool))  # noqa: S101 - what the line above says
    folder = base.absolute()
    return JsonSchema(schema, f"{folder.as_uri()}/", folder)


def row_schema(schema: object) -> JsonSchema:
    """Return the schema that a row of a dataset brings. It refers to itself alone: what comes with data reads no files.

    Raises `SuiteError` for anything but an object or a bool, and as `JsonSchema` does.
    """
    if not isinstance(schema, (Mapping, bool)):
        raise SuiteError(f"json_schema: a row's schema is an object, and not {type(schema).__name__}")
    return JsonSchema(schema, NOWHERE, None)


def check_kind(schema: object) -> None:
    """Raise `SuiteError` for what can be no schema."""
    if not isinstance(schema, (Mapping, bool)):
        raise SuiteError(f"json_schema takes a schema or the path of one, not {type(schema).__name__}")


def read_schema(path: Path) -> Mapping[str, Any] | bool:
    """Return the schema in a file. Raises `SuiteError` with its path when it cannot be read."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SuiteError(f"json_schema: {path} cannot be read as JSON: {error}") from error
    if not isinstance(contents, (Mapping, bool)):
        raise SuiteError(f"json_schema: {path} holds {type(contents).__name__}, and no schema")
    return contents


@functools.lru_cache(maxsize=1)
def drafts() -> dict[str, Any]:
    """Return jsonschema's validators by the names of their drafts, the newest first."""
    import jsonschema

    return {
        "2020-12": jsonschema.Draft202012Validator,
        "2019-09": jsonschema.Draft201909Validator,
        "7": jsonschema.Draft7Validator,
        "6": jsonschema.Draft6Validator,
        "4": jsonschema.Draft4Validator,
        "3": jsonschema.Draft3Validator,
    }


def draft_of(schema: Mapping[str, Any] | bool, default: Any = None) -> Any:
    """Return the validator of a schema's draft: ``default``, or that of 2020-12, where it names none.

    Raises `SuiteError` for an unknown one.
    """
    import jsonschema

    named = schema.get("$schema") if isinstance(schema, Mapping) else None
    if named is None:
        return default or drafts()["2020-12"]
    if not isinstance(named, str):
        raise SuiteError(f"json_schema: $schema is the URI of a draft, and not {one_line(repr(named), 80)}")
    found = jsonschema.validators.validator_for({"$schema": named}, default=None)  # type: ignore[arg-type]  # the types lack what the documentation says of None
    if found is None:
        known = [str(each.META_SCHEMA.get("$schema")) for each in drafts().values()]
        raise SuiteError(f"json_schema: the draft {named!r} is unknown; $schema is one of {', '.join(known)}")
    return found


def check_valid(validator: Any, schema: object, what: str = "") -> None:
    """Raise `SuiteError` unless a schema is a valid one of the draft of ``validator``."""
    import jsonschema

    # Other formats than that of patterns depend on what is installed.
    formats = jsonschema.FormatChecker(formats=("regex",))
    try:
        validator.check_schema(schema, format_checker=formats)
    except (AttributeError, TypeError, RecursionError) as error:
        raise SuiteError(f"json_schema: not a JSON Schema{what}: {error}") from error
    except jsonschema.SchemaError as error:
        hint = "; patterns are regular expressions as Python knows them" if error.validator == "format" else ""
        raise SuiteError(
            f"json_schema: not a valid JSON Schema{what} at {error.json_path}: {one_line(error.message)}{hint}"
        ) from error


# -- Looks through a schema.


class _Survey:
    """Goes through a schema and all that it refers to, once."""

    def __init__(self) -> None:
        self._same_value: dict[int, list[int]] = {}
        """For each schema, by its identity, those that are about the same value."""
        self._references: dict[int, str] = {}

    def notes(self, root: Resource[Any], resolver: Any, draft: Any) -> Iterator[str]:
        """Yield what the schema says and nothing checks. Raises `SuiteError` as `JsonSchema` does."""
        waiting = [(root, resolver, draft)]
        while waiting:
            resource, resolver, draft = waiting.pop()
            schema = resource.contents
            if not isinstance(schema, Mapping) or id(schema) in self._same_value:
                continue
            draft = draft_of(schema, draft)
            self._same_value[id(schema)] = [id(part) for part in _parts(schema)]
            for reference in _references_of(schema):
                found = _resolved(reference, resolver)
                check_valid(draft_of(found.contents, draft), found.contents, f" (to which {reference!r} leads)")
                self._references[id(schema)] = reference
                self._same_value[id(schema)].append(id(found.contents))
                waiting.append((_resource(found.contents, draft), found.resolver, draft))
            if "$ref" in schema and "dependentRequired" not in draft.VALIDATORS:
                yield from _beside_reference(schema, draft)
            else:
                yield from _keyword_notes(schema, draft)
                yield from _format_notes(schema, draft)
            for part in resource.subresources():
                waiting.append((part, resolver.in_subresource(part), draft))  # noqa: PERF401 - as above
        self._check_circles()

    def _check_circles(self) -> None:
        """Raise `SuiteError` for a schema that refers to itself about the same value: checking would never end."""
        done: set[int] = set()
        for start in self._same_value:
            path: dict[int, Iterator[int]] = {start: iter(self._same_value[start])}
            while path:
                schema = next(reversed(path))
                following = next(path[schema], None)
                if following is None:
                    done.add(schema)
                    del path[schema]
                elif following in path:
                    reference = next(self._references[each] for each in reversed(path) if each in self._references)
                    raise SuiteError(
                        f"json_schema: the $ref {reference!r} leads in a circle, about one and the same value"
                    )
                elif following in self._same_value and following not in done:
                    path[following] = iter(self._same_value[following])


def _parts(schema: Mapping[str, Any]) -> Iterator[object]:
    """Yield the parts of a schema that are about the same value."""
    for keyword in _IN_PLACE:
        part = schema.get(keyword)
        yield from part if isinstance(part, list) else [part]


def _references_of(schema: Mapping[str, Any]) -> list[str]:
    found = [schema[name] for name in _REFERENCES if name in schema]
    for reference in found:
        if not isinstance(reference, str):
            raise SuiteError(f"json_schema: a $ref is the URI of a schema, and not {one_line(repr(reference), 80)}")
    return found


def _resolved(reference: str, resolver: Any) -> Any:
    """Return what a reference leads to. Raises `SuiteError` where that is not a schema, or nothing."""
    from referencing import exceptions

    try:
        found = resolver.lookup(reference)
    except exceptions.Unresolvable as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SuiteError):
            cause = cause.__cause__
        what = (
            f": {cause}"
            if cause
            else f" ({error.ref}); it is looked for in the schema and beside its file, never in the network"
        )
        raise SuiteError(f"json_schema: the $ref {reference!r} leads nowhere{what}") from error
    if not isinstance(found.contents, (Mapping, bool)):
        raise SuiteError(
            f"json_schema: the $ref {reference!r} leads to {type(found.contents).__name__}, and to no schema"
        )
    return found


def _beside_reference(schema: Mapping[str, Any], draft: Any) -> Iterator[str]:
    """Find what a draft ignores because it is beside a ``$ref``."""
    ignored = sorted(set(draft.VALIDATORS) & set(schema) - {"$ref"})
    if ignored:
        yield f"{', '.join(map(repr, ignored))} beside $ref, which this draft ignores"


def _keyword_notes(schema: Mapping[str, Any], draft: Any) -> Iterator[str]:
    """Find keywords of other drafts. Raises `SuiteError` for one that is a misspelling of one of this draft."""
    known = _keywords(draft)
    for keyword in schema:
        if keyword in known:
            continue
        if any(keyword in _keywords(other) for other in drafts().values()):
            yield f"the keyword {keyword!r}, which is none of this draft"
            continue
        same = [each for each in known if _folded(each) == _folded(keyword)]
        meant = same or difflib.get_close_matches(keyword, sorted(known), n=1, cutoff=0.85)
        if meant:
            raise SuiteError(
                f"json_schema: unknown keyword {keyword!r}, which would check nothing; did you mean {meant[0]!r}?"
            )


def _keywords(draft: Any) -> frozenset[str]:
    """Return the keywords of a draft that check something, those included that belong to others."""
    names = set(draft.VALIDATORS)
    names |= {"then", "else"} if "if" in names else set()
    names |= {"minContains", "maxContains"} if "dependentRequired" in names else set()
    names |= {"exclusiveMinimum", "exclusiveMaximum"} if "const" not in names else set()
    return frozenset(names | ({"required"} if "extends" in names else set()))


def _folded(keyword: str) -> str:
    return re.sub(r"[\s_-]", "", keyword).casefold()


def _format_notes(schema: Mapping[str, Any], draft: Any) -> Iterator[str]:
    """Find formats without a checker. Raises `SuiteError` where one needs a package, or is misspelled."""
    named = schema.get("format")
    if not isinstance(named, str):
        return
    if is_known(named):
        check_available(named)
    elif named not in draft.FORMAT_CHECKER.checkers:  # a checker that was registered with jsonschema
        meant = meant_format(named)
        if meant is not None:
            raise SuiteError(f"json_schema: JSON Schema knows no format {named!r}; did you mean {meant!r}?")
        yield f"the format {named!r}, which is none of JSON Schema's"
