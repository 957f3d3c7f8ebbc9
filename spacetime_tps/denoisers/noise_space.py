"""Where the noise lives: latent vectors in the ambient space that dynamics and diffusion move in.

A restraint on positions in the laboratory lets the molecule librate, so p(x|z) of a latent y, the positions of n atoms
superposed on a template, lives in all 3n − 3 centred coordinates, of which the latent space has 3n − 6. Nothing depends
on how the molecule is turned: a noisy structure is superposed on the template, and what it was made from is turned with
it. Latent spaces without such a symmetry are their own ambient space.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, MixtureDenoiser, Moments

OTHERS = 4096
"""Samples that a target is averaged over in a plain noise space."""


class NoiseSpace(Protocol):
    """The way between latent vectors (..., dimension) and ambient states (..., size)."""

    @property
    def dimension(self) -> int:
        """Number of latent coordinates."""
        ...

    @property
    def degrees(self) -> int:
        """Number of coordinates that noise is added to."""
        ...

    def ambient(self, latent: Tensor) -> Tensor:
        """States (B, size) of latent vectors (B, dimension)."""
        ...

    def latent(self, state: Tensor) -> Tensor:
        """Latent vectors (B, dimension) of states (B, size)."""
        ...

    def mean(self, denoiser: Denoiser, state: Tensor, log_snr: Tensor) -> Tensor:
        """E[x|z] (B, size) at states (B, size), by a denoiser of latent vectors."""
        ...

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard normal states (count, size)."""
        ...

    def noisy(self, x: Tensor, log_snr: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Noised latent vectors and what a denoiser should say of them, drawn once.

        Parameters
        ----------
        x : tensor, shape (B, dimension)
        log_snr : tensor, shape (B,)
        generator : torch.Generator

        Returns
        -------
        y : tensor, shape (B, dimension)
        target : tensor, shape (B, dimension)
            x, seen from where y is: its mean given y is the posterior mean.
        square : tensor, shape (B,)
            |x − y|², in all ``degrees``.
        """
        ...

    def draw(
        self, x: Tensor, weights: Tensor, log_snr: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Noised samples of a weighted density, one at each log SNR, to learn from: as :meth:`noisy` gives them.

        Parameters
        ----------
        x : tensor, shape (samples, dimension)
        weights : tensor, shape (samples,)
        log_snr : tensor, shape (B,)
        generator : torch.Generator

        Returns
        -------
        y : tensor, shape (B, dimension)
        target : tensor, shape (B, dimension)
        square : tensor, shape (B,)
        """
        ...

    def clean_moments(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (size,) and covariance (size, size) of the states of latent samples.

        Parameters
        ----------
        x : tensor, shape (samples, dimension)
        weights : tensor, shape (samples,)
        """
        ...

    def laboratory(self, denoiser: Denoiser) -> Denoiser:
        """A denoiser that knows the latent space alone, as restrained dynamics in all ``degrees`` sees it."""
        ...


class PlainNoiseSpace:
    """A latent space that is its own ambient space.

    Parameters
    ----------
    dimension : int
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = self.degrees = dimension

    def ambient(self, latent: Tensor) -> Tensor:
        """Themselves."""
        return latent

    def latent(self, state: Tensor) -> Tensor:
        """Themselves."""
        return state

    def mean(self, denoiser: Denoiser, state: Tensor, log_snr: Tensor) -> Tensor:
        """See :class:`NoiseSpace`."""
        return denoiser.moments(state, log_snr).mean

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """See :class:`NoiseSpace`."""
        return torch.randn(count, self.dimension, generator=generator, dtype=torch.float64)

    def noisy(self, x: Tensor, log_snr: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`NoiseSpace`."""
        noise = torch.exp(-0.5 * log_snr)[:, None] * self.noise(len(x), generator)
        return x + noise, x, (noise**2).sum(1)

    def draw(
        self, x: Tensor, weights: Tensor, log_snr: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`NoiseSpace`.

        Samples are drawn evenly and targets averaged with the weights, so that hot samples with small weights, as on
        barriers, are learned from too.
        """
        count = len(log_snr)
        index = torch.randint(len(x), (count + OTHERS,), generator=generator)
        y, _, _ = self.noisy(x[index[:count]], log_snr, generator)
        return y, *self.average(y, log_snr, x[index], weights[index].log())

    def clean_moments(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`NoiseSpace`."""
        w = weights / weights.sum()
        mean = w @ x
        return mean, (x - mean).T @ ((x - mean) * w[:, None])

    def laboratory(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser itself."""
        return denoiser

    @staticmethod
    def average(y: Tensor, log_snr: Tensor, x: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """Targets averaged over all that y may have come from (stable targets: Xu et al., arXiv 2302.00670).

        For samples x of any density their weights make them those of q: y may then be drawn where it is wanted.

        Parameters
        ----------
        y : tensor, shape (B, dimension)
        log_snr : tensor, shape (B,)
        x : tensor, shape (M, dimension)
        log_weights : tensor, shape (M,)

        Returns
        -------
        target : tensor, shape (B, dimension)
        square : tensor, shape (B,)
        """
        squares = (y**2).sum(1, keepdim=True) - 2 * y @ x.T + (x**2).sum(1)
        share = torch.softmax(log_weights - 0.5 * torch.exp(log_snr)[:, None] * squares, dim=1)
        return torch.as_tensor(share @ x), (share * squares).sum(1)


class RigidNoiseSpace:
    """Positions superposed on a template; states are centred positions in the laboratory, (B, 3n).

    Parameters
    ----------
    basis : tensor, shape (3n, dimension)
        Orthonormal, of superposed positions: those with Σ x_i = 0 and Σ t_i × x_i = 0.
    template : tensor, shape (n, 3)
        t, centred.
    """

    def __init__(self, basis: Tensor, template: Tensor) -> None:
        self.basis, self.template = basis, template
        turned = torch.linalg.cross(torch.eye(3, dtype=basis.dtype)[:, None], template[None], dim=-1)
        self._rotations = torch.linalg.qr(turned.flatten(1).T).Q  # (3n, 3): what superposition takes out

    @property
    def dimension(self) -> int:
        """3n − 6."""
        return int(self.basis.shape[1])

    @property
    def degrees(self) -> int:
        """3n − 3."""
        return self.dimension + 3

    def ambient(self, latent: Tensor) -> Tensor:
        """See :class:`NoiseSpace`."""
        return latent @ self.basis.T

    def latent(self, state: Tensor) -> Tensor:
        """See :class:`NoiseSpace`."""
        return _turn(state, self._rotation_of(state)) @ self.basis

    def mean(self, denoiser: Denoiser, state: Tensor, log_snr: Tensor) -> Tensor:
        """See :class:`NoiseSpace`.

        What the latent mean leaves open, the rotation of x̂ against y, follows from invariance: Σ y_i × x̂_i = 0, for
        x̂ − y is the gradient of a function that turning y does not change.
        """
        rotation = self._rotation_of(state)
        y = _turn(state, rotation)
        mean = denoiser.moments(y @ self.basis, log_snr).mean @ self.basis.T
        torque = _torque(y, mean)
        lever = torch.stack([_torque(y, column.expand_as(y)) for column in self._rotations.T], dim=-1)
        mean = mean - torch.linalg.solve(lever, torque) @ self._rotations.T
        return _turn(mean, rotation.mT)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """See :class:`NoiseSpace`."""
        normal = torch.randn(count, len(self.template), 3, generator=generator, dtype=torch.float64)
        return (normal - normal.mean(1, keepdim=True)).flatten(1)

    def noisy(self, x: Tensor, log_snr: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`NoiseSpace`."""
        clean, noise = self.ambient(x), torch.exp(-0.5 * log_snr)[:, None] * self.noise(len(x), generator)
        rotation = self._rotation_of(clean + noise)
        y, target = (_turn(state, rotation) @ self.basis for state in (clean + noise, clean))
        return y, target, (noise**2).sum(1)

    def draw(
        self, x: Tensor, weights: Tensor, log_snr: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`NoiseSpace`.

        Samples are drawn by weight: to average targets would be to superpose each sample on each y.
        """
        index = torch.multinomial(weights, len(log_snr), replacement=True, generator=generator)
        return self.noisy(x[index], log_snr, generator)

    def clean_moments(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`NoiseSpace`.

        Molecules in the laboratory are turned at random, so that the mean is 0 and the covariance of atoms i and j is
        ⟨x_i·x_j⟩/3 in each direction.
        """
        atoms = _atoms(self.ambient(x))
        gram = torch.einsum("s,sic,sjc->ij", weights / weights.sum(), atoms, atoms)
        return torch.zeros(3 * len(gram), dtype=x.dtype), torch.kron(gram / 3, torch.eye(3, dtype=x.dtype))

    def laboratory(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with :class:`FreeRotations`: it knows of no rotations itself."""
        return FreeRotations(denoiser)

    def _rotation_of(self, state: Tensor) -> Tensor:
        """Proper rotations (B, 3, 3) that superpose states on the template (Kabsch, Acta Cryst. A 32, 922 (1976))."""
        u, _, vt = torch.linalg.svd(_atoms(state).mT @ self.template)
        sign = torch.ones_like(u[..., 0])
        sign[..., 2] = torch.linalg.det(u @ vt).sign()
        rotation: Tensor = (u * sign[..., None, :]) @ vt
        return rotation


def _atoms(state: Tensor) -> Tensor:
    return state.reshape(*state.shape[:-1], -1, 3)


def _turn(state: Tensor, rotation: Tensor) -> Tensor:
    turned: Tensor = (_atoms(state) @ rotation).flatten(-2)
    return turned


def _torque(a: Tensor, b: Tensor) -> Tensor:
    """Σ a_i × b_i of states, shape (B, 3)."""
    torque: Tensor = torch.linalg.cross(_atoms(a), _atoms(b), dim=-1).sum(-2)
    return torque


def laboratory_denoiser(denoiser: Denoiser, noise_space: NoiseSpace) -> Denoiser:
    """A denoiser as restrained dynamics sees it: a mixture knows the latent space alone, and is put in all degrees."""
    return noise_space.laboratory(denoiser) if isinstance(denoiser, MixtureDenoiser) else denoiser


class FreeRotations:
    """A denoiser of superposed positions, made one of positions in the laboratory.

    Small rotations are taken as free: they add 3/SNR to the variance and nothing to the mean. This is the leading term
    for a stiff restraint; that rotations couple to the shape is left out.

    Parameters
    ----------
    denoiser : Denoiser
        Of 3n − 6 superposed coordinates.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    @property
    def dimension(self) -> int:
        """Number of latent coordinates."""
        return self.denoiser.dimension

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """That of the denoiser."""
        return self.denoiser.log_snr_range

    def moments(self, y: Tensor, log_snr: Tensor) -> Moments:
        """See :class:`Denoiser`."""
        moments = self.denoiser.moments(y, log_snr)
        return Moments(moments.mean, moments.variance + 3 * torch.exp(-log_snr))

    def log_normalizer(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """See :class:`Denoiser`; up to a constant."""
        return self.denoiser.log_normalizer(y, log_snr) - 1.5 * log_snr
