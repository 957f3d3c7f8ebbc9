"""From frames and works to free energies: by windows (MBAR), by annealing (BAR) and by replica exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates import Coordinates
from spacetime_tps.coordinates.states import State, state_indices
from spacetime_tps.errors import DynamicsError
from spacetime_tps.free_energy.estimates import (
    OUTSIDE,
    bootstrap,
    check_overlap,
    difference_of_states,
    profile,
)
from spacetime_tps.free_energy.results import AnnealingEstimate, Ends, ReplicaEstimate, WindowEstimate, WindowRow
from spacetime_tps.free_energy.series import Series
from spacetime_tps.progress import log
from spacetime_tps.statistics.blocks import BLOCKS, block_numbers
from spacetime_tps.statistics.correlation import uncorrelated
from spacetime_tps.statistics.mbar import Sampled, bar, ladder_weights, mbar

_DRAWS = 200


@dataclass(frozen=True)
class Reduced:
    """Uncorrelated frames of a series.

    Attributes
    ----------
    sampled : Sampled
        The frames' reduced energies, ensembles and sweeps.
    cells : array of int, shape (frames,)
        The window on the curve that each frame is nearest to: that whose own frames' mean is nearest.
    inefficiencies : array, shape (ensembles,)
        Statistical inefficiency of each ensemble.
    """

    sampled: Sampled
    cells: NDArray[np.intp]
    inefficiencies: FloatArray


def reduce_frames(
    states: tuple[State, State], coordinates: Coordinates, series: Series, positions: FloatArray
) -> Reduced:
    """Uncorrelated frames of a series, with their reduced energies.

    Frames of the free ensembles that are outside of their state are not of the ensemble: they are left out.

    Parameters
    ----------
    states : (State, State)
    coordinates : Coordinates
    series : Series
    positions : array, shape (sweeps, ensembles, frames, atoms, 3)
        nm.

    Raises
    ------
    DynamicsError
        If hardly any frame of a free ensemble is in its state.
    """
    sweeps, ensembles, count = positions.shape[:3]
    flat = positions.reshape(-1, *positions.shape[3:])
    sweep, ensemble, _ = (index.ravel() for index in np.indices((sweeps, ensembles, count)))
    found = state_indices(states, flat)
    keep = np.ones(len(flat), dtype=bool)
    bias = coordinates.restraint_energies(flat, series.centres, series.log_snr)
    for state, place in ((0, 0), (1, ensembles - 1)):
        if np.isfinite(series.log_snr[place]):
            continue  # a series of windows alone
        here = ensemble == place
        keep &= ~here | (found == state)
        bias[place] = np.where(found == state, 0.0, OUTSIDE)
        share = float((found[here] == state).mean())
        log.info("free dynamics of %s: %.0f %% of frames in it", states[state].name, 100 * share)
        if share < 0.05:
            raise DynamicsError(
                f"free energy: only {100 * share:.1f} % of the frames of free dynamics that should be in state "
                f"{states[state].name} are: its boxes do not hold its basin, or its structure is not "
                "stable; see system.states"
            )
    kept: list[np.ndarray] = []
    inefficiencies = []
    for place in range(ensembles):
        members = [np.flatnonzero(keep & (ensemble == place) & (sweep == index)) for index in range(sweeps)]
        neighbour = int(np.clip(place, 1, ensembles - 2))  # the states themselves see no restraint
        chosen, inefficiency = uncorrelated([bias[neighbour, frames] for frames in members])
        kept.extend(frames[picked] for frames, picked in zip(members, chosen, strict=True))
        inefficiencies.append(inefficiency)
    order = np.concatenate(kept)
    on_curve = positions[:, series.curve].swapaxes(0, 1)
    means = np.array([coordinates.encode(np.concatenate(window)).mean(axis=0) for window in on_curve])
    latent = coordinates.encode(flat[order])
    cells = cdist(means, latent, "sqeuclidean").argmin(axis=0)
    return Reduced(Sampled(bias[:, order], ensemble[order], sweep[order]), cells, np.array(inefficiencies))


def window_estimate(
    states: tuple[State, State],
    kt: float,
    series: Series,
    reduced: Reduced,
    least_overlap: float,
    least_independent_frames: int,
    rng: np.random.Generator,
) -> WindowEstimate:
    """ΔF(A→B) by MBAR over the whole series, and the profile along the curve.

    Parameters
    ----------
    states : (State, State)
    kt : float
        kJ/mol.
    series : Series
    reduced : Reduced
    least_overlap : float
        Overlap that neighbours must have.
    least_independent_frames : int
        A free state with fewer frames gets a warning.
    rng : numpy.random.Generator
        For the bootstrap over sweeps.

    Raises
    ------
    DynamicsError
        If neighbours do not overlap; the message names them.
    """
    sampled = reduced.sampled
    independent = (int(sampled.counts[0]), int(sampled.counts[-1]))
    for state, count in zip(states, independent, strict=True):
        if count < least_independent_frames:
            log.warning(
                "free energy: free dynamics of %s has only %d independent frames: its error may be larger than it "
                "looks; take more --frames, with --overwrite",
                state.name,
                count,
            )
    solved = mbar(sampled)
    check_overlap(solved.overlap, series.names, least_overlap)
    windows = len(series.progress)
    errors, cell_errors = bootstrap(sampled, solved, reduced.cells, windows, rng)
    along = profile(solved.log_weights, reduced.cells, windows)
    rows = tuple(
        WindowRow(
            progress=float(progress),
            log_snr=float(series.log_snr[index]),
            free_energy=kt * float(solved.values[index]),
            free_energy_error=kt * float(errors[index]),
            profile=kt * float(cell) if np.isfinite(cell) else None,
            profile_error=kt * float(cell_error) if np.isfinite(cell_error) else None,
            statistical_inefficiency=float(reduced.inefficiencies[index]),
            frames=int(sampled.counts[index]),
        )
        for index, progress, cell, cell_error in zip(
            range(series.curve.start, series.curve.stop), series.progress, along, cell_errors, strict=True
        )
    )
    return WindowEstimate(
        value=kt * float(solved.values[-1]),
        error=kt * float(errors[-1]),
        asymptotic_error=kt * float(solved.errors[-1]),
        frames=int(sampled.counts.sum()),
        independent_frames_of_states=independent,
        profile=rows,
        overlap=solved.overlap,
    )


def end_corrections(kt: float, series: Series, reduced: Reduced) -> Ends:
    """What annealing between the curve's ends lacks: from the free states to these ends, by MBAR on either side."""
    sampled, first, last = reduced.sampled, series.curve.start, series.curve.stop - 1
    a, b = mbar(sampled.part(range(first + 1))), mbar(sampled.part(range(last, len(series.log_snr))))
    return Ends(kt * float(a.values[-1] + b.values[-1]), kt * float(np.hypot(a.errors[-1], b.errors[-1])))


