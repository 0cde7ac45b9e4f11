"""Keeps `illume serve` busy with mixed, rude and wrong requests, and sees whether it stays whole.

    python -m benchmarks.soak [MODEL] [--minutes 10] [--smoke]

Fifteen at once, each again and again: drawings, edits with masks, chats with pictures, streamed and not; bursts beyond
the queue; bad requests of some forty kinds; clients that vanish in the middle, send half a request, or read slowly.
Goals: every request is answered whole or refused in OpenAI's shape, none with a 5xx but 503; the server's memory at the
end at most 32 MB above that after its warm-up (medians of the last and the third fifth: until about then kernels are
compiled for new shapes, and kept up to a number); with nobody left no answer open, no row busy, no socket kept; nothing
wrong and no prompt in its log; at SIGTERM it finishes what it has begun, refuses what is new, and ends well. Without
MODEL on a tiny random one. `--smoke` takes one minute, drain included.
Linux only. Ends in one line of JSON, and with status 1 if anything was not as it should be.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from benchmarks.serve.servers import Served, served
from benchmarks.shapes import SHAPES, ours
from benchmarks.soak.asking import Ask, bad_requests, is_error
from benchmarks.soak.people import PATIENCE, Crowd, Tally
from benchmarks.soak.watching import (
    MOST_GROWTH_MB,
    MOST_NEW_FILES,
    growth,
    left_over,
    log_problems,
    open_files,
    resident_mb,
    tenths,
)

KEY = "soaking"
QUEUE, MAX_BODY = 24, 1  # small enough to be reached; megabytes
SMOKE_SECONDS = 35.0


async def soaked(server: Served, seconds: float) -> tuple[Tally, list[float]]:
    """Ask for so many seconds; what became of it, and the server's memory each half second."""
    limits = httpx2.Limits(max_connections=200)
    async with httpx2.AsyncClient(base_url=server.url, timeout=PATIENCE, limits=limits, trust_env=False) as http:
        crowd = Crowd(http, server.port, KEY, time.monotonic() + seconds, bad_requests(MAX_BODY * 2**20))
        people = asyncio.ensure_future(_all(crowd))
        memory = []
        while not people.done():
            if time.monotonic() < crowd.until and server.process.poll() is None:
                memory.append(resident_mb(server.process.pid))
            await asyncio.wait({people}, timeout=0.5)
        people.result()
        return crowd.tally, memory


async def _all(crowd: Crowd) -> None:
    await asyncio.gather(*crowd.everyone())


async def drained(server: Served) -> list[str]:
    """SIGTERM while pictures are drawn; what was not as it should be."""
    found = []
    async with httpx2.AsyncClient(base_url=server.url, timeout=PATIENCE, trust_env=False) as http:
        crowd = Crowd(http, server.port, KEY, 0.0, ())
        body = {"prompt": "a red circle", "n": 10, "stream": True}
        begun = Ask("drain", "/v1/images/generations", {"json": body}, streams=True, whole="image_generation.completed")
        answers = [asyncio.ensure_future(crowd.ask(begun)) for _ in range(2)]
        await asyncio.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        try:
            headers = {"authorization": f"Bearer {KEY}"}
            new = await http.post("/v1/images/generations", json={"prompt": "x"}, headers=headers)
            if new.status_code != 503 or not is_error(new.text):
                found.append(f"while draining a new request got {new.status_code}")
            health = await http.get("/health")
            if health.status_code != 503:
                found.append(f"while draining /health said {health.status_code}")
        except httpx2.TransportError:
            if not all(answer.done() for answer in answers):
                found.append("it did not listen while it drained")
        if await asyncio.gather(*answers) != [200, 200] or crowd.tally.problems:
            found.append(f"what was begun was not finished: {crowd.tally.problems}")
    try:
        status = await asyncio.to_thread(server.process.wait, 40)
    except Exception:
        return [*found, "it did not end"]
    return [*found, f"it ended with status {status}"] if status not in (0, -signal.SIGTERM) else found


def soak(server: Served, seconds: float) -> dict[str, Any]:
    """All of it; figures, and what is wrong."""
    files = open_files(server.process.pid)
    tally, memory = asyncio.run(soaked(server, seconds))
    problems = list(tally.problems)
    if server.process.poll() is not None:
        return {
            "tally": tally,
            "problems": [*problems, "the server has ended"],
            **dict.fromkeys(("growth_mb", "peak_mb", "memory_mb")),
        }
    problems += [f"still there: {name} {value:g}" for name, value in left_over(server, KEY).items()]
    new_files = open_files(server.process.pid) - files
    if new_files > MOST_NEW_FILES:
        problems.append(f"{new_files} more open files than at the start")
    grown = growth(memory)
    if grown > MOST_GROWTH_MB:
        problems.append(f"memory grew by {grown:.1f} MB")
    problems += asyncio.run(drained(server))
    problems += log_problems(server.log.read_text(errors="replace"))[:20]
    figures = {"growth_mb": round(grown, 1), "peak_mb": round(max(memory), 1), "memory_mb": tenths(memory)}
    return {"tally": tally, "problems": problems, **figures}


def show(found: dict[str, Any]) -> None:
    """The table, and the problems."""
    table = Table("requests", "answered", "refused", "left", "problems")
    for kind, outcomes in sorted(found["tally"].outcomes.items()):
        table.add_row(kind, *(str(outcomes[name]) for name in ("answered", "refused", "left", "problem")))
    console = Console()
    console.print(table)
    console.print(
        f"memory grew by {found['growth_mb']} MB (at most {MOST_GROWTH_MB:g}); by tenths: {found['memory_mb']}"
    )
    for problem in found["problems"]:
        console.print(f"PROBLEM: {problem}", markup=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(arguments)
    seconds = SMOKE_SECONDS if given.smoke else 60 * given.minutes
    with tempfile.TemporaryDirectory() as folder:
        model = given.model
        if model is None:
            model = str(Path(folder) / "model")
            ours(SHAPES["tiny"]).save(model)
        options = ["--queue", str(QUEUE), "--max-body", str(MAX_BODY), "--rows", "16", "--api-key", KEY]
        try:
            with served(["-m", "illume", "serve", model, *options], Path(folder) / "log") as server:
                found = soak(server, seconds)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    show(found)
    tally: Tally = found["tally"]
    counts = {name: tally.total(name) for name in ("answered", "refused", "left", "problem")}
    memory = {name: found[name] for name in ("growth_mb", "peak_mb", "memory_mb")}
    told = {"requests": tally.total(), **counts, **memory}
    line = {"benchmark": "soak", "smoke": given.smoke, "seconds": seconds, **told, "problems": len(found["problems"])}
    print(json.dumps({**line, "goals_met": not found["problems"]}))
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
