"""How far work has come: a bar on the terminal, or a line now and then where there is none; and the log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")

INTERVAL = 30.0
"""Seconds between two lines, and before the first, where there is no terminal."""

log = logging.getLogger("spacetime_tps")


def configure_logging(level: int = logging.INFO) -> None:
    """Log to standard error: through rich on a terminal, beside progress bars; else as plain lines."""
    if sys.stderr.isatty():
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(console=_terminal(), show_path=False, log_time_format="[%H:%M:%S]")
        style = "%(message)s"
    else:
        handler, style = logging.StreamHandler(), "[%(asctime)s] %(levelname)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=style, datefmt="%H:%M:%S", handlers=[handler], force=True)
    log.setLevel(level)


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Pass items on and show how many have come: by a bar that goes away at the end, or by lines without a terminal.

    Parameters
    ----------
    items : iterable
    description : str
        What is done, such as "shooting".
    total : int
        Number of items.
    """
    if not log.isEnabledFor(logging.INFO):
        return iter(items)
    return _with_bar(items, description, total) if sys.stderr.isatty() else _with_lines(items, description, total)


def progress_line(description: str, done: int, total: int, seconds: float) -> str | None:
    """Line that says how far work has come; None while it is too early for one.

    Parameters
    ----------
    description : str
    done, total : int
        Items that have come, and all.
    seconds : float
        Since the beginning.
    """
    if seconds < INTERVAL or done >= total:
        return None
    left = f"{_duration(seconds * (total - done) / done)} left" if done else "time left not known yet"
    return f"{description}: {100 * done // total} %, {left}"


def _duration(seconds: float) -> str:
    """Time as a reader needs it: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _with_lines(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Items, and a line every :data:`INTERVAL` seconds, also while no item comes."""
    begun, done, finished = time.monotonic(), 0, threading.Event()

    def write() -> None:
        while not finished.wait(INTERVAL):
            line = progress_line(description, done, total, time.monotonic() - begun)
            if line is not None:
                log.info("%s", line)

    threading.Thread(target=write, daemon=True).start()
    try:
        for item in items:
            yield item
            done += 1
    finally:
        finished.set()


def _with_bar(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_terminal(), transient=True) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)


@cache
def _terminal() -> Console:
    """The terminal; text is shown as it is, for it may hold brackets and colons."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False)
