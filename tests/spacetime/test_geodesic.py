"""Geodesics against closed forms, invariances and the order of convergence."""

import math
import re

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.denoisers.base import Moments
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime import Geodesic, Points, VarianceBound, point, solve_geodesic
from spacetime_tps.spacetime.family import curve_divergences, moments_at


def normal(dimension: int = 1) -> GaussianMixtureDenoiser:
    """q = N(0, I)."""
    return GaussianMixtureDenoiser([1.0], np.zeros((1, dimension)), np.eye(dimension)[None])


def posterior(mean: object, deviation: float) -> Points:
    """The spacetime point whose denoising distribution under q = N(0, I) is N(mean, deviation² I)."""
    snr = 1 / deviation**2 - 1
    return point(np.atleast_1d(mean) * (1 + snr) / snr, math.log(snr))


def exact_length(mean_a: object, s_a: float, mean_b: object, s_b: float) -> float:
    """Of the metric (|dm|² + 2D ds²)/s².

    With u = √(2D) s it is 2D (|dm|² + du²)/u², that is √(2D) times the half-space model of hyperbolic space, where
    cosh of the distance is 1 + (|Δm|² + Δu²)/(2 u_a u_b).
    """
    step = np.atleast_1d(mean_a) - np.atleast_1d(mean_b)
    d = len(step)
    return math.sqrt(2 * d) * math.acosh(1 + (step @ step / (2 * d) + (s_a - s_b) ** 2) / (2 * s_a * s_b))


WIDE = ((-1.0, 0.1), (1.0, 0.1))
SKEW = ((-0.5, 0.3), (0.7, 0.2))


def solve(ends, **options) -> Geodesic:
    return solve_geodesic(normal(), posterior(*ends[0]), posterior(*ends[1]), **options)


def check_quality(geodesic: Geodesic) -> None:
    assert geodesic.converged
    assert geodesic.feasible
    assert 1 - 1e-9 <= geodesic.speed_ratio <= 1.001
    assert geodesic.negative_chord_fraction == 0


class TestOneGaussian:
    @pytest.mark.parametrize("ends, length", [(WIDE, 7.5070), (SKEW, 3.7418)])
    def test_length(self, ends, length):
        """512 points and 30 knots leave an error of 1.1e-4 and 2e-5, from chords and knots together."""
        exact = exact_length(*ends[0], *ends[1])
        assert exact == pytest.approx(length, abs=5e-5)
        geodesic = solve(ends, points=512, knots=30)
        check_quality(geodesic)
        assert geodesic.length == pytest.approx(exact, abs=2e-4)
        assert geodesic.energy == pytest.approx(0.5 * exact**2, rel=1e-4)

    @pytest.mark.parametrize("ends", [WIDE, SKEW])
    def test_points_lie_on_the_half_circle(self, ends):
        """Geodesics in (m/√2, s) are circles centred on s = 0, and points are equidistant along them."""
        (m_a, s_a), (m_b, s_b) = ends
        x_a, x_b = m_a / math.sqrt(2), m_b / math.sqrt(2)
        centre = (x_b**2 + s_b**2 - x_a**2 - s_a**2) / (2 * (x_b - x_a))
        radius = math.hypot(x_a - centre, s_a)
        geodesic = solve(ends, points=256, knots=30)
        x = geodesic.moments.mean[:, 0].numpy() / math.sqrt(2)
        s = geodesic.moments.variance.sqrt().numpy()
        np.testing.assert_allclose(np.hypot(x - centre, s), radius, rtol=2e-3)
        arc = np.arctanh(((x - centre) / np.hypot(x - centre, s)).clip(-1, 1))  # hyperbolic arc length from the apex
        np.testing.assert_allclose(np.diff(arc) / np.diff(arc).mean(), 1, atol=0.01)

    def test_default_settings_are_good_to_a_thousandth(self):
        assert solve(WIDE).length == pytest.approx(exact_length(*WIDE[0], *WIDE[1]), rel=1e-3)

    @pytest.mark.parametrize("dimension", [2, 5])
    def test_isotropic_gaussian_in_more_dimensions(self, dimension):
        rng = np.random.default_rng(dimension)
        mean_a, mean_b = 0.5 * rng.normal(size=(2, dimension))
        geodesic = solve_geodesic(
            normal(dimension), posterior(mean_a, 0.3), posterior(mean_b, 0.2), points=256, knots=14
        )
        check_quality(geodesic)
        assert geodesic.length == pytest.approx(exact_length(mean_a, 0.3, mean_b, 0.2), rel=2e-4)

    def test_pure_change_of_noise(self):
        """At m = 0 the geodesic is vertical and its length √2 |log s_a/s_b|."""
        geodesic = solve(((0.0, 0.1), (0.0, 0.6)), points=256)
        assert geodesic.length == pytest.approx(math.sqrt(2) * math.log(6), rel=2e-4)
        assert geodesic.moments.mean.abs().max() < 1e-6


