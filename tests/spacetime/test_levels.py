"""Levels and bounds that are found: on an arc of narrow Gaussians, whose ends are closer across than along."""

import json
import math

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError, NoPathError
from spacetime_tps.spacetime import (
    LevelChoice,
    LikelihoodBound,
    Points,
    VarianceBound,
    choose_levels,
    depth,
    point,
    solve_channels,
)
from spacetime_tps.spacetime.constraints import largest_violation
from spacetime_tps.spacetime.search import SpacetimeGraph

WIDTH, END = 0.1, 2.3


def on_arc(angles: np.ndarray) -> GaussianMixtureDenoiser:
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussianMixtureDenoiser(np.ones(len(means)), means, np.tile(WIDTH**2 * np.eye(2), (len(means), 1, 1)))


def samples_of(q: GaussianMixtureDenoiser, count: int = 240) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return q.means[rng.integers(q.components, size=count)] + WIDTH * torch.from_numpy(rng.normal(size=(count, 2)))


ARC = np.linspace(-END, END, 24)
CHANNEL = on_arc(ARC)
SAMPLES = samples_of(CHANNEL)
A, B = ([math.cos(END), sign * math.sin(END)] for sign in (-1, 1))


@pytest.fixture(scope="module")
def choice() -> LevelChoice:
    return choose_levels(CHANNEL, A, B, SAMPLES)


def graph(log_snr: float, bound: float) -> SpacetimeGraph:
    ends, bounds = (point(A, log_snr), point(B, log_snr)), (log_snr, log_snr)
    return SpacetimeGraph(
        CHANNEL, *ends, [VarianceBound(bound)], samples=SAMPLES, log_snr_bounds=bounds, levels=1, neighbours=48
    )


def test_levels_are_where_the_ends_are_told_apart_and_the_line_is_wider(choice):
    assert [level.log_snr for level in choice.levels] == sorted(level.log_snr for level in choice.levels)
    line = torch.tensor(A) + torch.linspace(0, 1, 101)[:, None] * (torch.tensor(B) - torch.tensor(A))
    for level in choice.levels:
        moments = CHANNEL.moments(line.double(), torch.full((101,), level.log_snr, dtype=torch.float64))
        assert level.end_variance == pytest.approx(float(moments.variance[[0, -1]].max()), rel=1e-4)
        assert level.line_variance == pytest.approx(float(moments.variance.max()), rel=1e-4)
        assert level.end_variance < float((moments.mean[0] - moments.mean[-1]).norm()) ** 2 / 4
        assert level.line_variance > 1.05 * level.end_variance


def test_the_smallest_connecting_bound_connects_and_a_smaller_one_does_not(choice):
    known = [level for level in choice.levels if level.connecting_variance is not None]
    assert len(known) > 2
    for level in known:
        assert level.end_variance <= level.connecting_variance
        assert len(graph(level.log_snr, 1.01 * level.connecting_variance).shortest_path()) > 2
        if level.connecting_variance > 1.03 * level.end_variance:
            with pytest.raises(NoPathError):
                graph(level.log_snr, 0.97 * level.connecting_variance).shortest_path()


def test_the_bound_of_a_search_that_starts_elsewhere_is_the_same(choice):
    """However wide or narrow the bound that is asked for."""
    level = choice.level
    for asked in (0.7, 1.0, 2.0):
        bound = asked * level.line_variance
        violation = graph(level.log_snr, bound).smallest_connecting_violation(level.end_variance / bound - 1)
        assert (1 + violation) * bound == pytest.approx(level.connecting_variance, rel=0.02)


def test_the_lowest_level_of_nearly_the_largest_contrast_is_chosen(choice):
    contrasts = {level.log_snr: level.contrast for level in choice.levels if level.contrast is not None}
    best = max(contrasts.values())
    assert best > 1.5
    assert choice.log_snr == min(log_snr for log_snr, contrast in contrasts.items() if contrast >= 0.95 * best)
    for level in choice.levels:
        if level.contrast is None:  # what was not looked at cannot have been better
            assert level.line_variance / level.end_variance < 0.95 * best


