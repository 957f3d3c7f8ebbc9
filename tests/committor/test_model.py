"""The committor model learns a known committor, says how sure it is, and chooses where p_B is one half."""

import json

import numpy as np
import pytest
from scipy.special import expit

from spacetime_tps.committor.model import CommittorModel, Descriptors
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.errors import TrajectoryError

REACH = CollectiveVariable("reach", "distance", (0, 1))
HIGH = CollectiveVariable("high", "distance", (0, 2))


def frames(reach: np.ndarray, high: np.ndarray | float = 1.0) -> np.ndarray:
    """Three atoms, the second ``reach`` nm from the first along x, the third ``high`` along y."""
    positions = np.zeros((len(reach), 3, 3))
    positions[:, 1, 0] = reach
    positions[:, 2, 1] = high
    return positions


def outcomes(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of both sides of a shot: how many reached B."""
    return rng.binomial(2, p).astype(float)


def test_recovers_a_logistic():
    """p_B = expit(3 (r − 2)) from 3,000 shots: within four standard errors by the Fisher information, and 0.01.

    Of six weights; the prior shrinks them, and the quadratic ones are noise.
    """
    rng = np.random.default_rng(0)
    reach = rng.uniform(1, 3, 3000)
    x = frames(reach, rng.uniform(1, 2, 3000))
    model = CommittorModel(Descriptors((REACH, HIGH)), x)
    model.fit(x, outcomes(expit(3 * (reach - 2)), rng))
    at = np.linspace(1.2, 2.8, 17)
    z = model._inputs(frames(at, 1.5))
    p = expit(3 * (at - 2))
    error = p * (1 - p) * np.sqrt(np.einsum("ij,jk,ik->i", z, np.linalg.inv(model.hessian), z))
    assert error.max() < 0.03
    assert (np.abs(model(frames(at, 1.5)) - p) < 4 * error + 0.01).all()


def test_posterior_is_stationary():
    """The gradient of the log posterior vanishes at the weights, and the Hessian is its derivative."""
    rng = np.random.default_rng(1)
    reach = rng.uniform(1, 3, 60)
    x, y = frames(reach), outcomes(expit(4 * (reach - 2)), rng)
    model = CommittorModel(Descriptors((REACH,)), x)
    model.fit(x, y)
    z = model._inputs(x)
    precision = np.append(np.full(z.shape[1] - 1, 1 / model.prior_variance), 1 / 100)

    def gradient(weights: np.ndarray) -> np.ndarray:
        return z.T @ (y - 2 * expit(z @ weights)) - precision * weights

    np.testing.assert_allclose(gradient(model.weights), 0, atol=1e-4)
    numerical = [
        (gradient(model.weights + 1e-4 * e) - gradient(model.weights - 1e-4 * e)) / 2e-4 for e in np.eye(z.shape[1])
    ]
    np.testing.assert_allclose(-np.array(numerical), model.hessian, rtol=1e-3, atol=1e-3)


def test_evidence_prefers_a_weak_prior_for_a_sharp_committor_and_a_strong_one_for_noise():
    rng = np.random.default_rng(2)
    reach = rng.uniform(1, 3, 200)
    x = frames(reach, rng.uniform(1, 2, 200))
    model = CommittorModel(Descriptors((REACH, HIGH)), x)
    model.fit(x, 2.0 * (reach > 2))
    sharp = model.prior_variance
    model.fit(x, outcomes(np.full(200, 0.5), rng))
    assert model.prior_variance < 0.1 < 10 < sharp


def test_before_any_outcome_it_says_one_half_and_chooses_different_frames():
    x = frames(np.linspace(1, 3, 50))
    model = CommittorModel(Descriptors((REACH,)), x)
    np.testing.assert_array_equal(model(x), 0.5)
    assert len(set(model.choose(x, 50, np.random.default_rng(0)).tolist())) == 50


def test_chooses_near_one_half_and_more_sharply_the_more_it_knows():
    rng = np.random.default_rng(3)
    candidates = frames(np.linspace(1, 3, 2001))
    spread = []
    for shots in (10, 1000):
        reach = rng.uniform(1, 3, shots)
        model = CommittorModel(Descriptors((REACH,)), candidates)
        model.fit(frames(reach), outcomes(expit(6 * (reach - 2.2)), rng))
        chosen = candidates[model.choose(candidates, 40, rng), 1, 0]
        spread.append(np.abs(chosen - 2.2).mean())
    assert spread[1] < 0.05
    assert spread[1] < spread[0]


def test_unknown_outcomes_teach_nothing():
    rng = np.random.default_rng(4)
    reach = rng.uniform(1, 3, 300)
    reached, unknown = outcomes(expit(3 * (reach - 2)), rng), np.arange(300) % 3 == 0
    some, known = (CommittorModel(Descriptors((REACH,)), frames(reach)) for _ in range(2))
    some.fit(frames(reach), np.where(unknown, np.nan, reached))
    known.fit(frames(reach[~unknown]), reached[~unknown])
    np.testing.assert_array_equal(some.weights, known.weights)


def test_descriptors_of_the_dipeptide(molecule):
    """φ and ψ to second order; ω twice, φ and ψ about the bonds of its skeleton, and five out-of-plane angles."""
    descriptors = Descriptors.of_molecule(molecule.variables, molecule.topology)
    assert [atoms for atoms in descriptors.torsions if atoms[1:3] in ((4, 6), (6, 8), (8, 14), (14, 16))] == [
        (0, 4, 6, 8),
        (4, 6, 8, 10),
        (6, 8, 14, 15),
        (8, 14, 16, 18),
    ]
    centres = [atoms[2] for atoms in descriptors.torsions[4:]]
    assert centres == [4, 6, 8, 14, 16]
    structure = molecule.structures["c7ax"][None]
    values = descriptors(structure)
    assert values.shape == (1, 4 + 10 + 2 * 9)
    phi = molecule.variables["phi"](molecule.trajectory(structure))
    np.testing.assert_allclose(values[0, :2], [np.cos(phi[0]), np.sin(phi[0])], rtol=1e-6)


def test_rigid_motion_changes_nothing(molecule):
    descriptors = Descriptors.of_molecule(molecule.variables, molecule.topology)
    structure = molecule.structures["c7ax"]
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = structure @ turn.T + [1.0, -2.0, 0.5]
    np.testing.assert_allclose(descriptors(moved[None]), descriptors(structure[None]), atol=1e-4)
    mirrored = structure * [-1, 1, 1]
    assert np.abs(descriptors(mirrored[None]) - descriptors(structure[None])).max() > 0.5  # it knows the hand


def test_json_round_trip(molecule):
    x = np.stack(list(molecule.structures.values()))
    model = CommittorModel(Descriptors.of_molecule(molecule.variables, molecule.topology), x)
    model.fit(x, np.arange(len(x)) % 3 * 1.0)
    again = CommittorModel.from_json(json.loads(json.dumps(model.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again(x), model(x))
    rng = [np.random.default_rng(6) for _ in range(2)]
    np.testing.assert_array_equal(again.choose(x, 2, rng[0]), model.choose(x, 2, rng[1]))


@pytest.mark.parametrize("reach", [[], [1.0, np.nan]])
def test_reference_frames_must_be_there_and_finite(reach):
    with pytest.raises(TrajectoryError, match="reference frames with finite coordinates"):
        CommittorModel(Descriptors((REACH,)), frames(np.array(reach)))
