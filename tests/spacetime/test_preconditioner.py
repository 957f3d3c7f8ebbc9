"""The change of variables of the solver: an adjoint pair that makes known Hessians the identity."""

import numpy as np
import pytest
import torch

from spacetime_tps.spacetime.curve import SplineBasis
from spacetime_tps.spacetime.preconditioner import Preconditioner, simultaneous_directions

POINTS, KNOTS, VALUES = 40, 6, 5
RNG = np.random.default_rng(0)
WEIGHTS = SplineBasis(KNOTS + 2, POINTS).matrix[:, 1:-1]
PLACES = torch.linspace(0, POINTS - 1, 4).round().long()
HATS = torch.from_numpy(
    np.stack([np.interp(np.arange(POINTS), PLACES.numpy(), row) for row in np.eye(len(PLACES))], axis=1)
)


def random_basis() -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=(VALUES, VALUES)))


def metrics(basis: torch.Tensor) -> torch.Tensor:
    """B diag(g) Bᵀ with other g at each place, over six orders of magnitude."""
    scales = torch.from_numpy(10 ** RNG.uniform(-3, 3, size=(len(PLACES), VALUES)))
    return basis @ (scales[:, :, None] * basis.T)


def normals(active: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.zeros(POINTS, dtype=torch.bool)
    mask[:active] = True
    return torch.from_numpy(RNG.normal(size=(active, VALUES))), mask


def dense(variables: Preconditioner) -> torch.Tensor:
    """Matrix of ``back``: inner knots (flattened) from variables."""
    return torch.stack([variables.back(row).flatten() for row in torch.eye(KNOTS * VALUES).double()], dim=1)


@pytest.mark.parametrize("constraints", [(), (3,), (0,), (5, 2)])
def test_gradient_is_the_adjoint_of_back(constraints):
    variables = Preconditioner(WEIGHTS, metrics(random_basis()), HATS, [normals(n) for n in constraints], 7.0)
    gradient = torch.from_numpy(RNG.normal(size=(KNOTS, VALUES)))
    expected = dense(variables).T @ gradient.flatten()
    torch.testing.assert_close(
        variables.gradient(gradient), expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max())
    )


@pytest.mark.parametrize("constraints", [(), (4,), (3, 2)])
def test_hessian_becomes_the_identity(constraints):
    """Where all metrics share their directions nothing is approximate but the 1e-6 that keeps it regular."""
    basis = random_basis()
    metric = basis @ (torch.from_numpy(RNG.uniform(0.5, 2.0, size=(len(PLACES), VALUES, 1))) * basis.T)
    given = [normals(n) for n in constraints]
    steps = WEIGHTS[1:] - WEIGHTS[:-1]
    along = torch.einsum("np,pij->nij", HATS, metric)
    chord = 0.5 * (along[1:] + along[:-1]) * (POINTS - 1)
    hessian = torch.einsum("na,nb,nij->aibj", steps, steps, chord)
    for normal, active in given:
        w = WEIGHTS[active]
        hessian += 7.0 * torch.einsum("na,ni,nb,nj->aibj", w, normal, w, normal)
    back = dense(Preconditioner(WEIGHTS, metric, HATS, given, 7.0))
    result = back.T @ hessian.reshape(len(back), len(back)) @ back
    torch.testing.assert_close(result, torch.eye(len(back)).double(), rtol=0, atol=2e-4)


def test_directions_diagonalise_metrics_that_share_theirs():
    for metric in metrics(random_basis())[:2]:
        other = metric + 0.3 * metric.diagonal().mean() * torch.eye(VALUES).double()
        directions = simultaneous_directions(torch.stack([metric, other]))
        for one in (metric, other):
            rotated = directions.T @ one @ directions
            scale = rotated.diagonal().abs().sqrt()
            relative = rotated / (scale[:, None] * scale) - torch.eye(VALUES).double()
            assert relative.abs().max() < 1e-5


def test_metrics_that_are_not_positive_are_borne():
    metric = metrics(random_basis())
    variables = Preconditioner(WEIGHTS, -metric, HATS, [], 1.0)
    assert torch.isfinite(dense(variables)).all()
