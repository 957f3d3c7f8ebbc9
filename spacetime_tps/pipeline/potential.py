"""The neural denoiser of a run: what the network knows of the molecule, where it learns, and what it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spacetime_tps.coordinates import Coordinates
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.denoisers import PotentialDenoiser
from spacetime_tps.denoisers.message_passing import MolecularGraph
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.pipeline.samples import latent_samples
from spacetime_tps.progress import log
from spacetime_tps.runs.denoiser import check_description
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import TRAINING_CHECKPOINT
from spacetime_tps.runs.read import TrainingSet
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.training.mixtures import FitResult, MadeDenoiser
from spacetime_tps.training.potential import make_potential
from spacetime_tps.training.trainer import Samples


def train_potential(
    run: Run,
    settings: PotentialSettings,
    training: TrainingSet,
    seed: np.random.SeedSequence,
    start: PotentialDenoiser | None = None,
) -> MadeDenoiser:
    """Train on a training set, from the checkpoint in the run's folder if there is one.

    Parameters
    ----------
    run : Run
    settings : PotentialSettings
    training : TrainingSet
    seed : SeedSequence
    start : PotentialDenoiser, optional
        Its mixture and its weights are what training starts from.

    Raises
    ------
    TrajectoryError
        If all samples are in one state.
    GeometryError
        If the samples are too few, or the checkpoint is damaged or of another training.
    """
    _check_states(run, training)
    samples = latent_samples(training, run.coordinates, settings.held_out)
    if start is None and settings.pretrained is not None:
        known = load_pretrained(settings.pretrained, run.molecule, run.coordinates)
        log.info("the denoiser of %s is taken as it is", settings.pretrained)
        return MadeDenoiser(known, {"potential": known, "mixture": known.base}, samples.held_out.numpy(), FitResult())
    low, high = np.log(run.settings.geodesics.snr_bounds)
    return make_potential(
        samples,
        run.coordinates.mixture,
        run.coordinates.noise_space(),
        settings,
        (float(low), float(high + settings.log_snr_margin)),
        seed,
        run.pool,
        run.path(TRAINING_CHECKPOINT),
        graph=_graph(run, samples, settings.cutoff) if settings.network == "message_passing" else None,
        start=start,
    )


def load_pretrained(path: Path, molecule: MolecularSystem, coordinates: Coordinates) -> PotentialDenoiser:
    """A denoiser that has been trained before.

    Raises
    ------
    GeometryError
        If the file cannot be read, or is of another system or other atoms.
    """
    denoiser, description = PotentialDenoiser.load(path)
    check_description(path, denoiser, description, molecule, coordinates)
    return denoiser


def _check_states(run: Run, training: TrainingSet) -> None:
    visited = state_indices(run.molecule.states, training.positions)
    counts = [int((visited == index).sum()) for index in range(2)]
    if min(counts) == 0:
        names = [state.name for state in run.molecule.states]
        raise TrajectoryError(
            f"{counts[0]} samples lie in state {names[0]} and {counts[1]} in {names[1]}: a network learns nothing of a "
            "state that no sample is in; sample that state too, or for longer"
        )


def _graph(run: Run, samples: Samples, cutoff: float) -> MolecularGraph:
    """What a message-passing network knows of the molecule: kinds of atoms, bonds, and who comes near."""
    chosen = run.coordinates.positioned
    assert chosen is not None  # settings have seen to it
    atoms = [run.molecule.topology.atom(atom) for atom in chosen]
    index = {atom.index: i for i, atom in enumerate(atoms)}
    names = sorted({(atom.residue.name, atom.name) for atom in atoms})
    kinds = torch.tensor([names.index((atom.residue.name, atom.name)) for atom in atoms])
    bonds = [
        (index[a.index], index[b.index])
        for a, b in run.molecule.topology.bonds
        if a.index in index and b.index in index
    ]
    axes = run.coordinates.decode(np.eye(run.coordinates.dimension))  # (dimension, atoms, 3), orthonormal
    basis = torch.from_numpy(axes.reshape(len(axes), -1).T.copy())
    return MolecularGraph.from_samples(basis, kinds, torch.tensor(bonds), samples.x, samples.weights, cutoff)
