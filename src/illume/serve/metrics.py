"""What a server counts, for Prometheus: requests, queue, rows, times to the first word and picture, ids.

It does not know where its figures come from.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "HTTP requests answered", "endpoint", "status")
        self.request_seconds = self._times("request_seconds", "HTTP requests, from their first byte on", "endpoint")
        self.queue_seconds = self._times("queue_seconds", "Answers waiting for rows")
        self.first_word_seconds = self._times("first_word_seconds", "To the first word of a streamed answer")
        self.first_partial_seconds = self._times("first_partial_seconds", "To the first partial picture")
        self.image_seconds = self._times("image_seconds", "Pictures, from their rows to the painted file")
        self.tokens = self._counter("tokens", "Ids read and written", "kind")
        self.images = self._counter("images", "Pictures painted", "kind")
        self.cancelled = self._counter("cancelled", "Answers given up, as nobody waited for them any more")
        self.failures = self._counter("failures", "Steps of the engine that failed")
        self.steps = self._counter("steps", "Steps of the engine")
        self.paint_batch = self._histogram("paint_batch", "Pictures painted together", _BATCH)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A figure that is asked for whenever someone looks."""
        Gauge(f"illume_{name}", about, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"illume_{name}", about, labels, registry=self.registry)

    def _times(self, name: str, about: str, *labels: str) -> Histogram:
        return self._histogram(name, about, _SECONDS, *labels)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"illume_{name}", about, labels, buckets=buckets, registry=self.registry)
