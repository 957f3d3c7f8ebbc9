"""Diffusion Edit Distance against closed forms, the axioms of a metric and invariances; matrices; bad input."""

import logging
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime import edit_distance, edit_geodesic, pairwise_edit_distances, point, solve_geodesic
from spacetime_tps.spacetime.distance import half_circle

LOG_SNR = 3.0


def normal(dimension: int) -> GaussianMixtureDenoiser:
    """q = N(0, I)."""
    return GaussianMixtureDenoiser([1.0], np.zeros((1, dimension)), np.eye(dimension)[None])


def planar(rotation=np.eye(2), shift=np.zeros(2)) -> GaussianMixtureDenoiser:  # noqa: B008
    """Two modes that touch and one apart."""
    means = np.array([[-1.0, 0.0], [-0.2, 0.6], [1.2, -0.2]])
    covariances = np.array([[[0.05, 0.02], [0.02, 0.1]], [[0.1, 0.0], [0.0, 0.03]], [[0.06, -0.01], [-0.01, 0.04]]])
    return GaussianMixtureDenoiser([1, 1.5, 1], means @ rotation.T + shift, rotation @ covariances @ rotation.T)


def limited(denoiser: GaussianMixtureDenoiser, low: float, high: float) -> GaussianMixtureDenoiser:
    """The same denoiser, asked outside of its range it fails."""

    class Limited(GaussianMixtureDenoiser):
        log_snr_range = (low, high)

        def moments(self, y, log_snr):
            assert log_snr.min() >= low - 1e-9
            assert log_snr.max() <= high + 1e-9
            return super().moments(y, log_snr)

    return Limited(denoiser.weights, denoiser.means, denoiser.covariances)


class TestOneGaussian:
    @pytest.mark.parametrize("dimension", [1, 3, 6])
    @pytest.mark.parametrize("log_snr", [0.0, 4.0])
    def test_closed_form(self, dimension, log_snr):
        """Posteriors of q = N(0, I) are N(m, s² I), m = x SNR/(1 + SNR), s² = 1/(1 + SNR), of equal s at one anchor.

        The metric (|dm|² + 2D ds²)/s² is √(2D) times the half-space model: cosh(L/√(2D)) = 1 + |Δm|²/(4D s²). Lengths
        here go up to 15; over 48 points, chords of 0.3, their √J are too long by 1e-3.
        """
        a, b = np.random.default_rng(dimension).normal(size=(2, dimension))
        snr = math.exp(log_snr)
        argument = 1 + ((a - b) @ (a - b)) * snr**2 / (1 + snr) / (4 * dimension)
        exact = math.sqrt(2 * dimension) * math.acosh(argument)
        q = normal(dimension)
        assert edit_distance(q, a, b, log_snr) == pytest.approx(exact, rel=2e-3)
        assert edit_distance(q, a, b, log_snr, points=256, knots=14) == pytest.approx(exact, rel=1e-4)

    def test_half_circle_is_the_geodesic_of_one_gaussian(self):
        """In the limit of high SNR, where y is the mean; at equal steps, so its own energy is that of its length."""
        log_snr = 9.0
        a, b = point([0.0, 0.3], log_snr), point([0.2, -0.1], log_snr)
        geodesic = solve_geodesic(normal(2), a, b, points=33, knots=14)
        start = half_circle(normal(2), a, b)
        np.testing.assert_allclose(start.log_snr, geodesic.points.log_snr, atol=0.05)
        np.testing.assert_allclose(start.y, geodesic.points.y, atol=2e-3)


class TestTwoAtoms:
    @pytest.mark.parametrize("m", [0.5, 50.0])
    def test_reweighting_costs_the_same_however_far(self, m):
        """Posteriors on ±m are coins with p = sigmoid(2 m SNR y), whose Fisher-Rao length is 2 Δ arcsin √p, below π."""
        q = GaussianMixtureDenoiser([1, 1], [[-m], [m]], np.full((2, 1, 1), (1e-4 * m) ** 2))
        p = 1 / (1 + np.exp([6.0, -6.0]))
        exact = 2 * np.diff(np.arcsin(np.sqrt(p)))[0]
        assert edit_distance(q, [-m], [m], math.log(3 / m**2)) == pytest.approx(exact, rel=2e-3)


class TestMetric:
    """Of the planar mixture, whose lengths of 32 points and 6 knots are too long by up to 2 %."""

    @given(st.lists(st.tuples(st.floats(-1.8, 1.8), st.floats(-1.0, 1.2)), min_size=3, max_size=3))
    @settings(max_examples=8, deadline=None)
    def test_triangle_inequality(self, corners):
        """Tolerance: by how much the long side may be overestimated; the short sides are never underestimated."""
        sides = pairwise_edit_distances(planar(), corners, LOG_SNR, points=32, knots=6).distances
        a, b, c = sorted([sides[0, 1], sides[0, 2], sides[1, 2]])
        assert c <= 1.02 * (a + b) + 1e-6

    @given(*[st.tuples(st.floats(-1.8, 1.8), st.floats(-1.0, 1.2))] * 2)
    @settings(max_examples=5, deadline=None)
    def test_symmetry(self, a, b):
        there, back = edit_distance(planar(), a, b, LOG_SNR), edit_distance(planar(), b, a, LOG_SNR)
        assert there == pytest.approx(back, rel=1e-6, abs=1e-9)

    def test_identity(self):
        x = [0.3, -0.4]
        assert edit_distance(planar(), x, x, LOG_SNR) == pytest.approx(0, abs=1e-9)
        assert edit_distance(planar(), x, [0.3, -0.4 + 1e-4], LOG_SNR) > 1e-5

    def test_start_does_not_matter(self):
        """The half circle comes to the same length as the bends that geodesics start from by default."""
        rng = np.random.default_rng(0)
        for log_snr in (1.0, 3.0, 5.0):
            a, b = rng.uniform([-1.5, -0.5], [1.5, 0.8], size=(2, 2))
            bends = solve_geodesic(planar(), point(a, log_snr), point(b, log_snr), points=64, knots=10)
            assert edit_distance(planar(), a, b, log_snr) == pytest.approx(bends.length, rel=1e-3)

    def test_rotation_and_shift(self):
        rotation, shift = np.array([[0.6, -0.8], [0.8, 0.6]]), np.array([7.0, -2.0])
        a, b = np.array([-1.0, 0.1]), np.array([1.1, -0.3])
        moved = edit_distance(planar(rotation, shift), rotation @ a + shift, rotation @ b + shift, LOG_SNR)
        assert moved == pytest.approx(edit_distance(planar(), a, b, LOG_SNR), rel=1e-6)


