"""Global start for constrained geodesics: short feasible paths through a graph of spacetime points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from torch import Tensor

from spacetime_tps.arrays import FloatArray
from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.errors import NoPathError
from spacetime_tps.spacetime.constraints import Constraint, violations
from spacetime_tps.spacetime.family import Points, moments_at, symmetric_divergence
from spacetime_tps.spacetime.neighbours import covering, distances, link_components, nearest_pairs

Index = NDArray[np.intp]

_TOLERANCE = 1e-3  # relative violation of a constraint that nodes and edges may have
_DETOUR = 3.0  # how much longer edges look once a channel has been found near them
_TUBE = 0.2  # radius of what counts as near, in units of the distance between the ends
_ATTEMPTS = 12  # detours made before giving up on yet another channel
_BATCH = 4096  # points asked of the denoiser at a time
_SCAN, _SCANNED = 16, 512  # levels of log SNR at which feasible points are looked for, and samples tried at each
_RESOLVED = 1.0  # nats: no jump between modes hides in a chord this short
_PRECISION = 0.01  # relative, of the smallest bound that would connect the ends


class SpacetimeGraph:
    """Spacetime points near the samples and edges between them, searched for feasible paths from a to b.

    Nodes are the samples, smoothed by the denoiser, at each level of log SNR, and both ends. Edges join near
    neighbours in y on one level and on the next. Their weight √J is the length of the exponential geodesic (straight
    in η) that joins them, or longer. An edge may be used if the constraints hold along that geodesic, which is looked
    at only where a path wants to use it. Building takes n log n operations for n nodes, and so does each search.

    Parameters
    ----------
    denoiser : Denoiser
    a, b : Points
        One point each; nodes 0 and 1.
    constraints : sequence of Constraint
    samples : tensor, shape (n, dimension)
    log_snr_bounds : (float, float)
        Levels go from the lowest within these at which any sample is feasible to the upper bound.
    levels : int
    most : int
        Samples used: when there are more, those that cover all others best after smoothing.
    neighbours : int
        Edges of each node on its own level and on the next.

    Raises
    ------
    NoPathError
        If no node obeys the constraints, or no feasible path joins the ends. The message names the samples between
        which the graph breaks and the smallest bounds that would connect it.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        a: Points,
        b: Points,
        constraints: Sequence[Constraint],
        *,
        samples: Tensor,
        log_snr_bounds: tuple[float, float],
        levels: int = 10,
        most: int = 600,
        neighbours: int = 12,
    ) -> None:
        self.denoiser, self.constraints, self.ends, self.neighbours = denoiser, tuple(constraints), (a, b), neighbours
        self.samples = samples
        self.all_nodes, self.all_sources, self.all_levels = self._nodes(log_snr_bounds, levels, most)
        self._build(feasible_only=True)

    def _nodes(self, bounds: tuple[float, float], levels: int, most: int) -> tuple[Points, Index, Index]:
        """Every node; the sample and the level that each is from (−1 and −2 for the ends)."""
        lowest = _lowest_feasible(self.denoiser, self.samples, bounds, self.constraints)
        values = torch.linspace(lowest, bounds[1], levels, dtype=torch.float64)
        chosen = covering(_smoothed(self.denoiser, self.samples, values[levels // 2]).numpy(), most)
        samples = self.samples[torch.from_numpy(chosen)]
        a, b = self.ends
        nodes = Points(
            torch.cat([a.y, b.y, *(_smoothed(self.denoiser, samples, value) for value in values)]),
            torch.cat([a.log_snr, b.log_snr, values.repeat_interleave(len(chosen))]),
        )
        source = np.concatenate([[-1, -2], np.tile(chosen, levels)])
        level = np.concatenate([[-1, -2], np.repeat(np.arange(levels), len(chosen))])
        return nodes, source, level

    def _build(self, feasible_only: bool) -> None:
        """Take the nodes and make the edges."""
        moments, violation = _evaluate(self.denoiser, self.all_nodes, self.constraints)
        violation[:2] = -np.inf  # the ends are given; the solver has checked them
        if not (violation[2:] <= _TOLERANCE).any():
            raise NoPathError(self._nothing_feasible(moments, violation))
        kept = np.flatnonzero(violation <= _TOLERANCE) if feasible_only else np.arange(len(violation))
        index = torch.from_numpy(kept)
        self.nodes, self.moments, self.sources = self.all_nodes[index], moments[index], self.all_sources[kept]
        self.start, self.end = _edges(self.nodes, self.all_levels[kept], self.neighbours)
        edges = torch.from_numpy(np.stack([self.start, self.end]))
        divergence = [
            symmetric_divergence(self.nodes[i], self.moments[i], self.nodes[j], self.moments[j])
            for i, j in torch.split(edges, _BATCH, dim=1)
        ]
        self.weight = torch.cat(divergence).clamp(min=1e-12).sqrt().numpy()
        # of the edges: the worse of their two nodes, until they are tested themselves
        self.violation = np.maximum(violation[kept][self.start], violation[kept][self.end])
        self.tested = np.full(len(self.start), not self.constraints)

    def shortest_path(self) -> Points:
        """The shortest feasible path from a to b, both included.

        Raises
        ------
        NoPathError
            If there is none.
        """
        path = self._shortest(_TOLERANCE)
        if path is None:
            raise NoPathError(self._no_connection())
        return self.nodes[torch.tensor(path)]

    def next_channel(self, path: Points, curve: Tensor, found: Sequence[Tensor]) -> Points | None:
        """A feasible path that strays from the channels found so far; None if no detour around them leads to one.

        Parameters
        ----------
        path : Points
            The path that was followed last.
        curve : tensor, shape (points, dimension)
            Means along the curve it led to. Edges near path and curve are made longer.
        found : sequence of tensor, shape (points, dimension)
            Means along each channel.
        """
        mean = self.moments.mean.numpy()
        radius = _TUBE * float(np.linalg.norm(mean[0] - mean[1]))
        far_from_ends = distances(mean, mean[:2]) > radius
        around = np.concatenate([curve.numpy(), moments_at(self.denoiser, path).mean.numpy()])
        near = distances(mean, around) < radius
        for _ in range(_ATTEMPTS):
            inside = near & far_from_ends
            self.weight[inside[self.start] | inside[self.end]] *= _DETOUR
            nodes = self._shortest(_TOLERANCE)
            if nodes is None:
                return None
            if all((distances(mean[nodes], channel.numpy()) > radius).any() for channel in found):
                return self.nodes[torch.tensor(nodes)]
            near = distances(mean, mean[nodes]) < radius
        return None

    def smallest_connecting_violation(self, at_least: float = 0.0) -> float:
        """Smallest relative violation of the constraints that must be allowed for a path from a to b.

        For one variance bound v, (1 + this) v is the smallest variance bound that connects the ends.

        Parameters
        ----------
        at_least : float
            What is known of it: it is sought from here on (above −1).

        Returns
        -------
        float
            Within 1 % of 1 + violation.
        """
        return self._bottleneck(at_least)[0]

    def _shortest(self, allowed: float) -> list[int] | None:
        """Nodes of the shortest path whose edges all have at most the allowed violation; None if there is none.

        Where a path has edges that were not tested yet, those of all its nodes are tested and the path sought again.
        """
        while True:
            path = self._dijkstra(self.violation <= allowed)
            if path is None:
                return None
            used = np.zeros(len(self.nodes), dtype=bool)
            used[path] = True
            around = (used[self.start] | used[self.end]) & ~self.tested & (self.violation <= allowed)
            if not (around & used[self.start] & used[self.end]).any():
                return path
            self._test(np.flatnonzero(around))

    def _dijkstra(self, usable: NDArray[np.bool_]) -> list[int] | None:
        distance, previous = dijkstra(self._matrix(usable), directed=False, indices=0, return_predecessors=True)
        if not np.isfinite(distance[1]):
            return None
        path = [1]
        while path[-1] != 0:
            path.append(int(previous[path[-1]]))
        return path[::-1]

    def _matrix(self, usable: NDArray[np.bool_]) -> csr_matrix:
        """Weights of the usable edges."""
        entries = (self.weight[usable], (self.start[usable], self.end[usable]))
        return coo_matrix(entries, shape=(len(self.nodes), len(self.nodes))).tocsr()

    def _test(self, edges: Index) -> None:
        """Look for the largest violation along edges."""
        for batch in np.array_split(edges, -(-len(edges) // _BATCH)):
            i, j = torch.from_numpy(self.start[batch]), torch.from_numpy(self.end[batch])
            ends = (self.nodes[i], self.moments[i], self.nodes[j], self.moments[j])
            along = _violation_between(self.denoiser, *ends, self.constraints)
            self.violation[batch] = np.maximum(self.violation[batch], along)
        self.tested[edges] = True

    def _nothing_feasible(self, moments: Moments, violation: FloatArray) -> str:
        best = 2 + int(np.argmin(violation[2:]))
        return (
            f"no spacetime point made from the {len(self.samples)} samples obeys the constraints: the nearest to it, "
            f"sample {self.all_sources[best]} at log SNR {float(self.all_nodes.log_snr[best]):.3f}, needs "
            f"{self._relaxed(violation[best])}; the smallest variance found is "
            f"{float(moments.variance[2:].min()):.4g}. Relax the bound or allow higher SNR"
        )

    def _no_connection(self) -> str:
        """How far the ends' components reach, and where the least relaxation of the constraints would join them."""
        _, label = connected_components(self._matrix(self.violation <= _TOLERANCE), directed=False)
        sizes = [int((label == label[end]).sum()) - 1 for end in (0, 1)]
        feasible = len(self.nodes) - 2
        allowed, i, j = self._bottleneck()
        gap = float((self.nodes.y[i] - self.nodes.y[j]).norm())
        return (
            f"no connection between the two states: of {feasible} feasible spacetime points made from "
            f"{len(self.samples)} samples, {sizes[0]} are connected to A and {sizes[1]} to B, and no path joins them. "
            f"The best connection breaks between {self._name(i)} and {self._name(j)}, {gap:.4g} apart, and needs "
            f"{self._relaxed(allowed)}. The samples lack the channel, or the bound is too tight: sample the barrier "
            "(a higher model_temperature, longer sampling) or relax the bound"
        )

    def _relaxed(self, violation: float) -> str:
        return " and ".join(constraint.relaxed(violation) for constraint in self.constraints)

    def _name(self, node: int) -> str:
        source = int(self.sources[node])
        return {-1: "end A", -2: "end B"}.get(source, f"sample {source}")

    def _bottleneck(self, low: float = _TOLERANCE) -> tuple[float, int, int]:
        """Smallest violation that must be allowed for a path, and the two nodes of the edge that needs it."""
        self._build(feasible_only=False)
        path = self._shortest(np.inf)
        while path is not None:
            edges = self._edges_of(path)
            worst = edges[int(np.argmax(self.violation[edges]))]
            high = float(self.violation[worst])
            if 1 + high <= (1 + low) * (1 + _PRECISION):
                break
            path, middle = None, low
            while path is None and 1 + high > (1 + middle) * (1 + _PRECISION):
                low, middle = middle, ((1 + middle) * (1 + high)) ** 0.5 - 1
                path = self._shortest(middle)
        return high, int(self.start[worst]), int(self.end[worst])

    def _edges_of(self, path: list[int]) -> Index:
        place = {(i, j): edge for edge, (i, j) in enumerate(zip(self.start.tolist(), self.end.tolist(), strict=True))}
        return np.array([place[min(pair), max(pair)] for pair in pairwise(path)])


def _evaluate(denoiser: Denoiser, points: Points, constraints: Sequence[Constraint]) -> tuple[Moments, FloatArray]:
    """Moments at points, and the largest violation of any constraint at each, shape (points,)."""
    means, variances, worst = [], [], []
    with torch.no_grad():
        for start in range(0, len(points), _BATCH):
            batch = points[start : start + _BATCH]
            moments = moments_at(denoiser, batch, "the graph of spacetime points")
            means.append(moments.mean)
            variances.append(moments.variance)
            worst.append(violations(denoiser, batch, moments, constraints))
    return Moments(torch.cat(means), torch.cat(variances)), torch.cat(worst).numpy()


def _smoothed(denoiser: Denoiser, samples: Tensor, log_snr: Tensor) -> Tensor:
    """Samples without much of their thermal noise: x̂ of each at a level of noise."""
    return _evaluate(denoiser, Points(samples, log_snr.expand(len(samples))), ())[0].mean


def _lowest_feasible(
    denoiser: Denoiser, samples: Tensor, bounds: tuple[float, float], constraints: Sequence[Constraint]
) -> float:
    """About the lowest log SNR at which any smoothed sample obeys the constraints; the upper bound if none does."""
    samples = samples[:: -(-len(samples) // _SCANNED)]
    for level in torch.linspace(*bounds, _SCAN, dtype=torch.float64):
        points = Points(_smoothed(denoiser, samples, level), level.expand(len(samples)))
        if (_evaluate(denoiser, points, constraints)[1] <= _TOLERANCE).any():
            return float(level)
    return bounds[1]


def _edges(nodes: Points, level: Index, neighbours: int) -> tuple[Index, Index]:
    """Pairs of nodes (start < end): near in y, on the same level or on adjacent ones; the ends join every level."""
    y = nodes.y.numpy()
    pairs = []
    levels = [np.flatnonzero(level == value) for value in range(level.max() + 1)]
    for below, here in zip([np.empty(0, dtype=np.intp), *levels], levels, strict=False):
        if len(here):
            pairs.append(nearest_pairs(y, np.concatenate([[0, 1], below, here]), here, neighbours))
    joined = np.concatenate(pairs)
    joined = np.concatenate([joined, link_components(y, joined)])
    both = np.unique(np.sort(joined, axis=1), axis=0)
    both = both[both[:, 0] != both[:, 1]]
    return both[:, 0], both[:, 1]


def _violation_between(
    denoiser: Denoiser, a: Points, at_a: Moments, b: Points, at_b: Moments, constraints: Sequence[Constraint]
) -> FloatArray:
    """Largest violation along exponential geodesics, looked for where a jump between modes would be.

    Along such a geodesic η is linear and Δη·μ rises from one end to the other. Bisection follows the half in which it
    rises more, until what is left is too short to hide a jump; each point on the way is tested.
    """
    worst = np.full(len(a), -np.inf)
    edge = np.arange(len(a))
    while len(edge):
        snr = 0.5 * (a.snr + b.snr)
        middle = Points(0.5 * (a.snr[:, None] * a.y + b.snr[:, None] * b.y) / snr[:, None], snr.log())
        at_middle, violation = _evaluate(denoiser, middle, constraints)
        worst[edge] = np.maximum(worst[edge], violation)
        left = symmetric_divergence(a, at_a, middle, at_middle)
        right = symmetric_divergence(middle, at_middle, b, at_b)
        go_on = torch.maximum(left, right) > _RESOLVED
        upper = (right > left)[go_on]
        edge = edge[go_on.numpy()]
        middle, at_middle = middle[go_on], at_middle[go_on]
        a, at_a, b, at_b = (
            _choose(upper, middle, a[go_on]),
            _choose_moments(upper, at_middle, at_a[go_on]),
            _choose(~upper, middle, b[go_on]),
            _choose_moments(~upper, at_middle, at_b[go_on]),
        )
    return worst


def _choose(where: Tensor, yes: Points, no: Points) -> Points:
    return Points(torch.where(where[:, None], yes.y, no.y), torch.where(where, yes.log_snr, no.log_snr))


def _choose_moments(where: Tensor, yes: Moments, no: Moments) -> Moments:
    return Moments(torch.where(where[:, None], yes.mean, no.mean), torch.where(where, yes.variance, no.variance))
