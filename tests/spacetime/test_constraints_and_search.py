"""Constrained geodesics on an arc of narrow Gaussians: they must go round, where free ones jump across."""

import math
import re

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import ExternalDenoiser, GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError, NoPathError
from spacetime_tps.spacetime import (
    Geodesic,
    LikelihoodBound,
    Points,
    RegionAvoidance,
    VarianceBound,
    depth,
    kl_divergence,
    point,
    solve_channels,
    solve_geodesic,
)
from spacetime_tps.spacetime.constraints import largest_violation
from spacetime_tps.spacetime.family import moments_at
from spacetime_tps.spacetime.search import SpacetimeGraph

WIDTH = 0.1
END = 2.3  # A and B at θ = ∓2.3 on the unit circle: 1.49 apart, 4.6 along the arc
BOUNDS = (-2.0, 4.2)
# A restraint at distance h from two Gaussians pulls their posteriors to a distance h/(1 + SNR WIDTH²) at which half the
# mass on either side has that distance squared as its variance: at the highest SNR 0.20 between A and B (h = 0.75).
LIMIT = 0.1


def on_circle(angles: np.ndarray) -> GaussianMixtureDenoiser:
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussianMixtureDenoiser(np.ones(len(means)), means, np.tile(WIDTH**2 * np.eye(2), (len(means), 1, 1)))


def samples_of(q: GaussianMixtureDenoiser, count: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    chosen = rng.integers(q.components, size=count)
    return q.means[chosen] + WIDTH * torch.from_numpy(rng.normal(size=(count, 2)))


def at(angle: float, log_snr: float = 4.0) -> Points:
    return point([math.cos(angle), math.sin(angle)], log_snr)


def angles_of(geodesic: Geodesic) -> np.ndarray:
    return np.arctan2(*geodesic.moments.mean.numpy().T[::-1])


ARC = np.linspace(-END, END, 24)
CHANNEL = on_circle(ARC)
A, B = at(-END), at(END)


class TestChannel:
    def test_bounded_geodesic_follows_the_arc_without_a_hint(self):
        geodesic = solve_geodesic(
            CHANNEL,
            A,
            B,
            [VarianceBound(LIMIT)],
            samples=samples_of(CHANNEL, 240),
            points=64,
            knots=10,
            log_snr_bounds=BOUNDS,
            graph_levels=6,
        )
        assert geodesic.feasible
        assert geodesic.converged
        assert geodesic.max_violation <= 0.01
        assert geodesic.max_variance <= 1.01 * LIMIT
        assert geodesic.negative_chord_fraction == 0
        angles = angles_of(geodesic)
        assert np.all(np.diff(angles) > 0)  # from A to B without turning back
        assert np.diff(angles).max() < 0.3  # nothing left out: 64 points over 4.6 rad are 0.07 apart
        assert angles[0] < -2.1
        assert angles[-1] > 2.1
        assert np.linalg.norm(geodesic.moments.mean, axis=1).min() > 0.6

    def test_free_geodesic_jumps_across(self):
        geodesic = solve_geodesic(CHANNEL, A, B, points=64, knots=10, log_snr_bounds=BOUNDS)
        assert geodesic.feasible  # nothing to obey
        assert geodesic.max_violation == -math.inf
        assert geodesic.max_variance > 2 * LIMIT
        assert np.abs(angles_of(geodesic)).min() > 2.1  # never on the arc

    def test_gap_in_the_channel_means_no_path(self):
        """A gap of 1.6 rad has h = sin 0.8: half the mass on either side means a variance of 0.19 or more."""
        broken = on_circle(ARC[np.abs(ARC) > 0.8])
        samples = samples_of(broken, 80)
        options = {"samples": samples, "log_snr_bounds": BOUNDS, "levels": 6}
        with pytest.raises(NoPathError, match=r"made from 80 samples, \d+ are connected to A and \d+ to B") as error:
            SpacetimeGraph(broken, A, B, (VarianceBound(LIMIT),), **options).shortest_path()
        # the message names two samples on both sides of the gap and the bound that opens it, within one per cent
        found = re.search(
            r"breaks between sample (\d+) and sample (\d+), .* variance bound of ([\d.]+) \(0.1 asked\)",
            str(error.value),
        )
        assert found is not None
        one, other = (float(torch.atan2(*samples[int(found[i])].flip(0))) for i in (1, 2))
        assert one * other < 0
        smallest = float(found[3])
        assert smallest > 0.19
        assert len(SpacetimeGraph(broken, A, B, (VarianceBound(1.01 * smallest),), **options).shortest_path()) > 2
        with pytest.raises(NoPathError):
            SpacetimeGraph(broken, A, B, (VarianceBound(0.9 * smallest),), **options).shortest_path()
        options["samples"] = samples_of(CHANNEL, 80)
        assert SpacetimeGraph(CHANNEL, A, B, (VarianceBound(LIMIT),), **options).shortest_path()

    def test_bound_that_no_point_satisfies(self):
        """With SNR at most e^4.2 no variance is below 2/(SNR + 1/WIDTH²) = 0.012."""
        with pytest.raises(NoPathError, match=r"obeys the constraints.*the smallest variance found is 0\.01") as error:
            SpacetimeGraph(
                CHANNEL, A, B, (VarianceBound(1e-3),), samples=samples_of(CHANNEL, 80), log_snr_bounds=BOUNDS
            )
        assert re.search(r"needs a variance bound of 0\.01\d* \(0\.001 asked\)", str(error.value))

    def test_graph_paths_run_through_feasible_points_of_the_arc(self):
        bound = VarianceBound(LIMIT)
        graph = SpacetimeGraph(
            CHANNEL, A, B, (bound,), samples=samples_of(CHANNEL, 240), log_snr_bounds=BOUNDS, levels=6
        )
        path = graph.shortest_path()
        torch.testing.assert_close(path.y[[0, -1]], torch.cat([A.y, B.y]), rtol=0, atol=0)
        assert largest_violation(CHANNEL, path, (bound,))[0] <= 0.01
        # the search tests edges along exponential geodesics (straight in η) by bisection; here they are scanned
        share = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]
        for a, b in zip(range(len(path) - 1), range(1, len(path)), strict=True):
            snr = (1 - share) * path.snr[a] + share * path.snr[b]
            pull = (1 - share) * path.snr[a] * path.y[a] + share * path.snr[b] * path.y[b]
            edge = Points(pull / snr, snr[:, 0].log())
            assert largest_violation(CHANNEL, edge, (bound,))[0] <= 0.05
        mean = moments_at(CHANNEL, path).mean.numpy()
        assert np.histogram(np.arctan2(mean[:, 1], mean[:, 0]), bins=6, range=(-END, END))[0].min() > 0

    def test_one_channel_has_no_detour(self):
        graph = SpacetimeGraph(
            CHANNEL, A, B, (VarianceBound(LIMIT),), samples=samples_of(CHANNEL, 240), log_snr_bounds=BOUNDS, levels=6
        )
        path = graph.shortest_path()
        mean = moments_at(CHANNEL, path).mean
        assert graph.next_channel(path, mean, [mean]) is None

    def test_infeasible_result_is_reported_not_raised(self):
        share = torch.linspace(0, 1, 20, dtype=torch.float64)
        straight = Points(A.y + share[:, None] * (B.y - A.y), torch.full((20,), 4.0, dtype=torch.float64))
        geodesic = solve_geodesic(
            CHANNEL, A, B, [VarianceBound(LIMIT)], starts=[straight], points=64, knots=10, max_iterations=3
        )
        assert not geodesic.feasible
        assert not geodesic.converged
        assert geodesic.max_violation > 0.01
        where = int((geodesic.moments.variance / LIMIT).argmax())
        broken = 100 * (float(geodesic.moments.variance[where]) / LIMIT - 1)
        assert re.search(rf"broken by {broken:.1f} % at point {where} of 64; relax the bound", geodesic.message)


