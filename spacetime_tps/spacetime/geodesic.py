"""Geodesics between two spacetime points, free or constrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.constraints import Constraint, largest_violation
from spacetime_tps.spacetime.curve import (
    SplineBasis,
    constant_speed,
    equidistant_knots,
    resample_polyline,
)
from spacetime_tps.spacetime.family import Points, curve_divergences, moments_at, symmetric_divergence
from spacetime_tps.spacetime.search import graph_paths

FEASIBILITY_TOLERANCE = 0.01
"""Relative violation of a constraint up to which a curve counts as feasible."""

_AIM = 0.2 * FEASIBILITY_TOLERANCE
_ENERGY_TOLERANCE = {False: 1e-6, True: 5e-4}  # relative, of a restart; by whether there are constraints
_RESTART = 40  # iterations between two looks at the constraints and at the preconditioner


@dataclass(frozen=True)
class Geodesic:
    """A curve on spacetime and what is known of its quality.

    Attributes
    ----------
    points : Points
        At constant Fisher-Rao speed, both ends included.
    moments : Moments
        Mean and variance of the denoising distribution at each point.
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


@dataclass(frozen=True)
class _Solution:
    knots: Tensor
    energy: float
    violation: float
    converged: bool
    iterations: int
    multipliers: list[Tensor]
    stiffness: float


