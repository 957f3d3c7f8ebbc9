"""The denoiser of a density known on a grid: exact by quadrature in one to three dimensions, periodic or not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from spacetime_tps.denoisers.base import Moments
from spacetime_tps.errors import GeometryError

_MIN_NODES = 4
_UNIFORMITY = 1e-4  # of a step
_LOST = torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps  # below this a sum of weights has no digits


class GridDenoiser:
    """Denoising distributions of a density q given on the product of 1–3 uniform axes.

    Each node stands for its cell (the midpoint rule). An axis that is not periodic is one latent coordinate; a
    periodic one, an angle θ, is two: (cos θ, sin θ). The restraint exp(−SNR/2 |x − y|²) is then a product of one
    factor for each axis, Gaussian or von Mises, so that all sums over the grid are small matrix products, and the
    total variance needs the marginal distribution on each axis only.

    The sum over nodes of a Gaussian of width σ = 1/√SNR differs from its integral by 2 exp(−2π²σ²/h²), relatively, for
    a spacing h: 5·10⁻⁹ at σ = h and 0.01 at σ = h/2. ``log_snr_range`` therefore ends at SNR = 1/h² of the coarsest
    axis. The density itself must be resolved by the grid.

    Parameters
    ----------
    log_density : array, shape (len(axes[0]), …)
        log q, up to a constant; −inf where x cannot be.
    axes : sequence of arrays
        Nodes of each axis, rising in equal steps; angles in rad, over one turn without the repeated end.
    periodic : sequence of bool, optional
        Which axes are angles; by default none.

    Raises
    ------
    GeometryError
        If an axis is too short, not uniform or not a whole turn; if shapes do not fit; if log q is NaN, +inf or
        nowhere finite.
    """

    def __init__(
        self, log_density: ArrayLike, axes: Sequence[ArrayLike], periodic: Sequence[bool] | None = None
    ) -> None:
        log_q = np.asarray(log_density, dtype=np.float64)
        nodes = [np.asarray(axis, dtype=np.float64) for axis in axes]
        self.periodic = tuple(bool(p) for p in periodic) if periodic is not None else (False,) * len(nodes)
        if not 1 <= len(nodes) <= 3 or len(self.periodic) != len(nodes):
            raise GeometryError(
                f"a grid has 1 to 3 axes, each periodic or not; got {len(nodes)} axes and {len(self.periodic)} flags"
            )
        self.spacings = tuple(
            _spacing(index, *pair) for index, pair in enumerate(zip(nodes, self.periodic, strict=True))
        )
        if log_q.shape != tuple(map(len, nodes)):
            raise GeometryError(
                f"log-density of shape {log_q.shape} does not fit axes of {', '.join(str(len(n)) for n in nodes)} nodes"
            )
        wrong = np.isnan(log_q) | (log_q == np.inf)
        if wrong.any():
            index = tuple(map(int, np.argwhere(wrong)[0]))
            raise GeometryError(
                f"log-density is {log_q[index]} at index {index} ({int(wrong.sum())} such nodes); it must be finite, "
                "or -inf where x cannot be"
            )
        if not np.isfinite(log_q).any():
            raise GeometryError("log-density is -inf at every node; there is no density")
        self.axes = tuple(nodes)
        self._top = float(log_q.max())
        self._density = torch.from_numpy(np.exp(log_q - self._top))
        self._features = [torch.from_numpy(_embed(n, p)) for n, p in zip(nodes, self.periodic, strict=True)]

    @property
    def dimension(self) -> int:
        """Number of latent coordinates: one for each axis, two if it is periodic."""
        return len(self.periodic) + sum(self.periodic)

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Up to SNR = 1/h² of the coarsest axis."""
        return -math.inf, -2 * math.log(max(self.spacings))

    def embed(self, x: ArrayLike) -> Tensor:
        """Latent coordinates (..., dimension) of positions on the axes (..., axes)."""
        columns = np.moveaxis(np.asarray(x, dtype=np.float64), -1, 0)
        parts = [_embed(column, p) for column, p in zip(columns, self.periodic, strict=True)]
        return torch.from_numpy(np.concatenate(parts, axis=-1))

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance of p(x|z); see :class:`Denoiser`.

        Raises
        ------
        GeometryError
            If q has no weight, in double precision, where a point's restraint puts it.
        """
        factors, _ = self._factors(y, log_snr)
        means, variance = [], torch.zeros((), dtype=torch.float64)
        for axis, features in enumerate(self._features):
            joint = factors[axis] * self._contract(factors, axis)
            total = self._checked(joint.sum(-1, keepdim=True), y, log_snr)
            marginal = joint / total
            mean = marginal @ features
            means.append(mean)
            variance = variance + (marginal * ((features - mean[:, None]) ** 2).sum(-1)).sum(-1)
        return Moments(
            torch.cat(means, dim=-1).reshape(*log_snr.shape, self.dimension), variance.reshape(log_snr.shape)
        )

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """log ∫ q(x) exp(−SNR/2 |x − y|²) dx over the axes, with q as given; see :class:`Denoiser`."""
        factors, shift = self._factors(y, log_snr)
        total = self._checked((factors[-1] * self._contract(factors, len(factors) - 1)).sum(-1), y, log_snr)
        return (total.log() + shift + self._top + math.log(math.prod(self.spacings))).reshape(log_snr.shape)

    def sample(self, count: int, generator: np.random.Generator) -> Tensor:
        """Samples of q, shape (count, dimension): nodes by their weight, then uniform in the node's cell."""
        weights = self._density.numpy().ravel()
        cells = generator.choice(weights.size, size=count, p=weights / weights.sum())
        indices = np.unravel_index(cells, tuple(map(len, self.axes)))
        x = np.stack([axis[index] for axis, index in zip(self.axes, indices, strict=True)], axis=-1)
        return self.embed(x + (generator.random(x.shape) - 0.5) * self.spacings)

    def _factors(self, y: Tensor, log_snr: Tensor) -> tuple[list[Tensor], Tensor]:
        """The restraint on each axis (B, nodes), its highest value 1, and the logarithm taken out of all (B,)."""
        snr = log_snr.reshape(-1).exp()
        columns = torch.split(y.reshape(-1, self.dimension), [f.shape[1] for f in self._features], dim=1)
        exponents = [
            -0.5 * snr[:, None] * ((features - centre[:, None]) ** 2).sum(-1)
            for features, centre in zip(self._features, columns, strict=True)
        ]
        tops = [exponent.detach().amax(-1, keepdim=True) for exponent in exponents]
        factors = [(exponent - top).exp() for exponent, top in zip(exponents, tops, strict=True)]
        return factors, torch.cat(tops, dim=1).sum(1)

    def _contract(self, factors: list[Tensor], kept: int) -> Tensor:
        """Sum of q and the factors over all axes but one, (B, nodes) or (nodes,) if there is no other."""
        table = self._density.movedim(kept, -1)
        others = factors[:kept] + factors[kept + 1 :]
        if others:
            table = torch.tensordot(others[0], table, dims=1)
        for factor in others[1:]:
            table = (factor[:, None] @ table)[:, 0]
        return table

    def _checked(self, total: Tensor, y: Tensor, log_snr: Tensor) -> Tensor:
        lost = total.detach().reshape(-1) < _LOST
        if lost.any():
            index = int(lost.nonzero()[0])
            raise GeometryError(
                f"the density has no weight near point {index}: y = {y.reshape(-1, self.dimension)[index].tolist()}, "
                f"log SNR {log_snr.reshape(-1)[index].item():.4g}; it is outside the support, move it or lower its SNR"
            )
        return total