class TestMatrix:
    x = np.random.default_rng(3).uniform([-1.5, -0.5], [1.5, 0.8], size=(5, 2))

    def test_it_holds_the_distances_of_pairs(self):
        found = pairwise_edit_distances(planar(), self.x, LOG_SNR, points=32, knots=6)
        np.testing.assert_array_equal(found.distances, found.distances.T)
        np.testing.assert_array_equal(np.diag(found.distances), 0)
        assert found.unconverged == []
        for i, j in ((0, 1), (2, 4)):
            one = edit_geodesic(planar(), self.x[i], self.x[j], LOG_SNR, points=32, knots=6)
            assert found.distances[i, j] == pytest.approx(one.length, rel=1e-9)

    @pytest.mark.slow
    def test_workers_do_not_matter(self):
        here, there = (
            pairwise_edit_distances(planar(), self.x, LOG_SNR, points=32, knots=6, workers=workers)
            for workers in (1, 2)
        )
        np.testing.assert_array_equal(here.distances, there.distances)
        assert here.evaluations == there.evaluations

    def test_what_is_not_converged_is_reported(self, monkeypatch, caplog):
        """Too few iterations for the solver."""
        from spacetime_tps.spacetime import distance

        def hasty(*arguments, **options):
            return solve_geodesic(*arguments, max_iterations=1, **options)

        monkeypatch.setattr(distance, "solve_geodesic", hasty)
        monkeypatch.setattr("spacetime_tps.spacetime.minimizer._RESTART", 1)
        with caplog.at_level(logging.WARNING, logger="spacetime_tps"):
            found = pairwise_edit_distances(planar(), self.x[:3], LOG_SNR, points=32, knots=6)
        assert found.unconverged == [(0, 1), (0, 2), (1, 2)]
        assert "3 of 3 geodesics are not converged, the first between samples 0 and 1" in caplog.text

    def test_curves_stay_where_the_denoiser_knows_the_noise(self):
        q = limited(planar(), 0.5, LOG_SNR)
        lower = edit_distance(planar(), self.x[0], self.x[1], LOG_SNR)
        assert edit_distance(q, self.x[0], self.x[1], LOG_SNR) >= lower - 1e-6


class TestRefusals:
    @pytest.mark.parametrize(
        "x, log_snr, message",
        [
            ([[0.0, 0.0], [1.0, math.nan]], 1.0, "sample 1 is not finite"),
            ([[0.0], [1.0]], 1.0, r"sample 0 has shape \(1,\), the denoiser needs \(2,\)"),
            ([[0.0, 0.0]], 1.0, r"two or more, dimension\), not \(1, 2\)"),
            ([0.0, 0.0], 1.0, r"two or more, dimension\), not \(2,\)"),
            ([[0.0, 0.0], [1.0, 1.0]], math.inf, "the anchor has log SNR inf"),
        ],
    )
    def test_samples_and_anchor(self, x, log_snr, message):
        with pytest.raises(GeometryError, match=message):
            pairwise_edit_distances(planar(), x, log_snr)

    def test_anchor_outside_the_denoisers_range(self):
        with pytest.raises(GeometryError, match="log SNR 5, but the denoiser knows 0 to 4"):
            edit_distance(limited(planar(), 0.0, 4.0), [0, 0], [1, 1], 5.0)

    def test_two_samples_of_different_size(self):
        with pytest.raises(GeometryError, match=r"sample 1 has shape \(3,\)"):
            edit_distance(planar(), [0, 0], [1, 1, 1], 1.0)

    def test_workers(self):
        with pytest.raises(GeometryError, match="at least one worker is needed, not 0"):
            pairwise_edit_distances(planar(), np.eye(2), 1.0, workers=0)
        with pytest.raises(GeometryError, match="Limited cannot be sent to worker processes"):
            pairwise_edit_distances(limited(planar(), 0.0, 4.0), np.eye(2), 1.0, workers=2)

    def test_a_failure_names_the_samples(self):
        """Infinitely far apart, as far as numbers go."""
        x = np.array([[0.0, 0.0], [0.1, 0.0], [1e300, 0.0]])
        with np.errstate(all="ignore"), pytest.raises(GeometryError, match=r"samples 0 and 2: .* not finite at point"):
            pairwise_edit_distances(planar(), x, 1.0, points=16, knots=3)
