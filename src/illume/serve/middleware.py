"""What surrounds every request: its id, its line in the log, keys and origins; it knows no endpoint.

All of it is plain ASGI: nothing stands between an answer and its client's leaving.
"""

import asyncio
import ipaddress
import re
import time
import uuid
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from illume.serve import logs
from illume.serve.bodies import Bodies
from illume.serve.errors import ApiError, ClientGoneError, internal
from illume.serve.notes import notes_of
from illume.serve.sending import paced
from illume.serve.service import Service

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OPEN = ("/", "/health")  # and /static/: what needs no key
_GONE = 499


class Watch:
    """Gives each request an id, logs it, counts it, and turns what goes wrong into an answer."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        notes = notes_of(scope)
        notes["request_id"] = _request_id(Headers(scope=scope))
        logs.REQUEST_ID.set(notes["request_id"])
        began, status = time.monotonic(), 0
        give = paced(send, self.service.limits.send_seconds)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = notes["request_id"]
            await give(message)

        try:
            await self.app(scope, receive, watched)
        except ClientGoneError:
            status = _GONE
            await _cut_off(scope)
        except Exception as error:
            logs.event("request_failed", logs.logging.ERROR, error)
            if not status:
                await internal().response()(scope, receive, watched)
        finally:
            self._tell(scope, status or _GONE, time.monotonic() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint = _endpoint(scope)
        self.service.metrics.requests.labels(endpoint, str(status)).inc()
        self.service.metrics.request_seconds.labels(endpoint).observe(seconds)
        fields = {"method": scope["method"], "path": endpoint, "status": status, "seconds": round(seconds, 4)}
        logs.event("request", **fields, **notes_of(scope))


class Gate:
    """Lets in who has a key and comes from a page that may ask; nothing of a body is read before."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        self.bodies = Bodies(app, service.limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        try:
            with self.service.entered():
                await self.bodies(scope, receive, send)
        except ApiError as error:  # before anything of it was read
            await error.response()(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        _check_page(headers, self.service)
        if path in _OPEN or path.startswith("/static/"):
            return
        number = self.service.keys.number_of(headers.get("authorization"))
        if number is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "send a key of this server: Authorization: Bearer KEY", headers=challenge)
        if number:
            notes_of(scope)["key"] = number


def _check_page(headers: Headers, service: Service) -> None:
    """ApiError 403 for a page of another origin, and for a name of this host that somebody else made up.

    A browser says where a page comes from. Without keys, a page could have its own name lead here (DNS rebinding).
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    allowed = service.settings.cors
    if origin is not None and "*" not in allowed and origin not in allowed and _host(origin) != host:
        raise ApiError(403, "this server does not answer to pages of other origins (--cors allows them)")
    if not service.keys and _is_loopback(service.settings.host) and host and not _is_loopback(_name(host)):
        raise ApiError(403, "without keys, this server answers to localhost alone")


def _host(origin: str) -> str | None:
    """The host and port that an origin names; None for what is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _cut_off(scope: Scope) -> None:
    """End the connection with what was not taken in of it, where the server says how (server.py)."""
    abort = scope.get("state", {}).get("abort")
    if abort is not None:
        abort()
        await asyncio.sleep(0)  # then the server knows that it has ended


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _endpoint(scope: Scope) -> str:
    """The path of the route that was taken: a path that someone made up is no name for a figure, nor for a log."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "other"
