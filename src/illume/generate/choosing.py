"""How rows choose their next id: logits of the allowed ids alone, guidance, sampling; many rows at once.

It does not know what is waiting, nor what becomes of an id.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from illume.generate.guidance import guide
from illume.generate.runner import Runner
from illume.generate.sampling import filtered, keyed_uniform, sample
from illume.generate.sequence import Sequence
from illume.vocab.grammar import IdSet
from illume.vocab.layout import VocabLayout

_GAP = 1024  # allowed ids this close together are asked of the head in one product: cheaper than several


@dataclass(frozen=True)
class Choice:
    """The ids a row chooses from, as the head is asked for them: `runs` of rows, of whose logits `columns` count."""

    runs: tuple[range, ...]
    ids: Int[Tensor, " v"]
    columns: Int[Tensor, " v"] | None


class Chooser:
    """The next ids of rows whose hidden states a runner holds, for answers of at most `length` positions."""

    def __init__(self, runner: Runner, layout: VocabLayout, length: int) -> None:
        self._runner = runner
        self._layout = layout
        self._length = length
        self._choices: dict[IdSet, Choice] = {}

    def __call__(self, sequences: Seq[Sequence]) -> list[int]:
        """An id for each; rows that choose from the same ids choose together, each with its own settings."""
        groups: dict[tuple[IdSet, bool], list[int]] = {}
        for n, sequence in enumerate(sequences):
            sampling = sequence.request.sampling_of(sequence.node.region)
            groups.setdefault((self._ids(sequence), filtered(sampling)), []).append(n)
        found = [0] * len(sequences)
        for (ids, _), members in groups.items():
            choice, group = self._choice(ids), [sequences[n] for n in members]
            picked = self.pick(group, choice.ids, self._guided(choice, group))
            for n, id in zip(members, picked, strict=True):
                found[n] = id
        return found

    def _ids(self, sequence: Sequence) -> IdSet:
        if sequence.node.drawing or not sequence.crowded(self._length):
            return sequence.node.ids
        return _words(sequence.node.ids, self._layout)

    def pick(self, members: Seq[Sequence], ids: Int[Tensor, " v"], logits: Float[Tensor, "b v"]) -> list[int]:
        """An id for each of rows that choose among the same `ids`, whose guided logits these are."""
        samplings = [one.request.sampling_of(one.node.region) for one in members]
        uniforms = [keyed_uniform(one.stream, len(one.written)) for one in members]
        return ids[sample(logits, samplings, uniforms, strict=self._runner.strict)].tolist()

    def _guided(self, choice: Choice, members: Seq[Sequence]) -> Float[Tensor, "b v"]:
        """The logits of each row, those of images combined with their unconditional rows'."""
        twinned = [n for n, one in enumerate(members) if one.twinned]
        logits = self._logits(choice, [one.row for one in members] + [members[n].twin for n in twinned])
        return guide(logits, twinned, [members[n].request.guidance_of(members[n].node.region) for n in twinned])

    def _logits(self, choice: Choice, rows: Seq[int]) -> Float[Tensor, "b v"]:
        found = [self._runner.logits(rows, run) for run in choice.runs]
        logits = found[0] if len(found) == 1 else torch.cat(found, dim=-1)
        return logits if choice.columns is None else logits[:, choice.columns]

    def _choice(self, ids: IdSet) -> Choice:
        if ids not in self._choices:
            self._choices[ids] = _choice(ids, self._runner.device)
        return self._choices[ids]


def _words(ids: IdSet, layout: VocabLayout) -> IdSet:
    """Of these ids those of text: where no further image fits, none may begin."""
    return IdSet(tuple(range(run.start, min(run.stop, layout.vision_start)) for run in ids.ranges))


def _choice(ids: IdSet, device: torch.device) -> Choice:
    runs: list[range] = []
    for run in ids.ranges:
        if runs and run.start - runs[-1].stop < _GAP:
            runs[-1] = range(runs[-1].start, run.stop)
        else:
            runs.append(run)
    asked = [id for run in runs for id in run]
    columns = None if len(asked) == len(ids) else torch.tensor([i for i, id in enumerate(asked) if id in ids])
    return Choice(tuple(runs), torch.tensor(list(ids), device=device), None if columns is None else columns.to(device))
