"""The exponential family of denoising distributions p(x|z) and its divergences.

A point z = (y, λ), λ = log SNR, has natural parameters η = (SNR·y, −SNR/2), statistics T = (x, |x|²) and expectation
parameters μ = (E[x|z], E[|x|²|z]) (arXiv 2505.17517, Prop. 4.2, in schedule-free form). The family does not change
when x and y are shifted by a common vector; each formula here uses the shift that avoids large cancelling terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.errors import GeometryError


@dataclass(frozen=True)
class Points:
    """A batch of spacetime points.

    Attributes
    ----------
    y : tensor, shape (..., dimension)
    log_snr : tensor, shape (...)
    """

    y: Tensor
    log_snr: Tensor

    @property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio, in the inverse square of y's unit."""
        return self.log_snr.exp()

    def __getitem__(self, index: int | slice | Tensor) -> Points:
        """Some of the points."""
        return Points(self.y[index], self.log_snr[index])

    def __len__(self) -> int:
        """Number of points."""
        return len(self.log_snr)


def point(y: object, log_snr: float) -> Points:
    """One spacetime point, as a batch of one, in float64.

    Examples
    --------
    >>> point([0.0, 1.0], log_snr=2.0)
    Points(y=tensor([[0., 1.]], dtype=torch.float64), log_snr=tensor([2.], dtype=torch.float64))
    """
    return Points(torch.as_tensor(y, dtype=torch.float64).reshape(1, -1), torch.tensor([log_snr], dtype=torch.float64))


def moments_at(denoiser: Denoiser, points: Points, call: str = "") -> Moments:
    """Moments at points, checked.

    Parameters
    ----------
    denoiser : Denoiser
    points : Points
    call : str
        What they are for, in the message of an error.

    Raises
    ------
    GeometryError
        If the denoiser returns a number that is not finite; the message names the first such point.
    """
    moments = denoiser.moments(points.y, points.log_snr)
    bad = ~(torch.isfinite(moments.mean).all(-1) & torch.isfinite(moments.variance))
    if bad.any():
        index = int(bad.flatten().nonzero()[0])
        raise GeometryError(
            f"{type(denoiser).__name__} returned values that are not finite{call and f' in {call}'} at point {index}: "
            f"log SNR {points.log_snr.flatten()[index].item():.4g}, "
            f"y = {points.y.reshape(-1, points.y.shape[-1])[index].tolist()}"
        )
    return moments


def symmetric_divergence(a: Points, at_a: Moments, b: Points, at_b: Moments) -> Tensor:
    """J(a, b) = KL(a‖b) + KL(b‖a) = (η_a − η_b)·(μ_a − μ_b), exact for any two points.

    Moments are taken about the midpoint c of the two means: there |x̂_a − c| = |x̂_b − c| and

        J = [SNR_b (y_b − c) − SNR_a (y_a − c)]·(x̂_b − x̂_a) − (SNR_b − SNR_a)(v_b − v_a)/2.

    Returns
    -------
    tensor, shape (...)
        In nats; never negative if the denoiser is the gradient of a convex log-partition.
    """
    centre = 0.5 * (at_a.mean + at_b.mean)
    pull = b.snr[..., None] * (b.y - centre) - a.snr[..., None] * (a.y - centre)
    step = (pull * (at_b.mean - at_a.mean)).sum(-1)
    return step - 0.5 * (b.snr - a.snr) * (at_b.variance - at_a.variance)


def kl_divergence(denoiser: Denoiser, a: Points, b: Points) -> Tensor:
    """KL(p(·|a) ‖ p(·|b)) = ψ_b − ψ_a − (η_b − η_a)·μ_a, in nats, shape (...); one of the two may be a single point.

    In terms of the log-normalizer M = ψ − SNR|y|²/2 this is
    M_b − M_a + SNR_b/2 E_a|x − y_b|² − SNR_a/2 E_a|x − y_a|².
    """
    at_a = moments_at(denoiser, a)

    def misfit(points: Points) -> Tensor:
        return 0.5 * points.snr * (((at_a.mean - points.y) ** 2).sum(-1) + at_a.variance)

    normalizers = denoiser.log_normalizer(b.y, b.log_snr) - denoiser.log_normalizer(a.y, a.log_snr)
    return normalizers + misfit(b) - misfit(a)


def depth(denoiser: Denoiser, reference: Points, points: Points) -> Tensor:
    """D(z) = M(y_ref, λ) − M(y, λ) of points z = (y, λ): how much less likely a restraint at y is than at y_ref.

    M is the log-normalizer. D is what it costs to move the centre of the restraint from y_ref to y: a free energy over
    all coordinates, smoothed by the noise. Its gradients follow from those of M, ∂M/∂y = SNR (x̂ − y) and
    ∂M/∂λ = −(SNR/2) E|x − y|².

    Parameters
    ----------
    denoiser : Denoiser
    reference : Points
        One point; only its y counts, for each point is compared at its own λ.
    points : Points

    Returns
    -------
    tensor, shape (...)
        In nats at the temperature of the model.

    Raises
    ------
    GeometryError
        If the denoiser knows no log-normalizer.
    """
    here = denoiser.log_normalizer(points.y, points.log_snr)
    return denoiser.log_normalizer(reference.y[0].expand_as(points.y), points.log_snr) - here


def negative_chord_fraction(points: Points, moments: Moments) -> float:
    """Fraction of all pairs of points with J < 0, beyond rounding: 0 if the denoiser is a gradient of a convex ψ."""
    i, j = torch.triu_indices(len(points), len(points), offset=1)
    divergence = symmetric_divergence(points[i], moments[i], points[j], moments[j])
    return float((divergence < -1e-9 * divergence.abs().max()).double().mean())


def curve_divergences(points: Points, moments: Moments) -> Tensor:
    """J of each chord between neighbouring points, shape (points − 1,)."""
    n = len(points) - 1
    return symmetric_divergence(points[:n], moments[:n], points[1:], moments[1:])
