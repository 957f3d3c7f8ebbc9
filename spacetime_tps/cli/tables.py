"""What the commands print of their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from spacetime_tps.calibration.results import CalibrationResult
    from spacetime_tps.committor.results import CommittorResult
    from spacetime_tps.free_energy.results import FreeEnergyResult
    from spacetime_tps.path_ensemble.results import PathEnsembleResult
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


def print_calibration(console: Console, result: CalibrationResult) -> None:
    """Moments and a curve, by the model and by dynamics."""
    unit = result.unit and f", {result.unit}"
    square = unit and f"{unit}²"
    columns = ("log SNR", f"means apart{unit}", f"E|x−y|² model{square}", f"dynamics{square}", "z")
    table = Table(*columns, title="noised held-out frames")
    for point in result.points:
        moments = point.moments
        displacement = moments.mean_square_displacement
        table.add_row(
            f"{point.log_snr:.2f}",
            f"{moments.mean_distance:.4f} ± {moments.mean_distance_error:.4f}",
            f"{displacement.model:.5f}",
            f"{displacement.md:.5f} ± {displacement.md_error:.5f}",
            f"{displacement.z:.1f}",
        )
    console.print(table)
    curve = result.curve
    table = Table(curve.name.replace("_", "-"), "model", "dynamics", "model / dynamics", title="curve")
    for name, compared in (("length", curve.length), ("energy", curve.energy)):
        table.add_row(
            name,
            f"{compared.model:.2f}",
            f"{compared.md:.2f} ± {compared.md_error:.2f}",
            f"{compared.ratio:.3f} ± {compared.ratio_error:.3f}",
        )
    console.print(table)
    console.print(f"{sum(result.evaluations.values()):,} energy evaluations")


def print_denoising_errors(console: Console, result: TrainingResult) -> None:
    """Held-out errors of a training, by noise."""
    names = list(result.denoising_error[0].by_model)
    unit = result.unit and f", {result.unit}²"
    table = Table("log SNR", *(f"{name.replace('_', ' ')}{unit}" for name in names), title="held-out denoising error")
    for row in result.denoising_error:
        table.add_row(f"{row.log_snr:.2f}", *(f"{error:.3e}" for error in row.by_model.values()))
    console.print(table)


def print_committor(console: Console, result: CommittorResult) -> None:
    """p_B of every frame, and how the frames are spread."""
    columns = (
        "frame",
        "of",
        "p_B by the model",
        "by shots",
        f"{100 * result.request.confidence:g} % interval",
        "A / B / undecided",
    )
    table = Table(*columns, title="committor")
    for row in result.frames:
        predicted, p_b = ("–" if value is None else f"{value:.2f}" for value in (row.predicted, row.p_b))
        ends = f"{row.reached_a} / {row.reached_b} / {row.undecided + row.failed}"
        table.add_row(
            str(row.frame),
            f"{row.source}, {row.index}",
            predicted,
            p_b,
            f"{row.low:.2f} – {row.high:.2f}",
            ends if row.state is None else f"in {row.state}",
        )
    console.print(table)
    test = result.histogram
    if test is not None:
        console.print(
            f"mean p_B {test.mean:.3f} ± {test.mean_error:.3f} over {test.frames} frames, spread "
            f"{test.standard_deviation:.3f} without the noise of counting"
        )
    console.print(f"{len(result.transition_states)} transition states; {result.evaluations:,} energy evaluations")


def print_path_ensemble(console: Console, result: PathEnsembleResult) -> None:
    """What the chains have sampled, and how well."""
    table = Table("", "mean", "sd", "autocorrelation, moves", "effective size", title="transition paths")
    rows = [("duration ps", result.duration)]
    rows += [(f"crossing {name.replace('_', ' ')}", figures) for name, figures in result.crossings.items()]
    for name, figures in rows:
        size = (f"{figures.autocorrelation_moves:.1f}", f"{figures.effective_size:.1f}")
        table.add_row(name, f"{figures.mean:.3f}", f"{figures.sd:.3f}", *size)
    console.print(table)
    console.print(
        f"{100 * result.acceptance:.0f} % of moves accepted, {result.decorrelated_paths} decorrelated paths; "
        f"{result.evaluations:,} energy evaluations, {result.wall_seconds:.0f} s"
    )


def print_free_energies(console: Console, result: FreeEnergyResult) -> None:
    """ΔF by every method."""
    table = Table("method", "ΔF kJ/mol", title=f"{' → '.join(result.states)} at {result.temperature:g} K")
    for method, estimate in result.estimates.items():
        table.add_row(method, f"{estimate.value:.2f} ± {estimate.error:.2f}")
    console.print(table)
    console.print(f"{sum(result.evaluations.values()):,} energy evaluations")


def _plus_minus(figure: MeanSd, digits: int) -> str:
    if figure.mean is None:
        return "–"
    return f"{figure.mean:.{digits}f} ± {figure.sd:.{digits}f}"
