"""Transition paths on a φ/ψ surface along exact geodesics, free and constrained: Table 1 of arXiv 2505.17517.

The surface is ``systems/ramachandran``, and with ``--reference DIR`` also the paper's own (see ``reference_data.py``).
Walkers start in A and follow a curve by annealed overdamped Langevin dynamics at kT = 1 kJ/mol.

- Σ J: of the curve's chords, exact, by quadrature on the grid.
- MaxEnergy, kJ/mol, mean ± standard deviation over paths: highest energy at the states after each step; "segments" also
  at seven points on each straight segment between two of them.
- reached B: last state within 0.75 rad of B's centre in (φ, ψ).
- evaluations of U: one for each step of each path and one for its start, plus the nodes of the denoiser's grid where
  the curve needs a denoiser. Energies measured on segments are not the method's and are not counted.
- lower bound: the smallest highest energy of any path over the grid's nodes, with eight neighbours each.

Straight lines are straight in (φ, ψ). Region-avoiding geodesics keep away from the highest point of the straight line.
The time step, the numbers of steps, the bounds and the divergence were chosen by what they give on these surfaces.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from common import Bench, Result, number, table
from matplotlib.figure import Figure
from reference_data import ENDS, PaperSurface, paper_curve, paper_ends

from spacetime_tps.denoisers import GridDenoiser
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.surface import SurfacePaths, anneal_walkers
from spacetime_tps.errors import GeometryError
from spacetime_tps.progress import log
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.spacetime import Geodesic, Points, RegionAvoidance, VarianceBound, solve_geodesic
from spacetime_tps.spacetime.constraints import Constraint
from spacetime_tps.spacetime.family import curve_divergences, moments_at
from spacetime_tps.surfaces.surface import Surface

TIME_STEP = 0.01  # with unit mobility: half of ds in the paper, which has ds = 0.0004
SEGMENT_POINTS = 7
LOG_SNR = 4.0  # of both ends, of the straight line and of the region to avoid
VARIANCE_BOUNDS = (0.5, 0.2)
DIVERGENCE = 16.0  # from the region to avoid, nats
GRAPH_SAMPLES, GRAPH_TEMPERATURE = 1000, 10.0  # the temperature in units of kT, so that they cover the barriers
REACHED = 0.75  # rad
KT = 1.0

PUBLISHED = (
    ("MCMC, fixed length (published)", "–", "42.54 ± 7.42", "–", "–", "1,290,000,000"),
    ("MCMC, variable length (published)", "–", "58.11 ± 18.51", "–", "–", "21,020,000"),
    ("Doob's Lagrangian (published)", "–", "66.24 ± 1.01", "–", "–", "38,400,000"),
    ("spacetime geodesic (published)", "–", "37.36 ± 0.60", "–", "–", "16,000,000 + 16,000,000 of training"),
)
"""Lines of the paper's Table 1, on its own surface; lower bound there 36.42."""


class Potential(Protocol):
    """Energies and forces of points on a surface."""

    def evaluate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n,) and forces (n, 2) of points (n, 2)."""


@dataclass(frozen=True)
class Task:
    """From A to B on a surface of two angles.

    Attributes
    ----------
    potential : Potential
    axis, energy : array
        Grid of the exact denoiser: nodes of both axes (n,) and energies (n, n).
    periodic : bool
        Whether the denoiser takes (φ, ψ) as angles, in latent coordinates (cos φ, sin φ, cos ψ, sin ψ), or as numbers.
    states : array, shape (2, 2)
        (φ, ψ) of A and B.
    line : Points
        Straight from A to B; its ends are those of all curves.
    steps : int
        Of each path.
    given : dict of Points
        Curves of others.
    """

    name: str
    potential: Potential
    axis: np.ndarray
    energy: np.ndarray
    periodic: bool
    states: np.ndarray
    line: Points
    steps: int
    given: dict[str, Points] = field(default_factory=dict)

    def denoiser(self, temperature: float = KT) -> GridDenoiser:
        """The exact one at some temperature, in the energy's unit."""
        return GridDenoiser(-self.energy / temperature, [self.axis] * 2, (self.periodic,) * 2)

    def angles(self, latent: np.ndarray) -> np.ndarray:
        """(φ, ψ) of latent vectors, shape (..., 2)."""
        return np.arctan2(latent[..., 1::2], latent[..., ::2]) if self.periodic else latent


