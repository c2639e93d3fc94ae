"""What a model answered, and what went wrong when it did not."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Required, TypedDict

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.text import one_line

_set = object.__setattr__


class TextPart(TypedDict):
    """A part of a message's content that is a text."""

    type: Literal["text"]
    text: str


class ImagePart(TypedDict):
    """A part of a message's content that is an image: the path of a file, or a data URI."""

    type: Literal["image"]
    image: str


class AudioPart(TypedDict):
    """A part of a message's content that is sound: the path of a file, or a data URI."""

    type: Literal["audio"]
    audio: str


ContentPart = TextPart | ImagePart | AudioPart


class CalledFunction(TypedDict):
    """The function of a call. ``arguments`` is JSON, as OpenAI's API writes it, or the object itself."""

    name: str
    arguments: str | Mapping[str, Any]


class MessageToolCall(TypedDict, total=False):
    """A call of a tool in an assistant's message, as OpenAI's API writes it."""

    id: str | None
    type: Literal["function"]
    function: Required[CalledFunction]


class Message(TypedDict, total=False):
    """One turn of a conversation, as OpenAI's API writes it.

    ``role`` is system, developer, user, assistant or tool. ``content`` is a text, a list of parts, or `None` beside
    ``tool_calls``; `text_of` reads any of them. An assistant's message may have ``reasoning_content`` and ``tool_calls``; a
    tool's has the ``tool_call_id`` that it answers, and the tool's ``name``.
    """

    role: Required[str]
    content: Required[str | list[ContentPart] | None]
    name: str
    reasoning_content: str
    tool_calls: list[MessageToolCall]
    tool_call_id: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that a model called.

    Attributes:
        name: The function's name.
        arguments: Its arguments by name.
        id: What identifies the call in the conversation, if the model or the plugin gave an id.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None

    def to_message(self) -> MessageToolCall:
        """Return the call as it is in an assistant's message."""
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


