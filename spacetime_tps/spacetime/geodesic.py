"""Geodesics between two spacetime points, free or constrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.constraints import FEASIBILITY_TOLERANCE, Constraint, largest_violation
from spacetime_tps.spacetime.curve import constant_speed
from spacetime_tps.spacetime.family import Points, curve_divergences, depth, moments_at, negative_chord_fraction
from spacetime_tps.spacetime.minimizer import Solution, SplineProblem
from spacetime_tps.spacetime.search import SpacetimeGraph

_BENDS = (2.0, 0.0, 5.0)  # depths in log SNR of the curves that unconstrained problems start from
_EQUAL_DEPTH = 1e-3  # nats: channels whose depths differ by less are ranked by length
_SAME = 0.15  # how far apart two channels' means must be somewhere, in units of the distance between the ends


@dataclass(frozen=True)
class Geodesic:
    """A curve on spacetime and what is known of its quality.

    Attributes
    ----------
    points : Points
        At constant Fisher-Rao speed, both ends included.
    moments : Moments
        Mean and variance of the denoising distribution at each point.
    depth : tensor, shape (points,), or None
        Of the mean of each point at its own λ, from the mean of the first (:func:`depth`): the smoothed free energy of
        the model along the curve, in nats. It is not that of y, which strains against the mean wherever a curve bends.
        None if the denoiser knows no log-normalizer.
    energy : float
        (N − 1)/2 Σ J over neighbouring points.
    length : float
        Σ √J.
    speed_ratio : float
        2 energy/length²: 1 for constant speed.
    negative_chord_fraction : float
        Of all pairs of points: 0 for a denoiser that is the gradient of a convex function.
    max_variance : float
    max_violation : float
        Largest relative violation of a constraint (negative if all hold with room).
    feasible : bool
        Whether every constraint holds within 1 %.
    converged : bool
        Whether the optimiser met its tolerance.
    evaluations : int
        Of the curve's energy and its gradient.
    message : str
    """

    points: Points
    moments: Moments
    depth: Tensor | None
    energy: float
    length: float
    speed_ratio: float
    negative_chord_fraction: float
    max_variance: float
    max_violation: float
    feasible: bool
    converged: bool
    evaluations: int
    message: str = field(repr=False)

    @property
    def max_depth(self) -> float | None:
        """Largest depth along the curve: the barrier of the model on this way, in nats; None if it is not known."""
        return None if self.depth is None else float(self.depth.max())

    def to_json(self) -> dict[str, float | int | bool | str | None]:
        """Its figures, without its points and moments; a violation that is not finite is None."""
        names = (
            *("energy", "length", "speed_ratio", "negative_chord_fraction", "max_variance", "max_depth"),
            *("feasible", "converged", "evaluations", "message"),
        )
        violation = self.max_violation if math.isfinite(self.max_violation) else None
        return {name: getattr(self, name) for name in names} | {"max_violation": violation}


def solve_geodesic(
    denoiser: Denoiser, a: Points, b: Points, constraints: Sequence[Constraint] = (), **options: Any
) -> Geodesic:
    """The best curve from a to b under the constraints: the first of :func:`solve_channels`, with its options."""
    return solve_channels(denoiser, a, b, constraints, **options)[0]


def solve_channels(
    denoiser: Denoiser,
    a: Points,
    b: Points,
    constraints: Sequence[Constraint] = (),
    *,
    samples: Tensor | None = None,
    starts: Sequence[Points] = (),
    points: int = 128,
    knots: int = 14,
    log_snr_bounds: tuple[float, float] | None = None,
    graph_levels: int = 10,
    graph_samples: int = 600,
    channels: int = 3,
    max_iterations: int = 1000,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> list[Geodesic]:
    """Locally shortest curves from a to b under the constraints, one for each channel, the least deep first.

    The curve is a cubic spline in (y, λ) through ``knots`` inner knots; its energy (N−1)/2 Σ J is minimised by
    L-BFGS with bounded λ in float64, constraints by the augmented Lagrangian method (Nocedal & Wright, ch. 17).
    Unconstrained problems start from bends towards low SNR until two agree; constrained ones, which have many local
    minima, from short paths through a graph of feasible spacetime points, each sought away from the channels found
    before. Curves that converge to the same channel are one, the shortest of them. Linear algebra runs on one thread:
    vectors are short.

    Channels are found by length, but length does not see how high a plateau is that a curve crosses. So they are ranked
    by the barrier of the model along them, ``max_depth``. Curves without constraints are ranked by length, for they
    reweight and cross no barrier.

    Parameters
    ----------
    denoiser : Denoiser
    a, b : Points
        One point each.
    constraints : sequence of Constraint
    samples : tensor, shape (n, dimension), optional
        Samples for the graph; needed with constraints unless ``starts`` are given.
    starts : sequence of Points
        Curves to start from instead.
    points : int
        N, at which the energy is evaluated.
    knots : int
    log_snr_bounds : (float, float), optional
        By default ten below the lower end to one above the higher.
    graph_levels : int
        Levels of log SNR in the graph.
    graph_samples : int
        Samples in the graph: where more are given, those that cover the others best.
    channels : int
        How many different ones to look for with a graph; there may be fewer.
    max_iterations : int
        Of L-BFGS, for each start.
    progress : callable
        Passes the items of a sequence on, one for each start, and may show how many are done.

    Returns
    -------
    list of Geodesic
        Feasible ones first. Among them the least ``max_depth`` is first; those of equal depth (within 1e-3 nats), of a
        depth that the denoiser does not know, or without constraints go by length. Curves that are not feasible or not
        converged say so. There may be channels that were not found: the graph looks for ``channels`` of them.

    Raises
    ------
    GeometryError
        If the ends are not two single finite points within the bounds, or break a constraint themselves, or there are
        fewer points than knots.
    NoPathError
        If the graph does not connect the ends.
    """
    constraints = tuple(constraints)
    if knots < 1 or points < knots + 2:
        raise GeometryError(f"{points} points cannot resolve a spline of {knots} inner knots; take more points")
    bounds = _bounds(denoiser, a, b, log_snr_bounds)
    _check_ends(denoiser, a, b, constraints, bounds)

    def refine(start: Points) -> Geodesic:
        problem = SplineProblem(denoiser, a, b, constraints, bounds, points, knots)
        solution = problem.solve(start, max_iterations)
        curve = constant_speed(denoiser, problem.to_points, solution.knots, points)
        return _describe(denoiser, curve, constraints, solution, problem.evaluations)

    with threadpool_limits(1):
        if starts:
            found = _distinct([refine(starts[index]) for index in progress(range(len(starts)))])
            return _ranked(found) if constraints else found
        if not constraints:
            return _agreeing(refine(_bend(a, b, depth, bounds)) for depth in progress(_BENDS))
        if samples is None or not len(samples):
            raise GeometryError("a constrained geodesic needs samples (for the graph that starts it) or starts")
        graph = SpacetimeGraph(
            denoiser,
            a,
            b,
            constraints,
            samples=samples.double(),
            log_snr_bounds=bounds,
            levels=graph_levels,
            most=graph_samples,
        )
        start: Points | None = graph.shortest_path()
        found = []
        for _ in progress(range(2 * channels)):
            assert start is not None
            last = refine(start)
            found = _distinct([*found, last])
            if sum(geodesic.feasible for geodesic in found) == channels:
                break
            start = graph.next_channel(start, last.moments.mean, [geodesic.moments.mean for geodesic in found])
            if start is None:
                break
        return _ranked(found)


def _bounds(denoiser: Denoiser, a: Points, b: Points, asked: tuple[float, float] | None) -> tuple[float, float]:
    """Range of log SNR that a curve may use: what is asked for, within what the denoiser knows."""
    ends = (float(a.log_snr.min()), float(b.log_snr.min()))
    low, high = asked or (min(ends) - 10, max(ends) + 1)
    known = denoiser.log_snr_range
    for name, end in zip(("first", "second"), ends, strict=True):
        if not known[0] <= end <= known[1]:
            raise GeometryError(
                f"the {name} end has log SNR {end:.3f}, but the denoiser knows only {known[0]:.3f} to {known[1]:.3f}; "
                "move the ends, or take a denoiser of that range"
            )
    bounds = max(low, known[0]), min(high, known[1])
    if not bounds[0] < bounds[1]:
        raise GeometryError(f"log SNR bounds must rise, not go from {bounds[0]} to {bounds[1]}")
    return bounds


def _agreeing(solved: Iterable[Geodesic]) -> list[Geodesic]:
    """Distinct ones of geodesics that are solved one after another, until two starts have come to the same."""
    found: list[Geodesic] = []
    for tried, geodesic in enumerate(solved, 1):
        found = _distinct([*found, geodesic])
        if len(found) < tried:
            break
    return found


def _distinct(geodesics: list[Geodesic]) -> list[Geodesic]:
    """Those whose means stray somewhere from every better geodesic's; the feasible first, then the shortest."""
    kept: list[Geodesic] = []
    for geodesic in sorted(geodesics, key=lambda geodesic: (not geodesic.feasible, geodesic.length)):
        mean = geodesic.moments.mean
        apart = _SAME * float((mean[0] - mean[-1]).norm())
        if all(float((mean - other.moments.mean).norm(dim=1).max()) > apart for other in kept):
            kept.append(geodesic)
    return kept


