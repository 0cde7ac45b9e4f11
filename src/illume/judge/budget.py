"""What asking costs: estimates before, a ledger meanwhile, limits that are kept; it does not know who is asked."""

import math
from dataclasses import dataclass, replace

from illume.judge.api_config import Limits, Prices

LETTERS_A_TOKEN = 3  # fewer than English has (about 4): an estimate is better too high
TYPICAL_VERDICT = 160  # tokens of a verdict with four short reasons


@dataclass(frozen=True)
class Usage:
    """Requests made, tokens read and written."""

    requests: int = 0
    input: int = 0
    output: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.requests + other.requests, self.input + other.input, self.output + other.output)

    def times(self, factor: float) -> "Usage":
        """So many times as much, rounded up."""
        return Usage(*(math.ceil(count * factor) for count in (self.requests, self.input, self.output)))

    def at_least(self, other: "Usage") -> "Usage":
        """The larger of each."""
        return Usage(max(self.requests, other.requests), max(self.input, other.input), max(self.output, other.output))

    def cost(self, prices: Prices | None) -> float | None:
        """In the currency of the prices; None without any."""
        return None if prices is None else (self.input * prices.input + self.output * prices.output) / 1e6


@dataclass(frozen=True)
class Estimate:
    """What the drawings that have no answer yet will cost: as expected, and at most if every question is asked once.

    `measured`: by what earlier answers took, else by the size of the pictures, which not every provider counts alike.
    """

    known: int
    expected: Usage
    most: Usage
    prices: Prices | None
    measured: bool

    def times(self, factor: float) -> "Estimate":
        """The same for so many times as many drawings."""
        return replace(self, expected=self.expected.times(factor), most=self.most.times(factor))

    def __str__(self) -> str:
        number, tokens = self.expected.requests, self.expected.input + self.expected.output
        basis = "by the answers so far" if self.measured else "by the size of the pictures"
        said = f"{number} questions to ask, {self.known} answered before; about {tokens:,} tokens ({basis})"
        if self.prices is None:
            return f"{said}; no prices given, so no cost"
        return f"{said}, {self.expected.cost(self.prices):.2f} in money, {self.most.cost(self.prices):.2f} at most"


class Ledger:
    """What was spent, what is under way, and whether one question more fits the limits. Not shared between threads."""

    def __init__(self, limits: Limits, prices: Prices | None, spent: Usage, largest: Usage = Usage()) -> None:
        self.limits = limits
        self.prices = prices
        self.spent = spent
        self.largest = largest  # what one answer took at most: a provider may count pictures as it likes
        self.pending: list[Usage] = []

    def need(self, expected: Usage) -> Usage:
        """What a question may take: as expected, or as the largest so far."""
        return expected.at_least(self.largest)

    def exceeded(self, need: Usage) -> str | None:
        """The limit that spending this much more would break, in words; None if none."""
        total = sum(self.pending, self.spent + need)
        cost = total.cost(self.prices)
        checks = (
            ("requests", self.limits.requests, total.requests),
            ("tokens", self.limits.tokens, total.input + total.output),
            ("money", self.limits.money, cost),
        )
        for name, limit, value in checks:
            if limit is not None and value is not None and value > limit:
                return f"the limit of {limit} {name}" if name != "money" else f"the limit of {limit} in money"
        return None

    def reserve(self, need: Usage) -> None:
        """Count a question that is under way."""
        self.pending.append(need)

    def settle(self, need: Usage, took: Usage) -> None:
        """It is over, and took that much."""
        self.pending.remove(need)
        self.spent += took
        self.largest = self.largest.at_least(took)


def expected_usage(words: str, size: tuple[int, int], detail: str, most_output: int) -> Usage:
    """What a question of so many words and a picture of (width, height) pixels takes at most."""
    return Usage(1, math.ceil(len(words) / LETTERS_A_TOKEN) + image_tokens(size, detail), most_output)


def image_tokens(size: tuple[int, int], detail: str) -> int:
    """Tokens of a picture of (width, height) pixels, as GPT-4o counts them (OpenAI, "Images and vision": costs).

    85 for low detail; else it is shrunk into 2048 x 2048 and to a shorter side of 768, and each tile of 512 x 512 that
    it touches is 170 more. Other models count otherwise: the ledger learns from what they report.
    """
    if detail == "low":
        return 85
    width, height = size
    scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
    return 85 + 170 * tiles
