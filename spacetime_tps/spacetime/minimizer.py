"""Minimisation of the energy of a spline on spacetime, under constraints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments, RefinedDenoiser
from spacetime_tps.spacetime.constraints import FEASIBILITY_TOLERANCE, Constraint
from spacetime_tps.spacetime.curve import SplineBasis, equidistant_knots, resample_polyline
from spacetime_tps.spacetime.family import Points, curve_divergences, moments_at
from spacetime_tps.spacetime.preconditioner import Preconditioner

_AIM = 0.2 * FEASIBILITY_TOLERANCE
_ENERGY_TOLERANCE = {False: 1e-6, True: 1.25e-5}  # relative, an iteration; by whether there are constraints
_PLACES = 10  # along a curve, where the preconditioner takes the metric
_BATCH = 64  # derivatives taken at a time
_TRUST = 0.8
"""Of a coarse denoiser's J: below that the J of a network on top of it is not believed."""
_RESTART = 40  # iterations between two looks at the constraints; without any, to the first new preconditioner


@dataclass(frozen=True)
class Solution:
    """A minimised spline.

    Attributes
    ----------
    knots : tensor, shape (knots, dimension + 1)
    energy, violation : float
        Of the spline; the violation is the largest of any constraint.
    converged : bool
    iterations : int
    """

    knots: Tensor
    energy: float
    violation: float
    converged: bool
    iterations: int


