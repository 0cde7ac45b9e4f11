"""A job in the engine, and when what came of it: the figures of queue, first word, first picture and whole pictures.

It does not know what the engine does, nor who asks.
"""

import time

from illume.generate.request import Result
from illume.serve.job import Job
from illume.serve.metrics import Metrics
from illume.serve.tracker import Tracker


class Running:
    """A job in the engine."""

    def __init__(self, job: Job, metrics: Metrics, images_kept: bool) -> None:
        self.job = job
        self.tracker = Tracker(job, images_kept)
        self.rest = 0
        self._metrics = metrics
        self._asked = time.monotonic()
        self._begun: float | None = None
        self._spoke = self._sketched = False

    @property
    def worth_a_look(self) -> bool:
        """Whether anyone wants to know how far it is: whether it has begun, and of some jobs all that comes."""
        if self.rest > 0:
            self.rest -= 1
            return False
        return self._begun is None or self.tracker.watched

    def begin(self) -> None:
        """It has its rows."""
        if self._begun is None:
            self._begun = time.monotonic()
            self._metrics.queue_seconds.observe(self._begun - self._asked)

    def speak(self) -> None:
        """It says something."""
        if not self._spoke and self.job.order.words:
            self._metrics.first_word_seconds.observe(time.monotonic() - self._asked)
        self._spoke = True

    def end(self, result: Result) -> float:
        """It has its answer; after how many seconds."""
        self.begin()
        usage = result.usage
        for kind, count in (("prompt", usage.prompt_ids), ("text", usage.text_ids), ("image", usage.image_ids)):
            self._metrics.tokens.labels(kind).inc(count)
        return time.monotonic() - self._asked

    def see(self, partial: bool) -> None:
        """A picture of it is painted; called in the painter's thread."""
        self._metrics.images.labels("partial" if partial else "whole").inc()
        if not partial:
            self._metrics.image_seconds.observe(time.monotonic() - (self._begun or self._asked))
        elif not self._sketched:
            self._sketched = True
            self._metrics.first_partial_seconds.observe(time.monotonic() - self._asked)
