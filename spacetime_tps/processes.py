"""Worker processes: they run tasks for this process, and they end with it, however it ends.

A worker begins with nothing but this module. It does not run the user's script again, unless a task needs something
that is defined there; then the script needs a guard, see :func:`check_guard`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker, spawn
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

from spacetime_tps.errors import SpacetimeError

Task = TypeVar("Task")
Result = TypeVar("Result")

ENDING_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENMM_CPU_THREADS")
_PR_SET_PDEATHSIG = 1
_PATIENCE = 5.0  # seconds that an idle worker has to end when it is told to
_GUARD = """a worker process runs this script from its top and has come to a job in it; write the job under a guard:

if __name__ == "__main__":
    import spacetime_tps
    spacetime_tps.run(...)  # and whatever else the script does"""
_starting = threading.Lock()
_is_worker = False


class WorkerDiedError(Exception):
    """A worker process has ended in the middle of a task."""


def check_guard() -> None:
    """Refuse to begin a job in a process that has only imported the user's script, as worker processes do.

    Raises
    ------
    SpacetimeError
        With the lines to write.
    """
    if _is_worker or getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SpacetimeError(_GUARD)


@dataclass(eq=False)
class _Batch:
    """Tasks that one worker takes together, and what is known of their results."""

    function: Callable[[Any], Any]
    tasks: Sequence[Any]
    lost: Callable[[Any], Any] | None
    results: deque[Any] = field(default_factory=deque)
    finished: int = 0
    deaths: int = 0  # of workers in the next task
    error: Exception | None = None

    def add(self, result: Any) -> None:
        """Take the result of the next task."""
        self.results.append(result)
        self.finished += 1
        self.deaths = 0

    @property
    def over(self) -> bool:
        """Whether no result will come any more."""
        return self.error is not None or self.finished == len(self.tasks)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        first = ForkingPickler.dumps((begin, arguments))
        self.batch: _Batch | None = None
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, _main_module()), daemon=True)
        try:
            with theirs, _starting, _signals_held(), _main_module_hidden():
                self.process.start()
            with contextlib.suppress(OSError):  # that it has died already shows when it is given a task
                self.pipe.send_bytes(first)
        except BaseException:
            self.tell_to_end()
            self.wait()
            raise

    def tell_to_end(self) -> None:
        """End it, at once if it is at work."""
        self.pipe.close()
        if self.batch is not None and self.process.pid is not None:
            self.process.kill()

    def wait(self) -> None:
        """Wait until it has ended."""
        if self.process.pid is not None:
            self.process.join(_PATIENCE)
            if self.process.exitcode is None:
                self.process.kill()
                self.process.join()
            self.process.close()


