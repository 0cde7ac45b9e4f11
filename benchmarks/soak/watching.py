"""The state of a server's process, from outside: its memory, its open files, its figures, its log. Linux only.

It asks nothing but /metrics.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.serve.servers import Served
from benchmarks.soak.asking import SECRET

AT_REST = ("illume_running", "illume_waiting", "illume_open", "illume_busy_rows")
MOST_GROWTH_MB = 32.0
MOST_NEW_FILES = 8
_PAGE = os.sysconf("SC_PAGE_SIZE") / 1e6


def resident_mb(process: int) -> float:
    """Megabytes of memory in use."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE


def open_files(process: int) -> int:
    """Files and sockets."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def growth(samples: Sequence[float], warm: float = 0.4, span: float = 0.2) -> float:
    """How far the last stretch of a run stands above the one after its warm-up; medians of shares of all samples."""
    count = len(samples)
    after = samples[int(warm * count) : max(int((warm + span) * count), int(warm * count) + 1)]
    return median(samples[min(int((1 - span) * count), count - 1) :]) - median(after)


def tenths(samples: Sequence[float]) -> list[float]:
    """The medians of ten stretches of a run, or of as many as there are samples."""
    count = min(10, len(samples))
    return [
        round(median(samples[len(samples) * i // count : len(samples) * (i + 1) // count]), 1) for i in range(count)
    ]


def metrics_of(text: str) -> dict[str, float]:
    """Prometheus' text: each figure by its name and labels, as they stand."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def left_over(server: Served, key: str, seconds: float = 20.0) -> dict[str, float]:
    """What of AT_REST is not 0 although nobody asks any more, after so many seconds at most."""
    import httpx2

    until = time.monotonic() + seconds
    while True:
        headers = {"authorization": f"Bearer {key}"}
        text = httpx2.get(f"{server.url}/metrics", headers=headers, timeout=10, trust_env=False).text
        found = metrics_of(text)
        left = {name: found[name] for name in AT_REST if found[name]}
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.2)


def log_problems(text: str) -> list[str]:
    """Lines of a log that tell of something wrong in the server, or repeat what a request said."""
    found = []
    for line in text.splitlines():
        try:
            level = json.loads(line).get("level")
        except (ValueError, AttributeError):
            level = "error" if line.startswith("Traceback") else None
        if level in ("error", "critical"):
            found.append(line[:500])
        if SECRET in line:
            found.append(f"says what was asked: {line[:100]}")
    return found
