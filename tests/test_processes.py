"""Worker processes: they end with their parent however it ends, and know nothing of the user's script unless needed."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spacetime_tps import processes
from spacetime_tps.processes import WorkerDiedError, Workers

MODULE = '''
import ctypes, os, sys, threading, time
import openmm
from spacetime_tps.processes import Workers

def begin():
    pass

def begin_alone():
    """Without the signal by which Linux ends a process with its parent."""
    ctypes.CDLL(None).prctl(1, 0)

def pid(_):
    return os.getpid()

def simulate(_):
    """Hours within one call of OpenMM."""
    system = openmm.System()
    for _ in range(2000):
        system.addParticle(1.0)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.getIntegrator().step(2**30)

def sleep(_):
    time.sleep(3600)

def run(task, end, begin=begin):
    """Let two workers run a task, and end in half a second."""
    with Workers(2, begin) as workers:
        print(*set(workers.map(pid, range(20))), flush=True)
        threading.Timer(0.5, end).start()
        list(workers.map(task, range(2)))
'''


def group(leader: int) -> set[int]:
    """Processes of a group, the resource tracker among them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


def ended(find, seconds: float = 5.0) -> bool:
    """Whether there is nothing left within some seconds."""
    end = time.monotonic() + seconds
    while find():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def program(tmp_path):
    """Start a Python program in a process group of its own, beside a module with tasks; the group is killed after."""
    (tmp_path / "work.py").write_text(MODULE)
    begun = []

    def start(code: str, file: bool = False) -> subprocess.Popen:
        if file:
            (tmp_path / "script.py").write_text(code)
        process = subprocess.Popen(
            [sys.executable, *(["script.py"] if file else ["-c", code])],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
ENDS = {
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminate": "os.kill(os.getpid(), signal.SIGTERM)",
    "hang up": "os.kill(os.getpid(), signal.SIGHUP)",
    "_exit": "os._exit(0)",
    "interrupt": "os.kill(os.getpid(), signal.SIGINT)",
    "abort": "os.abort()",
}


@linux
@pytest.mark.parametrize("task", ["simulate", "sleep"])
@pytest.mark.parametrize("end", ENDS)
def test_workers_end_with_their_parent(program, task, end):
    """Two workers in a call that never returns; no process of the program is left, the resource tracker included."""
    process = program(f"import os, signal, work\nwork.run(work.{task}, lambda: {ENDS[end]})")
    assert process.stdout.readline().strip()
    process.wait(60)
    assert ended(lambda: group(process.pid))


@linux
@pytest.mark.parametrize("how", ["raise ValueError('mine')", "sys.exit(3)", "return"])
def test_a_pool_that_is_left_open(program, how):
    """The program ends without the pool's with block having been left: with an exception, an exit, or its last line."""
    code = f"""
import sys, work
def main():
    global workers
    workers = work.Workers(2, work.begin)
    print(*workers.map(work.pid, range(5)), flush=True)
    {how}
main()
"""
    process = program(code)
    process.stdout.readline()
    process.wait(30)
    assert ended(lambda: group(process.pid))


@linux
@pytest.mark.parametrize("task", ["simulate", "sleep"])
def test_without_the_signal_of_linux(program, task):
    """A worker notices by itself, also inside a long call, that its parent has gone."""
    process = program(f"import os, signal, work\nwork.run(work.{task}, lambda: {ENDS['kill']}, work.begin_alone)")
    process.stdout.readline()
    assert process.wait(30) == -signal.SIGKILL
    assert ended(lambda: group(process.pid))


@linux
def test_a_signal_while_workers_start(program):
    """It comes at any time of the start: one traceback, that of this process, and nothing is left."""
    for delay in (0.0, 0.02, 0.1, 0.5):
        process = program(
            "import os, signal, threading, time, work\n"
            f"threading.Timer({delay}, lambda: os.killpg(0, signal.SIGINT)).start()\n"
            "work.run(work.sleep, lambda: None)\n"
        )
        _, errors = process.communicate(timeout=60)
        assert errors.count("Traceback") == 1
        assert "KeyboardInterrupt" in errors
        assert ended(lambda process=process: group(process.pid))


def begin_nothing() -> None:
    pass


def begin_wrongly() -> None:
    raise ValueError("cannot begin")


def environment(name: str) -> str | None:
    return os.environ.get(name)


def mask(_: int) -> bool:
    return bool(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def die_slowly(number: int) -> int:
    if number < 0:
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_the_first_time(file: Path) -> str:
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return file.name


class Unreadable(Exception):
    """Cannot be made from its message."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def fail_unreadably(_: int) -> None:
    raise Unreadable(1, 2)


def return_lambda(_: int):
    return lambda: None


class TestWorkers:
    def test_this_process_stays_as_it_is(self):
        before = dict(os.environ), sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, ())
        handlers = [signal.getsignal(number) for number in processes.ENDING_SIGNALS]
        threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        with Workers(2, begin_nothing) as workers:
            assert set(workers.map(environment, ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])) == {"1"}
            assert not any(workers.map(mask, range(2)))
        assert before == (dict(os.environ), sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        assert handlers == [signal.getsignal(number) for number in processes.ENDING_SIGNALS]
        assert threads == threading.active_count()
        with Workers(2, begin_nothing) as workers:
            list(workers.map(abs, range(2)))
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1  # the resource tracker's, if it is new

    def test_two_maps_at_a_time(self):
        with Workers(2, begin_nothing) as workers:
            pairs = zip(workers.map(math.factorial, range(50)), workers.map(abs, range(50)), strict=True)
            assert list(pairs) == [(math.factorial(number), number) for number in range(50)]
            nested = [(one, list(workers.map(abs, range(one)))) for one in workers.map(abs, range(6))]
            assert nested == [(number, list(range(number))) for number in range(6)]

    def test_a_map_that_is_left_leaves_nothing(self):
        with Workers(1, begin_nothing) as workers:
            for one in workers.map(abs, range(100)):
                if one == 3:
                    break
            assert list(workers.map(abs, [7])) == [7]

    def test_one_death_leaves_other_tasks_alone(self):
        with Workers(2, begin_nothing) as workers:
            tasks = [1, -2, 3, 4, -5, -6, 7, 8]
            assert list(workers.map(die_slowly, tasks, 3, lost=abs)) == [abs(task) for task in tasks]
            with pytest.raises(WorkerDiedError, match="a worker process died in die_slowly, and so did the next"):
                list(workers.map(die_slowly, [-1]))
            assert list(workers.map(abs, range(3))) == [0, 1, 2]

    def test_a_death_that_has_nothing_to_do_with_the_task(self, tmp_path):
        """The task runs again in another process."""
        with Workers(2, begin_nothing) as workers:
            tasks = [tmp_path / str(number) for number in range(6)]
            assert list(workers.map(die_the_first_time, tasks, 3)) == [task.name for task in tasks]

    def test_an_idle_worker_that_was_killed(self):
        with Workers(1, begin_nothing) as workers:
            (pid,) = workers.map(own_pid, [0])
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            (other,) = workers.map(own_pid, [0])
            assert other != pid

    def test_a_worker_that_cannot_begin(self):
        with Workers(2, begin_wrongly) as workers, pytest.raises(ValueError, match="cannot begin"):
            list(workers.map(abs, range(4)))

    def test_what_cannot_be_sent(self):
        with Workers(1, begin_nothing) as workers:
            with pytest.raises((AttributeError, TypeError, ValueError, Exception), match="lambda"):
                list(workers.map(lambda x: x, [1]))
            with pytest.raises(Exception, match="lambda"):
                list(workers.map(return_lambda, [1]))
            with pytest.raises(processes.SpacetimeError, match="Unreadable in a worker process: 1 and 2"):
                list(workers.map(fail_unreadably, [1]))
            assert list(workers.map(abs, [-1])) == [1]

    def test_large_tasks_and_results(self):
        with Workers(2, begin_nothing) as workers:
            tasks = [bytes([number]) * 2**22 for number in range(6)]
            assert list(workers.map(bytes, tasks)) == tasks


def own_pid(_: int) -> int:
    return os.getpid()


UNGUARDED = """
import spacetime_tps
from spacetime_tps.processes import Workers
import work
print("top")
with Workers(2, work.begin) as workers:
    print(len(set(workers.map(work.pid, range(50)))) in (1, 2))
"""
OWN_TASK = """
import sys
from spacetime_tps.processes import Workers
import work

def double(x):
    return 2 * x

{guard}
    with Workers(2, work.begin) as workers:
        print(list(workers.map(double, range(3))))
"""


@pytest.mark.parametrize("file", [True, False], ids=["script", "-c"])
def test_a_script_without_a_guard(program, file):
    """Workers do not run it again: it needs none."""
    output, errors = program(UNGUARDED, file).communicate(timeout=60)
    assert (output, errors) == ("top\nTrue\n", "")


def test_a_script_from_standard_input(program, tmp_path):
    done = subprocess.run(
        [sys.executable, "-"],
        input=UNGUARDED,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("top\nTrue\n", "")


def test_a_script_with_tasks_of_its_own(program):
    guarded = OWN_TASK.format(guard='if __name__ == "__main__":')
    assert program(guarded, file=True).communicate(timeout=60) == ("[0, 2, 4]\n", "")


def test_a_script_with_tasks_of_its_own_and_no_guard(program):
    """It is told once what to write."""
    process = program(OWN_TASK.format(guard="if True:"), file=True)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    last = errors[errors.rindex("SpacetimeError: ") :]
    assert "write the job under a guard" in last
    assert 'if __name__ == "__main__":\n    import spacetime_tps\n    spacetime_tps.run(...)' in last


@pytest.mark.slow
def test_jobs_do_not_begin_in_a_worker(program, tmp_path):
    """Above all they do not remove a run that is there."""
    code = """
import work, spacetime_tps
from spacetime_tps.processes import Workers
def triple(x):
    return 3 * x
try:
    spacetime_tps.run("alanine_dipeptide", "run", overwrite=True, seed=-1)
except spacetime_tps.errors.ConfigError:
    pass
with Workers(1, work.begin) as workers:
    list(workers.map(triple, [1]))
"""
    _, errors = program(code, file=True).communicate(timeout=60)
    assert "write the job under a guard" in errors
