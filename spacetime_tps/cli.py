"""The command ``spacetime-tps``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from spacetime_tps import __version__
from spacetime_tps.errors import SpacetimeError
from spacetime_tps.progress import configure_logging
from spacetime_tps.resources import shipped_systems

app = typer.Typer(
    help="Transition paths of molecules from the spacetime geometry of diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Transition paths of molecules from the spacetime geometry of diffusion models."""


@app.command()
def systems() -> None:
    """List the shipped systems."""
    for name in shipped_systems():
        typer.echo(name)


@app.command()
def run(
    system: Annotated[str, typer.Argument(help="A shipped system, or the path of a system.yaml.")],
    output: Annotated[Path, typer.Option(help="Directory of the results.")],
    seed: Annotated[int | None, typer.Option(help="Seed of every random number; 0 by default.")] = None,
    paths: Annotated[int | None, typer.Option(help="Number of annealed paths.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings on top of the system's.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last finished stage.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the directory.")] = False,
) -> None:
    """Find how one metastable state becomes the other: samples, denoiser, geodesics, paths, reactive trajectories."""
    configure_logging()
    from spacetime_tps.pipeline import run as run_pipeline

    console = Console()
    with _errors_told(console, f"interrupted; finished stages are kept, go on with --resume (in {output})"):
        summary = run_pipeline(
            system,
            output,
            seed=seed,
            paths=paths,
            config=config,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
        )
    (_print_surface_summary if summary.get("kind") == "surface" else _print_summary)(console, summary)
    console.print(f"results in {output}", soft_wrap=True)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="Directory of a run that has its geodesics.")],
    points: Annotated[int, typer.Option(help="Noised held-out frames at which moments are compared.")] = 16,
    windows: Annotated[int, typer.Option(help="Restrained windows on the curve.")] = 24,
    curve: Annotated[str, typer.Option(help="Name of the geodesic.")] = "low_variance",
    frames: Annotated[int, typer.Option(help="Frames of each of the eight trajectories in a window.")] = 100,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number; by default that of the run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier calibration.")] = False,
) -> None:
    """Check a run's model against restrained dynamics: its moments, and the length of a geodesic."""
    configure_logging()
    from spacetime_tps.calibration_job import calibrate as run_calibration

    console = Console()
    with _errors_told(console, "interrupted; nothing was written"):
        results = run_calibration(
            run,
            points=points,
            windows=windows,
            curve=curve,
            frames=frames,
            seed=seed,
            workers=workers,
            overwrite=overwrite,
        )
    _print_calibration(console, results)
    console.print(f"results in {run / 'calibration'}", soft_wrap=True)


@app.command()
def train(
    run: Annotated[Path, typer.Argument(help="Directory of a run that has its samples.")],
    config: Annotated[Path | None, typer.Option(help="YAML file whose denoiser section says how to train.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number; by default that of the run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier denoiser.")] = False,
) -> None:
    """Train the neural denoiser on the samples of a run."""
    configure_logging()
    from spacetime_tps.training_job import FILE
    from spacetime_tps.training_job import train as run_training

    console = Console()
    with _errors_told(console, f"interrupted; go on with --resume (in {run})"):
        results = run_training(run, config=config, seed=seed, workers=workers, resume=resume, overwrite=overwrite)
    names = [name for name in results["denoising_error"][0] if name != "log_snr"]
    unit = results["unit"] and f", {results['unit']}²"
    table = Table("log SNR", *(f"{name.replace('_', ' ')}{unit}" for name in names), title="held-out denoising error")
    for row in results["denoising_error"]:
        table.add_row(f"{row['log_snr']:.2f}", *(f"{row[name]:.3e}" for name in names))
    console.print(table)
    console.print(f"{results['training']['message']}; the denoiser is in {run / FILE}", soft_wrap=True)


