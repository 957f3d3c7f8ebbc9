"""Interpolation and Diffusion Edit Distance of images, with a small denoiser trained on scikit-learn's digits.

A network D(x, σ) (EDM, Karras et al. 2022, arXiv 2206.00364) and a Gaussian mixture learn the same 1,500 images of 8×8
pixels in [−1, 1]. Geodesics between held-out images, anchored at σ = 0.5, are compared with fading one image into the
other, and edit distances with the Euclidean distance and SSIM.

The mixture's geometry is exactly convex. The network's is not: nothing makes J ≥ 0 where it has not been trained, and
a minimiser finds such places. So curves that the network is asked about stay in the :class:`NoiseShell`, and those
found on the network itself have one inner knot and few iterations; the tables say what is still wrong with them.

Usage: ``python scripts/reproduce/digits.py [--output runs/figures] [--seed 0] [--json FILE]``
(some five minutes on one core; needs scikit-image, ``pip install scikit-image``)
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spacetime_tps.denoisers import Denoiser, ExternalDenoiser, GaussianMixtureDenoiser, Moments, fit_mixture
from spacetime_tps.progress import configure_logging
from spacetime_tps.spacetime import (
    Geodesic,
    NoiseShell,
    Points,
    VarianceBound,
    point,
    solve_geodesic,
    symmetric_divergence,
)
from spacetime_tps.spacetime.distance import edit_geodesic, half_circle
from spacetime_tps.spacetime.family import moments_at

try:
    from skimage.metrics import structural_similarity
except ImportError as error:
    raise SystemExit("digits.py compares with SSIM and needs scikit-image: pip install scikit-image") from error

SIDE, PIXELS = 8, 64
TRAINING_IMAGES = 1500
WIDTH, BLOCKS, STEPS, BATCH, LEARNING_RATE = 192, 2, 5000, 256, 2e-3
LOG_SIGMA = (-0.8, 1.2)  # mean and standard deviation in training
SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0)  # at which the denoisers are tested
KNOWN = (-2 * math.log(5.0), -2 * math.log(0.05))  # log SNR that the network has been trained on
ANCHOR, COARSE_ANCHOR = -2 * math.log(0.5), 0.0
VARIANCE_BOUND = 5.0  # that of an image at the anchor is about 3, that of all images 18.7
POINTS, KNOTS, PROBES = 20, 4, 4
PAIRS = 100
SHARES = np.linspace(0, 1, 9)  # of a curve, whose images are shown


class DigitNetwork(nn.Module):
    """D(x, σ) = c_skip x + c_out F(c_in x, log σ) with the preconditioning of Karras et al. (2022), Table 1."""

    def __init__(self, sigma_data: float) -> None:
        super().__init__()
        self.sigma_data = sigma_data
        self.register_buffer("frequencies", math.pi * torch.tensor([0.25, 0.5, 1.0, 2.0]))
        self.first = nn.Linear(PIXELS, WIDTH)
        self.noise = nn.Linear(9, 2 * BLOCKS * WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(BLOCKS)
        )
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, PIXELS))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x̂ of noisy images (N, 64) at noise levels (N,)."""
        sigma = sigma[:, None]
        total = (sigma**2 + self.sigma_data**2).sqrt()
        level = sigma.log() / 4
        waves = level * self.frequencies
        modulation = self.noise(torch.cat([level, waves.sin(), waves.cos()], dim=1)).chunk(2 * BLOCKS, dim=1)
        hidden = self.first(x / total)
        for block, scale, shift in zip(self.blocks, modulation[::2], modulation[1::2], strict=True):
            hidden = hidden + block(hidden * (1 + scale) + shift)
        return (self.sigma_data / total) ** 2 * x + sigma * self.sigma_data / total * self.last(hidden)


@dataclass(frozen=True)
class Models:
    """What has been learned: the mixture, the network, and the network with its divergence from a few probes."""

    mixture: GaussianMixtureDenoiser
    network: ExternalDenoiser
    estimate: ExternalDenoiser


