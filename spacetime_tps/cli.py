"""The command ``spacetime-tps``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spacetime_tps import __version__
from spacetime_tps.cli_tables import print_calibration, print_denoising_errors, print_summary, print_surface_summary
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
    (print_surface_summary if summary.get("kind") == "surface" else print_summary)(console, summary)
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
    print_calibration(console, results)
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
    print_denoising_errors(console, results)
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
