"""Collective variables against mdtraj, boxes on lines and circles, and states that must not share a region."""

import mdtraj
import numpy as np
import pytest

from spacetime_tps.coordinates.states import CollectiveVariable, State, check_disjoint, select, state_indices, wrap
from spacetime_tps.errors import MoleculeError
from spacetime_tps.settings.shipped import data_folder
from spacetime_tps.settings.system import CollectiveVariableSettings, StateSettings

DEGREE = np.pi / 180
VARIABLES = {
    "phi": CollectiveVariable("phi", "dihedral", (0, 1, 2, 3)),
    "psi": CollectiveVariable("psi", "dihedral", (1, 2, 3, 4)),
    "reach": CollectiveVariable("reach", "distance", (0, 4)),
}
UNITS = {
    name: CollectiveVariableSettings.model_validate({v.kind: v.atoms}).unit for name, v in sorted(VARIABLES.items())
}


def make_state(*boxes: dict[str, tuple[str, str]], name: str = "A") -> State:
    return State.from_settings(name, StateSettings(structure="x", boxes=boxes), VARIABLES, UNITS)


def holds(state: State, **values) -> list[bool]:
    """Angles in degrees, distances in nm."""
    units = {name: DEGREE if VARIABLES[name].periodic else 1.0 for name in values}
    return state.contains({name: np.array(v, dtype=float) * units[name] for name, v in values.items()}).tolist()


@pytest.fixture(scope="module")
def alanine():
    return mdtraj.load(str(data_folder("systems") / "alanine_dipeptide" / "c5.pdb"))


@pytest.mark.parametrize(
    "angle, wrapped",
    [(0, 0), (179, 179), (180, -180), (-180, -180), (181, -179), (-181, 179), (540, -180), (-730, -10)],
)
def test_wrap(angle, wrapped):
    assert wrap(np.array([angle * DEGREE]))[0] == pytest.approx(wrapped * DEGREE, abs=1e-12)


def test_difference_goes_the_short_way_round_a_circle():
    phi, reach = VARIABLES["phi"], VARIABLES["reach"]
    angles = np.array([170.0, -170.0, 30.0]) * DEGREE
    np.testing.assert_allclose(phi.difference(angles, -175 * DEGREE), np.array([-15, 5, -155]) * DEGREE, atol=1e-12)
    np.testing.assert_allclose(reach.difference(np.array([5.0, 0.1]), 0.2), [4.8, -0.1], atol=1e-12)


@pytest.mark.parametrize(
    "interval, inside, outside",
    [
        (("-160 deg", "-50 deg"), [-160 + 1e-6, -100, -50 - 1e-6], [-161, -49, 0, 180, 100]),
        (("20 deg", "-160 deg"), [21, 100, 179.9, -180, -161], [-159, 0, 19, -90]),  # through 180
        (("170 deg", "190 deg"), [171, 180, -180, -171], [169, -169, 0]),
        (("-3 rad", "-2 rad"), [-150], [-100, 175]),
        (("-180 deg", "-50 deg"), [-180, -179, -51], [179, -49]),
    ],
)
def test_intervals_on_a_circle(interval, inside, outside):
    state = make_state({"phi": interval})
    assert holds(state, phi=inside) == [True] * len(inside)
    assert holds(state, phi=outside) == [False] * len(outside)
    turned = [angle + 360 for angle in inside]
    assert holds(state, phi=turned) == [True] * len(inside)


@pytest.mark.parametrize("interval", [("-180 deg", "180 deg"), ("0 deg", "360 deg"), ("-90 deg", "270 deg")])
def test_a_full_circle_holds_every_angle(interval):
    state = make_state({"phi": interval, "reach": ("0 nm", "1 nm")})
    angles = np.linspace(-180, 180, 25)
    assert all(holds(state, phi=angles, reach=np.full(25, 0.5)))
    assert not any(holds(state, phi=angles, reach=np.full(25, 1.5)))


def test_intervals_on_a_line():
    state = make_state({"reach": ("2 angstrom", "0.5 nm")})
    assert holds(state, reach=[0.2, 0.3, 0.5, 0.199, 0.501]) == [True, True, True, False, False]


def test_a_box_needs_all_its_variables_a_state_any_of_its_boxes():
    state = make_state(
        {"phi": ("0 deg", "90 deg"), "psi": ("0 deg", "90 deg")},
        {"phi": ("150 deg", "-150 deg"), "reach": ("0 nm", "1 nm")},
    )
    values = {
        "phi": [45, 45, 180, 180, -100],
        "psi": [45, 120, 120, 45, 45],
        "reach": [2, 0.5, 0.5, 2, 0.5],
    }
    assert holds(state, **values) == [True, False, True, False, False]


