"""Servers as processes of their own on free ports of loopback: started, waited for, stopped. It knows no benchmark."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOST_START = 900.0  # seconds: a compiled tier compiles first
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Served:
    """A server that runs; `log` is the file of all it says."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, seconds: float = 10.0) -> tuple[int, str]:
        """Status and text of a path; status 0 where nobody answers."""
        try:
            with _DIRECT.open(f"{self.url}{path}", timeout=seconds) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def served(arguments: Sequence[str], log: Path) -> Iterator[Served]:
    """`python ARGUMENTS --port PORT`, from when its /health is well to the end of the block.

    RuntimeError, with the end of what it said, where it never is.
    """
    port = free_port()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments, "--port", str(port)], stdout=out, stderr=subprocess.STDOUT, env=_environment()
        )
    server = Served(port, process, log)
    try:
        _wait(server)
        yield server
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]", seconds: float = 15.0) -> int:
    """End a process, at once if it does not; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def _wait(server: Served) -> None:
    until = time.monotonic() + MOST_START
    while server.get("/health", 2.0)[0] != 200:
        if server.process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the server did not start; it said:\n{server.log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
