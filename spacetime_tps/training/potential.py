"""How a neural denoiser is made: a coarse mixture, a network on top of it, and training."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from spacetime_tps.denoisers import PotentialDenoiser
from spacetime_tps.denoisers.message_passing import MolecularGraph
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.denoisers.potential import build_network
from spacetime_tps.progress import log, track
from spacetime_tps.settings.denoiser import MixtureSettings, PotentialSettings
from spacetime_tps.training.mixtures import FitResult, MadeDenoiser, MixtureKind, Pool, fit_mixtures
from spacetime_tps.training.trainer import Samples, Trainer, principal_directions


def make_potential(
    samples: Samples,
    kind: MixtureKind,
    noise_space: NoiseSpace,
    settings: PotentialSettings,
    log_snr_range: tuple[float, float],
    seed: np.random.SeedSequence,
    pool: Pool,
    checkpoint: Path,
    *,
    graph: MolecularGraph | None = None,
    start: PotentialDenoiser | None = None,
) -> MadeDenoiser:
    """Fit the coarse mixture and train the network, from the checkpoint if it is there.

    Parameters
    ----------
    samples : Samples
    kind : MixtureKind
        The kind of the coarse mixture.
    noise_space : NoiseSpace
        Where noise is added.
    settings : PotentialSettings
    log_snr_range : tuple of float
        Levels of noise that are learned.
    seed : SeedSequence
    pool : Pool
        It runs the fits of the mixture.
    checkpoint : Path
        Where the state of training is kept; the file goes when training has ended.
    graph : MolecularGraph, optional
        What a message-passing network is made of; a perceptron needs none.
    start : PotentialDenoiser, optional
        Its mixture and its weights are what training starts from.

    Raises
    ------
    GeometryError
        If the samples are too few, or the checkpoint is damaged or of another training.
    """
    kept = ~samples.held_out
    x, weights = samples.x[kept], samples.weights[kept]
    mixture_seed, *seeds = seed.spawn(3)
    weight_seed, training_seed = (int(s.generate_state(1)[0]) for s in seeds)
    directions = principal_directions(x, weights)
    if start is None:
        mixture = MixtureSettings(components=(settings.components,), fits=settings.fits, shrinkage=settings.shrinkage)
        sizes = [settings.components]
        (coarse,) = fit_mixtures(kind, mixture, x.numpy(), weights.numpy(), sizes, mixture_seed, pool)
        base = noise_space.laboratory(coarse)
        constants = dict(zip(("mean", "axes", "variances"), directions, strict=True))
        if graph is not None:
            constants = {name: getattr(graph, name) for name in graph.__dataclass_fields__}
        generator = torch.Generator().manual_seed(weight_seed)
        network = build_network(settings.network, constants, log_snr_range, settings.width, settings.depth, generator)
    else:
        base, network = start.base, copy.deepcopy(start.network)
    trainer = Trainer(base, network, noise_space, samples, settings, log_snr_range, training_seed, checkpoint)
    history = trainer.fit(lambda steps: track(steps, "training", len(steps)))
    log.info("training: %s; weights of step %d are kept", history.message, history.best_step)
    single = kind.single(x.numpy(), weights.numpy())
    compared = {"potential": trainer.denoiser(), "mixture": base, "single_component": single}
    checkpoint.unlink()
    return MadeDenoiser(trainer.denoiser(), compared, samples.held_out.numpy(), FitResult(training=history))
