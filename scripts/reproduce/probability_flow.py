"""Geodesics against trajectories of the probability-flow ODE (the paper's Fig. 5, left).

In schedule-free coordinates (y, λ), λ = log SNR, the probability-flow ODE of any diffusion reads

    dy/dλ = ½ (x̂(y, λ) − y):

with noise σ = exp(−λ/2) it is dy/dσ = (y − x̂)/σ (Karras et al. 2022, Eq. 3), and dσ/dλ = −σ/2. For one Gaussian
of variance s² it is solved by y ∝ √(s² + exp(−λ)). Each trajectory runs on the mixture of ``toy_geodesic.py``
from noise at t = 0.65 to almost data at t = 0.2; a geodesic joins its two ends. The table compares their Fisher-Rao
lengths; the energy of a curve run through at constant speed is half its squared length.

Usage: ``python scripts/reproduce/probability_flow.py [--output runs/figures/probability_flow.png]``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from toy_geodesic import TOY, draw_density, from_schedule, log_snr, to_schedule

from spacetime_tps.spacetime import Geodesic, Points, solve_geodesic
from spacetime_tps.spacetime.curve import cumulative_length

NOISE, DATA = 0.65, 0.2  # t
STARTS = (-1.6, -0.9, -0.3, 0.1, 0.7, 1.5)  # x_t at t = NOISE


def probability_flow(start: Points, end_log_snr: float, count: int = 4096) -> Points:
    """The trajectory of the ODE from one point, at equal steps of λ; shape (count, 1)."""

    def slope(level: float, y: np.ndarray) -> np.ndarray:
        mean = TOY.moments(torch.from_numpy(y)[None], torch.tensor([level], dtype=torch.float64)).mean
        return 0.5 * (mean[0].numpy() - y)

    levels = np.linspace(float(start.log_snr), end_log_snr, count)
    solution = solve_ivp(
        slope, levels[[0, -1]], start.y[0].numpy(), method="DOP853", t_eval=levels, rtol=1e-10, atol=1e-12
    )
    return Points(torch.from_numpy(solution.y.T), torch.from_numpy(levels))


def compare(x_t: float) -> tuple[Points, Geodesic]:
    """The ODE's trajectory from x_t at t = NOISE and the geodesic between its ends."""
    flow = probability_flow(from_schedule(x_t, NOISE), log_snr(DATA))
    return flow, solve_geodesic(TOY, flow[:1], flow[-1:], points=256, knots=20)


def draw(path: Path, pairs: list[tuple[Points, Geodesic]]) -> None:
    figure = Figure(figsize=(7, 5.4), layout="constrained")
    axes = figure.subplots()
    draw_density(axes, (DATA - 0.02, NOISE + 0.02))
    for i, (flow, geodesic) in enumerate(pairs):
        axes.plot(*to_schedule(flow), color="tab:red", linewidth=1.6, label=None if i else "probability-flow ODE")
        axes.plot(*to_schedule(geodesic.points), color="black", linewidth=1.6, ls="--", label=None if i else "geodesic")
        x_t, t = to_schedule(flow[[0, -1]])
        axes.scatter(x_t, t, color="black", s=18, zorder=3)
    figure.legend(loc="outside lower center", ncols=2)
    axes.set_title("probability flow and geodesics over the density of $x_t$")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/figures/probability_flow.png"), help="default: %(default)s"
    )
    options = parser.parse_args()
    pairs = [compare(x_t) for x_t in STARTS]
    print("| x_t at noise | x_t at data | L of the ODE | L of the geodesic | ratio | E ratio | converged |")
    print("|---|---|---|---|---|---|---|")
    for flow, geodesic in pairs:
        x_t, _ = to_schedule(flow[[0, -1]])
        length = cumulative_length(TOY, flow)[-1]
        ratio = length / geodesic.length
        print(
            f"| {x_t[0]:.2f} | {x_t[1]:.3f} | {length:.4f} | {geodesic.length:.4f} | {ratio:.3f} | {ratio**2:.3f} | "
            f"{'yes' if geodesic.converged else 'no'} |"
        )
    draw(options.output, pairs)
    print(options.output)


if __name__ == "__main__":
    main()
