"""Denoisers trained on samples of two model surfaces, their geodesics judged by the exact one.

The surfaces are ``systems/c_channel`` and, with ``--reference DIR``, that of arXiv 2505.17517 (``reference_data.py``).
Samples are of a higher temperature, with weights that make them those of the surface's own: at that one hardly any lie
between the states. All denoisers learn from the same samples:

- mixture: of Gaussians by expectation maximisation, as many as the held-out likelihood asks for.
- cells: the coarse mixture that the potential stands on, one Gaussian for the weighted samples of each k-means cell.
  Where weights range over many powers of ten expectation maximisation leaves barriers to the tails of the basins.
- two heads: perceptrons for x̂ and for tr Cov[x|z], on top of one Gaussian; the gradient of nothing.
- potential: a perceptron's scalar log-density on top of the cells.

The networks have the same features, layers, batches and errors. Geodesics are solved with each denoiser, unconstrained
and of bounded variance, all within the same bounds of log SNR; their energy and largest variance by the exact denoiser,
by quadrature on the surface's grid, are set against those of the exact geodesic, the optimum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from common import Bench, Result, number, table
from reference_data import PaperSurface, paper_ends
from sklearn.cluster import KMeans
from torch import Tensor, nn

from spacetime_tps.denoisers import GridDenoiser
from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser
from spacetime_tps.denoisers.mixture_fit import fit_mixture
from spacetime_tps.denoisers.noise_space import PlainNoiseSpace
from spacetime_tps.denoisers.potential import build_network
from spacetime_tps.errors import GeometryError, SpacetimeError
from spacetime_tps.progress import log
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.spacetime import Points, VarianceBound, point, solve_geodesic
from spacetime_tps.spacetime.family import curve_divergences
from spacetime_tps.surfaces.surface import Surface
from spacetime_tps.training.trainer import Batch, Samples, Trainer, principal_directions

COMPONENTS = (10, 20, 40)  # of the mixture
RANGE = (-3.0, 5.0)  # of log SNR, for training and for geodesics
GRAPH_SAMPLES = 2000


@dataclass(frozen=True)
class Task:
    """A surface, in units of kT, the ends of its curves and how it is sampled.

    Attributes
    ----------
    energy : callable
        Of points (n, 2), shape (n,).
    axis, grid : array
        Nodes of both axes (n,) and energies on them (n, n).
    ends : (Points, Points)
    points : int
        Of a curve.
    bound : float
        Of the variance.
    heat : float
        Temperature of the samples over the surface's own.
    cells : int
    """

    name: str
    energy: Callable[[np.ndarray], np.ndarray]
    axis: np.ndarray
    grid: np.ndarray
    ends: tuple[Points, Points]
    points: int
    bound: float
    heat: float
    cells: int

    def denoiser(self, heat: float = 1.0) -> GridDenoiser:
        """The exact one, of some temperature."""
        return GridDenoiser(-self.grid / heat, [self.axis] * 2)

    def samples(self, count: int, rng: np.random.Generator) -> tuple[Samples, Tensor]:
        """Hot samples, every fifth held out, and their log-weights; they lie evenly in the cells of the grid."""
        x = self.denoiser(self.heat).sample(count, rng)
        node = np.rint((x.numpy() - self.axis[0]) / (self.axis[1] - self.axis[0])).astype(int)
        row, column = node.clip(0, len(self.axis) - 1).T
        log_weights = torch.from_numpy(self.grid[row, column] / self.heat - self.energy(x.numpy()))
        return Samples(x, torch.softmax(log_weights, 0), torch.arange(count) % 5 == 4), log_weights


def c_channel() -> Task:
    settings = load_settings(find_system("c_channel"))
    surface, bound = Surface.from_settings(settings.surface), settings.geodesics.variance_bound
    first, second = (point(state.centre, settings.geodesics.end_log_snr) for state in surface.settings.states.values())
    return Task(
        "systems/c_channel",
        surface.energy,
        surface.axes()[0],
        surface.energy_on_grid(),
        (first, second),
        96,
        bound,
        3,
        24,
    )


def paper_task(folder: Path) -> Task:
    surface = PaperSurface(folder)
    axis, grid = surface.grid()
    return Task(
        "the paper's surface", lambda x: surface.evaluate(x)[0], axis, grid, paper_ends(), 128, 0.5, heat=10, cells=150
    )


def fit_cells(x: Tensor, log_weights: Tensor, cells: int, seed: int) -> GaussianMixtureDenoiser:
    """A Gaussian for the weighted samples of each k-means cell of the unweighted ones.

    One pseudo-sample of the cell's unweighted covariance joins its effective samples.
    """
    cell = torch.from_numpy(KMeans(cells, n_init=1, random_state=seed).fit_predict(x.numpy()))
    masses, means, covariances = [], [], []
    for index in range(cells):
        mine, logs = x[cell == index], log_weights[cell == index]
        share = torch.softmax(logs, 0)
        mean, effective = share @ mine, 1 / (share**2).sum()
        scatter = (mine - mean).T @ ((mine - mean) * share[:, None])
        masses.append(torch.logsumexp(logs, 0))
        means.append(mean)
        covariances.append((effective * scatter + torch.cov(mine.T, correction=0)) / (effective + 1))
    return GaussianMixtureDenoiser(torch.softmax(torch.stack(masses), 0), torch.stack(means), torch.stack(covariances))


class TwoHeads(nn.Module):
    """Corrections of a Gaussian's posterior mean and variance by networks that know nothing of each other.

    Parameters
    ----------
    make : callable
        A new network of one output; its argument is a seed.
    variances : tensor, shape (dimension,)
        Of the samples.
    """

    def __init__(self, make: Callable[[int], nn.Module], variances: Tensor) -> None:
        super().__init__()
        self.heads = nn.ModuleList(make(seed) for seed in range(len(variances) + 1))
        self.register_buffer("variance", variances.mean())

    def moments(self, base: Moments, y: Tensor, log_snr: Tensor) -> Moments:
        """Of p(x|z), from those of the Gaussian at y (B, dimension) and log SNR (B,)."""
        *shift, scale = (head(y, log_snr) for head in self.heads)
        width = (self.variance / (1 + self.variance * log_snr.exp())).sqrt()
        return Moments(base.mean + width[:, None] * torch.stack(shift, dim=1), base.variance * scale.exp())


@dataclass(frozen=True)
class TwoHeadDenoiser:
    """See :class:`Denoiser`; it knows no log-normalizer."""

    base: Denoiser
    network: TwoHeads
    log_snr_range: tuple[float, float] = RANGE
    dimension: int = 2

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """See :class:`Denoiser`."""
        return self.network.moments(self.base.moments(y, log_snr), y, log_snr)

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """See :class:`Denoiser`."""
        raise GeometryError("two heads know no log-normalizer: they are the gradient of nothing")


class TwoHeadTrainer(Trainer):
    """Trains two heads with the errors of a potential."""

    def _loss(self, batch: Batch) -> Tensor:
        precision = self._precision(batch.log_snr).to(torch.float32)
        batch = batch.to(self.device)
        moments = self.network.moments(batch.base, batch.y, batch.log_snr)
        return ((batch.errors(moments, self.axes.to(precision)) * precision) ** 2).mean()

    def denoiser(self) -> TwoHeadDenoiser:
        """The denoiser that has been trained."""
        return TwoHeadDenoiser(self.base, self.network)


def train(
    task: Task, samples: Samples, log_weights: Tensor, settings: PotentialSettings, seed: int
) -> dict[str, tuple[Denoiser, float]]:
    """Denoisers by name, and the seconds that each took; those of the potential include its cells'."""
    kept = ~samples.held_out
    x, weights = samples.x[kept], samples.weights[kept]

    mean, axes, variances = principal_directions(x, weights)
    constants = {"mean": mean, "axes": axes, "variances": variances}

    def network(index: int) -> nn.Module:
        generator = torch.Generator().manual_seed(seed + index)
        return build_network("perceptron", constants, RANGE, settings.width, settings.depth, generator)

    def mixture() -> Denoiser:
        fits = [fit_mixture(x.numpy(), size, weights=weights.numpy(), seed=seed)[0] for size in COMPONENTS]
        test, share = samples.x[samples.held_out], samples.weights[samples.held_out]
        return max(fits, key=lambda fit: float(share @ fit.log_density(test)))

    def cells() -> Denoiser:
        return fit_cells(x, log_weights[kept], task.cells, seed)

    def two_heads() -> Denoiser:
        base, heads = GaussianMixtureDenoiser.wiener(x, weights), TwoHeads(network, variances)
        plain = settings.model_copy(update={"chord_weight": 0.0})
        trainer = TwoHeadTrainer(base, heads, PlainNoiseSpace(2), samples, plain, RANGE, seed)
        trainer.fit()
        return trainer.denoiser()

    def potential() -> Denoiser:
        trainer = Trainer(cells(), network(0), PlainNoiseSpace(2), samples, settings, RANGE, seed)
        trainer.fit()
        return trainer.denoiser()

    made: dict[str, tuple[Denoiser, float]] = {}
    makers = {"mixture": mixture, "cells": cells, "two heads": two_heads, "potential": potential}
    for name, make in makers.items():
        started = time.perf_counter()
        denoiser = make()
        made[name] = denoiser, time.perf_counter() - started
    return made