class TestConvergence:
    def test_order_of_chords_on_the_exact_geodesic(self):
        """Σ√J over N equidistant points of the closed-form half circle: error of second order in 1/(N − 1)."""
        (m_a, s_a), (m_b, _) = WIDE  # symmetric: the circle is centred at m = 0
        radius = math.hypot(m_a / math.sqrt(2), s_a)
        top = math.atanh(m_b / math.sqrt(2) / radius)
        errors, counts = [], np.array([16, 32, 64, 128])
        for count in counts:
            arc = torch.linspace(-top, top, int(count), dtype=torch.float64)
            mean, deviation = math.sqrt(2) * radius * arc.tanh(), radius / arc.cosh()
            snr = 1 / deviation**2 - 1
            curve = Points((mean * (1 + snr) / snr)[:, None], snr.log())
            length = curve_divergences(curve, moments_at(normal(), curve)).sqrt().sum()
            errors.append(abs(float(length) - exact_length(*WIDE[0], *WIDE[1])))
        order = -np.polyfit(np.log(counts - 1), np.log(errors), 1)[0]
        assert 1.95 < order < 2.1

    def test_order_of_the_solver(self):
        """With 30 knots the spline's own error is far below that of the chords; N must exceed the knots."""
        counts = np.array([32, 64, 128, 256])
        exact = exact_length(*WIDE[0], *WIDE[1])
        errors = [abs(solve(WIDE, points=int(count), knots=30).length - exact) for count in counts]
        order = -np.polyfit(np.log(counts - 1), np.log(errors), 1)[0]
        assert 1.9 <= order < 2.2

    def test_length_falls_to_the_exact_one_with_more_knots(self):
        """A spline with more knots can only be shorter, and the number of knots does not matter once resolved."""
        length = {knots: solve(SKEW, points=512, knots=knots).length for knots in (6, 12, 24, 48)}
        exact = exact_length(*SKEW[0], *SKEW[1])
        error = np.array(list(length.values())) - exact
        assert np.all(error > 0)
        assert np.all(np.diff(error) < 0)
        assert length[24] == pytest.approx(length[48], rel=2e-5)


class TestToyOfThePaper:
    """Figure 1 of arXiv 2505.17517 with λ(t) = 10 − 20 t and a variance-preserving schedule."""

    mixture = GaussianMixtureDenoiser([0.275, 0.45, 0.275], [[-2.5], [0.5], [2.5]], np.full((3, 1, 1), 0.75**2))

    @staticmethod
    def at(x_t: float, t: float) -> Points:
        log_snr = 10 - 20 * t
        return point([x_t / math.sqrt(1 / (1 + math.exp(-log_snr)))], log_snr)

    def test_length_and_apex(self):
        geodesic = solve_geodesic(self.mixture, self.at(-2.3, 0.35), self.at(2, 0.4), points=512, knots=30)
        check_quality(geodesic)
        assert geodesic.length == pytest.approx(6.408, abs=0.002)
        apex = float((10 - geodesic.points.log_snr.min()) / 20)
        assert apex == pytest.approx(0.618, abs=0.002)


def planar_mixture(rotation: np.ndarray, shift: np.ndarray) -> GaussianMixtureDenoiser:
    means = np.array([[-1.0, 0.0], [0.3, 0.8], [1.0, -0.2]])
    covariances = np.array([[[0.05, 0.02], [0.02, 0.1]], [[0.1, 0.0], [0.0, 0.03]], [[0.06, -0.01], [-0.01, 0.04]]])
    return GaussianMixtureDenoiser([1, 1.5, 1], means @ rotation.T + shift, rotation @ covariances @ rotation.T)


class TestInvariance:
    a, b = point([-1.0, 0.1], 2.5), point([1.0, -0.3], 3.0)

    def reference(self) -> Geodesic:
        return solve_geodesic(planar_mixture(np.eye(2), np.zeros(2)), self.a, self.b, points=96, knots=10)

    def test_exchange_of_the_ends(self):
        q = planar_mixture(np.eye(2), np.zeros(2))
        forward, backward = self.reference(), solve_geodesic(q, self.b, self.a, points=96, knots=10)
        check_quality(forward)
        assert backward.length == pytest.approx(forward.length, rel=1e-6)
        torch.testing.assert_close(backward.points.y.flip(0), forward.points.y, rtol=0, atol=5e-3)

    def test_rotation_and_shift(self):
        rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
        shift = np.array([7.0, -2.0])
        moved_ends = [
            Points(end.y @ torch.from_numpy(rotation).T + torch.from_numpy(shift), end.log_snr)
            for end in (self.a, self.b)
        ]
        moved = solve_geodesic(planar_mixture(rotation, shift), *moved_ends, points=96, knots=10)
        assert moved.length == pytest.approx(self.reference().length, rel=1e-6)

    def test_ends_are_kept(self):
        geodesic = self.reference()
        for index, end in ((0, self.a), (-1, self.b)):
            torch.testing.assert_close(geodesic.points.y[index], end.y[0], rtol=0, atol=1e-9)
            torch.testing.assert_close(geodesic.points.log_snr[index], end.log_snr[0], rtol=0, atol=1e-9)


