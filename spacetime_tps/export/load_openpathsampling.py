"""Opens the folder that this file lies in with OpenPathSampling: engine, states, and trajectories with velocities.

It needs nothing but openpathsampling, openmm, mdtraj and numpy: version 1.7 of openpathsampling wants ``numpy<2`` and
``six`` in an environment of its own. From Python::

    from load_openpathsampling import load

    loaded = load(".")
    network = paths.TPSNetwork(*loaded.states)
    scheme = paths.OneWayShootingMoveScheme(network, selector=paths.UniformSelector(), engine=loaded.engine)
    scheme.initial_conditions_from_trajectories(loaded.trajectories)

States are unions of boxes in collective variables. The integrator is BAOAB: velocities belong to the time of the
positions, so that they may be reversed, and drawn anew (``loaded.velocities``).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
import openpathsampling as paths  # type: ignore[import-not-found]
from openmm import unit
from openpathsampling.engines import openmm as ops_openmm  # type: ignore[import-not-found]
from openpathsampling.engines.topology import MDTrajTopology  # type: ignore[import-not-found]
from openpathsampling.snapshot_modifier import SnapshotModifier  # type: ignore[import-not-found]

_FUNCTIONS = {
    "dihedral": (mdtraj.compute_dihedrals, "indices"),
    "angle": (mdtraj.compute_angles, "angle_indices"),
    "distance": (mdtraj.compute_distances, "atom_pairs"),
}
_TURN = 2 * math.pi


@dataclass(frozen=True)
class Loaded:
    """What :func:`load` makes.

    Attributes
    ----------
    engine : openpathsampling.engines.openmm.Engine
    states : tuple of openpathsampling.Volume
        A and B, with their names.
    variables : dict of str to MDTrajFunctionCV
    trajectories : list of openpathsampling.Trajectory
    velocities : SnapshotModifier
        Draws Maxwell-Boltzmann velocities, constraints applied: for ``CommittorSimulation`` and two-way shooting.
    """

    engine: Any
    states: tuple[Any, Any]
    variables: dict[str, Any]
    trajectories: list[Any]
    velocities: Any


def load(folder: str | Path) -> Loaded:
    """Everything in the folder, its trajectories in the order of their names."""
    folder = Path(folder)
    settings = json.loads((folder / "settings.json").read_text())
    topology = MDTrajTopology(mdtraj.load(str(folder / "topology.pdb")).topology)
    engine = make_engine(folder, settings, topology)
    variables = {name: make_variable(name, v, topology) for name, v in settings["variables"].items()}
    a, b = (make_state(state, settings["variables"], variables) for state in settings["states"])
    trajectories = [make_trajectory(file, engine) for file in sorted((folder / "trajectories").glob("*.npz"))]
    return Loaded(engine, (a, b), variables, trajectories, FreshVelocities(engine, settings["temperature"]))


def make_engine(folder: Path, settings: dict[str, Any], topology: Any) -> Any:
    """An engine whose frames are as far apart as those of the trajectories, on the platform of the settings."""
    engine = ops_openmm.Engine(
        topology,
        openmm.XmlSerializer.deserialize((folder / "system.xml").read_text()),
        openmm.XmlSerializer.deserialize((folder / "integrator.xml").read_text()),
        options={"n_steps_per_frame": settings["frame_steps"], "n_frames_max": settings["max_frames"]},
    ).named("engine")
    engine.initialize(settings["platform"])
    return engine


def make_variable(name: str, variable: dict[str, Any], topology: Any) -> Any:
    """A collective variable, in rad or nm; no periodic images, for a molecule in vacuum has a box here too."""
    function, atoms = _FUNCTIONS[variable["kind"]]
    arguments = {atoms: [variable["atoms"]], "periodic": False}
    return paths.MDTrajFunctionCV(name, function, topology=topology, **arguments).named(name)


def make_state(state: dict[str, Any], kinds: dict[str, Any], variables: dict[str, Any]) -> Any:
    """A union of boxes; bounds of dihedrals run upwards from the first, through ±π if they must."""
    union: Any = paths.EmptyVolume()
    for box in state["boxes"]:
        volume: Any = paths.FullVolume()
        for name, (low, high) in box.items():
            if kinds[name]["kind"] != "dihedral":
                side = paths.CVDefinedVolume(variables[name], low, high)
            elif high - low >= _TURN - 1e-9:
                continue  # all the way round
            else:
                bounds = ((angle + math.pi) % _TURN - math.pi for angle in (low, high))
                side = paths.PeriodicCVDefinedVolume(variables[name], *bounds, -math.pi, math.pi)
            volume = volume & side
        union = union | volume
    return union.named(state["name"])


def make_trajectory(file: Path, engine: Any) -> Any:
    """Snapshots of this engine with the stored velocities, and the system's box, which storage wants even in vacuum."""
    box = np.array([vector.value_in_unit(unit.nanometer) for vector in engine.system.getDefaultPeriodicBoxVectors()])
    with np.load(file) as arrays:
        frames = zip(arrays["positions"].astype(float), arrays["velocities"].astype(float), strict=True)
        return paths.Trajectory(
            [
                ops_openmm.Snapshot.construct(
                    coordinates=positions * unit.nanometer,
                    velocities=velocities * (unit.nanometer / unit.picosecond),
                    box_vectors=box * unit.nanometer,
                    engine=engine,
                )
                for positions, velocities in frames
            ]
        )


class FreshVelocities(SnapshotModifier):  # type: ignore[misc]
    """Maxwell-Boltzmann velocities from OpenMM, which applies the constraints to them.

    ``openpathsampling.RandomVelocities`` leaves the snapshot's velocities along constraints as they were drawn.

    Parameters
    ----------
    engine : openpathsampling.engines.openmm.Engine
    temperature : float
        K.
    """

    def __init__(self, engine: Any, temperature: float) -> None:
        super().__init__()
        self.engine = engine
        self.temperature = temperature

    def __call__(self, snapshot: Any) -> Any:
        """The snapshot with new velocities."""
        context = self.engine.simulation.context
        context.setPositions(snapshot.coordinates)
        seed = np.random.randint(1, 2**31 - 1)  # noqa: NPY002, of the generator that openpathsampling draws from
        context.setVelocitiesToTemperature(self.temperature * unit.kelvin, seed)
        velocities = context.getState(getVelocities=True).getVelocities(asNumpy=True)
        self.engine._current_snapshot = None  # the context is no longer at it
        return snapshot.copy_with_replacement(velocities=velocities)
