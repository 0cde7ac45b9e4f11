"""Clients, as a process of their own: each asks for the next picture when it has the last one.

    python -m benchmarks.serve.clients URL --clients 16 --requests 4 --partials 3

Writes one line of JSON: the seconds of it all, and of each request its latency and the time to its first picture,
partial or whole. Partials 0: a server that answers whole pictures only. Prompts and seeds follow from `--seed`.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx2

_COLOURS = ("red", "green", "blue", "yellow", "white")
_SHAPES = ("circle", "square", "triangle", "cross")


@dataclass(frozen=True)
class Timing:
    """One request, in seconds from its sending; `error` where no picture came."""

    latency: float
    first: float | None
    error: str | None = None


def prompt_of(chance: random.Random) -> str:
    """Something to draw."""
    return (
        f"a {chance.choice(_COLOURS)} {chance.choice(_SHAPES)} and a {chance.choice(_COLOURS)} {chance.choice(_SHAPES)}"
    )


async def ask(http: httpx2.AsyncClient, body: dict[str, Any]) -> Timing:
    """One picture."""
    began = time.perf_counter()
    first = None
    try:
        if not body.get("stream"):
            answer = await http.post("/v1/images/generations", json=body)
            answer.raise_for_status()
            whole = bool(answer.json()["data"][0]["b64_json"])
        else:
            whole = False
            async with http.stream("POST", "/v1/images/generations", json=body) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if line.startswith("event: ") and line.endswith((".partial_image", ".completed")):
                        first = first or time.perf_counter() - began
                        whole = line.endswith(".completed")
    except Exception as error:
        return Timing(time.perf_counter() - began, first, f"{type(error).__name__}: {error}"[:200])
    took = time.perf_counter() - began
    return Timing(took, first or took, None if whole else "no picture came")


async def client(http: httpx2.AsyncClient, number: int, requests: int, partials: int, seed: int) -> list[Timing]:
    """One client's requests, one after the other."""
    chance = random.Random(seed * 1000 + number)
    streamed = {"stream": True, "partial_images": partials} if partials else {}
    bodies = [{"prompt": prompt_of(chance), **streamed} for _ in range(requests)]
    if partials:  # the peer's servers know no seeds
        bodies = [body | {"seed": chance.randrange(2**31)} for body in bodies]
    return [await ask(http, body) for body in bodies]


async def load(url: str, clients: int, requests: int, partials: int, seed: int, seconds: float) -> dict[str, Any]:
    """All clients at once, for so many seconds at most. TimeoutError beyond."""
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=seconds, limits=limits, trust_env=False) as http:
        began = time.perf_counter()
        async with asyncio.timeout(seconds):
            found = await asyncio.gather(*(client(http, i, requests, partials, seed) for i in range(clients)))
        took = time.perf_counter() - began
    return {"seconds": took, "requests": [asdict(timing) for one in found for timing in one]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    for name in ("clients", "requests", "partials", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0 if name in ("partials", "seed") else 1)
    parser.add_argument("--seconds", type=float, default=180.0)
    given = parser.parse_args(arguments)
    work = load(given.url, given.clients, given.requests, given.partials, given.seed, given.seconds)
    print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()
