"""A molecule with its force field, thermodynamic state and metastable states, ready for OpenMM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable, State, Values, check_disjoint, state_indices
from spacetime_tps.dynamics.checks import (
    check_bond_lengths,
    check_energies,
    check_masses,
    force_field_bonds,
    join_bonds,
)
from spacetime_tps.dynamics.equivalent_atoms import check_same_handedness, matched_atoms, renamed
from spacetime_tps.dynamics.force_field import create_system
from spacetime_tps.dynamics.structures import common_box, read_structures, set_box
from spacetime_tps.errors import MoleculeError
from spacetime_tps.progress import log
from spacetime_tps.settings.system import SystemSettings
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT


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
    def from_settings(cls, settings: SystemSettings, trust_scripts: bool = False) -> MolecularSystem:
        """Build the system and check that its parts fit each other.

        Parameters
        ----------
        settings : SystemSettings
        trust_scripts : bool
            Whether force-field files that are not OpenMM's may run code.

        Raises
        ------
        MoleculeError
            If a structure is missing, unreadable, of other atoms or another box, of the other handedness or of an
            absurd energy, a force-field file holds code, the force field does not fit the structures or asks for other
            dynamics, a selection is empty, the states overlap or do not hold their own structures, or OpenMM cannot
            simulate the system on its platform.
        """
        files = read_structures(settings.structures)
        openmm_topology = next(iter(files.values())).topology
        system = create_system(settings, openmm_topology, trust_scripts)
        if system.usesPeriodicBoundaryConditions():
            set_box(system, common_box(files), settings.force_field[0])
        bonds = force_field_bonds(system)
        check_masses(system, openmm_topology, bonds)
        join_bonds(system, openmm_topology, bonds)
        for name, file in files.items():
            check_bond_lengths(name, file.positions, bonds, openmm_topology)
        topology = mdtraj.Topology.from_openmm(openmm_topology)
        platform = choose_platform(settings.platform, system.getNumParticles())
        structures = _named_alike(topology, {name: file.positions for name, file in files.items()})
        structures = check_energies(system, structures, platform, openmm_topology)
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
            structures=structures,
            variables=variables,
            states=(a, b),
            temperature=settings.temperature,
            time_step=settings.time_step,
            friction=settings.friction,
            platform=platform,
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

    @property
    def virtual_sites(self) -> frozenset[int]:
        """Atoms without a mass whose places follow from those of others."""
        system = openmm.XmlSerializer.deserialize(self.system_xml)
        return frozenset(atom for atom in range(system.getNumParticles()) if system.isVirtualSite(atom))

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


def _named_alike(topology: mdtraj.Topology, structures: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Positions of all structures, equivalent atoms named as in the first one."""
    alike = dict(structures)
    first, reference = next(iter(structures.items()))
    for name, positions in structures.items():
        (order,) = matched_atoms(topology, reference, positions[None])
        moved = np.flatnonzero(order != np.arange(len(order)))
        if len(moved):
            atoms = ", ".join(str(topology.atom(int(atom))) for atom in moved)
            log.warning("structure %s: equivalent atoms are renamed as in %s: %s", name, first, atoms)
        alike[name] = positions[order]
        check_same_handedness(topology, first, reference, name, alike[name])
    return alike
