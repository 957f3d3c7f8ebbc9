"""Langevin integrators that report energies at no extra force evaluation or keep velocities on the step."""

from __future__ import annotations

import math

import openmm

from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

PHYSICAL, RESTRAINT = 0, 1
"""Force groups of the molecule's own forces and of the restraint."""
STIFFNESS, SHARE = "spacetime_k", "spacetime_share"
"""Context parameters of the restraint: its spring constant, and where it is between two sets of centres."""
_LAST_KICK = "last_kick"
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
    temperature: float, friction: float, time_step: float, constraints: bool = True, virtual_sites: bool = False
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
    virtual_sites : bool
        Whether the system may have virtual sites. OpenMM puts them in place at the end of a step and never within, so
        that the last half kick becomes a step of its own: the context's time runs twice as fast, its forces are
        evaluated as often as without.
    """
    integrator = _langevin(temperature, friction, time_step, _TwoPartIntegrator if virtual_sites else None)
    integrator.addUpdateContextState()
    if virtual_sites:
        integrator.beginIfBlock(f"{_LAST_KICK} = 0")
    _kick(integrator, constraints)
    _drift(integrator, constraints)
    integrator.addComputePerDof("v", "decay*v + kick*gaussian/sqrt(m)")
    if constraints:
        integrator.addConstrainVelocities()
    _drift(integrator, constraints)
    if virtual_sites:
        integrator.endBlock()
        integrator.beginIfBlock(f"{_LAST_KICK} = 1")
    _kick(integrator, constraints)
    if virtual_sites:
        integrator.endBlock()
        integrator.addComputeGlobal(_LAST_KICK, f"1 - {_LAST_KICK}")
    return integrator


class _TwoPartIntegrator(openmm.CustomIntegrator):  # type: ignore[misc]
    """An integrator whose step has two parts, with virtual sites put in place between them."""

    def __init__(self, time_step: float) -> None:
        super().__init__(time_step)
        self.addGlobalVariable(_LAST_KICK, 0)

    def step(self, steps: int) -> None:
        """Advance by a number of whole steps."""
        self.setGlobalVariableByName(_LAST_KICK, 0)  # the step before may have broken off
        super().step(2 * steps)


def set_temperature(integrator: openmm.CustomIntegrator, temperature: float) -> None:
    """Change the temperature (K) of one of these integrators."""
    decay = integrator.getGlobalVariableByName("decay")
    integrator.setGlobalVariableByName("kick", math.sqrt((1 - decay**2) * MOLAR_GAS_CONSTANT * temperature))


def _langevin(
    temperature: float, friction: float, time_step: float, kind: type[openmm.CustomIntegrator] | None = None
) -> openmm.CustomIntegrator:
    integrator = (kind or openmm.CustomIntegrator)(time_step)
    integrator.addGlobalVariable("decay", math.exp(-friction * time_step))
    integrator.addGlobalVariable("kick", 0)
    set_temperature(integrator, temperature)
    integrator.addPerDofVariable("unconstrained", 0)
    return integrator


def _kick(integrator: openmm.CustomIntegrator, constraints: bool) -> None:
    """Half a step of the forces."""
    integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
    if constraints:
        integrator.addConstrainVelocities()


def _drift(integrator: openmm.CustomIntegrator, constraints: bool) -> None:
    """Half a step of free motion."""
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    if constraints:
        _constrain_positions(integrator, "0.5*dt")


def _constrain_positions(integrator: openmm.CustomIntegrator, duration: str) -> None:
    """Constrain positions after a drift of some duration, and give velocities the impulse of the constraint forces."""
    integrator.addComputePerDof("unconstrained", "x")
    integrator.addConstrainPositions()
    integrator.addComputePerDof("v", f"v + (x - unconstrained)/({duration})")
