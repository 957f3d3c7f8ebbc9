"""How exact and how fast geodesics are: closed forms, scaling, the graph, and the paper's own denoiser.

1. Closed forms: error of the length against the number of points N, and its order.
2. Scaling: time of a variance-bounded solve, start from the graph included, against the number of coordinates D and
   against N, on a curved channel of low-rank Gaussians. One core.
3. The graph: time to build it and to find the first path, against the number of its points, in 30 dimensions.
4. With ``--reference DIR``: the 2-D task of arXiv 2505.17517 on that paper's own network. Our solver beside 10,000
   steps of Adam on a spline on the same network, timed in the same run; each curve, at 128 points, judged by the exact
   denoiser of the paper's surface.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from common import Bench, exponent, number, table, yes_no
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from reference_data import TOY, PaperSurface, paper_curve, paper_denoiser, paper_ends, toy_ends

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.spacetime import Points, VarianceBound, point, solve_channels, solve_geodesic
from spacetime_tps.spacetime.curve import constant_speed, resample_polyline
from spacetime_tps.spacetime.family import curve_divergences, moments_at
from spacetime_tps.spacetime.minimizer import SplineProblem
from spacetime_tps.spacetime.search import SpacetimeGraph

ADAM_RATE = 1e-2
COARSE = {"points": 12, "knots": 3}  # for networks, which are not gradients: long chords average over their errors


@dataclass(frozen=True)
class ClosedForm:
    """Relative errors of a length that is known, and the order at which they fall with the number of points."""

    case: str
    exact: float
    points: list[int]
    relative_error: list[float]
    order: float


@dataclass(frozen=True)
class Solve:
    """A low-variance solve with its graph."""

    dimension: int
    points: int
    seconds: float
    evaluations: int
    length: float
    max_violation: float
    feasible: bool
    converged: bool


@dataclass(frozen=True)
class Graph:
    """A graph, and the first path through it."""

    points_asked: int
    feasible_points: int
    edges: int
    build_seconds: float
    path_seconds: float
    seconds: float
    nodes_of_path: int


@dataclass(frozen=True)
class Curve:
    """A curve of the paper's task: Σ J by the exact denoiser and by the network."""

    curve: str
    seconds: float | None
    sum_j_exact: float
    sum_j_network: float
    negative_chords: float | None


@dataclass(frozen=True)
class GeodesicsResult:
    """All four parts; nothing here asks for energies of a molecule."""

    seed: int
    evaluations: int
    closed_forms: list[ClosedForm]
    by_dimension: list[Solve]
    by_points: list[Solve]
    graphs: list[Graph]
    paper: list[Curve]


@dataclass(frozen=True)
class Geodesics:
    """Accuracy and cost of geodesics, as :class:`Section`.

    Attributes
    ----------
    counts : tuple of int
        Numbers of points, for closed forms.
    toy_points : int
        Number of points of the toy's reference, which has no closed form.
    dimensions, points : tuple of int
        Numbers of coordinates (at 64 points), and of points (in 24 coordinates), of timed solves.
    graphs : tuple of int
        Numbers of points of graphs.
    adam_steps : int
    """

    name: ClassVar[str] = "geodesic"
    cost: ClassVar[str] = "10 minutes"
    every_seed: ClassVar[bool] = False
    counts: tuple[int, ...] = (64, 128, 256, 512)
    toy_points: int = 4096
    dimensions: tuple[int, ...] = (2, 8, 24, 80, 200, 642)
    points: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    graphs: tuple[int, ...] = (2_000, 5_000, 12_000, 25_000, 50_000)
    adam_steps: int = 10_000

    def measure(self, bench: Bench, seed: int) -> GeodesicsResult:
        """On one core; the paper's task where there is its data."""
        result = GeodesicsResult(
            seed,
            0,
            closed_forms(self.counts, self.toy_points),
            [timed_solve(dimension, 64, seed) for dimension in self.dimensions],
            [timed_solve(24, points, seed) for points in self.points],
            [timed_graph(size, seed) for size in self.graphs],
            paper_task(bench.reference, self.adam_steps) if bench.reference else [],
        )
        draw(bench.picture(self.name), result)
        return result

    def tables(self, results: Sequence[GeodesicsResult]) -> list[str]:
        """A table for each part, and the exponents."""
        blocks = []
        for result in results:
            parts = (result.closed_forms, result.by_dimension, result.by_points, result.graphs, result.paper)
            blocks += [records(part) for part in parts if part]
            slopes = [
                [f"{size.replace('_', ' ')}, from {above}", number(slope(rows, size, above), 2)]
                for rows, size, above in scalings(result)
            ]
            blocks.append(table(("seconds by", "exponent"), slopes))
        return blocks


