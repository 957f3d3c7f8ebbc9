"""Correlated series that are known exactly."""

from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture(scope="session")
def autoregressive() -> Callable[[float, int, np.random.Generator], np.ndarray]:
    """x' = ρ x + √(1 − ρ²) ξ, from equilibrium: autocorrelation ρᵗ, so g = (1 + ρ) / (1 − ρ)."""

    def series(rho: float, count: int, rng: np.random.Generator) -> np.ndarray:
        x = np.empty(count)
        x[0] = rng.normal()
        for index, kick in enumerate(rng.normal(size=count - 1) * np.sqrt(1 - rho**2), 1):
            x[index] = rho * x[index - 1] + kick
        return x

    return series
