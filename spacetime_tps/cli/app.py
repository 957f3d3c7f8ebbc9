"""The command ``spacetime-tps``: options, settings and folders are checked before anything large is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spacetime_tps import __version__
from spacetime_tps.cli.messages import (
    INTERRUPTED,
    NO_REACTIVE,
    REFUSED,
    make_console,
    refused,
    replace_unknown_characters,
    say,
)
from spacetime_tps.cli.options import (
    Band,
    Config,
    Curve,
    Frames,
    Overwrite,
    Resume,
    Run,
    Seed,
    TrustScripts,
    Windows,
    Workers,
    at_least,
    one_of,
)

app = typer.Typer(
    help="Transition paths of molecules from the spacetime geometry of diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
    epilog=f"Exit status: 0 all is well; {REFUSED} an input was refused or a stage failed; 2 the command line cannot "
    f"be read; {NO_REACTIVE} the run has found no reactive trajectory; {INTERRUPTED} interrupted.",
)


def main() -> None:
    """Run the command."""
    replace_unknown_characters()
    app()


def _print_version(asked: bool) -> None:
    if asked:
        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Transition paths of molecules from the spacetime geometry of diffusion models."""


@app.command()
def systems() -> None:
    """List the shipped systems."""
    from spacetime_tps.settings.shipped import shipped_systems

    for name in shipped_systems():
        say(name)


