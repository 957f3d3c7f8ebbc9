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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from denoiser_figures import LEVELS, STEPS, denoising_errors, generation, pieces, ratio_of_means
from two_heads import train_two_heads

from spacetime_tps import run
from spacetime_tps.calibration.job import calibrate, compare_curve
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.errors import SpacetimeError
from spacetime_tps.pipeline.annealed_paths import make_paths
from spacetime_tps.pipeline.geodesics import REPORTED, endpoints, network_constraints, save_geodesic
from spacetime_tps.pipeline.samples import TrainingSet, load_training_set
from spacetime_tps.runs.context import RunContext, make_coordinates, report_path
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.settings.files import load_settings, merge, read_yaml
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.spacetime import solve_geodesic
from spacetime_tps.statistics.blocks import held_out_blocks
from spacetime_tps.statistics.correlation import kish_size
from spacetime_tps.training.mixtures import fit_mixtures

SYSTEM = "alanine_dipeptide"
SECTIONS: dict[str, dict[str, Any]] = {
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


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    points, windows, frames : int
        Of the calibration by restrained dynamics.
    noise : int
        Draws for each held-out sample and level.
    weighted : int
        Generated structures of all atoms that are reweighted.
    likelihood_steps : int
    """

    points: int = 8
    windows: int = 24
    frames: int = 100
    noise: int = 2
    weighted: int = 32
    likelihood_steps: int = 24


EFFORT = Effort()


def section(name: str, output: Path, seed: int, override: dict[str, Any], effort: Effort = EFFORT) -> dict[str, Any]:
    """Everything about one choice of atoms.

    Parameters
    ----------
    name : str
        One of ``SECTIONS``.
    output : Path
        Where the runs are kept; those that are there already are gone on with.
    seed : int
    override : dict
        Settings on top of the section's; those of ``denoiser`` are the networks'.
    effort : Effort
    """
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    compared = COMPARED[name]
    for denoiser in compared:
        kind = DENOISERS[denoiser]
        settings = merge(SECTIONS[name] | {"denoiser": kind}, override | {"denoiser": {}})
        if kind["kind"] == "potential":
            settings["denoiser"] = kind | override.get("denoiser", {})
        configuration(folder, denoiser).write_text(yaml.safe_dump(settings))
    start(folder / "mixture", configuration(folder, "mixture"), seed)
    for denoiser in compared:
        share_samples(folder / "mixture", folder / denoiser, configuration(folder, denoiser))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        jobs = {denoiser: pool.submit(measure, denoiser, folder, seed, effort) for denoiser in compared}
        rows = {denoiser: jobs[denoiser].result() for denoiser in reversed(compared)}
    settings = load_settings(find_system(SYSTEM), configuration(folder, "mixture"))
    training = load_training_set(folder / "mixture")
    held_out = held_out_blocks(training.source, settings.denoiser.held_out)
    weights, groups = training.weights[held_out], pieces(training.source[held_out])
    errors = {denoiser: row.pop("errors") for denoiser, row in rows.items()}
    for denoiser, row in rows.items():
        row["denoising"] = [
            {"log_snr_per_square_angstrom": level, "error_nm2": float(np.average(mine, weights=weights))}
            | dict(zip(("ratio", "ratio_error"), ratio_of_means(mine, mixture, weights, groups), strict=True))
            for level, mine, mixture in zip(LEVELS, errors[denoiser], errors["mixture"], strict=True)
        ]
    return {
        "seed": seed,
        "samples": len(training.weights),
        "effective_samples": training.effective_size,
        "effective_held_out_samples": kish_size(weights),
        "effort": asdict(effort),
        "denoisers": rows,
    }


def configuration(folder: Path, denoiser: str) -> Path:
    """The settings of a denoiser's run."""
    return folder / f"{denoiser}.yaml"


def start(output: Path, config: Path, seed: int, workers: int | None = None) -> dict[str, Any]:
    """The summary of a run that is begun, or gone on with."""
    resume = (output / "config.yaml").is_file()
    return run(SYSTEM, output, config=config, seed=seed, workers=workers, resume=resume)


def share_samples(source: Path, target: Path, config: Path) -> None:
    """Begin a run with the samples of another one, whose settings differ in what comes after them."""
    if (target / "config.yaml").is_file():
        return
    of_source = read_yaml(source / "config.yaml")
    settings = load_settings(find_system(SYSTEM), config).model_dump(mode="json", exclude_none=True)
    report_path(target, "samples").parent.mkdir(parents=True)
    shutil.copytree(source / "samples", target / "samples")
    shutil.copy(report_path(source, "samples"), report_path(target, "samples"))
    content = settings | {key: of_source[key] for key in ("seed", "versions")}
    (target / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@contextmanager
def opened(output: Path, config: Path, seed: int) -> Iterator[RunContext]:
    """A run, to be asked things."""
    settings = load_settings(find_system(SYSTEM), config)
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    with WorkerPool(Engine.for_system(molecule, coordinates.atoms), 1) as pool:
        yield RunContext(settings, molecule, coordinates, output, pool, np.random.SeedSequence([seed, 0xBE]))


def measure(name: str, folder: Path, seed: int, effort: Effort) -> dict[str, Any]:
    """What is known of one denoiser; ``errors`` (levels, held-out samples) among it."""
    torch.set_num_threads(1)
    output, config = folder / name, configuration(folder, name)
    if name != "two heads":
        row = of_summary(start(output, config, seed, workers=1))
        if (output / "geodesics" / "low_variance.npz").is_file():
            sizes = {"points": effort.points, "windows": effort.windows, "frames": effort.frames}
            row["calibration"] = of_calibration(calibrate(output, **sizes, workers=1, overwrite=True)["curve"])
    with opened(output, config, seed) as context:
        training = load_training_set(output)
        held_out = held_out_blocks(training.source, context.settings.denoiser.held_out)
        x = torch.from_numpy(context.coordinates.encode(training.positions))
        if name == "two heads":
            denoiser, row = two_heads(context, x[~held_out], training, held_out, effort)
        else:
            denoiser = unseen(context, x[~held_out], training, held_out, row)
        row["errors"] = denoising_errors(context.coordinates.noise_space(), denoiser, x[held_out], seed, effort.noise)
        row["generation"] = {}
        for sampler in STEPS:
            try:
                sizes = {"weighted": effort.weighted, "likelihood_steps": effort.likelihood_steps}
                row["generation"][sampler] = generation(context, denoiser, x, training, held_out, sampler, **sizes)
            except SpacetimeError as error:
                row["generation"][sampler] = {"message": str(error)}
    return row


def unseen(
    run: RunContext, kept: torch.Tensor, training: TrainingSet, held_out: np.ndarray, row: dict[str, Any]
) -> Denoiser:
    """The run's denoiser, had it not seen the held-out samples: no network has, a mixture is fitted anew."""
    settings = run.settings.denoiser
    if isinstance(settings, PotentialSettings):
        return read_denoiser(run.output, run.molecule, run.coordinates)
    size = row["components"] // settings.fits
    used = TrainingSet(kept.numpy(), training.weights[~held_out], training.source[~held_out])
    used = used.thinned(round(settings.max_frames * (1 - settings.held_out)))
    (mixture,) = fit_mixtures(
        run.coordinates.mixture, settings, used.positions, used.weights, [size], run.seed, run.pool
    )
    return mixture


def two_heads(
    run: RunContext, kept: torch.Tensor, training: TrainingSet, held_out: np.ndarray, effort: Effort
) -> tuple[Denoiser, dict[str, Any]]:
    """Two heads trained on the samples not held out, and what their low-variance geodesic and its paths are like."""
    settings, noise_space = run.settings.geodesics, run.coordinates.noise_space()
    low, high = (math.log(snr) for snr in settings.snr_bounds)
    assert isinstance(run.settings.denoiser, PotentialSettings)
    begun = time.perf_counter()
    weights = torch.from_numpy(training.weights[~held_out])
    seed = int(run.seed.generate_state(1)[0])
    denoiser = train_two_heads(kept, weights, noise_space, (low, high + 2), run.settings.denoiser, seed)
    row: dict[str, Any] = {"training_seconds": time.perf_counter() - begun, "geodesics": {}}
    bound, shell = network_constraints(noise_space, settings)
    problems = {"unconstrained": (shell,), "low_variance": (bound, shell)}
    for name, constraints in problems.items():
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
        except SpacetimeError as error:
            row["geodesics"][name] = {"message": str(error)}
            continue
        save_geodesic(run, name, geodesic)
        row["geodesics"][name] = {key: getattr(geodesic, key) for key in REPORTED}
        if name == "low_variance":
            try:
                along, _ = compare_curve(
                    run, denoiser, training, name, effort.windows, effort.frames, run.seed.spawn(1)[0]
                )
                row["calibration"] = of_calibration(along)
            except SpacetimeError as error:
                row["calibration"] = {"message": str(error)}
    row["paths"] = make_paths(run).results.get("paths", {})
    return denoiser, row


def of_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """The main job's figures."""
    return {
        "components": summary["denoiser"].get("components"),
        "training": summary["denoiser"].get("training"),
        "training_seconds": summary["wall_seconds"]["denoiser"],
        "wall_seconds": summary["wall_seconds"]["total"],
        "evaluations": summary["energy_evaluations"]["total"],
        "geodesics": summary["geodesics"],
        "paths": summary["paths"],
        "reactive": summary["reactive"],
    }


def of_calibration(curve: dict[str, Any]) -> dict[str, Any]:
    """Lengths of a curve."""
    kinds = ("length_model", "length_md", "length_md_error", "length_ratio", "length_ratio_error")
    return {key: curve[key] for key in (*kinds, "energy_model", "energy_md", "negative_chords_model")}


def print_tables(content: dict[str, Any]) -> None:
    """Tables of a section, as Markdown."""
    rows: dict[str, dict[str, Any]] = content["denoisers"]
    _print_denoising(rows)
    _print_geodesics(rows)
    _print_main_job(rows)
    _print_generation(rows)


def _print_denoising(rows: dict[str, dict[str, Any]]) -> None:
    _header("log SNR per Å²", "mixture, Å²", *(f"{name} / mixture" for name in rows if name != "mixture"))
    for index, level in enumerate(LEVELS):
        at = {name: row["denoising"][index] for name, row in rows.items()}
        cells = [f"{level}", f"{100 * at['mixture']['error_nm2']:.4f}"]
        cells += [f"{e['ratio']:.3f} ± {e['ratio_error']:.3f}" for name, e in at.items() if name != "mixture"]
        _line(cells)


def _print_geodesics(rows: dict[str, dict[str, Any]]) -> None:
    curves = ("unconstrained", "low_variance", "region_avoiding")
    named = (f"J < 0, {curve.replace('_', ' ')} %" for curve in curves)
    _header("denoiser", "training s", *named, "feasible", "length by the model", "by dynamics", "ratio")
    for name, row in rows.items():
        found = row["geodesics"]
        cells = [name, f"{row['training_seconds']:.0f}"]
        cells += [_number(found.get(curve, {}).get("negative_chord_fraction"), 2, scale=100) for curve in curves]
        cells.append("yes" if found.get("low_variance", {}).get("feasible") else "no")
        lengths = row.get("calibration", {})
        cells += [_number(lengths.get("length_model"), 2), *_with_error(lengths, "length_md", "length_ratio")]
        _line(cells)


def _print_main_job(rows: dict[str, dict[str, Any]]) -> None:
    _header("denoiser", "hits %", "RMSD Å", "ETS kJ/mol", "reactive / shots", "evaluations", "wall s")
    for name, row in rows.items():
        paths, reactive = row["paths"], row.get("reactive", {})
        cells = [name, _number(paths.get("target_hit_percentage"), 0)]
        for figure, digits in (("rmsd_angstrom", 2), ("ets_kj_per_mol", 1)):
            mean, sd = (_number(paths.get(figure, {}).get(part), digits) for part in ("mean", "sd"))
            cells.append(f"{mean} ± {sd}")
        cells.append(f"{reactive['reactive']} / {reactive['shots']}" if reactive.get("shots") else "–")
        cells += [_number(row.get(key), 0) for key in ("evaluations", "wall_seconds")]
        _line(cells)


def _print_generation(rows: dict[str, dict[str, Any]]) -> None:
    kinds = ("torsions", "bonds", "angles", "energy")
    columns = ("JS of (φ, ψ), nats", *(f"W₁/sd of {kind}" for kind in kinds[1:]))
    _header("denoiser", "sampler", *(f"{column} (floor)" for column in columns), "effective of reweighted")
    for name, row in rows.items():
        for sampler, figures in row["generation"].items():
            if "message" in figures:
                _line([name, sampler, figures["message"]])
                continue
            cells = [name, f"{sampler}, {figures['steps']} steps"]
            for kind in kinds:
                at = figures.get(kind)
                cells.append(f"{at['distance']:.3f} ({at['floor']:.3f})" if at else "–")
            weighted = figures.get("reweighting")
            cells.append(f"{weighted['effective']:.1f} of {weighted['structures']}" if weighted else "–")
            _line(cells)


def _header(*names: str) -> None:
    print()
    _line(names)
    print("|" + "---|" * len(names))


def _line(cells: Sequence[str]) -> None:
    print("|", " | ".join(cells), "|")


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "–" if value is None else f"{scale * value:,.{digits}f}"


def _with_error(figures: dict[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        yield f"{figures[name]:.2f} ± {figures[f'{name}_error']:.2f}" if name in figures else "–"
