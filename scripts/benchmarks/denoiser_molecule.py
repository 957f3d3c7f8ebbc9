"""Denoisers of alanine dipeptide side by side, on equal samples: its 10 heavy atoms, or all 22.

The main job runs with a mixture on replica-exchange samples, all temperatures with MBAR weights; then with the other
denoisers on the same samples. Two heads, the plain network that is the gradient of nothing, only solve and run paths.

- denoising error: E|x − x̂|² of held-out blocks of time over the mixture's, noise in the laboratory; none of the models
  has seen these blocks (a mixture of the size that the run has chosen is fitted anew to the others).
- chords, length: of the run's geodesics; the low-variance one's length by windows of restrained dynamics.
- main job: the figures of ``summary.json``; the mixture's run has two cores, the others one each, two at a time.
- generation: Jensen–Shannon divergence of (φ, ψ), distances of bonds and angles, from held-out blocks, beside those of
  the blocks from each other; with all atoms energies too, and the effective number of reweighted samples.
"""

from __future__ import annotations

import math
import multiprocessing
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from common import SYSTEM, Bench, Result, begun, number, start, table, yes_no
from denoiser_figures import LEVELS, STEPS, Generated, denoising_errors, generation, pieces, ratio_of_means
from two_heads import train_two_heads

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.job import calibrate, measure_curve
from spacetime_tps.calibration.results import CurveComparison
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.errors import GeometryError, SpacetimeError
from spacetime_tps.pipeline.annealed_paths import make_paths
from spacetime_tps.pipeline.geodesics import endpoints, network_constraints, save_geodesic
from spacetime_tps.pipeline.stage_results import PathFigures, ReactiveResult
from spacetime_tps.pipeline.summary import read_summary
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import BEGINNING, SAMPLES
from spacetime_tps.runs.read import TrainingSet, geodesic_names, read_training_set
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.settings.files import load_settings, merge
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.spacetime import solve_geodesic
from spacetime_tps.spacetime.figures import GeodesicFigures
from spacetime_tps.statistics.blocks import held_out_blocks
from spacetime_tps.statistics.correlation import kish_size
from spacetime_tps.threads import one_thread
from spacetime_tps.training.mixtures import fit_mixtures

CHOICES: dict[str, dict[str, Any]] = {
    "heavy": {"coordinates": {"atoms": "element != H"}, "samples": {"weights": "mbar"}},
    "all": {
        "coordinates": {"atoms": "all"},
        "samples": {"weights": "mbar"},
        # in each of 60 coordinates somewhat more than in the heavy atoms' 24, for stiff restraints heat the hydrogens
        "geodesics": {"end_snr": "3000 nm**-2", "variance_bound": "0.014 nm**2"},
    },
}
DENOISERS: dict[str, dict[str, Any]] = {  # the slowest first
    "message passing": {"kind": "potential", "network": "message_passing"},
    "perceptron": {"kind": "potential", "network": "perceptron"},
    "two heads": {"kind": "potential", "network": "perceptron"},  # of that size
    "mixture": {"kind": "mixture"},
}
COMPARED = {"heavy": tuple(DENOISERS), "all": ("perceptron", "mixture")}  # there message passing is too slow to ask
CURVES = ("unconstrained", "low_variance", "region_avoiding")


@dataclass(frozen=True)
class Lengths:
    """Length of a curve by the model and by windows of restrained dynamics."""

    model: float
    dynamics: float
    dynamics_error: float
    ratio: float
    ratio_error: float
    evaluations: int


@dataclass(frozen=True)
class Denoised:
    """Denoising error at a log SNR per Å², in nm², and over the mixture's."""

    level: int
    error: float
    ratio: float
    ratio_error: float


@dataclass(frozen=True)
class Row:
    """What is known of one denoiser; of two heads there is no whole run.

    Attributes
    ----------
    geodesics : dict of str to GeodesicFigures
    paths : PathFigures, optional
    reactive : ReactiveResult, optional
    lengths : Lengths, optional
    message : str, optional
        Why there are no lengths.
    """

    name: str
    training_seconds: float
    geodesics: dict[str, GeodesicFigures]
    paths: PathFigures | None
    reactive: ReactiveResult | None = None
    components: int | None = None
    wall_seconds: float | None = None
    evaluations: int = 0
    sampling: int = 0
    lengths: Lengths | None = None
    message: str | None = None
    generated: tuple[Generated, ...] = ()
    denoised: tuple[Denoised, ...] = ()