def test_avoided_region_sends_the_curve_the_other_way_round():
    """A ring: from θ = 0 to 2.4 the short arc passes θ = 1.2, the long one θ = −1.9."""
    ring = on_circle(np.arange(30) * 2 * np.pi / 30)
    avoidance = RegionAvoidance(at(1.2, math.log(50.0)), 5.0)
    bound = VarianceBound(LIMIT)
    options = {
        "samples": samples_of(ring, 240),
        "points": 64,
        "knots": 10,
        "log_snr_bounds": BOUNDS,
        "graph_levels": 6,
    }
    short = solve_geodesic(ring, at(0.0), at(2.4), [bound], **options)
    long = solve_geodesic(ring, at(0.0), at(2.4), [bound, avoidance], **options)

    def kl(geodesic: Geodesic) -> torch.Tensor:
        centre = Points(
            avoidance.centre.y.expand_as(geodesic.points.y),
            avoidance.centre.log_snr.expand_as(geodesic.points.log_snr),
        )
        return kl_divergence(ring, centre, geodesic.points)

    assert short.feasible
    assert np.abs(angles_of(short) - 1.2).min() < 0.1
    assert kl(short).min() < 0.5 * avoidance.divergence
    assert long.feasible
    assert np.abs(angles_of(long) + 1.9).min() < 0.1
    assert np.abs(angles_of(long) - 1.2).min() > 1.0
    assert kl(long).min() >= 0.99 * avoidance.divergence
    assert long.max_variance <= 1.01 * LIMIT
    assert long.length > short.length


