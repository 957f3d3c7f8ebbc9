"""The neural denoiser: one scalar log-density, whose derivatives are all its answers.

The log-normalizer M(y, λ) = log ∫ q(x) exp(−SNR/2 |x − y|²) dx is that of a coarse mixture plus a network φ(y, λ). Then

    x̂ = y + SNR⁻¹ ∇_y M,    E|x − y|² = −2 SNR⁻¹ ∂_λ M

(Tweedie's formula and its counterpart in time), so mean and variance belong to one function, the geometry is that of a
potential, and lengths do not depend on which way a loop is closed. Where the network says nothing the mixture speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.denoisers.files import read, write
from spacetime_tps.denoisers.message_passing import MessagePassingNetwork, MolecularGraph
from spacetime_tps.denoisers.mixture import FACTORS, GaussianMixtureDenoiser
from spacetime_tps.denoisers.noise_space import FreeRotations
from spacetime_tps.denoisers.perceptron import PreconditionedNetwork
from spacetime_tps.denoisers.torus import PARAMETERS, VonMisesMixtureDenoiser
from spacetime_tps.errors import GeometryError

Network = PreconditionedNetwork | MessagePassingNetwork


class PotentialDenoiser:
    """Denoising distributions of a log-normalizer: a coarse denoiser's plus a network's.

    Parameters
    ----------
    base : Denoiser
        One that knows its log-normalizer.
    network : PreconditionedNetwork or MessagePassingNetwork
        φ: from y of shape (B, dimension) and log SNR of shape (B,) to (B,); twice differentiable.
    log_snr_range : tuple of float
        Where the network has been trained.
    """

    def __init__(self, base: Denoiser, network: Network, log_snr_range: tuple[float, float]) -> None:
        self.base, self.network, self._range = base, network, log_snr_range

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return self.base.dimension

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Where the network has been trained."""
        return self._range

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """See :class:`Denoiser`; up to a constant."""
        phi: Tensor = self.network(y.reshape(-1, self.dimension), log_snr.reshape(-1))
        return self.base.log_normalizer(y, log_snr) + phi.reshape(log_snr.shape)

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance of p(x|z); see :class:`Denoiser`."""
        shape = log_snr.shape
        y, log_snr = y.reshape(-1, self.dimension), log_snr.reshape(-1)
        moments = corrected(self.base.moments(y, log_snr), self.network, y, log_snr)
        return Moments(moments.mean.reshape(*shape, self.dimension), moments.variance.reshape(shape))

    def save(self, path: Path, description: dict[str, Any]) -> None:
        """Write mixture and network as safetensors, with their architecture and a JSON description inside.

        The base must be a mixture, with free rotations or without.
        """
        rotations = isinstance(self.base, FreeRotations)
        mixture = self.base.denoiser if isinstance(self.base, FreeRotations) else self.base
        kind = "gaussian_mixture" if isinstance(mixture, GaussianMixtureDenoiser) else "von_mises_mixture"
        tensors = {f"base.{name}": getattr(mixture, name) for name in _MIXTURES[kind][1]}
        tensors |= {f"network.{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        architecture = {
            "base": kind,
            "free_rotations": rotations,
            "network": next(name for name, known in NETWORKS.items() if isinstance(self.network, known)),
            "width": self.network.last.in_features,
            "depth": self.network.depth,
            "log_snr_range": self.log_snr_range,
        }
        write(path, "potential", tensors, {"architecture": architecture, **description})

    @classmethod
    def load(cls, path: Path) -> tuple[PotentialDenoiser, dict[str, Any]]:
        """Denoiser and description written by :meth:`save`.

        Raises
        ------
        GeometryError
            If the file is missing, damaged or of another kind.
        """
        _, tensors, description = read(path, "potential")
        try:
            architecture = description["architecture"]
            known, names = _MIXTURES[architecture["base"]]
            base: Denoiser = known(*(tensors[f"base.{name}"] for name in names))
            weights = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
            low, high = architecture["log_snr_range"]
            network = build_network(
                architecture["network"], weights, (low, high), architecture["width"], architecture["depth"]
            )
            network.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise GeometryError(f"{path} is not a readable denoiser ({error})") from error
        network.requires_grad_(False)
        return cls(FreeRotations(base) if architecture["free_rotations"] else base, network, (low, high)), description


def corrected(base: Moments, network: nn.Module, y: Tensor, log_snr: Tensor) -> Moments:
    """Moments of base + φ at y (B, dimension) and log SNR (B,): those of the base and the derivatives of φ.

    They can be differentiated again, by y and log SNR and by the network's weights, where those require it.
    """
    again = torch.is_grad_enabled() and any(t.requires_grad for t in (y, log_snr, *network.parameters()))
    with torch.enable_grad():
        at = [t if again and t.requires_grad else t.detach().requires_grad_() for t in (y, log_snr)]
        by_y, by_log_snr = torch.autograd.grad(network(*at).sum(), at, create_graph=again)
    spread = torch.exp(-log_snr)
    step = spread[:, None] * by_y
    mean = base.mean + step
    variance = base.variance - (step * (base.mean + mean - 2 * y)).sum(1) - 2 * spread * by_log_snr
    return Moments(mean, variance)


NETWORKS: dict[str, type[Network]] = {
    "perceptron": PreconditionedNetwork,
    "message_passing": MessagePassingNetwork,
}
_MIXTURES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "gaussian_mixture": (GaussianMixtureDenoiser.from_factors, FACTORS),
    "von_mises_mixture": (VonMisesMixtureDenoiser, PARAMETERS),
}


def build_network(
    kind: str,
    constants: Mapping[str, Tensor],
    log_snr_range: tuple[float, float],
    width: int,
    depth: int,
    generator: torch.Generator | None = None,
) -> Network:
    """A network of one of the ``NETWORKS``.

    Parameters
    ----------
    kind : str
    constants : mapping of str to tensor
        What it is made of: ``mean``, ``axes`` and ``variances``, or the attributes of a :class:`MolecularGraph`.
    log_snr_range : tuple of float
    width, depth : int
    generator : torch.Generator, optional
        Of the first weights.
    """
    generator = generator or torch.Generator()
    if kind == "perceptron":
        mean, axes, variances = (constants[name] for name in ("mean", "axes", "variances"))
        return PreconditionedNetwork(mean, axes, variances, log_snr_range, width, depth, generator)
    graph = MolecularGraph(**{field.name: constants[field.name] for field in fields(MolecularGraph)})
    return MessagePassingNetwork(graph, log_snr_range, width, depth, generator)
