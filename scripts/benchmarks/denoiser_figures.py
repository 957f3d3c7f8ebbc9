"""What a denoiser makes of samples it has not seen: denoising errors, and structures that it generates beside them."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.dynamics.energies import EnergyTask, potential_energies
from spacetime_tps.generation import comparison as ensembles
from spacetime_tps.generation.flow import Diffusion, GaussianStates
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import TrainingSet
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.statistics.correlation import kish_size

PER_SQUARE_ANGSTROM = math.log(100)  # in log SNR of nm⁻²
LEVELS = range(-2, 9)  # log SNR per Å²
PIECES = 8  # of each trajectory's held-out frames: what errors are taken over
BINS = 12  # of each torsion
STEPS = {"flow": 32, "sde": 64}
MINIMISED = 20  # iterations


def denoising_errors(
    noise_space: NoiseSpace, denoiser: Denoiser, x: torch.Tensor, seed: int, repeats: int
) -> FloatArray:
    """|x − x̂|² in nm² of samples (n, dimension) at all ``LEVELS``, mean over noise, shape (levels, n).

    The noise depends on the seed alone, so that denoisers can be compared sample by sample.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for level in LEVELS:
        total = torch.zeros(len(x), dtype=torch.float64)
        for _ in range(repeats):
            log_snr = torch.full((len(x),), level + PER_SQUARE_ANGSTROM, dtype=torch.float64)
            y, target, _ = noise_space.noisy(x, log_snr, generator)
            with torch.no_grad():
                batches = zip(y.split(1024), log_snr.split(1024), strict=True)
                mean = torch.cat([denoiser.moments(*batch).mean for batch in batches])
            total += ((mean - target) ** 2).sum(1)
        rows.append((total / repeats).numpy())
    return np.array(rows)


def pieces(source: np.ndarray) -> np.ndarray:
    """Number of the piece of time, shape (frames,), that each frame of the trajectories ``source`` lies in."""
    numbers = np.empty(len(source), dtype=int)
    for index, trajectory in enumerate(np.unique(source)):
        frames = np.flatnonzero(source == trajectory)
        numbers[frames] = PIECES * index + np.arange(len(frames)) * PIECES // len(frames)
    return numbers


def ratio_of_means(
    values: FloatArray, reference: FloatArray, weights: FloatArray, groups: np.ndarray
) -> tuple[float, float]:
    """Σwa/Σwb of paired values (n,) and its standard error, by leaving out one group of frames at a time.

    The jackknife (Efron, *The Jackknife, the Bootstrap and Other Resampling Plans*, 1982): frames of one group are
    correlated, and so are the two values of one frame.
    """
    above, below = (np.bincount(groups, weights * array) for array in (values, reference))
    without = (above.sum() - above) / (below.sum() - below)
    count = len(without)
    spread = (count - 1) / count * ((without - without.mean()) ** 2).sum()
    return float(above.sum() / below.sum()), float(np.sqrt(spread))


@dataclass(frozen=True)
class Distance:
    """From generated to held-out samples, and of held-out samples from each other."""

    distance: float
    floor: float
    distance_spread: float
    floor_spread: float


@dataclass(frozen=True)
class Reweighted:
    """Generated structures of all atoms in the model's Boltzmann density."""

    structures: int
    effective: float
    log_weight_sd: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Generated:
    """Structures that a denoiser generates, beside held-out samples; or why it cannot.

    Attributes
    ----------
    distances : dict of str to Distance
        Of torsions, bonds and angles, and with all atoms of minimised energies.
    minimised : dict of str to (float, float)
        Mean and standard deviation of these energies, kJ/mol.
    """

    sampler: str
    steps: int
    structures: int = 0
    seconds: float = 0.0
    distances: dict[str, Distance] = field(default_factory=dict)
    minimised: dict[str, tuple[float, float]] = field(default_factory=dict)
    reweighted: Reweighted | None = None
    message: str | None = None


