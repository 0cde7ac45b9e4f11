"""POST /v1/chat/completions: words as they come, pictures as OpenRouter sends them; it knows no routes."""

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from illume.generate.abilities import Ability
from illume.serve import answers, conversation
from illume.serve.answers import Whole
from illume.serve.errors import json_response
from illume.serve.job import Ended, Event, Job, Shown, Words
from illume.serve.pictures import Format
from illume.serve.schema_chat import ChatCompletion
from illume.serve.service import Service
from illume.serve.sse import DONE, spelt, while_there

_FINISHED = {"end": "stop", "length": "length"}


async def answer(service: Service, request: Request, body: ChatCompletion) -> Response:
    """The answer to a conversation."""
    service.check_model(body.model)
    service.check_n(body.n)
    turns = conversation.of_chat(body)
    conversation.check(turns, service.limits)
    service.note_words(request, "".join(part for part in turns[-1].parts if isinstance(part, str)))
    jobs = await while_there(request, _begun(service, body, turns))
    about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": service.settings.name}
    if body.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return service.stream(_chunks(service, request, jobs, about, usage), jobs)
    try:
        found = await while_there(request, answers.all_whole(jobs))
    finally:
        service.worker.give_up(jobs)
    counts = answers.counted(jobs, [one.result.usage for one in found])
    service.note(request, counts)
    choices = [_choice(number, one, jobs[number].order.format) for number, one in enumerate(found)]
    return json_response({**about, "object": "chat.completion", "choices": choices, "usage": counts.of_chat()})


async def _begun(service: Service, body: ChatCompletion, turns: Sequence[conversation.Turn]) -> list[Job]:
    whole = await conversation.with_files(turns, service.fetcher)
    orders = await service.prepare(
        service.asker.converse,
        whole,
        ability_of(body),
        body,
        body,
        body.n or 1,
        words=bool(body.stream),
        max_new_text=body.max_completion_tokens or body.max_tokens,
    )
    return await service.begin(orders)


def ability_of(body: ChatCompletion) -> Ability:
    """What the model is asked to do."""
    wanted = set(body.modalities or ("text",))
    return "ask" if wanted == {"text"} else "draw" if wanted == {"image"} else "say"


def _choice(number: int, answer: Whole, format: Format) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.pictures:
        message["images"] = [_image(format, data, i) for i, data in enumerate(answer.pictures)]
    return {"index": number, "message": message, "finish_reason": _FINISHED[answer.result.finished], "logprobs": None}


def _image(format: Format, data: bytes, number: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": format.url(data)}, "index": number}


async def _chunks(
    service: Service, request: Request, jobs: Sequence[Job], about: dict[str, Any], with_usage: bool
) -> AsyncGenerator[bytes, None]:
    about = {**about, "object": "chat.completion.chunk"} | ({"usage": None} if with_usage else {})
    usages = []
    for number in range(len(jobs)):
        yield spelt({**about, "choices": [_delta(number, {"role": "assistant", "content": ""})]})
    async with aclosing(answers.merged(jobs)) as events:
        async for number, event in events:
            if isinstance(event, Ended):
                usages.append(event.result.usage)
                yield spelt({**about, "choices": [_delta(number, {}, _FINISHED[event.result.finished])]})
            elif (delta := _delta_of(event, jobs[number].order.format)) is not None:
                yield spelt({**about, "choices": [_delta(number, delta)]})
    counts = answers.counted(jobs, usages)
    service.note(request, counts)
    if with_usage:
        yield spelt({**about, "choices": [], "usage": counts.of_chat()})
    yield DONE


def _delta_of(event: Event, format: Format) -> dict[str, Any] | None:
    if isinstance(event, Words):
        return {"content": event.text}
    if isinstance(event, Shown):
        return {"images": [_image(format, event.data, event.number)]}
    return None


def _delta(number: int, delta: dict[str, Any], finished: str | None = None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "finish_reason": finished, "logprobs": None}
