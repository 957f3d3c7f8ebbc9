"""The neural denoiser of a run: its coarse mixture, its network, its training."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spacetime_tps.coordinates import CartesianCoordinates, Coordinates
from spacetime_tps.coordinates.states import FloatArray, state_indices
from spacetime_tps.denoisers import Denoiser, FreeRotations, PotentialDenoiser
from spacetime_tps.denoisers.message_passing import MolecularGraph
from spacetime_tps.denoisers.potential import build_network
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import GeometryError, TrajectoryError
from spacetime_tps.pipeline.mixtures import MIXTURES, MadeDenoiser, fit_mixtures
from spacetime_tps.pipeline.samples import TrainingSet
from spacetime_tps.progress import log, track
from spacetime_tps.runs.context import RunContext, make_frame
from spacetime_tps.settings.denoiser import MixtureSettings, PotentialSettings
from spacetime_tps.statistics.blocks import held_out_blocks
from spacetime_tps.training.trainer import Samples, Trainer, principal_directions

CHECKPOINT = "training.safetensors"
_BEYOND = 2.0  # of log SNR, above the geodesics' bound: for samples, whose last noise is small
_CUTOFF = 0.35  # nm: atoms that come so near speak to each other


def make_potential(
    run: RunContext,
    settings: PotentialSettings,
    training: TrainingSet,
    seed: np.random.SeedSequence,
    start: PotentialDenoiser | None = None,
) -> MadeDenoiser:
    """Train on a training set, from the checkpoint in the run's folder if there is one.

    Parameters
    ----------
    run : RunContext
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
    x, weights = run.coordinates.encode(training.positions), training.weights
    held_out = held_out_blocks(training.source, settings.held_out)
    if start is None and settings.pretrained is not None:
        known = load_pretrained(settings.pretrained, run.molecule, run.coordinates)
        log.info("the denoiser of %s is taken as it is", settings.pretrained)
        return MadeDenoiser(known, {"potential": known, "mixture": known.base}, held_out, {})
    mixture_seed, *seeds = seed.spawn(3)
    weight_seed, training_seed = (int(s.generate_state(1)[0]) for s in seeds)
    log_snr_range = _log_snr_range(run)
    directions = principal_directions(torch.from_numpy(x[~held_out]), torch.from_numpy(weights[~held_out]))
    if start is None:
        base = _coarse(run, settings, x[~held_out], weights[~held_out], mixture_seed)
        constants = _constants(run, settings, directions, x, weights)
        generator = torch.Generator().manual_seed(weight_seed)
        network = build_network(settings.network, constants, log_snr_range, settings.width, settings.depth, generator)
    else:
        base, network = start.base, copy.deepcopy(start.network)
    frame, checkpoint = make_frame(run.coordinates), run.output / CHECKPOINT
    samples = Samples(*(torch.from_numpy(array) for array in (x, weights, held_out)))
    trainer = Trainer(base, network, frame, samples, settings, log_snr_range, training_seed, checkpoint)
    history = trainer.fit(lambda steps: track(steps, "training", len(steps)))
    log.info("training: %s; weights of step %d are kept", history.message, history.best_step)
    single = MIXTURES[run.settings.coordinates.kind].single(x[~held_out], weights[~held_out])
    compared = {"potential": trainer.denoiser(), "mixture": base, "single_component": single}
    checkpoint.unlink()
    return MadeDenoiser(trainer.denoiser(), compared, held_out, {"training": asdict(history)})


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


def check_description(
    path: Path, denoiser: Denoiser, description: dict[str, Any], molecule: MolecularSystem, coordinates: Coordinates
) -> None:
    """Refuse a denoiser of another system or other coordinates.

    Raises
    ------
    GeometryError
    """
    atoms = np.array(coordinates.atoms).tolist()
    if description.get("atoms") != atoms or denoiser.dimension != coordinates.dimension:
        raise GeometryError(f"{path} was made for other atoms than this run's")
    if description.get("system") != molecule.name:
        raise GeometryError(f"{path} was made for {description.get('system')}, not for {molecule.name}")


def _check_states(run: RunContext, training: TrainingSet) -> None:
    visited = state_indices(run.molecule.states, training.positions)
    counts = [int((visited == index).sum()) for index in range(2)]
    if min(counts) == 0:
        names = [state.name for state in run.molecule.states]
        raise TrajectoryError(
            f"{counts[0]} samples lie in state {names[0]} and {counts[1]} in {names[1]}: a network learns nothing of a "
            "state that no sample is in; sample that state too, or for longer"
        )


def _log_snr_range(run: RunContext) -> tuple[float, float]:
    low, high = np.log(run.settings.geodesics.snr_bounds)
    return float(low), float(high + _BEYOND)


def _coarse(
    run: RunContext, settings: PotentialSettings, x: FloatArray, weights: FloatArray, seed: np.random.SeedSequence
) -> Denoiser:
    mixture = MixtureSettings(components=(settings.components,), fits=settings.fits, shrinkage=settings.shrinkage)
    (base,) = fit_mixtures(run, mixture, x, weights, [settings.components], seed)
    return FreeRotations(base) if isinstance(run.coordinates, CartesianCoordinates) else base


def _constants(
    run: RunContext,
    settings: PotentialSettings,
    directions: tuple[Tensor, Tensor, Tensor],
    x: FloatArray,
    weights: FloatArray,
) -> dict[str, Tensor]:
    """What the network is made of."""
    if settings.network == "perceptron":
        return dict(zip(("mean", "axes", "variances"), directions, strict=True))
    assert isinstance(run.coordinates, CartesianCoordinates)  # settings have seen to it
    atoms = [run.molecule.topology.atom(atom) for atom in run.coordinates.atoms]
    index = {atom.index: i for i, atom in enumerate(atoms)}
    names = sorted({(atom.residue.name, atom.name) for atom in atoms})
    kinds = torch.tensor([names.index((atom.residue.name, atom.name)) for atom in atoms])
    bonds = [
        (index[a.index], index[b.index])
        for a, b in run.molecule.topology.bonds
        if a.index in index and b.index in index
    ]
    graph = MolecularGraph.from_samples(
        torch.from_numpy(run.coordinates.basis),
        kinds,
        torch.tensor(bonds),
        torch.from_numpy(x),
        torch.from_numpy(weights),
        _CUTOFF,
    )
    return {name: getattr(graph, name) for name in graph.__dataclass_fields__}
