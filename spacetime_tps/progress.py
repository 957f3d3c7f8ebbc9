"""Progress bars and logging on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

log = logging.getLogger("spacetime_tps")
_console = Console(stderr=True)


def configure_logging(level: int = logging.INFO) -> None:
    """Log to the terminal through rich, so that log lines and progress bars do not disturb each other."""
    handler = RichHandler(console=_console, show_path=False, log_time_format="[%H:%M:%S]")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    log.setLevel(level)


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Pass items on and show how many have come; the bar goes away when they are all there."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=True, disable=not log.isEnabledFor(logging.INFO)) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)
