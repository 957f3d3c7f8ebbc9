"""Figures of model surfaces with curves and walkers on them, one PNG each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from spacetime_tps.arrays import FloatArray
from spacetime_tps.drawing import DPI
from spacetime_tps.settings.surface import DiscSettings
from spacetime_tps.spacetime import Geodesic
from spacetime_tps.surfaces.surface import Surface

SHOWN_PATHS = 20
SHOWN_PERCENTAGE = 60
"""How much of the surface, the low part of it, is told apart by colour."""

_COLOURS = ("tab:orange", "tab:red", "tab:green", "tab:purple", "tab:brown")
_OUTLINE = [withStroke(linewidth=4, foreground="white")]


def draw_surface(
    path: Path, surface: Surface, curves: Mapping[str, FloatArray], walkers: FloatArray, title: str
) -> None:
    """The surface with its states, curves and some walkers.

    Parameters
    ----------
    path : Path
        PNG file.
    surface : Surface
    curves : mapping of names to arrays, each of shape (points, 2)
    walkers : array, shape (frames, walkers, 2)
        Positions; the first of them are drawn.
    title : str
    """
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    nodes = [np.linspace(*coordinate.limits, coordinate.nodes) for coordinate in surface.settings.coordinates.values()]
    energy = surface.energy(np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1))
    levels = MaxNLocator(20).tick_values(energy.min(), np.percentile(energy, SHOWN_PERCENTAGE))
    mesh = axes.contourf(*nodes, energy.T, levels=levels, cmap="Blues_r", extend="max")
    figure.colorbar(mesh, ax=axes, label="potential energy", shrink=0.8)
    for index, walker in enumerate(np.moveaxis(walkers, 1, 0)[:SHOWN_PATHS]):
        label = f"{min(SHOWN_PATHS, walkers.shape[1])} paths" if index == 0 else None
        axes.plot(*_broken(surface, walker).T, color="black", linewidth=0.5, alpha=0.4, label=label)
    for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
        label = name.replace("_", " ")
        axes.plot(*_broken(surface, curve).T, color=colour, linewidth=2.4, label=label, path_effects=_OUTLINE)
    discs = surface.settings.states | ({"channel": surface.settings.channel} if surface.settings.channel else {})
    for name, disc in discs.items():
        _draw_disc(axes, name, disc)
    (low, high), (left, right) = (coordinate.limits for coordinate in surface.settings.coordinates.values())
    horizontal, vertical = surface.settings.coordinates
    axes.set(xlabel=horizontal, ylabel=vertical, xlim=(low, high), ylim=(left, right), title=title)
    axes.set_aspect("equal")
    _legend_below(figure)
    figure.savefig(path, dpi=DPI)


def draw_profiles(
    path: Path,
    geodesics: Mapping[str, Geodesic],
    energies: Mapping[str, tuple[FloatArray, FloatArray]],
    variance_bound: float,
    title: str,
) -> None:
    """Energies of walkers, log SNR, posterior variance and depth along curves.

    Parameters
    ----------
    path : Path
        PNG file.
    geodesics : mapping of names to Geodesic
    energies : mapping of names to arrays (frames,) and (frames, walkers)
        Progress along each curve and energies there; drawn are their median and central 90 %.
    variance_bound : float
    title : str
    """
    figure = Figure(figsize=(7, 11), layout="constrained")
    top, noise, spread, barrier = figure.subplots(4, sharex=True)
    for (name, (progress, energy)), colour in zip(energies.items(), _COLOURS, strict=False):
        low, median, high = np.percentile(energy, (5, 50, 95), axis=1)
        top.fill_between(progress, low, high, color=colour, alpha=0.25, linewidth=0)
        top.plot(progress, median, color=colour, label=name.replace("_", " "))
    for (_, geodesic), colour in zip(geodesics.items(), _COLOURS, strict=False):
        progress = np.linspace(0, 1, len(geodesic.points))
        noise.plot(progress, geodesic.points.log_snr, color=colour)
        spread.plot(progress, geodesic.moments.variance, color=colour)
        if geodesic.depth is not None:
            barrier.plot(progress, geodesic.depth, color=colour)
    spread.axhline(variance_bound, color="black", linestyle="--", label="variance bound")
    top.set(ylabel="potential energy: median and 90 %", title=title, xlim=(0, 1))
    noise.set_ylabel("log SNR")
    spread.set_ylabel("posterior variance tr Cov")
    barrier.set(ylabel="depth of the mean (kT)", xlabel="progress along the curve")
    _legend_below(figure)
    figure.savefig(path, dpi=DPI)


def _broken(surface: Surface, points: FloatArray) -> FloatArray:
    """Points (n, 2) with angles brought to [−π, π), and nan where a line would cross the whole figure."""
    turns = np.where(surface.periodic, 2 * np.pi, np.inf)
    inside = np.where(surface.periodic, (points + np.pi) % (2 * np.pi) - np.pi, points)
    jumps = np.flatnonzero((np.abs(np.diff(inside, axis=0)) > turns / 2).any(axis=1)) + 1
    return np.insert(inside, jumps, np.nan, axis=0)


def _draw_disc(axes: Axes, name: str, disc: DiscSettings) -> None:
    axes.add_patch(Circle(disc.centre, disc.radius, fill=False, linewidth=1.5))
    axes.annotate(name, disc.centre, fontweight="bold", path_effects=_OUTLINE, ha="center", va="center")


def _legend_below(figure: Figure) -> None:
    for line in figure.legend(loc="outside lower center", ncols=3).get_lines():
        line.set_alpha(1)
