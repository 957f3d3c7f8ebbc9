"""The committor model learns a known committor and says one half while it knows nothing."""

import numpy as np
import pytest

from spacetime_tps.dynamics.committor import CommittorModel
from spacetime_tps.states import CollectiveVariable

PHI = CollectiveVariable("phi", "dihedral", (0, 1, 2, 3))
REACH = CollectiveVariable("reach", "distance", (0, 3))


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def outcomes(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of both sides of a shot: how many reached B."""
    return rng.binomial(2, p).astype(float)


def test_recovers_a_logistic_in_a_dihedral():
    """p_B = logistic(0.4 − 0.8 cos φ + 1.7 sin φ) from 4,000 shots.

    Standard errors of p from the Fisher information of 8,000 sides; four of them, and 0.003 for the regularisation.
    """
    rng = np.random.default_rng(0)
    coefficients = np.array([0.4, -0.8, 1.7])

    def design(phi: np.ndarray) -> np.ndarray:
        return np.stack([np.ones_like(phi), np.cos(phi), np.sin(phi)], axis=1)

    phi = rng.uniform(-np.pi, np.pi, 4000)
    exact = logistic(design(phi) @ coefficients)
    model = CommittorModel([PHI])
    model.fit({"phi": phi}, outcomes(exact, rng))
    at = np.linspace(-np.pi, np.pi, 41)
    x, p = design(at), logistic(design(at) @ coefficients)
    information = 2 * (design(phi) * (exact * (1 - exact))[:, None]).T @ design(phi)
    error = p * (1 - p) * np.sqrt(np.einsum("ij,jk,ik->i", x, np.linalg.inv(information), x))
    assert error.max() < 0.012
    assert (np.abs(model({"phi": at}) - p) < 4 * error + 0.003).all()
    assert model({"phi": at[:1]})[0] == pytest.approx(model({"phi": at[-1:]})[0], abs=1e-12)


def test_units_of_a_variable_do_not_matter():
    rng = np.random.default_rng(1)
    reach = rng.normal(3.0, 1.0, 500)
    reached = outcomes(logistic(2 * (reach - 3.0)), rng)
    predictions = []
    for scale in (1.0, 1e-3, 1e3):
        model = CommittorModel([REACH])
        model.fit({"reach": scale * reach}, reached)
        predictions.append(model({"reach": scale * np.linspace(1, 5, 9)}))
    assert (np.diff(predictions[0]) > 0).all()
    assert predictions[0][4] == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(predictions[1:], [predictions[0]] * 2, atol=1e-4)


@pytest.mark.parametrize("reached", [[], [0, 0, 0], [2, 2, 2], [np.nan, np.nan, 2]])
def test_one_half_until_both_outcomes_are_seen(reached):
    model = CommittorModel([PHI, REACH])
    values = {"phi": np.linspace(-1, 1, len(reached)), "reach": np.linspace(0, 1, len(reached))}
    model.fit(values, np.array(reached, dtype=float))
    np.testing.assert_array_equal(model({"phi": np.linspace(-3, 3, 7), "reach": np.ones(7)}), np.full(7, 0.5))


def test_one_reactive_shot_is_both_outcomes():
    model = CommittorModel([REACH])
    model.fit({"reach": np.array([1.0])}, np.array([1.0]))
    np.testing.assert_allclose(model({"reach": np.array([1.0, 1.0])}), 0.5, atol=1e-6)


def test_unknown_outcomes_are_left_out():
    rng = np.random.default_rng(2)
    reach = rng.normal(size=300)
    reached = outcomes(logistic(3 * reach), rng)
    unknown = np.arange(300) % 3 == 0
    some, known = CommittorModel([REACH]), CommittorModel([REACH])
    some.fit({"reach": reach}, np.where(unknown, np.nan, reached))
    known.fit({"reach": reach[~unknown]}, reached[~unknown])
    at = {"reach": np.linspace(-2, 2, 9)}
    np.testing.assert_array_equal(some(at), known(at))
    assert some(at)[0] < 0.1 < 0.9 < some(at)[-1]
