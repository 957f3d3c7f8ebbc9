"""Near neighbours, links between components and coverings, against comparisons of all with all."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from spacetime_tps.spacetime.neighbours import covering, distances, link_components, nearest


def cloud(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension))


class TestNearest:
    def test_exact_among_few(self):
        points, queries = cloud(500, 30), cloud(50, 30, seed=1)
        np.testing.assert_array_equal(nearest(points, queries, 7), cdist(queries, points).argsort(axis=1)[:, :7])

    def test_nearly_all_are_found_among_many(self):
        """Points near a curve and a plane in 30 dimensions, as molecules' are; nine in ten is what a graph needs."""
        points = np.tanh(cloud(6000, 3) @ cloud(3, 30, seed=2)) + 0.05 * cloud(6000, 30, seed=3)
        found = nearest(points, points[:200], 12)
        exact = cdist(points[:200], points).argsort(axis=1)[:, :12]
        shared = [len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)]
        assert np.mean(shared) / 12 > 0.9

    def test_far_from_the_origin(self):
        """Single precision would not resolve these about the origin."""
        points = cloud(100, 3)
        np.testing.assert_array_equal(nearest(points + 1e7, points + 1e7, 1)[:, 0], np.arange(100))

    def test_no_more_than_there_are(self):
        assert nearest(cloud(3, 2), cloud(5, 2), 10).shape == (5, 3)

    def test_distances(self):
        points, queries = cloud(300, 4), cloud(40, 4, seed=1)
        np.testing.assert_allclose(distances(queries, points), cdist(queries, points).min(axis=1), rtol=1e-6)


def test_components_are_linked_where_they_come_nearest():
    y = np.array([[0.0], [1.0], [2.0], [3.5], [4.5], [10.0]])
    pairs = np.array([[0, 1], [1, 2], [3, 4]])
    links = {tuple(sorted(pair)) for pair in link_components(y, pairs).tolist()}
    assert links == {(2, 3), (2, 5)}
    assert len(link_components(y[:3], pairs[:2])) == 0


class TestCovering:
    def test_all_when_there_are_few(self):
        np.testing.assert_array_equal(covering(cloud(5, 2), 10), np.arange(5))

    @pytest.mark.parametrize("count", [1, 10, 40])
    def test_no_two_nearer_than_the_worst_gap(self, count):
        """What makes the greedy covering at most twice as coarse as the best one."""
        points = cloud(400, 2)
        chosen = covering(points, count)
        assert len(set(chosen.tolist())) == count
        between = cdist(points[chosen], points[chosen]) + 1e9 * np.eye(count)
        assert between.min() >= cdist(points, points[chosen]).min(axis=1).max()
