"""The denoiser around any pretrained network: x̂0 from its output, the variance from its divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from spacetime_tps.denoisers.base import Moments
from spacetime_tps.errors import GeometryError


class ExternalDenoiser:
    """Denoising distributions of a pretrained network x̂0 = D(x_t, c).

    The network sees x_t = α y with its own noise level c, whatever its schedule; the variance follows from the second
    order of Tweedie's formula, tr Cov[x|z] = SNR⁻¹ div_y x̂ (arXiv 2505.17517, Prop. 4.3). A trained network need not be
    the gradient of a convex function: look at ``negative_chord_fraction`` of its geodesics.

    Parameters
    ----------
    function : callable
        Takes x_t of shape (N, dimension) and c of shape (N,), returns x̂0 of shape (N, dimension). Each row by itself,
        deterministic (a module in ``eval`` mode) and twice differentiable by torch (SiLU or GELU, not ReLU, whose
        divergence has no gradient).
    dimension : int
    schedule : {"ve", "vp"}
        "ve" (also EDM): x_t = x0 + σε. "vp": x_t = αx0 + σε with α² + σ² = 1, so that α² = sigmoid(λ).
    conditioned_on : {"sigma", "log_snr"}
        What c is: σ of the schedule, or λ.
    probes : int, optional
        Estimate the divergence from so many Rademacher vectors (Hutchinson), one backward pass each, instead of
        exactly from ``dimension`` of them. The vectors are the same at every point and every call, so that the estimate
        is a smooth function; its relative error falls as 1/√probes.
    seed : int
        Of the probes.
    log_snr_range : (float, float)
        Levels of noise the network was trained on.
    dtype : torch.dtype
        Number type the network computes in; everything else is float64.

    Raises
    ------
    GeometryError
        If an option is not one of the above.
    """

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        dimension: int,
        *,
        schedule: Literal["ve", "vp"] = "ve",
        conditioned_on: Literal["sigma", "log_snr"] = "sigma",
        probes: int | None = None,
        seed: int = 0,
        log_snr_range: tuple[float, float] = (-math.inf, math.inf),
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if schedule not in ("ve", "vp") or conditioned_on not in ("sigma", "log_snr"):
            raise GeometryError(
                f"schedule must be 've' or 'vp' and conditioned_on 'sigma' or 'log_snr', not {schedule!r} and "
                f"{conditioned_on!r}"
            )
        if dimension < 1 or (probes is not None and probes < 1):
            raise GeometryError(f"dimension and probes must be at least 1, not {dimension} and {probes}")
        if not log_snr_range[0] < log_snr_range[1]:
            raise GeometryError(f"log_snr_range must rise, not go from {log_snr_range[0]} to {log_snr_range[1]}")
        self.function, self.schedule, self.conditioned_on, self.dtype = function, schedule, conditioned_on, dtype
        self._dimension, self._log_snr_range = dimension, log_snr_range
        # vectors v_k with div x̂ = Σ v_k·J v_k: the whole basis, or random signs for which it holds on average
        self._probes = torch.eye(dimension, dtype=torch.float64)
        if probes is not None:
            signs = torch.randint(2, (probes, dimension), generator=torch.Generator().manual_seed(seed))
            self._probes = (2.0 * signs.double() - 1.0) / math.sqrt(probes)

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return self._dimension

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """Levels of noise the network was trained on."""
        return self._log_snr_range

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """Mean and variance of p(x|z); see :class:`Denoiser`.

        Raises
        ------
        GeometryError
            If the network's output has the wrong shape or is not differentiable in x_t.
        """
        shape, flat = log_snr.shape, log_snr.reshape(-1)
        differentiable = torch.is_grad_enabled() and (y.requires_grad or log_snr.requires_grad)
        y = y.reshape(-1, self.dimension)
        with torch.enable_grad():
            if not (differentiable and y.requires_grad):
                y = y.detach().requires_grad_()
            mean = self._mean(y, flat)
            variance = self._divergence(mean, y, differentiable) * torch.exp(-flat)
        if not differentiable:
            mean, variance = mean.detach(), variance.detach()
        return Moments(mean.reshape(*shape, self.dimension), variance.reshape(shape))

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """Not known to a network.

        Raises
        ------
        GeometryError
            Always.
        """
        raise GeometryError(
            "a network does not know its log-partition, so it gives no KL divergences, no depth and no region to "
            "avoid; use a mixture or a grid denoiser for these, or bound the variance instead"
        )

    def _mean(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """The network's x̂0 at points (B, dimension), (B,)."""
        alpha, sigma = torch.ones_like(log_snr), torch.exp(-0.5 * log_snr)
        if self.schedule == "vp":
            alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        condition = sigma if self.conditioned_on == "sigma" else log_snr
        output = self.function((alpha[:, None] * y).to(self.dtype), condition.to(self.dtype))
        if not isinstance(output, Tensor) or output.shape != y.shape:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise GeometryError(f"the network must return a tensor of shape {tuple(y.shape)}, like its x_t; got {got}")
        return output.double()

    def _divergence(self, mean: Tensor, y: Tensor, differentiable: bool) -> Tensor:
        """div_y x̂ (B,), exact or estimated."""
        vectors = self._probes[:, None].expand(-1, *mean.shape)
        gradient = None
        if mean.requires_grad:
            (gradient,) = torch.autograd.grad(
                mean,
                y,
                vectors,
                create_graph=differentiable,
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=True,
            )
        if gradient is None:
            raise GeometryError(
                "the network's output has no gradient by its x_t; take .detach() and torch.no_grad() out of it"
            )
        return (vectors * gradient).sum((0, 2))
