"""What the commands print of their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from spacetime_tps.pipeline.summary import Summary
    from spacetime_tps.pipeline.training import TrainingResult
    from spacetime_tps.statistics.intervals import MeanSd
    from spacetime_tps.surfaces.job import SurfaceSummary


def print_summary(console: Console, summary: Summary) -> None:
    """Figures of the annealed paths, and what shooting has found."""
    table = Table("curve", "hits %", "RMSD Å", "ETS kJ/mol", title="annealed paths")
    paths = summary.paths
    rows = {"low-variance geodesic": paths.paths, "region-avoiding": paths.paths_region_avoiding, **paths.baselines}
    for name, figures in rows.items():
        if figures is not None:
            table.add_row(
                name.replace("_", " "),
                f"{figures.target_hit_percentage:.0f}",
                _plus_minus(figures.rmsd_angstrom, 2),
                _plus_minus(figures.ets_kj_per_mol, 1),
            )
    console.print(table)
    console.print(
        f"{summary.reactive.reactive} reactive trajectories from {summary.reactive.shots} shots; "
        f"{summary.total_evaluations:,} energy evaluations, {summary.total_seconds:.0f} s"
    )


def print_surface_summary(console: Console, summary: SurfaceSummary) -> None:
    """The same of a run on a model surface."""
    table = Table("curve", "reached B %", "through the channel %", "MaxEnergy", title="annealed paths")
    for name, figures in {"low-variance geodesic": summary.paths, **summary.baselines}.items():
        if figures is not None:
            channel = figures.through_channel_percentage
            table.add_row(
                name.replace("_", " "),
                f"{figures.reached_b_percentage:.1f}",
                "–" if channel is None else f"{channel:.1f}",
                _plus_minus(figures.max_energy_on_segments, 1),
            )
    console.print(table)
    evaluations = summary.energy_evaluations
    console.print(
        f"{evaluations['annealing']:,} energy evaluations and {evaluations['measuring']:,} between steps, "
        f"{summary.total_seconds:.0f} s"
    )


def print_calibration(console: Console, results: dict[str, Any]) -> None:
    """Moments and a curve, by the model and by dynamics."""
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


def print_denoising_errors(console: Console, result: TrainingResult) -> None:
    """Held-out errors of a training, by noise."""
    names = list(result.denoising_error[0].by_model)
    unit = result.unit and f", {result.unit}²"
    table = Table("log SNR", *(f"{name.replace('_', ' ')}{unit}" for name in names), title="held-out denoising error")
    for row in result.denoising_error:
        table.add_row(f"{row.log_snr:.2f}", *(f"{error:.3e}" for error in row.by_model.values()))
    console.print(table)


def print_committor(console: Console, results: dict[str, Any]) -> None:
    """p_B of every frame, and how the frames are spread."""
    columns = (
        "frame",
        "of",
        "p_B by the model",
        "by shots",
        f"{100 * results['asked']['confidence']:g} % interval",
        "A / B / undecided",
    )
    table = Table(*columns, title="committor")
    for row in results["frames"]:
        predicted, p_b = ("–" if row[key] is None else f"{row[key]:.2f}" for key in ("predicted", "p_b"))
        ends = f"{row['reached_a']} / {row['reached_b']} / {row['undecided'] + row['failed']}"
        table.add_row(
            str(row["frame"]),
            f"{row['source']}, {row['index']}",
            predicted,
            p_b,
            f"{row['low']:.2f} – {row['high']:.2f}",
            ends if row["state"] is None else f"in {row['state']}",
        )
    console.print(table)
    test = results["histogram"]
    if test is not None:
        console.print(
            f"mean p_B {test['mean']:.3f} ± {test['mean_error']:.3f} over {test['frames']} frames, spread "
            f"{test['standard_deviation']:.3f} without the noise of counting"
        )
    found = len(results["transition_states"])
    console.print(f"{found} transition states; {results['evaluations']:,} energy evaluations")


def print_path_ensemble(console: Console, results: dict[str, Any]) -> None:
    """What the chains have sampled, and how well."""
    table = Table("", "mean", "sd", "autocorrelation, moves", "effective size", title="transition paths")
    for name, figures in results["observables"].items():
        spread = (f"{figures[key]:.3f}" for key in ("mean", "sd"))
        size = (f"{figures[key]:.1f}" for key in ("autocorrelation_moves", "effective_size"))
        table.add_row(name.replace("_", " "), *spread, *size)
    console.print(table)
    console.print(
        f"{100 * results['acceptance']:.0f} % of moves accepted, {results['decorrelated_paths']} decorrelated paths; "
        f"{results['evaluations']:,} energy evaluations, {results['wall_seconds']:.0f} s"
    )


def print_free_energies(console: Console, results: dict[str, Any]) -> None:
    """ΔF by every method."""
    table = Table("method", "ΔF kJ/mol", title=f"{' → '.join(results['states'])} at {results['temperature']:g} K")
    for name in ("windows", "annealing", "replica_exchange"):
        if results[name] is not None:
            table.add_row(name.replace("_", " "), f"{results[name]['value']:.2f} ± {results[name]['error']:.2f}")
    console.print(table)
    console.print(f"{sum(results['evaluations'].values()):,} energy evaluations")


def _plus_minus(figure: MeanSd, digits: int) -> str:
    if figure.mean is None:
        return "–"
    return f"{figure.mean:.{digits}f} ± {figure.sd:.{digits}f}"
