"""Settings of a molecule: its force field, its collective variables, its states and the target."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.units import In, Kelvin

AtomIndex = Annotated[int, Field(ge=0, le=10**8)]
Atom = AtomIndex | str
"""An atom's index from 0 on, or an mdtraj selection of it."""


class CollectiveVariableSettings(Settings):
    """One collective variable: a dihedral, an angle or a distance of atoms (0-based indices or mdtraj selections)."""

    dihedral: tuple[Atom, Atom, Atom, Atom] | None = Field(None, description="four atoms of a dihedral, in rad")
    angle: tuple[Atom, Atom, Atom] | None = Field(None, description="three atoms of an angle, in rad")
    distance: tuple[Atom, Atom] | None = Field(None, description="two atoms of a distance, in nm")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(atoms is not None for atoms in (self.dihedral, self.angle, self.distance)) != 1:
            raise ValueError("a collective variable is exactly one of dihedral, angle or distance")
        return self

    @property
    def kind(self) -> Literal["dihedral", "angle", "distance"]:
        """Which of the three it is."""
        return "dihedral" if self.dihedral else "angle" if self.angle else "distance"

    @property
    def atoms(self) -> tuple[int | str, ...]:
        """Its atoms, as written."""
        atoms: tuple[int | str, ...] = getattr(self, self.kind)
        return atoms

    @property
    def unit(self) -> In:
        """Unit of its values inside the package."""
        return In("nm") if self.kind == "distance" else In("rad")

    def parse(self, text: str, where: str) -> float:
        """A value of the variable in that unit.

        Raises
        ------
        ValueError
            If it is none, or no such variable can be so large.
        """
        value, most = self.unit.parse(text), 1e3 if self.kind == "distance" else 2 * math.pi
        if abs(value) > most * (1 + 1e-9):
            raise ValueError(f"{where}: {text!r} is beyond what a {self.kind} can be")
        return value


class StateSettings(Settings):
    """A metastable state: one structure, and boxes in the collective variables (the state is their union)."""

    structure: str = Field(description="name of one of the structures")
    boxes: tuple[Annotated[dict[str, tuple[str, str]], Field(min_length=1)], ...] = Field(
        min_length=1, description="boxes: lowest and highest value of collective variables, each with its unit"
    )


class TargetSettings(Settings):
    """What counts as reaching the goal at the end of a path (target hit percentage)."""

    collective_variables: tuple[str, ...] = Field(min_length=1, description="names of collective variables")
    tolerance: str = Field(description="largest difference in each collective variable, with its unit")


class SystemSettings(Settings):
    """The molecule, its force field, its thermodynamic state and its metastable states."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$", max_length=100, description="name of the system: letters, digits, '_', '.', '-'"
    )
    description: str = Field("", description="what the system is, for people")
    structures: dict[str, Path] = Field(min_length=1, description="PDB files, relative to the YAML file")
    force_field: tuple[str, ...] = Field(
        min_length=1,
        description="OpenMM force-field XML names, files of forcefields/, files beside the YAML; "
        "or one .prmtop, or one serialised System (.xml)",
    )
    nonbonded_method: Literal["NoCutoff", "CutoffNonPeriodic", "CutoffPeriodic", "PME"] = Field(
        "NoCutoff", description="OpenMM's method for non-bonded forces"
    )
    nonbonded_cutoff: Annotated[float, Field(ge=0.1, le=100), In("nm")] = Field(
        1.0, description="cutoff of non-bonded forces, in nm"
    )
    constraints: Literal["none", "HBonds", "AllBonds", "HAngles"] = Field(
        "none", description="bonds and angles that are kept rigid"
    )
    hydrogen_mass: Annotated[float, Field(gt=1.0, le=6.0), In("amu")] | None = Field(
        None,
        description="mass of each hydrogen, in amu, taken from the heavy atom that it is bonded to, which allows "
        "longer time steps; by default hydrogens have their own",
    )
    temperature: Kelvin = Field(description="temperature of the transitions, in K")
    time_step: Annotated[float, Field(ge=1e-6, le=0.01), In("ps")] = Field(
        description="time step of all dynamics, in ps"
    )
    friction: Annotated[float, Field(ge=1e-6, le=1000), In("1/ps")] = Field(
        description="friction of Langevin dynamics, in 1/ps"
    )
    platform: str = Field("auto", max_length=100, description="an OpenMM platform, or auto: by the number of atoms")
    collective_variables: dict[str, CollectiveVariableSettings] = Field(
        min_length=1, description="collective variables by name"
    )
    states: dict[str, StateSettings] = Field(
        min_length=2, max_length=2, description="the two metastable states by name: A, then B"
    )
    target: TargetSettings = Field(description="what counts as reaching B")

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, state in self.states.items():
            if state.structure not in self.structures:
                raise ValueError(
                    f"states.{name}.structure: no structure {state.structure!r} "
                    f"(there are: {', '.join(self.structures)})"
                )
            for box in state.boxes:
                for variable, bounds in box.items():
                    where = f"states.{name}.boxes"
                    low, high = (self.parse(variable, bound, where) for bound in bounds)
                    if self.collective_variables[variable].kind != "dihedral" and low >= high:
                        raise ValueError(f"{where}: {variable} has an empty interval {bounds}")
        for variable in self.target.collective_variables:
            if self.parse(variable, self.target.tolerance, "target") <= 0:
                raise ValueError(f"target.tolerance must be more than 0, not {self.target.tolerance!r}")
        return self

    @model_validator(mode="after")
    def _cutoff_has_effect(self) -> Self:
        default = type(self).model_fields["nonbonded_cutoff"].default
        if self.nonbonded_method == "NoCutoff" and self.nonbonded_cutoff != default:
            raise ValueError(
                f"nonbonded_cutoff ({self.nonbonded_cutoff:g} nm) has no effect with nonbonded_method NoCutoff; "
                "remove it, or choose a method with a cutoff"
            )
        return self

    def parse(self, variable: str, text: str, where: str) -> float:
        """Value of one of the collective variables."""
        if variable not in self.collective_variables:
            known = ", ".join(self.collective_variables)
            raise ValueError(f"{where}: no collective variable {variable!r} (there are: {known})")
        return self.collective_variables[variable].parse(text, where)
