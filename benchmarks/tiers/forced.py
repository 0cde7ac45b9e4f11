"""How near the choices of one engine are to another's, given the same ids before them.

Both write the same answers, of which the reference draws the ids; at each id that was chosen, the logits of all that
were allowed, guided, are compared. It knows no tiers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.api import Illume, Request
from illume.generate.choosing import Chooser
from illume.generate.engine import Engine
from illume.generate.request import Key
from illume.generate.sequence import Sequence as Answer

Place = tuple[Key, int]  # a request, and which id of its answer


@dataclass
class Script:
    """What is to be written: the ids of answers, none where they are still to be drawn; and what was noted thereby."""

    ids: Mapping[Key, Sequence[int]] | None = None
    logits: dict[Place, Float[Tensor, " v"]] = field(default_factory=dict)


class Prompter(Chooser):
    """Writes by a script, and notes the logits behind every choice."""

    def __init__(self, script: Script, *given: Any) -> None:
        super().__init__(*given)
        self._script = script

    def pick(self, members: Sequence[Answer], ids: Int[Tensor, " v"], logits: Float[Tensor, "b v"]) -> list[int]:
        places = [(one.key, len(one.written)) for one in members]
        self._script.logits |= dict(zip(places, logits.float(), strict=True))
        if self._script.ids is None:
            return super().pick(members, ids, logits)
        return [self._script.ids[key][at] for key, at in places]


@dataclass
class Tally:
    """Choices that were compared: how many, with how many the likeliest id is the same, and the sum of KL, in nats."""

    choices: int = 0
    same: int = 0
    divergence: float = 0.0

    def add(self, reference: Float[Tensor, " v"], other: Float[Tensor, " v"]) -> None:
        """One more choice; KL is of the other's chances from the reference's, at temperature 1."""
        log_p, log_q = reference.double().log_softmax(0), other.double().log_softmax(0)
        self.choices += 1
        self.same += int(reference.argmax() == other.argmax())
        self.divergence += float(torch.sum(log_p.exp() * (log_p - log_q)))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.choices + other.choices, self.same + other.same, self.divergence + other.divergence)

    def told(self) -> dict[str, float]:
        """As it stands in a file."""
        each = max(self.choices, 1)
        return {
            "choices": self.choices,
            "top1": round(self.same / each, 5),
            "kl": round(self.divergence / each, 6),
        }


def engine_for(illume: Illume, rows: int, script: Script) -> Engine:
    """An engine of this model's that writes by a script."""
    return illume.engine(rows, chooser=partial(Prompter, script))


def compare(reference: Illume, other: Illume, requests: Sequence[Request], rows: int) -> Tally:
    """Both answer the requests, some at a time, with the ids that the reference draws."""
    drawn, told = Script(), Script()
    engines = engine_for(reference, rows, drawn), engine_for(other, rows, told)
    found = Tally()
    for start in range(0, len(requests), rows):
        some = requests[start : start + rows]
        answers = engines[0].run(some)
        told.ids = {answer.key: answer.ids for answer in answers}
        if [one.ids for one in engines[1].run(some)] != [one.ids for one in answers]:
            raise RuntimeError("the engines did not write the same ids: what was compared means nothing")
        for place, logits in drawn.logits.items():
            found.add(logits, told.logits[place])
        drawn.logits.clear()
        told.logits.clear()
    return found
