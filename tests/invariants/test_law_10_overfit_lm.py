"""Law 10 for the language model: it learns four samples, two drawn and two read, to near-zero loss."""

from dataclasses import dataclass, replace

import pytest
import torch

from fixtures.tiny_training import CPU, Recorder
from fixtures.tiny_unified import RULES, drawing, pack, reading, tiny_unified
from illume.data.collate import SequenceBatch
from illume.train.lm_objective import LMObjective
from illume.train.stage import Schedule, Stage
from illume.train.trainer import fit

STAGE = Stage(name="overfit", steps=60, batch_size=4, rules=RULES, schedule=Schedule(warmup=0.03), dtype="float32")
BATCH = pack((drawing("0"), reading("1")), (drawing("2"), reading("4")))


@dataclass
class Always:
    batch: SequenceBatch

    def batches(self, step: int) -> list[SequenceBatch]:
        return [self.batch]


def check_overfits(batch: SequenceBatch) -> None:
    recorder = Recorder()
    fit(LMObjective(tiny_unified()), Always(batch), STAGE, [recorder], folder=None, device=CPU)
    assert recorder.losses[0] > 1
    assert recorder.losses[-1] < 0.02


def test_four_samples_are_learnt_by_heart() -> None:
    check_overfits(BATCH)


def test_the_check_catches_a_model_that_does_not_see() -> None:
    with pytest.raises(AssertionError):
        check_overfits(replace(BATCH, images=torch.zeros_like(BATCH.images)))
