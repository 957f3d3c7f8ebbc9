"""Geometry of the spacetime of denoising distributions. Knows no molecule and no OpenMM."""

from spacetime_tps.spacetime.constraints import LikelihoodBound, NoiseShell, RegionAvoidance, VarianceBound
from spacetime_tps.spacetime.distance import EditDistances, edit_distance, edit_geodesic, pairwise_edit_distances
from spacetime_tps.spacetime.family import Points, depth, kl_divergence, point, symmetric_divergence
from spacetime_tps.spacetime.geodesic import Geodesic, solve_channels, solve_geodesic
from spacetime_tps.spacetime.levels import Level, LevelChoice, choose_levels
from spacetime_tps.spacetime.string import solve_string

__all__ = [
    "EditDistances",
    "Geodesic",
    "Level",
    "LevelChoice",
    "LikelihoodBound",
    "NoiseShell",
    "Points",
    "RegionAvoidance",
    "VarianceBound",
    "choose_levels",
    "depth",
    "edit_distance",
    "edit_geodesic",
    "kl_divergence",
    "pairwise_edit_distances",
    "point",
    "solve_channels",
    "solve_geodesic",
    "solve_string",
    "symmetric_divergence",
]
