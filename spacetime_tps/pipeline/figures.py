"""Figures of samples, spacetime curves and transition paths, one PNG each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.patheffects import withStroke

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable, State, Values
from spacetime_tps.drawing import DPI
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

BINS = 90
FREE_ENERGY_CAP = 40.0
"""Highest free energy that is told apart, kJ/mol."""

# Blue without its palest shades: high free energy must differ from the white of no samples.
_FREE_ENERGY_COLOURS = ListedColormap(matplotlib.colormaps["Blues_r"](np.linspace(0, 0.85, 256)))
_CURVE_COLOURS = ("tab:red", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:pink")
_OUTLINE = [withStroke(linewidth=4, foreground="white")]

Plane = tuple[CollectiveVariable, CollectiveVariable]


def free_energy_map(
    path: Path,
    variables: Plane,
    samples: Values,
    temperature: float,
    *,
    weights: FloatArray | None = None,
    states: Sequence[State] = (),
    curves: Mapping[str, Values] | None = None,
    trajectories: Sequence[Values] = (),
    region: tuple[float, float, float] | None = None,
    title: str,
) -> None:
    """Free energy -kT ln p of samples over two collective variables, with what happens on it.

    Dihedrals are shown in degrees, angles in rad and distances in nm.

    Parameters
    ----------
    path : Path
        PNG file.
    variables : tuple of CollectiveVariable
        Horizontal and vertical.
    samples : Values
        Of at least these two variables, each of shape (samples,), as all Values here.
    temperature : float
        That of the samples, K.
    weights : array, shape (samples,), optional
        Equal if not given.
    states : sequence of State
        Outlined; a bound in another variable is not shown.
    curves : mapping of names to Values
        Drawn bold.
    trajectories : sequence of Values
        Drawn thin, under one name.
    region : tuple of float, optional
        Centre and radius of the avoided region, in the units of the variables (rad).
    title : str
    """
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    _draw_free_energy(figure, axes, variables, samples, temperature, weights)
    for i, trajectory in enumerate(trajectories):
        label = f"{len(trajectories)} trajectories" if i == 0 else None
        line = break_at_jumps(variables, _shown_points(variables, trajectory))
        axes.plot(*line.T, color="black", linewidth=0.6, alpha=0.45, label=label)
    for (name, curve), colour in zip((curves or {}).items(), cycle(_CURVE_COLOURS), strict=False):
        line = break_at_jumps(variables, _shown_points(variables, curve))
        axes.plot(*line.T, color=colour, linewidth=2.4, label=name, path_effects=_OUTLINE)
    _frame_axes(axes, variables)
    for state in states:
        _draw_state(axes, variables, state)
    if region is not None:
        _draw_region(axes, variables, region)
    axes.set_title(title)
    _legend_below(figure)
    figure.savefig(path, dpi=DPI)


def energy_along_paths(
    path: Path,
    time: Sequence[FloatArray],
    potential_energy: Sequence[FloatArray],
    restraint_energy: Sequence[FloatArray],
    title: str,
) -> None:
    """Potential and restraint energy along annealed paths, each path and their median.

    Parameters
    ----------
    path : Path
        PNG file.
    time : sequence of array, each of shape (frames,)
        ps. The median at a time is over the paths that last until then; a path without frames is left out.
    potential_energy, restraint_energy : sequence of array, each of shape (frames,)
        kJ/mol.
    title : str
    """
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    panels = figure.subplots(2, sharex=True)
    quantities = (("potential energy", potential_energy, "tab:blue"), ("restraint energy", restraint_energy, "tab:red"))
    common = max(time, key=len)
    for axes, (name, energies, colour) in zip(panels, quantities, strict=True):
        paths = [(t, energy) for t, energy in zip(time, energies, strict=True) if len(t) > 0]
        for i, (t, energy) in enumerate(paths):
            label = f"{name}, {len(paths)} paths" if i == 0 else None
            axes.plot(t, energy, color=colour, linewidth=0.6, alpha=0.5, label=label)
        on_common = [np.interp(common, t, energy, right=np.nan) for t, energy in paths]
        median = np.nanmedian(on_common, axis=0)
        axes.plot(common, median, color=colour, linewidth=2.4, label=f"{name}, median", path_effects=_OUTLINE)
        axes.set_ylabel(f"{name} (kJ/mol)")
        axes.margins(x=0)
    panels[0].set_title(title)
    panels[1].set_xlabel("time (ps)")
    _legend_below(figure)
    figure.savefig(path, dpi=DPI)


def curve_profiles(
    path: Path,
    log_snr: Mapping[str, FloatArray],
    variance: Mapping[str, FloatArray],
    depth: Mapping[str, FloatArray],
    variance_bound: float,
    title: str,
    unit: str = "nm",
) -> None:
    """Noise level, posterior variance and depth along spacetime curves.

    Parameters
    ----------
    path : Path
        PNG file.
    log_snr : mapping of curve names to arrays, each of shape (points,)
        At constant intervals of progress.
    variance : mapping of the same names to arrays, each of shape (points,)
        tr Cov of the denoising distributions.
    depth : mapping of these names to arrays, each of shape (points,)
        Nats; of the curves whose depth is known. Without any there is no panel for it.
    variance_bound : float
    title : str
    unit : str
        Of the latent coordinates; empty if they have none.
    """
    figure = Figure(figsize=(7, 9.5 if depth else 6.5), layout="constrained")
    panels = figure.subplots(3 if depth else 2, sharex=True)
    noise, spread = panels[:2]
    for (name, values), colour in zip(log_snr.items(), cycle(_CURVE_COLOURS), strict=False):
        noise.plot(np.linspace(0, 1, len(values)), values, color=colour, linewidth=2, label=name)
        spread.plot(np.linspace(0, 1, len(variance[name])), variance[name], color=colour, linewidth=2)
        if name in depth:
            panels[-1].plot(np.linspace(0, 1, len(depth[name])), depth[name], color=colour, linewidth=2)
    spread.axhline(variance_bound, color="black", linestyle="--", label="variance bound")
    spread.set_yscale("log")
    noise.set_ylabel(f"log SNR (SNR in {unit}⁻²)" if unit else "log SNR")
    spread.set_ylabel("posterior variance tr Cov" + (f" ({unit}²)" if unit else ""))
    if depth:
        panels[-1].set_ylabel("depth of the mean (nats)")
    panels[-1].set_xlabel("progress along the curve")
    panels[-1].set_xlim(0, 1)
    noise.set_title(title)
    _legend_below(figure)
    figure.savefig(path, dpi=DPI)


def break_at_jumps(variables: Plane, points: FloatArray) -> FloatArray:
    """Put nan between frames where a dihedral jumps across ±180°, so that no line is drawn there.

    Parameters
    ----------
    variables : tuple of CollectiveVariable
    points : array, shape (frames, 2)
        As shown: dihedrals in degrees.

    Returns
    -------
    array, shape (frames + jumps, 2)
    """
    steps = np.abs(np.diff(points, axis=0))[:, [variable.periodic for variable in variables]]
    jumps = np.flatnonzero((steps > 180).any(axis=1)) + 1
    return np.insert(points, jumps, np.nan, axis=0)


def _shown_unit(variable: CollectiveVariable) -> tuple[str, float]:
    """Name of the unit a variable is shown in, and how many of it make one of the package's unit."""
    return {"dihedral": ("degrees", 180 / np.pi), "angle": ("rad", 1.0), "distance": ("nm", 1.0)}[variable.kind]


