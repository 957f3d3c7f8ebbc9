"""The signals that ask a program to end: SIGTERM and SIGHUP end it as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from spacetime_tps.processes import ENDING_SIGNALS

_REPEATED = 1.0  # seconds within which a second signal is the same wish, as ``timeout`` and batch systems send it
_LOOKS = 0.5  # seconds between two looks for a signal that was lost


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


class _Handler:
    """Raises what a signal asks for, and again if it gets lost on its way.

    Libraries swallow it: OpenMM has ``except:`` around much of its reading of force fields, and Python itself lets no
    exception out of a destructor. An exception that is lost is gone from memory; one on its way is not.
    """

    def __init__(self) -> None:
        self._raised: weakref.ref[Interruption] | None = None
        self._number = 0
        self._time = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._on_its_way() and time.monotonic() - self._time < _REPEATED:
            return
        error = Interruption(number)
        self._raised, self._number, self._time = weakref.ref(error), number, time.monotonic()
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def watch(self, left: threading.Event) -> None:
        """Send a signal that was lost again, until the context is left; in a thread."""
        while not left.wait(_LOOKS):
            if self._raised is not None and not self._on_its_way():
                signal.pthread_kill(threading.main_thread().ident or 0, self._number)

    def _on_its_way(self) -> bool:
        return self._raised is not None and self._raised() is not None


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
    handler, left, changed = _Handler(), threading.Event(), {}
    for number in ENDING_SIGNALS:
        before = signal.getsignal(number)
        if before is not None and before != signal.SIG_IGN:
            changed[number] = before
            signal.signal(number, handler)
    watch = threading.Thread(target=handler.watch, args=(left,), name="signal watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        left.set()
        watch.join()  # or it might send a signal to the handlers of before
        for number, before in changed.items():
            signal.signal(number, before)
