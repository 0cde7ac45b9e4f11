"""Structured logs: one line of JSON an event, on standard error; no words of a prompt unless they are asked for.

Errors of our own are told by kind and place: their messages could repeat what a request said.
"""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

LOGGER = logging.getLogger("illume.serve")
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request being answered
_OTHERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings", "asyncio")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event, and the fields that `event` was given."""

    def __init__(self, messages: bool = False) -> None:
        super().__init__()
        self.messages = messages

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said = record.getMessage()
        if record.name == "asyncio" and not self.messages:
            said = said.partition("\n")[0]  # what follows shows tasks, with what they failed of
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "event": said}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line |= told(record.exc_info[1], self.messages)
        return json.dumps(line, default=str)


def set_up(log_prompts: bool = False, to: TextIO | None = None) -> None:
    """Let our logger, and those of the HTTP server and its event loop, write lines of JSON."""
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(JsonLines(log_prompts))
    for name in (LOGGER.name, *_OTHERS):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = (
            ([] if name.startswith("uvicorn.") else [handler]),
            name.startswith("uvicorn."),
        )
        logger.setLevel(logging.WARNING if name == "uvicorn.access" else logging.INFO)
    logging.captureWarnings(True)


def event(name: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event with its fields, and the id of the request that is being answered; those that are None are left
    out."""
    fields = {"request_id": REQUEST_ID.get()} | fields
    said = {field: value for field, value in fields.items() if value is not None}
    LOGGER.log(level, name, extra={"fields": said}, exc_info=error)


def told(error: BaseException, message: bool) -> dict[str, Any]:
    """Of an error its kind and where it was raised, and what it says only if that may be told."""
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    found: dict[str, Any] = {"error": type(error).__name__, "at": places[-12:]}
    return found | {"message": str(error)} if message else found
