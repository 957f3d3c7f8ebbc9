"""What the commands say beside their tables: results, errors with an exit status, interruptions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from spacetime_tps.errors import SpacetimeError
from spacetime_tps.interruption import Interruption, signals_interrupt

if TYPE_CHECKING:
    from rich.console import Console

REFUSED = 1
"""Exit status where an input is refused or a stage fails."""
NO_REACTIVE = 3
"""Exit status of a run that has found no reactive trajectory."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def replace_unknown_characters() -> None:
    """Write a question mark for each character that the terminal or file has no code for, and never fail."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def make_console() -> Console:
    """Where tables and messages go: text is printed as it is, for paths may hold brackets and colons."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def say(text: str) -> None:
    """Print a message on lines of its own; long lines are not broken."""
    typer.echo(text)


@contextmanager
def refused(interrupted: str = "interrupted") -> Iterator[None]:
    """End the command with a message, not a traceback, if an input or a stage fails or a signal asks it to end.

    Parameters
    ----------
    interrupted : str
        Message after a signal such as that of Ctrl-C: what is kept and how to go on.
    """
    try:
        with signals_interrupt():
            yield
    except SpacetimeError as error:
        typer.secho("error:", fg="red", bold=True, nl=False)
        say(f" {type(error).__name__}\n{error}")
        raise typer.Exit(REFUSED) from error
    except KeyboardInterrupt as error:
        say(interrupted)
        raise typer.Exit(error.exit_status if isinstance(error, Interruption) else INTERRUPTED) from error
