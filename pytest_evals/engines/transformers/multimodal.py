"""Models that read images or audio: their processors, and prompts made of text and media.

A processor turns a conversation with its media into token ids, in which placeholders stand for each image or recording, and into
tensors. How these are put together for several conversations differs from model to model. So it is tried: what
`collated` makes of two prompts is compared with what the processor makes of both, and used only where that is the same.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch
import transformers

from pytest_evals.completion import Message
from pytest_evals.engines.transformers.chat_templates import template_of
from pytest_evals.engines.transformers.conversations import arranged
from pytest_evals.errors import EvalsError, ModelError, UnsupportedError
from pytest_evals.media.images import decoded
from pytest_evals.media.parts import content_of_part, is_media, label_of

_SANITIZE = "sanitize_control_tokens"
_MEDIA_TOKEN = re.compile(r"(?:image|video|audio|vision|speech|boi|eoi|boa|eoa)\w*token\w*_(?:id|index)\Z")
Conversation = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor of a model; ``kinds`` are the media that it takes. ``problem`` says why there is none for a model that could
    read some.
    """

    processor: Any = None
    kinds: frozenset[str] = frozenset()
    problem: str | None = None


NO_PROCESSOR = Processor()


def is_multimodal(config: Any) -> bool:
    """Tell whether the model of a configuration reads more than text, and answers with text."""
    reads = any(hasattr(config, f"{name}_config") for name in ("vision", "audio", "encoder", "thinker"))
    return type(config) in _MAPPING and reads and not config.is_encoder_decoder


_AUTO = transformers.models.auto.modeling_auto
_MAPPING = getattr(_AUTO, "MODEL_FOR_MULTIMODAL_LM_MAPPING", _AUTO.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
MULTIMODAL: Any = getattr(transformers, "AutoModelForMultimodalLM", transformers.AutoModelForImageTextToText)
"""The class that loads such models; the first versions had one for images only."""


def load_processor(source: str, **where: Any) -> Processor:
    """Return the processor of a model that reads more than text."""
    try:
        processor: Any = transformers.AutoProcessor.from_pretrained(source, **where)  # type: ignore[no-untyped-call]  # transformers annotates it not
    except Exception as error:  # noqa: BLE001 - it needs other packages, or files that are not there
        return Processor(problem=_why_not(error))
    if not isinstance(processor, transformers.ProcessorMixin):
        return Processor(problem="its folder has no configuration of a processor")
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is not None and tokenizer.pad_token is None:
        # It pads batches, where a mask hides it.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    kinds = {"image"} if getattr(processor, "image_processor", None) is not None else set()
    if any(getattr(processor, name, None) is not None for name in ("feature_extractor", "audio_processor")):
        kinds.add("audio")
    return Processor(processor, frozenset(kinds), None if kinds else "its processor reads text only")


def _why_not(error: Exception) -> str:
    text = " ".join(str(error).split())
    for package, extra in (
        ("torchvision", None),
        ("PIL", "images"),
        ("Pillow", "images"),
        ("soundfile", "audio"),
        ("librosa", "audio"),
    ):
        if package in text:
            install = (
                f"pip install 'pytest-evals-hf[{extra}]'"
                if extra
                else f"pip install {package} (the build that fits torch)"
            )
            return f"its processor needs {package}, which is not installed: {install}"
    return f"its processor cannot be loaded ({type(error).__name__}: {text[:200]})"


_READERS = ("pillow", "torchvision", "soundfile", "soxr")


def reading_versions() -> dict[str, str]:
    """Return the versions of the packages that decide what a model sees of a file."""
    found = {}
    for name in _READERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def media_tokens(config: Any) -> frozenset[int]:
    """Return the ids of tokens that mean something only beside an image or a recording."""
    found = set()
    for each in (config, config.get_text_config(decoder=True)):
        for name in {*vars(each), *getattr(each, "attribute_map", {})}:
            value = getattr(each, name, None) if _MEDIA_TOKEN.match(name) else None
            if isinstance(value, int) and not isinstance(value, bool):
                found.add(value)
    return frozenset(found)


@dataclass(slots=True)
class MediaPrompt:
    """A conversation with media: as the processor takes it, with the ``options`` of the chat template. Once it is read, its token ids,
    and what the model is given beside them, ``[1, tokens]`` or of other shapes.
    """

    conversation: Conversation
    options: Mapping[str, Any]
    ids: list[int] = field(default_factory=list)
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)


