"""The command ``spacetime-tps``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    try:
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
    except SpacetimeError as error:
        console.print(f"[bold red]error:[/] {type(error).__name__}", highlight=False)
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        console.print(f"interrupted; finished stages are kept, go on with --resume (in {output})")
        raise typer.Exit(130) from error
    (_print_surface_summary if summary.get("kind") == "surface" else _print_summary)(console, summary)
    console.print(f"results in {output}", soft_wrap=True)


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


def _plus_minus(figure: dict[str, float | None], digits: int) -> str:
    if figure["mean"] is None:
        return "–"
    return f"{figure['mean']:.{digits}f} ± {figure['sd']:.{digits}f}"
