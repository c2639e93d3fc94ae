"""What a server can do beyond what all can, found out when a request first asks for it: many pass over a field that they do
not know, and answer as if it had not been there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pytest_evals.completion import Message, text_of
from pytest_evals.engines.openai.answers import ServedAnswer
from pytest_evals.engines.openai.bodies import response_format
from pytest_evals.engines.openai.failures import BrokenAnswerError, RefusalError
from pytest_evals.engines.openai.servers import ServerPool
from pytest_evals.engines.protocol import Request
from pytest_evals.errors import UnsupportedError
from pytest_evals.generation import GenerationParams
from pytest_evals.media.parts import media_of

_TOLD: tuple[Message, ...] = ({"role": "user", "content": "Write a strange short story about anything."},)
_HOT = GenerationParams(max_new_tokens=12, temperature=2.0)
_ALONE = {"top_k": 1, "top_p": 1e-6, "min_p": 1.0}
"""Values with which one token is left to sample from."""
_WORD = "kestrel-41"
_SCHEMA = {
    "type": "object",
    "properties": {"probe": {"type": "string", "enum": [_WORD]}},
    "required": ["probe"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather_of_a_city",
        "description": "Tell the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAS0lEQVR42u3PQQkAAAgA"
    "setfWiP4FgYrsKZeS0BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEDgsqnc8OJg6Ln3AAAAAElFTkSuQmCC"
)
"""A red square of 64 by 64 pixels, which any size of patches fits."""


class Abilities:
    """Asks each question once, of whichever server has room."""

    def __init__(self, pool: ServerPool) -> None:
        self._pool = pool
        self._asked: dict[str, asyncio.Task[bool]] = {}

    async def check(self, request: Request) -> None:
        """Raise `UnsupportedError` where the server passes over a parameter of the request, or over its images."""
        params = request.params
        for name, value in (("top_k", params.top_k), ("top_p", params.top_p != 1.0), ("min_p", params.min_p)):
            if value and not params.greedy:
                await self._require(name, self._cuts(name))
        if params.json_schema is not None:
            await self._require("json_schema", self._keeps_to_schemas)
        if params.chat_template_kwargs:
            await self._require("chat_template_kwargs", self._reads_template_variables)
        if params.tools and params.tool_choice != "none":
            await self._require("tools", self._shows_tools)
        if media_of(request.messages):
            await self._require("images", self._shows_images)

    async def _require(self, name: str, probe: Callable[[], Awaitable[bool]]) -> None:
        task = self._asked.get(name)
        if task is None:
            task = self._asked[name] = asyncio.ensure_future(probe())
        try:
            obeyed = await asyncio.shield(task)
        except Exception:  # whatever went wrong is raised again; the next request then repeats the probe
            if self._asked.get(name) is task:
                del self._asked[name]
            raise
        if not obeyed:
            what = "images" if name == "images" else f"the generation parameter {name!r}"
            raise UnsupportedError(f"the server passes over {what}; ask this model without")

    async def _ask(
        self, params: GenerationParams, extra: Mapping[str, Any], retries: int | None = None
    ) -> ServedAnswer:
        most = params.max_new_tokens
        return await self._pool.ask(lambda: {**self._pool.dialect.body(_TOLD, params), **extra}, most, retries)

    def _cuts(self, name: str) -> Callable[[], Awaitable[bool]]:
        async def probe() -> bool:
            # At a temperature of 2 a dozen tokens hardly come out alike, unless one token alone is left each time.
            try:
                texts = [
                    (await self._ask(_HOT, {"seed": seed, name: _ALONE[name]})).text for seed in (1, 20_011, 300_007)
                ]
            except RefusalError:
                return False
            return len(set(texts)) == 1

        return probe

    async def _keeps_to_schemas(self) -> bool:
        try:
            answer = await self._ask(GenerationParams(max_new_tokens=64), {"response_format": response_format(_SCHEMA)})
            return bool(json.loads(answer.text) == {"probe": _WORD})
        except (RefusalError, ValueError):
            return False

    async def _reads_template_variables(self) -> bool:
        # A server that reads the field refuses a value of the wrong type.
        for wrong in (7, {"enable_thinking": "neither"}):
            try:
                await self._ask(GenerationParams(max_new_tokens=1), {"chat_template_kwargs": wrong}, retries=1)
            except RefusalError:
                return True
            except BrokenAnswerError:
                # Some fall over it, time and again, and answer without it.
                await self._ask(GenerationParams(max_new_tokens=1), {})
                return True
        return False

    async def _shows_tools(self) -> bool:
        return await self._lengthens({"tools": [_TOOL]})

    async def _shows_images(self) -> bool:
        picture = {"type": "image_url", "image_url": {"url": _PICTURE}}
        text = {"type": "text", "text": text_of(_TOLD[0])}
        return await self._lengthens({"messages": [{"role": "user", "content": [picture, text]}]})

    async def _lengthens(self, extra: Mapping[str, Any]) -> bool:
        """Tell whether fields make the prompt longer: then the model is shown what they hold."""
        try:
            shown = await self._ask(GenerationParams(max_new_tokens=1), extra)
        except RefusalError:
            return False
        without = await self._ask(GenerationParams(max_new_tokens=1), {})
        counts = shown.prompt_tokens, without.prompt_tokens
        return counts[0] is not None and counts[1] is not None and counts[0] > counts[1]