@contextmanager
def _errors_told(console: Console, interrupted: str) -> Iterator[None]:
    """End the command with a message, not a traceback, if an input or a stage fails or the user interrupts."""
    try:
        yield
    except SpacetimeError as error:
        console.print(f"[bold red]error:[/] {type(error).__name__}", highlight=False)
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        console.print(interrupted)
        raise typer.Exit(130) from error


def _print_summary(console: Console, summary: dict[str, dict]) -> None:  # type: ignore[type-arg]
    table = Table("curve", "hits %", "RMSD Å", "ETS kJ/mol", title="annealed paths")
    rows = {"low-variance geodesic": summary["paths"], "region-avoiding": summary["paths_region_avoiding"]}
    for name, figures in (rows | summary["baselines"]).items():
        if "rmsd_angstrom" in figures:
            rmsd, ets = figures["rmsd_angstrom"], figures["ets_kj_per_mol"]
            table.add_row(
                name.replace("_", " "),
                f"{figures['target_hit_percentage']:.0f}",
                _plus_minus(rmsd, 2),
                _plus_minus(ets, 1),
            )
    console.print(table)
    reactive = summary["reactive"]
    console.print(
        f"{reactive['reactive']} reactive trajectories from {reactive['shots']} shots; "
        f"{summary['energy_evaluations']['total']:,} energy evaluations, {summary['wall_seconds']['total']:.0f} s"
    )


def _print_surface_summary(console: Console, summary: dict[str, dict]) -> None:  # type: ignore[type-arg]
    table = Table("curve", "reached B %", "through the channel %", "MaxEnergy", title="annealed paths")
    for name, figures in ({"low-variance geodesic": summary["paths"]} | summary["baselines"]).items():
        if figures:
            channel = figures["through_channel_percentage"]
            table.add_row(
                name.replace("_", " "),
                f"{figures['reached_b_percentage']:.1f}",
                "–" if channel is None else f"{channel:.1f}",
                _plus_minus(figures["max_energy_on_segments"], 1),
            )
    console.print(table)
    console.print(
        f"{summary['energy_evaluations']['annealing']:,} energy evaluations and "
        f"{summary['energy_evaluations']['measuring']:,} between steps, {summary['wall_seconds']['total']:.0f} s"
    )


def _print_calibration(console: Console, results: dict[str, Any]) -> None:
    unit = results["unit"] and f", {results['unit']}"
    square = unit and f"{unit}²"
    columns = ("log SNR", f"means apart{unit}", f"E|x−y|² model{square}", f"dynamics{square}", "z")
    table = Table(*columns, title="noised held-out frames")
    for row in results["points"]:
        displacement, mean = "mean_square_displacement", "mean_distance"
        table.add_row(
            f"{row['log_snr']:.2f}",
            f"{row[mean]:.4f} ± {row[f'{mean}_error']:.4f}",
            f"{row[f'{displacement}_model']:.5f}",
            f"{row[f'{displacement}_md']:.5f} ± {row[f'{displacement}_md_error']:.5f}",
            f"{row[f'{displacement}_z']:.1f}",
        )
    console.print(table)
    curve = results["curve"]
    table = Table(curve["name"].replace("_", "-"), "model", "dynamics", "model / dynamics", title="curve")
    for quantity in ("length", "energy"):
        model, dynamics, error = (curve[f"{quantity}_{source}"] for source in ("model", "md", "md_error"))
        ratio = curve[f"{quantity}_ratio"]
        relative = curve[f"{quantity}_ratio_error"]
        table.add_row(quantity, f"{model:.2f}", f"{dynamics:.2f} ± {error:.2f}", f"{ratio:.3f} ± {relative:.3f}")
    console.print(table)
    console.print(f"{sum(results['evaluations'].values()):,} energy evaluations")


def _plus_minus(figure: dict[str, float | None], digits: int) -> str:
    if figure["mean"] is None:
        return "–"
    return f"{figure['mean']:.{digits}f} ± {figure['sd']:.{digits}f}"
