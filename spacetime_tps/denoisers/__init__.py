"""Denoisers: everything that knows E[x|z] and E[|x|²|z] of the denoising distributions p(x|z)."""

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.denoisers.external import ExternalDenoiser
from spacetime_tps.denoisers.grid import GridDenoiser
from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser, average_mixtures
from spacetime_tps.denoisers.mixture_fit import fit_mixture
from spacetime_tps.denoisers.noise_space import FreeRotations
from spacetime_tps.denoisers.potential import PotentialDenoiser
from spacetime_tps.denoisers.torus import (
    VonMisesMixtureDenoiser,
    average_von_mises_mixtures,
    fit_von_mises_mixture,
)

__all__ = [
    "Denoiser",
    "ExternalDenoiser",
    "FreeRotations",
    "GaussianMixtureDenoiser",
    "GridDenoiser",
    "Moments",
    "PotentialDenoiser",
    "VonMisesMixtureDenoiser",
    "average_mixtures",
    "average_von_mises_mixtures",
    "fit_mixture",
    "fit_von_mises_mixture",
]