def _embed(x: np.ndarray, periodic: bool) -> np.ndarray:
    """Latent coordinates (..., 1 or 2) of positions on one axis."""
    return np.stack([np.cos(x), np.sin(x)], axis=-1) if periodic else x[..., None]


def _spacing(index: int, nodes: np.ndarray, periodic: bool) -> float:
    """Step of a uniform axis."""
    if nodes.ndim != 1 or len(nodes) < _MIN_NODES or not np.isfinite(nodes).all():
        raise GeometryError(f"axis {index} must be at least {_MIN_NODES} finite nodes, not an array of {nodes.shape}")
    steps = np.diff(nodes)
    step = float((nodes[-1] - nodes[0]) / len(steps))
    uneven = np.abs(steps - step) > _UNIFORMITY * abs(step)
    if step <= 0 or uneven.any():
        place = int(np.argmax(np.abs(steps - step)))
        raise GeometryError(
            f"axis {index} does not rise in equal steps: {nodes[place]:.6g} to {nodes[place + 1]:.6g} (nodes {place} "
            f"and {place + 1}) where the mean step is {step:.6g}; interpolate the density to a uniform grid"
        )
    if periodic and abs(len(nodes) * step - 2 * math.pi) > len(nodes) * _UNIFORMITY * step:
        raise GeometryError(
            f"periodic axis {index} covers {len(nodes) * step:.6g} rad, not one turn (2π); give angles in rad, and "
            "leave out the end that repeats the beginning"
        )
    return step
