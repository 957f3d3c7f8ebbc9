"""How exact and how fast geodesics are: closed forms, scaling, the graph, and the paper's own denoiser.

1. Closed forms: error of the length against the number of points N, and its order.
2. Scaling: time of a variance-bounded solve, start from the graph included, against the number of coordinates D and
   against N, on a curved channel of low-rank Gaussians. One core.
3. The graph: time to build it and to find the first path, against the number of its points, in 30 dimensions.
4. With ``--reference DIR``: the 2-D task of arXiv 2505.17517 on that paper's own network. Our solver beside 10,000
   steps of Adam on a spline on the same network, timed in the same run; each curve, at 128 points, judged by the exact
   denoiser of the paper's surface.

Usage: ``python scripts/benchmarks/geodesic.py [--seed 0] [--json FILE] [--figure FILE] [--reference DIR]``
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
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

COUNTS = (64, 128, 256, 512)
DIMENSIONS = (2, 8, 24, 80, 200, 642)
POINTS = (32, 64, 128, 256, 512, 1024)
GRAPH_SIZES = (2_000, 5_000, 12_000, 25_000, 50_000)
ADAM_STEPS, ADAM_RATE = 10_000, 1e-2
COARSE = {"points": 12, "knots": 3}  # for networks, which are not gradients: long chords average over their errors


def normal_case(mean_a: float, s_a: float, mean_b: float, s_b: float) -> tuple[Points, Points, float]:
    """Ends with denoising distributions N(mean, s²) under q = N(0, 1), and the length of the geodesic between them."""

    def posterior(mean: float, s: float) -> Points:
        snr = 1 / s**2 - 1
        return point([mean * (1 + snr) / snr], math.log(snr))

    step = ((mean_a - mean_b) ** 2 / 2 + (s_a - s_b) ** 2) / (2 * s_a * s_b)
    return posterior(mean_a, s_a), posterior(mean_b, s_b), math.sqrt(2) * math.acosh(1 + step)


def closed_forms() -> list[dict[str, Any]]:
    """Lengths against N; the toy's reference is the solver's own at 4,096 points, which has no closed form."""
    normal = GaussianMixtureDenoiser([1.0], [[0.0]], [[[1.0]]])
    toy = toy_ends()
    exact_toy = solve_geodesic(TOY, *toy, points=4096, knots=60).length
    cases: list[tuple[str, Denoiser, Points, Points, float]] = [
        ("N(−1, 0.1²) → N(1, 0.1²)", normal, *normal_case(-1, 0.1, 1, 0.1)),
        ("N(−0.5, 0.3²) → N(0.7, 0.2²)", normal, *normal_case(-0.5, 0.3, 0.7, 0.2)),
        ("toy of Fig. 1", TOY, *toy, exact_toy),
    ]
    rows = []
    for name, denoiser, a, b, exact in cases:
        errors = [abs(solve_geodesic(denoiser, a, b, points=n, knots=30).length / exact - 1) for n in COUNTS]
        order = -np.polyfit(np.log(np.array(COUNTS) - 1), np.log(errors), 1)[0]
        rows.append({"case": name, "exact": exact, "points": COUNTS, "relative_error": errors, "order": order})
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


def timed_solve(dimension: int, points: int, seed: int) -> dict[str, Any]:
    """One low-variance solve with its graph."""
    q, a, b, x = channel(dimension, seed, 600)
    start = time.perf_counter()
    (geodesic, *_) = solve_channels(
        q, a, b, [bound_of(q, a)], samples=x, points=points, log_snr_bounds=(-2.0, 6.0), channels=1
    )
    return {
        "dimension": dimension,
        "points": points,
        "seconds": time.perf_counter() - start,
        "evaluations": geodesic.evaluations,
        "length": geodesic.length,
        "max_violation": geodesic.max_violation,
        "feasible": geodesic.feasible,
        "converged": geodesic.converged,
    }


def timed_graph(size: int, seed: int, levels: int = 10) -> dict[str, Any]:
    """One graph of about ``size`` points in 30 dimensions, and the first path through it."""
    q, a, b, x = channel(30, seed, size // levels)
    start = time.perf_counter()
    graph = SpacetimeGraph(q, a, b, [bound_of(q, a)], samples=x, log_snr_bounds=(-2.0, 6.0), levels=levels, most=len(x))
    built = time.perf_counter()
    path = graph.shortest_path()
    end = time.perf_counter()
    return {
        "points_asked": size,
        "feasible_points": len(graph.nodes),
        "edges": len(graph.start),
        "build_seconds": built - start,
        "path_seconds": end - built,
        "seconds": end - start,
        "nodes_of_path": len(path),
    }


def exponent(rows: list[dict[str, Any]], key: str, above: float) -> float:
    """Slope of log seconds against log of a column, over the rows where that is at least ``above``."""
    used = [row for row in rows if row[key] >= above]
    return float(np.polyfit(np.log([row[key] for row in used]), np.log([row["seconds"] for row in used]), 1)[0])


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


def paper_task(folder: Path) -> list[dict[str, Any]]:
    """Curves of the unconstrained task on the paper's network, and the exact one."""
    exact, network = PaperSurface(folder).denoiser(), paper_denoiser(folder)
    a, b = paper_ends()
    rows = []

    def add(name: str, curve: Points, seconds: float | None, negative: float | None = None) -> None:
        by_exact, by_network = (
            float(curve_divergences(curve, moments_at(denoiser, curve)).sum()) for denoiser in (exact, network)
        )
        rows.append(
            {
                "curve": name,
                "seconds": seconds,
                "sum_j_exact": by_exact,
                "sum_j_network": by_network,
                "negative_chords": negative,
            }
        )

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
    knots = adam(problem, straight, ADAM_STEPS)
    curve = constant_speed(network, problem.to_points, knots, 128)
    add(f"network, {ADAM_STEPS:,} steps of Adam, 128 points, 10 nodes", curve, time.perf_counter() - start)
    add("network, the paper's curve (published)", paper_curve(folder), None)
    return rows


