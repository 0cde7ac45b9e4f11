"""Benchmarks: one file each, and the tables that say which of them a kind of data has."""

from illume.eval.task import Task
from illume.eval.tasks.assess import Assess
from illume.eval.tasks.draw import Draw
from illume.eval.tasks.edit import Edit
from illume.eval.tasks.reconstruct import Reconstruct
from illume.eval.tasks.see import See
from illume.world import WorldConfig


def world_tasks(config: WorldConfig, num_items: int) -> tuple[Task, ...]:
    """The benchmarks of the generated world, `num_items` for each ability and split."""
    return (
        See(config, num_items),
        Draw(config, num_items),
        Reconstruct(config, num_items),
        Edit(config, num_items),
        Assess(config, num_items),
    )