def test_channels_of_equal_depth_come_back_once_each_the_shortest_first():
    """A ring again: from θ = 0 to 2.9 the arcs over θ = 1.45 and θ = −1.69 are two channels of similar length."""
    ring = on_circle(np.arange(30) * 2 * np.pi / 30)
    asked = []

    def progress(starts):
        asked.extend(starts)
        return starts

    channels = solve_channels(
        ring,
        at(0.0),
        at(2.9),
        [VarianceBound(LIMIT)],
        samples=samples_of(ring, 240),
        log_snr_bounds=BOUNDS,
        graph_levels=6,
        points=64,
        knots=10,
        channels=4,
        progress=progress,
    )
    assert len(asked) > len(channels) == 2
    assert all(channel.feasible for channel in channels)
    assert channels[0].length < channels[1].length
    assert np.abs(angles_of(channels[0]) - 1.45).min() < 0.1
    assert np.abs(angles_of(channels[1]) + 1.69).min() < 0.1


class TestPlateau:
    """A ring whose short arc from θ = 0 to 2.4 lies 5 nats higher: a plateau, of whose height length knows nothing."""

    HEIGHT = 5.0
    OPTIONS = {"log_snr_bounds": BOUNDS, "points": 64, "knots": 10}

    ANGLES = np.arange(30) * 2 * np.pi / 30
    FLAT = on_circle(ANGLES)
    WEIGHTS = np.where((ANGLES > 0.3) & (ANGLES < 2.1), np.exp(-HEIGHT), 1.0)
    RING = GaussianMixtureDenoiser(WEIGHTS, FLAT.means, FLAT.covariances)
    SAMPLES = samples_of(FLAT, 240)  # of a higher temperature, at which the plateau is met as often as the rest

    def channels(self):
        options = self.OPTIONS | {"samples": self.SAMPLES, "graph_levels": 6}
        return solve_channels(self.RING, at(0.0), at(2.4), [VarianceBound(LIMIT)], **options)

    def test_the_shortest_does_not_come_first(self):
        around, over = self.channels()
        assert around.feasible and over.feasible
        assert np.abs(angles_of(around) + 1.9).min() < 0.1
        assert np.abs(angles_of(over) - 1.2).min() < 0.1
        assert over.length < around.length
        assert over.max_depth == pytest.approx(self.HEIGHT, abs=0.25)
        assert around.max_depth < 1  # the way has no barrier; only where the mean cuts the bend is it less likely

    def test_depth_is_that_of_the_means(self):
        for channel in self.channels():
            means = Points(channel.moments.mean, channel.points.log_snr)
            torch.testing.assert_close(channel.depth, depth(self.RING, means[:1], means))
            assert channel.depth[0] == 0
            assert channel.to_json()["max_depth"] == channel.max_depth == float(channel.depth.max())

    def test_a_depth_bound_closes_the_plateau(self):
        bounds = [VarianceBound(LIMIT), LikelihoodBound(at(0.0), 2.0)]
        options = self.OPTIONS | {"samples": self.SAMPLES, "graph_levels": 6}
        (only,) = solve_channels(self.RING, at(0.0), at(2.4), bounds, **options)
        assert only.feasible
        assert np.abs(angles_of(only) + 1.9).min() < 0.1
        assert float(depth(self.RING, at(0.0), only.points).max()) <= 2.02

    def test_an_end_on_the_plateau_breaks_the_bound(self):
        bounds = [VarianceBound(LIMIT), LikelihoodBound(at(0.0), 2.0)]
        message = r"second end breaks a constraint itself.*the end needs a depth bound of [45]\.\d+ nats \(2 asked\)"
        with pytest.raises(GeometryError, match=message):
            solve_channels(self.RING, at(0.0), at(1.2), bounds, samples=self.SAMPLES, **self.OPTIONS)


def test_without_a_log_normalizer_the_depth_of_a_curve_is_unknown():
    """The network is the exact denoiser of N(0, 1)."""
    network = ExternalDenoiser(lambda x, sigma: x / (1 + sigma[:, None] ** 2), 1)
    geodesic = solve_geodesic(network, point([0.5], 1.0), point([-0.5], 1.0), points=12, knots=3)
    assert geodesic.depth is None
    assert geodesic.max_depth is None
    assert geodesic.to_json()["max_depth"] is None