@dataclass(frozen=True)
class MoleculeResult(Result[Row]):
    """Denoisers on equal samples, and how many these are."""

    rows: list[Row]
    samples: int
    effective: float
    effective_held_out: float


@dataclass(frozen=True)
class Calibration:
    """How long windows of restrained dynamics along a geodesic are: points of moments, windows, frames of each."""

    points: int = 8
    windows: int = 24
    frames: int = 100

    def lengths(self, run: Path, workers: int | None = None) -> Lengths | None:
        """Of the low-variance geodesic of a run, if it has one."""
        if "low_variance" not in geodesic_names(Run.open(run)):
            return None
        sizes = {"points": self.points, "windows": self.windows, "frames": self.frames}
        found = calibrate(run, **sizes, workers=workers, overwrite=True)
        return lengths(found.curve, sum(found.evaluations.values()))


def lengths(curve: CurveComparison, evaluations: int) -> Lengths:
    """Those that the calibration reports."""
    length = curve.length
    return Lengths(length.model, length.md, length.md_error, length.ratio, length.ratio_error, evaluations)


def evaluations_of(rows: Sequence[Any]) -> int:
    """Energy evaluations of runs that share their samples, and of their calibrations."""
    own = sum(row.evaluations - row.sampling + (row.lengths.evaluations if row.lengths else 0) for row in rows)
    return int(own + max(row.sampling for row in rows))


