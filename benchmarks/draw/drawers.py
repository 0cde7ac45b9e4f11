"""Those who draw: transformers' Janus, and engines in their tiers, each from prompts to codes; and how they are timed.

It knows no goals and keeps nothing.
"""

import statistics
import time
from collections.abc import Callable
from typing import Protocol

import torch

from benchmarks.draw.cells import SIZES, Cell, Found
from benchmarks.shapes import Shape, ours, peer, peer_codes
from illume.api import Illume

PEERS = {"fp32": torch.float32, "bf16": torch.bfloat16}
READ = 1 << 30  # bytes read at once to measure the memory
WINDOW = 16  # drafts, where codes are drafted
PROMPT = 64  # positions, at most
WARM = 999  # the turn that does not count


class Drawer(Protocol):
    """Draws the images of a turn; before the first of them it is warmed."""

    def __call__(self, batch: int, turn: int) -> None: ...

    def warm(self, batch: int) -> None: ...


def memory(device: str, size: int = READ) -> float:
    """GB a second that this machine reads, by the fastest of several sums over a large tensor."""
    data = torch.ones(size // 4, device=device)
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        data.sum().item()
        seconds.append(time.perf_counter() - began)
    return size / min(seconds) / 1e9


def prompts(batch: int, turn: int) -> list[str]:
    """New ones each turn, so that nothing is remembered, and of one length."""
    return [f"picture {turn:03d} of {n:03d}" for n in range(batch)]


class Peer:
    """transformers' Janus."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: str) -> None:
        self.model = peer(shape, dtype).to(device)
        self.device = device

    def __call__(self, batch: int, turn: int) -> None:
        with torch.device(self.device):
            peer_codes(self.model, prompts(batch, turn), seed=turn)

    def warm(self, batch: int) -> None:
        """Draw the first few ids of an image, for what is set up at the first call."""
        vision = self.model.model.vision_model.config
        whole, vision.num_image_tokens = vision.num_image_tokens, 4
        self(batch, WARM)
        vision.num_image_tokens = whole


class Ours:
    """An engine in a tier, with two rows an image."""

    def __init__(self, illume: Illume, tier: str, batch: int, window: int = 0) -> None:
        self.illume = illume
        room = illume.frame.grids[0][0] * illume.frame.grids[0][1] + PROMPT
        self.engine = illume.engine(2 * batch, max_length=room, tier=tier, parallel=window)

    def __call__(self, batch: int, turn: int) -> None:
        self.engine.run([self.illume.draw_request(prompt, seed=turn) for prompt in prompts(batch, turn)])

    def warm(self, batch: int) -> None:
        """Compile what is compiled, and draw once, for heads are laid out then."""
        self.engine.prepare()
        self(batch, WARM)


def drawers_of(cell: Cell) -> dict[tuple[str, str], Drawer]:
    """All who draw this cell, by where in what is found they stand, and name."""
    shape, found = SIZES[cell.size], dict[tuple[str, str], Drawer]()
    for name, dtype in PEERS.items():
        if cell.device == "cpu" or name == "bf16":
            found["peers", name] = Peer(shape, dtype, cell.device)
    illume = ours(shape)
    illume.parts.model.to(cell.device, torch.bfloat16 if cell.device == "cuda" else torch.float32)
    found |= {("tiers", tier): Ours(illume, tier, cell.batch) for tier in cell.tiers}
    found |= {("drafting", tier): Ours(illume, tier, cell.batch, WINDOW) for tier in cell.drafting}
    return found


def measure(cell: Cell, say: Callable[[str], None]) -> Found:
    """All who draw this cell's batch, in turn, after one drawing that does not count."""
    found, drawers = Found(memory(cell.device)), drawers_of(cell)
    for (kind, name), drawer in drawers.items():
        began = time.perf_counter()
        drawer.warm(cell.batch)
        say(f"{cell.name}: {kind} {name}: ready in {time.perf_counter() - began:.1f} s")
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in drawers}
    for turn in range(cell.rounds):
        for key, drawer in drawers.items():
            began = time.perf_counter()
            drawer(cell.batch, turn)
            if cell.device == "cuda":
                torch.cuda.synchronize()
            seconds[key].append(time.perf_counter() - began)
        say(f"{cell.name}: round {turn + 1} of {cell.rounds}: {sum(taken[-1] for taken in seconds.values()):.0f} s")
    for (kind, name), taken in seconds.items():
        getattr(found, kind)[name] = round(cell.batch * SIZES[cell.size].image_ids / statistics.median(taken), 2)
    engines = {name: one.engine for (kind, name), one in drawers.items() if isinstance(one, Ours) and kind == "tiers"}
    found.weights = {tier: engine.weight_bytes / 1e9 for tier, engine in engines.items()}
    return found
