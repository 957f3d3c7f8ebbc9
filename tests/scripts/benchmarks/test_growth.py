"""The molecules that costs are measured on, and the table of costs."""

import json
import sys

import mdtraj
import numpy as np
import pytest


def test_polyalanine_is_a_helix_of_l_residues(script):
    build = script("polyalanine")
    topology, _, positions = build.polyalanine(12)
    top = mdtraj.Topology.from_openmm(topology)
    assert top.n_atoms == 12 + 10 * 12
    assert [residue.name for residue in top.residues] == ["ACE", *["ALA"] * 12, "NME"]
    build.check(top, positions)
    frame = mdtraj.Trajectory(positions, top)
    phi, psi = (np.degrees(compute(frame)[1][0]) for compute in (mdtraj.compute_phi, mdtraj.compute_psi))
    inner = slice(2, -2)  # the ends fray
    assert np.abs(phi[inner] + 62).max() < 15 and np.abs(psi[inner] + 42).max() < 15  # of α-helices in proteins
    rise = np.linalg.norm(np.diff(positions[[a.index for a in top.atoms if a.name == "CA"]], axis=0), axis=1)
    np.testing.assert_allclose(rise, 0.38, atol=0.01)  # Cα to Cα across a trans peptide bond


def test_a_mirrored_or_crowded_molecule_is_refused(script):
    build = script("polyalanine")
    topology, _, positions = build.polyalanine(2)
    top = mdtraj.Topology.from_openmm(topology)
    with pytest.raises(RuntimeError, match="ALA2 is not an L-amino acid"):
        build.check(top, positions * np.array([1.0, 1.0, -1.0]))
    crowded = positions.copy()
    first, last = (
        next(a.index for a in top.atoms if a.residue.name == name and a.name == "H1") for name in ("ACE", "NME")
    )
    crowded[last] = crowded[first] + 0.05
    with pytest.raises(RuntimeError, match="nm apart"):
        build.check(top, crowded)


def test_the_exponent_is_that_of_a_power_law(script):
    growth = script("growth")
    rows = [{"atoms": n, "network": "perceptron", "training_step": 1e-4 * n**1.5} for n in (50, 100, 400)]
    small = {"atoms": 10, "network": "perceptron", "training_step": 1.0}
    assert growth.exponent([small, *rows], "perceptron", "training_step") == pytest.approx(1.5)


def test_costs_are_measured_and_written(script, monkeypatch, capsys, tmp_path):
    growth = script("growth")
    table, figure = tmp_path / "growth.json", tmp_path / "growth.png"
    arguments = ["--residues", "1", "--batch", "4", "--points", "4", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", ["growth", *arguments, "--json", str(table), "--figure", str(figure)])
    growth.main()
    content = json.loads(table.read_text())
    assert [row["atoms"] for row in content["rows"]] == [10, 10, 22, 22]
    assert all(row[cost] > 0 for row in content["rows"] for cost in growth.COSTS)
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("| 22 |")]) == 1
    assert figure.read_bytes().startswith(b"\x89PNG")
