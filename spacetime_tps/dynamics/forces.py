"""Which forces of a System are potentials, and which ask for dynamics that this package does not run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import openmm

from spacetime_tps.errors import MoleculeError

_POTENTIALS = frozenset(
    f"{name}Force"
    for name in (
        *("HarmonicBond", "HarmonicAngle", "PeriodicTorsion", "RBTorsion", "CMAPTorsion"),
        *("Nonbonded", "GBSAOBC", "LCPO", "GayBerne", "ATM", "ConstantPotential"),
        *("RMSD", "RG", "OrientationRestraint"),
        *("AmoebaMultipole", "AmoebaVdw", "AmoebaTorsionTorsion", "AmoebaGeneralizedKirkwood", "AmoebaWcaDispersion"),
        "HippoNonbonded",
        *("CustomBond", "CustomAngle", "CustomTorsion", "CustomNonbonded", "CustomExternal", "CustomCompoundBond"),
        *("CustomCentroidBond", "CustomHbond", "CustomManyParticle", "CustomGB", "CustomCV", "CustomVolume"),
        "Python",
    )
)
"""Energies that depend on positions alone. A PythonForce is one, and gets this far only where it is trusted."""
_REMOVED = "CMMotionRemover"
_REASONS = (
    ("DrudeForce", "its Drude particles need an integrator of their own"),
    ("Barostat", "it changes the box between steps, and paths are sampled at constant volume"),
    ("Thermostat", "it changes velocities between steps, and the integrator is a thermostat"),
)


def check_known(kinds: Sequence[str], path: Path) -> None:
    """Refuse a serialised System by the types of its forces, before any force is made.

    Raises
    ------
    MoleculeError
        Naming the force.
    """
    for kind in kinds:
        if kind not in _POTENTIALS and kind != _REMOVED:
            raise MoleculeError(_refusal(str(path), kind))


def check_potentials(system: openmm.System, source: str) -> None:
    """Refuse a System with a force that is no potential.

    Raises
    ------
    MoleculeError
        Naming the force.
    """
    for force in system.getForces():
        kind = type(force).__name__
        if kind not in _POTENTIALS and kind != _REMOVED:
            raise MoleculeError(_refusal(source, kind))


def _refusal(source: str, kind: str) -> str:
    reason = next((why for part, why in _REASONS if part in kind), "it is not known to be a potential of positions")
    return f"{source}: the System has a {kind}; {reason}. Remove this force from the System"
