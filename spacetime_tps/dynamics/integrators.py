"""Langevin integrators that report energies at no extra force evaluation or keep velocities on the step."""

from __future__ import annotations

import math

import openmm

from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

PHYSICAL, RESTRAINT = 0, 1
"""Force groups of the molecule's own forces and of the restraint."""
STIFFNESS, SHARE = "spacetime_k", "spacetime_share"
"""Context parameters of the restraint: its spring constant, and where it is between two sets of centres."""
_MOTION = ("log_stiffness", "share_rate", "log_stiffness_rate")


def annealing_integrator(
    temperature: float, friction: float, time_step: float, constraints: bool = True
) -> openmm.CustomIntegrator:
    """Leapfrog-middle Langevin dynamics under a moving restraint, which records energies and work.

    Scheme: Zhang et al., J. Phys. Chem. A 123, 6056 (2019). Global variables, in kJ/mol: ``potential`` and
    ``restraint`` are the energies of the two force groups at the positions that a step starts from, out of its only
    force evaluation. ``restraint_after`` is that of the restraint at the positions it ends with; the molecule's own
    forces are not evaluated for it. ``highest`` is the largest ``potential`` since it was set. ``work`` gains with each
    step what the restraint's energy has gained, by its motion, since the end of the one before.

    After each step the parameter ``spacetime_share`` of the restraint gains ``share_rate``, and the logarithm of
    ``spacetime_k`` gains ``log_stiffness_rate``; see :func:`set_motion`.

    Parameters
    ----------
    temperature, friction, time_step : float
        K, 1/ps, ps.
    constraints : bool
        Whether the system may have constraints; without them steps are cheaper.
    """
    integrator = _langevin(temperature, friction, time_step)
    for name in ("potential", "restraint", "restraint_after", "highest", "work", *_MOTION):
        integrator.addGlobalVariable(name, 0)
    integrator.addUpdateContextState()
    integrator.addComputeGlobal("potential", f"energy{PHYSICAL}")
    integrator.addComputeGlobal("restraint", f"energy{RESTRAINT}")
    integrator.addComputeGlobal("highest", "max(highest, potential)")
    integrator.addComputeGlobal("work", "work + restraint - restraint_after")
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
    integrator.addComputeGlobal(SHARE, f"{SHARE} + share_rate")
    integrator.addComputeGlobal("log_stiffness", "log_stiffness + log_stiffness_rate")
    integrator.addComputeGlobal(STIFFNESS, "exp(log_stiffness)")
    return integrator


def set_motion(
    context: openmm.Context, share: float, log_stiffness: float, share_rate: float, log_stiffness_rate: float
) -> None:
    """Put the restraint of an annealing context somewhere, and say how it moves after each step.

    Parameters
    ----------
    context : openmm.Context
    share : float
        Of the way between the centres that the restraint was given last.
    log_stiffness : float
        Logarithm of the spring constant kT SNR, in kJ/mol and the inverse square of y's unit.
    share_rate, log_stiffness_rate : float
        What they gain in a step.
    """
    context.setParameter(SHARE, share)
    context.setParameter(STIFFNESS, math.exp(log_stiffness))
    integrator = context.getIntegrator()
    for name, value in zip(_MOTION, (log_stiffness, share_rate, log_stiffness_rate), strict=True):
        integrator.setGlobalVariableByName(name, value)


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
