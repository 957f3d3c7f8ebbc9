"""Stage 1: Boltzmann samples, and from them the frames and weights that the model learns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates import Coordinates
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.checkpoint import SamplingCheckpoint
from spacetime_tps.dynamics.sampling import Ensemble, run_molecular_dynamics, run_replica_exchange
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.pipeline.samples_of import check_no_training_set, read_samples_of
from spacetime_tps.pipeline.stage_results import SamplesResult
from spacetime_tps.progress import log
from spacetime_tps.runs.context import StageReport
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import SAMPLES, SAMPLES_FILE, UNFINISHED
from spacetime_tps.runs.read import TrainingSet, write_training_set
from spacetime_tps.runs.trajectories import write_hdf5
from spacetime_tps.runs.user_trajectories import load_frame_weights, load_user_trajectory
from spacetime_tps.settings.samples import (
    FilesSettings,
    MolecularDynamicsSettings,
    OtherRunSettings,
    ReplicaExchangeSettings,
)
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.statistics.blocks import held_out_blocks
from spacetime_tps.statistics.mbar import ladder_weights
from spacetime_tps.training.trainer import Samples


def make_samples(run: Run) -> StageReport[SamplesResult]:
    """Sample as configured, write ``samples/`` and the training set in it."""
    folder, settings, molecule = run.made(SAMPLES), run.settings.samples, run.molecule
    acceptance = None
    seed = run.seed("samples")
    if isinstance(settings, FilesSettings):
        training, evaluations = user_training_set(settings, molecule), 0
    elif isinstance(settings, OtherRunSettings):
        training, evaluations = read_samples_of(settings, molecule)
        log.info("samples of %s, which took %s energy evaluations", settings.folder, f"{evaluations:,}")
    elif isinstance(settings, MolecularDynamicsSettings):
        ensembles, evaluations = run_molecular_dynamics(molecule, settings, run.pool, seed, _checkpoint(run))
        _write(ensembles, folder, molecule, "trajectory")
        kept = [e.positions[e.time > settings.discard] for e in ensembles]
        training = _concatenate(kept, [np.ones(len(x)) for x in kept])
    else:
        exchange = run_replica_exchange(molecule, settings, run.pool, seed, _checkpoint(run))
        ensembles, evaluations = exchange.ensembles, exchange.evaluations
        _write(ensembles, folder, molecule, "replica")
        training = _replica_training_set(ensembles, settings)
        acceptance = exchange.acceptance
        log.info("exchange acceptance %s", " ".join(f"{a:.2f}" for a in exchange.acceptance))
    training = replace(training, positions=molecule.named_alike(training.positions))
    _check_training_set(training, molecule)
    write_training_set(run, training)
    frames, effective = len(training.weights), float(training.effective_size)
    results = SamplesResult(frames, effective, settings.model_temperature, acceptance)
    return StageReport({"sampling": evaluations}, results)


def latent_samples(training: TrainingSet, coordinates: Coordinates, held_out: float) -> Samples:
    """What a denoiser learns from a training set: latent vectors, weights, and which share of them is held out."""
    x = coordinates.encode(training.positions)
    mask = held_out_blocks(training.source, held_out)
    return Samples(*(torch.from_numpy(array) for array in (x, training.weights, mask)))


def _checkpoint(run: Run) -> SamplingCheckpoint:
    """Where sampling that is interrupted goes on."""
    request = {
        "system": run.settings.system.model_dump(mode="json"),
        "samples": run.settings.samples.model_dump(mode="json"),
        "force_field": run.molecule.system_xml,
        "structures": [run.molecule.structures[state.structure].tolist() for state in run.molecule.states],
        "seed": run.base_seed,
    }
    return SamplingCheckpoint(run.path(UNFINISHED) / SAMPLES, json.dumps(request))


def user_training_set(settings: FilesSettings, molecule: MolecularSystem) -> TrainingSet:
    """Every ``stride``-th frame of the user's trajectories with its weight; every frame is checked.

    Raises
    ------
    TrajectoryError
        If a file cannot be read or holds other atoms, a frame is not finite or broken, or weights do not fit.
    ConfigError
        If a file is the training set of a run.
    """
    check_no_training_set(settings)
    trajectories = [load_user_trajectory(path, molecule) for path in settings.trajectories]
    if settings.weights is None:
        weights = [np.ones(len(trajectory)) for trajectory in trajectories]
    else:
        frames = zip(settings.weights, trajectories, strict=True)
        weights = [load_frame_weights(path, len(trajectory), settings.stride) for path, trajectory in frames]
    kept = [trajectory.xyz[:: settings.stride].astype(float) for trajectory in trajectories]
    return _concatenate(kept, [w[:: settings.stride] for w in weights])


def _replica_training_set(ensembles: Sequence[Ensemble], settings: ReplicaExchangeSettings) -> TrainingSet:
    if settings.weights == "replica":
        ensembles = [e for e in ensembles if e.temperature == settings.model_temperature]
    kept = [e.time > settings.discard for e in ensembles]
    positions = [e.positions[keep] for e, keep in zip(ensembles, kept, strict=True)]
    if settings.weights == "replica":
        return _concatenate(positions, [np.ones(len(x)) for x in positions])
    energies = [e.potential_energy[keep] for e, keep in zip(ensembles, kept, strict=True)]
    kt = [MOLAR_GAS_CONSTANT * e.temperature for e in ensembles]
    weights = ladder_weights(energies, kt, MOLAR_GAS_CONSTANT * settings.model_temperature)
    return _concatenate(positions, weights)


def _concatenate(positions: Sequence[FloatArray], weights: Sequence[FloatArray]) -> TrainingSet:
    w = np.concatenate(weights)
    source = np.repeat(np.arange(len(positions)), [len(x) for x in positions])
    return TrainingSet(np.concatenate(positions), w / w.sum(), source)


def _check_training_set(training: TrainingSet, molecule: MolecularSystem) -> None:
    visited = state_indices(molecule.states, training.positions)
    for index, state in enumerate(molecule.states):
        if not (visited == index).any():
            log.warning("no sample lies in state %s; the geodesics will say whether the samples connect", state.name)


def _write(ensembles: Sequence[Ensemble], folder: Path, molecule: MolecularSystem, kind: str) -> None:
    for index, ensemble in enumerate(ensembles):
        trajectory = molecule.trajectory(ensemble.positions, ensemble.time)
        name = SAMPLES_FILE.format(kind, index, ensemble.temperature)
        write_hdf5(folder / name, trajectory, ensemble.potential_energy)
