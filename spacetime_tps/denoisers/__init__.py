"""Denoisers: everything that knows E[x|z] and E[|x|²|z] of the denoising distributions p(x|z)."""

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser, average_mixtures, fit_mixture

__all__ = ["Denoiser", "GaussianMixtureDenoiser", "Moments", "average_mixtures", "fit_mixture"]
