"""Restraints along the geodesics: what the settings ask for, in both kinds of coordinates."""

import numpy as np
import pytest

from spacetime_tps.pipeline.annealed_paths import restraints, straight_line
from spacetime_tps.runs.read import StoredGeodesic

DIHEDRALS = {"coordinates": {"kind": "torsions", "dihedrals": ["phi", "psi"]}}
NARROW = {"paths": {"spring_temperature": "model", "narrowing": 4}}


def geodesic(run) -> StoredGeodesic:
    """The straight line, with means that are off by a tenth of the way to its middle."""
    line = straight_line(run, 900.0)
    middle = line.centres[len(line.centres) // 2]
    mean = 0.9 * line.centres + 0.1 * middle
    return StoredGeodesic(line.centres, mean, line.log_snr, np.ones(len(mean)))


@pytest.mark.parametrize("run", [{}, DIHEDRALS], indirect=True)
def test_a_geodesic_is_as_the_model_has_it_by_default(run):
    stored = geodesic(run)
    driven = restraints(run, stored)
    np.testing.assert_array_equal(driven.centres, stored.y)
    np.testing.assert_array_equal(driven.log_snr, stored.log_snr)


@pytest.mark.parametrize("run", [NARROW, NARROW | DIHEDRALS], indirect=True)
def test_natural_springs_about_the_means(run):
    """The model is at 1000 K and the dynamics at 300 K."""
    stored = geodesic(run)
    driven = restraints(run, stored)
    np.testing.assert_allclose(np.exp(driven.log_snr), 900 * 4 * 1000 / 300)
    np.testing.assert_array_equal(driven.centres, run.coordinates.narrowed(stored.y, stored.mean, 4.0))
    assert np.abs(driven.centres - stored.y).max() > 1e-3


@pytest.mark.parametrize("run", [{"paths": {"narrowing": 2}}], indirect=True)
def test_springs_of_the_dynamics_can_be_narrowed_too(run):
    driven = restraints(run, geodesic(run))
    np.testing.assert_allclose(np.exp(driven.log_snr), 1800.0)