def solve_geodesic(
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
    channels: int = 3,
    max_iterations: int = 1000,
) -> Geodesic:
    """Shortest curve from a to b under the constraints.

    The curve is a cubic spline in (y, λ) through ``knots`` inner knots; its energy (N−1)/2 Σ J is minimised by
    L-BFGS with bounded λ in float64, constraints by the augmented Lagrangian method (Nocedal & Wright, ch. 17).
    Unconstrained problems start from several bends towards low SNR and keep the best; constrained ones start from the
    shortest path over a graph of feasible spacetime points, for they have many local minima.

    Parameters
    ----------
    denoiser : Denoiser
    a, b : Points
        One point each.
    constraints : sequence of Constraint
    samples : tensor, shape (n, dimension), optional
        Thinned samples for the graph; needed with constraints unless ``starts`` are given.
    starts : sequence of Points
        Curves to start from instead.
    points : int
        N, at which the energy is evaluated.
    knots : int
    log_snr_bounds : (float, float), optional
        By default ten below the lower end to one above the higher.
    graph_levels : int
        Levels of log SNR in the graph.
    channels : int
        Paths through the graph to start from.
    max_iterations : int
        Of L-BFGS; a tenth of them for each start, to choose the best.

    Returns
    -------
    Geodesic
        Also when it is not feasible or not converged: it says so.

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
    bounds = log_snr_bounds or (
        float(min(a.log_snr, b.log_snr)) - 10,
        float(max(a.log_snr, b.log_snr)) + 1,
    )
    if not bounds[0] < bounds[1]:
        raise GeometryError(f"log SNR bounds must rise, not go from {bounds[0]} to {bounds[1]}")
    _check_ends(denoiser, a, b, constraints, bounds)
    if not starts:
        if constraints:
            if samples is None or not len(samples):
                raise GeometryError("a constrained geodesic needs samples (for the graph that starts it) or starts")
            starts = graph_paths(
                denoiser,
                a,
                b,
                constraints,
                samples=samples.double(),
                log_snr_bounds=bounds,
                levels=graph_levels,
                count=channels,
            )
        else:
            starts = [_bend(a, b, depth, bounds) for depth in (0.0, 1.0, 3.0, 6.0)]
    problem = _Problem(denoiser, a, b, constraints, bounds, points, knots)
    trials = [problem.solve(problem.start(curve), max(max_iterations // 10, 1)) for curve in starts]
    best = min(trials, key=lambda trial: (trial.violation > FEASIBILITY_TOLERANCE, trial.energy))
    if not best.converged:
        best = problem.solve(best, max_iterations)
    curve = constant_speed(denoiser, problem.to_points, best.knots, points)
    return _describe(denoiser, curve, constraints, best, problem.evaluations)


class _Problem:
    """Energy of the spline as a function of its inner knots, and its minimisation.

    Knots are (y, u) with λ = low + (high − low) sigmoid(u), so that λ keeps its bounds all along the curve. They are
    changed to variables in which the Gauss-Newton Hessian of the Lagrangian, made of the Fisher metric along the
    curve, is the identity: stiff and soft directions of the molecule and long and short waves of the spline then
    converge alike.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        a: Points,
        b: Points,
        constraints: tuple[Constraint, ...],
        bounds: tuple[float, float],
        points: int,
        knots: int,
    ) -> None:
        self.denoiser, self.constraints, self.points, self.bounds = denoiser, constraints, points, bounds
        self.ends = [self.to_knots(end) for end in (a, b)]
        self.basis = SplineBasis(knots + 2, points)
        self.shape = (knots, a.y.shape[-1] + 1)
        self.evaluations = 0

    def to_knots(self, points: Points) -> Tensor:
        low, high = self.bounds
        share = ((points.log_snr - low) / (high - low)).clamp(1e-6, 1 - 1e-6)
        return torch.cat([points.y, torch.logit(share)[:, None]], dim=1)

    def to_points(self, values: Tensor) -> Points:
        low, high = self.bounds
        return Points(values[:, :-1], low + (high - low) * torch.sigmoid(values[:, -1]))

    def terms(self, inner: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Energy of the curve and the violations of each constraint at its points."""
        curve = self.to_points(self.basis(self.all_knots(inner)))
        moments = moments_at(self.denoiser, curve)
        energy = 0.5 * (self.points - 1) * curve_divergences(curve, moments).sum()
        return energy, [c.violation(self.denoiser, curve, moments) for c in self.constraints]

    def all_knots(self, inner: Tensor) -> Tensor:
        return torch.cat([self.ends[0], inner, self.ends[1]])

    def fit(self, start: Points) -> Tensor:
        """Inner knots along a polyline, at equal Fisher-Rao distances."""
        polyline = self.to_knots(resample_polyline(self.denoiser, start, 4 * self.points))
        return equidistant_knots(polyline, self.shape[0] + 2)[1:-1]

    def start(self, curve: Points) -> _Solution:
        """The spline along a polyline, no constraint active yet."""
        knots = self.all_knots(self.fit(curve))
        energy, violations = self.measure(knots[1:-1])
        multipliers = [torch.zeros(self.points, dtype=torch.float64) for _ in self.constraints]
        return _Solution(knots, energy, _worst(violations), False, 0, multipliers, 30.0 * energy / self.points)

    def solve(self, start: _Solution, max_iterations: int) -> _Solution:
        """Go on from a solution."""
        inner, multipliers, stiffness = start.knots[1:-1], start.multipliers, start.stiffness
        iterations, converged = 0, False
        energy, violations = self.measure(inner)
        tolerance = _ENERGY_TOLERANCE[bool(self.constraints)]
        while iterations < max_iterations and not converged:
            previous, previous_worst = energy, _worst(violations)
            inner, taken = self.descend(inner, multipliers, stiffness, min(_RESTART, max_iterations - iterations))
            iterations += max(taken, 1)
            energy, violations = self.measure(inner)
            settled = abs(previous - energy) <= tolerance * energy
            converged = settled and _worst(violations) <= _AIM
            multipliers = [(m + stiffness * v).clamp(min=0) for m, v in zip(multipliers, violations, strict=True)]
            if _worst(violations) > max(_AIM, 0.5 * previous_worst):
                stiffness *= 2.0
        return _Solution(
            self.all_knots(inner),
            energy,
            _worst(violations),
            converged,
            start.iterations + iterations,
            multipliers,
            stiffness,
        )

    def measure(self, inner: Tensor) -> tuple[float, list[Tensor]]:
        with torch.no_grad():
            energy, violations = self.terms(inner)
        return float(energy), violations

    def descend(
        self, inner: Tensor, multipliers: list[Tensor], stiffness: float, max_iterations: int
    ) -> tuple[Tensor, int]:
        """Some iterations of L-BFGS on the augmented Lagrangian, in preconditioned variables."""
        back = self.preconditioner(inner, multipliers, stiffness)

        def lagrangian(z: np.ndarray) -> tuple[float, np.ndarray]:
            self.evaluations += 1
            moved = (inner + (back @ torch.from_numpy(z)).reshape(self.shape)).requires_grad_()
            value, violations = self.terms(moved)
            for multiplier, violation in zip(multipliers, violations, strict=True):
                push = (multiplier + stiffness * violation).clamp(min=0)
                value = value + (push**2 - multiplier**2).sum() / (2 * stiffness)
            (gradient,) = torch.autograd.grad(value, moved)
            return value.item(), (back.T @ gradient.flatten()).numpy()

        result = minimize(
            lagrangian,
            np.zeros(inner.numel()),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-8},
        )
        return inner + (back @ torch.from_numpy(result.x)).reshape(self.shape), int(result.nit)

    def preconditioner(self, inner: Tensor, multipliers: list[Tensor], stiffness: float) -> Tensor:
        """Inverse transposed Cholesky factor of the Gauss-Newton Hessian, (knots·(D+1), knots·(D+1))."""
        values = self.basis(self.all_knots(inner)).detach()
        metric, normals = self.metric(values, multipliers, stiffness)
        weights = self.basis.matrix[:, 1:-1]
        steps = weights[1:] - weights[:-1]
        chord = 0.5 * (metric[1:] + metric[:-1]) * (self.points - 1)
        hessian = torch.einsum("na,nb,nij->aibj", steps, steps, chord)
        for normal, active in normals:
            hessian += stiffness * torch.einsum("na,ni,nb,nj->aibj", weights[active], normal, weights[active], normal)
        size = inner.numel()
        hessian = hessian.reshape(size, size)
        hessian += 1e-6 * hessian.diagonal().mean() * torch.eye(size, dtype=torch.float64)
        identity = torch.eye(size, dtype=torch.float64)
        factor: Tensor = torch.linalg.solve_triangular(torch.linalg.cholesky(hessian).T, identity, upper=True)
        return factor

    def metric(
        self, values: Tensor, multipliers: list[Tensor], stiffness: float
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Fisher metric (N, D+1, D+1) in the knots' variables; gradients of the active constraints and where."""
        values = values.requires_grad_()
        curve = self.to_points(values)
        moments = moments_at(self.denoiser, curve)
        violations = [c.violation(self.denoiser, curve, moments) for c in self.constraints]
        # with x and y shifted by the (fixed) mean, η = (SNR (y − c), −SNR/2) and μ = (x̂ − c, v + |x̂ − c|²)
        centre = moments.mean.detach()
        second = moments.variance + ((moments.mean - centre) ** 2).sum(-1)
        expectation = torch.cat([moments.mean - centre, second[:, None]], dim=1)
        natural = torch.cat([curve.snr[:, None] * (curve.y - centre), -0.5 * curve.snr[:, None]], dim=1)
        metric = _jacobian(natural, values).transpose(1, 2) @ _jacobian(expectation, values)
        normals = []
        for multiplier, violation in zip(multipliers, violations, strict=True):
            active = multiplier + stiffness * violation.detach() > 0
            (normal,) = torch.autograd.grad(violation.sum(), values, retain_graph=True)
            normals.append((normal[active], active))
        return _positive_part(0.5 * (metric + metric.transpose(1, 2))), normals


def _jacobian(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Derivatives of each point's outputs (N, M) by its inputs (N, D), shape (N, M, D)."""
    rows = [torch.autograd.grad(column.sum(), inputs, retain_graph=True)[0] for column in outputs.T]
    return torch.stack(rows, dim=1)


def _positive_part(metric: Tensor) -> Tensor:
    """Nearest positive semi-definite matrices."""
    eigenvalues, eigenvectors = torch.linalg.eigh(metric)
    positive: Tensor = (eigenvectors * eigenvalues.clamp(min=0)[:, None]) @ eigenvectors.transpose(1, 2)
    return positive


def _worst(violations: list[Tensor]) -> float:
    return max((float(v.max()) for v in violations), default=-np.inf)


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
            variance = float(moments_at(denoiser, end).variance)
            raise GeometryError(
                f"the {name} end breaks a constraint itself, by {100 * violation:.1f} % (its variance is "
                f"{variance:.4g}); raise the SNR of the ends or relax the bound"
            )


def _bend(a: Points, b: Points, depth: float, bounds: tuple[float, float]) -> Points:
    """Straight line in y whose λ dips by ``depth`` in the middle."""
    s = torch.linspace(0, 1, 33, dtype=torch.float64)
    y = a.y + s[:, None] * (b.y - a.y)
    log_snr = a.log_snr + s * (b.log_snr - a.log_snr) - depth * torch.sin(torch.pi * s)
    return Points(y, log_snr.clamp(*bounds))


def _describe(
    denoiser: Denoiser,
    curve: Points,
    constraints: tuple[Constraint, ...],
    best: _Solution,
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
    return Geodesic(
        points=curve,
        moments=moments,
        energy=energy,
        length=length,
        speed_ratio=2 * energy / length**2 if length else 1.0,
        negative_chord_fraction=_negative_chord_fraction(curve, moments),
        max_variance=float(moments.variance.max()),
        max_violation=violation,
        feasible=feasible,
        converged=best.converged,
        evaluations=evaluations,
        message=message,
    )


def _negative_chord_fraction(curve: Points, moments: Moments) -> float:
    """Fraction of all pairs of points with J < 0, beyond rounding."""
    i, j = torch.triu_indices(len(curve), len(curve), offset=1)
    divergence = symmetric_divergence(
        curve[i], Moments(moments.mean[i], moments.variance[i]), curve[j], Moments(moments.mean[j], moments.variance[j])
    )
    return float((divergence < -1e-9 * divergence.abs().max()).double().mean())
