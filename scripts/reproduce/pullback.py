"""Geodesics of the probability-flow decoder: they decode to straight segments, whatever the data.

A result of arXiv 2505.17517, measured. The decoder x(z) of a two-dimensional mixture takes noise z at log SNR −4 to
data at log SNR 8 with the ODE dy/dλ = ½ (x̂(y, λ) − y), y = z exp(2), in Runge-Kutta steps. Geodesics of the pullback
of the Euclidean metric minimise ½ N Σ |x(z_{i+1}) − x(z_i)|²; here a spline in z, by Gauss-Newton steps, from a
straight line in z. The decoder is invertible, so the minimum is a straight segment run through at constant speed: the
geometry of the data plays no part. Spacetime geodesics between the same data, free and of bounded variance, are not
trivial.

The table has, of decoded curves and of the means along spacetime geodesics, the largest distance from the segment
between the ends, divided by the segment's length; the same of the curve in z; and of decoded curves the largest
relative deviation of their steps from their mean, and the energy relative to the segment's, less one.

Usage: ``python scripts/reproduce/pullback.py [--seed N] [--output runs/figures/pullback.png]``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.optimize import least_squares
from torch import Tensor

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.spacetime import Geodesic, VarianceBound, point, solve_geodesic
from spacetime_tps.spacetime.curve import SplineBasis, equidistant_knots

NOISE, DATA = -4.0, 8.0  # log SNR
STEPS = 24  # of the ODE
END, BOUND = 4.0, 0.2  # log SNR of the ends of spacetime geodesics, and a bound on their variance
POINTS, KNOTS = 64, 20
SHARE = torch.linspace(0, 1, POINTS, dtype=torch.float64)
ARC = np.radians(np.linspace(-10, 190, 7))
MIXTURE = GaussianMixtureDenoiser(
    np.ones(7), 2 * np.stack([np.cos(ARC), np.sin(ARC)], axis=1), np.tile(0.45**2 * np.eye(2), (7, 1, 1))
)
PAIRS = (((-2.2, 0.1), (2.1, 0.3)), ((-1.7, 1.4), (1.6, 1.6)))


def flow(y: Tensor, start: float, end: float) -> Tensor:
    """Solution of the probability-flow ODE at log SNR ``end``; ``y`` at ``start`` has shape (points, 2)."""

    def slope(y: Tensor, level: float) -> Tensor:
        return 0.5 * (MIXTURE.moments(y, torch.full((len(y),), level, dtype=torch.float64)).mean - y)

    h = (end - start) / STEPS
    for level in start + h * np.arange(STEPS):
        k1 = slope(y, level)
        k2 = slope(y + 0.5 * h * k1, level + 0.5 * h)
        k3 = slope(y + 0.5 * h * k2, level + 0.5 * h)
        k4 = slope(y + h * k3, level + h)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def decode(z: Tensor) -> Tensor:
    """Data of noise z, shape (points, 2)."""
    return flow(z * np.exp(-0.5 * NOISE), NOISE, DATA)


def encode(x: Tensor) -> Tensor:
    """Noise of data: the same ODE backwards."""
    return flow(x, DATA, NOISE) * np.exp(0.5 * NOISE)


def pullback_geodesic(ends: Tensor) -> Tensor:
    """Points z of the curve between two ends (2, 2) that decodes with least energy, shape (POINTS, 2)."""
    basis = SplineBasis(KNOTS + 2, POINTS)

    def curve(inner: np.ndarray) -> Tensor:
        return basis(torch.cat([ends[:1], torch.from_numpy(inner).reshape(KNOTS, 2), ends[1:]]))

    def steps(inner: np.ndarray) -> np.ndarray:
        return decode(curve(inner)).diff(dim=0).numpy().ravel()

    def jacobian(inner: np.ndarray) -> np.ndarray:
        z = curve(inner).requires_grad_()
        x = decode(z)
        rows = torch.stack([torch.autograd.grad(x[:, i].sum(), z, retain_graph=True)[0] for i in range(2)], dim=1)
        by_knots = torch.einsum("nij,nk->nikj", rows, basis.matrix[:, 1:-1])
        return by_knots.diff(dim=0).reshape(2 * (POINTS - 1), 2 * KNOTS).numpy()

    start = equidistant_knots(ends, KNOTS + 2)[1:-1].numpy().ravel()
    return curve(least_squares(steps, start, jacobian, x_scale="jac", max_nfev=60).x)


def deviations(curve: Tensor) -> tuple[float, float, float]:
    """Distance from the segment, unevenness of the steps and energy in excess of the segment's, all relative."""
    chord = curve[-1] - curve[0]
    along = (curve - curve[0]) @ chord / chord.square().sum()
    distance = (curve - curve[0] - along.clamp(0, 1)[:, None] * chord).norm(dim=1).max() / chord.norm()
    steps = curve.diff(dim=0).norm(dim=1)
    excess = (len(curve) - 1) * steps.square().sum() / chord.square().sum() - 1
    return float(distance), float((steps / steps.mean() - 1).abs().max()), float(excess)


