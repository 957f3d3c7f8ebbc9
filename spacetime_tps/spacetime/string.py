"""The string at fixed stiffness: a minimum free-energy path of the model's density, smoothed by noise of one level."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from threadpoolctl import threadpool_limits
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.spacetime.family import Points, moments_at


def solve_string(
    denoiser: Denoiser,
    start: Tensor,
    log_snr: float,
    *,
    points: int = 128,
    knots: int = 32,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> tuple[Points, bool]:
    """The path near ``start`` on which the mean force of the smoothed density pulls nowhere but along it.

    The simplified string method (E, Ren & Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007)) on log ∫ q(x)
    exp(−SNR/2 |x − y|²) dx, whose gradient in y is SNR (x̂ − y): all points go to their means, and are put at equal
    distances again on a cubic spline. The ends stay. It finds the path of the valley that it is started in. Linear
    algebra runs on one thread.

    Parameters
    ----------
    denoiser : Denoiser
    start : tensor, shape (n, dimension)
        y along a first guess, both ends included.
    log_snr : float
        The level of noise.
    points : int
        Number of points of the path.
    knots : int
        Number of points that relax, both ends included; the path is the cubic spline through them.
    tolerance : float
        Largest step of a knot, in units of the noise 1/√SNR, at which the string has converged.
    max_iterations : int

    Returns
    -------
    Points
        At equal distances in y, all at this log SNR.
    bool
        Whether it has converged.

    Raises
    ------
    GeometryError
        If the start is no curve of the denoiser's dimension, there are fewer than 3 points or knots, or the denoiser
        does not know this log SNR.
    """
    if start.ndim != 2 or len(start) < 2 or start.shape[1] != denoiser.dimension or not torch.isfinite(start).all():
        raise GeometryError(
            f"a string starts from at least 2 finite points of {denoiser.dimension} coordinates, not from an array of "
            f"shape {tuple(start.shape)}"
        )
    low, high = denoiser.log_snr_range
    if not low <= log_snr <= high:
        raise GeometryError(f"the denoiser knows log SNR {low:.3f} to {high:.3f}; a string cannot be at {log_snr:.3f}")
    if min(points, knots) < 3:
        raise GeometryError(f"a string needs at least 3 points and 3 knots, not {points} and {knots}")
    level = torch.tensor(log_snr, dtype=torch.float64)
    y, noise, converged = _equidistant(start.double(), knots), math.exp(-0.5 * log_snr), False
    with torch.no_grad(), threadpool_limits(1):
        for _ in range(max_iterations):
            means = moments_at(denoiser, Points(y, level.expand(knots)), "the string").mean
            moved = _equidistant(torch.cat([y[:1], means[1:-1], y[-1:]]), knots)
            converged = float((moved - y).norm(dim=1).max()) <= tolerance * noise
            y = moved
            if converged:
                break
    return Points(_equidistant(y, points), level.expand(points)), converged


def _equidistant(y: Tensor, points: int) -> Tensor:
    """Points at equal distances on the cubic spline through others; those that coincide count once."""
    steps = (y[1:] - y[:-1]).norm(dim=1).numpy()
    kept = np.concatenate([[True], steps > 1e-12 * max(steps.sum(), np.finfo(float).tiny)])
    length = np.concatenate([[0.0], np.cumsum(steps)])[kept]
    if len(length) < 2:
        raise GeometryError("a string needs two ends that differ")
    values = y.numpy()[kept]
    target = np.linspace(0, length[-1], points)
    return torch.cat([y[:1], torch.from_numpy(CubicSpline(length, values)(target[1:-1])), y[-1:]])