def learn(images: Tensor, seed: int) -> Models:
    """Both models of the training images."""
    mixture, _ = fit_mixture(images, 20, shrinkage=20, seed=seed)
    function = train(images.float(), seed)
    network, estimate = (
        ExternalDenoiser(
            function, PIXELS, schedule="ve", conditioned_on="sigma", probes=probes, seed=seed, log_snr_range=KNOWN
        )
        for probes in (None, PROBES)
    )
    return Models(mixture, network, estimate)


def train(images: Tensor, seed: int) -> nn.Module:
    """Minimise the weighted denoising error (their eqs. 2 and 8) and average the weights."""
    torch.manual_seed(seed)  # of the initial weights
    generator = torch.Generator().manual_seed(seed)
    network = DigitNetwork(float(images.std()))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        clean = images[torch.randint(len(images), (BATCH,), generator=generator)]
        sigma = (LOG_SIGMA[0] + LOG_SIGMA[1] * torch.randn(BATCH, generator=generator)).exp()
        noisy = clean + sigma[:, None] * torch.randn(clean.shape, generator=generator)
        weight = (sigma**2 + network.sigma_data**2) / (sigma * network.sigma_data) ** 2
        loss = (weight[:, None] * (network(noisy, sigma) - clean) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
    averaged: nn.Module = average.module.double().eval().requires_grad_(False)
    return averaged


def denoising_errors(denoiser: Denoiser, images: Tensor, seed: int) -> dict[str, float]:
    """Root mean square distance of x̂ from the image, at each of the test levels."""
    generator = torch.Generator().manual_seed(seed)
    errors = {}
    for sigma in SIGMAS:
        noisy = images + sigma * torch.randn(images.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            mean = denoiser.moments(noisy, torch.full((len(images),), -2 * math.log(sigma), dtype=torch.float64)).mean
        errors[f"σ = {sigma:g}"] = float(((mean - images) ** 2).sum(-1).mean().sqrt())
    return errors


def measure(denoiser: Denoiser, curve: Points) -> tuple[float, float]:
    """Length of a curve to a denoiser, and which share of all chords between its points have J < 0."""
    with torch.no_grad():
        moments = moments_at(denoiser, curve)
    i, j = torch.triu_indices(len(curve), len(curve), offset=1)
    at_i, at_j = (Moments(moments.mean[k], moments.variance[k]) for k in (i, j))
    divergence = symmetric_divergence(curve[i], at_i, curve[j], at_j)
    length = divergence[j == i + 1].clamp(min=0).sqrt().sum()
    return float(length), float((divergence < 0).double().mean())


def geodesic_in_shell(denoiser: Denoiser, a: Tensor, b: Tensor, knots: int) -> Geodesic:
    """Geodesic inside the noise shell, from the half circle; 80 iterations settle the length of the mixture's."""
    ends = point(a, ANCHOR), point(b, ANCHOR)
    return solve_geodesic(
        denoiser,
        *ends,
        [NoiseShell(PIXELS)],
        starts=[half_circle(denoiser, *ends)],
        points=POINTS,
        knots=knots,
        max_iterations=80,
    )


def curves_between(models: Models, a: Tensor, b: Tensor, samples: Tensor) -> dict[str, Geodesic]:
    """Curves from one image to another, by name."""
    ends = point(a, ANCHOR), point(b, ANCHOR)
    bound = VarianceBound(VARIANCE_BOUND)
    return {
        "mixture": edit_geodesic(models.mixture, a, b, ANCHOR, points=POINTS, knots=KNOTS),
        "mixture, shell": geodesic_in_shell(models.mixture, a, b, KNOTS),
        "mixture, low variance": solve_geodesic(
            models.mixture, *ends, [bound], samples=samples, points=2 * POINTS, knots=2 * KNOTS, channels=1
        ),
        "network, shell, 1 knot": geodesic_in_shell(models.estimate, a, b, 1),
        f"network, shell, {KNOTS} knots": geodesic_in_shell(models.estimate, a, b, KNOTS),
    }


def edit_distances(models: Models, a: Tensor, b: Tensor) -> dict[str, tuple[float, float, bool]]:
    """Lengths by name, each with its share of negative chords and whether its curve is converged and feasible."""
    found: dict[str, tuple[float, float, bool]] = {}
    for name, anchor in (("mixture, σ = 0.5", ANCHOR), ("mixture, σ = 1", COARSE_ANCHOR)):
        free = edit_geodesic(models.mixture, a, b, anchor, points=POINTS, knots=KNOTS)
        found[name] = (free.length, free.negative_chord_fraction, free.converged)
    for name, denoiser, knots in (
        ("network on the mixture's curve", models.mixture, KNOTS),
        ("network", models.estimate, 1),
    ):
        curve = geodesic_in_shell(denoiser, a, b, knots)
        found[name] = (*measure(models.network, curve.points), curve.converged and curve.feasible)
    return found


def random_pairs(labels: np.ndarray, rng: np.random.Generator, count: int, *, same: bool) -> list[tuple[int, int]]:
    """Different pairs of indices whose labels are the same, or not."""
    i, j = np.triu_indices(len(labels), 1)
    chosen = rng.choice(np.flatnonzero((labels[i] == labels[j]) == same), count, replace=False)
    return [(int(i[k]), int(j[k])) for k in chosen]


def dissimilarity(a: Tensor, b: Tensor, window: int) -> float:
    """1 − SSIM."""
    first, second = (x.reshape(SIDE, SIDE).numpy() for x in (a, b))
    return 1 - float(structural_similarity(first, second, win_size=window, data_range=2.0))


def classical_distances(a: Tensor, b: Tensor) -> dict[str, float]:
    """What edit distances are compared with."""
    return {
        "Euclidean": float((a - b).norm()),
        "1 − SSIM, window 3": dissimilarity(a, b, 3),
        "1 − SSIM, window 7": dissimilarity(a, b, 7),
    }


def curve_table(curves: list[dict[str, Geodesic]], models: Models) -> list[dict[str, Any]]:
    """What both models say of each kind of curve: means over the pairs of images."""
    rows = []
    for name in curves[0]:
        kind = [geodesics[name] for geodesics in curves]
        by_mixture = np.array([measure(models.mixture, geodesic.points) for geodesic in kind])
        by_network = np.array([measure(models.network, geodesic.points) for geodesic in kind])
        worst = 100 * max(geodesic.max_violation for geodesic in kind)
        rows.append(
            {
                "curve": name,
                "length, mixture": by_mixture[:, 0].mean(),
                "length, network": by_network[:, 0].mean(),
                "J < 0, mixture %": 100 * by_mixture[:, 1].mean(),
                "J < 0, network %": 100 * by_network[:, 1].mean(),
                "variance": np.mean([geodesic.max_variance for geodesic in kind]),
                "violation %": worst if math.isfinite(worst) else None,
                "converged": sum(geodesic.converged for geodesic in kind),
            }
        )
    return rows


def agreement_table(
    edits: list[dict[str, tuple[float, float, bool]]], classical: list[dict[str, float]], same: np.ndarray
) -> list[dict[str, Any]]:
    """One row for each distance: Spearman's ρ with the classical ones, and what it says of digits.

    AUC: how often a pair of the same digit is nearer than one of different digits. The last two columns: chords of the
    curves that are negative to their denoiser, and curves that are converged and feasible.
    """
    others = {name: [row[name] for row in classical] for name in classical[0]}
    rows = []
    for name in [*edits[0], *others]:
        lengths, negative, settled = zip(*(row[name] for row in edits), strict=True) if name in edits[0] else [None] * 3
        values = np.array(others[name] if lengths is None else lengths)
        rows.append(
            {"distance": name}
            | {f"ρ, {other}": spearmanr(values, others[other])[0] for other in others}
            | {
                "AUC": roc_auc_score(~same, values),
                "same digit": values[same].mean(),
                "different": values[~same].mean(),
                "J < 0 %": None if negative is None else 100 * np.mean(negative),
                "converged %": None if settled is None else 100 * np.mean(settled),
            }
        )
    return rows


def interpolation_figure(
    path: Path, models: Models, images: Tensor, pairs: list[tuple[int, int]], curves: list[dict[str, Geodesic]]
) -> None:
    """Denoised means along the curves, one block of rows for each pair."""
    figure = Figure(figsize=(13, 6.2))
    for block, (i, j), geodesics in zip(figure.subfigures(2, 2).ravel(), pairs, curves, strict=True):
        with torch.no_grad():
            rows = {
                "fading pixels": images[i] + torch.from_numpy(SHARES)[:, None] * (images[j] - images[i]),
                "mixture, geodesic": moments_at(models.mixture, geodesics["mixture, shell"].points).mean,
                "network, same curve": moments_at(models.network, geodesics["mixture, shell"].points).mean,
                "mixture, low variance": geodesics["mixture, low variance"].moments.mean,
                "network, geodesic": moments_at(models.network, geodesics["network, shell, 1 knot"].points).mean,
            }
        room = {"left": 0.24, "right": 0.99, "bottom": 0.02, "top": 0.98, "wspace": 0.05, "hspace": 0.08}
        axes = block.subplots(len(rows), len(SHARES), gridspec_kw=room)
        for (name, means), line in zip(rows.items(), axes, strict=True):
            line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
            chosen = (SHARES * (len(means) - 1)).round().astype(int)
            for axis, mean in zip(line, means[chosen], strict=True):
                axis.imshow(mean.reshape(SIDE, SIDE), cmap="gray_r", vmin=-1, vmax=1)
                axis.set_axis_off()
    figure.savefig(path, dpi=150)


def distance_figure(
    path: Path,
    edits: list[dict[str, tuple[float, float, bool]]],
    classical: list[dict[str, float]],
    same: np.ndarray,
) -> None:
    """Edit distances over Euclidean distance and SSIM."""
    names, others = list(edits[0]), ("Euclidean", "1 − SSIM, window 3")
    figure = Figure(figsize=(3.2 * len(names), 6.2), layout="constrained")
    axes = figure.subplots(len(others), len(names), sharey="row", sharex="col")
    for line, other in zip(axes, others, strict=True):
        vertical = np.array([row[other] for row in classical])
        line[0].set_ylabel(other)
        for axis, name in zip(line, names, strict=True):
            horizontal = np.array([row[name][0] for row in edits])
            for kind, colour, label in ((~same, "tab:orange", "different digits"), (same, "tab:blue", "same digit")):
                axis.scatter(horizontal[kind], vertical[kind], s=14, color=colour, alpha=0.8, label=label)
            axis.set_title(f"Spearman {spearmanr(horizontal, vertical)[0]:.2f}", fontsize=10)
    for axis, name in zip(axes[-1], names, strict=True):
        axis.set_xlabel(f"edit distance: {name}", fontsize=9)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=150)


def print_table(rows: list[dict[str, Any]]) -> None:
    print("\n| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        name, *figures = row.values()
        print(f"| {name} | " + " | ".join("" if figure is None else f"{figure:.4g}" for figure in figures) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/figures"), help="folder; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    configure_logging()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)

    pixels, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(pixels))
    pixels, labels = torch.from_numpy(pixels[order] / 8 - 1), labels[order]
    training, images, labels = pixels[:TRAINING_IMAGES], pixels[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]
    models = learn(training, arguments.seed)

    tested = {"network": models.network, "mixture": models.mixture}
    tested["one Gaussian"] = GaussianMixtureDenoiser.wiener(training)
    errors = [
        {"error of x̂": name} | denoising_errors(denoiser, images, arguments.seed) for name, denoiser in tested.items()
    ]
    print_table(errors)

    shown = random_pairs(labels, rng, 1, same=True) + random_pairs(labels, rng, 3, same=False)
    curves = [curves_between(models, images[i], images[j], training) for i, j in shown]
    interpolation_figure(arguments.output / "digits_interpolation.png", models, images, shown, curves)
    curve_rows = curve_table(curves, models)
    print_table(curve_rows)

    pairs = random_pairs(labels, rng, PAIRS // 2, same=True) + random_pairs(labels, rng, PAIRS // 2, same=False)
    same = np.array([labels[i] == labels[j] for i, j in pairs])
    edits = [edit_distances(models, images[i], images[j]) for i, j in pairs]
    classical = [classical_distances(images[i], images[j]) for i, j in pairs]
    distance_figure(arguments.output / "digits_distances.png", edits, classical, same)
    agreement = agreement_table(edits, classical, same)
    print_table(agreement)
    if arguments.json:
        record = {
            "seed": arguments.seed,
            "pairs": PAIRS,
            "denoising": errors,
            "curves": curve_rows,
            "agreement": agreement,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
