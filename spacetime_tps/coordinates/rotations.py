"""Restraints on positions, seen by molecules that turn and move freely: an integral over rotations and translations."""

from __future__ import annotations

import numpy as np
from scipy.special import i0e

from spacetime_tps.arrays import FloatArray

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(48)
_REACH = 25.0  # of the integrand's exponent, below its maximum: the integral's relative error is below 1e-6


def log_rotation_integral(matrices: FloatArray) -> FloatArray:
    """log of the mean of exp(tr(Rᵀ F)) over all rotations R, for matrices F (..., 3, 3).

    That is the normalizer of a matrix Fisher distribution, an integral in one dimension (Lee, IEEE Trans. Automat.
    Contr. 63, 3377 (2018)); it is done by Gauss-Legendre quadrature over where the integrand is not negligible.
    """
    values = np.linalg.svd(matrices, compute_uv=False)
    values[..., 2] *= np.sign(np.linalg.det(matrices))
    one, two, three = np.moveaxis(values, -1, 0)[..., None]
    reach = np.minimum(2.0, _REACH / np.maximum(two + three, 1e-12))
    distance = 0.5 * reach * (1 - _NODES)  # 1 − u
    integrand = (
        np.exp(-(two + three) * distance) * i0e(0.5 * (one - two) * distance) * i0e(0.5 * (one + two) * (2 - distance))
    )
    integral = 0.25 * reach[..., 0] * (integrand * _NODE_WEIGHTS).sum(axis=-1)
    return np.asarray((one + two + three)[..., 0] + np.log(integral))


def restraint_energies(x: FloatArray, centres: FloatArray, log_snr: FloatArray) -> FloatArray:
    """Reduced energies (points, frames), in kT, of restraints on molecules that turn and move freely.

    b = −log ∫ dt dR exp(−SNR/2 |R x + t − y|²), exactly; 0 where SNR is.

    Parameters
    ----------
    x : array, shape (frames, atoms, 3)
        Positions of the restrained atoms, nm.
    centres : array, shape (points, atoms, 3)
        y, nm.
    log_snr : array, shape (points,)
        Log of SNR in nm⁻².
    """
    x = x - x.mean(axis=1, keepdims=True)
    energies = np.zeros((len(centres), len(x)))
    size = (x**2).sum(axis=(1, 2))
    for row, (centre, snr) in enumerate(zip(centres, np.exp(log_snr), strict=True)):
        if snr > 0:
            y = centre - centre.mean(axis=0)
            rotations = log_rotation_integral(snr * np.einsum("fni,nj->fij", x, y))
            translations = 1.5 * np.log(2 * np.pi / (snr * len(y)))
            energies[row] = 0.5 * snr * (size + (y**2).sum()) - rotations - translations
    return energies
