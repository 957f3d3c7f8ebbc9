"""What every job on a run promises; each inherits these tests in a test file of its own and gives a small run there.

A job refuses what it cannot do before any dynamics, and leaves the folder as it was. It goes on after an interruption
as if nothing had happened, replaces what it is told to replace, does the same on any number of workers, and works in a
folder only while no other does.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attacks.kill import differences, timeless

from spacetime_tps.committor import job as committor_job
from spacetime_tps.dynamics import workers
from spacetime_tps.dynamics.workers import InProcessPool
from spacetime_tps.errors import ConfigError, OutputError, SpacetimeError
from spacetime_tps.path_ensemble import job as path_ensemble_job
from spacetime_tps.runs.layout import LOCK, PARTS, UNFINISHED
from spacetime_tps.runs.lock import locked


def slow(value: float) -> Any:
    """A parameter of tests that are slow."""
    return pytest.param(value, marks=pytest.mark.slow)


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, but its lock."""
    found = (path for path in sorted(folder.rglob("*")) if path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


@contextmanager
def pools(make: Callable[..., Any]) -> Iterator[None]:
    """Jobs take these pools in place of worker processes."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (workers, committor_job, path_ensemble_job):
            patch.setattr(module, "WorkerPool", make)
        yield


class CountingPool(InProcessPool):
    """Tasks run in this process and are counted; Ctrl-C comes in the one that is said."""

    started = 0
    last: int | None = None

    def map(self, function, tasks, chunk=1, lost=None):
        def counted(task):
            CountingPool.started += 1
            if CountingPool.started == CountingPool.last:
                raise KeyboardInterrupt
            return function(task)

        return super().map(counted, tasks, chunk, lost)


def in_process(engine, count=None, executor=None) -> CountingPool:
    return CountingPool(engine)


class IdlePool(InProcessPool):
    """No task may be run."""

    def map(self, function, tasks, chunk=1, lost=None):
        raise AssertionError(f"{function.__name__} was to be run")


def no_pool(engine, count=None, executor=None) -> IdlePool:
    return IdlePool(engine)


class RefusalContract:
    """What a job refuses. A class gives :meth:`job` and the fixture ``ready``.

    Attributes
    ----------
    part : str
        Name of what the job writes, in ``PARTS``.
    options : mapping
        What it is asked for.
    least : mapping of str to int
        Options that are numbers, with the lowest that is taken; all jobs have ``workers`` and ``seed`` besides.
    wrong : mapping of str to (value, str)
        Other options by name: a wrong value, and what the message says of it.
    needs : str or None
        A stage that must have finished.
    reads : tuple of str
        Patterns of files that it reads.
    """

    part: str
    options: Mapping[str, Any] = {}
    least: Mapping[str, int] = {}
    wrong: Mapping[str, tuple[Any, str]] = {}
    needs: str | None = None
    reads: tuple[str, ...] = ()

    def job(self, folder: Path, **options: Any) -> Any:
        raise NotImplementedError("give the job: its results in a folder")

    @pytest.fixture
    def ready(self) -> Path:
        raise NotImplementedError("give the folder of a run in which the job can begin; the test may change it")

    def place(self, folder: Path) -> Path:
        """What the job writes first of all."""
        return folder / PARTS[self.part][0]

    def leave(self, folder: Path) -> None:
        """Put there what an earlier job would have left."""
        self.place(folder).mkdir()

    def refused(self, folder: Path, error: type[SpacetimeError] = SpacetimeError, **options: Any) -> str:
        """Message of a job that must be refused without workers, and without a trace in the folder."""
        before = content(folder)
        with pools(no_pool), pytest.raises(error) as caught:
            self.job(folder, **(dict(self.options) | options))
        assert content(folder) == before
        return str(caught.value)

    def test_a_folder_without_a_run(self, tmp_path):
        assert "nowhere holds no run" in self.refused(tmp_path / "nowhere", OutputError)
        assert not (tmp_path / "nowhere").exists()
        (tmp_path / "empty").mkdir()
        assert "empty holds no run" in self.refused(tmp_path / "empty", OutputError)
        (tmp_path / "empty" / "config.yaml").write_text("system: {}\n")
        assert "was not written by a run" in self.refused(tmp_path / "empty")

    def test_options_that_are_too_low(self, ready):
        for name, least in {"workers": 1, "seed": 0, **self.least}.items():
            message = f"--{name.replace('_', '-')} must be at least {least}, not {least - 1}"
            assert message in self.refused(ready, ConfigError, **{name: least - 1})

    def test_wrong_options(self, ready):
        for name, (value, message) in self.wrong.items():
            assert message in self.refused(ready, ConfigError, **{name: value}), name

    def test_a_run_on_a_surface(self, tmp_path, begin_run):
        run = begin_run(tmp_path / "surface", "c_channel")
        assert "is a run on a model surface" in self.refused(run.folder, OutputError)

    def test_a_run_that_has_not_come_so_far(self, tmp_path, begin_run):
        folder = begin_run(tmp_path / "begun").folder
        message = self.refused(folder, OutputError)
        assert f"has not finished its stage {self.needs!r} yet" in message and "--resume" in message

    def test_results_that_are_there(self, ready):
        self.leave(ready)
        message = self.refused(ready, OutputError)
        assert self.place(ready).name in message
        assert "--resume" in message and "--overwrite" in message

    def test_nothing_to_resume(self, ready):
        assert "to resume" in self.refused(ready, OutputError, resume=True)

    def test_resume_and_overwrite(self, ready):
        self.leave(ready)
        message = self.refused(ready, OutputError, resume=True, overwrite=True)
        assert "--resume and --overwrite exclude each other" in message

    def test_damaged_files_are_named(self, ready):
        """One bit of each file that the job reads."""
        files = sorted({file for pattern in self.reads for file in ready.glob(pattern) if file.is_file()})
        assert len(files) >= len(self.reads)
        for file in files:
            kept = file.read_bytes()
            middle = len(kept) // 2
            file.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
            assert file.name in self.refused(ready), file
            file.unlink()
            assert file.name in self.refused(ready), file
            file.write_bytes(kept)

    def test_a_folder_in_which_another_works(self, ready):
        with locked(ready):
            assert "is in use by process" in self.refused(ready, OutputError)
        self.leave(ready)
        with locked(ready):
            assert "is in use by process" in self.refused(ready, OutputError, overwrite=True)


_whole: dict[type, tuple[Path, Any, int]] = {}
"""Folder of an undisturbed job, its results and the number of its tasks, by class."""


class WorkContract:
    """How a job works. A class gives :meth:`job` and the fixture ``ready``, as of :class:`RefusalContract`.

    Attributes
    ----------
    options : mapping
        What it is asked for: little, with at least five tasks.
    other : mapping
        A request that is another one.
    """

    part: str
    options: Mapping[str, Any] = {}
    other: Mapping[str, Any] = {"seed": 12}

    @pytest.fixture
    def whole(self, ready, tmp_path_factory) -> tuple[Path, Any, int]:
        """Folder, results and number of tasks of the job, which nothing has happened to; do not change it."""
        if type(self) not in _whole:
            folder = tmp_path_factory.mktemp("whole") / "run"
            if ready.exists():
                shutil.copytree(ready, folder)
            CountingPool.started, CountingPool.last = 0, None
            with pools(in_process):
                results = self.job(folder, **self.options)
            _whole[type(self)] = folder, timeless(results.to_json()), CountingPool.started
        return _whole[type(self)]

    def work(self, folder: Path, **options: Any) -> Any:
        """Results of the job in this process, wall times aside."""
        with pools(in_process):
            return timeless(self.job(folder, **(dict(self.options) | options)).to_json())

    def assert_same(self, folder: Path, whole: tuple[Path, Any, int], results: Any) -> None:
        assert results == whole[1]
        assert differences(whole[0], folder) == []

    @contextmanager
    def interrupted(self, whole: tuple[Path, Any, int], share: float) -> Iterator[None]:
        """Ctrl-C comes in one of the tasks, after a share of them; the block must not end otherwise."""
        CountingPool.started, CountingPool.last = 0, max(1, round(share * whole[2]))
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            CountingPool.last = None

    @pytest.mark.parametrize("share", [slow(0.0), 0.4, slow(0.95)])
    def test_resumes(self, ready, whole, share):
        """As if nothing had happened; the tasks that had finished are not run again."""
        with self.interrupted(whole, share):
            self.work(ready)
        CountingPool.started = 0
        again = self.work(ready, resume=True)
        self.assert_same(ready, whole, again)
        if share:
            self.assert_less_work(whole)

    def assert_less_work(self, whole: tuple[Path, Any, int]) -> None:
        assert CountingPool.started < whole[2]

    @pytest.mark.slow
    def test_resumes_what_has_finished(self, ready, whole):
        shutil.rmtree(ready, ignore_errors=True)
        shutil.copytree(whole[0], ready)
        self.assert_same(ready, whole, self.work(ready, resume=True))

    @pytest.mark.slow
    def test_does_not_resume_another_request(self, ready, whole):
        shutil.rmtree(ready, ignore_errors=True)
        shutil.copytree(whole[0], ready)
        before = content(ready)
        (name,) = self.other
        with pools(no_pool), pytest.raises(OutputError, match=rf"{name}"):
            self.job(ready, **(dict(self.options) | dict(self.other)), resume=True)
        assert content(ready) == before

    @pytest.mark.slow
    def test_replaces(self, ready, whole):
        """Another one that was interrupted: nothing of it is left, nor of what it may have put beside."""
        with self.interrupted(whole, 0.6):
            self.work(ready, **self.other)
        self.soil(ready)
        self.assert_same(ready, whole, self.work(ready, overwrite=True))

    def soil(self, folder: Path) -> None:
        """Leave something in the places of the job that a finished one does not."""
        place = folder / PARTS[self.part][0]
        (place / "stale.txt").write_text("stale")
        stale = folder / UNFINISHED / self.part
        stale.mkdir(parents=True, exist_ok=True)
        (stale / "0000_stale_000000").write_text("stale")

    @pytest.mark.slow
    def test_two_workers_do_what_one_does(self, ready, whole):
        results = timeless(self.job(ready, **self.options, workers=2).to_json())
        self.assert_same(ready, whole, results)


class JobContract(RefusalContract, WorkContract):
    """A job with results in a run's folder."""
