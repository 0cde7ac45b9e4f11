"""Drawings made and judged while a model trains, as the batches it learns from: here training and drawing meet.

The drawings of a step follow from the weights and the step's number alone, so a run that is stopped goes on the same.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from illume.api import Illume
from illume.core.device import autocast, pick_dtype
from illume.core.dist import gather_rows, rank, world_size
from illume.core.errors import ConfigError, JudgeError
from illume.core.streams import seed_of
from illume.data.collate import collate
from illume.data.packing import pack
from illume.data.pair_loader import no_image
from illume.data.permutation import permuted
from illume.data.policy_batch import PolicyBatch
from illume.enhance.propose import Prompt
from illume.generate.draw import drawn
from illume.generate.folder import Parts
from illume.generate.painting import Drawn
from illume.judge.protocol import Drawing, Failure, Judge, Outcome
from illume.models.unified import Unified
from illume.recipes.beside import drawings_of
from illume.tasks.verdict import Verdict
from illume.train.drawn_ids import drawn_log_probs
from illume.train.lm_objective import LMObjective
from illume.train.policy_objective import PolicyConfig, PolicyObjective, Reward, group_advantages
from illume.train.stage import Stage

SILENT = 8  # turns without any verdict before a judge is given up


class JudgedDrawer:
    """Draws prompts as the model stands, all in lockstep, and has the pictures judged. A picture of fixed length is
    whole when its last code is: none is ever cut off."""

    def __init__(self, given: Parts, judge: Judge, config: PolicyConfig) -> None:
        self.given, self.judge, self.config = given, judge, config
        self.unheard = ""  # why the last drawing without a verdict has none

    def __call__(self, asked: Sequence[tuple[Prompt, int]]) -> tuple[Tensor, Tensor]:
        """Codes int64 [n, c], all levels in a row, and rewards [n], NaN where there is no verdict; each drawing from
        its seed."""
        # An engine of its own, with a row for each: what was drawn before must not show in what is drawn now.
        rows = len(asked) * (1 if self.config.guidance == 1 else 2)
        illume = Illume(replace(self.given, generation=replace(self.given.generation, rows=rows)))
        sampling = {"guidance": self.config.guidance, "temperature": self.config.temperature, "top_k": 0, "top_p": 1.0}
        with evaluating(self.given.model):
            requests = [illume.draw_request(prompt.text, seed, **sampling) for prompt, seed in asked]
            made = [drawn(result, seed) for result, (_, seed) in zip(illume.run(requests), asked, strict=True)]
            rewards = self.rewards(illume, [prompt for prompt, _ in asked], made)
        codes = [[code for level in one.codes for code in level] for one in made]
        return torch.tensor(codes), torch.tensor(rewards, dtype=torch.float32)

    def rewards(self, illume: Illume, prompts: Sequence[Prompt], made: Sequence[Drawn]) -> list[float]:
        """What each drawing is worth. Those of one prompt and the same pixels are judged once.

        JudgeError where the judge says nothing of one.
        """
        pictures = zip(prompts, illume.painter.pictures(made), strict=True)
        drawings = [Drawing(p.text, picture, str(i), p.spec) for i, (p, picture) in enumerate(pictures)]
        asked = {drawing.content: drawing for drawing in drawings}
        said = {found.drawing.content: found.outcome for found in self.judge.judge(list(asked.values()))}
        if silent := [drawing.prompt for drawing in drawings if drawing.content not in said]:
            raise JudgeError(f"the judge {self.judge.identity} said nothing of a drawing of {silent[0]!r}")
        failures = [outcome for outcome in said.values() if isinstance(outcome, Failure)]
        self.unheard = f"{failures[-1].kind}: {failures[-1].reason}" if failures else ""
        return [reward_of(said[drawing.content], self.config.reward) for drawing in drawings]


def reward_of(outcome: Outcome, how: Reward) -> float:
    """A verdict as a number from 0 to 1; a failure, which is no verdict, is NaN."""
    if not isinstance(outcome, Verdict):
        return float("nan")
    applied = [one.passed for one in outcome.criteria.values() if one.applicable]
    if how == "overall" or not applied:
        return float(outcome.overall)
    return sum(applied) / len(applied)


class RolloutLoader:
    """Draws at every `inner`-th step, and gives the drawings to as many steps; each process draws its prompts.

    The objective keeps what was drawn (its state), so that a stop between two such steps changes nothing. Prompts come
    in an order of each epoch's own, every one once an epoch.
    """

    def __init__(
        self,
        drawer: JudgedDrawer,
        objective: PolicyObjective,
        prompts: Sequence[Prompt],
        stage: Stage,
        *,
        device: torch.device,
        row_length: int,
        rows_per_batch: int,
    ) -> None:
        """ConfigError where the prompts of a step cannot be dealt out to the processes."""
        self.drawer, self.objective, self.prompts, self.stage = drawer, objective, tuple(prompts), stage
        self.device, self.row_length, self.rows_per_batch = device, row_length, rows_per_batch
        self.config = objective.config
        if self.config.prompts % world_size():
            raise ConfigError(f"{self.config.prompts} prompts a step cannot be dealt out to {world_size()} processes")
        own = self.config.prompts // world_size()
        self.own = slice(rank() * own * self.config.group, (rank() + 1) * own * self.config.group)
        self.write = drawings_of(drawer.given)
        self.silent = 0  # turns in a row without a verdict
        self.start = LMObjective(_frozen(drawer.given.model)) if self.config.kl else None

    def batches(self, step: int) -> list[PolicyBatch]:
        """This rank's micro-batches of a step; to be asked for in the order of the steps, when each is to be taken."""
        turn, again = divmod(step, self.config.inner)
        asked = self.asked(turn)[self.own]
        if not again:
            codes, rewards = self.drawer(asked)
            self.objective.rollout.codes.copy_(gather_rows(codes))
            self.objective.rollout.rewards.copy_(gather_rows(rewards))
            self._hear()
        batches = self._collated(asked, fresh=not again)
        if not again and self.config.inner > 1:
            batches = self._measured(batches)
        return [batch for _, batch in batches]

    def _hear(self) -> None:
        """JudgeError for a judge that has given no verdict at all for too long: nothing would be learnt, and paid."""
        self.silent = self.silent + 1 if bool(self.objective.rollout.rewards.isnan().all()) else 0
        if self.silent >= SILENT:
            raise JudgeError(
                f"the judge {self.drawer.judge.identity} gave no verdict of anything that was drawn {SILENT} times in "
                f"a row; of the last drawing: {self.drawer.unheard or 'no reason'}"
            )

    def asked(self, turn: int) -> list[tuple[Prompt, int]]:
        """What all processes draw at a turn: groups of one prompt, each drawing with a seed of its own."""
        numbers = range(turn * self.config.prompts, (turn + 1) * self.config.prompts)
        return [
            (self.prompts[self._at(number)], seed_of("policy", self.stage.seed, number, member) >> 11)
            for number in numbers
            for member in range(self.config.group)
        ]

    def _at(self, number: int) -> int:
        epoch, place = divmod(number, len(self.prompts))
        return permuted(place, len(self.prompts), self.stage.seed, "policy", epoch)

    def _collated(self, asked: Sequence[tuple[Prompt, int]], fresh: bool) -> list[tuple[list[int], PolicyBatch]]:
        """This rank's drawings in batches, with their numbers in the rollout."""
        rollout, first = self.objective.rollout, self.own.start
        counts = [rows * columns for rows, columns in self.write.frame.grids]
        samples = [
            self.write.sample(prompt.text, tuple(map(tuple, codes)), f"{prompt.key}-{seed}")
            for (prompt, seed), row in zip(asked, rollout.codes[self.own], strict=True)
            for codes in [[level.tolist() for level in row.split(counts)]]
        ]
        grouped = rearrange(rollout.rewards, "(p g) -> p g", g=self.config.group)
        worth, told = group_advantages(grouped), self._told(grouped, fresh)
        rows = pack([len(sample) for sample in samples], self.row_length, [sample.name for sample in samples])
        found = []
        for start in range(0, len(rows), self.rows_per_batch):
            some = rows[start : start + self.rows_per_batch]
            batch = collate(
                [[samples[index] for index in row] for row in some],
                no_image,
                num_levels=len(self.write.layout.read_levels),
                size=self.drawer.given.image_size,
            )
            numbers = [first + index for row in some for index in row]
            old = rollout.old[numbers] if not fresh else None
            reference = None if self.start is None else self._log_probs(self.start, PolicyBatch(batch, worth[0]))
            found.append((numbers, PolicyBatch(batch, worth.flatten()[numbers], old, reference, told, batch.keys)))
        return found

    def _measured(self, batches: Sequence[tuple[list[int], PolicyBatch]]) -> list[tuple[list[int], PolicyBatch]]:
        """The same with the log-probabilities of now as those of when they were drawn, kept for the steps to come."""
        own = torch.zeros_like(self.objective.rollout.old[self.own])
        measured = []
        for numbers, batch in batches:
            old = self._log_probs(self.objective.lm, batch)
            own[[number - self.own.start for number in numbers]] = old
            measured.append((numbers, replace(batch, old=old)))
        self.objective.rollout.old.copy_(gather_rows(own))
        return measured

    @torch.no_grad()
    def _log_probs(self, lm: LMObjective, batch: PolicyBatch) -> Tensor:
        with autocast(self.device, pick_dtype(self.stage.dtype, self.device)):
            found = drawn_log_probs(lm, batch.rows.to(self.device), self.config.temperature)
        return found.float().cpu()

    def _told(self, rewards: Tensor, fresh: bool) -> dict[str, float]:
        """Figures of all drawings that this step learns from; `drawn`: those made for it, beyond training."""
        known = rewards[~rewards.isnan()]
        worth = group_advantages(rewards)
        return {
            "drawn": float(rewards.numel()) if fresh else 0.0,
            "judged": float(len(known)),
            "reward": float(known.mean()) if len(known) else 0.0,
            "passed": float((known == 1).float().mean()) if len(known) else 0.0,
            "telling_groups": float((worth != 0).any(dim=1).float().mean()),
        }


@contextmanager
def evaluating(model: Unified) -> Iterator[None]:
    """The model as it is used, and afterwards as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _frozen(model: Unified) -> Unified:
    return copy.deepcopy(model).requires_grad_(False).eval()
