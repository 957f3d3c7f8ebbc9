"""Coordinates of a run: made as the settings say, and never of virtual sites."""

import dataclasses

import openmm
import pytest

from spacetime_tps.errors import MoleculeError
from spacetime_tps.runs.context import make_coordinates


def test_virtual_sites_are_refused(run):
    """One of the model's atoms becomes a site between two others."""
    one, site, other, *_ = run.coordinates.atoms
    system = openmm.XmlSerializer.deserialize(run.molecule.system_xml)
    system.setParticleMass(site, 0.0)
    system.setVirtualSite(site, openmm.TwoParticleAverageSite(one, other, 0.5, 0.5))
    molecule = dataclasses.replace(run.molecule, system_xml=openmm.XmlSerializer.serialize(system))
    assert molecule.virtual_sites == {site} and run.molecule.virtual_sites == frozenset()
    with pytest.raises(
        MoleculeError, match=f"{run.molecule.topology.atom(site)} is a virtual site, which no restraint can hold"
    ):
        make_coordinates(run.settings, molecule)
    assert make_coordinates(run.settings, run.molecule).atoms == run.coordinates.atoms
