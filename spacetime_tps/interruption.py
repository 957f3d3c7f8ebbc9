"""The signals that ask a program to end: SIGTERM and SIGHUP end it as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from spacetime_tps.processes import ENDING_SIGNALS

_REPEATED = 1.0  # seconds within which a second signal is the same wish, as ``timeout`` and batch systems send it


class Interruption(KeyboardInterrupt):
    """A signal has asked the program to end.

    Attributes
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell expects of a program that a signal has ended."""
        return 128 + self.number


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Raise :class:`Interruption` where SIGINT, SIGTERM or SIGHUP arrive; handlers are restored afterwards.

    Signals that are ignored, as by ``nohup``, stay so. In another thread than the main one nothing changes.

    Raises
    ------
    Interruption
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = float("-inf")

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > _REPEATED:
            raise Interruption(number)

    changed = {}
    for number in ENDING_SIGNALS:
        handler = signal.getsignal(number)
        if handler is not None and handler != signal.SIG_IGN:
            changed[number] = handler
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)