def _ranked(geodesics: list[Geodesic]) -> list[Geodesic]:
    """The feasible first, then the least deep, then the shortest."""

    def rank(geodesic: Geodesic) -> tuple[bool, int, float]:
        steps = 0 if geodesic.max_depth is None else round(geodesic.max_depth / _EQUAL_DEPTH)
        return not geodesic.feasible, steps, geodesic.length

    return sorted(geodesics, key=rank)


def _check_ends(
    denoiser: Denoiser, a: Points, b: Points, constraints: tuple[Constraint, ...], bounds: tuple[float, float]
) -> None:
    for name, end in (("first", a), ("second", b)):
        if end.y.shape != (1, denoiser.dimension) or end.log_snr.shape != (1,):
            raise GeometryError(
                f"the {name} end has y of shape {tuple(end.y.shape)}, the denoiser needs (1, {denoiser.dimension})"
            )
        if not (torch.isfinite(end.y).all() and torch.isfinite(end.log_snr).all()):
            raise GeometryError(f"the {name} end is not finite")
        if not bounds[0] <= float(end.log_snr) <= bounds[1]:
            raise GeometryError(
                f"the {name} end has log SNR {float(end.log_snr):.3f}, outside the bounds "
                f"{bounds[0]:.3f} to {bounds[1]:.3f}"
            )
        violation, _ = largest_violation(denoiser, end, constraints)
        if violation > FEASIBILITY_TOLERANCE:
            at_end = moments_at(denoiser, end)
            worst = max(constraints, key=lambda constraint: float(constraint.violation(denoiser, end, at_end)))
            raise GeometryError(
                f"the {name} end breaks a constraint itself, by {100 * violation:.1f} % (its variance is "
                f"{float(at_end.variance):.4g}); raise the SNR of the ends or relax the bound: the end needs "
                f"{worst.relaxed(violation)}"
            )


