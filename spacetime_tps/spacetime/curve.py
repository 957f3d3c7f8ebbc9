"""Curves on spacetime: cubic splines through knots (y, λ), and their resampling at constant speed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.spacetime.family import Points, curve_divergences, moments_at


class SplineBasis:
    """Linear map from equidistant knots to points of the cubic spline through them.

    Parameters
    ----------
    knots : int
        Number of knots, both ends included.
    points : int
        Number of equidistant parameter values on [0, 1].
    """

    def __init__(self, knots: int, points: int) -> None:
        self.parameter = np.linspace(0, 1, knots)
        spline = CubicSpline(self.parameter, np.eye(knots), bc_type="not-a-knot")
        self.matrix = torch.from_numpy(spline(np.linspace(0, 1, points)))

    def __call__(self, knots: Tensor) -> Tensor:
        """Values of the spline, shape (points, values); knots have shape (knots, values)."""
        return self.matrix @ knots


def equidistant_knots(values: Tensor, knots: int) -> Tensor:
    """Knots (knots, values) at equal steps along a polyline (points, values)."""
    old, new = np.linspace(0, 1, len(values)), np.linspace(0, 1, knots)
    return torch.from_numpy(np.stack([np.interp(new, old, column) for column in values.numpy().T], axis=1))


def cumulative_length(denoiser: Denoiser, points: Points) -> np.ndarray:
    """Fisher-Rao length from the first point to each, Σ √J, shape (points,)."""
    with torch.no_grad():
        chords = curve_divergences(points, moments_at(denoiser, points)).clamp(min=0).sqrt()
    return np.concatenate([[0.0], np.cumsum(chords.numpy())])


def resample_polyline(denoiser: Denoiser, points: Points, count: int) -> Points:
    """Points at equal Fisher-Rao distances along a polyline, linear in (y, λ) between its points."""
    length = cumulative_length(denoiser, points)
    values = torch.cat([points.y, points.log_snr[:, None]], dim=1).numpy()
    target = np.linspace(0, length[-1], count)
    new = torch.from_numpy(np.stack([np.interp(target, length, column) for column in values.T], axis=1))
    return Points(new[:, :-1], new[:, -1])


def constant_speed(
    denoiser: Denoiser, to_points: Callable[[Tensor], Points], knots: Tensor, count: int, rounds: int = 4
) -> Points:
    """Points of the spline through the knots at equal Fisher-Rao distances.

    The spline is measured at its own points and its parameter changed, a few times over.

    Parameters
    ----------
    denoiser : Denoiser
    to_points : callable
        Spacetime points of the spline's values.
    knots : tensor, shape (knots, values)
    count : int
    rounds : int
    """
    spline = CubicSpline(np.linspace(0, 1, len(knots)), knots.numpy(), bc_type="not-a-knot")
    parameter = np.linspace(0, 1, count)
    for _ in range(rounds):
        length = cumulative_length(denoiser, to_points(torch.from_numpy(spline(parameter))))
        if length[-1] == 0:
            break
        length = length / length[-1] + 1e-12 * np.arange(count)  # strictly rising
        parameter = PchipInterpolator(length, parameter)(np.linspace(length[0], length[-1], count))
    return to_points(torch.from_numpy(spline(parameter)))
