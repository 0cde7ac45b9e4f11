"""POST /v1/images/generations and /v1/images/edits: pictures, all at once or as they are drawn; it knows no routes."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from illume.serve import answers
from illume.serve.errors import json_response
from illume.serve.job import Ended, Job, Order, Shown, Sketch
from illume.serve.pictures import as_base64
from illume.serve.schema import Drawing
from illume.serve.service import Service
from illume.serve.sse import spelt, while_there

Kind = Literal["image_generation", "image_edit"]


async def answer(service: Service, request: Request, body: Drawing, orders: Sequence[Order], kind: Kind) -> Response:
    """The pictures that are asked for."""
    jobs = await while_there(request, service.begin(orders))
    about = _about(service, orders[0])
    if body.stream:
        return service.stream(_events(service, request, jobs, kind, about), jobs)
    try:
        found = await while_there(request, answers.all_whole(jobs))
    finally:
        service.worker.give_up(jobs)
    data = [
        {"b64_json": as_base64(one.pictures[0]), "seed": job.order.request.seed}
        for one, job in zip(found, jobs, strict=True)
    ]
    usage = answers.counted(jobs, [one.result.usage for one in found])
    service.note(request, usage)
    return json_response({"created": int(time.time()), "data": data, **about, "usage": usage.of_images()})


async def _events(
    service: Service, request: Request, jobs: Sequence[Job], kind: Kind, about: dict[str, Any]
) -> AsyncGenerator[bytes, None]:
    pictures: dict[int, bytes] = {}
    usages = []
    async with aclosing(answers.merged(jobs)) as events:
        async for number, event in events:
            if isinstance(event, Sketch):
                more: dict[str, Any] = {"partial_image_index": event.index, "rows": event.rows, "of": event.of}
                yield _event(f"{kind}.partial_image", event.data, jobs[number], number, about | more)
            elif isinstance(event, Shown):
                pictures[number] = event.data
            elif isinstance(event, Ended):
                usages.append(event.result.usage)
                more = {"usage": answers.counted([jobs[number]], usages[-1:]).of_images()}
                yield _event(f"{kind}.completed", pictures.pop(number), jobs[number], number, about | more)
    service.note(request, answers.counted(jobs, usages))


def _event(name: str, data: bytes, job: Job, number: int, more: dict[str, Any]) -> bytes:
    about = {"type": name, "b64_json": as_base64(data), "created_at": int(time.time())}
    return spelt({**about, **more, "image_index": number, "seed": job.order.request.seed}, name)


def _about(service: Service, order: Order) -> dict[str, Any]:
    width, height = service.asker.size
    return {
        "size": f"{width}x{height}",
        "quality": "auto",
        "background": "opaque",
        "output_format": order.format.kind,
    }