@app.command()
def run(
    system: Annotated[str, typer.Argument(help="A shipped system, or the path of a system.yaml.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    seed: Seed = None,
    paths: Annotated[
        int | None,
        typer.Option(help="Number of annealed paths. By default paths.count of the settings.", callback=at_least(1)),
    ] = None,
    config: Config = None,
    samples_of: Annotated[
        Path | None, typer.Option(help="Folder of a run whose samples are taken, with their weights and temperature.")
    ] = None,
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Find how one metastable state becomes the other.

    The stages are samples, denoiser, geodesics, annealed paths, and unbiased reactive trajectories.
    """
    with refused(f"interrupted; finished stages are kept, go on with --resume (in {output})"):
        from spacetime_tps.runs.beginning import check_output
        from spacetime_tps.settings.files import load_settings
        from spacetime_tps.settings.run import RunSettings
        from spacetime_tps.settings.shipped import find_system

        settings = load_settings(find_system(system), config)
        check_output(output, resume, overwrite)
        _start_logging()
        from spacetime_tps.pipeline.run import run as run_pipeline

        summary = run_pipeline(
            system,
            output,
            seed=seed,
            paths=paths,
            config=config,
            samples_of=samples_of,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    from spacetime_tps.cli.tables import print_summary, print_surface_summary
    from spacetime_tps.surfaces.job import SurfaceSummary

    if isinstance(summary, SurfaceSummary):
        print_surface_summary(make_console(), summary)
    else:
        print_summary(make_console(), summary)
    say(f"results in {output}")
    if isinstance(summary, SurfaceSummary) or summary.reactive.reactive:
        return
    if isinstance(settings, RunSettings) and settings.shooting.reactive:
        from spacetime_tps.cli.advice import advise

        say(advise(summary))
        raise typer.Exit(NO_REACTIVE)


@app.command()
def train(
    run: Run,
    config: Config = None,
    seed: Seed = None,
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Train the neural denoiser on the samples of a run."""
    with refused(f"interrupted; go on with --resume (in {run})"):
        _check_job(run, "train", config, resume, overwrite)
        from spacetime_tps.pipeline.training import train as train_denoiser

        results = train_denoiser(
            run,
            config=config,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    from spacetime_tps.cli.tables import print_denoising_errors
    from spacetime_tps.runs.layout import POTENTIAL

    print_denoising_errors(make_console(), results)
    say(f"{results.training.message}; the denoiser is in {run / POTENTIAL}")


@app.command()
def calibrate(
    run: Run,
    points: Annotated[
        int, typer.Option(help="Number of noised held-out frames at which moments are compared.", callback=at_least(1))
    ] = 16,
    windows: Windows = 24,
    curve: Curve = "low_variance",
    frames: Frames = 100,
    config: Config = None,
    seed: Seed = None,
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Check the model of a run against restrained dynamics.

    Moments are compared at noised frames, and lengths along a geodesic.
    """
    with refused(f"interrupted; finished windows are kept, go on with --resume (in {run})"):
        _check_job(run, "calibrate", config, resume, overwrite)
        from spacetime_tps.calibration.job import calibrate as calibrate_run

        results = calibrate_run(
            run,
            points=points,
            windows=windows,
            curve=curve,
            frames=frames,
            config=config,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    from spacetime_tps.cli.tables import print_calibration
    from spacetime_tps.runs.layout import CALIBRATION

    print_calibration(make_console(), results)
    say(f"results in {run / CALIBRATION}")


@app.command()
def path_ensemble(
    run: Run,
    moves: Annotated[
        int,
        typer.Option(
            help="Number of moves of each chain, with those made before: more with --resume makes chains longer.",
            callback=at_least(1),
        ),
    ] = 100,
    move: Annotated[
        str,
        typer.Option(
            help="two_way: new velocities, then past and future anew; one_way: one of past and future anew.",
            callback=one_of("one_way", "two_way"),
        ),
    ] = "two_way",
    selection: Annotated[
        str,
        typer.Option(
            help="How shooting points are drawn: committor (near p_B = 0.5 more often) or uniform.",
            callback=one_of("uniform", "committor"),
        ),
    ] = "committor",
    chains: Annotated[
        int,
        typer.Option(help="Number of Markov chains, each from another reactive trajectory.", callback=at_least(1)),
    ] = 8,
    keep_every: Annotated[int, typer.Option(help="Moves between two stored paths.", callback=at_least(1))] = 10,
    config: Config = None,
    seed: Seed = None,
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Sample the ensemble of transition paths of a run.

    This is transition path sampling; it begins with the reactive trajectories of the run.
    """
    with refused(f"interrupted; finished moves are kept, go on with --resume (in {run})"):
        _check_job(run, "path-ensemble", config, resume, overwrite)
        from spacetime_tps.path_ensemble.job import sample_path_ensemble

        results = sample_path_ensemble(
            run,
            moves=moves,
            move=move,
            selection=selection,
            chains=chains,
            keep_every=keep_every,
            config=config,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    from spacetime_tps.cli.tables import print_path_ensemble
    from spacetime_tps.runs.layout import PATH_ENSEMBLE

    print_path_ensemble(make_console(), results)
    say(f"results in {run / PATH_ENSEMBLE}")


@app.command()
def free_energy(
    run: Run,
    curve: Curve = "low_variance",
    windows: Windows = 48,
    frames: Frames = 200,
    paths: Annotated[
        int, typer.Option(help="Number of annealed paths along the geodesic, each way.", callback=at_least(2))
    ] = 32,
    config: Config = None,
    seed: Seed = None,
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Compute the free energy of state B relative to A.

    It is done by windows along a geodesic (MBAR), and by annealing there and back (BAR).
    """
    with refused(f"interrupted; finished sweeps are kept, go on with --resume (in {run})"):
        _check_job(run, "free-energy", config, resume, overwrite)
        from spacetime_tps.free_energy.job import compute_free_energy

        results = compute_free_energy(
            run,
            curve=curve,
            windows=windows,
            frames=frames,
            paths=paths,
            config=config,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    from spacetime_tps.cli.tables import print_free_energies
    from spacetime_tps.runs.layout import FREE_ENERGY

    print_free_energies(make_console(), results)
    say(f"results in {run / FREE_ENERGY}")


@app.command()
def committor(
    run: Run,
    source: Annotated[
        str,
        typer.Option(
            help="Where frames come from. model: frames of reactive trajectories that the run's committor model puts "
            "within the band; reactive: all their frames between the states; or the path of a trajectory file."
        ),
    ] = "model",
    shots: Annotated[int, typer.Option(help="Number of shots from each frame.", callback=at_least(1))] = 50,
    max_frames: Annotated[
        int | None,
        typer.Option(
            help="Largest number of frames. By default 40 of the run's own, and all of a file.", callback=at_least(1)
        ),
    ] = None,
    band: Band = None,
    config: Config = None,
    seed: Seed = None,
    workers: Workers = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Measure the committor of frames by unbiased shots.

    Frames whose p_B is within the band are kept as transition states.
    """
    with refused(f"interrupted; finished shots are kept, go on with --resume (in {run})"):
        _check_job(run, "committor", config, resume, overwrite)
        from spacetime_tps.committor.job import measure_committor

        results = measure_committor(
            run,
            source=source,
            shots=shots,
            max_frames=max_frames,
            band=band,
            config=config,
            seed=seed,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    from spacetime_tps.cli.tables import print_committor
    from spacetime_tps.runs.layout import COMMITTOR

    print_committor(make_console(), results)
    say(f"results in {run / COMMITTOR}")


@app.command()
def export(
    run: Run,
    to: Annotated[
        str,
        typer.Option(
            help="openpathsampling, plumed, gromacs (TRR), xtc, dcd or pdb.",
            show_default=False,
            callback=one_of("openpathsampling", "plumed", "gromacs", "xtc", "dcd", "pdb"),
        ),
    ],
    what: Annotated[
        str | None,
        typer.Option(
            help="reactive (by default), path_ensemble, paths, paths_region_avoiding or transition_states; for plumed "
            "also the name of a geodesic, by default low_variance."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write to. By default export/TO in the run.")] = None,
    reference_frames: Annotated[
        int, typer.Option(help="Number of frames of the reference path for plumed.", callback=at_least(2))
    ] = 10,
    overwrite: Overwrite = False,
    trust_scripts: TrustScripts = False,
) -> None:
    """Write trajectories, or the path, for another tool."""
    with refused("interrupted; nothing was written"):
        from spacetime_tps.settings.files import open_run

        open_run(run)
        _start_logging()
        from spacetime_tps.export.job import export_run

        result = export_run(
            run,
            to,
            what=what,
            output=output,
            reference_frames=reference_frames,
            overwrite=overwrite,
            trust_scripts=trust_scripts,
        )
    say(f"{result.what} for {to} in {result.folder}: {result.note}")


def _check_job(run: Path, job: str, config: Path | None, resume: bool, overwrite: bool) -> None:
    """Refuse what a job refuses without a look at the molecule; start to log.

    That is the folder of a run whose settings cannot be read, a wrong file of settings, and options that exclude each
    other.

    Raises
    ------
    SpacetimeError
    """
    from spacetime_tps.runs.requests import check_exclusive
    from spacetime_tps.settings.files import open_run
    from spacetime_tps.settings.jobs import read_job_settings
    from spacetime_tps.settings.run import RunSettings

    check_exclusive(resume, overwrite)
    settings, _ = open_run(run)
    if config is not None and isinstance(settings, RunSettings):
        read_job_settings(settings, job, config)
    _start_logging()


def _start_logging() -> None:
    from spacetime_tps.progress import configure_logging

    configure_logging()