class TestConstraints:
    @pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
    def test_limits_must_be_positive(self, limit):
        with pytest.raises(GeometryError, match="variance bound must be positive"):
            VarianceBound(limit)
        with pytest.raises(GeometryError, match="divergence from a region must be positive"):
            RegionAvoidance(A, limit)

    def test_variance_violation_is_the_relative_excess(self):
        """q = N(0, 1) at SNR = 1 has posterior variance 1/2."""
        q = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
        points = point([0.3], 0.0)
        moments = moments_at(q, points)
        for limit, violation in ((0.25, 1.0), (0.5, 0.0), (1.0, -0.5)):
            assert float(VarianceBound(limit).violation(q, points, moments)) == pytest.approx(violation)

    def test_depth_of_a_gaussian(self):
        """q = N(0, 1): M = −SNR y²/(2 (1 + SNR)) + f(λ), so from y = 1 the depth is SNR (y² − 1)/(2 (1 + SNR))."""
        q = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
        y, log_snr = torch.tensor([0.0, 1.0, 3.0]).double(), torch.tensor([0.0, 1.0, 2.0]).double()
        points = Points(y[:, None], log_snr)
        expected = torch.sigmoid(log_snr) * (y**2 - 1) / 2
        torch.testing.assert_close(depth(q, point([1.0], 7.0), points), expected)
        for limit, violation in ((2.0, expected[2] / 2 - 1), (10.0, expected[2] / 10 - 1)):
            bound = LikelihoodBound(point([1.0], 7.0), limit)
            assert float(bound.violation(q, points, moments_at(q, points))[2]) == pytest.approx(float(violation))
        assert LikelihoodBound(point([1.0], 7.0), 2.0).relaxed(0.5) == "a depth bound of 3 nats (2 asked)"

    def test_gradients_of_depth_are_mean_force_and_noise(self):
        """∂D/∂y = −SNR (x̂ − y), ∂D/∂λ = (SNR/2) (E|x − y|² − E|x − y_ref|²)."""
        rng = np.random.default_rng(0)
        y = torch.from_numpy(rng.normal(size=(20, 2))).requires_grad_()
        log_snr = torch.from_numpy(rng.uniform(-1, 4, size=20)).requires_grad_()
        points, reference = Points(y, log_snr), point([-1.0, 0.3], 0.0)
        by_y, by_log_snr = torch.autograd.grad(depth(CHANNEL, reference, points).sum(), (y, log_snr))
        moments = moments_at(CHANNEL, points)
        torch.testing.assert_close(by_y, -points.snr[:, None] * (moments.mean - y))

        def noise(centre: torch.Tensor) -> torch.Tensor:
            at = moments_at(CHANNEL, Points(centre, log_snr))
            return ((at.mean - centre) ** 2).sum(-1) + at.variance

        torch.testing.assert_close(by_log_snr, 0.5 * points.snr * (noise(y) - noise(reference.y.expand_as(y))))

    def test_a_network_knows_no_depth(self):
        network = ExternalDenoiser(lambda x, sigma: x / (1 + sigma[:, None] ** 2), 1)
        with pytest.raises(GeometryError, match=r"does not know its log-partition, so it gives .* no depth"):
            depth(network, point([0.0], 0.0), point([1.0], 0.0))

    @pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
    def test_depth_bounds_are_checked(self, limit):
        with pytest.raises(GeometryError, match="depth bound must be positive and finite"):
            LikelihoodBound(A, limit)
        for reference in (Points(torch.cat([A.y, B.y]), torch.zeros(2)), point([0.0, math.nan], 0.0)):
            with pytest.raises(GeometryError, match="measured from one finite point"):
                LikelihoodBound(reference, 1.0)

    def test_region_violation_is_the_relative_lack_of_divergence(self):
        """q = N(0, 1): the region is N(0, 1/2), the points N(3 y/4, 1/4), so KL = (1 − log 2)/2 + 9 y²/8."""
        q = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
        y = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
        points = Points(y[:, None], torch.full((3,), math.log(3.0), dtype=torch.float64))
        avoidance = RegionAvoidance(point([0.0], 0.0), 2.0)
        violation = avoidance.violation(q, points, moments_at(q, points))
        divergence = 0.5 * (1 - math.log(2)) + 9 * y.numpy() ** 2 / 8
        np.testing.assert_allclose(violation, 1 - divergence / 2, atol=1e-12)
        assert list(violation > 0) == [True, True, False]

    def test_largest_violation_says_where(self):
        q = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
        points = Points(torch.zeros(3, 1).double(), torch.tensor([2.0, -1.0, 0.0]).double())
        assert largest_violation(q, points, ()) == (-math.inf, 0)
        worst, where = largest_violation(q, points, (VarianceBound(10.0), VarianceBound(0.5)))
        assert where == 1
        assert worst == pytest.approx(2 / (1 + math.exp(-1.0)) - 1)
