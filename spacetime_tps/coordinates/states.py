"""Collective variables and metastable states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import MoleculeError
from spacetime_tps.settings.system import CollectiveVariableSettings, StateSettings
from spacetime_tps.settings.units import In

Values = Mapping[str, FloatArray]
"""Values of collective variables by name, each of shape (frames,)."""


@dataclass(frozen=True)
class CollectiveVariable:
    """A dihedral (rad, in [-π, π)), angle (rad) or distance (nm) of atoms."""

    name: str
    kind: Literal["dihedral", "angle", "distance"]
    atoms: tuple[int, ...]

    @classmethod
    def from_settings(
        cls, name: str, settings: CollectiveVariableSettings, topology: mdtraj.Topology
    ) -> CollectiveVariable:
        """Resolve its atoms in a topology.

        Raises
        ------
        MoleculeError
            If an atom's selection matches none or several atoms, or an index is out of range.
        """
        atoms = tuple(_one_atom(atom, topology, f"collective variable {name!r}") for atom in settings.atoms)
        return cls(name, settings.kind, atoms)

    @property
    def periodic(self) -> bool:
        """Whether its values live on a circle."""
        return self.kind == "dihedral"

    def __call__(self, trajectory: mdtraj.Trajectory) -> FloatArray:
        """Values in every frame, shape (frames,)."""
        compute = {
            "dihedral": mdtraj.compute_dihedrals,
            "angle": mdtraj.compute_angles,
            "distance": mdtraj.compute_distances,
        }[self.kind]
        values: FloatArray = compute(trajectory, np.array([self.atoms]), periodic=False)[:, 0].astype(float)
        return wrap(values) if self.periodic else values

    def on_subset(self, atoms: Sequence[int]) -> CollectiveVariable:
        """The same variable for trajectories that hold only ``atoms``, in that order.

        Raises
        ------
        MoleculeError
            If one of its atoms is not among them.
        """
        place = {atom: index for index, atom in enumerate(atoms)}
        missing = [atom for atom in self.atoms if atom not in place]
        if missing:
            raise MoleculeError(
                f"collective variable {self.name!r} needs atom {missing[0]} (0-based), which is not among the "
                f"coordinates.atoms of the score model; add it to that selection"
            )
        return CollectiveVariable(self.name, self.kind, tuple(place[atom] for atom in self.atoms))

    def difference(self, values: FloatArray, reference: float) -> FloatArray:
        """``values - reference``, the short way round if periodic."""
        return wrap(values - reference) if self.periodic else values - reference


def wrap(angle: FloatArray) -> FloatArray:
    """Angle in [-π, π)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _one_atom(atom: int | str, topology: mdtraj.Topology, where: str) -> int:
    if isinstance(atom, int):
        if not 0 <= atom < topology.n_atoms:
            raise MoleculeError(f"{where}: atom {atom} is not one of the {topology.n_atoms} atoms (0-based)")
        return atom
    found = select(topology, atom, where)
    if len(found) != 1:
        raise MoleculeError(f"{where}: {atom!r} selects {len(found)} atoms, it must select one")
    return int(found[0])


def select(topology: mdtraj.Topology, selection: str, where: str) -> NDArray[np.intp]:
    """Atoms of an mdtraj selection.

    Raises
    ------
    MoleculeError
        If the selection is not understood or empty.
    """
    try:
        found: NDArray[np.intp] = np.asarray(topology.select(selection), dtype=np.intp)
    except Exception as error:
        raise MoleculeError(f"{where}: {selection!r} is not an mdtraj selection ({error})") from error
    if len(found) == 0:
        raise MoleculeError(f"{where}: {selection!r} selects no atom")
    return found


@dataclass(frozen=True)
class State:
    """A metastable state: a union of boxes in collective variables."""

    name: str
    structure: str
    boxes: tuple[Mapping[str, tuple[float, float]], ...]
    variables: Mapping[str, CollectiveVariable]

    @classmethod
    def from_settings(
        cls, name: str, settings: StateSettings, variables: Mapping[str, CollectiveVariable], units: Mapping[str, In]
    ) -> State:
        """Read the bounds of its boxes, each in the unit of its collective variable."""
        boxes = tuple(
            {key: (units[key].parse(low), units[key].parse(high)) for key, (low, high) in box.items()}
            for box in settings.boxes
        )
        return cls(name, settings.structure, boxes, variables)

    def contains(self, values: Values) -> NDArray[np.bool_]:
        """Which frames are in the state, shape (frames,).

        On a circle an interval from ``low`` to ``high`` runs upwards from ``low``, through ±π if it must.
        """
        return np.asarray(np.any([self._in_box(box, values) for box in self.boxes], axis=0))

    def _in_box(self, box: Mapping[str, tuple[float, float]], values: Values) -> NDArray[np.bool_]:
        inside = [
            (values[key] - low) % (2 * np.pi) <= _width(low, high)
            if self.variables[key].periodic
            else (values[key] >= low) & (values[key] <= high)
            for key, (low, high) in box.items()
        ]
        return np.asarray(np.all(inside, axis=0))


def state_indices(states: tuple[State, State], positions: FloatArray) -> NDArray[np.intp]:
    """State of each frame: 0 for the first, 1 for the second, -1 for neither. Shape (frames,).

    Parameters
    ----------
    states : tuple of State
        A and B, with the same collective variables.
    positions : array, shape (frames, atoms, 3)
        In nm.
    """
    trajectory = mdtraj.Trajectory(np.asarray(positions), None)
    values = {name: variable(trajectory) for name, variable in states[0].variables.items()}
    first, second = (state.contains(values) for state in states)
    return np.where(first, 0, np.where(second, 1, -1))


def check_disjoint(states: Sequence[State]) -> None:
    """Refuse states that share a part of collective-variable space.

    Raises
    ------
    MoleculeError
        Naming the two boxes that overlap.
    """
    first, second = states
    for i, one in enumerate(first.boxes):
        for j, two in enumerate(second.boxes):
            if all(_overlap(one[key], two[key], first.variables[key].periodic) for key in one.keys() & two.keys()):
                raise MoleculeError(
                    f"states {first.name} and {second.name} overlap: box {i} of {first.name} and box {j} of "
                    f"{second.name} share a region of {', '.join(first.variables)}; make one of them smaller"
                )


def _width(low: float, high: float) -> float:
    """Width of an interval on the circle; one whose bounds are a whole turn apart is everything."""
    turn = 2 * np.pi
    return turn if high - low >= turn - 1e-9 else (high - low) % turn


def _overlap(a: tuple[float, float], b: tuple[float, float], periodic: bool) -> bool:
    if periodic:
        circle = 2 * np.pi
        return bool((b[0] - a[0]) % circle <= _width(*a) or (a[0] - b[0]) % circle <= _width(*b))
    return a[0] <= b[1] and b[0] <= a[1]
