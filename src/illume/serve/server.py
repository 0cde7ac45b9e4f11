"""Runs the application on a socket, until a signal: then it drains, and ends; a second signal ends it at once.

It does not know what is served.
"""

import asyncio
import os
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from illume.api import Illume
from illume.core.errors import UsageError
from illume.serve import kernels, logs
from illume.serve.app import create_app
from illume.serve.service import Service
from illume.serve.settings import MEGABYTE, Settings

_CLOSING = 5  # seconds that answers which were broken off have to say so


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's connection, which can be cut off: by `abort` in the state of what is asked on it."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Somebody has come."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}


class Server(uvicorn.Server):
    """uvicorn's server, which goes on listening while it drains: so that /health can say 503 to who asks."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Connection,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_CLOSING,
            timeout_keep_alive=30,
            ws="none",
        )
        super().__init__(config)
        self._service: Service = app.state.service
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so: from then on a signal drains."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        memory: dict[str, Any] = {"rows": self._service.rows}
        memory["row_megabytes"] = round(self._service.row_bytes / MEGABYTE, 3)
        keys = len(self._settings.keys)
        logs.event("serving", model=self._settings.name, host=host, port=port, keys=keys, **memory)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins to drain, the second ends it."""
        if self._loop is None or self._draining is not None or self._service.draining:
            self.should_exit = self.force_exit = True
        else:
            self._service.draining = True
            self._loop.call_soon_threadsafe(self._begin_drain, signal.Signals(sig).name)

    def drain(self) -> None:
        """What a signal does; from any thread."""
        self.handle_exit(signal.SIGTERM, None)

    def _begin_drain(self, why: str) -> None:
        logs.event("draining", signal=why, requests=self._service.requests)
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        whole = await self._service.drain(self._settings.drain_seconds)
        logs.event("drained", whole=whole, requests=self._service.requests)
        if not whole:
            self._service.worker.refuse_all()
        self.should_exit = True


def serve(illume: Illume, settings: Settings) -> None:
    """Serve a model until a signal comes. UsageError where nothing can listen there."""
    logs.set_up(settings.log_prompts)
    kernels.bound(os.environ)
    listening = _listening(settings)
    server = Server(create_app(illume, settings), settings)
    if not settings.keys and not _private(settings.host):
        logs.event("anyone_may_ask", logs.logging.WARNING, host=settings.host)
    server.run([listening])


def _listening(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(f"nothing can listen at {settings.host}, port {settings.port}: {error}") from error


def _private(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
