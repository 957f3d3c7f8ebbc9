"""Blocks of time: how correlated trajectories are divided, and the errors of their means."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.statistics.intervals import standard_error

BLOCKS = 10
"""Blocks of equal length that a trajectory is cut into."""


def block_numbers(source: NDArray[np.integer]) -> NDArray[np.intp]:
    """The block, 0 to :data:`BLOCKS` − 1, that each frame is in.

    Every trajectory is cut into blocks of the same number of frames, or one more.

    Parameters
    ----------
    source : array of int, shape (frames,)
        The trajectory that each frame is from; frames of the same trajectory are in the order of time.

    Returns
    -------
    array of int, shape (frames,)
    """
    numbers = np.empty(len(source), dtype=np.intp)
    for trajectory in np.unique(source):
        frames = np.flatnonzero(source == trajectory)
        numbers[frames] = np.arange(len(frames)) * BLOCKS // len(frames)
    return numbers


def held_out_blocks(source: NDArray[np.integer], fraction: float) -> NDArray[np.bool_]:
    """Which frames are held out: whole blocks, evenly spread over every trajectory, and at least one of each.

    Parameters
    ----------
    source : array of int, shape (frames,)
        As of :func:`block_numbers`.
    fraction : float
        Share of the blocks that are held out.

    Returns
    -------
    array of bool, shape (frames,)
    """
    chosen = np.floor(np.arange(1, BLOCKS + 1) * fraction) > np.floor(np.arange(BLOCKS) * fraction)
    if not chosen.any():
        chosen[BLOCKS // 2] = True
    return np.asarray(chosen[block_numbers(source)])


def random_halves(source: NDArray[np.integer], divisions: int, rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    """Divide the blocks of every trajectory into two halves at random, several times.

    Parameters
    ----------
    source : array of int, shape (frames,)
        As of :func:`block_numbers`.
    divisions : int
    rng : numpy.random.Generator

    Yields
    ------
    array of bool, shape (frames,)
        True for frames of the first half.
    """
    numbers = block_numbers(source)
    for _ in range(divisions):
        half = np.zeros(len(source), dtype=bool)
        for trajectory in np.unique(source):
            here = source == trajectory
            half[here] = np.isin(numbers[here], rng.permutation(BLOCKS)[: BLOCKS // 2])
        yield half


def block_mean(values: FloatArray, blocks: int = BLOCKS) -> tuple[FloatArray, FloatArray]:
    """Mean of a correlated series, and its standard error from the means of blocks.

    Parameters
    ----------
    values : array, shape (frames, ...)
        In the order of time.
    blocks : int

    Returns
    -------
    mean, error : array, shape (...)
    """
    means = np.array([block.mean(axis=0) for block in np.array_split(values, blocks)])
    return means.mean(axis=0), standard_error(np.moveaxis(means, 0, -1))


def halves_score(values: FloatArray) -> FloatArray:
    """How much the second halves of replicas differ from the first, in standard errors over replicas.

    The score follows Student's distribution with replicas − 1 degrees of freedom if the replicas were in equilibrium
    from the start.

    Parameters
    ----------
    values : array, shape (..., replicas, frames)

    Returns
    -------
    array, shape (...)
    """
    half = values.shape[-1] // 2
    change = values[..., -half:].mean(axis=-1) - values[..., :half].mean(axis=-1)
    return np.asarray(change.mean(axis=-1) / standard_error(change))