class SplineProblem:
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
        # points at which the preconditioner's metric is taken, and the linear interpolation between them
        self.places = torch.linspace(0, points - 1, min(_PLACES, points)).round().long()
        hats = [np.interp(np.arange(points), self.places, row) for row in np.eye(len(self.places))]
        self.hats = torch.from_numpy(np.stack(hats, axis=1))
        self.evaluations = 0

    def to_knots(self, points: Points) -> Tensor:
        """Values (y, u) at points."""
        low, high = self.bounds
        share = ((points.log_snr - low) / (high - low)).clamp(1e-6, 1 - 1e-6)
        return torch.cat([points.y, torch.logit(share)[:, None]], dim=1)

    def to_points(self, values: Tensor) -> Points:
        """Points of values (y, u)."""
        low, high = self.bounds
        return Points(values[:, :-1], low + (high - low) * torch.sigmoid(values[:, -1]))

    def terms(self, inner: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Energy of the curve and the violations of each constraint at its points."""
        curve = self.to_points(self.basis(self.all_knots(inner)))
        moments = moments_at(self.denoiser, curve, f"evaluation {self.evaluations} of the curve's energy")
        energy = 0.5 * (self.points - 1) * self.divergences(curve, moments).sum()
        return energy, [c.violation(self.denoiser, curve, moments) for c in self.constraints]

    def divergences(self, curve: Points, moments: Moments) -> Tensor:
        """J of each chord; of a network, that the solver would follow to where it errs, no less than it may be."""
        divergences = curve_divergences(curve, moments)
        if not isinstance(self.denoiser, RefinedDenoiser):
            return divergences
        coarse = self.denoiser.base.moments(curve.y, curve.log_snr)
        return torch.maximum(divergences, _TRUST * curve_divergences(curve, coarse))

    def all_knots(self, inner: Tensor) -> Tensor:
        """Inner knots with both ends."""
        return torch.cat([self.ends[0], inner, self.ends[1]])

    def fit(self, start: Points) -> Tensor:
        """Inner knots along a polyline, at equal Fisher-Rao distances."""
        polyline = self.to_knots(resample_polyline(self.denoiser, start, 4 * self.points))
        return equidistant_knots(polyline, self.shape[0] + 2)[1:-1]

    def solve(self, start: Points, max_iterations: int) -> Solution:
        """Minimise the energy of the spline from a polyline, by the augmented Lagrangian method."""
        inner = self.fit(start)
        energy, violations = self.measure(inner)
        multipliers = [torch.zeros(self.points, dtype=torch.float64) for _ in self.constraints]
        stiffness = 30.0 * energy / self.points
        iterations, converged, patience = 0, False, _RESTART
        while iterations < max_iterations and not converged:
            previous, previous_worst = energy, _worst(violations)
            budget = min(patience, max_iterations - iterations)
            inner, taken, finished = self.descend(inner, multipliers, stiffness, budget)
            iterations += max(taken, 1)
            energy, violations = self.measure(inner)
            settled = abs(previous - energy) <= _ENERGY_TOLERANCE[bool(self.constraints)] * max(taken, 1) * energy
            if not self.constraints:
                converged, patience = finished or settled, 2 * patience
                continue
            converged = settled and _worst(violations) <= _AIM
            if converged:
                break
            multipliers = [(m + stiffness * v).clamp(min=0) for m, v in zip(multipliers, violations, strict=True)]
            if _worst(violations) > max(_AIM, 0.5 * previous_worst):
                stiffness *= 2.0
        return Solution(self.all_knots(inner), energy, _worst(violations), converged, iterations)

    def measure(self, inner: Tensor) -> tuple[float, list[Tensor]]:
        """Terms as numbers, without gradients."""
        with torch.no_grad():
            energy, violations = self.terms(inner)
        return float(energy), violations

    def descend(
        self, inner: Tensor, multipliers: list[Tensor], stiffness: float, iterations: int
    ) -> tuple[Tensor, int, bool]:
        """L-BFGS on the augmented Lagrangian, in preconditioned variables; also iterations taken and if it finished."""
        variables = self.preconditioner(inner, multipliers, stiffness)

        def lagrangian(z: np.ndarray) -> tuple[float, np.ndarray]:
            self.evaluations += 1
            moved = (inner + variables.back(torch.from_numpy(z))).requires_grad_()
            value, violations = self.terms(moved)
            for multiplier, violation in zip(multipliers, violations, strict=True):
                push = (multiplier + stiffness * violation).clamp(min=0)
                value = value + (push**2 - multiplier**2).sum() / (2 * stiffness)
            (gradient,) = torch.autograd.grad(value, moved)
            return value.item(), variables.gradient(gradient).numpy()

        result = minimize(
            lagrangian,
            np.zeros(inner.numel()),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-8},
        )
        return inner + variables.back(torch.from_numpy(result.x)), int(result.nit), result.status == 0

    def preconditioner(self, inner: Tensor, multipliers: list[Tensor], stiffness: float) -> Preconditioner:
        """Variables for the neighbourhood of a curve."""
        values = self.basis(self.all_knots(inner)).requires_grad_()
        normals = []
        if self.constraints:
            curve = self.to_points(values)
            moments = moments_at(self.denoiser, curve, "the gradients of the constraints")
            for constraint, multiplier in zip(self.constraints, multipliers, strict=True):
                violation = constraint.violation(self.denoiser, curve, moments)
                active = multiplier + stiffness * violation.detach() > 0
                (normal,) = torch.autograd.grad(violation.sum(), values, retain_graph=True)
                normals.append((normal[active], active))
        metric = self.metric(values.detach()[self.places])
        return Preconditioner(self.basis.matrix[:, 1:-1], metric, self.hats, normals, stiffness)

    def metric(self, values: Tensor) -> Tensor:
        """Fisher metric (∂η)ᵀ ∂μ at values (y, u) of the spline, (N, D+1, D+1) in these variables.

        With x and y shifted by the (fixed) mean c, η = (SNR (y − c), −SNR/2) and μ = (x̂ − c, v + |x̂ − c|²).
        """
        values = values.requires_grad_()
        curve = self.to_points(values)
        moments = moments_at(self.denoiser, curve, "the Fisher metric")
        centre = moments.mean.detach()
        second = moments.variance + ((moments.mean - centre) ** 2).sum(-1)
        expectation = torch.cat([moments.mean - centre, second[:, None]], dim=1)
        by_values = _jacobian(expectation, values)
        low, high = self.bounds
        share = torch.sigmoid(values[:, -1:])
        slope = (high - low) * share * (1 - share)  # ∂λ/∂u
        by_y = by_values[:, :-1]
        by_u = slope * (((curve.y - centre)[:, None] @ by_y)[:, 0] - 0.5 * by_values[:, -1])
        metric = (curve.snr[:, None, None] * torch.cat([by_y, by_u[:, None]], dim=1)).detach()
        return 0.5 * (metric + metric.transpose(1, 2))


def _jacobian(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Derivatives of each point's outputs (N, M) by its inputs (N, D), shape (N, M, D)."""
    seeds = torch.eye(outputs.shape[1], dtype=torch.float64)[:, None].expand(-1, *outputs.shape)
    try:
        rows = [
            torch.autograd.grad(outputs, inputs, some, retain_graph=True, is_grads_batched=True)[0]
            for some in torch.split(seeds, _BATCH)
        ]
    except RuntimeError:  # torch does not know every operation in batches: sparse products, for one
        rows = [torch.autograd.grad(outputs, inputs, seed, retain_graph=True)[0][None] for seed in seeds]
    return torch.cat(rows).transpose(0, 1)


def _worst(violations: list[Tensor]) -> float:
    return max((float(v.max()) for v in violations), default=-np.inf)