def records(rows: Sequence[Any]) -> str:
    """A table of dataclasses, a column for each field."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return " / ".join(map(text, value))
        if isinstance(value, bool):
            return yes_no(value)
        return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)

    names = [field.name for field in fields(rows[0])]
    lines = [[text(getattr(row, name)) for name in names] for row in rows]
    return table([name.replace("_", " ") for name in names], lines)


def scalings(result: GeodesicsResult) -> list[tuple[Sequence[Any], str, int]]:
    """Rows, the size that their seconds grow with, and from which size on the exponent is taken."""
    return [
        (result.by_dimension, "dimension", 80),
        (result.by_points, "points", 128),
        (result.graphs, "points_asked", 5_000),
    ]


def slope(rows: Sequence[Any], size: str, above: float) -> float | None:
    """Exponent of the seconds in a size."""
    large = [row for row in rows if getattr(row, size) >= above]
    return exponent([getattr(row, size) for row in large], [row.seconds for row in large])


def normal_case(mean_a: float, s_a: float, mean_b: float, s_b: float) -> tuple[Points, Points, float]:
    """Ends with denoising distributions N(mean, s²) under q = N(0, 1), and the length of the geodesic between them."""

    def posterior(mean: float, s: float) -> Points:
        snr = 1 / s**2 - 1
        return point([mean * (1 + snr) / snr], math.log(snr))

    step = ((mean_a - mean_b) ** 2 / 2 + (s_a - s_b) ** 2) / (2 * s_a * s_b)
    return posterior(mean_a, s_a), posterior(mean_b, s_b), math.sqrt(2) * math.acosh(1 + step)


def closed_forms(counts: Sequence[int], toy_points: int) -> list[ClosedForm]:
    """Lengths against N; the toy's reference is the solver's own."""
    normal = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
    toy = toy_ends()
    exact_toy = solve_geodesic(TOY, *toy, points=toy_points, knots=60).length
    cases: list[tuple[str, Denoiser, Points, Points, float]] = [
        ("N(−1, 0.1²) → N(1, 0.1²)", normal, *normal_case(-1, 0.1, 1, 0.1)),
        ("N(−0.5, 0.3²) → N(0.7, 0.2²)", normal, *normal_case(-0.5, 0.3, 0.7, 0.2)),
        ("toy of Fig. 1", TOY, *toy, exact_toy),
    ]
    rows = []
    for name, denoiser, a, b, exact in cases:
        errors = [abs(solve_geodesic(denoiser, a, b, points=n, knots=30).length / exact - 1) for n in counts]
        order = -np.polyfit(np.log(np.array(counts) - 1), np.log(errors), 1)[0]
        rows.append(ClosedForm(name, exact, list(counts), errors, float(order)))
    return rows


def channel(dimension: int, seed: int, samples: int, components: int = 16) -> tuple[Denoiser, Points, Points, Any]:
    """Low-rank Gaussians along an arc in a random plane, both its ends, and samples."""
    rng = np.random.default_rng(seed)
    rank = min(16, dimension - 1)
    angle = np.linspace(-2.3, 2.3, components)
    plane = np.linalg.qr(rng.normal(size=(dimension, 2)))[0]
    means = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane.T
    tangents = np.stack([-np.sin(angle), np.cos(angle)], axis=1) @ plane.T
    axes = np.stack([np.linalg.qr(np.column_stack([t, rng.normal(size=(dimension, rank - 1))]))[0] for t in tangents])
    variances = np.concatenate([[0.015], np.geomspace(0.01, 0.001, rank - 1)])
    floor = 2e-4
    q = GaussianMixtureDenoiser.from_factors(
        np.ones(components), means, axes, np.tile(variances, (components, 1)), np.full(components, floor)
    )
    which = rng.integers(components, size=samples)
    along = rng.normal(size=(samples, rank)) * np.sqrt(variances)
    noise = math.sqrt(floor) * rng.normal(size=(samples, dimension))
    x = means[which] + np.einsum("nij,nj->ni", axes[which], along) + noise
    return q, point(means[0], 5.0), point(means[-1], 5.0), torch.from_numpy(x)


def bound_of(denoiser: Denoiser, end: Points) -> VarianceBound:
    """What an end has by itself, and 0.06 for moving along the arc: two modes half an arc apart would have more."""
    return VarianceBound(float(moments_at(denoiser, end).variance) + 0.06)


def timed_solve(dimension: int, points: int, seed: int) -> Solve:
    """One low-variance solve with its graph."""
    q, a, b, x = channel(dimension, seed, 600)
    start = time.perf_counter()
    (geodesic, *_) = solve_channels(
        q, a, b, [bound_of(q, a)], samples=x, points=points, log_snr_bounds=(-2.0, 6.0), channels=1
    )
    return Solve(
        dimension,
        points,
        time.perf_counter() - start,
        geodesic.evaluations,
        geodesic.length,
        float(geodesic.max_violation),
        bool(geodesic.feasible),
        bool(geodesic.converged),
    )


def timed_graph(size: int, seed: int, levels: int = 10) -> Graph:
    """One graph of about ``size`` points in 30 dimensions, and the first path through it."""
    q, a, b, x = channel(30, seed, size // levels)
    start = time.perf_counter()
    graph = SpacetimeGraph(q, a, b, [bound_of(q, a)], samples=x, log_snr_bounds=(-2.0, 6.0), levels=levels, most=len(x))
    built = time.perf_counter()
    path = graph.shortest_path()
    end = time.perf_counter()
    return Graph(size, len(graph.nodes), len(graph.start), built - start, end - built, end - start, len(path))


def adam(problem: SplineProblem, start: Points, steps: int) -> torch.Tensor:
    """Knots after so many steps of Adam on the energy, from the knots that the solver starts with."""
    inner = problem.fit(start).requires_grad_()
    optimizer = torch.optim.Adam([inner], lr=ADAM_RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        energy, _ = problem.terms(inner)
        energy.backward()
        optimizer.step()
    return problem.all_knots(inner.detach())


def paper_task(folder: Path, adam_steps: int) -> list[Curve]:
    """Curves of the unconstrained task on the paper's network, and the exact one."""
    exact, network = PaperSurface(folder).denoiser(), paper_denoiser(folder)
    a, b = paper_ends()
    rows = []

    def add(name: str, curve: Points, seconds: float | None, negative: float | None = None) -> None:
        by_exact, by_network = (
            float(curve_divergences(curve, moments_at(denoiser, curve)).sum()) for denoiser in (exact, network)
        )
        rows.append(Curve(name, seconds, by_exact, by_network, negative))

    start = time.perf_counter()
    geodesic = solve_geodesic(exact, a, b, points=128, knots=10)
    add("exact denoiser, our solver", geodesic.points, time.perf_counter() - start, geodesic.negative_chord_fraction)
    for name, options in (("128 points, 10 knots", {"points": 128, "knots": 10}), ("12 points, 3 knots", COARSE)):
        start = time.perf_counter()
        geodesic = solve_geodesic(network, a, b, **options)
        curve = resample_polyline(network, geodesic.points, 128)
        seconds = time.perf_counter() - start
        add(f"network, our solver, {name}", curve, seconds, geodesic.negative_chord_fraction)
    start = time.perf_counter()
    problem = SplineProblem(network, a, b, (), (-6.0, 5.0), 128, 8)
    share = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
    straight = Points(a.y + share * (b.y - a.y), a.log_snr + share[:, 0] * (b.log_snr - a.log_snr))
    knots = adam(problem, straight, adam_steps)
    curve = constant_speed(network, problem.to_points, knots, 128)
    add(f"network, {adam_steps:,} steps of Adam, 128 points, 10 nodes", curve, time.perf_counter() - start)
    add("network, the paper's curve (published)", paper_curve(folder), None)
    return rows


def draw(path: Path, result: GeodesicsResult) -> None:
    """Times against D, N and the graph's size."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    labels = ("coordinates D (N = 64)", "points N (D = 24)", "points of the graph (30 coordinates)")
    for axes, (rows, size, above), label in zip(figure.subplots(1, 3), scalings(result), labels, strict=True):
        x, y = [getattr(row, size) for row in rows], [row.seconds for row in rows]
        axes.loglog(x, y, "o-", color="black")
        power = slope(rows, size, above)
        if power is not None:
            far = np.array([above, max(x)])
            axes.loglog(far, y[-1] * (far / max(x)) ** power, "--", color="tab:red", label=f"exponent {power:.2f}")
            axes.legend(frameon=False)
        axes.set(xlabel=label, ylabel="seconds, one core")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    figure.savefig(path, dpi=150)
