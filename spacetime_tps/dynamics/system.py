"""A molecule with its force field, thermodynamic state and metastable states, ready for OpenMM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.coordinates.states import (
    CollectiveVariable,
    FloatArray,
    State,
    Values,
    check_disjoint,
    state_indices,
)
from spacetime_tps.dynamics.equivalent_atoms import check_same_handedness, matched_atoms, renamed
from spacetime_tps.errors import MoleculeError
from spacetime_tps.progress import log
from spacetime_tps.settings.run import SystemSettings
from spacetime_tps.settings.shipped import data_folder
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

_NONBONDED = {
    "NoCutoff": app.NoCutoff,
    "CutoffNonPeriodic": app.CutoffNonPeriodic,
    "CutoffPeriodic": app.CutoffPeriodic,
    "PME": app.PME,
}
_CONSTRAINTS = {"none": None, "HBonds": app.HBonds, "AllBonds": app.AllBonds, "HAngles": app.HAngles}


@dataclass(frozen=True, eq=False)
class MolecularSystem:
    """Topology, force field and states of one molecule.

    Attributes
    ----------
    name : str
    topology : mdtraj.Topology
    openmm_topology : openmm.app.Topology
    system_xml : str
        The OpenMM ``System``, serialised. It has no thermostat and no restraint.
    structures : mapping of str to array, shape (atoms, 3)
        Positions in nm.
    variables : mapping of str to CollectiveVariable
    states : tuple of State
        A and B.
    temperature, time_step, friction : float
        K, ps and 1/ps.
    platform : str
    """

    name: str
    topology: mdtraj.Topology
    openmm_topology: app.Topology
    system_xml: str
    structures: Mapping[str, FloatArray]
    variables: Mapping[str, CollectiveVariable]
    states: tuple[State, State]
    temperature: float
    time_step: float
    friction: float
    platform: str

    @classmethod
    def from_settings(cls, settings: SystemSettings) -> MolecularSystem:
        """Build the system and check that its parts fit each other.

        Raises
        ------
        MoleculeError
            If a structure is missing, unreadable, of other atoms or of the other handedness, a residue has no template,
            a selection is empty, the states overlap or do not hold their own structures, or there is no such platform.
        """
        pdbs = {name: _read_pdb(name, path) for name, path in settings.structures.items()}
        reference = next(iter(pdbs))
        for name in pdbs:
            _check_same_atoms(reference, pdbs[reference].topology, name, pdbs[name].topology)
        openmm_topology = pdbs[reference].topology
        system = _create_system(settings, openmm_topology)
        topology = mdtraj.Topology.from_openmm(openmm_topology)
        variables = {
            name: CollectiveVariable.from_settings(name, variable, topology)
            for name, variable in settings.collective_variables.items()
        }
        units = {name: variable.unit for name, variable in settings.collective_variables.items()}
        a, b = (State.from_settings(name, state, variables, units) for name, state in settings.states.items())
        molecule = cls(
            name=settings.name,
            topology=topology,
            openmm_topology=openmm_topology,
            system_xml=openmm.XmlSerializer.serialize(system),
            structures=_named_alike(topology, pdbs),
            variables=variables,
            states=(a, b),
            temperature=settings.temperature,
            time_step=settings.time_step,
            friction=settings.friction,
            platform=choose_platform(settings.platform, system.getNumParticles()),
        )
        molecule._check_states()
        return molecule

    @cached_property
    def kt(self) -> float:
        """Thermal energy, kJ/mol."""
        return MOLAR_GAS_CONSTANT * self.temperature

    @property
    def periodic(self) -> bool:
        """Whether forces see a periodic box."""
        uses: bool = openmm.XmlSerializer.deserialize(self.system_xml).usesPeriodicBoundaryConditions()
        return uses

    @property
    def box(self) -> FloatArray | None:
        """Vectors of the periodic box, shape (3, 3) in nm; None if forces see none."""
        system = openmm.XmlSerializer.deserialize(self.system_xml)
        if not system.usesPeriodicBoundaryConditions():
            return None
        return np.array([vector.value_in_unit(unit.nanometer) for vector in system.getDefaultPeriodicBoxVectors()])

    def trajectory(self, positions: FloatArray, time: FloatArray | None = None) -> mdtraj.Trajectory:
        """Frames (n, atoms, 3) in nm as an mdtraj trajectory."""
        return mdtraj.Trajectory(np.asarray(positions), self.topology, time=time)

    def named_alike(self, positions: FloatArray) -> FloatArray:
        """Frames (n, atoms, 3) whose equivalent atoms are named as in the structures.

        Their density is the Boltzmann density folded into one of its equal copies.
        """
        return renamed(self.topology, next(iter(self.structures.values())), positions)

    def collective_variables(self, trajectory: mdtraj.Trajectory) -> Values:
        """Every collective variable in every frame."""
        return {name: variable(trajectory) for name, variable in self.variables.items()}

    def _check_states(self) -> None:
        check_disjoint(self.states)
        for index, state in enumerate(self.states):
            frame = self.trajectory(self.structures[state.structure][None])
            if state_indices(self.states, frame.xyz)[0] != index:
                values = ", ".join(f"{k} = {v[0]:.3f}" for k, v in self.collective_variables(frame).items())
                raise MoleculeError(
                    f"state {state.name} does not hold its own structure {state.structure!r} ({values} in rad or "
                    "nm); change its boxes or its structure"
                )


def choose_platform(asked: str, atoms: int) -> str:
    """Name of the platform to run on; ``"auto"`` takes a GPU, else Reference for small molecules and CPU for large.

    Reference was measured several times faster than CPU on a few dozen atoms; from about 200 atoms CPU wins.

    Raises
    ------
    MoleculeError
        If OpenMM has no platform of the asked name here.
    """
    available = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if asked != "auto":
        if asked not in available:
            raise MoleculeError(f"OpenMM has no platform {asked!r} here; it has {', '.join(available)}, or use 'auto'")
        return asked
    if atoms < 200:
        return "Reference"
    return next(name for name in ("CUDA", "HIP", "OpenCL", "CPU", "Reference") if name in available)


def _read_pdb(name: str, path: Path) -> app.PDBFile:
    if not path.is_file():
        raise MoleculeError(f"structure {name!r}: there is no file {path}")
    try:
        pdb = app.PDBFile(str(path))
    except Exception as error:
        raise MoleculeError(f"structure {name!r}: {path} is not a readable PDB file ({error})") from error
    if pdb.topology.getNumAtoms() == 0:
        raise MoleculeError(f"structure {name!r}: {path} has no atoms")
    if not np.isfinite(np.array(pdb.positions.value_in_unit(unit.nanometer))).all():
        raise MoleculeError(f"structure {name!r}: {path} has coordinates that are not finite")
    return pdb


def _check_same_atoms(name_a: str, a: app.Topology, name_b: str, b: app.Topology) -> None:
    if a.getNumAtoms() != b.getNumAtoms():
        raise MoleculeError(
            f"structures {name_a!r} and {name_b!r} differ in number of atoms: {a.getNumAtoms()} and {b.getNumAtoms()}"
        )
    for one, two in zip(a.atoms(), b.atoms(), strict=True):
        described = [
            f"{atom.residue.name} {atom.name} ({atom.element.symbol if atom.element else 'no element'})"
            for atom in (one, two)
        ]
        if described[0] != described[1]:
            raise MoleculeError(
                f"structures {name_a!r} and {name_b!r} differ at atom {one.index + 1}: {described[0]} and "
                f"{described[1]}; all structures need the same atoms in the same order"
            )


def _named_alike(topology: mdtraj.Topology, pdbs: Mapping[str, app.PDBFile]) -> dict[str, FloatArray]:
    """Positions of all structures, equivalent atoms named as in the first one."""
    structures = {name: np.array(pdb.positions.value_in_unit(unit.nanometer)) for name, pdb in pdbs.items()}
    first, reference = next(iter(structures.items()))
    for name, positions in structures.items():
        (order,) = matched_atoms(topology, reference, positions[None])
        moved = np.flatnonzero(order != np.arange(len(order)))
        if len(moved):
            atoms = ", ".join(str(topology.atom(int(atom))) for atom in moved)
            log.warning("structure %s: equivalent atoms are renamed as in %s: %s", name, first, atoms)
        structures[name] = positions[order]
        check_same_handedness(topology, first, reference, name, structures[name])
    return structures


def _create_system(settings: SystemSettings, topology: app.Topology) -> openmm.System:
    files = [_force_field_file(name) for name in settings.force_field]
    options = {
        "nonbondedMethod": _NONBONDED[settings.nonbonded_method],
        "nonbondedCutoff": settings.nonbonded_cutoff * unit.nanometer,
        "constraints": _CONSTRAINTS[settings.constraints],
        "rigidWater": settings.constraints != "none",
        "removeCMMotion": False,
    }
    try:
        if len(files) == 1 and files[0].endswith(".prmtop"):
            system = app.AmberPrmtopFile(files[0]).createSystem(**options)
        elif len(files) == 1 and _is_serialized_system(files[0]):
            system = openmm.XmlSerializer.deserialize(Path(files[0]).read_text())
        else:
            system = app.ForceField(*files).createSystem(topology, **options)
    except Exception as error:
        raise MoleculeError(
            f"force field {', '.join(settings.force_field)} cannot be applied to {settings.name}: {error}"
        ) from error
    if system.getNumParticles() != topology.getNumAtoms():
        raise MoleculeError(
            f"force field {settings.force_field[0]} describes {system.getNumParticles()} particles, "
            f"the structures have {topology.getNumAtoms()} atoms"
        )
    for force in range(system.getNumForces()):
        system.getForce(force).setForceGroup(0)
    return system


def _force_field_file(name: str) -> str:
    shipped = data_folder("forcefields") / name
    return str(shipped) if shipped.is_file() else name


def _is_serialized_system(file: str) -> bool:
    path = Path(file)
    return path.is_file() and "<System" in path.read_text()[:1000]
