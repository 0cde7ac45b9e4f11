"""Answers put together from what comes of their jobs: several at once, whole ones, and what they took.

It does not know how an endpoint spells them.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from illume.generate.request import Result, Usage
from illume.serve.job import Ended, Event, Job, Shown, Words


@dataclass(frozen=True)
class Whole:
    """An answer: words and pictures' files in their order."""

    parts: tuple[str | bytes, ...]
    result: Result

    @property
    def text(self) -> str:
        """Its words."""
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def pictures(self) -> list[bytes]:
        """Its pictures."""
        return [part for part in self.parts if isinstance(part, bytes)]


@dataclass(frozen=True)
class Counts:
    """What a request took: ids read, of them those of images; ids written as text and as images. `cached`: of those
    read so many were held already, for each of its answers."""

    prompt: int
    prompt_images: int
    text: int
    images: int
    cached: int

    def details(self) -> tuple[dict[str, int], dict[str, int]]:
        """Of the prompt and of the answers: how many are of text, and how many of images."""
        read = {"text_tokens": self.prompt - self.prompt_images, "image_tokens": self.prompt_images}
        return read, {"text_tokens": self.text, "image_tokens": self.images}

    def of_images(self) -> dict[str, Any]:
        """As the images endpoints and /v1/responses tell it."""
        read, written = self.details()
        output = self.text + self.images
        return {
            "input_tokens": self.prompt,
            "input_tokens_details": read,
            "output_tokens": output,
            "output_tokens_details": written,
            "total_tokens": self.prompt + output,
        }

    def of_chat(self) -> dict[str, Any]:
        """As chat completions tell it."""
        read, written = self.details()
        output = self.text + self.images
        return {
            "prompt_tokens": self.prompt,
            "prompt_tokens_details": {"cached_tokens": self.cached, **read},
            "completion_tokens": output,
            "completion_tokens_details": {"reasoning_tokens": 0, **written},
            "total_tokens": self.prompt + output,
        }


def counted(jobs: Sequence[Job], usages: Sequence[Usage]) -> Counts:
    """What several answers to one prompt took: it counts once, what was written is summed."""
    first = jobs[0].order
    return Counts(
        usages[0].prompt_ids,
        first.image_ids,
        sum(usage.text_ids for usage in usages),
        sum(usage.image_ids for usage in usages),
        min(usage.cached_ids for usage in usages),
    )


async def whole(job: Job) -> Whole:
    """The answer, once it is there."""
    parts: list[str | bytes] = []
    async for event in job.events():
        if isinstance(event, Words):
            parts.append(event.text)
        elif isinstance(event, Shown):
            parts.append(event.data)
        elif isinstance(event, Ended):
            return Whole(tuple(parts), event.result)
    raise AssertionError("a job ends")


async def all_whole(jobs: Sequence[Job]) -> list[Whole]:
    """Several answers; where one fails, that is raised."""
    return [await whole(job) for job in jobs]  # each keeps what comes of it until it is asked


async def merged(jobs: Sequence[Job]) -> AsyncGenerator[tuple[int, Event], None]:
    """What comes of several jobs, as it comes, with the number of the job."""
    ready: asyncio.Queue[tuple[int, Event | BaseException | None]] = asyncio.Queue(1)  # full: it waits with its job
    tasks = [asyncio.ensure_future(_hand_on(number, job, ready)) for number, job in enumerate(jobs)]
    try:
        left = len(tasks)
        while left:
            number, event = await ready.get()
            if isinstance(event, BaseException):
                raise event
            if event is None:
                left -= 1
            else:
                yield number, event
    finally:
        for task in tasks:
            task.cancel()


async def _hand_on(number: int, job: Job, ready: "asyncio.Queue[tuple[int, Event | BaseException | None]]") -> None:
    try:
        async for event in job.events():
            await ready.put((number, event))
        await ready.put((number, None))
    except Exception as error:
        await ready.put((number, error))
