"""Diffusion Edit Distances between frames."""

from spacetime_tps.edit_distance.analysis import EditDistance

__all__ = ["EditDistance"]