@dataclass(frozen=True)
class Molecule:
    """Denoisers of a choice of atoms, as :class:`Section`.

    Attributes
    ----------
    name : str
        One of ``CHOICES``.
    cost : str
    calibration : Calibration
    noise : int
        Number of draws for each held-out sample and level.
    weighted : int
        Number of generated structures of all atoms that are reweighted.
    likelihood_steps : int
    """

    every_seed: ClassVar[bool] = False
    name: str
    cost: str
    calibration: Calibration = field(default_factory=Calibration)
    noise: int = 2
    weighted: int = 32
    likelihood_steps: int = 24

    def measure(self, bench: Bench, seed: int) -> MoleculeResult:
        """With runs of its own; settings of ``denoiser`` on top of the molecule's are the networks'."""
        folder, compared = bench.folder(f"{self.name}_{seed}"), COMPARED[self.name]
        for denoiser in compared:
            kind = DENOISERS[denoiser]
            settings = merge(CHOICES[self.name], bench.settings) | {"denoiser": kind}
            if kind["kind"] == "potential":
                settings["denoiser"] = kind | bench.settings.get("denoiser", {})
            configuration(folder, denoiser).write_text(yaml.safe_dump(settings))
        start(folder / "mixture", configuration(folder, "mixture"), seed)
        for denoiser in compared:
            share_samples(folder / "mixture", folder / denoiser, configuration(folder, denoiser))
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            jobs = {denoiser: pool.submit(self.row, denoiser, folder, seed) for denoiser in compared}
            measured = {denoiser: jobs[denoiser].result() for denoiser in reversed(compared)}
        settings = load_settings(find_system(SYSTEM), configuration(folder, "mixture"))
        training = read_training_set(Run.open(folder / "mixture", "samples"))
        held_out = held_out_blocks(training.source, settings.denoiser.held_out)
        weights, groups = training.weights[held_out], pieces(training.source[held_out])
        _, of_mixture = measured["mixture"]
        rows = []
        for row, errors in measured.values():
            denoised = tuple(
                Denoised(
                    level, float(np.average(mine, weights=weights)), *ratio_of_means(mine, theirs, weights, groups)
                )
                for level, mine, theirs in zip(LEVELS, errors, of_mixture, strict=True)
            )
            rows.append(replace(row, denoised=denoised))
        return MoleculeResult(
            seed,
            evaluations_of(rows),
            rows,
            len(training.weights),
            float(training.effective_size),
            float(kish_size(weights)),
        )

    def row(self, name: str, folder: Path, seed: int) -> tuple[Row, FloatArray]:
        """What is known of one denoiser, and its denoising errors (levels, held-out samples)."""
        output, config = folder / name, configuration(folder, name)
        if name != "two heads":
            start(output, config, seed, workers=1)
            row = replace(_of_run(name, output), lengths=self.calibration.lengths(output, workers=1))
        run = Run.open(output, "samples")
        with one_thread(), run.workers(1):
            training = read_training_set(run)
            held_out = held_out_blocks(training.source, run.settings.denoiser.held_out)
            x = torch.from_numpy(run.coordinates.encode(training.positions))
            if name == "two heads":
                denoiser, row = self._two_heads(run, x[~held_out], training, held_out)
            else:
                denoiser = _unseen(run, x[~held_out], training, held_out, row)
            errors = denoising_errors(run.coordinates.noise_space(), denoiser, x[held_out], seed, self.noise)
            generated = []
            for sampler, steps in STEPS.items():
                sizes = {"weighted": self.weighted, "likelihood_steps": self.likelihood_steps}
                try:
                    generated.append(generation(run, denoiser, x, training, held_out, sampler, **sizes))
                except SpacetimeError as error:
                    generated.append(Generated(sampler, steps, message=str(error)))
        return replace(row, generated=tuple(generated)), errors

    def _two_heads(
        self, run: Run, kept: torch.Tensor, training: TrainingSet, held_out: np.ndarray
    ) -> tuple[Denoiser, Row]:
        """Two heads trained on the samples not held out, and what their geodesics and paths are like."""
        settings, noise_space = run.settings.geodesics, run.coordinates.noise_space()
        low, high = (math.log(snr) for snr in settings.snr_bounds)
        assert isinstance(run.settings.denoiser, PotentialSettings)
        begun_at = time.perf_counter()
        weights = torch.from_numpy(training.weights[~held_out])
        seed = int(run.seed("two heads").generate_state(1)[0])
        denoiser = train_two_heads(kept, weights, noise_space, (low, high + 2), run.settings.denoiser, seed)
        seconds = time.perf_counter() - begun_at
        geodesics: dict[str, GeodesicFigures] = {}
        found, message = None, None
        bound, shell = network_constraints(noise_space, settings)
        for name, constraints in {"unconstrained": (shell,), "low_variance": (bound, shell)}.items():
            try:
                geodesic = solve_geodesic(
                    denoiser,
                    *endpoints(run),
                    constraints,
                    samples=kept,
                    points=settings.points,
                    knots=settings.knots,
                    log_snr_bounds=(low, high),
                    graph_levels=settings.graph_levels,
                    graph_samples=settings.graph_samples,
                    channels=1,
                )
            except GeometryError as error:
                geodesics[name] = GeodesicFigures.of_failure(error)
                continue
            save_geodesic(run, name, geodesic)
            geodesics[name] = GeodesicFigures.of(geodesic)
        run.finish("geodesics", begun_at)
        if "low_variance" in geodesic_names(run):
            sizes = (self.calibration.windows, self.calibration.frames)
            try:
                found = lengths(*measure_curve(run, denoiser, training, "low_variance", *sizes))
            except SpacetimeError as error:
                message = str(error)
        report = make_paths(run)
        evaluations = sum(report.evaluations.values())
        paths = report.results.paths
        return denoiser, Row(
            "two heads", seconds, geodesics, paths, evaluations=evaluations, lengths=found, message=message
        )

    def tables(self, results: Sequence[MoleculeResult]) -> list[str]:
        """Denoising errors, geodesics, main job and generated structures of each seed."""
        return [block for result in results for block in _tables(result.rows)]


def configuration(folder: Path, denoiser: str) -> Path:
    """The settings of a denoiser's run."""
    return folder / f"{denoiser}.yaml"


def share_samples(source: Path, target: Path, config: Path) -> None:
    """Begin a run with the samples of another one, whose settings differ in what comes after them."""
    known = Run.open(source, "samples")
    settings = load_settings(find_system(SYSTEM), config)
    with begun(target, settings, known.base_seed) as run:
        if run.is_finished("samples"):
            return
        shutil.copytree(known.path(SAMPLES), run.path(SAMPLES), dirs_exist_ok=True)
        report = known.report("samples")
        run.finish("samples", time.perf_counter(), report.evaluations, report.results, [BEGINNING])