def _shown_points(variables: Plane, values: Values) -> FloatArray:
    return np.column_stack([values[variable.name] * _shown_unit(variable)[1] for variable in variables])


def _draw_free_energy(
    figure: Figure,
    axes: Axes,
    variables: Plane,
    samples: Values,
    temperature: float,
    weights: FloatArray | None,
) -> None:
    x, y = _shown_points(variables, samples).T
    limits = [
        (-180, 180) if variable.periodic else (values.min(), values.max())
        for variable, values in zip(variables, (x, y), strict=True)
    ]
    counts, x_edges, y_edges = np.histogram2d(x, y, BINS, limits, weights=weights)
    occupied = np.ma.masked_equal(counts, 0)
    free_energy = -MOLAR_GAS_CONSTANT * temperature * np.ma.log(occupied / occupied.max())
    highest = float(free_energy.max())
    mesh = axes.pcolormesh(
        x_edges, y_edges, free_energy.T, cmap=_FREE_ENERGY_COLOURS, vmin=0, vmax=min(highest, FREE_ENERGY_CAP)
    )
    extend = "max" if highest > FREE_ENERGY_CAP else "neither"
    label = f"free energy at {temperature:g} K (kJ/mol)"
    figure.colorbar(mesh, ax=axes, label=label, extend=extend, shrink=0.8)


