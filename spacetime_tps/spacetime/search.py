"""Global start for constrained geodesics: the shortest path over a graph of feasible spacetime points."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.errors import NoPathError
from spacetime_tps.spacetime.constraints import Constraint
from spacetime_tps.spacetime.family import Points, moments_at, symmetric_divergence

_TOLERANCE = 1e-3
_DETOUR = 2.0  # how much longer edges look once a path has passed near them
_TUBE = 0.2  # radius of what counts as near, in units of the distance between the ends
_BATCH = 4096  # edges tested at a time
_RESOLVED = 1.0  # nats: no jump between modes hides in a chord this short


def graph_paths(
    denoiser: Denoiser,
    a: Points,
    b: Points,
    constraints: tuple[Constraint, ...],
    *,
    samples: Tensor,
    log_snr_bounds: tuple[float, float],
    levels: int = 10,
    neighbours: int = 12,
    count: int = 3,
) -> list[Points]:
    """Short feasible paths from a to b over a graph, the shortest first.

    Nodes are the samples, smoothed by the denoiser, at each level of log SNR, and both ends. Edges join near
    neighbours in y on one level and on the next. Their weight √J is the length of the exponential geodesic (straight
    in η) that joins them, or longer; an edge counts only if points along that geodesic obey the constraints.

    Parameters
    ----------
    denoiser : Denoiser
    a, b : Points
        One point each.
    constraints : tuple of Constraint
    samples : tensor, shape (n, dimension)
        Thinned samples.
    log_snr_bounds : (float, float)
        Lowest and highest level.
    levels : int
    neighbours : int
        Edges of each node on each level.
    count : int
        Number of paths. After each, the edges around it are made longer, so that the next one goes elsewhere.

    Returns
    -------
    list of Points
        Paths from a to b, both included; one that was found before is left out.

    Raises
    ------
    NoPathError
        If no feasible path joins the ends: the samples lack the channel, or a bound is too tight.
    """
    values = torch.linspace(*log_snr_bounds, levels, dtype=torch.float64)
    with torch.no_grad():
        smooth = _smoothed(denoiser, samples, values, constraints)
        nodes = Points(
            torch.cat([a.y, b.y, smooth.repeat(levels, 1)]),
            torch.cat([a.log_snr, b.log_snr, values.repeat_interleave(len(smooth))]),
        )
        level = np.concatenate([[-1, -1], np.repeat(np.arange(levels), len(smooth))])
        moments = moments_at(denoiser, nodes)
        allowed = _feasible(denoiser, nodes, moments, constraints)
        allowed[:2] = True  # the ends are given; solve_geodesic has checked them
        kept = np.flatnonzero(allowed)
        nodes, level, moments = nodes[torch.from_numpy(kept)], level[kept], _take(moments, torch.from_numpy(kept))
        start, end = _edges(nodes, level, neighbours)
        graph = _Graph(denoiser, nodes, moments, start, end, constraints)
        paths: list[list[int]] = []
        for _ in range(count):
            path = graph.shortest_feasible_path()
            if path is None:
                raise NoPathError(_explain(graph.matrix(), len(samples), len(nodes) - 2))
            if path not in paths:
                paths.append(path)
            graph.lengthen_around(path)
    return [nodes[torch.tensor(path)] for path in paths]


class _Graph:
    """Edges between spacetime points, tested against the constraints only where a path wants to use them."""

    def __init__(
        self,
        denoiser: Denoiser,
        nodes: Points,
        moments: Moments,
        start: NDArray[np.intp],
        end: NDArray[np.intp],
        constraints: tuple[Constraint, ...],
    ) -> None:
        self.denoiser, self.nodes, self.moments, self.constraints = denoiser, nodes, moments, constraints
        self.start, self.end = start, end
        i, j = torch.from_numpy(start), torch.from_numpy(end)
        divergence = symmetric_divergence(nodes[i], _take(moments, i), nodes[j], _take(moments, j))
        self.weight = divergence.clamp(min=1e-12).sqrt().numpy()
        self.tested = np.full(len(start), not constraints)

    def matrix(self) -> csr_matrix:
        """Weights of the edges that are not known to break a constraint."""
        usable = np.isfinite(self.weight)
        entries = (self.weight[usable], (self.start[usable], self.end[usable]))
        return coo_matrix(entries, shape=(len(self.nodes), len(self.nodes))).tocsr()

    def shortest_feasible_path(self) -> list[int] | None:
        """Nodes of the shortest path whose edges all obey the constraints; None if there is none.

        Where a path has edges that were not tested yet, those of all its nodes are tested and the path sought again.
        """
        while True:
            path = _shortest_path(self.matrix())
            if path is None:
                return None
            used = np.zeros(len(self.nodes), dtype=bool)
            used[path] = True
            around = (used[self.start] | used[self.end]) & ~self.tested & np.isfinite(self.weight)
            if not (around & used[self.start] & used[self.end]).any():
                return path
            self._test(np.flatnonzero(around))

    def _test(self, edges: NDArray[np.intp]) -> None:
        for batch in np.array_split(edges, -(-len(edges) // _BATCH)):
            i, j = torch.from_numpy(self.start[batch]), torch.from_numpy(self.end[batch])
            ends = (self.nodes[i], _take(self.moments, i), self.nodes[j], _take(self.moments, j))
            holds = _holds_between(self.denoiser, *ends, self.constraints)
            self.weight[batch[~holds]] = np.inf
        self.tested[edges] = True

    def lengthen_around(self, path: list[int]) -> None:
        """Make edges in a tube around a path look longer, but not near the ends, where every path must pass."""
        y = self.nodes.y.numpy()
        radius = _TUBE * float(np.linalg.norm(y[1] - y[0]))
        near_path = _distance_to(y, y[path]) < radius
        near_ends = _distance_to(y, y[:2]) < radius
        inside = near_path & ~near_ends
        self.weight[inside[self.start] | inside[self.end]] *= _DETOUR


def _distance_to(y: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point to the nearest target."""
    return np.asarray(NearestNeighbors(n_neighbors=1).fit(targets).kneighbors(y)[0][:, 0])


