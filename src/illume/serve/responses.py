"""POST /v1/responses: messages and drawn pictures as the items of one response, whole or event by event."""

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from illume.generate.abilities import Ability
from illume.generate.request import Result
from illume.serve import answers, conversation
from illume.serve.errors import ApiError, bad, json_response
from illume.serve.items import Items
from illume.serve.job import Ended, Job
from illume.serve.schema import File, Sampling
from illume.serve.schema_responses import ImageTool, ResponseCreation, ToolChoice
from illume.serve.service import Service
from illume.serve.sse import spelt, while_there


async def answer(service: Service, request: Request, body: ResponseCreation) -> Response:
    """The response."""
    service.check_model(body.model)
    turns = conversation.of_responses(body)
    conversation.check(turns, service.limits)
    if body.tools:
        _check_tool(service, body.tools[0], turns)
    service.note_words(request, "".join(part for part in turns[-1].parts if isinstance(part, str)))
    (job,) = await while_there(request, _begun(service, body, turns))
    told = _Told(service, body, job)
    if body.stream:
        return service.stream(_events(service, request, told), [job])
    try:
        return json_response(await while_there(request, _whole(service, request, told)))
    finally:
        service.worker.give_up([job])


def _check_tool(service: Service, tool: ImageTool, turns: Sequence[conversation.Turn]) -> None:
    """ApiError for what cannot be honoured of a tool: with a picture in the conversation it edits, without it draws."""
    service.check_model(tool.model, "tools.0.model")
    service.asker.check_size(tool.size, "tools.0.size")
    shown = any(not isinstance(part, str) for turn in turns for part in turn.parts)
    if tool.action == ("generate" if shown else "edit"):
        why = "there is a picture in the conversation, which is edited" if shown else "there is no picture to edit"
        raise bad(f"tools.0.action: {why}: leave it out, or say auto", "tools.0.action")


async def _begun(service: Service, body: ResponseCreation, turns: Sequence[conversation.Turn]) -> list[Job]:
    whole = await conversation.with_files(turns, service.fetcher)
    tool = body.tools[0] if body.tools and body.drawing else None
    sampling: Sampling = body if tool is None or body.says_how else tool
    orders = await service.prepare(
        service.asker.converse,
        whole,
        ability_of(body),
        sampling,
        tool or File(),
        words=bool(body.stream),
        partials=(tool.partial_images or 0) if tool is not None and body.stream else 0,
        max_new_text=body.max_output_tokens,
    )
    return await service.begin(orders)


def ability_of(body: ResponseCreation) -> Ability:
    """What the model is asked to do."""
    return "draw" if body.only_drawing else "say" if body.drawing else "ask"


class _Told:
    """A response as it is told, again and again, from its first event to its last."""

    def __init__(self, service: Service, body: ResponseCreation, job: Job) -> None:
        self.job = job
        self.items = Items(job.order.format)
        choice = body.tool_choice
        self._plain: dict[str, Any] = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": service.settings.name,
            "instructions": body.instructions,
            "tools": [tool.model_dump(exclude_none=True) for tool in body.tools or ()],
            "tool_choice": choice.model_dump() if isinstance(choice, ToolChoice) else choice or "auto",
            "parallel_tool_calls": False,
            "metadata": body.metadata or {},
            "temperature": body.temperature,
            "top_p": body.top_p,
            "max_output_tokens": body.max_output_tokens,
            "previous_response_id": None,
            "store": False,
            "background": False,
            "truncation": "disabled",
            "error": None,
        }

    def now(self, status: str = "in_progress", **more: Any) -> dict[str, Any]:
        """The response so far."""
        about = {"status": status, "incomplete_details": None, "usage": None}
        return {**self._plain, **about, "output": self.items.finished, **more}

    def whole(self, result: Result) -> dict[str, Any]:
        """The response at its end."""
        took = answers.counted([self.job], [result.usage])
        counts = took.of_images()
        counts["input_tokens_details"] |= {"cached_tokens": took.cached, "cache_write_tokens": 0}
        counts["output_tokens_details"] |= {"reasoning_tokens": 0}
        cut = result.finished == "length"
        details = {"reason": "max_output_tokens"} if cut else None
        return self.now("incomplete" if cut else "completed", incomplete_details=details, usage=counts)

    def failed(self, error: ApiError) -> dict[str, Any]:
        """The response that broke off."""
        return self.now("failed", error={"code": "server_error", "message": error.message})


async def _whole(service: Service, request: Request, told: _Told) -> dict[str, Any]:
    async for event in told.job.events():
        if isinstance(event, Ended):
            list(told.items.end(event.result.finished == "length"))
            service.note(request, answers.counted([told.job], [event.result.usage]))
            return told.whole(event.result)
        list(told.items.take(event))
    raise AssertionError("a job ends")


async def _events(service: Service, request: Request, told: _Told) -> AsyncGenerator[bytes, None]:
    number = 0
    async with aclosing(_plain_events(service, request, told)) as events:
        async for event in events:
            yield spelt({**event, "sequence_number": number}, event["type"])
            number += 1


async def _plain_events(service: Service, request: Request, told: _Told) -> AsyncGenerator[dict[str, Any], None]:
    yield {"type": "response.created", "response": told.now()}
    yield {"type": "response.in_progress", "response": told.now()}
    try:
        async for event in told.job.events():
            if not isinstance(event, Ended):
                for one in told.items.take(event):
                    yield one
                continue
            for one in told.items.end(event.result.finished == "length"):
                yield one
            service.note(request, answers.counted([told.job], [event.result.usage]))
            last = told.whole(event.result)
            yield {"type": f"response.{last['status']}", "response": last}
    except ApiError as error:
        yield {"type": "response.failed", "response": told.failed(error)}