def our_task(points: int) -> Task:
    surface = Surface.from_settings(load_settings(find_system("ramachandran")).surface)
    axis, energy = surface.axes()[0], surface.energy_on_grid()
    states = np.array([state.centre for state in surface.settings.states.values()])
    y = surface.denoiser().embed(states[0] + np.linspace(0, 1, points)[:, None] * (states[1] - states[0]))
    line = Points(y, torch.full((points,), LOG_SNR, dtype=torch.float64))
    return Task("systems/ramachandran", surface.potential, axis, energy, True, states, line, steps=2000)


def paper_task(folder: Path, points: int) -> Task:
    surface = PaperSurface(folder)
    a, b = paper_ends()
    y = a.y + torch.linspace(0, 1, points, dtype=torch.float64)[:, None] * (b.y - a.y)
    line = Points(y, torch.full((points,), LOG_SNR, dtype=torch.float64))
    given = {"the paper's curve (10,000 Adam steps on its network)": paper_curve(folder)}
    return Task("the paper's surface", surface, *surface.grid(), False, np.array(ENDS), line, steps=226, given=given)


def curves(task: Task, denoiser: GridDenoiser, rng: np.random.Generator) -> Iterator[tuple[str, Points, bool]]:
    """Name and points of every curve, and whether it needed the denoiser."""
    samples = task.denoiser(GRAPH_TEMPERATURE * KT).sample(GRAPH_SAMPLES, rng)

    def geodesic(*constraints: Constraint) -> Geodesic:
        ends = task.line[:1], task.line[-1:]
        found = solve_geodesic(denoiser, *ends, constraints, samples=samples, points=len(task.line), channels=1)
        if not (found.feasible and found.converged):
            log.warning("%s, geodesic with %d constraints: %s", task.name, len(constraints), found.message)
        return found

    top = int(task.potential.evaluate(task.angles(task.line.y.numpy()))[0].argmax())
    away = RegionAvoidance(task.line[top : top + 1], DIVERGENCE)
    yield f"straight line, λ = {LOG_SNR:g}", task.line, False
    free = geodesic()
    yield "straight line, the geodesic's λ", Points(task.line.y, free.points.log_snr), True
    for name, curve in task.given.items():
        yield name, curve, True
    yield "geodesic", free.points, True
    for bound in map(VarianceBound, VARIANCE_BOUNDS):
        bounded = f"geodesic, variance ≤ {bound.limit:g}"
        for name, constraints in ((bounded, (bound,)), (f"{bounded}, away from the line's barrier", (bound, away))):
            try:
                yield name, geodesic(*constraints).points, True
            except GeometryError as error:
                log.error("%s, %s: %s", task.name, name, error)


def follow(task: Task, curve: Points, paths: int, rng: np.random.Generator) -> SurfacePaths:
    return anneal_walkers(
        task.potential,
        RestraintSchedule(curve.y.numpy(), curve.log_snr.numpy()),
        np.tile(task.states[0], (paths, 1)),
        rng,
        kt=KT,
        periodic=(task.periodic,) * 2,
        steps=task.steps,
        time_step=TIME_STEP,
        frame_steps=2,
        segment_points=SEGMENT_POINTS,
    )


def lower_bound(task: Task) -> float:
    """min over ways from A to B of the max over their nodes: the grid is flooded from A, always at its lowest shore."""
    step = task.axis[1] - task.axis[0]
    start, end = (tuple(place) for place in np.rint((task.states - task.axis[0]) / step).astype(int).tolist())
    size, highest, node = len(task.axis), -np.inf, (-1, -1)
    seen, shore = {start}, [(task.energy[start], start)]
    while node != end:
        level, node = heapq.heappop(shore)
        highest = max(highest, level)
        for move in np.ndindex(3, 3):
            near = ((node[0] + move[0] - 1) % size, (node[1] + move[1] - 1) % size)
            if near not in seen:
                seen.add(near)
                heapq.heappush(shore, (task.energy[near], near))
    return float(highest)


@dataclass(frozen=True)
class Row:
    """Walkers along one curve; energies in kJ/mol, mean and standard deviation over walkers."""

    curve: str
    sum_j: float
    max_variance: float
    highest: float
    highest_sd: float
    on_segments: float
    on_segments_sd: float
    reached_b: float
    evaluations: int
    measuring_evaluations: int


@dataclass(frozen=True)
class Measured:
    """A row for each curve on one surface."""

    surface: str
    paper: bool
    lower_bound: float
    steps: int
    rows: list[Row]