@pytest.mark.parametrize(
    "one, two, common",
    [
        ({"phi": ("-90 deg", "0 deg")}, {"phi": ("10 deg", "90 deg")}, False),
        ({"phi": ("-90 deg", "20 deg")}, {"phi": ("10 deg", "90 deg")}, True),
        ({"phi": ("-90 deg", "10 deg")}, {"phi": ("10 deg", "90 deg")}, True),  # touching: both ends are inside
        ({"phi": ("150 deg", "-150 deg")}, {"phi": ("170 deg", "175 deg")}, True),  # one within the other
        ({"phi": ("170 deg", "175 deg")}, {"phi": ("150 deg", "-150 deg")}, True),
        ({"phi": ("150 deg", "-150 deg")}, {"phi": ("-160 deg", "-100 deg")}, True),
        ({"phi": ("150 deg", "-150 deg")}, {"phi": ("-140 deg", "140 deg")}, False),
        ({"phi": ("150 deg", "-150 deg")}, {"phi": ("190 deg", "200 deg")}, True),  # 190 is -170
        ({"phi": ("-180 deg", "180 deg")}, {"phi": ("10 deg", "20 deg")}, True),
        ({"phi": ("10 deg", "20 deg")}, {"phi": ("-180 deg", "180 deg")}, True),
        ({"phi": ("0 deg", "90 deg")}, {"psi": ("0 deg", "90 deg")}, True),  # no variable keeps them apart
        (
            {"phi": ("0 deg", "90 deg"), "psi": ("0 deg", "50 deg")},
            {"phi": ("0 deg", "90 deg"), "psi": ("60 deg", "90 deg")},
            False,
        ),
        ({"reach": ("0 nm", "1 nm")}, {"reach": ("1 nm", "2 nm")}, True),
        ({"reach": ("0 nm", "1 nm")}, {"reach": ("1.1 nm", "2 nm")}, False),
        ({"reach": ("0 nm", "5 nm")}, {"reach": ("1 nm", "2 nm")}, True),
    ],
)
def test_states_must_not_share_a_region(one, two, common):
    states = make_state(one), make_state(two, name="B")
    for pair in (states, states[::-1]):
        if common:
            with pytest.raises(MoleculeError, match="overlap: box 0 of"):
                check_disjoint(pair)
        else:
            check_disjoint(pair)


def test_the_overlapping_boxes_are_named():
    first = make_state({"phi": ("-180 deg", "-100 deg")}, {"phi": ("0 deg", "40 deg")}, name="coil")
    second = make_state({"phi": ("50 deg", "60 deg")}, {"phi": ("30 deg", "45 deg")}, name="helix")
    with pytest.raises(MoleculeError, match="coil and helix overlap: box 1 of coil and box 1 of helix"):
        check_disjoint((first, second))


def test_state_of_each_frame():
    """Four atoms with dihedrals of 60, 180 and -60 degrees, built by hand."""
    angles = np.array([60, 180, -60]) * DEGREE
    frames = np.array([[[1, 0, 0], [0, 0, 0], [0, 0, 1], [np.cos(a), np.sin(a), 1]] for a in angles])
    phi = {"phi": CollectiveVariable("phi", "dihedral", (0, 1, 2, 3))}
    boxes = {"A": {"phi": ("150 deg", "-150 deg")}, "B": {"phi": ("30 deg", "90 deg")}}
    states = tuple(
        State.from_settings(name, StateSettings(structure="x", boxes=(box,)), phi, UNITS) for name, box in boxes.items()
    )
    assert state_indices(states, frames).tolist() == [1, 0, -1]


def test_values_are_those_of_mdtraj(alanine):
    rng = np.random.default_rng(0)
    frames = mdtraj.Trajectory(alanine.xyz + rng.normal(0, 0.02, (30, 22, 3)), alanine.topology)
    atoms = (4, 6, 8, 14)
    for kind, count, compute in (
        ("dihedral", 4, mdtraj.compute_dihedrals),
        ("angle", 3, mdtraj.compute_angles),
        ("distance", 2, mdtraj.compute_distances),
    ):
        variable = CollectiveVariable(kind, kind, atoms[:count])
        np.testing.assert_allclose(variable(frames), compute(frames, [atoms[:count]])[:, 0], rtol=1e-6)
        assert variable.periodic == (kind == "dihedral")


def test_dihedrals_are_below_pi():
    flat = np.array([[[1, 0, 0], [0, 0, 0], [0, 0, 1], [-1, 0, 1]]], dtype=float)
    assert VARIABLES["phi"](mdtraj.Trajectory(flat, None))[0] == pytest.approx(-np.pi, abs=1e-6)


def test_on_subset_gives_the_same_values(alanine):
    heavy = alanine.topology.select("element != H")
    variable = CollectiveVariable("phi", "dihedral", (4, 6, 8, 14))
    subset = variable.on_subset(heavy)
    assert subset.atoms == tuple(heavy.tolist().index(atom) for atom in variable.atoms)
    np.testing.assert_allclose(subset(alanine.atom_slice(heavy)), variable(alanine), atol=1e-7)
    with pytest.raises(MoleculeError, match=r"'phi' needs atom 8 .*which is not among the coordinates\.atoms"):
        variable.on_subset([4, 6, 14])


@pytest.mark.parametrize(
    "atoms, message",
    [
        ((0, 22), r"'d': atom 22 is not one of the 22 atoms"),
        ((0, "element N"), "'d': 'element N' selects 2 atoms, it must select one"),
        ((0, "name XX"), "'d': 'name XX' selects no atom"),
        ((0, "nonsense of"), "'d': 'nonsense of' is not an mdtraj selection"),
    ],
)
def test_atoms_that_cannot_be_resolved(atoms, message, alanine):
    settings = CollectiveVariableSettings(distance=atoms)
    with pytest.raises(MoleculeError, match=message):
        CollectiveVariable.from_settings("d", settings, alanine.topology)


def test_selections(alanine):
    settings = CollectiveVariableSettings(distance=("resname ALA and name CA", 3))
    variable = CollectiveVariable.from_settings("d", settings, alanine.topology)
    assert variable.atoms == (next(a.index for a in alanine.topology.atoms if a.name == "CA"), 3)
    assert len(select(alanine.topology, "element != H", "here")) == 10
    with pytest.raises(MoleculeError, match="here: 'element Fe' selects no atom"):
        select(alanine.topology, "element Fe", "here")
