"""Latent coordinates of a molecule: what the score model sees and what the restraint acts on."""

from spacetime_tps.coordinates.base import Coordinates
from spacetime_tps.coordinates.cartesian import CartesianCoordinates
from spacetime_tps.coordinates.torsions import TorsionCoordinates

__all__ = ["CartesianCoordinates", "Coordinates", "TorsionCoordinates"]