@dataclass(frozen=True)
class Ramachandran:
    """Paths on surfaces, as :class:`Section`: number of walkers along each curve, and of points of a curve."""

    name: ClassVar[str] = "ramachandran"
    cost: ClassVar[str] = "3 minutes"
    every_seed: ClassVar[bool] = False
    paths: int = 1000
    points: int = 128

    def measure(self, bench: Bench, seed: int) -> Result[Measured]:
        """The shipped surface, and the paper's where there is its data."""
        tasks = [our_task(self.points)]
        if bench.reference:
            tasks.append(paper_task(bench.reference, self.points))
        else:
            log.info("the paper's surface is left out; give its data by --reference")
        surfaces, followed = [], []
        for task in tasks:
            rows, found = self._follow_all(task, seed)
            surfaces.append(Measured(task.name, bool(task.given), lower_bound(task), task.steps, rows))
            followed.append(found)
        draw(tasks, followed, bench.picture(self.name))
        evaluations = sum(row.evaluations for measured in surfaces for row in measured.rows)
        return Result(seed, evaluations, surfaces)

    def _follow_all(self, task: Task, seed: int) -> tuple[list[Row], list[tuple[str, Points, SurfacePaths]]]:
        """A row for each curve, and what the figure shows."""
        denoiser, rows, followed = task.denoiser(), [], []
        for name, curve, needs_denoiser in curves(task, denoiser, np.random.default_rng(seed)):
            moments = moments_at(denoiser, curve)
            found = follow(task, curve, self.paths, np.random.default_rng([seed, 1]))  # one noise for all curves
            off = (found.positions[-1] - task.states[1] + np.pi) % (2 * np.pi) - np.pi
            energies = (found.highest_energy, found.highest_energy_on_segments)
            rows.append(
                Row(
                    name,
                    float(curve_divergences(curve, moments).sum()),
                    float(moments.variance.max()),
                    *(float(figure) for values in energies for figure in (values.mean(), values.std(ddof=1))),
                    100 * float((np.linalg.norm(off, axis=1) < REACHED).mean()),
                    found.evaluations + (task.energy.size if needs_denoiser else 0),
                    found.measuring_evaluations,
                )
            )
            followed.append((name, Points(moments.mean, curve.log_snr), found))
        return rows, followed

    def tables(self, results: Sequence[Result[Measured]]) -> list[str]:
        """A table for each surface, with the published lines under the paper's."""
        columns = ("paths along", "Σ J", "MaxEnergy", "MaxEnergy on segments", "reached B %", "evaluations")
        blocks = []
        for measured in (measured for result in results for measured in result.rows):
            blocks.append(
                f"**{measured.surface}**: lower bound {measured.lower_bound:.2f} kJ/mol, "
                f"{measured.steps} steps per path"
            )
            lines = [
                [
                    *(row.curve, f"{row.sum_j:.4g}", number(row.highest, 2, row.highest_sd)),
                    *(number(row.on_segments, 2, row.on_segments_sd), number(row.reached_b, 1)),
                    number(row.evaluations),
                ]
                for row in measured.rows
            ]
            blocks.append(table(columns, [*lines, *(PUBLISHED if measured.paper else ())]))
        return blocks


def draw(tasks: list[Task], followed: list[list[tuple[str, Points, SurfacePaths]]], file: Path) -> None:
    """Posterior means of the curves on each surface, and twenty paths along the last of them."""
    figure = Figure(figsize=(8 * len(tasks), 7.5), layout="constrained")
    for axes, task, found in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, followed, strict=True):
        levels = np.floor(task.energy.min()) + np.arange(0, 61, 3)
        mesh = axes.contourf(task.axis, task.axis, task.energy.T, levels=levels, cmap="Blues_r", extend="max")
        for path in found[-1][2].positions[:, :20].transpose(1, 0, 2):
            axes.plot(*unbroken(path), color="black", linewidth=0.5, alpha=0.5)
        for name, means, _ in found:
            axes.plot(*unbroken(task.angles(means.y.numpy())), linewidth=2, label=name)
        axes.plot(*task.states.T, "k*", markersize=14)
        axes.set(title=task.name, xlabel="φ / rad", ylabel="ψ / rad", xlim=(-np.pi, np.pi), ylim=(-np.pi, np.pi))
        axes.set_aspect("equal")
        axes.legend(loc="upper right", fontsize=8, title="E[x|z] along; black: paths of the last")
        figure.colorbar(mesh, ax=axes, label="kJ/mol", shrink=0.75)
    figure.savefig(file, dpi=150)


def unbroken(path: np.ndarray) -> np.ndarray:
    """φ and ψ (2, points) in [−π, π), with gaps where they leave at one side and come back at the other."""
    wrapped = (path + np.pi) % (2 * np.pi) - np.pi
    jumps = 1 + np.flatnonzero((np.abs(np.diff(wrapped, axis=0)) > np.pi).any(axis=1))
    return np.insert(wrapped, jumps, np.nan, axis=0).T
