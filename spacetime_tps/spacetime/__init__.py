"""Geometry of the spacetime of denoising distributions. Knows no molecule and no OpenMM."""

from spacetime_tps.spacetime.constraints import RegionAvoidance, VarianceBound
from spacetime_tps.spacetime.family import Points, kl_divergence, point, symmetric_divergence
from spacetime_tps.spacetime.geodesic import Geodesic, solve_channels, solve_geodesic

__all__ = [
    "Geodesic",
    "Points",
    "RegionAvoidance",
    "VarianceBound",
    "kl_divergence",
    "point",
    "solve_channels",
    "solve_geodesic",
    "symmetric_divergence",
]
