"""Geodesic between two noisy points of a one-dimensional mixture, and its denoising distributions (the paper's Fig. 1).

Data: three Gaussians. Noise: variance preserving, with log SNR λ(t) = 10 − 20 t (arXiv 2505.17517). The figure shows
the geodesic over the density of x_t, and p(x₀|x_t) along it; the table has its length, which should be 6.408, its
apex, which should be at t = 0.618, and 2E/L², which is 1 at constant speed.

Usage: ``python scripts/reproduce/toy_geodesic.py [--output runs/figures/toy_geodesic.png]``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.spacetime import Geodesic, Points, point, solve_geodesic

TOY = GaussianMixtureDenoiser([0.275, 0.45, 0.275], [[-2.5], [0.5], [2.5]], np.full((3, 1, 1), 0.75**2))
ENDS = ((-2.3, 0.35), (2.0, 0.4))  # (x_t, t)
RIDGES = 13
COLOURS = matplotlib.colormaps["plasma"]


def log_snr(t: float) -> float:
    """λ(t)."""
    return 10 - 20 * t


def signal(log_snr: torch.Tensor) -> torch.Tensor:
    """α of a variance-preserving schedule: α² + σ² = 1 and α²/σ² = SNR."""
    return torch.sigmoid(log_snr).sqrt()


def from_schedule(x_t: float, t: float) -> Points:
    """The spacetime point (y, λ) of (x_t, t): y = x_t/α."""
    alpha = signal(torch.tensor(log_snr(t), dtype=torch.float64))
    return point([x_t / float(alpha)], log_snr(t))


def to_schedule(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """x_t and t of spacetime points."""
    x_t = signal(points.log_snr) * points.y[:, 0]
    return x_t.numpy(), ((10 - points.log_snr) / 20).numpy()


def noisy_density(x_t: np.ndarray, t: np.ndarray) -> np.ndarray:
    """p(x_t) on a grid, shape (t, x_t): N(x_t; αx, σ²) averaged over the data."""
    level = torch.from_numpy(log_snr(t))[:, None].expand(-1, len(x_t))
    alpha = signal(level)
    y = torch.from_numpy(x_t) / alpha
    normalizer = TOY.log_normalizer(y[..., None], level)
    return (normalizer.exp() * (level.exp() / (2 * torch.pi)).sqrt() / alpha).numpy()


def denoising_density(x: np.ndarray, points: Points) -> np.ndarray:
    """p(x₀|z) at x, shape (points, x)."""
    grid = torch.from_numpy(x)
    misfit = 0.5 * points.snr[:, None] * (grid - points.y) ** 2
    normalizer = TOY.log_normalizer(points.y, points.log_snr)
    return (TOY.log_density(grid[:, None]) - misfit - normalizer[:, None]).exp().numpy()


def draw_density(axes: Axes, t_range: tuple[float, float]) -> None:
    """Density of x_t in the (x_t, t) plane."""
    x_t, t = np.linspace(-4.6, 4.6, 300), np.linspace(*t_range, 200)
    axes.pcolormesh(x_t, t, noisy_density(x_t, t), cmap="Blues", shading="gouraud", rasterized=True)
    axes.set(xlabel="$x_t$", ylabel="$t$", xlim=(-4.6, 4.6), ylim=t_range)


def draw_ridges(axes: Axes, geodesic: Geodesic) -> None:
    """Denoising distributions at equal steps along the geodesic, from its start below to its end above."""
    index = np.linspace(0, len(geodesic.points) - 1, RIDGES).round().astype(int)
    x = np.linspace(-4.6, 4.6, 400)
    density = denoising_density(x, geodesic.points[torch.from_numpy(index)])
    height = 3 / density.max()
    for row in reversed(range(RIDGES)):
        axes.fill_between(x, row, row + height * density[row], color=COLOURS(row / RIDGES), alpha=0.85, zorder=-row)
        axes.plot(x, row + height * density[row], color="white", linewidth=0.8, zorder=-row)
    axes.set(xlabel="$x_0$", xlim=(-4.6, 4.6), yticks=[0, RIDGES - 1], yticklabels=["start", "end"])
    axes.set_title(r"denoising distributions $p(x_0\,|\,x_t)$ along it")


def draw(path: Path, geodesic: Geodesic) -> None:
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    plane, ridges = figure.subplots(1, 2)
    draw_density(plane, (0.2, 0.8))
    x_t, t = to_schedule(geodesic.points)
    plane.plot(x_t, t, color="black", linewidth=1)
    index = np.linspace(0, len(x_t) - 1, RIDGES).round().astype(int)
    plane.scatter(x_t[index], t[index], c=np.arange(RIDGES) / RIDGES, cmap=COLOURS, vmin=0, vmax=1, s=36, zorder=3)
    plane.set_title(f"geodesic of length {geodesic.length:.3f} over the density of $x_t$")
    draw_ridges(ridges, geodesic)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/figures/toy_geodesic.png"), help="default: %(default)s"
    )
    options = parser.parse_args()
    a, b = (from_schedule(*end) for end in ENDS)
    geodesic = solve_geodesic(TOY, a, b, points=512, knots=30)
    _, t = to_schedule(geodesic.points)
    print("| length | energy | 2E/L² | apex t | converged |\n|---|---|---|---|---|")
    print(
        f"| {geodesic.length:.4f} | {geodesic.energy:.4f} | {geodesic.speed_ratio:.6f} | {t.max():.4f} | "
        f"{'yes' if geodesic.converged else 'no'} |"
    )
    draw(options.output, geodesic)
    print(options.output)


if __name__ == "__main__":
    main()