FinishReason = Literal["stop", "length", "tool_calls", "recorded"]
FailureKind = Literal["model", "engine", "unsupported", "replay", "time_limit"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer comes from.

    ``key`` tells which model was asked what: equal keys, equal answers. ``source`` is `None` for what was computed in
    this run, else ``replay``, ``resume`` or ``cache``. ``drift`` names what a replay found changed since then: ``prompt``,
    ``parameters``.
    """

    key: str
    source: str | None = None
    drift: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer to one conversation.

    Attributes:
        text: The answer, without reasoning, tool calls and special tokens. Empty if the model's thoughts never ended.
        messages: The whole conversation; the answer is the last message.
        finish_reason: ``stop`` (an end-of-text token or stop string), ``length`` (``max_new_tokens``), ``tool_calls`` or ``recorded`` (from the
            data). For an encoder, ``length`` means that it read only a part of the text.
        model: The model as specified.
        prompt_tokens: Tokens of the prompt, without padding.
        completion_tokens: Generated tokens, with the end-of-text token and ``reasoning_tokens``.
        logprobs: The natural log-probability of each generated token, if asked for.
        samples: All completions if ``n`` is above 1, without conversations. The other attributes are those of the first.
        latency: Seconds from the start of the computation to this answer.
        queued: Seconds of waiting before that.
        fingerprint: A hash of model, versions, prompt and parameters.
        origin: Where the answer comes from: this run, or a replay, resumed run or cache.
        likelihoods: The choices' likelihoods, in their order, if choices were weighed and nothing was generated.
        reasoning: What the model thought before the answer; `None` if it did not think.
        reasoning_tokens: Tokens of these thoughts.
        tool_calls: The functions that the model called.
        raw: All generated text with its special tokens, except the one that ended it; `None` if unknown.
        tool_call_error: Why a tool call could not be parsed. The call is then in ``text``.
        scores: An encoder's numbers by label; nothing was generated.
    """

    text: str = ""
    messages: tuple[Message, ...] = ()
    finish_reason: FinishReason = "stop"
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: tuple[float, ...] | None = None
    samples: tuple[Completion, ...] = ()
    latency: float | None = None
    queued: float | None = None
    fingerprint: str | None = None
    origin: Origin | None = None
    likelihoods: tuple[Likelihood, ...] | None = None
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    raw: str | None = None
    tool_call_error: str | None = None
    scores: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        plain = self.likelihoods is None and self.scores is None
        if self.raw is None and self.reasoning is None and not self.tool_calls and plain:
            object.__setattr__(self, "raw", self.text)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        if isinstance(other, str):
            raise TypeError("a completion is not a text; compare completion.text")
        if not isinstance(other, Completion):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.text, self.finish_reason, self.model))

    def __bool__(self) -> bool:
        return True

    # Code that takes it for its text is told so; dataclasses with slots have no attributes besides their fields.
    if not TYPE_CHECKING:

        def _refuse(self, *_: object) -> NoReturn:
            __tracebackhide__ = True
            raise TypeError("a completion is not a text; use completion.text")

        __contains__ = __len__ = __iter__ = __getitem__ = __add__ = __radd__ = _refuse

        def __getattr__(self, name: str) -> NoReturn:
            __tracebackhide__ = True
            if name.startswith("__"):
                raise AttributeError(name)
            hint = (
                f"; its text has: completion.text.{name}" if hasattr(str, name) else did_you_mean(name, self.__slots__)
            )
            raise AttributeError(f"a completion has no {name!r}{hint}")

    def __repr__(self) -> str:
        # For people: pytest shows it in tracebacks and as an argument of tests.
        return f"<Completion {one_line(self.text, 200)!r} ({self.finish_reason})>"

    def changed(self, **values: Any) -> Completion:
        """Return the same answer with other ``messages``, ``model`` or ``origin``: what `dataclasses.replace` does, in a quarter of its
        time.
        """
        copied = object.__new__(Completion)
        for name, value in zip(self.__slots__, _ALL(self), strict=True):
            _set(copied, name, value)
        for name, value in values.items():
            _set(copied, name, value)
        return copied

    def fields(self) -> dict[str, Any]:
        """Return what templates and a grader's ``of=`` may name, such as ``completion.reasoning`` and ``completion.tool_calls.0.name``.

        The reasoning is an empty text if the model did not think.
        """
        return {
            "text": self.text,
            "reasoning": self.reasoning or "",
            "raw": self.text if self.raw is None else self.raw,
            "tool_calls": [asdict(call) for call in self.tool_calls],
            "tool_call_error": self.tool_call_error or "",
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "samples": [sample.fields() for sample in self.samples],
            "model": self.model,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, without conversation, model and unknown values."""
        known = zip(_ANSWER, _ANSWER_VALUES(self), strict=True)
        data = {name: value for name, value in known if value is not None and value != ()}
        if self.raw == self.text:
            del data["raw"]
        if self.logprobs is not None:
            data["logprobs"] = list(self.logprobs)
        if self.samples:
            data["samples"] = [sample.to_dict() for sample in self.samples]
        if self.tool_calls:
            data["tool_calls"] = [asdict(call) for call in self.tool_calls]
        if self.origin is not None:
            data["origin"] = {"key": self.origin.key, "source": self.origin.source, "drift": self.origin.drift}
        if self.scores is not None:
            data["scores"] = dict(self.scores)
        if self.likelihoods is not None:
            data["likelihoods"] = [asdict(likelihood) for likelihood in self.likelihoods]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Completion:
        """Make an answer of the data of `to_dict`. Unknown keys are ignored."""
        values = {name: value for name, value in data.items() if value is not None and name in _ANSWER_NAMES}
        if "logprobs" in values:
            values["logprobs"] = tuple(values["logprobs"])
        if "samples" in values:
            # Those of artifacts before completions had reasoning are texts.
            values["samples"] = tuple(
                cls(each) if isinstance(each, str) else cls.from_dict(each) for each in values["samples"]
            )
        if "tool_calls" in values:
            values["tool_calls"] = tuple(ToolCall(**each) for each in values["tool_calls"])
        if "origin" in values:
            values["origin"] = Origin(**values["origin"])
        if "likelihoods" in values:
            values["likelihoods"] = tuple(Likelihood(**each) for each in values["likelihoods"])
        return cls(**values)


_ANSWER = tuple(name for name in Completion.__slots__ if name not in ("messages", "model"))
# In one call of C each: every case has its completion copied and written down several times.
_ANSWER_NAMES = frozenset(_ANSWER)
_ANSWER_VALUES, _ALL = operator.attrgetter(*_ANSWER), operator.attrgetter(*Completion.__slots__)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model finds a text after a conversation.

    Attributes:
        text: The text.
        logprob: The natural logarithm of its probability: the sum over its tokens.
        tokens: Its number of tokens.
        bytes: Its length in UTF-8.
        greedy: Whether each token is the likeliest one, so that greedy decoding would write the text.
    """

    text: str
    logprob: float
    tokens: int
    bytes: int
    greedy: bool = False

    @property
    def per_token(self) -> float:
        """``logprob`` divided by the number of tokens."""
        return self.logprob / self.tokens

    @property
    def per_byte(self) -> float:
        """``logprob`` divided by the number of bytes, which is comparable between tokenizers."""
        return self.logprob / self.bytes

    @property
    def per_char(self) -> float:
        """``logprob`` divided by the number of characters, without a space at the beginning: lm-evaluation-harness's ``acc_norm`` compares it."""
        return self.logprob / max(len(self.text.removeprefix(" ")), 1)


def text_of(message: Message) -> str:
    """Return the text of a message: its content, or the texts of its parts, one after another; nothing where it has none."""
    content = message["content"]
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part["type"] == "text")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer. ``kind`` is ``model`` (it refused or failed on this request), ``engine`` (the measurement
    broke), ``unsupported`` (the engine cannot do what the request asks for: a parameter, or likelihoods), ``replay`` (the
    run that is replayed has no answer) or ``time_limit`` (the time of the run was over). ``parameter`` is the one that the model
    cannot honour, whatever it is asked, where that is known. ``unloadable``: the model cannot be loaded, so no request to it can be
    answered.
    """

    kind: FailureKind
    message: str
    parameter: str | None = None
    unloadable: bool = False


By = Literal["sum", "token", "byte", "char"]
MEASURES: tuple[By, ...] = ("sum", "token", "byte", "char")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The likeliest choice. ``probabilities`` are those of the choices among themselves, in their order."""

    index: int
    text: str
    probabilities: tuple[float, ...]