def _bend(a: Points, b: Points, depth: float, bounds: tuple[float, float]) -> Points:
    """Straight line in y whose λ dips by ``depth`` in the middle."""
    s = torch.linspace(0, 1, 33, dtype=torch.float64)
    y = a.y + s[:, None] * (b.y - a.y)
    log_snr = a.log_snr + s * (b.log_snr - a.log_snr) - depth * torch.sin(torch.pi * s)
    return Points(y, log_snr.clamp(*bounds))


def _depth_of_means(denoiser: Denoiser, curve: Points, moments: Moments) -> Tensor | None:
    """Depth of each point's mean from the first one's; None if the denoiser knows no log-normalizer."""
    means = Points(moments.mean, curve.log_snr)
    try:
        with torch.no_grad():
            return depth(denoiser, means[:1], means)
    except GeometryError:
        return None


def _describe(
    denoiser: Denoiser,
    curve: Points,
    constraints: tuple[Constraint, ...],
    best: Solution,
    evaluations: int,
) -> Geodesic:
    with torch.no_grad():
        moments = moments_at(denoiser, curve)
        chords = curve_divergences(curve, moments)
    energy = float(0.5 * (len(curve) - 1) * chords.sum())
    length = float(chords.clamp(min=0).sqrt().sum())
    violation, where = largest_violation(denoiser, curve, constraints)
    feasible = violation <= FEASIBILITY_TOLERANCE
    message = f"converged in {best.iterations} iterations"
    if not best.converged:
        message = f"not converged in {best.iterations} iterations; raise max_iterations"
    if not feasible:
        message = (
            f"a constraint is broken by {100 * violation:.1f} % at point {where} of {len(curve)}; relax the bound, add "
            "knots, or give samples that fill the channel"
        )
    negative = negative_chord_fraction(curve, moments)
    if negative > 0:
        message += (
            f"; J < 0 on {100 * negative:.1f} % of the chords: this denoiser is not the gradient of a convex function, "
            "and the energy may be too low. Fewer points and knots (12 and 3) average over its errors"
        )
    return Geodesic(
        points=curve,
        moments=moments,
        depth=_depth_of_means(denoiser, curve, moments),
        energy=energy,
        length=length,
        speed_ratio=2 * energy / length**2 if length else 1.0,
        negative_chord_fraction=negative,
        max_variance=float(moments.variance.max()),
        max_violation=violation,
        feasible=feasible,
        converged=best.converged,
        evaluations=evaluations,
        message=message,
    )
