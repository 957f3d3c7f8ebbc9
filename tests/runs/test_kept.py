"""Results of tasks that are kept: found again as they were, run again where they are damaged or of other tasks."""

from dataclasses import dataclass

import numpy as np
import pytest

from spacetime_tps.arrays import FloatArray
from spacetime_tps.runs.kept import KeepingPool


@dataclass(frozen=True)
class Inner:
    positions: FloatArray
    label: str


@dataclass(frozen=True)
class Outcome:
    number: int
    energy: float
    inner: Inner | None
    rows: tuple[FloatArray, ...]
    failure: str | None = None


@dataclass(frozen=True)
class Task:
    number: int
    seed: np.random.SeedSequence


def solve(task: Task) -> Outcome:
    rng = np.random.default_rng(task.seed.spawn(1)[0])  # which changes the task, in this process
    inner = Inner(rng.normal(size=(3, 2)), "é") if task.number % 2 else None
    return Outcome(task.number, float(rng.normal()), inner, (rng.normal(size=2), np.arange(3.0)), None)


def draw(task: Task) -> FloatArray:
    return np.random.default_rng(task.seed).normal(size=4)


class Counting:
    """A pool of this process that knows which tasks it has run, and is interrupted at one of them."""

    workers = 1

    def __init__(self, stop: int | None = None) -> None:
        self.ran: list[int] = []
        self.stop = stop

    def map(self, function, tasks, chunk=1, lost=None):
        for task in tasks:
            if task.number == self.stop:
                raise KeyboardInterrupt
            self.ran.append(task.number)
            yield function(task)


def tasks(seed: int = 0, count: int = 5) -> list[Task]:
    return [Task(number, child) for number, child in enumerate(np.random.SeedSequence(seed).spawn(count))]


def same(one: Outcome, other: Outcome) -> bool:
    arrays = zip(
        (*one.rows, *([one.inner.positions] if one.inner else [])),
        (*other.rows, *([other.inner.positions] if other.inner else [])),
        strict=True,
    )
    labels = [outcome.inner.label if outcome.inner else None for outcome in (one, other)]
    return (one.number, one.energy, one.failure) == (other.number, other.energy, other.failure) and (
        labels[0] == labels[1] and all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in arrays)
    )


def test_what_is_interrupted_goes_on_at_its_last_task(tmp_path):
    whole = [solve(task) for task in tasks()]
    first = Counting(stop=3)
    with pytest.raises(KeyboardInterrupt):
        list(KeepingPool(first, tmp_path / "kept").map(solve, tasks()))
    second = Counting()
    pool = KeepingPool(second, tmp_path / "kept")
    assert all(map(same, pool.map(solve, tasks()), whole))
    assert (first.ran, second.ran) == ([0, 1, 2], [3, 4])
    np.testing.assert_array_equal(list(pool.map(draw, tasks(1))), [draw(task) for task in tasks(1)])


@pytest.mark.parametrize("damage", ["half", "flip", "empty", "neighbour"])
def test_damaged_results_are_made_again(tmp_path, damage):
    list(KeepingPool(Counting(), tmp_path).map(solve, tasks()))
    files = sorted(tmp_path.iterdir())
    content = bytearray(files[2].read_bytes())
    content[len(content) // 2] ^= damage == "flip"
    files[2].write_bytes(
        {"half": content[: len(content) // 2], "flip": content, "empty": b"", "neighbour": files[1].read_bytes()}[
            damage
        ]
    )
    again = Counting()
    assert all(map(same, KeepingPool(again, tmp_path).map(solve, tasks()), map(solve, tasks())))
    assert again.ran == [2]


def test_results_of_other_tasks_are_not_taken(tmp_path):
    list(KeepingPool(Counting(), tmp_path).map(solve, tasks(0)))
    again = Counting()
    assert all(map(same, KeepingPool(again, tmp_path).map(solve, tasks(1)), map(solve, tasks(1))))
    assert again.ran == [0, 1, 2, 3, 4]