def check_choices(choices: object) -> tuple[str, ...]:
    """Return the choices. Raises `SuiteError` unless they are two or more different non-empty strings."""
    if not isinstance(choices, (list, tuple)) or not all(isinstance(entry, str) and entry for entry in choices):
        raise SuiteError(f"choices must be a list of non-empty strings, not {one_line(repr(choices), 160)}")
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise SuiteError(f"choices must be two or more different strings, not {one_line(repr(choices), 160)}")
    return tuple(choices)


def check_measure(by: str) -> By:
    """Return the measure. Raises `SuiteError` for an unknown one."""
    for measure in MEASURES:
        if by == measure:
            return measure
    raise SuiteError(f"choice: by must be one of {', '.join(MEASURES)}, not {by!r}")


def measured(likelihood: Likelihood, by: By) -> float:
    """Return the log-likelihood, or its mean over tokens, bytes or characters."""
    if by == "sum":
        return likelihood.logprob
    return {"token": likelihood.per_token, "byte": likelihood.per_byte, "char": likelihood.per_char}[by]


def likeliest(likelihoods: Sequence[Likelihood], by: By = "sum") -> Chosen:
    """Return the choice with the largest measure; the first one of equals."""
    values = [measured(likelihood, by) for likelihood in likelihoods]
    best = max(values)
    weights = [math.exp(value - best) for value in values]
    index = values.index(best)
    return Chosen(index, likelihoods[index].text, tuple(weight / sum(weights) for weight in weights))
