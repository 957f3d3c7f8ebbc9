"""What a curve must obey besides being short: bounds on variance and depth, regions to keep away from or in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.family import Points, depth, kl_divergence, moments_at

FEASIBILITY_TOLERANCE = 0.01
"""Relative violation of a constraint up to which a curve counts as feasible."""


class Constraint(Protocol):
    """A condition on every point of a curve."""

    def violation(self, denoiser: Denoiser, points: Points, moments: Moments) -> Tensor:
        """Relative excess over the limit, shape (points,): at most 0 where the condition holds."""
        ...

    def relaxed(self, violation: float) -> str:
        """What the limit would have to be for a point of this violation to be allowed, in words."""
        ...


@dataclass(frozen=True)
class VarianceBound:
    """tr Cov[x|z] ≤ ``limit``: denoising distributions stay narrow, so they must move instead of being reweighted.

    Attributes
    ----------
    limit : float
        In the square of y's unit.
    """

    limit: float

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise GeometryError(f"variance bound must be positive, not {self.limit}")

    def violation(self, denoiser: Denoiser, points: Points, moments: Moments) -> Tensor:
        """v/limit − 1."""
        return moments.variance / self.limit - 1

    def relaxed(self, violation: float) -> str:
        """The variance of such a point."""
        return f"a variance bound of {self.limit * (1 + violation):.4g} ({self.limit:.4g} asked)"


@dataclass(frozen=True)
class LikelihoodBound:
    """D(z) ≤ ``limit``: curves keep out of walls, which a variance bound alone may let pass (see :func:`depth`).

    Attributes
    ----------
    reference : Points
        One point, from whose y depths are measured: an end of the curve.
    limit : float
        In nats at the temperature of the model.
    """

    reference: Points
    limit: float

    def __post_init__(self) -> None:
        if not 0 < self.limit < math.inf:
            raise GeometryError(f"depth bound must be positive and finite, not {self.limit}")
        if self.reference.y.dim() != 2 or len(self.reference) != 1 or not torch.isfinite(self.reference.y).all():
            raise GeometryError(
                f"depths are measured from one finite point with y of shape (1, dimension), not "
                f"{tuple(self.reference.y.shape)}"
            )

    def violation(self, denoiser: Denoiser, points: Points, moments: Moments) -> Tensor:
        """D/limit − 1."""
        return depth(denoiser, self.reference, points) / self.limit - 1

    def relaxed(self, violation: float) -> str:
        """The depth of such a point."""
        return f"a depth bound of {self.limit * (1 + violation):.4g} nats ({self.limit:.4g} asked)"


@dataclass(frozen=True)
class NoiseShell:
    """SNR E[|x − y|² | z] ≤ ``limit``: y no farther from x than noise takes it, where a network has been trained.

    For x in D directions noise alone has D ± √(2D).

    Attributes
    ----------
    limit : float
    """

    limit: float

    def violation(self, denoiser: Denoiser, points: Points, moments: Moments) -> Tensor:
        """SNR E|x − y|²/limit − 1."""
        square = ((moments.mean - points.y) ** 2).sum(-1) + moments.variance
        return points.snr * square / self.limit - 1

    def relaxed(self, violation: float) -> str:
        """The noise of such a point."""
        return f"SNR |x − y|² of {self.limit * (1 + violation):.4g} ({self.limit:.4g} asked)"


@dataclass(frozen=True)
class RegionAvoidance:
    """KL(p(·|z*) ‖ p(·|z)) ≥ ``divergence``: keep away from the denoising distribution of ``centre``.

    Attributes
    ----------
    centre : Points
        One point z*.
    divergence : float
        In nats.
    """

    centre: Points
    divergence: float

    def __post_init__(self) -> None:
        if not self.divergence > 0:
            raise GeometryError(f"the divergence from a region must be positive, not {self.divergence}")

    def violation(self, denoiser: Denoiser, points: Points, moments: Moments) -> Tensor:
        """1 − KL/divergence."""
        return 1 - kl_divergence(denoiser, self.centre, points) / self.divergence

    def relaxed(self, violation: float) -> str:
        """The divergence of such a point."""
        return f"a divergence of at most {self.divergence * (1 - violation):.4g} nats ({self.divergence:.4g} asked)"


def violations(denoiser: Denoiser, points: Points, moments: Moments, constraints: Sequence[Constraint]) -> Tensor:
    """Largest relative violation of any constraint at each point, shape (points,); −inf without constraints."""
    worst = torch.full_like(points.log_snr, -torch.inf)
    for constraint in constraints:
        worst = torch.maximum(worst, constraint.violation(denoiser, points, moments))
    return worst


def largest_violation(denoiser: Denoiser, points: Points, constraints: Sequence[Constraint]) -> tuple[float, int]:
    """Largest relative violation over points and constraints, and the point where it is; (−inf, 0) without any."""
    with torch.no_grad():
        worst = violations(denoiser, points, moments_at(denoiser, points), constraints)
    where = int(worst.argmax())
    return float(worst[where]), where