def draw(path: Path, by_dimension: list[dict[str, Any]], by_points: list[dict[str, Any]], graphs: list[Any]) -> None:
    """Times against D, N and the graph's size."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, rows, key, label, above in (
        (panels[0], by_dimension, "dimension", "coordinates D (N = 64)", 80),
        (panels[1], by_points, "points", "points N (D = 24)", 128),
        (panels[2], graphs, "points_asked", "points of the graph (30 coordinates)", 5_000),
    ):
        x, y = [row[key] for row in rows], [row["seconds"] for row in rows]
        axes.loglog(x, y, "o-", color="black")
        slope = exponent(rows, key, above)
        far = np.array([above, max(x)])
        axes.loglog(far, y[-1] * (far / max(x)) ** slope, "--", color="tab:red", label=f"exponent {slope:.2f}")
        axes.set(xlabel=label, ylabel="seconds, one core")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def show(rows: list[dict[str, Any]]) -> None:
    """A markdown table of rows with the same keys."""

    def text(value: Any) -> str:
        if isinstance(value, (list, tuple)):
            return " / ".join(text(item) for item in value)
        return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)

    print("| " + " | ".join(key.replace("_", " ") for key in rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(text(value) for value in row.values()) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, default=Path("runs/figures/scaling.png"))
    parser.add_argument("--reference", type=Path, help="folder with the data of the paper's code")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"closed_forms": closed_forms()}
    show(results["closed_forms"])
    results["by_dimension"] = [timed_solve(dimension, 64, options.seed) for dimension in DIMENSIONS]
    results["by_points"] = [timed_solve(24, points, options.seed) for points in POINTS]
    results["graph"] = [timed_graph(size, options.seed) for size in GRAPH_SIZES]
    results["exponents"] = {
        "dimension, from 80": exponent(results["by_dimension"], "dimension", 80),
        "points, from 128": exponent(results["by_points"], "points", 128),
        "graph, from 5,000": exponent(results["graph"], "points_asked", 5_000),
    }
    for key in ("by_dimension", "by_points", "graph"):
        show(results[key])
    show([results["exponents"]])
    draw(options.figure, results["by_dimension"], results["by_points"], results["graph"])
    if options.reference:
        results["paper"] = paper_task(options.reference)
        show(results["paper"])
        times = {row["curve"]: row["seconds"] for row in results["paper"]}
        ours, theirs = (
            times["network, our solver, 12 points, 3 knots"],
            next(t for n, t in times.items() if "Adam" in n),
        )
        print(f"{theirs / ours:.0f} times faster than Adam\n")
    else:
        print("the paper's denoiser: skipped (no --reference)")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
