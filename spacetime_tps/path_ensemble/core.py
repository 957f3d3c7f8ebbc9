"""From the moves of chains to what the ensemble is worth: acceptance, costs and autocorrelation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.path_ensemble.results import MoveRow, Observable, PathEnsembleRequest, PathEnsembleResult
from spacetime_tps.statistics.correlation import effective_size, statistical_inefficiency


def path_ensemble_result(
    system: str,
    request: PathEnsembleRequest,
    rows: Sequence[MoveRow],
    variables: Mapping[str, CollectiveVariable],
    max_duration: float,
    stored_paths: int,
    seconds: float,
) -> PathEnsembleResult:
    """Figures of an ensemble.

    Parameters
    ----------
    system : str
        Name of the molecule.
    request : PathEnsembleRequest
    rows : sequence of MoveRow
        All chains' first moves, then their second, and so on; at least one move of each chain.
    variables : mapping of str to CollectiveVariable
        Variables whose crossings the rows have.
    max_duration : float
        Longest duration of a path, ps.
    stored_paths : int
        Number of paths in files.
    seconds : float
        Wall time of all moves.
    """
    verdicts = Counter(row.verdict for row in rows)
    chains = [rows[index :: request.chains] for index in range(request.chains)]
    crossings = {}
    for name, variable in variables.items():
        values = [np.array([row.crossings[name] for row in chain]) for chain in chains]
        crossings[name] = observable(_unwrapped(values, variable))
    return PathEnsembleResult(
        system=system,
        request=request,
        moves=len(chains[0]),
        max_duration_ps=max_duration,
        acceptance=verdicts["accepted"] / len(rows),
        verdicts=dict(sorted(verdicts.items())),
        decorrelated_paths=sum(row.decorrelated for row in rows),
        stored_paths=stored_paths,
        evaluations=sum(row.evaluations for row in rows),
        wall_seconds=seconds,
        duration=observable([np.array([row.duration_ps for row in chain]) for chain in chains]),
        crossings=crossings,
    )


def observable(values: Sequence[FloatArray]) -> Observable:
    """Figures of a quantity along several chains, each (moves,)."""
    every = np.concatenate(values)
    return Observable(
        mean=float(every.mean()),
        sd=float(every.std()),
        autocorrelation_moves=statistical_inefficiency(values),
        effective_size=effective_size(values),
    )


def _unwrapped(values: Sequence[FloatArray], variable: CollectiveVariable) -> Sequence[FloatArray]:
    """Values of a periodic variable within half a turn of their circular mean; others as they are."""
    if not variable.periodic:
        return values
    middle = float(np.angle(np.exp(1j * np.concatenate(values)).mean()))
    return [variable.difference(value, middle) + middle for value in values]
