"""Worker processes: results in the order of the tasks, whoever runs them, and errors that reach the caller."""

import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from spacetime_tps.dynamics.sampling import Segment, run_segment
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool, available_cores, seeded_context
from spacetime_tps.errors import DynamicsError
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system


@pytest.fixture(scope="module")
def molecule():
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)


@pytest.fixture(scope="module")
def engine(molecule):
    return Engine.for_system(molecule, range(4))


@pytest.fixture(scope="module")
def pool(engine):
    with WorkerPool(engine, 2) as pool:
        yield pool


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_results_come_in_the_order_of_the_tasks(pool, chunk):
    """Even when the first task takes longest."""
    tasks = [20000, 3, 1, 10000, 0, 5, 7]
    assert list(pool.map(math.factorial, tasks, chunk)) == [math.factorial(task) for task in tasks]


def test_no_tasks(pool):
    assert list(pool.map(math.factorial, [])) == []


@pytest.mark.parametrize("chunk", [1, 2])
def test_exception_reaches_the_caller(pool, chunk):
    results = pool.map(int, ["1", "2", "three", "4"], chunk)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match=r"invalid literal for int.*three"):
        next(results)
    assert list(pool.map(int, ["5"])) == [5]  # the pool is still of use


def segments(molecule, count):
    """Tasks of real dynamics with different seeds and temperatures."""
    start = molecule.structures["c5"]
    seeds = np.random.SeedSequence(5).spawn(count)
    return [Segment(start, None, 300.0 + 100 * index, 20, seed) for index, seed in enumerate(seeds)]


def test_results_do_not_depend_on_the_number_of_workers(engine, pool, molecule):
    tasks = segments(molecule, 5)
    with WorkerPool(engine, 1) as single:
        alone = list(single.map(run_segment, tasks, chunk=5))
    for one, other in zip(alone, pool.map(run_segment, tasks), strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.velocities, other.velocities)
        assert one.potential_energy == other.potential_energy


def test_results_do_not_depend_on_what_a_worker_did_before(pool, molecule):
    one, other = segments(molecule, 2)
    first, different, again = pool.map(run_segment, [one, other, segments(molecule, 1)[0]], chunk=3)
    np.testing.assert_array_equal(first.positions, again.positions)
    assert np.abs(first.positions - different.positions).max() > 1e-4


def test_failed_dynamics_reach_the_caller(pool, molecule):
    start = molecule.structures["c5"].copy()
    start[1] = start[0]  # two bonded atoms in one place
    with pytest.raises(DynamicsError, match="sampling at 300 K"):
        list(pool.map(run_segment, [Segment(start, None, 300.0, 100, np.random.SeedSequence(0))]))


def test_worker_that_dies(engine):
    with (
        WorkerPool(engine, 2) as pool,
        pytest.raises(
            DynamicsError, match=r"a worker process died in _exit.*take fewer --workers.*go on with --resume"
        ),
    ):
        list(pool.map(os._exit, [3, 3, 3]))


def die_if_odd(number: int) -> int:
    if number % 2:
        os._exit(1)
    return number


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_crash_loses_only_its_own_task(engine, chunk):
    """Two crashes among tasks that run beside them; every other task has its result, in its place."""
    tasks = [0, 2, 4, 5, 6, 8, 10, 11, 12]
    with WorkerPool(engine, 2) as pool:
        results = list(pool.map(die_if_odd, tasks, chunk, lost=lambda task: -task))
        assert results == [0, 2, 4, -5, 6, 8, 10, -11, 12]
        assert list(pool.map(abs, [-1])) == [1]  # the pool is still of use


def test_an_executor_of_the_users(engine, pool, molecule):
    """Its processes know nothing of us until the first task; it is the user's to shut down."""
    tasks = segments(molecule, 3)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        with WorkerPool(engine, executor=executor) as foreign:
            there = list(foreign.map(run_segment, tasks))
        assert executor.submit(abs, -1).result() == 1
    for one, other in zip(there, pool.map(run_segment, tasks), strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


def test_no_process_outlives_its_pool(engine):
    before = set(multiprocessing.active_children())
    with WorkerPool(engine, 2) as pool:
        assert len(set(pool.map(abs, range(4)))) == 4
        assert len(set(multiprocessing.active_children()) - before) >= 1
    assert set(multiprocessing.active_children()) - before == set()


def test_workers_by_default_one_a_core(engine):
    with WorkerPool(engine) as pool:
        assert pool.workers == available_cores() >= 1


def test_context_outside_a_worker():
    with pytest.raises(RuntimeError, match="run the task through a WorkerPool"):
        seeded_context("sampling", 1)