class MediaEncoder:
    """Makes prompts with media for one model."""

    def __init__(self, processor: Processor) -> None:
        self.kinds = processor.kinds
        self._processor = processor.processor
        takes = inspect.signature(self._processor.apply_chat_template).parameters
        # Whether the processor can encode control tokens in a message as text; the first prompt shows it.
        self._sanitizes: bool | None = None if _SANITIZE in takes else False
        self._takes_apart = "processor_kwargs" in takes
        self._collates: bool | None = None

    def prompt(self, tokenizer: Any, messages: Sequence[Message], variables: Mapping[str, Any]) -> MediaPrompt:
        """Return a conversation, arranged as the tokenizer's chat template takes it, for the processor; nothing is read yet.

        Raises `UnsupportedError` without a chat template, and `ModelError` where it drops a message.
        """
        if tokenizer.chat_template is None:
            raise UnsupportedError(
                "a prompt without a chat template has no place for images and audio; leave ?template=none out"
            )
        template = template_of(tokenizer, tools=bool(variables.get("tools")))
        turns = arranged(tokenizer, template, messages, variables)
        continued = turns[-1]["role"] == "assistant"
        options = {
            "chat_template": template,
            "add_generation_prompt": not continued,
            "continue_final_message": continued,
            **variables,
        }
        return MediaPrompt([dict(turn) for turn in turns], options)

    def read(self, prompt: MediaPrompt) -> None:
        """Read the media of a prompt and fill in its token ids and tensors. Raises `ModelError` where that cannot be done."""
        inputs = self._process([prompt])
        prompt.ids = inputs["input_ids"][0].tolist()
        prompt.inputs = {name: value for name, value in inputs.items() if name != "input_ids"}

    def _process(self, prompts: Sequence[MediaPrompt]) -> dict[str, torch.Tensor]:
        conversations = [_opened(prompt.conversation, self._rate) for prompt in prompts]
        options = dict(prompts[0].options)
        if len(prompts) > 1:
            padding = {"padding": True, "padding_side": "left"}
            options |= {"processor_kwargs": padding} if self._takes_apart else padding
        if self._sanitizes is not False:
            try:
                found = self._apply(conversations, {**options, _SANITIZE: True})
            except Exception:  # processors raise anything here; many cannot encode control tokens in a message as text
                if self._sanitizes:
                    raise
                self._refuse_control_tokens(prompts)
                found = self._apply(conversations, options)
                self._sanitizes = False
            else:
                self._sanitizes = True
        else:
            self._refuse_control_tokens(prompts)
            found = self._apply(conversations, options)
        return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}

    def _apply(self, conversations: Sequence[Conversation], options: Mapping[str, Any]) -> Any:
        copies = [[dict(message) for message in conversation] for conversation in conversations]
        try:
            return self._processor.apply_chat_template(
                copies, tokenize=True, return_dict=True, return_tensors="pt", **options
            )
        except Exception as error:  # what a template and a processor do with a conversation is theirs
            raise ModelError(
                f"the model's processor cannot read this conversation: {type(error).__name__}: {error}"
            ) from error

    def _refuse_control_tokens(self, prompts: Iterable[MediaPrompt]) -> None:
        """Raise `ModelError` for a text that holds a control token: this processor would take it for one."""
        tokenizer = getattr(self._processor, "tokenizer", None)
        controls = [token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special]
        texts = [
            str(part.get("text", "")) if isinstance(part, Mapping) else ""
            for prompt in prompts
            for message in prompt.conversation
            for part in (message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}])
        ]
        found = next((token for token in controls if any(token in text for text in texts)), None)
        if found is not None:
            raise ModelError(
                f"a message holds the text {found!r}, which this model's processor would take for a control token; change it"
            )

    @property
    def _rate(self) -> int:
        """Samples of a recording a second that the model reads."""
        for name in ("feature_extractor", "audio_processor"):
            rate = getattr(getattr(self._processor, name, None), "sampling_rate", None)
            if isinstance(rate, int):
                return rate
        return 16_000

    @staticmethod
    def placed(inputs: Mapping[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
        """Return inputs on the model's device; all but whole numbers are in its precision."""
        return {
            name: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    def together(self, prompts: Sequence[MediaPrompt]) -> dict[str, torch.Tensor] | None:
        """Return the inputs of several prompts as one batch, padded on the left; `None` where they cannot be put together."""
        if len(prompts) == 1:
            return dict(padded(prompts))
        if self._collates is not False:
            made = collated(prompts)
            if made is not None and self._collates is None:
                made = self._checked(made, prompts)
            if made is not None:
                return made
        return self._by_processor(prompts)

    def _checked(self, made: dict[str, torch.Tensor], prompts: Sequence[MediaPrompt]) -> dict[str, torch.Tensor] | None:
        """Return the batch if the processor makes the same of it, and remember whether it does."""
        expected = self._by_processor(prompts)
        if expected is not None:
            self._collates = expected.keys() == made.keys() and all(
                expected[name].shape == value.shape and _equal(name, expected, made) for name, value in made.items()
            )
        return made if self._collates else None

    def _by_processor(self, prompts: Sequence[MediaPrompt]) -> dict[str, torch.Tensor] | None:
        if any(prompt.options != prompts[0].options for prompt in prompts):
            return None
        try:
            inputs = self._process(prompts)
        except ModelError:
            return None
        for ids, mask, prompt in zip(inputs["input_ids"], inputs["attention_mask"], prompts, strict=True):
            if ids[mask.bool()].tolist() != prompt.ids or not bool(mask[-1]):
                return None
        return inputs


def _equal(name: str, expected: Mapping[str, torch.Tensor], made: Mapping[str, torch.Tensor]) -> bool:
    left, right = expected[name], made[name]
    if name == "input_ids":
        # What is in the place of padding does not matter.
        mask = made["attention_mask"].bool()
        left, right = left[mask], right[mask]
    return torch.equal(left, right)


def collated(prompts: Sequence[MediaPrompt]) -> dict[str, torch.Tensor] | None:
    """Return the inputs of prompts one below the other, `None` where their shapes do not allow it."""
    made = padded(prompts)
    for name in {name for prompt in prompts for name in prompt.inputs} - made.keys():
        values = [prompt.inputs.get(name) for prompt in prompts]
        present = [value for value in values if value is not None]
        if len(present) < len(values) or len({value.shape[1:] for value in present}) > 1:
            return None
        made[name] = torch.cat(present)
    return made


def padded(prompts: Sequence[MediaPrompt]) -> dict[str, torch.Tensor]:
    """Return what has a value for each token, padded on the left with zeros; of a single prompt, all that it has."""
    alone = len(prompts) == 1
    names = (
        set(prompts[0].inputs)
        if alone
        else {name for name in prompts[0].inputs if all(_by_token(name, prompt) for prompt in prompts)}
    )
    ids = [torch.tensor([prompt.ids]) for prompt in prompts]
    made = {"input_ids": _left_padded(ids), "attention_mask": _left_padded([torch.ones_like(each) for each in ids])}
    for name in sorted(names - made.keys()):
        values = [prompt.inputs[name] for prompt in prompts]
        made[name] = values[0] if alone else _left_padded(values)
    return made


def _by_token(name: str, prompt: MediaPrompt) -> bool:
    value = prompt.inputs.get(name)
    return value is not None and tuple(value.shape) == (1, len(prompt.ids))


def _left_padded(values: Sequence[torch.Tensor]) -> torch.Tensor:
    longest = max(value.shape[1] for value in values)
    return torch.cat([torch.nn.functional.pad(value, (longest - value.shape[1], 0)) for value in values])


def extended(inputs: Mapping[str, torch.Tensor], tokens: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Return the inputs of a batch with the tokens that its rows have generated, as many each, behind their prompts."""
    shape = inputs["input_ids"].shape
    more = torch.tensor(list(tokens), dtype=torch.long).reshape(shape[0], -1)
    if not more.shape[1]:
        return dict(inputs)
    behind = {"input_ids": more, "attention_mask": torch.ones_like(more)}
    return {
        name: torch.cat([value, behind.get(name, torch.zeros_like(more)).to(value.dtype)], dim=1)
        if value.shape == shape
        else value
        for name, value in inputs.items()
    }


# -- A conversation as the processor takes it.


def _opened(conversation: Iterable[Mapping[str, Any]], rate: int) -> Conversation:
    """Return a conversation with the pictures and the samples themselves in the place of files."""
    return [
        {**message, "content": [_medium(part, rate) if is_media(part) else part for part in message["content"]]}
        if isinstance(message["content"], list)
        else dict(message)
        for message in conversation
    ]


def _medium(part: Mapping[str, Any], rate: int) -> dict[str, Any]:
    try:
        content = content_of_part(part)
        if part["type"] == "image":
            return {"type": "image", "image": decoded(content, label_of(part))}
        return {"type": "audio", "audio": _samples(content, rate, label_of(part))}
    except EvalsError as error:
        raise ModelError(str(error)) from error


def _samples(content: bytes, rate: int, where: str) -> Any:
    """Return a recording as ``[samples]`` of floats, one channel, at this rate: as transformers' ``load_audio`` does."""
    import soundfile

    samples, own = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if own == rate:
        return mono
    try:
        import soxr
    except ImportError as error:
        raise UnsupportedError(
            f"{where} has {own} samples a second and the model reads {rate}: pip install 'pytest-evals-hf[audio]'"
        ) from error
    return soxr.resample(mono, own, rate, quality="HQ")