def test_bounds_come_from_the_path_of_the_graph(choice):
    level, path = choice.level, choice.path
    assert choice.variance_bound == pytest.approx(1.3 * level.connecting_variance)
    assert choice.log_snr_bounds[1] == pytest.approx(choice.log_snr + 0.05)
    assert largest_violation(CHANNEL, path, [VarianceBound(1.15 * level.connecting_variance)])[0] <= 0.01
    assert largest_violation(CHANNEL, path, choice.constraints)[0] <= 0.01
    along = depth(CHANNEL, point(A, 0.0), path)
    assert float(along.max()) <= choice.path_depth + 1e-9
    assert choice.depth_bound == pytest.approx(choice.path_depth + 0.1)  # no barrier: D falls from A on
    assert [type(constraint) for constraint in choice.constraints] == [VarianceBound, LikelihoodBound]


def test_a_spline_of_many_knots_from_the_path_keeps_both_bounds_and_the_arc(choice):
    ends = point(A, choice.log_snr), point(B, choice.log_snr)
    straight = Points(
        torch.lerp(ends[0].y, ends[1].y, torch.linspace(0, 1, 20).double()[:, None]),
        ends[0].log_snr.expand(20),
    )
    assert largest_violation(CHANNEL, straight, choice.constraints)[0] > 0.1
    geodesic, *_ = solve_channels(
        CHANNEL,
        *ends,
        choice.constraints,
        starts=[choice.path],
        log_snr_bounds=choice.log_snr_bounds,
        points=96,
        knots=32,
    )
    assert geodesic.feasible
    assert float(geodesic.points.log_snr.max()) <= choice.log_snr + 0.05
    angles = np.arctan2(*geodesic.moments.mean.numpy().T[::-1])
    assert np.abs(angles).min() < 0.1  # over the middle of the arc
    assert np.linalg.norm(geodesic.moments.mean, axis=1).min() > 0.6


def test_what_is_reported(choice):
    kept = json.loads(json.dumps(choice.to_json()))
    assert len(kept["levels"]) == len(choice.levels)
    assert kept["log_snr"] == choice.log_snr
    assert f"log SNR {choice.log_snr:g}: contrast {choice.level.contrast:.2f}" in kept["reason"]
    assert f"bound {choice.depth_bound:.2f}" in kept["reason"]


def test_without_a_log_normalizer_there_is_no_depth_bound():
    class Network(GaussianMixtureDenoiser):
        def log_normalizer(self, y, log_snr):
            raise GeometryError("not known")

    network = Network(CHANNEL.weights, CHANNEL.means, CHANNEL.covariances)
    choice = choose_levels(network, A, B, SAMPLES)
    assert choice.depth_bound is None
    assert [type(constraint) for constraint in choice.constraints] == [VarianceBound]
    assert "nats" not in choice.reason


def test_samples_of_the_two_states_alone_hold_no_way(choice):
    """From one to the other only the straight line is left."""
    angles = torch.atan2(SAMPLES[:, 1], SAMPLES[:, 0]).abs()
    apart = choose_levels(CHANNEL, A, B, SAMPLES[angles > 2.0])
    assert apart.level.contrast < 1.3
    assert choice.level.contrast > 5
    assert apart.path_depth > 5
    assert apart.depth_bound > 1.05 * apart.path_depth - 1e-9


def test_units_do_not_matter(choice):
    """In a unit ten times as small λ is lower by log 100; the grid of λ moves, the contrast does not by much."""
    small = GaussianMixtureDenoiser(CHANNEL.weights, 10 * CHANNEL.means, 100 * CHANNEL.covariances)
    other = choose_levels(small, 10 * np.array(A), 10 * np.array(B), 10 * SAMPLES)
    assert other.log_snr == pytest.approx(choice.log_snr - math.log(100), abs=0.8)
    assert other.level.contrast == pytest.approx(choice.level.contrast, rel=0.1)


class TestRefusals:
    def test_a_single_gaussian_has_no_barrier(self):
        q = GaussianMixtureDenoiser([1.0], np.zeros((1, 2)), np.eye(2)[None])
        with pytest.raises(GeometryError, match="nowhere wider than the ends"):
            choose_levels(q, [-1.0, 0.0], [1.0, 0.0], torch.zeros(5, 2).double())

    def test_bad_ends_and_samples(self):
        with pytest.raises(GeometryError, match="are the same in these coordinates"):
            choose_levels(CHANNEL, A, A, SAMPLES)
        for bad in ([1.0], [math.nan, 0.0]):
            with pytest.raises(GeometryError, match=r"B must be finite and of shape \(2,\)"):
                choose_levels(CHANNEL, A, bad, SAMPLES)
        for samples in (SAMPLES[:0], SAMPLES[:, :1]):
            with pytest.raises(GeometryError, match=r"samples of shape \(n, 2\) are needed"):
                choose_levels(CHANNEL, A, B, samples)