def draw_samples(generator: np.random.Generator) -> Tensor:
    """Samples of the mixture, shape (400, 2)."""
    means = MIXTURE.means.numpy()[generator.integers(len(ARC), size=400)]
    return torch.from_numpy(generator.normal(means, 0.45))


class Panels:
    """The figure: data, noise of the decoder, and log SNR along spacetime geodesics."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(14, 5), layout="constrained")
        self.data, self.noise, self.level = self.figure.subplots(1, 3)
        x, y = np.meshgrid(np.linspace(-3, 3, 200), np.linspace(-2, 4, 200))
        density = MIXTURE.log_density(torch.from_numpy(np.stack([x, y], axis=-1))).exp()
        self.data.pcolormesh(x, y, density, cmap="Blues", shading="gouraud", rasterized=True)
        self.data.set(aspect="equal", title="data, and means along spacetime geodesics", xlabel="$x_1$", ylabel="$x_2$")
        self.noise.set(aspect="equal", title="noise of the decoder", xlabel="$z_1$", ylabel="$z_2$")
        self.noise.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6))
        self.level.set(title="spacetime geodesics", xlabel="share of the length", ylabel="log SNR")

    def decoder_curve(self, pair: int, name: str, z: Tensor, style: str) -> None:
        """Draw a curve of noise and what it decodes to, and print its row of the table."""
        x = decode(z)
        distance, unevenness, excess = deviations(x)
        print(f"| {pair} | {name} | {distance:.1e} | {deviations(z)[0]:.1e} | {unevenness:.1e} | {excess:.1e} |")
        self.data.plot(*x.T, style, linewidth=1.8, label=name if pair == 1 else None)
        self.noise.plot(*z.T, style, linewidth=1.8)
        self.noise.scatter(*z[[0, -1]].T, color="black", s=20, zorder=3)
        self.data.scatter(*x[[0, -1]].T, color="black", s=20, zorder=3)

    def geodesic(self, pair: int, name: str, geodesic: Geodesic, style: str, colour: str) -> None:
        """Draw means and levels of noise along a spacetime geodesic, and print its row of the table."""
        mean = geodesic.moments.mean
        remark = "" if geodesic.converged and geodesic.feasible else f" ({geodesic.message})"
        print(f"| {pair} | {name}{remark} | {deviations(mean)[0]:.1e} | – | – | – |")
        self.data.plot(*mean.T, style, color=colour, linewidth=1.8, label=name if pair == 1 else None)
        self.level.plot(SHARE, geodesic.points.log_snr, style, color=colour, linewidth=1.8)

    def save(self, path: Path) -> None:
        """Write the figure."""
        self.figure.legend(loc="outside lower center", ncols=4)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/figures/pullback.png"), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the samples that the bounded geodesic starts from")
    options = parser.parse_args()
    samples = draw_samples(np.random.default_rng(options.seed))
    panels = Panels()
    print("| ends | curve | distance | distance in z | unevenness | excess energy |\n|---|---|---|---|---|---|")
    for pair, ends in enumerate(PAIRS, start=1):
        x = torch.tensor(ends, dtype=torch.float64)
        z = encode(x)
        panels.decoder_curve(pair, "straight line in z", z[0] + SHARE[:, None] * (z[1] - z[0]), "k:")
        panels.decoder_curve(pair, "pullback geodesic", pullback_geodesic(z), "r-")
        a, b = point(x[0], END), point(x[1], END)
        free = solve_geodesic(MIXTURE, a, b, points=POINTS)
        panels.geodesic(pair, "spacetime geodesic", free, "-", "tab:green")
        bounded = solve_geodesic(MIXTURE, a, b, [VarianceBound(BOUND)], samples=samples, points=POINTS)
        panels.geodesic(pair, f"spacetime geodesic, variance ≤ {BOUND}", bounded, "--", "tab:orange")
    panels.save(options.output)
    print(options.output)


if __name__ == "__main__":
    main()
