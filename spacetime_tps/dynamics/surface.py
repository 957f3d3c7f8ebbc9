"""Model surfaces U(x₁, x₂) in OpenMM, and annealed overdamped Langevin dynamics of many walkers on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openmm
from openmm import unit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import ConfigError, DynamicsError
from spacetime_tps.settings.surface import TABLE


class SurfacePotential:
    """Energies of points on a surface, an algebraic expression that OpenMM parses and compiles.

    Every point is a particle at (x₁, x₂, 1) with the energy z·U(x₁, x₂): the forces of one evaluation hold the gradient
    of each point in their x and y, and −U of each point in their z.

    Parameters
    ----------
    energy : str
        U as in OpenMM's custom forces, in the names of the coordinates; definitions may follow after semicolons.
    coordinates : (str, str)
        Names of the coordinates.
    table : array, shape (n₁, n₂), optional
        Energies on the nodes −π + 2πi/n of two angles, without the repeated ends. ``table(a, b)`` in ``energy`` is the
        periodic bicubic spline through them.

    Raises
    ------
    ConfigError
        If OpenMM cannot make sense of the expression.
    """

    def __init__(self, energy: str, coordinates: tuple[str, str], table: FloatArray | None = None) -> None:
        value, *definitions = (part.strip() for part in energy.strip().rstrip(";").split(";"))
        names = [f"{name}={variable}" for name, variable in zip(coordinates, ("x1", "y1"), strict=True)]
        self._expression = "; ".join([f"z1*({value})", *definitions, *names])
        self._table = table
        self._contexts: dict[int, openmm.Context] = {}
        try:
            self._context(1)
        except openmm.OpenMMException as error:
            raise ConfigError(
                f"the energy {energy!r} is not an expression of {coordinates[0]} and {coordinates[1]} that OpenMM "
                f"understands: {error}"
            ) from error

    def evaluate(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Energies (n,) and forces −∇U (n, 2) of points (n, 2)."""
        context = self._context(len(points))
        context.setPositions(np.column_stack([points, np.ones(len(points))]))
        state = context.getState(forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        return -forces[:, 2], forces[:, :2]

    def _context(self, points: int) -> openmm.Context:
        """The context of some number of points, made when it is first needed."""
        if points not in self._contexts:
            system, force = openmm.System(), openmm.CustomCompoundBondForce(1, self._expression)
            if self._table is not None:
                force.addTabulatedFunction(TABLE, _periodic_spline(self._table))
            for _ in range(points):
                force.addBond([system.addParticle(1.0)], [])
            system.addForce(force)
            platform = openmm.Platform.getPlatformByName("Reference")
            self._contexts[points] = openmm.Context(system, openmm.VerletIntegrator(1.0), platform)
        return self._contexts[points]


def _periodic_spline(table: FloatArray) -> openmm.Continuous2DFunction:
    closed = np.pad(table, (0, 1), mode="wrap")
    return openmm.Continuous2DFunction(*closed.shape, closed.ravel(order="F"), -np.pi, np.pi, -np.pi, np.pi, True)


@dataclass(frozen=True)
class SurfacePaths:
    """Annealed paths of walkers on a surface.

    Attributes
    ----------
    positions : array, shape (frames, walkers, 2)
        Start and end included; angles go on beyond ±π.
    energies : array, shape (frames, walkers)
        Of the surface, without the restraint.
    steps : array, shape (frames,)
        At which the frames were taken.
    highest_energy : array, shape (walkers,)
        Over all steps, those between frames too.
    highest_energy_on_segments : array, shape (walkers,)
        Over all steps and the points between them.
    evaluations : int
        Of force and energy by the dynamics, of all walkers.
    measuring_evaluations : int
        Of energies between steps; the dynamics do without.
    """

    positions: FloatArray
    energies: FloatArray
    steps: FloatArray
    highest_energy: FloatArray
    highest_energy_on_segments: FloatArray
    evaluations: int
    measuring_evaluations: int


def anneal_walkers(
    potential: SurfacePotential,
    schedule: RestraintSchedule,
    start: FloatArray,
    rng: np.random.Generator,
    *,
    kt: float,
    periodic: Sequence[bool],
    steps: int,
    time_step: float,
    frame_steps: int,
    segment_points: int = 3,
) -> SurfacePaths:
    """Overdamped Langevin dynamics of independent walkers while their restraint moves along its schedule.

    Steps x ← x + τ f + √(kT τ/2) (ξ + ξ'), where f is the force of the surface and of the denoising distribution's
    restraint ½ kT SNR |x − y|², and ξ' becomes ξ in the next step (Leimkuhler & Matthews, Appl. Math. Res. Express
    2013, 34). They cost what Euler-Maruyama steps do (those of arXiv 2505.17517, with ds = 2 kT τ), but sample a
    harmonic well without error, and others with one of order τ² in the place of τ. A periodic coordinate θ is
    restrained as the point (cos θ, sin θ).

    Parameters
    ----------
    potential : SurfacePotential
    schedule : RestraintSchedule
        Centres of shape (points, latent coordinates).
    start : array, shape (walkers, 2)
    rng : Generator
    kt : float
    periodic : sequence of bool
        Which coordinates are angles with a (cos, sin) pair in the centres.
    steps : int
    time_step : float
        τ, with unit mobility.
    frame_steps : int
        Steps between frames.
    segment_points : int
        Points between two steps where energies are measured.

    Raises
    ------
    DynamicsError
        If a walker breaks down.
    """
    x = np.array(start, dtype=np.float64)
    walkers = len(x)
    energy, force = potential.evaluate(x)
    highest, highest_between = energy.copy(), energy.copy()
    frames = [(0, x, energy)]
    noise = rng.standard_normal(x.shape)
    share = np.linspace(0, 1, segment_points + 2)[1:, None, None]  # of the way from a step to the next, which is last
    for step in range(1, steps + 1):
        centre, log_snr = schedule.at(step / steps)
        pull = kt * np.exp(log_snr) * restraint_pull(x, centre, periodic)
        next_noise = rng.standard_normal(x.shape)
        move = time_step * (force + pull) + np.sqrt(0.5 * kt * time_step) * (noise + next_noise)
        energies, forces = potential.evaluate((x + share * move).reshape(-1, 2))
        x, noise, energy, force = x + move, next_noise, energies[-walkers:], forces[-walkers:]
        _check(step, steps, log_snr, x, energy)
        highest = np.maximum(highest, energy)
        highest_between = np.maximum(highest_between, energies.reshape(-1, walkers).max(0))
        if step % frame_steps == 0 or step == steps:
            frames.append((step, x, energy))
    taken, positions, kept = (np.array(values) for values in zip(*frames, strict=True))
    return SurfacePaths(
        positions=positions,
        energies=kept,
        steps=taken,
        highest_energy=highest,
        highest_energy_on_segments=highest_between,
        evaluations=walkers * (steps + 1),
        measuring_evaluations=walkers * steps * segment_points,
    )


def restraint_pull(x: FloatArray, centre: FloatArray, periodic: Sequence[bool]) -> FloatArray:
    """−∇ ½|x − y|² with x in the latent coordinates, shape (walkers, 2): the restraint's force without its kT·SNR."""
    pulls, rest = [], list(centre)
    for column, is_angle in zip(x.T, periodic, strict=True):
        if is_angle:
            cosine, sine, *rest = rest
            pulls.append(sine * np.cos(column) - cosine * np.sin(column))
        else:
            value, *rest = rest
            pulls.append(value - column)
    return np.stack(pulls, axis=-1)


def _check(step: int, steps: int, log_snr: float, x: FloatArray, energy: FloatArray) -> None:
    broken = ~(np.isfinite(x).all(1) & np.isfinite(energy))
    if broken.any():
        walker = int(broken.argmax())
        raise DynamicsError(
            f"walker {walker} broke down at step {step} of {steps} ({int(broken.sum())} of {len(x)} did): position "
            f"{x[walker].tolist()}, energy {energy[walker]}, log SNR {log_snr:.3f}; take a smaller time step or a "
            "lower SNR"
        )