@dataclass(frozen=True)
class Row:
    """A geodesic of one denoiser, by its own account and by the exact denoiser; or why there is none."""

    geodesic: str
    denoiser: str
    training_seconds: float
    own_energy: float | None = None
    exact_energy: float | None = None
    over_optimum: float | None = None
    exact_max_variance: float | None = None
    over_bound: float | None = None
    negative_chords: float | None = None
    converged: bool | None = None
    feasible: bool | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Measured:
    """A row for each denoiser and constraint on one surface."""

    surface: str
    heat: float
    effective: float
    bound: float
    rows: list[Row]


@dataclass(frozen=True)
class Surfaces:
    """Denoisers judged by the exact one, as :class:`Section`.

    Attributes
    ----------
    samples : int
        Number on each surface.
    steps, width, depth : int
        Of the training and of the networks' layers.
    """

    name: ClassVar[str] = "surfaces"
    cost: ClassVar[str] = "20 minutes"
    every_seed: ClassVar[bool] = False
    samples: int = 20_000
    steps: int = 1000
    width: int = 64
    depth: int = 3

    def measure(self, bench: Bench, seed: int) -> Result[Measured]:
        """The shipped surface, and the paper's where there is its data."""
        tasks = [c_channel()]
        if bench.reference:
            tasks.append(paper_task(bench.reference))
        else:
            log.info("the paper's surface is left out; give its data by --reference")
        return Result(seed, 0, [self._surface(task, seed) for task in tasks])

    def _surface(self, task: Task, seed: int) -> Measured:
        samples, log_weights = task.samples(self.samples, np.random.default_rng(seed))
        settings = PotentialSettings(
            kind="potential",
            network="perceptron",
            width=self.width,
            depth=self.depth,
            steps=self.steps,
            batch=96,
            learning_rate=4e-3,
            validation_interval=100,
        )
        exact = task.denoiser()
        denoisers = {"exact": (exact, 0.0), **train(task, samples, log_weights, settings, seed)}
        rows: list[Row] = []
        for kind, constraints in (("unconstrained", ()), ("variance-bounded", (VarianceBound(task.bound),))):
            optimum = None
            for name, (denoiser, seconds) in denoisers.items():
                try:
                    found = solve_geodesic(
                        denoiser,
                        *task.ends,
                        constraints,
                        samples=samples.x[:GRAPH_SAMPLES],
                        points=task.points,
                        channels=1,
                        log_snr_bounds=RANGE,
                    )
                    with torch.no_grad():
                        moments = exact.moments(found.points.y, found.points.log_snr)
                except SpacetimeError as error:
                    rows.append(Row(kind, name, seconds, failure=str(error)))
                    continue
                energy = 0.5 * (task.points - 1) * float(curve_divergences(found.points, moments).sum())
                optimum = energy if name == "exact" else optimum
                variance = float(moments.variance.max())
                rows.append(
                    Row(
                        geodesic=kind,
                        denoiser=name,
                        training_seconds=seconds,
                        own_energy=found.energy,
                        exact_energy=energy,
                        over_optimum=None if optimum is None else energy / optimum,
                        exact_max_variance=variance,
                        over_bound=variance / task.bound if constraints else None,
                        negative_chords=found.negative_chord_fraction,
                        converged=found.converged,
                        feasible=found.feasible,
                    )
                )
        return Measured(task.name, task.heat, float(1 / (samples.weights**2).sum()), task.bound, rows)

    def tables(self, results: Sequence[Result[Measured]]) -> list[str]:
        """A table for each surface."""
        columns = ("geodesic", "denoiser", "own energy", "exact energy", "/ optimum", "exact variance", "/ bound")
        blocks = []
        for measured in (measured for result in results for measured in result.rows):
            blocks.append(
                f"**{measured.surface}**: {number(self.samples)} samples at {measured.heat:g} times its temperature, "
                f"{number(measured.effective)} effective at its own; variance bound {measured.bound:g}"
            )
            rows = [
                [
                    *(
                        row.geodesic,
                        row.denoiser,
                        row.failure or number(row.own_energy, 2),
                        number(row.exact_energy, 2),
                    ),
                    *(number(row.over_optimum, 3), number(row.exact_max_variance, 3), number(row.over_bound, 3)),
                    number(None if row.negative_chords is None else 100 * row.negative_chords, 2),
                    number(row.training_seconds),
                ]
                for row in measured.rows
            ]
            blocks.append(table((*columns, "J < 0 %", "s"), rows))
        return blocks
