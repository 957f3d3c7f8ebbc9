"""The shipped free-energy surface of alanine dipeptide is what its README says."""

import heapq

import numpy as np
import pytest

from spacetime_tps.settings.shipped import data_folder

FILE = data_folder("systems") / "ramachandran" / "free_energy.npz"


@pytest.fixture(scope="module")
def surface():
    with np.load(FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def index(surface, phi, psi):
    """Indices of the grid point nearest to (phi, psi) in degrees."""
    return tuple(
        int(np.abs(surface[name] - np.radians(angle)).argmin()) for name, angle in (("phi", phi), ("psi", psi))
    )


def basin_minimum(surface, phi, psi, reach=8):
    """Lowest energy within ``reach`` grid points of (phi, psi) in degrees on the torus, and its index."""
    n = len(surface["phi"])
    i, j = index(surface, phi, psi)
    window = np.ix_(np.arange(i - reach, i + reach + 1) % n, np.arange(j - reach, j + reach + 1) % n)
    energy = surface["energy"][window]
    row, column = np.unravel_index(energy.argmin(), energy.shape)
    return energy[row, column], ((i - reach + row) % n, (j - reach + column) % n)


def lowest_pass(energy, start, end):
    """min over paths of max energy along them, on a doubly periodic grid with eight neighbours."""
    n, m = energy.shape
    best = {start: energy[start]}
    queue = [(energy[start], start)]
    while queue:
        height, (i, j) = heapq.heappop(queue)
        if (i, j) == end:
            return height
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                neighbour = ((i + di) % n, (j + dj) % m)
                risen = max(height, energy[neighbour])
                if risen < best.get(neighbour, np.inf):
                    best[neighbour] = risen
                    heapq.heappush(queue, (risen, neighbour))
    raise AssertionError("a grid is connected")


def test_file_is_small():
    assert FILE.stat().st_size < 200_000


def test_grid_is_uniform_over_one_turn(surface):
    for name in ("phi", "psi"):
        axis = surface[name]
        assert axis[0] == pytest.approx(-np.pi)
        np.testing.assert_allclose(np.diff(axis), 2 * np.pi / len(axis), rtol=1e-12)
    assert surface["energy"].shape == surface["error"].shape == (len(surface["phi"]), len(surface["psi"]))


def test_numbers_are_finite_and_energy_starts_at_zero(surface):
    assert np.isfinite(surface["energy"]).all()
    assert surface["energy"].min() == 0
    assert np.isfinite(surface["error"]).all()
    assert (surface["error"] >= 0).all()
    assert surface["temperature"] == 300
    assert surface["bias_factor"] > 1
    assert surface["length"] > 5


@pytest.mark.parametrize("axis", [0, 1])
def test_surface_has_no_step_where_the_circle_closes(surface, axis):
    """A seam, or a transposed or doubled end point, would make the step there larger than any other."""
    steps = np.abs(np.diff(surface["energy"], axis=axis, append=surface["energy"].take([0], axis=axis)))
    seam = steps.take([-1], axis=axis)
    assert 0 < seam.max() <= steps.max()
    assert seam.mean() < 2 * steps.mean()


def test_basins_of_an_l_amino_acid(surface):
    """C5 and C7eq are level, C7ax lies a few kJ/mol above and behind a barrier."""
    c5, _ = basin_minimum(surface, -150, 155)
    c7eq, at_c7eq = basin_minimum(surface, -80, 60)
    c7ax, at_c7ax = basin_minimum(surface, 60, -45)
    assert min(c5, c7eq) == 0
    assert max(c5, c7eq) < 3
    assert 3 < c7ax < 12
    assert 30 < lowest_pass(surface["energy"], at_c7eq, at_c7ax) < 45
    assert surface["energy"][index(surface, 0, 180)] > 60  # syn-periplanar, never visited by unbiased dynamics


def test_error_is_below_thermal_energy_where_it_matters(surface):
    """kT is 2.5 kJ/mol; the root mean square over regions is stable where that of one point, from two runs, is not."""
    for level, largest in ((20, 0.6), (60, 0.8)):
        assert np.sqrt(np.mean(surface["error"][surface["energy"] < level] ** 2)) < largest
