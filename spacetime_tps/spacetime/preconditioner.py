"""Change of variables in which the Hessian of a curve's Lagrangian is nearly the identity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Preconditioner:
    """Inner knots x = back(z) such that the Gauss-Newton Hessian of the Lagrangian in z is nearly the identity.

    The Hessian of the energy is Σ_n (Δw_n Δw_nᵀ) ⊗ G_n with the Fisher metric G_n along the curve and the differences
    Δw_n of the spline's basis from point to point. In directions that nearly diagonalise all G_n at once (the
    generalised eigenvectors of the metric of the curve's two halves) it falls apart into one small matrix for each,
    which is factorised exactly; active constraints, Σ_n s (w_n w_nᵀ) ⊗ (a_n a_nᵀ) with their gradients a_n, are a
    correction of low rank. The cost is of third order in the dimension and linear in points and knots.

    Parameters
    ----------
    weights : tensor, shape (points, inner knots)
        The spline's basis at its points.
    metric : tensor, shape (places, values, values)
        G at some places of the curve.
    hats : tensor, shape (points, places)
        Linear interpolation from the places to the points.
    normals : sequence of (tensor, tensor)
        For each constraint the gradients (active points, values) and which points are active (points,).
    stiffness : float
        s.
    """

    def __init__(
        self,
        weights: Tensor,
        metric: Tensor,
        hats: Tensor,
        normals: Sequence[tuple[Tensor, Tensor]],
        stiffness: float,
    ) -> None:
        self.directions = simultaneous_directions(metric)
        along = hats @ ((metric @ self.directions) * self.directions).sum(1).abs()
        steps = weights[1:] - weights[:-1]
        chord = 0.5 * (along[1:] + along[:-1]) * (len(weights) - 1)
        hessian = torch.einsum("nd,na,nb->dab", chord, steps, steps)
        diagonal = hessian.diagonal(dim1=1, dim2=2).mean()
        hessian += 1e-6 * diagonal * torch.eye(weights.shape[1], dtype=torch.float64)
        identity = torch.eye(weights.shape[1], dtype=torch.float64).expand_as(hessian)
        upper = torch.linalg.cholesky(hessian).transpose(1, 2)
        self.inverse: Tensor = torch.linalg.solve_triangular(upper, identity, upper=True)  # of the factor, transposed
        columns = [
            stiffness**0.5 * self._to_variables(torch.einsum("na,ni->nai", weights[active], normal)).flatten(1)
            for normal, active in normals
        ]
        size = self.inverse.shape[0] * self.inverse.shape[1]
        self.left, self.shrink = _inverse_root(torch.cat([torch.zeros(0, size, dtype=torch.float64), *columns]))

    def _to_variables(self, gradient: Tensor) -> Tensor:
        """Gradients (..., inner knots, values) in the variables before the correction, (..., values, inner knots)."""
        return torch.einsum("dab,...ad->...db", self.inverse, gradient @ self.directions)

    def _correct(self, z: Tensor) -> Tensor:
        return z + self.left @ (self.shrink * (self.left.T @ z))

    def back(self, z: Tensor) -> Tensor:
        """Inner knots (inner knots, values) of variables z (inner knots · values,)."""
        values, knots = self.inverse.shape[:2]
        x = torch.einsum("dab,db->ad", self.inverse, self._correct(z).reshape(values, knots))
        return x @ self.directions.T

    def gradient(self, gradient: Tensor) -> Tensor:
        """Gradient by z of a function whose gradient by the inner knots is given."""
        return self._correct(self._to_variables(gradient).flatten())


def simultaneous_directions(metric: Tensor) -> Tensor:
    """Columns V (values, values) with Vᵀ G V = 1 for the mean metric G and diagonal for a second mean of theirs.

    The metrics of a denoiser that is not a gradient need not be positive; their absolute values are used then.
    The mean is over points whose metrics are first brought to the same trace in the units of the overall diagonal.
    """
    scale = metric.diagonal(dim1=1, dim2=2).abs().mean(0).sqrt()
    scale = scale.clamp(min=1e-8 * float(scale.max()))
    scaled = metric / (scale[:, None] * scale)
    size = scaled.diagonal(dim1=1, dim2=2).abs().sum(1)
    scaled = scaled / size.clamp(min=1e-8 * float(size.max()))[:, None, None]
    ramp = torch.linspace(0, 1, len(metric), dtype=torch.float64)
    mean, second = scaled.mean(0), torch.einsum("n,nij->ij", ramp, scaled)
    values, vectors = torch.linalg.eigh(0.5 * (mean + mean.T))
    whitening = vectors / values.abs().clamp(min=1e-9 * float(values.abs().max())).sqrt()
    _, rotation = torch.linalg.eigh(whitening.T @ (0.5 * (second + second.T)) @ whitening)
    directions: Tensor = (whitening @ rotation) / scale[:, None]
    return directions


def _inverse_root(rows: Tensor) -> tuple[Tensor, Tensor]:
    """U and d with (1 + RᵀR)^(-1/2) = 1 + U diag(d) Uᵀ for rows R (m, size)."""
    _, singular, right = torch.linalg.svd(rows, full_matrices=False)
    return right.T, (1 + singular**2) ** -0.5 - 1
