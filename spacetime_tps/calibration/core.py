"""From frames of restrained windows to a calibration: moments at points, and J, energy and length of a curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.results import (
    ChordComparison,
    Compared,
    CurveComparison,
    CurveWindow,
    PointComparison,
)
from spacetime_tps.calibration.statistics import compare_moments, sampled_curve
from spacetime_tps.denoisers.base import Moments
from spacetime_tps.errors import DynamicsError
from spacetime_tps.spacetime import Points
from spacetime_tps.statistics.blocks import halves_score


def compare_points(
    points: Points, moments: Moments, latent: FloatArray, outside: FloatArray
) -> tuple[PointComparison, ...]:
    """Moments at spacetime points by the model, beside those of frames sampled there.

    Parameters
    ----------
    points : Points
    moments : Moments
        Moments by the model.
    latent : array, shape (points, replicas, frames, dimension)
        Latent vectors from restrained dynamics.
    outside : array, shape (points, replicas, frames)
        Square of what x has outside the latent space.
    """
    scores = halves_score(_square_displacements(points, latent, outside))
    return tuple(
        PointComparison(
            log_snr=float(points.log_snr[index]),
            moments=compare_moments(
                moments.mean[index].numpy(),
                float(moments.variance[index]),
                points.y[index].numpy(),
                latent[index].reshape(-1, latent.shape[-1]),
                outside[index].ravel(),
                blocks=latent.shape[1],
            ),
            halves_z=float(scores[index]),
        )
        for index in range(len(points))
    )


def compare_curve(
    name: str,
    points: Points,
    by_model: FloatArray,
    latent: FloatArray,
    outside: FloatArray,
    turned: NDArray[np.bool_],
) -> CurveComparison:
    """J, energy and length of the chords between windows, by the model and by frames sampled in them.

    Parameters
    ----------
    name : str
        Name of the curve.
    points : Points
        The windows.
    by_model : array, shape (windows - 1,)
        J of neighbouring windows by the model.
    latent : array, shape (windows, replicas, frames, dimension)
    outside : array, shape (windows, replicas, frames)
    turned : array of bool, shape (windows,)
        Whether dynamics turns the molecule there.

    Raises
    ------
    DynamicsError
        If noise is as large as the curve's length.
    """
    scores = halves_score(_square_displacements(points, latent, outside))
    half = latent.shape[2] // 2
    y, snr = points.y.numpy(), points.snr.numpy()
    whole, first, second = (
        sampled_curve(y, snr, latent[:, :, part], outside[:, :, part])
        for part in (slice(None), slice(half), slice(-half, None))
    )
    if whole.length <= 0:
        raise DynamicsError(f"{name}: its length by dynamics is lost in noise; take more --frames")
    log_snr = points.log_snr.tolist()
    return CurveComparison(
        name=name,
        windows=tuple(
            CurveWindow(at, float(score), bool(turns)) for at, score, turns in zip(log_snr, scores, turned, strict=True)
        ),
        chords=tuple(
            ChordComparison(before, after, Compared(float(model), float(dynamics), float(error)))
            for before, after, model, dynamics, error in zip(
                log_snr[:-1], log_snr[1:], by_model, whole.divergences, whole.errors, strict=True
            )
        ),
        energy=Compared(0.5 * len(by_model) * float(by_model.sum()), whole.energy, whole.energy_error),
        length=Compared(float(np.sqrt(by_model.clip(min=0)).sum()), whole.length, whole.length_error),
        length_md_of_halves=(first.length, second.length),
    )


def _square_displacements(points: Points, latent: FloatArray, outside: FloatArray) -> FloatArray:
    """|x − y|² of every frame, shape (points, replicas, frames)."""
    return np.asarray(((latent - points.y.numpy()[:, None, None]) ** 2).sum(-1) + outside)
