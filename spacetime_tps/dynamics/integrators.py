"""Langevin integrators that report energies at no extra force evaluation or keep velocities on the step."""

from __future__ import annotations

import math

import openmm

from spacetime_tps.units import MOLAR_GAS_CONSTANT

PHYSICAL, RESTRAINT = 0, 1
"""Force groups of the molecule's own forces and of the restraint."""


def annealing_integrator(
    temperature: float, friction: float, time_step: float, constraints: bool = True
) -> openmm.CustomIntegrator:
    """Leapfrog-middle Langevin dynamics that records the energies of the positions each step starts from.

    The global variables ``potential`` and ``restraint`` (kJ/mol) hold the energies of the two force groups; they come
    out of the step's only force evaluation. ``restraint_after`` is that of the restraint at the positions the step ends
    with; the molecule's own forces are not evaluated for it. Scheme: Zhang et al., J. Phys. Chem. A 123, 6056 (2019).

    Parameters
    ----------
    temperature, friction, time_step : float
        K, 1/ps, ps.
    constraints : bool
        Whether the system may have constraints; without them steps are cheaper.
    """
    integrator = _langevin(temperature, friction, time_step)
    integrator.addGlobalVariable("potential", 0)
    integrator.addGlobalVariable("restraint", 0)
    integrator.addGlobalVariable("restraint_after", 0)
    integrator.addUpdateContextState()
    integrator.addComputeGlobal("potential", f"energy{PHYSICAL}")
    integrator.addComputeGlobal("restraint", f"energy{RESTRAINT}")
    for group in (PHYSICAL, RESTRAINT):
        integrator.addComputePerDof("v", f"v + dt*f{group}/m")
    if constraints:
        integrator.addConstrainVelocities()
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    integrator.addComputePerDof("v", "decay*v + kick*gaussian/sqrt(m)")
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    if constraints:
        _constrain_positions(integrator, "dt")
    integrator.addComputeGlobal("restraint_after", f"energy{RESTRAINT}")
    return integrator


def shooting_integrator(
    temperature: float, friction: float, time_step: float, constraints: bool = True
) -> openmm.CustomIntegrator:
    """Langevin dynamics in the symmetric BAOAB splitting: positions and velocities belong to the same time.

    Reversing the velocities reverses the dynamics, and fresh Maxwell-Boltzmann velocities are right without any
    half-step correction. Scheme: Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34 (2013).

    Parameters
    ----------
    temperature, friction, time_step : float
        K, 1/ps, ps.
    constraints : bool
        Whether the system may have constraints; without them steps are cheaper.
    """
    integrator = _langevin(temperature, friction, time_step)
    integrator.addUpdateContextState()
    for velocity, drift in (
        ("v + 0.5*dt*f/m", True),
        ("decay*v + kick*gaussian/sqrt(m)", True),
        ("v + 0.5*dt*f/m", False),
    ):
        integrator.addComputePerDof("v", velocity)
        if constraints:
            integrator.addConstrainVelocities()
        if drift:
            integrator.addComputePerDof("x", "x + 0.5*dt*v")
            if constraints:
                _constrain_positions(integrator, "0.5*dt")
    return integrator


def set_temperature(integrator: openmm.CustomIntegrator, temperature: float) -> None:
    """Change the temperature (K) of one of these integrators."""
    decay = integrator.getGlobalVariableByName("decay")
    integrator.setGlobalVariableByName("kick", math.sqrt((1 - decay**2) * MOLAR_GAS_CONSTANT * temperature))


def _langevin(temperature: float, friction: float, time_step: float) -> openmm.CustomIntegrator:
    integrator = openmm.CustomIntegrator(time_step)
    integrator.addGlobalVariable("decay", math.exp(-friction * time_step))
    integrator.addGlobalVariable("kick", 0)
    set_temperature(integrator, temperature)
    integrator.addPerDofVariable("unconstrained", 0)
    return integrator


def _constrain_positions(integrator: openmm.CustomIntegrator, duration: str) -> None:
    """Constrain positions after a drift of some duration, and give velocities the impulse of the constraint forces."""
    integrator.addComputePerDof("unconstrained", "x")
    integrator.addConstrainPositions()
    integrator.addComputePerDof("v", f"v + (x - unconstrained)/({duration})")