def _frame_axes(axes: Axes, variables: Plane) -> None:
    """Label the axes and fix their limits."""
    horizontal, vertical = (f"{variable.name} ({_shown_unit(variable)[0]})" for variable in variables)
    axes.set(xlabel=horizontal, ylabel=vertical, xlim=axes.get_xlim(), ylim=axes.get_ylim())
    if variables[0].periodic:
        axes.set(xlim=(-180, 180), xticks=range(-180, 181, 60))
    if variables[1].periodic:
        axes.set(ylim=(-180, 180), yticks=range(-180, 181, 60))
    axes.set_box_aspect(1)


def _images(variables: Plane) -> list[tuple[float, float]]:
    """Shifts of what is drawn that show it where it runs out of the axes and in again on the other side."""
    horizontal, vertical = ((0.0, -360.0, 360.0) if variable.periodic else (0.0,) for variable in variables)
    return list(product(horizontal, vertical))


def _draw_state(axes: Axes, variables: Plane, state: State) -> None:
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    for box in state.boxes:
        intervals = zip(variables, limits, strict=True)
        low, size = np.transpose([_shown_interval(variable, box, limit) for variable, limit in intervals])
        pieces = []
        for shift in _images(variables):
            corner = low + shift
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=1.5))
            lower, upper = np.clip((corner, corner + size), *limits.T)
            pieces.append((lower, upper))
        lower, upper = max(pieces, key=lambda piece: float(np.prod(piece[1] - piece[0])))
        outer = lower + upper > limits.sum(axis=1)  # the name goes into the corner away from the middle
        axes.annotate(
            state.name,
            tuple(np.where(outer, upper, lower)),
            xytext=tuple(np.where(outer, -4, 4)),
            textcoords="offset points",
            horizontalalignment="right" if outer[0] else "left",
            verticalalignment="top" if outer[1] else "bottom",
            fontweight="bold",
            path_effects=_OUTLINE,
        )


def _shown_interval(
    variable: CollectiveVariable, box: Mapping[str, tuple[float, float]], limit: FloatArray
) -> tuple[float, float]:
    """Lower bound and width of a box as shown, within the axis if not periodic; the whole axis if not bounded."""
    if variable.name not in box:
        return limit[0], limit[1] - limit[0]
    low, high = np.multiply(box[variable.name], _shown_unit(variable)[1])
    if variable.periodic:
        return low, (high - low) % 360
    low, high = np.clip((low, high), *limit)
    return low, high - low


def _draw_region(axes: Axes, variables: Plane, region: tuple[float, float, float]) -> None:
    x, y, radius = region
    horizontal, vertical = (_shown_unit(variable)[1] for variable in variables)
    for i, (dx, dy) in enumerate(_images(variables)):
        axes.add_patch(
            Ellipse(
                (x * horizontal + dx, y * vertical + dy),
                2 * radius * horizontal,
                2 * radius * vertical,
                fill=False,
                edgecolor="black",
                linestyle="--",
                linewidth=1.8,
                label="avoided region" if i == 0 else None,
            )
        )


def _legend_below(figure: Figure) -> None:
    if not any(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        return
    legend = figure.legend(loc="outside lower center", ncols=2)
    for line in legend.get_lines():
        line.set_alpha(1)