class Twisted(GaussianMixtureDenoiser):
    """q = N(0, 1) in two dimensions with a variance that is made wrong, so that it is the gradient of nothing."""

    def __init__(self, twist: float) -> None:
        super().__init__([1.0], np.zeros((1, 2)), np.eye(2)[None])
        self.twist = twist

    def moments(self, y, log_snr):
        moments = super().moments(y, log_snr)
        return Moments(moments.mean, moments.variance * (1 + self.twist * torch.sin(20 * y[..., 0])))


def test_a_denoiser_that_is_no_gradient_is_found_out():
    ends = (point([-1.0, 0.0], 1.0), point([1.0, 0.2], 1.5))
    honest, twisted = (solve_geodesic(Twisted(twist), *ends, points=32, knots=6) for twist in (0.0, 0.9))
    assert honest.negative_chord_fraction == 0
    assert "J < 0" not in honest.message
    assert twisted.negative_chord_fraction > 0.01
    assert re.search(r"J < 0 on \d+\.\d % of the chords", twisted.message)


@pytest.mark.slow
def test_errors_of_a_refined_denoiser_are_not_followed():
    """It has a coarse denoiser, here the exact one: then the curve is nearly the exact geodesic, else it is not."""
    ends = (point([-1.0, 0.0], 1.0), point([1.0, 0.2], 1.5))
    exact, refined = Twisted(0.0), Twisted(0.9)
    refined.base = exact
    lost, found = (solve_geodesic(denoiser, *ends, points=32, knots=6) for denoiser in (Twisted(0.9), refined))
    true = [
        float(curve_divergences(g.points, moments_at(exact, g.points)).clamp(min=0).sqrt().sum())
        for g in (solve_geodesic(exact, *ends, points=32, knots=6), lost, found)
    ]
    assert true[1] > 1.2 * true[0]
    assert true[2] < 1.1 * true[0]
    assert found.negative_chord_fraction < 0.5 * lost.negative_chord_fraction


class TestRefusals:
    good = point([0.5], 1.0)

    @pytest.mark.parametrize(
        "bad, message",
        [
            (point([0.0, 0.0], 1.0), r"has y of shape \(1, 2\), the denoiser needs \(1, 1\)"),
            (Points(torch.zeros(2, 1).double(), torch.ones(2).double()), r"has y of shape \(2, 1\)"),
            (point([math.nan], 1.0), "is not finite"),
            (point([0.0], math.inf), "is not finite"),
            (point([0.0], -3.0), "has log SNR -3.000, outside the bounds -2.000 to 4.000"),
            (point([0.0], 4.5), "has log SNR 4.500, outside the bounds"),
        ],
    )
    def test_bad_ends(self, bad, message):
        for name, ends in (("first", (bad, self.good)), ("second", (self.good, bad))):
            with pytest.raises(GeometryError, match=f"the {name} end {message}"):
                solve_geodesic(normal(), *ends, log_snr_bounds=(-2.0, 4.0))

    def test_an_end_that_breaks_the_bound_itself(self):
        """Its variance is 1/(1 + e) = 0.2689, the limit 0.2."""
        good = point([0.5], 3.0)
        start = Points(torch.zeros(4, 1).double(), torch.ones(4).double())
        message = r"second end breaks a constraint itself, by 34\.5 % \(its variance is 0\.2689\); raise the SNR"
        with pytest.raises(GeometryError, match=message):
            solve_geodesic(normal(), good, self.good, [VarianceBound(0.2)], starts=[start])

    def test_noise_that_the_denoiser_does_not_know(self):
        class Trained(Twisted):
            log_snr_range = (-1.0, 2.0)

        a, b = point([0.0, 0.0], 2.5), point([1.0, 0.0], 1.0)
        for name, ends in (("first", (a, b)), ("second", (b, a))):
            with pytest.raises(GeometryError, match=rf"{name} end has log SNR 2\.500.*knows only -1\.000 to 2\.000"):
                solve_geodesic(Trained(0.0), *ends)
        geodesic = solve_geodesic(Trained(0.0), b, point([-1.0, 0.0], 1.0), points=32, knots=6)
        assert geodesic.points.log_snr.min() >= -1.0

    def test_values_that_are_not_finite_are_named_with_their_call(self):
        class Broken(Twisted):
            """At the middle of the curve, and only where a gradient is asked for."""

            def moments(self, y, log_snr):
                moments = super().moments(y, log_snr)
                factor = torch.ones_like(log_snr)
                if y.requires_grad and len(y) == 32:
                    factor[16] = math.nan
                return Moments(moments.mean, moments.variance * factor)

        with pytest.raises(
            GeometryError, match=r"Broken .* not finite in evaluation \d+ of the curve's energy at point 16"
        ):
            solve_geodesic(Broken(0.0), point([0.0, 0.0], 1.0), point([1.0, 0.0], 1.0), points=32, knots=6)

    def test_constraints_without_samples_or_starts(self):
        with pytest.raises(GeometryError, match="needs samples"):
            solve_geodesic(normal(), self.good, point([0.0], 1.0), [VarianceBound(0.9)])
