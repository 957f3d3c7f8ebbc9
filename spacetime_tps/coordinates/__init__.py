"""Latent coordinates of a molecule: what the score model sees and what the restraint acts on."""

from spacetime_tps.coordinates.cartesian import CartesianCoordinates

__all__ = ["CartesianCoordinates"]
