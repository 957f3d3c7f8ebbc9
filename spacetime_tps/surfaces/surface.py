"""Model surfaces as systems: their energies, their exact denoiser, their states."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.denoisers.grid import GridDenoiser
from spacetime_tps.dynamics.surface import SurfacePotential
from spacetime_tps.errors import ConfigError
from spacetime_tps.settings.surface import TABLE, DiscSettings, SurfaceSettings

_UNIFORMITY = 1e-6  # rad


@dataclass(frozen=True)
class Surface:
    """A potential energy of two coordinates x, each an interval or an angle.

    Latent coordinates are x itself, and (cos θ, sin θ) in the place of an angle θ.

    Attributes
    ----------
    settings : SurfaceSettings
    potential : SurfacePotential
    """

    settings: SurfaceSettings
    potential: SurfacePotential

    @classmethod
    def from_settings(cls, settings: SurfaceSettings) -> Surface:
        """Read the grid if there is one and let OpenMM parse the expression.

        Raises
        ------
        ConfigError
            If the grid or the expression cannot be used.
        """
        first, second = settings.coordinates
        if settings.grid is not None:
            table = read_table(settings.grid, (first, second))
            return cls(settings, SurfacePotential(f"{TABLE}({first}, {second})", (first, second), table))
        assert settings.energy is not None
        return cls(settings, SurfacePotential(settings.energy, (first, second)))

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Which coordinates are angles."""
        return tuple(coordinate.periodic for coordinate in self.settings.coordinates.values())

    def axes(self) -> list[FloatArray]:
        """Nodes of the grid on each coordinate; an angle's without the repeated end."""
        return [
            np.linspace(*coordinate.limits, coordinate.nodes, endpoint=not coordinate.periodic)
            for coordinate in self.settings.coordinates.values()
        ]

    def energy(self, x: FloatArray) -> FloatArray:
        """Potential energy of points (..., 2), shape (...)."""
        energies, _ = self.potential.evaluate(x.reshape(-1, 2))
        return energies.reshape(x.shape[:-1])

    def energy_on_grid(self) -> FloatArray:
        """Potential energy on the product of the axes."""
        return self.energy(np.stack(np.meshgrid(*self.axes(), indexing="ij"), axis=-1))

    def denoiser(self, kt: float | None = None) -> GridDenoiser:
        """Exact denoiser of the Boltzmann density exp(−U/kT) on the grid, at the surface's own kT or another."""
        return GridDenoiser(-self.energy_on_grid() / (kt or self.settings.kt), self.axes(), self.periodic)

    def positions(self, latent: FloatArray) -> FloatArray:
        """Coordinates (..., 2) of latent vectors (..., latent coordinates); angles in [−π, π]."""
        columns, rest = [], list(np.moveaxis(latent, -1, 0))
        for is_angle in self.periodic:
            if is_angle:
                cosine, sine, *rest = rest
                columns.append(np.arctan2(sine, cosine))
            else:
                value, *rest = rest
                columns.append(value)
        return np.stack(columns, axis=-1)

    def inside(self, disc: DiscSettings, x: FloatArray) -> np.ndarray:
        """Whether points (..., 2) are in a disc, shape (...)."""
        off = x - np.asarray(disc.centre)
        off = np.where(self.periodic, (off + np.pi) % (2 * np.pi) - np.pi, off)
        return np.asarray(np.linalg.norm(off, axis=-1) <= disc.radius)


def read_table(path: Path, coordinates: tuple[str, str]) -> FloatArray:
    """Energies on the nodes of two angles, from an .npz file.

    Parameters
    ----------
    path : Path
    coordinates : (str, str)
        Names of the arrays of nodes: uniform from −π on, without the repeated end. The energies are in ``energy``.

    Returns
    -------
    array, shape (nodes, nodes)

    Raises
    ------
    ConfigError
        If the file cannot be read, lacks an array, or holds nodes that are not uniform or energies that are not finite.
    """
    try:
        with np.load(path) as arrays:
            first, second, energy = (np.asarray(arrays[name], dtype=np.float64) for name in (*coordinates, "energy"))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"surface.grid: {path} cannot be read as energies on a grid: {error}") from error
    for name, nodes in zip(coordinates, (first, second), strict=True):
        expected = -np.pi + 2 * np.pi * np.arange(nodes.size) / max(nodes.size, 1)
        if nodes.ndim != 1 or nodes.size < 4 or np.abs(nodes - expected).max() > _UNIFORMITY:
            raise ConfigError(
                f"surface.grid: {name} in {path} is not a uniform grid of at least 4 nodes from −π to π, in rad and "
                "without the repeated end; interpolate to one"
            )
    if energy.shape != (first.size, second.size):
        raise ConfigError(
            f"surface.grid: energy in {path} has shape {energy.shape}, its axes have {first.size} and {second.size}"
        )
    if not np.isfinite(energy).all():
        index = tuple(map(int, np.argwhere(~np.isfinite(energy))[0]))
        raise ConfigError(f"surface.grid: energy in {path} is {energy[index]} at {index}; fill it with a high energy")
    return energy
