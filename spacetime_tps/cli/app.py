"""The command ``spacetime-tps``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from spacetime_tps import __version__
from spacetime_tps.cli.tables import (
    print_calibration,
    print_committor,
    print_denoising_errors,
    print_free_energies,
    print_path_ensemble,
    print_summary,
    print_surface_summary,
)
from spacetime_tps.errors import SpacetimeError
from spacetime_tps.interruption import Interruption, signals_interrupt
from spacetime_tps.progress import configure_logging
from spacetime_tps.settings.shipped import shipped_systems

app = typer.Typer(
    help="Transition paths of molecules from the spacetime geometry of diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

TrustScripts = Annotated[
    bool, typer.Option("--trust-scripts", help="Let scripts in force-field files run that are not OpenMM's.")
]


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
    trust_scripts: TrustScripts = False,
) -> None:
    """Find how one metastable state becomes the other: samples, denoiser, geodesics, paths, reactive trajectories."""
    configure_logging()
    from spacetime_tps.pipeline.run import run as run_pipeline

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
            trust_scripts=trust_scripts,
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
    trust_scripts: TrustScripts = False,
) -> None:
    """Check a run's model against restrained dynamics: its moments, and the length of a geodesic."""
    configure_logging()
    from spacetime_tps.calibration.job import calibrate as run_calibration

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
            trust_scripts=trust_scripts,
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
    trust_scripts: TrustScripts = False,
) -> None:
    """Train the neural denoiser on the samples of a run."""
    configure_logging()
    from spacetime_tps.pipeline.training import train as run_training
    from spacetime_tps.runs.layout import POTENTIAL

    console = Console()
    with _errors_told(console, f"interrupted; go on with --resume (in {run})"):
        results = run_training(
            run,
            config=config,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    print_denoising_errors(console, results)
    console.print(f"{results['training']['message']}; the denoiser is in {run / POTENTIAL}", soft_wrap=True)


@app.command("sample-paths")
def sample_paths(
    run: Annotated[Path, typer.Argument(help="Directory of a run that has its reactive trajectories.")],
    moves: Annotated[int, typer.Option(help="Moves of each chain, those done before included.")] = 100,
    move: Annotated[str, typer.Option(help="two_way or one_way.")] = "two_way",
    selection: Annotated[str, typer.Option(help="Of shooting points: committor or uniform.")] = "committor",
    chains: Annotated[int, typer.Option(help="Each from another reactive trajectory.")] = 8,
    keep_every: Annotated[int, typer.Option(help="Moves between stored paths.")] = 10,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number; by default that of the run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with interrupted chains, or make finished ones longer.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier ensemble.")] = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Transition path sampling: the ensemble of paths, from the run's reactive trajectories."""
    configure_logging()
    from spacetime_tps.path_ensemble.job import sample_paths as run_sampling

    console = Console()
    with _errors_told(console, f"interrupted; finished moves are kept, go on with --resume (in {run})"):
        results = run_sampling(
            run,
            moves=moves,
            move=move,
            selection=selection,
            chains=chains,
            keep_every=keep_every,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    print_path_ensemble(console, results)
    console.print(f"results in {run / 'path_ensemble'}", soft_wrap=True)


@app.command("free-energy")
def free_energy(
    run: Annotated[Path, typer.Argument(help="Directory of a run that has its geodesics.")],
    curve: Annotated[str, typer.Option(help="Name of the geodesic.")] = "low_variance",
    windows: Annotated[int, typer.Option(help="Restrained windows on the curve.")] = 48,
    frames: Annotated[int, typer.Option(help="Frames of each of the eight sweeps in a window.")] = 200,
    paths: Annotated[int, typer.Option(help="Annealed paths along the curve, each way.")] = 32,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number; by default that of the run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted one.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier free energies.")] = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Free energy of B over A by windows along a geodesic (MBAR), and by annealing there and back (BAR)."""
    configure_logging()
    from spacetime_tps.free_energy.job import free_energies

    console = Console()
    with _errors_told(console, f"interrupted; finished sweeps are kept, go on with --resume (in {run})"):
        results = free_energies(
            run,
            curve=curve,
            windows=windows,
            frames=frames,
            paths=paths,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    print_free_energies(console, results)
    console.print(f"results in {run / 'free_energy'}", soft_wrap=True)


@app.command()
def committor(
    run: Annotated[Path, typer.Argument(help="Directory of a run that has its reactive trajectories.")],
    frames: Annotated[
        str,
        typer.Option(
            help="model: frames of reactive trajectories that the run's committor model puts within the band; "
            "reactive: any of their frames between the states; or a trajectory file of yours."
        ),
    ] = "model",
    shots: Annotated[int, typer.Option(help="Of each frame.")] = 50,
    count: Annotated[
        int | None, typer.Option(help="Frames at most; by default 40 of the run's own, and all of a file.")
    ] = None,
    band: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Lowest and highest p_B of the transition states; by default committor.band of the settings."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random number; by default that of the run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one a core.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted one.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier one.")] = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Committor of frames by unbiased shots, and the transition state ensemble."""
    configure_logging()
    from spacetime_tps.committor.job import committors

    console = Console()
    with _errors_told(console, f"interrupted; finished shots are kept, go on with --resume (in {run})"):
        results = committors(
            run,
            frames=frames,
            shots=shots,
            count=count,
            band=band,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    print_committor(console, results)
    console.print(f"results in {run / 'committor'}", soft_wrap=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Directory of a run.")],
    to: Annotated[str, typer.Option(help="openpathsampling, plumed, gromacs (TRR), xtc, dcd or pdb.")],
    what: Annotated[
        str | None,
        typer.Option(
            help="reactive (by default), path_ensemble, paths, paths_region_avoiding or transition_states; for plumed "
            "also the name of a geodesic, by default low_variance."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Directory to write; by default export/TO in the run.")] = None,
    frames: Annotated[int, typer.Option(help="Reference frames for plumed.")] = 10,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Hand trajectories, or the path, to another tool."""
    configure_logging()
    from spacetime_tps.export.job import export as run_export

    console = Console()
    with _errors_told(console, "interrupted; nothing was written"):
        report = run_export(
            run, to, what=what, folder=output, frames=frames, overwrite=overwrite, trust_scripts=trust_scripts
        )
    console.print(f"{report['what']} for {to} in {report['folder']}: {report['note']}", soft_wrap=True)


@contextmanager
def _errors_told(console: Console, interrupted: str) -> Iterator[None]:
    """End the command with a message, not a traceback, if an input or a stage fails or a signal asks it to end."""
    try:
        with signals_interrupt():
            yield
    except SpacetimeError as error:
        console.print(f"[bold red]error:[/] {type(error).__name__}", highlight=False)
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        console.print(interrupted)
        raise typer.Exit(error.exit_status if isinstance(error, Interruption) else 130) from error
