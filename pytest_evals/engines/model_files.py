"""What the files of a transformers model tell before its weights are loaded: whether it can be shown tools, whether it reads
images or audio, and how many tokens an image takes.

A file that is not on this disk, or cannot be read, tells nothing.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.engines.embedded import EMBEDDED, EMBEDDED_REPOSITORY, embedded_weights
from pytest_evals.engines.model_cache import conversion_of

if TYPE_CHECKING:
    from pytest_evals.engines.spec import ModelSpec

_TEMPLATES = ("chat_template.jinja", "additional_chat_templates/tool_use.jinja")
_CONFIGURATIONS = ("chat_template.json", "processor_config.json", "tokenizer_config.json")
_ELSEWHERE = frozenset({"tokenizer", "adapter", "subfolder"})
"""Options by which a model takes files from elsewhere."""
_TOOLS = re.compile(r"\btools\b")
_SENSES = re.compile(r"vision|image|visual|video|audio|speech|encoder_config|thinker", re.IGNORECASE)
"""What appears in the configuration of a model that reads more than text."""
_VIDEO = re.compile(
    r"ernie4_5_vl_moe|exaone4_5|gemma4\w*|glm4\dv|glm4v\w*|internvl|llava_next_video|llava_onevision|molmo2|perception_lm|"
    r"qwen\d(_\d+)?(_omni|_vl)\w*|smolvlm|video_llama_3|video_llava"
)
"""Types of models whose processor has a part for videos, which needs torchvision also where there is none."""


class ModelFiles:
    """The files of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._known = not _ELSEWHERE & spec.options.keys()

    def without_tools(self) -> str | None:
        """Say why the model cannot be shown tools, to follow its name; `None` where it can, or where only loading tells."""
        wish = self._spec.options.get("template")
        if wish == "none":
            return "has no chat template"
        if wish is not None:
            # Else it may be the name of one of several templates.
            templates = [_text(Path(wish))] if Path(wish).is_file() else []
        else:
            templates = list(self._templates()) if self._known else []
        if not templates or any(template is None or _TOOLS.search(template) for template in templates):
            return None
        return "has a chat template that shows no tools"

    def without_media(self, kind: str) -> str | None:
        """Say why the model cannot read media of a ``kind`` (image, audio), to follow its name; `None` where it can, or where only
        loading tells.
        """
        config = self._json("config.json")
        if not config or "auto_map" in config:
            return None
        if not _SENSES.search(json.dumps(config)):
            return "reads texts only; give it texts, or ask a model that reads more"
        if _VIDEO.fullmatch(str(config.get("model_type"))) and importlib.util.find_spec("torchvision") is None:
            return (
                f"cannot read the {kind}: its processor needs torchvision, which is not installed: pip install torchvision (the build "
                "that fits torch)"
            )
        return None

    def image_tokens(self, image: Mapping[str, Any]) -> int | None:
        """Return how many tokens an image of this ``width`` and ``height`` comes to, `None` where the processor alone knows."""
        config = self._json("config.json")
        processor = {**self._json("preprocessor_config.json"), **self._json("processor_config.json")}
        own = processor.get("image_processor")
        settings = {**processor, **own} if isinstance(own, Mapping) else processor
        kind = str(config.get("model_type"))
        try:
            if re.fullmatch(r"qwen(2|2_5|3)_vl(_moe)?", kind):
                return _patched(image["width"], image["height"], settings)
            if kind in ("idefics3", "smolvlm"):
                return None if settings.get("do_image_splitting", True) else int(processor["image_seq_len"])
            fixed = config.get("mm_tokens_per_image", processor.get("image_seq_length"))
            return None if fixed is None or settings.get("do_pan_and_scan") else int(fixed)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return None

    def _templates(self) -> Iterator[str | None]:
        for name in _TEMPLATES:
            path = self._path(name)
            if path is not None:
                yield _text(path)
        for name in _CONFIGURATIONS:
            found = self._json(name).get("chat_template")
            if isinstance(found, str):
                yield found
            elif isinstance(found, list):
                yield from (str(each.get("template", "")) for each in found if isinstance(each, dict))
            elif isinstance(found, dict):
                yield from map(str, found.values())

    def _json(self, name: str) -> dict[str, Any]:
        path = self._path(name) if self._known else None
        return {} if path is None else _object(path, path.stat().st_mtime_ns)

    def _path(self, name: str) -> Path | None:
        """Return a file of the model that is on this disk: in its folder, or in the cache of the hub."""
        folder, repository = Path(self._spec.name), self._spec.name
        if self._spec.name == EMBEDDED:
            gguf = embedded_weights()
            folder, repository = (Path(EMBEDDED), EMBEDDED_REPOSITORY) if gguf is None else (conversion_of(gguf), "")
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        return _cached(repository, name, self._spec.revision) if repository else None


@functools.lru_cache(maxsize=64)
def _object(path: Path, changed: int) -> dict[str, Any]:
    del changed  # a file that was written anew is read anew
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    try:
        import huggingface_hub as hub

        found = hub.try_to_load_from_cache(repository, name, revision=revision)
    except (ImportError, ValueError, OSError):
        return None
    return Path(found) if isinstance(found, str) else None


def _patched(width: int, height: int, settings: Mapping[str, Any]) -> int:
    """Return the tokens of an image whose size is brought to whole patches within bounds, as the processors of Qwen's models do."""
    size = settings.get("size") or {}
    least = settings.get("min_pixels") or size["shortest_edge"]
    most = settings.get("max_pixels") or size["longest_edge"]
    side = int(settings["patch_size"]) * int(settings["merge_size"])
    wide, high = round(width / side), round(height / side)
    scale = math.sqrt(width * height)
    if wide * high * side * side > most:
        ratio = math.sqrt(most) / scale / side
        wide, high = max(1, math.floor(width * ratio)), max(1, math.floor(height * ratio))
    elif wide * high * side * side < least:
        ratio = math.sqrt(least) / scale / side
        wide, high = math.ceil(width * ratio), math.ceil(height * ratio)
    return wide * high