def generation(
    run: Run,
    denoiser: Denoiser,
    x: torch.Tensor,
    training: TrainingSet,
    held_out: np.ndarray,
    sampler: str,
    weighted: int,
    likelihood_steps: int,
) -> Generated:
    """Structures that a denoiser generates, beside held-out ones.

    Parameters
    ----------
    run : Run
    denoiser : Denoiser
    x : tensor, shape (samples, dimension)
    training : TrainingSet
    held_out : array of bool, shape (samples,)
    sampler : str
        One of ``STEPS``.
    weighted : int
        Number of structures that are reweighted, where all atoms are known.
    likelihood_steps : int
        Number of steps of the flow that their log-density is integrated along.
    """
    kept, weights, source = ~held_out, training.weights[held_out], training.source[held_out]
    diffusion = _diffusion(run, denoiser, x[kept], training.weights[kept], STEPS[sampler])
    generator = torch.Generator().manual_seed(int(run.seed("generation").generate_state(1)[0]))
    count = math.ceil(kish_size(weights))
    sample = diffusion.probability_flow if sampler == "flow" else diffusion.reverse_sde
    begun = time.perf_counter()
    states = sample(count, generator)
    seconds = time.perf_counter() - begun
    new = states.numpy().reshape(count, -1, 3)
    data = training.positions[held_out][:, list(run.coordinates.atoms)]
    variables = list(run.molecule.variables.values())
    bonds = ensembles.bonds(run.molecule.topology, run.coordinates.atoms)
    angles = ensembles.angles(bonds)

    def torsions(positions: FloatArray) -> FloatArray:
        return np.stack([run.coordinates.values(variable, positions) for variable in variables], axis=1)

    compared: dict[str, tuple[Any, FloatArray, FloatArray]] = {
        "torsions": (ensembles.torsion_divergence(BINS), torsions(new), torsions(data)),
        "bonds": (ensembles.scaled_wasserstein, *(ensembles.bond_lengths(p, bonds) for p in (new, data))),
        "angles": (ensembles.scaled_wasserstein, *(ensembles.bond_angles(p, angles) for p in (new, data))),
    }
    whole = len(run.coordinates.atoms) == run.molecule.topology.n_atoms
    minimised = {}
    if whole:
        mine, theirs = (energies(run, positions, MINIMISED) for positions in (new, data))
        for name, u, w in (("generated", mine, np.ones(count)), ("held_out", theirs, weights)):
            minimised[name] = (float(np.average(u, weights=w)), math.sqrt(np.cov(u, aweights=w)))
        compared["energy"] = (ensembles.scaled_wasserstein, mine[:, None], theirs[:, None])
    distances = {}
    for name, (distance, mine, theirs) in compared.items():
        found = ensembles.compare(
            distance, mine, theirs, weights, source, np.random.default_rng(run.seed("comparison"))
        )
        distances[name] = Distance(**{key: float(value.mean()) for key, value in asdict(found).items()})
    reweighted = None
    if whole and sampler == "flow":
        reweighted = reweighting(run, diffusion, states[:weighted], likelihood_steps)
    return Generated(sampler, STEPS[sampler], count, seconds, distances, minimised, reweighted)


def _diffusion(run: Run, denoiser: Denoiser, x: torch.Tensor, weights: FloatArray, steps: int) -> Diffusion:
    """Between the least and the most noise that the networks know."""
    noise_space = run.coordinates.noise_space()
    low, high = (math.log(snr) for snr in run.settings.geodesics.snr_bounds)
    start = GaussianStates.from_samples(noise_space, x, torch.from_numpy(weights))
    return Diffusion(noise_space, denoiser, start, (low, high + 2), steps)


def reweighting(run: Run, diffusion: Diffusion, states: torch.Tensor, steps: int) -> Reweighted:
    """Effective number of generated structures of all atoms, reweighted to the model's Boltzmann density."""
    begun = time.perf_counter()
    flow = Diffusion(diffusion.noise_space, diffusion.denoiser, diffusion.start, diffusion.log_snr, steps)
    log_density = flow.log_likelihood(states).numpy()
    reduced = energies(run, states.numpy().reshape(len(states), -1, 3), 0)
    reduced /= MOLAR_GAS_CONSTANT * run.settings.samples.model_temperature
    weights = ensembles.reweight(log_density, reduced)
    return Reweighted(
        len(states),
        float(kish_size(weights)),
        float(np.std(-reduced - log_density)),
        steps,
        time.perf_counter() - begun,
    )


def energies(run: Run, positions: FloatArray, iterations: int) -> FloatArray:
    """Potential energies (frames,) in kJ/mol, after some iterations of the minimiser."""
    return np.concatenate(list(run.pool.map(potential_energies, [EnergyTask(positions, iterations)])))
