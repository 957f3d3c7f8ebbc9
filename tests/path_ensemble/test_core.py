"""From rows of moves to figures, by hand."""

import json

import numpy as np
import pytest

from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.path_ensemble.core import observable, path_ensemble_result
from spacetime_tps.path_ensemble.results import MoveRow, PathEnsembleRequest

REQUEST = PathEnsembleRequest("two_way", "uniform", chains=2, keep_every=10, seed=0, settings={})
VARIABLES = {
    "phi": CollectiveVariable("phi", "dihedral", (0, 1, 2, 3)),
    "r": CollectiveVariable("r", "distance", (0, 1)),
}


def row(move, chain, *, verdict="accepted", duration=1.0, phi=0.0, r=0.1, decorrelated=False):
    crossings = {"phi": phi, "r": r}
    return MoveRow(move, chain, verdict, "both", 1, 3, duration, 1, crossings, decorrelated, 100, "", "")


def result_of(rows):
    return path_ensemble_result("toy", REQUEST, rows, VARIABLES, 9.0, 4, 2.5)


def test_counts():
    rows = [
        row(1, 0, decorrelated=True, duration=1.0, r=0.1),
        row(1, 1, verdict="too_long", duration=2.0, r=0.2),
        row(2, 0, verdict="rejected", duration=3.0, r=0.3),
        row(2, 1, verdict="too_long", duration=6.0, r=0.6),
    ]
    result = result_of(rows)
    assert (result.moves, result.acceptance, result.evaluations) == (2, 0.25, 400)
    assert result.verdicts == {"accepted": 1, "rejected": 1, "too_long": 2}
    assert (result.decorrelated_paths, result.evaluations_per_decorrelated_path) == (1, 400.0)
    assert result.duration.mean == pytest.approx(3.0)
    assert result.duration.sd == pytest.approx(np.std([1, 2, 3, 6]))
    assert result.crossings["r"].mean == pytest.approx(0.3)


def test_nothing_decorrelated_has_no_cost():
    assert result_of([row(1, 0), row(1, 1)]).evaluations_per_decorrelated_path is None


def test_chains_are_not_mixed():
    """Chain 0 rests at one duration, chain 1 at another: figures are those of the chains one by one."""
    rows = [row(move, chain, duration=1.0 + chain) for move in range(1, 9) for chain in range(2)]
    assert result_of(rows).duration == observable([np.full(8, 1.0), np.full(8, 2.0)])


def test_crossings_on_both_sides_of_half_a_turn():
    """Angles of 179° and −179° are 2° apart, with a spread of 1°."""
    angles = np.radians([179.0, -179.0, 179.0, -179.0])
    phi = result_of([row(1 + n // 2, n % 2, phi=angle) for n, angle in enumerate(angles)]).crossings["phi"]
    assert abs(phi.mean) == pytest.approx(np.pi)
    assert phi.sd == pytest.approx(np.radians(1.0))


def test_json():
    result = result_of([row(1, 0, decorrelated=True), row(1, 1, verdict="failed")])
    content = result.to_json()
    assert json.loads(json.dumps(content)) == content
    assert content["move"] == "two_way" and content["chains"] == 2
    assert set(content["observables"]["crossings"]) == {"phi", "r"}
    one = row(1, 0)
    assert MoveRow.from_json(json.loads(json.dumps(one.to_json()))) == one