def equilibrium_ends(series: Series, positions: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
    """Positions (atoms, 3) under the restraint at the curve's two ends, a quarter of a sweep's frames apart."""
    every = max(1, positions.shape[2] // 4)
    ends = (series.curve.start, series.curve.stop - 1)
    a, b = (list(np.concatenate(positions[:, end, every - 1 :: every].swapaxes(0, 1))) for end in ends)
    return a, b


def annealing_estimate(kt: float, there: FloatArray, back: FloatArray, ends: Ends) -> AnnealingEstimate:
    """ΔF(A→B) from work done along a curve there and back (Crooks, BAR), with the corrections of its ends.

    Parameters
    ----------
    kt : float
        kJ/mol.
    there, back : array, shape (paths,)
        Work done on the molecule along each path, kJ/mol.
    ends : Ends
        From the free states to the ends of the curve.

    Raises
    ------
    DynamicsError
        If works there and back are so far apart that nothing is known of the error.
    """
    value, error = bar(there / kt, back / kt)
    if not np.isfinite([value, error]).all():
        raise DynamicsError(
            f"free energy: works of annealing there ({there.mean():.1f} kJ/mol in the mean) and back "
            f"({back.mean():.1f}) do not overlap, so that BAR has no error: take more --paths, or longer ones "
            "(paths.length in a file for --config), with --overwrite"
        )
    return AnnealingEstimate(
        value=kt * value + ends.value,
        error=float(np.hypot(kt * error, ends.error)),
        between_ends=kt * value,
        between_ends_error=kt * error,
        paths=(len(there), len(back)),
        work=(float(there.mean()), float(back.mean())),
        dissipated=0.5 * float(there.mean() + back.mean()),
        dissipated_error=0.5 * float(np.sqrt(there.var(ddof=1) / len(there) + back.var(ddof=1) / len(back))),
    )


@dataclass(frozen=True)
class Ladder:
    """Frames of a replica exchange, by temperature.

    Attributes
    ----------
    kt : sequence of float
        Thermal energies, kJ/mol.
    states : sequence of array of int, shape (frames,)
        State of each frame: 0 for A, 1 for B, -1 for neither.
    energies : sequence of array, shape (frames,)
        Potential energies, kJ/mol.
    """

    kt: Sequence[float]
    states: Sequence[NDArray[np.integer]]
    energies: Sequence[FloatArray]


def replica_estimate(ladder: Ladder, kt: float, rng: np.random.Generator) -> ReplicaEstimate | None:
    """ΔF(A→B) at a target temperature from a replica exchange; None if one of the states is never seen.

    All temperatures count, with MBAR weights; the error is that of a bootstrap over blocks of time, the same for all
    temperatures.

    Parameters
    ----------
    ladder : Ladder
    kt : float
        Thermal energy of the target temperature, kJ/mol.
    rng : numpy.random.Generator
    """
    weights = np.concatenate(ladder_weights(ladder.energies, ladder.kt, kt))
    states = np.concatenate(ladder.states)
    a, b = states == 0, states == 1
    block = block_numbers(np.repeat(np.arange(len(ladder.energies)), [len(energy) for energy in ladder.energies]))
    sums = np.array([[weights[side & (block == number)].sum() for number in range(BLOCKS)] for side in (a, b)])
    if not sums.sum(axis=1).all():
        return None
    drawn = sums[:, rng.integers(BLOCKS, size=(_DRAWS, BLOCKS))].sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = kt * np.log(drawn[0] / drawn[1])
    error = float(values[np.isfinite(values)].std(ddof=1))
    return ReplicaEstimate(kt * difference_of_states(a, b, weights), error, BLOCKS)
