"""Restraints on molecules that turn and move freely, against closed forms and averages over random motions."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spacetime_tps.coordinates.rotations import log_rotation_integral, restraint_energies


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_rotation_integral_is_the_mean_over_rotations(scale):
    """200,000 rotations; four standard errors."""
    rotations = Rotation.random(200000, rng=np.random.default_rng(1)).as_matrix()
    matrix = scale * np.random.default_rng(2).normal(size=(3, 3))
    for sign in (1, -1):  # both signs of the determinant
        values = np.exp(np.einsum("nij,ij->n", rotations, sign * matrix))
        integral = np.exp(log_rotation_integral(sign * matrix[None])[0])
        assert integral == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))


def test_rotation_integral_of_a_stiff_restraint_is_laplace():
    """exp(s₁+s₂+s₃) (2π)^{3/2} / (8π² √((s₁+s₂)(s₁+s₃)(s₂+s₃))), up to the inverse of the least sum."""
    for s in ([3000.0, 2000.0, 500.0], [3000.0, 2000.0, -500.0], [80000.0, 900.0, 600.0]):
        a, b, c = s
        laplace = sum(s) + 1.5 * np.log(2 * np.pi) - 0.5 * np.log((a + b) * (a + c) * (b + c)) - np.log(8 * np.pi**2)
        assert log_rotation_integral(np.diag(s)[None])[0] == pytest.approx(laplace, abs=1 / (b + c))


def test_energy_does_not_see_how_the_molecule_lies():
    rng = np.random.default_rng(3)
    x, centres = rng.normal(0, 0.2, (5, 6, 3)), rng.normal(0, 0.2, (3, 6, 3))
    log_snr = np.array([2.0, 6.0, -np.inf])
    energies = restraint_energies(x, centres, log_snr)
    turned = x @ Rotation.random(rng=rng).as_matrix() + [1.0, -2.0, 0.3]
    again = restraint_energies(turned, centres + np.array([0.4, 0, 1]), log_snr)
    np.testing.assert_allclose(again, energies, atol=1e-7)
    assert (energies[2] == 0).all()


def test_energy_is_the_integral_over_motions_of_the_body():
    """exp(−b) by 10⁶ rotations and Gaussian translations; four standard errors."""
    rng = np.random.default_rng(4)
    x, y, snr = rng.normal(0, 0.3, (1, 4, 3)), rng.normal(0, 0.3, (1, 4, 3)), 8.0
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    rotations = Rotation.random(300000, rng=rng).as_matrix()
    values = np.exp(-0.5 * snr * (((x[0] @ rotations) - y[0]) ** 2).sum((1, 2))) * (2 * np.pi / (4 * snr)) ** 1.5
    energies = restraint_energies(x, y, np.log([snr]))[0, 0]
    assert np.exp(-energies) == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(len(values)))
