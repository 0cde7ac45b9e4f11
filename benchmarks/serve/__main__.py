"""Pictures a second, latency and time to the first picture of `illume serve`, beside two servers around the peer.

    python -m benchmarks.serve [--illume "OPTIONS"] [--dtype bf16] [--clients 1 4 16 64] [--fresh] [--smoke]

The peer is transformers' JanusForConditionalGeneration behind FastAPI: one request at a time, and what arrives within
50 ms in one batch. Both models are random and of one shape (benchmarks/shapes.py: 8 layers x 256, 64 ids an image,
guidance), so pictures are noise; both paint in one pass. Clients ask for the next picture when they have the last one:
of ILLUME once with three partial pictures of each on the way, and once, as of the peer, whole pictures alone, which is
what images a second are compared by. All servers stand while clients, a process
of their own, ask one after the other; a quick one is asked for several rounds. One round at each number of clients
before them is not counted. `--illume` gives `illume serve` further options, `--dtype` is the peer's.

About seven minutes on two quiet cores; `--smoke` a minute, with rough figures of a tiny shape. Each cell is written to
results/serve/KEY.json as it comes: the same command goes on from there, until settings or code change. Ends in one
line of JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.serve.cells import ROOT, STREAMED, WHOLE, Book, Cell, cell_of, goals, key_of, ratios
from benchmarks.serve.servers import Served, served
from benchmarks.shapes import SHAPES, ours

PEERS = {"serial": -1.0, "batching": 0.05}
REQUESTS = {1: 10, 4: 6, 16: 4, 64: 2}  # of each client in a round, by the number of clients
ENOUGH, MOST_ROUNDS = 8.0, 8  # seconds of a cell; rounds, if those do not come together before
MOST_SECONDS = 150.0  # of a round
PARTIALS = {STREAMED: 3, WHOLE: 0, **dict.fromkeys(PEERS, 0)}  # of a picture, by what is asked for


def asked(url: str, clients: int, requests: int, partials: int, seed: int) -> dict[str, Any]:
    """A round of clients, as a process; what they tell."""
    numbers = {"clients": clients, "requests": requests, "partials": partials, "seed": seed, "seconds": MOST_SECONDS}
    options = [text for name, value in numbers.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.serve.clients", url, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=MOST_SECONDS + 30, check=False)
    if done.returncode:
        raise RuntimeError(f"{clients} clients of {url} failed:\n{done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(url: str, clients: int, partials: int, smoke: bool, practised: bool) -> Cell:
    """The cell of a server for so many clients."""
    if practised or clients == 1:  # the peer has no shapes to get used to, and no time for it
        asked(url, clients, 1, partials, seed=0)
    rounds = [asked(url, clients, 1 if smoke else REQUESTS.get(clients, 2), partials, seed=1)]
    while not smoke and sum(one["seconds"] for one in rounds) < ENOUGH and len(rounds) < MOST_ROUNDS:
        rounds.append(asked(url, clients, REQUESTS.get(clients, 2), partials, seed=1 + len(rounds)))
    return cell_of(rounds)


@contextmanager
def all_served(shape: str, dtype: str, options: str) -> Iterator[dict[str, Served]]:
    """ILLUME's server and the peer's, by name, each a process, in a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model = Path(folder) / "model"
        ours(SHAPES[shape]).save(model)
        commands = {STREAMED: ["-m", "illume", "serve", str(model), *options.split()]}
        for name, window in PEERS.items():
            about = ["--window", str(window), "--shape", shape, "--dtype", dtype]
            commands[name] = ["-m", "benchmarks.serve.peer", *about]
        found = {
            name: stack.enter_context(served(command, Path(folder) / f"{name}.log"))
            for name, command in commands.items()
        }
        yield found | {WHOLE: found[STREAMED]}


def fill(book: Book, servers: dict[str, Served], clients: Sequence[int], smoke: bool) -> None:
    """Measure the cells that are not there yet."""
    for number in clients:
        for name, partials in PARTIALS.items():
            if (name, number) in book.cells:
                continue
            print(f"{name}, {number} clients ...", file=sys.stderr, flush=True)
            cell = measured(servers[name].url, number, partials, smoke, practised=name not in PEERS)
            book.write(name, number, cell)


def show(book: Book, clients: Sequence[int]) -> None:
    """The tables."""
    table = Table("clients", "server", "images/s", "p50 s", "p95 s", "first s", "its p95", "streamed, whole is")
    for number in clients:
        times = {own: ratios(book.cells, own, number) for own in (STREAMED, WHOLE)}
        for name in PARTIALS:
            cell = book.cells[name, number]
            seconds = [f"{value:.2f}" for value in (cell.p50, cell.p95, cell.first_p50, cell.first_p95)]
            ratio = ", ".join(f"{one[name]:.1f}x" for one in times.values()) if name in PEERS else ""
            table.add_row(str(number), name, f"{cell.images_per_second:.2f}", *seconds, ratio)
    Console().print(table)
    table = Table("goal", "measured", "at least (seconds: at most)", "met")
    for name, (value, goal, met) in goals(book.cells).items():
        table.add_row(name, f"{value:.2f}", f"{goal:.2f}", "yes" if met else "NO")
    Console().print(table)


def told(book: Book, clients: Sequence[int], smoke: bool) -> dict[str, Any]:
    """The last line. Only a whole measurement can meet the goals."""
    held = goals(book.cells)
    cells = {f"{name} {number}": vars(cell) for (name, number), cell in book.cells.items()}
    rounded = {
        name: {key: round(value, 4) if value == value else None for key, value in cell.items()}
        for name, cell in cells.items()
    }
    whole = not smoke and {1, 16} <= set(clients)
    figures = {name: round(value, 3) for name, (value, _, _) in held.items()}
    met = whole and all(met for _, _, met in held.values())
    return {"benchmark": "serve", "smoke": smoke, **figures, "cells": rounded, "goals_met": met}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--illume", default="", metavar="OPTIONS", help="further options of illume serve, in one text")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="of the peer")
    parser.add_argument("--shape", choices=SHAPES, help="default: small, in a smoke tiny")
    parser.add_argument("--clients", type=int, nargs="+")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "serve")
    parser.add_argument("--fresh", action="store_true", help="measure all cells anew")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(arguments)
    shape = given.shape or ("tiny" if given.smoke else "small")
    clients = given.clients or ([1, 4] if given.smoke else list(REQUESTS))
    settings = {"shape": shape, "illume": given.illume, "dtype": given.dtype, "partials": PARTIALS}
    settings |= {"requests": {str(number): REQUESTS.get(number, 2) for number in clients}}
    settings |= {"machine": platform.machine(), "cores": os.cpu_count()}
    path = None if given.smoke else given.out / f"{key_of(settings)}.json"
    if given.fresh and path is not None:
        path.unlink(missing_ok=True)
    book = Book(path, settings)
    try:
        if any((name, number) not in book.cells for name in PARTIALS for number in clients):
            with all_served(shape, given.dtype, given.illume) as servers:
                fill(book, servers, clients, given.smoke)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    show(book, clients)
    line = told(book, clients, given.smoke)
    book.note(measured=time.strftime("%Y-%m-%d", time.gmtime()), result=line)
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