class Workers:
    """Processes that each run one task at a time on one thread.

    A process that dies is replaced, and its task begins anew, once.

    Processes start when there are tasks for them. They end with the ``with`` block, and also when this process ends
    or is killed. On Linux they end with the thread that has started them, too.

    Parameters
    ----------
    count : int
        Processes at most.
    begin : callable
        What each runs first; importable by name.
    *arguments
        For ``begin``; sent once to each process.
    """

    def __init__(self, count: int, begin: Callable[..., None], *arguments: Any) -> None:
        check_guard()
        self.count = count
        self._begin, self._arguments = begin, arguments
        self._workers: list[_Worker] = []
        self._waiting: deque[_Batch] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.tell_to_end()
        while self._workers:
            self._workers.pop().wait()

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        chunk: int = 1,
        lost: Callable[[Task], Result] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the tasks, each as soon as it and those before it are there.

        Parameters
        ----------
        function : callable
            Runs one task in a worker; importable by name.
        tasks : sequence
        chunk : int
            Tasks that a worker takes at a time: more than one for short tasks.
        lost : callable, optional
            Makes the result of a task in which two processes have died; the other tasks go on.

        Raises
        ------
        WorkerDiedError
            If two processes die in a task and there is no ``lost``.
        Exception
            What ``function`` raises.
        """
        batches = [_Batch(function, tasks[start : start + chunk], lost) for start in range(0, len(tasks), chunk)]
        self._waiting.extend(batches)
        try:
            self._hand_out()
            for batch in batches:
                for _ in batch.tasks:
                    while not batch.results:
                        if batch.error is not None:
                            raise batch.error
                        self._collect()
                        self._hand_out()
                    yield batch.results.popleft()
        finally:
            mine = set(batches)
            self._waiting = deque(batch for batch in self._waiting if batch not in mine)

    def _hand_out(self) -> None:
        """Give waiting batches to idle workers, and start workers while there are too few."""
        while self._waiting:
            worker = self._idle_worker()
            if worker is None:
                return
            batch = self._waiting.popleft()
            try:
                message = ForkingPickler.dumps((batch.function, batch.tasks[batch.finished :]))
            except Exception as error:
                batch.error = error
                continue
            worker.batch = batch
            try:
                worker.pipe.send_bytes(message)
            except OSError:
                self._bury(worker)

    def _idle_worker(self) -> _Worker | None:
        for worker in [worker for worker in self._workers if worker.batch is None]:
            if not worker.pipe.poll():
                return worker
            self._remove(worker)  # an idle worker has nothing to say but that it has died
        if len(self._workers) == self.count:
            return None
        self._workers.append(_Worker(self._begin, self._arguments))
        return self._workers[-1]

    def _collect(self) -> None:
        """Wait for the next results, or the next death."""
        busy = {worker.pipe: worker for worker in self._workers if worker.batch is not None}
        for pipe in connection.wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            batch = worker.batch
            assert batch is not None
            try:
                succeeded, answer = worker.pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            except Exception as error:  # an answer that this process cannot read
                succeeded, answer = False, error
            if succeeded:
                batch.add(answer)
            else:
                batch.error = answer
            if batch.over:
                worker.batch = None

    def _bury(self, worker: _Worker) -> None:
        """Take a worker that has died in a task out; what is left of its batch waits for another worker.

        Whatever has ended it may have nothing to do with the task, which is given a second chance.
        """
        batch = worker.batch
        assert batch is not None
        self._remove(worker)
        batch.deaths += 1
        if batch.deaths > 1:
            if batch.lost is None:
                name = getattr(batch.function, "__name__", "a task")
                batch.error = WorkerDiedError(f"a worker process died in {name}, and so did the next")
            else:
                batch.add(batch.lost(batch.tasks[batch.finished]))
        if not batch.over:
            self._waiting.appendleft(batch)

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.tell_to_end()
        worker.wait()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back the signals that end a program: a process that is started inside inherits that, so nothing can end it
    before it is ready, and this process is not interrupted half way. They are delivered afterwards.
    """  # noqa: D205
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # when it starts, it lets signals through again
    pending: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # another thread may receive what this one holds back
        handlers = {number: handler for number in ENDING_SIGNALS if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda received, _: pending.append(received))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in pending:
            signal.raise_signal(number)


def _main_module() -> dict[str, str]:
    """What a process needs to import the user's script, if that is a file or a module."""
    found = {key: value for key, value in spawn.get_preparation_data("").items() if key.startswith("init_main")}
    return found if Path(found.get("init_main_from_path", __file__)).is_file() else {}


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Start processes that do not run the user's script again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(pipe: connection.Connection, main: dict[str, str]) -> None:
    """Run batches of tasks that come through a pipe until it is closed; in a worker."""
    global _is_worker
    _end_with_parent()
    _is_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    os.environ.update({name: "1" for name in _THREAD_VARIABLES})  # before anything that reads them is imported
    failure: Exception | None = None
    with contextlib.suppress(EOFError, OSError):  # the parent has closed the pipe
        first = pipe.recv_bytes()
        try:
            begin, arguments = _load(first, main)
            begin(*arguments)
        except Exception as error:
            failure = error
        while True:
            message = pipe.recv_bytes()
            try:
                if failure is not None:
                    raise failure
                function, tasks = _load(message, main)
                for task in tasks:
                    pipe.send((True, function(task)))
            except OSError as error:
                if isinstance(error, BrokenPipeError | ConnectionResetError):
                    raise
                _send_error(pipe, error)
            except Exception as error:
                _send_error(pipe, error)


def _send_error(pipe: connection.Connection, error: Exception) -> None:
    error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        message = ForkingPickler.dumps((False, error))
        ForkingPickler.loads(message)
    except Exception:
        message = ForkingPickler.dumps((False, SpacetimeError(f"{type(error).__name__} in a worker process: {error}")))
    pipe.send_bytes(message)


def _load(message: bytes, main: dict[str, str]) -> Any:
    """What a message holds; where that is defined in the user's script, this runs the script first."""
    try:
        return ForkingPickler.loads(message)
    except AttributeError:
        if not main:
            raise
        spawn.prepare(dict(main))
        main.clear()  # once is enough
        return ForkingPickler.loads(message)


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, whatever it does then; in a worker."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it ended before that
            os._exit(1)

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
