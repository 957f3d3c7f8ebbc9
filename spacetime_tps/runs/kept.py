"""Results of single tasks, kept until the part of the work that asks for them has finished.

What is interrupted goes on at its last task: the same tasks are asked for again in the same order, and those whose
results are kept are not run.
"""

from __future__ import annotations

import hashlib
import io
import json
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from spacetime_tps.progress import log
from spacetime_tps.writing import make_folder, told, write_bytes

if TYPE_CHECKING:
    from spacetime_tps.dynamics.workers import Pool

Task = TypeVar("Task")
Result = TypeVar("Result")


class KeepingPool:
    """A pool of workers that keeps the result of every task in a folder, and finds those again that are there.

    Parameters
    ----------
    pool : Pool
        Runs the tasks.
    folder : Path
        Made when the first result is there. Whoever finishes the work removes it.
    """

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool, self._folder, self._calls = pool, folder, 0

    @property
    def workers(self) -> int:
        """Number of workers."""
        return self._pool.workers

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        chunk: int = 1,
        lost: Callable[[Task], Result] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the tasks; see ``WorkerPool.map``.

        Parameters
        ----------
        function : callable
            Its annotation says what it returns: arrays, numbers, texts, or frozen dataclasses of these. Results of a
            function without one are not kept.
        tasks : sequence
        chunk : int
        lost : callable, optional
        """
        name = f"{self._calls:04d}_{getattr(function, '__name__', 'task')}"
        self._calls += 1
        if "return" not in getattr(function, "__annotations__", {}):
            return self._pool.map(function, tasks, chunk, lost)
        paths = [self._folder / f"{name}_{index:06d}" for index in range(len(tasks))]
        return self._results(function, tasks, paths, chunk, lost)

    def _results(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        paths: Sequence[Path],
        chunk: int,
        lost: Callable[[Task], Result] | None,
    ) -> Iterator[Result]:
        hint = get_type_hints(function)["return"]
        # before any task runs: one that runs in this process may change what it holds, as a seed that is spawned from
        identities = [_identity(function, task) for task in tasks]
        known = [_is_whole(path, identity) for path, identity in zip(paths, identities, strict=True)]
        left = [task for task, there in zip(tasks, known, strict=True) if not there]
        fresh = self._pool.map(function, left, chunk, lost)
        for path, identity, there in zip(paths, identities, known, strict=True):
            if there:
                yield _decode(path, hint)
            else:
                result = next(fresh)
                make_folder(self._folder)
                write_bytes(path, _encode(result, identity))
                yield result


def _identity(function: Callable[..., Any], task: object) -> str:
    """Checksum of what a kept result must be of: the function, and all that the task holds."""
    arrays: list[np.ndarray] = []
    text = json.dumps([_name(function), _flatten(task, arrays)], default=_name, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _name(value: object) -> str:
    """A text that is the same in another process."""
    return value.__qualname__ if callable(value) and hasattr(value, "__qualname__") else repr(value)


def _encode(result: object, identity: str) -> bytes:
    arrays: list[np.ndarray] = []
    tree = {"identity": identity, "result": _flatten(result, arrays)}
    stream = io.BytesIO()
    np.savez(stream, *arrays, tree=np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8), allow_pickle=False)
    content = stream.getvalue()
    return hashlib.sha256(content).digest() + content


def _is_whole(path: Path, identity: str) -> bool:
    """Whether a file holds the result of this very task; one that is damaged is not used."""
    if not path.is_file():
        return False
    with told(path, "read"):
        content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        log.warning("%s is damaged: its task is run again", path)
        return False
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as arrays:
        return bool(json.loads(arrays["tree"].tobytes())["identity"] == identity)


def _decode(path: Path, hint: Any) -> Any:
    with told(path, "read"):
        content = path.read_bytes()
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as arrays:
        return _build(json.loads(arrays["tree"].tobytes())["result"], hint, arrays)


def _flatten(value: object, arrays: list[np.ndarray]) -> Any:
    """JSON in which arrays stand by their numbers."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _flatten(getattr(value, field.name), arrays) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [_flatten(item, arrays) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _build(tree: Any, hint: Any, arrays: Any) -> Any:
    """The value of a type that :func:`_flatten` has made a tree of."""
    if get_origin(hint) in (Union, types.UnionType):
        if tree is None:
            return None
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: _build(item, hints[name], arrays) for name, item in tree.items()})
    if get_origin(hint) in (tuple, list):
        kinds = get_args(hint)
        every = kinds[0] if get_origin(hint) is list or kinds[-1] is Ellipsis else None
        items = [_build(item, every or kinds[index], arrays) for index, item in enumerate(tree)]
        return get_origin(hint)(items)
    return arrays[f"arr_{tree['array']}"] if isinstance(tree, dict) else tree
