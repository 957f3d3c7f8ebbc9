"""The public data of arXiv 2505.17517, for side-by-side measurements: what ``--reference DIR`` of the benchmarks reads.

DIR holds files of that paper's code: ``potential_model.pt`` (the 2-D φ/ψ surface, a network), ``diffusion_model.pt``
(the denoiser trained there) and ``reference_curve.npy`` (the curve it returned). They are not part of this project and
nothing else needs them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from spacetime_tps.denoisers import ExternalDenoiser, GaussianMixtureDenoiser, GridDenoiser
from spacetime_tps.spacetime import Points, point

ENDS = ((-2.55, 2.7), (0.95, -0.4))
"""x_t of the two states (φ, ψ)."""
LOG_SNR = 4.0
"""Of both ends."""
GRID = 180
"""Nodes of each axis of the exact denoiser, on [−π, π)."""
TOY = GaussianMixtureDenoiser([0.275, 0.45, 0.275], [[-2.5], [0.5], [2.5]], np.full((3, 1, 1), 0.75**2))
"""The one-dimensional mixture of Fig. 1, which needs no files."""


class PaperSurface:
    """The potential energy U(φ, ψ) of the paper's 2-D task, in kJ/mol; its density is exp(−U), without a kT."""

    def __init__(self, folder: Path) -> None:
        state = torch.load(folder / "potential_model.pt", weights_only=True)
        names = ("layers.0.0", "layers.1.0", "layers.2")
        self._layers = [(state[f"{name}.weight"], state[f"{name}.bias"]) for name in names]

    def evaluate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n,) and forces −∇U (n, 2) of points (n, 2), wrapped to [−π, π)."""
        x = torch.from_numpy((points + np.pi) % (2 * np.pi) - np.pi).float().requires_grad_()
        value = x
        for weight, bias in self._layers[:-1]:
            value = nn.functional.silu(value @ weight.T + bias)
        weight, bias = self._layers[-1]
        energy = (value @ weight.T + bias)[:, 0]
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach().double().numpy(), -gradient.double().numpy()

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes of one axis and energies on both, shape (GRID, GRID)."""
        axis = -np.pi + 2 * np.pi / GRID * np.arange(GRID)
        nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
        return axis, self.evaluate(nodes.reshape(-1, 2))[0].reshape(GRID, GRID)

    def denoiser(self) -> GridDenoiser:
        """The exact denoiser of exp(−U) on [−π, π)², not periodic, as the paper's task has it."""
        axis, energy = self.grid()
        return GridDenoiser(-energy, [axis, axis])


def variance_preserving(x_t: Sequence[float], log_snr: float) -> Points:
    """The spacetime point (y, λ) of a noisy sample: y = x_t/α with α² = sigmoid(λ)."""
    return point(np.array(x_t) * math.sqrt(1 + math.exp(-log_snr)), log_snr)


def paper_ends() -> tuple[Points, Points]:
    """The two ends of the 2-D task."""
    first, second = (variance_preserving(x_t, LOG_SNR) for x_t in ENDS)
    return first, second


def toy_ends() -> tuple[Points, Points]:
    """The two ends of Fig. 1, at t = 0.35 and 0.4 of λ = 10 − 20 t."""
    return variance_preserving([-2.3], 3.0), variance_preserving([2.0], 2.0)


def paper_curve(folder: Path) -> Points:
    """The curve that the paper's code returned for the unconstrained task after 10,000 steps of Adam."""
    log_snr, *x_t = torch.from_numpy(np.load(folder / "reference_curve.npy")).double().T
    return Points(torch.stack(x_t, dim=1) / torch.sigmoid(log_snr).sqrt()[:, None], log_snr)


def paper_denoiser(folder: Path) -> ExternalDenoiser:
    """The network that the paper's code trained on samples of its surface: variance preserving, conditioned on λ."""
    state = torch.load(folder / "diffusion_model.pt", weights_only=True)

    def layer(name: str, x: Tensor) -> Tensor:
        return nn.functional.linear(x, state[f"joint_mlp.{name}.weight"], state[f"joint_mlp.{name}.bias"])

    def network(x_t: Tensor, log_snr: Tensor) -> Tensor:
        inputs = torch.cat([25 * x_t, log_snr[:, None]], dim=1)
        hidden = nn.functional.gelu(layer("0", _sinusoidal(inputs)))
        for block in ("2.ff", "3.ff", "4.ff"):
            hidden = hidden + nn.functional.gelu(layer(block, hidden))
        return layer("5", hidden)

    return ExternalDenoiser(network, 2, schedule="vp", conditioned_on="log_snr", dtype=torch.float32)


def _sinusoidal(inputs: Tensor, size: int = 128) -> Tensor:
    """Sines, then cosines, of each input at frequencies 10000^(−i/(size/2 − 1)), shape (N, inputs · size)."""
    frequencies = torch.exp(-math.log(10_000) / (size // 2 - 1) * torch.arange(size // 2))
    phases = inputs[..., None] * frequencies
    return torch.cat([phases.sin(), phases.cos()], dim=-1).flatten(1)
