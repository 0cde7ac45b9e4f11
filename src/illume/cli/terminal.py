"""What a person types or pipes in, and what is printed; it does not know how a line is answered."""

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer

from illume.core.errors import IllumeError, RequestError

if TYPE_CHECKING:
    from illume.session.console import Console


def answer(data: Any, as_json: bool, text: str | None) -> None:
    """Print the answer: one line of JSON, or text (None: already shown)."""
    if as_json:
        typer.echo(json.dumps(data))  # ASCII: whoever reads the line need not know the terminal's encoding
    elif text is not None:
        typer.echo(text)


def converse(console: "Console", as_json: bool) -> None:
    """A conversation from the terminal or a pipe, until it ends or /quit; exit code 1 if a piped line failed."""
    from illume.session.console import spelt

    failed, typed = 0, sys.stdin.isatty()
    for line in typed_lines() if typed else piped_lines():
        try:
            event = console.line(line)
            answer(event, as_json, text=spelt(event) or None)
        except IllumeError as error:
            failed += 1
            answer({"line": line, "error": str(error)}, as_json, text=None)
            typer.secho(f"illume: {error}", fg="red", err=True)
        except KeyboardInterrupt:  # the answer is given up, the conversation goes on
            if not typed:
                raise
            typer.secho("illume: interrupted", err=True)
        if not console.open:
            break
    if failed and not typed:
        raise typer.Exit(1)


def typed_lines() -> Iterator[str]:
    """What a person types, until Ctrl-D, or Ctrl-C while nothing is under way."""
    with suppress(ImportError):
        import readline  # noqa: F401  # arrows and history; not on Windows
    while True:
        try:
            line = input("you> ")
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            return
        if line.strip():
            yield line.strip()


def piped_lines() -> Iterator[str]:
    """The lines of standard input that are not blank."""
    for number, data in enumerate(sys.stdin.buffer, 1):
        try:
            line = data.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise RequestError(f"line {number} is not UTF-8: {error}") from error
        if line:
            yield line
