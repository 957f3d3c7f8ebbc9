"""The core of free energies: corrections of ends, Crooks' theorem, and replica exchange, against closed forms."""

import numpy as np
import pytest

from spacetime_tps.errors import DynamicsError
from spacetime_tps.free_energy.core import (
    Ladder,
    Reduced,
    annealing_estimate,
    end_corrections,
    equilibrium_ends,
    replica_estimate,
    window_estimate,
)
from spacetime_tps.free_energy.results import Ends
from spacetime_tps.free_energy.series import Series
from spacetime_tps.statistics.mbar import mbar

KT = 2.5


@pytest.fixture
def series_of_wells(harmonic_series, run):
    """The harmonic series as if its second to its last but one ensemble were the windows on a curve."""
    sampled, _ = harmonic_series(200, 3, replicas=6)
    ensembles, frames = sampled.bias.shape
    log_snr = np.concatenate([[-np.inf], np.zeros(ensembles - 2), [-np.inf]])
    curve = slice(1, ensembles - 1)
    series = Series(np.zeros((ensembles, 1, 3)), log_snr, curve, np.linspace(0, 1, ensembles - 2))
    cells = np.arange(frames) % (ensembles - 2)
    return run.molecule.states, series, Reduced(sampled, cells, np.ones(ensembles))


def test_windows_are_those_of_mbar_in_kj_per_mol(series_of_wells):
    states, series, reduced = series_of_wells
    found = window_estimate(states, KT, series, reduced, 1e-3, 10, np.random.default_rng(0))
    solved = mbar(reduced.sampled)
    assert (found.value, found.asymptotic_error) == pytest.approx((KT * solved.values[-1], KT * solved.errors[-1]))
    np.testing.assert_allclose([row.free_energy for row in found.profile], KT * solved.values[1:-1])
    assert [row.progress for row in found.profile] == pytest.approx(series.progress)
    assert found.frames == reduced.sampled.counts.sum()
    assert found.least_overlap == np.diagonal(found.overlap, 1).min() > 1e-3
    with pytest.raises(DynamicsError, match="do not overlap"):
        window_estimate(states, KT, series, reduced, 0.9, 10, np.random.default_rng(0))


def test_states_with_few_frames_are_told(series_of_wells, caplog):
    states, series, reduced = series_of_wells
    window_estimate(states, KT, series, reduced, 1e-3, 10**6, np.random.default_rng(0))
    for state in states:
        assert f"free dynamics of {state.name} has only" in caplog.text


def test_a_window_that_no_frame_is_nearest_to(series_of_wells):
    """Nothing is known of its profile: None, which JSON can say."""
    states, series, reduced = series_of_wells
    nearest = Reduced(reduced.sampled, np.zeros_like(reduced.cells), reduced.inefficiencies)
    found = window_estimate(states, KT, series, nearest, 1e-3, 10, np.random.default_rng(0)).to_json()
    assert [row["profile"] for row in found["profile"]] == [0.0] + [None] * (len(series.progress) - 1)
    assert found["profile"][1]["profile_error"] is None


def test_ends_and_curve_add_up(series_of_wells):
    """Both sides and what is between the curve's ends are the whole, within the errors of parts that share frames."""
    _, series, reduced = series_of_wells
    ends = end_corrections(KT, series, reduced)
    whole = mbar(reduced.sampled)
    between = KT * (whole.values[-2] - whole.values[1])
    assert ends.value + between == pytest.approx(KT * whole.values[-1], abs=4 * ends.error)
    assert ends.error > 0


def test_gaussian_works_obey_crooks():
    """Work there from N(ΔF + s²/2kT, s²) and back from N(−ΔF + s²/2kT, s²): BAR gives ΔF, s²/2kT are dissipated."""
    rng, spread, difference = np.random.default_rng(4), 3.0, 5.0
    lost = spread**2 / (2 * KT)
    there, back = (rng.normal(sign * difference + lost, spread, 4000) for sign in (1, -1))
    found = annealing_estimate(KT, there, back, Ends(1.5, 0.0))
    assert found.between_ends == pytest.approx(difference, abs=4 * found.between_ends_error)
    assert found.value == found.between_ends + 1.5
    assert found.dissipated == pytest.approx(lost, abs=4 * found.dissipated_error)
    assert found.dissipated_error == pytest.approx(0.5 * spread * np.sqrt(2 / 4000), rel=0.1)
    assert annealing_estimate(KT, there, back, Ends(1.5, 40.0)).error == pytest.approx(
        np.hypot(40.0, found.between_ends_error)
    )
    assert found.to_json()["paths"] == [4000, 4000]


def test_works_that_are_far_apart():
    """Two paths each way that dissipate some hundred kT: BAR's error is not a number."""
    with pytest.raises(DynamicsError, match=r"there \(1000\.0 kJ/mol in the mean\) and back .* take more --paths"):
        annealing_estimate(KT, np.array([990.0, 1010.0]), np.array([1000.0, 1020.0]), Ends(0.0, 0.0))


def two_levels(kt: list[float], frames: int) -> Ladder:
    """Frames of two levels, A at 0 and B at 4 kJ/mol, at every temperature."""
    rng, states = np.random.default_rng(5), []
    for each in kt:
        states.append((rng.random(frames) < 1 / (1 + np.exp(4.0 / each))).astype(int))
    return Ladder(kt, states, [4.0 * state for state in states])


def test_replica_exchange_of_two_levels():
    """The free energy of B is its energy, at whatever temperature."""
    found = replica_estimate(two_levels([2.5, 4.0, 8.0], 4000), 2.5, np.random.default_rng(0))
    assert found.value == pytest.approx(4.0, abs=4 * found.error)
    assert 0.01 < found.error < 0.3


def test_replica_exchange_that_never_sees_a_state():
    ladder = two_levels([2.5, 4.0], 100)
    only_a = Ladder(ladder.kt, [np.zeros_like(state) for state in ladder.states], ladder.energies)
    assert replica_estimate(only_a, 2.5, np.random.default_rng(0)) is None


def test_equilibrium_ends_are_quarters_of_sweeps():
    """Frames 1, 3, 5 and 7 of 8, of every sweep in turn, in the first and the last window on the curve."""
    sweeps, ensembles, frames = 2, 5, 8
    positions = np.arange(sweeps * ensembles * frames, dtype=float).reshape(sweeps, ensembles, frames, 1, 1)
    series = Series(np.zeros((5, 1, 3)), np.zeros(5), slice(1, 4), np.linspace(0, 1, 3))
    a, b = equilibrium_ends(series, positions)
    assert [int(frame.item()) for frame in a] == [9, 49, 11, 51, 13, 53, 15, 55]
    assert [int(frame.item()) for frame in b] == [25, 65, 27, 67, 29, 69, 31, 71]