def _of_run(name: str, output: Path) -> Row:
    summary = read_summary(Run.open(output))
    return Row(
        name,
        summary.wall_seconds["denoiser"],
        summary.geodesics.geodesics,
        summary.paths.paths,
        summary.reactive,
        summary.denoiser.components,
        summary.total_seconds,
        summary.total_evaluations,
        summary.energy_evaluations["sampling"],
    )


def _unseen(run: Run, kept: torch.Tensor, training: TrainingSet, held_out: np.ndarray, row: Row) -> Denoiser:
    """The run's denoiser, had it not seen the held-out samples: no network has, a mixture is fitted anew."""
    settings = run.settings.denoiser
    if isinstance(settings, PotentialSettings):
        return read_denoiser(run)
    assert row.components is not None
    used = TrainingSet(kept.numpy(), training.weights[~held_out], training.source[~held_out])
    used = used.thinned(round(settings.max_frames * (1 - settings.held_out)))
    size = row.components // settings.fits
    (mixture,) = fit_mixtures(
        run.coordinates.mixture, settings, used.positions, used.weights, [size], run.seed("unseen"), run.pool
    )
    return mixture


def _tables(rows: Sequence[Row]) -> list[str]:
    networks = [row for row in rows if row.name != "mixture"]
    (mixture,) = (row for row in rows if row.name == "mixture")
    denoising = [
        [
            at.level,
            number(100 * at.error, 4),
            *(number(row.denoised[i].ratio, 3, row.denoised[i].ratio_error) for row in networks),
        ]
        for i, at in enumerate(mixture.denoised)
    ]
    kinds = ("torsions", "bonds", "angles", "energy")
    columns = ("JS of (φ, ψ), nats (floor)", *(f"W₁/sd of {kind} (floor)" for kind in kinds[1:]))
    return [
        table(("log SNR per Å²", "mixture, Å²", *(f"{row.name} / mixture" for row in networks)), denoising),
        table(
            (
                *("denoiser", "training s", *(f"J < 0, {curve.replace('_', ' ')} %" for curve in CURVES)),
                *("feasible", "length by the model", "by dynamics", "ratio"),
            ),
            map(_geodesics, rows),
        ),
        table(
            ("denoiser", "hits %", "RMSD Å", "ETS kJ/mol", "reactive / shots", "evaluations", "wall s"),
            map(_main_job, rows),
        ),
        table(
            ("denoiser", "sampler", *columns, "effective of reweighted"),
            [[row.name, *_generated(made, kinds)] for row in rows for made in row.generated],
        ),
    ]


def _geodesics(row: Row) -> list[str]:
    found = [row.geodesics.get(curve) for curve in CURVES]
    negative = [None if of is None else of.negative_chord_fraction for of in found]
    low_variance = row.geodesics.get("low_variance")
    return [
        *(row.name, number(row.training_seconds), *(number(None if n is None else 100 * n, 2) for n in negative)),
        yes_no(low_variance is not None and low_variance.feasible),
        *length_cells(row.lengths),
    ]


def length_cells(found: Lengths | None) -> list[str]:
    """Three cells of a table."""
    if found is None:
        return ["–"] * 3
    return [
        number(found.model, 2),
        number(found.dynamics, 2, found.dynamics_error),
        number(found.ratio, 2, found.ratio_error),
    ]


def _main_job(row: Row) -> list[str]:
    paths, reactive = row.paths, row.reactive
    if paths is None:
        figures = ["–"] * 3
    else:
        rmsd, highest = paths.rmsd_angstrom, paths.ets_kj_per_mol
        figures = [
            number(paths.target_hit_percentage),
            number(rmsd.mean, 2, rmsd.sd),
            number(highest.mean, 1, highest.sd),
        ]
    return [
        *(row.name, *figures),
        *(f"{reactive.reactive} / {reactive.shots}" if reactive and reactive.shots else "–", number(row.evaluations)),
        number(row.wall_seconds),
    ]


def _generated(made: Generated, kinds: Sequence[str]) -> list[str]:
    if made.message is not None:
        return [made.sampler, made.message, *["–"] * 4]
    found = [made.distances.get(kind) for kind in kinds]
    weighted = made.reweighted
    return [
        f"{made.sampler}, {made.steps} steps",
        *("–" if at is None else f"{at.distance:.3f} ({at.floor:.3f})" for at in found),
        "–" if weighted is None else f"{weighted.effective:.1f} of {weighted.structures}",
    ]
