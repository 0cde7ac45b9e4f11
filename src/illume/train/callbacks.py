"""What usually hangs on the loop: the parameter table, progress, metrics on disk, samples, memory.

It does not know what is trained; what a sample is, a recipe says.
"""

from collections.abc import Callable, Mapping, Sequence

from rich.markup import escape
from rich.table import Column, Table

from illume.core.device import give_back_freed_memory
from illume.core.dist import is_main
from illume.core.log import MetricsFile, Progress, console
from illume.train.callback import StepReport
from illume.train.optim import TableRow, parameter_table
from illume.train.state import TrainState


def rule_table(title: str, rows: Sequence[TableRow]) -> Table:
    """What each rule of a stage covers, for a person to read."""
    table = Table(Column("rule", overflow="fold"), "optimizer", "lr", "tensors", "parameters", title=title)
    for row in rows:
        figures = (f"{row.lr:g}" if row.trained else "-", str(row.tensors), f"{row.parameters:,}")
        table.add_row(escape(row.rule), row.optimizer, *figures, style=None if row.trained else "dim")
    return table


class TableCallback:
    """Prints what moves at which rate before the first step; a resumed run prints it again."""

    def on_start(self, state: TrainState) -> None:
        if not is_main():
            return
        rows = parameter_table(state.objective, state.stage)
        console.print(rule_table(f"stage {state.stage.name}", rows))

    def on_step(self, state: TrainState, report: StepReport) -> None:
        pass

    def on_end(self, state: TrainState) -> None:
        pass


class ProgressCallback:
    """Loss, rate and time left while the stage runs."""

    def __init__(self, title: str | None = None) -> None:
        self.title = title
        self._progress: Progress | None = None

    def on_start(self, state: TrainState) -> None:
        title = self.title or state.stage.name
        self._progress = Progress(title, state.stage.steps, done=state.step, enabled=is_main())
        self._progress.__enter__()

    def on_step(self, state: TrainState, report: StepReport) -> None:
        if self._progress is not None:
            self._progress.advance(loss=report.loss, lr=report.lr)

    def on_end(self, state: TrainState) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None


class MetricsCallback:
    """One row of figures a step in `file`, under the name `part`. A resumed run has each step once.

    The row's keys: part, step (finished steps, from 1), loss, lr, seconds, size, gradient_norm, and the objective's
    own metrics.
    """

    def __init__(self, file: MetricsFile, part: str) -> None:
        self.file = file
        self.part = part

    def on_start(self, state: TrainState) -> None:
        if is_main():
            self.file.truncate_after(self.part, state.step)

    def on_step(self, state: TrainState, report: StepReport) -> None:
        if is_main():
            self.file.append(metrics_row(self.part, report))

    def on_end(self, state: TrainState) -> None:
        pass


class SampleCallback:
    """Calls `sample(state)` after every `every` steps with the weights as they would be exported, on every rank."""

    def __init__(self, every: int, sample: Callable[[TrainState], None]) -> None:
        self.every = every
        self.sample = sample

    def on_start(self, state: TrainState) -> None:
        pass

    def on_step(self, state: TrainState, report: StepReport) -> None:
        if self.every and report.step % self.every == 0:
            with state.evaluating():
                self.sample(state)

    def on_end(self, state: TrainState) -> None:
        pass


class MemoryCallback:
    """Gives the system the memory that was freed and kept, after every `every` steps and at the end."""

    def __init__(self, every: int = 50) -> None:
        self.every = every

    def on_start(self, state: TrainState) -> None:
        pass

    def on_step(self, state: TrainState, report: StepReport) -> None:
        if report.step % self.every == 0:
            give_back_freed_memory()

    def on_end(self, state: TrainState) -> None:
        give_back_freed_memory()


def metrics_row(part: str, report: StepReport) -> Mapping[str, float | int | str]:
    """A report as a line of metrics.jsonl."""
    return {
        "part": part,
        "step": report.step,
        "loss": report.loss,
        "lr": report.lr,
        "seconds": round(report.seconds, 4),
        "size": report.size,
        "gradient_norm": report.gradient_norm,
        **report.metrics,
    }