def _shortest_path(graph: csr_matrix) -> list[int] | None:
    """Nodes of the shortest path from node 0 to node 1; None if there is none."""
    distance, previous = dijkstra(graph, directed=False, indices=0, return_predecessors=True)
    if not np.isfinite(distance[1]):
        return None
    path = [1]
    while path[-1] != 0:
        path.append(int(previous[path[-1]]))
    return path[::-1]


def _smoothed(denoiser: Denoiser, samples: Tensor, levels: Tensor, constraints: tuple[Constraint, ...]) -> Tensor:
    """Samples without their thermal noise: x̂ of each, at the lowest level at which that point is feasible.

    Samples that are feasible at no level are left out.
    """
    smooth, found = samples.clone(), torch.zeros(len(samples), dtype=torch.bool)
    for level in levels.flip(0):
        at = moments_at(denoiser, Points(samples, level.expand(len(samples)))).mean
        points = Points(at, level.expand(len(samples)))
        ok = torch.from_numpy(_feasible(denoiser, points, moments_at(denoiser, points), constraints))
        smooth[ok] = at[ok]
        found |= ok
    return smooth[found]


def _feasible(
    denoiser: Denoiser, points: Points, moments: Moments, constraints: tuple[Constraint, ...]
) -> NDArray[np.bool_]:
    ok = torch.ones(len(points), dtype=torch.bool)
    for constraint in constraints:
        ok &= constraint.violation(denoiser, points, moments) <= _TOLERANCE
    return ok.numpy()


def _edges(nodes: Points, level: NDArray[np.intp], neighbours: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of nodes: near in y, on the same level or on adjacent ones; the ends join every level."""
    y = nodes.y.numpy()
    pairs = []
    levels = [np.flatnonzero(level == value) for value in range(level.max() + 1)]
    for index, here in enumerate(levels):
        for there in levels[index : index + 2]:
            if len(here) and len(there):
                pairs.append(_nearest(y, here, there, neighbours))
        if len(here):
            pairs.append(_nearest(y, np.array([0, 1]), here, neighbours))
    both = np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)
    both = both[both[:, 0] != both[:, 1]]
    return both[:, 0], both[:, 1]


def _nearest(
    y: NDArray[np.float64], here: NDArray[np.intp], there: NDArray[np.intp], neighbours: int
) -> NDArray[np.intp]:
    found = NearestNeighbors(n_neighbors=min(neighbours, len(there))).fit(y[there]).kneighbors(y[here])[1]
    return np.stack([np.repeat(here, found.shape[1]), there[found.ravel()]], axis=1)


def _holds_between(
    denoiser: Denoiser, a: Points, at_a: Moments, b: Points, at_b: Moments, constraints: tuple[Constraint, ...]
) -> NDArray[np.bool_]:
    """Whether the constraints hold along exponential geodesics, looked for where a jump between modes would be.

    Along such a geodesic η is linear and Δη·μ rises from one end to the other. Bisection follows the half in which it
    rises more, until what is left is too short to hide a jump; each point on the way is tested.
    """
    ok = np.ones(len(a), dtype=bool)
    edge = torch.arange(len(a))
    while len(edge):
        snr = 0.5 * (a.snr + b.snr)
        middle = Points(0.5 * (a.snr[:, None] * a.y + b.snr[:, None] * b.y) / snr[:, None], snr.log())
        at_middle = moments_at(denoiser, middle)
        holds = torch.from_numpy(_feasible(denoiser, middle, at_middle, constraints))
        ok[edge[~holds]] = False
        left = symmetric_divergence(a, at_a, middle, at_middle)
        right = symmetric_divergence(middle, at_middle, b, at_b)
        go_on = holds & (torch.maximum(left, right) > _RESOLVED)
        upper = (right > left)[go_on]
        edge = edge[go_on]
        a, at_a, b, at_b = (
            _choose(upper, middle[go_on], a[go_on]),
            _choose_moments(upper, _take(at_middle, go_on), _take(at_a, go_on)),
            _choose(~upper, middle[go_on], b[go_on]),
            _choose_moments(~upper, _take(at_middle, go_on), _take(at_b, go_on)),
        )
    return ok


def _take(moments: Moments, index: Tensor) -> Moments:
    return Moments(moments.mean[index], moments.variance[index])


def _choose(where: Tensor, yes: Points, no: Points) -> Points:
    return Points(torch.where(where[:, None], yes.y, no.y), torch.where(where, yes.log_snr, no.log_snr))


def _choose_moments(where: Tensor, yes: Moments, no: Moments) -> Moments:
    return Moments(torch.where(where[:, None], yes.mean, no.mean), torch.where(where, yes.variance, no.variance))


def _explain(graph: csr_matrix, samples: int, nodes: int) -> str:
    _, label = connected_components(graph, directed=False)
    sizes = [int((label == label[end]).sum()) - 1 for end in (0, 1)]
    return (
        f"no connection between the two states: of {nodes} feasible spacetime points made from {samples} samples, "
        f"{sizes[0]} are connected to A and {sizes[1]} to B, and no path joins them. The samples lack the channel, or "
        "the bound is too tight: sample the barrier (a higher model_temperature, longer sampling) or relax the bound"
    )
