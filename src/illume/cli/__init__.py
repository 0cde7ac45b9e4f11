"""The command line, from its arguments to its exit code.

Nothing heavy is imported before a command runs, so `illume --help` is instant.
"""

import io
import os
import sys

import typer

from illume.cli.commands import app
from illume.core.errors import IllumeError, UsageError

__all__ = ["app", "main"]

GO_ON = ("train", "judge", "enhance")  # commands that go on where they were
INTERRUPTED = 130  # what typer makes of Ctrl-C


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's products are small here: threads only slow them down
    escape_unencodable()
    try:
        app()
    except IllumeError as error:
        typer.secho(f"illume: {error}", fg="red", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            again = "; run the same command again to go on" if sys.argv[1:2] and sys.argv[1] in GO_ON else ""
            typer.secho(f"illume: interrupted{again}", err=True)
        raise


def escape_unencodable() -> None:
    """Let what a terminal or pipe cannot encode be printed as its code point, rather than end a command that has done
    its work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
