"""Groups whose atoms can be named in several ways: found in the graph, matched in space, left where they must stay."""

import mdtraj
import numpy as np
import pytest
from mdtraj.core.element import get_by_symbol
from scipy.spatial.transform import Rotation

from spacetime_tps.dynamics.equivalent_atoms import check_same_handedness, find_mirror_image, matched_atoms, renamed
from spacetime_tps.dynamics.local_groups import local_groups
from spacetime_tps.errors import MoleculeError

ALANINE_LIKE = """N
C1 N 1.45
O C1 1.4 N 109.5
H1 C1 1.09 N 109.5 O 120
C2 C1 1.53 N 109.5 O -120"""
"""A centre of five kinds of atoms that says how what hangs on C2 stands; no two of them are alike."""
ENDS = {
    "methyl": "H2 C2 1.09 C1 109.5 N {0}\nH3 C2 1.09 C1 109.5 N {1}\nH4 C2 1.09 C1 109.5 N {2}",
    "carboxylate": "O1 C2 1.25 C1 120 N {0}\nO2 C2 1.25 C1 120 N {3}",
    "CF3": "F2 C2 1.35 C1 109.5 N {0}\nF3 C2 1.35 C1 109.5 N {1}\nF4 C2 1.35 C1 109.5 N {2}",
    "tert-butyl": "\n".join(
        f"C{k}0 C2 1.53 C1 109.5 N {{{k}}}\nH{k}1 C{k}0 1.09 C2 109.5 C1 60\nH{k}2 C{k}0 1.09 C2 109.5 C1 180\n"
        f"H{k}3 C{k}0 1.09 C2 109.5 C1 -60"
        for k in range(3)
    ),
    "isopropyl": "H2 C2 1.09 C1 109.5 N {2}\n"
    + "\n".join(
        f"C{k}0 C2 1.53 C1 109.5 N {{{k}}}\nH{k}1 C{k}0 1.09 C2 109.5 C1 60\nH{k}2 C{k}0 1.09 C2 109.5 C1 180\n"
        f"H{k}3 C{k}0 1.09 C2 109.5 C1 -60"
        for k in range(2)
    ),
    "phosphate": "O2 C2 1.43 C1 109.5 N 180\nP1 O2 1.6 C2 120 C1 150\nO3 P1 1.5 O2 109.5 C2 {0}\n"
    "O4 P1 1.5 O2 109.5 C2 {1}\nO5 P1 1.5 O2 109.5 C2 {2}",
    "sulphate": "O2 C2 1.43 C1 109.5 N 180\nS1 O2 1.6 C2 120 C1 150\nO3 S1 1.5 O2 109.5 C2 {0}\n"
    "O4 S1 1.5 O2 109.5 C2 {1}\nO5 S1 1.5 O2 109.5 C2 {2}",
    "nitro": "N2 C2 1.43 C1 109.5 N 180\nO3 N2 1.2 C2 120 C1 {0}\nO4 N2 1.2 C2 120 C1 {3}",
    "guanidinium": "N2 C2 1.45 C1 109.5 N 180\nH2 N2 1.0 C2 120 C1 {3}\nC3 N2 1.34 C2 120 C1 {0}\n"
    "N4 C3 1.34 N2 120 C2 0\nH3 N4 1.0 C3 120 N2 0\nH4 N4 1.0 C3 120 N2 180\n"
    "N5 C3 1.34 N2 120 C2 180\nH5 N5 1.0 C3 120 N2 0\nH6 N5 1.0 C3 120 N2 180",
    "phenyl": "C3 C2 1.4 C1 120 N {0}\nC4 C2 1.4 C1 120 N {3}\nC5 C3 1.4 C2 120 C1 180\nC6 C4 1.4 C2 120 C1 180\n"
    "C7 C5 1.4 C3 120 C2 0\nH3 C3 1.1 C2 120 C1 0\nH4 C4 1.1 C2 120 C1 0\nH5 C5 1.1 C3 120 C2 180\n"
    "H6 C6 1.1 C4 120 C2 180\nH7 C7 1.1 C5 120 C3 180\nring C6 C7",
}
NAMINGS = {
    "methyl": 6,
    "carboxylate": 2,
    "CF3": 6,
    "tert-butyl": 6 * 6**3,
    "isopropyl": 2 * 6**2,
    "phosphate": 6,
    "sulphate": 6,
    "nitro": 2,
    "guanidinium": 2 * 2 * 2,
    "phenyl": 2,
}


def built(end: str, turn: float = 40.0) -> tuple[mdtraj.Topology, np.ndarray]:
    """An end on the centre of five kinds, turned by an angle about the bond that it hangs on; positions in nm."""
    angles = (turn, turn + 120, turn - 120, turn + 180)
    topology, names, x, closed = mdtraj.Topology(), {}, [], []
    residue = topology.add_residue("LIG", topology.add_chain())
    for line in (ALANINE_LIKE + "\n" + ENDS[end].format(*angles)).splitlines():
        name, *rest = line.split()
        if name == "ring":
            closed.append(rest)
            continue
        element = get_by_symbol(name.rstrip("0123456789"))
        names[name] = topology.add_atom(name, element, residue)
        parents = [names[parent].index for parent in rest[::2]]
        r, theta, phi = (*map(float, rest[1::2]), 0, 0, 0)[:3]
        theta, phi = np.radians([theta, phi])
        here = r * np.array([-np.cos(theta), np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)])
        if len(parents) == 3:
            a, b, c = (x[parent] for parent in parents)
            one = (a - b) / np.linalg.norm(a - b)
            three = np.cross(b - c, one)
            three /= np.linalg.norm(three)
            here = a + here @ np.array([one, np.cross(three, one), three])
        elif parents:
            here = x[parents[0]] + (here if len(parents) > 1 else np.array([r, 0, 0]))
        x.append(here)
        if parents:
            topology.add_bond(names[name], names[rest[0]])
    for one, other in closed:
        topology.add_bond(names[one], names[other])
    return topology, 0.1 * np.array(x)


def all_namings(topology: mdtraj.Topology) -> set[tuple[int, ...]]:
    """Every order of atoms that namings of the groups, one after the other, make."""
    orders = {tuple(range(topology.n_atoms))}
    for group in local_groups(topology):
        orders |= {
            tuple(order[naming.get(k, k)] for k in range(len(order))) for order in orders for naming in group.namings
        }
    return orders


@pytest.mark.parametrize("end", ENDS)
def test_number_of_namings(end):
    topology, _ = built(end)
    assert len(all_namings(topology)) == NAMINGS[end]


@pytest.mark.parametrize("end", ENDS)
def test_every_renamed_frame_gets_its_names_back(end):
    """Also where it is moved, turned, and every atom displaced. The reference stands 35 degrees away."""
    (topology, x), (_, reference) = built(end), built(end, 75.0)
    rng = np.random.default_rng(0)
    orders = np.array(sorted(all_namings(topology)))
    frames = x[orders] + 0.003 * rng.normal(size=x.shape)[orders]
    turned = frames @ Rotation.random(len(frames), random_state=1).as_matrix() + rng.normal(size=(len(frames), 1, 3))
    back = np.take_along_axis(orders, matched_atoms(topology, reference, turned), axis=1)
    np.testing.assert_array_equal(back, np.tile(back[0], (len(back), 1)))
    if end != "guanidinium" and end != "tert-butyl":  # their hydrogens may be named in another way than here
        np.testing.assert_array_equal(back[0], np.arange(topology.n_atoms))
    assert find_mirror_image(topology, reference, renamed(topology, reference, turned)) is None


@pytest.mark.parametrize("degrees", [60.0, 120.0, 180.0, -120.0])
def test_methyls_of_valine_stay(degrees):
    """They are prochiral: however an isopropyl is turned, its heavy atoms keep their names."""
    (topology, reference), (_, turned) = built("isopropyl"), built("isopropyl", 40 + degrees)
    (order,) = matched_atoms(topology, reference, turned[None])
    heavy = topology.select("element != H")
    np.testing.assert_array_equal(order[heavy], heavy)
    check_same_handedness(topology, "a", reference, "b", turned[order])


def test_methyls_of_valine_that_another_program_named_the_other_way_round():
    """The same molecule, but as it stands no motion leads there."""
    topology, x = built("isopropyl")
    one, two = (
        [atom.index for atom in topology.atoms if atom.name in (f"C{k}0", f"H{k}1", f"H{k}2", f"H{k}3")] for k in (0, 1)
    )
    other = x.copy()
    other[[*one, *two]] = x[[*two, *one]]
    with pytest.raises(MoleculeError, match="mirror images of each other at LIG0-C2"):
        check_same_handedness(topology, "a", x, "b", other)
    np.testing.assert_array_equal(renamed(topology, x, other[None])[0], x)


@pytest.mark.parametrize("degrees, moved", [(80.0, False), (100.0, True), (180.0, True), (-100.0, True)])
def test_a_phenyl_turns_by_no_more_than_a_quarter(degrees, moved):
    (topology, reference), (_, turned) = built("phenyl"), built("phenyl", 40 + degrees)
    (order,) = matched_atoms(topology, reference, turned[None])
    names = [topology.atom(int(atom)).name for atom in np.flatnonzero(order != np.arange(len(order)))]
    assert names == (["C3", "C4", "C5", "C6", "H3", "H4", "H5", "H6"] if moved else [])


def test_the_other_enantiomer_is_refused():
    topology, x = built("phenyl")
    (mirrored,) = renamed(topology, x, (x * [1, 1, -1])[None])
    with pytest.raises(MoleculeError, match="mirror images of each other at LIG0-C1"):
        check_same_handedness(topology, "a", x, "b", mirrored)


def test_the_first_mirrored_frame_is_named():
    topology, x = built("methyl")
    frames = np.stack([x, x, x * [1, -1, 1], x * [-1, 1, 1]])
    frame, atom = find_mirror_image(topology, x, renamed(topology, x, frames))
    assert (frame, atom.name) == (2, "C1")


def cyclohexane() -> tuple[mdtraj.Topology, np.ndarray]:
    """A chair of perfect tetrahedra."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("CHX", topology.add_chain())
    atoms, x = [], []
    for k in range(6):
        radial, up = np.array([np.cos(k * np.pi / 3), np.sin(k * np.pi / 3), 0]), np.array([0, 0, (-1.0) ** k])
        carbon = 0.1455 * radial + 0.0255 * up
        places = [carbon, carbon + 0.109 * up, carbon + 0.109 * (0.94 * radial - 0.33 * up)]
        atoms += [topology.add_atom(f"{s}{k}", get_by_symbol(s[0]), residue) for s in ("C", "HA", "HB")]
        x += places
    for k in range(6):
        for other in (3 * k + 1, 3 * k + 2, (3 * k + 3) % 18):
            topology.add_bond(atoms[3 * k], atoms[other])
    return topology, np.array(x)


def test_the_other_chair_of_cyclohexane_is_another_structure():
    """It is the first one, turned, up to names; but the molecule goes there by turning its ring inside out."""
    topology, x = cyclohexane()
    other = x * [1, 1, -1]  # every axial hydrogen is equatorial now, faces are kept
    for k in range(6):
        other[[3 * k + 1, 3 * k + 2]] = other[[3 * k + 2, 3 * k + 1]]
    order = matched_atoms(topology, x, np.stack([other, x]))
    np.testing.assert_array_equal(order, np.tile(np.arange(18), (2, 1)))
    assert find_mirror_image(topology, x, other[None]) is None


def test_water_and_other_solvent_are_left_alone(molecule):
    """Ten thousand waters with their hydrogens exchanged keep them, as do ethanes of which there are many."""
    topology = molecule.topology.copy()
    chain = topology.add_chain()
    hydrogen, oxygen = get_by_symbol("H"), get_by_symbol("O")
    for _ in range(10_000):
        residue = topology.add_residue("HOH", chain)
        o, one, two = (topology.add_atom(n, e, residue) for n, e in (("O", oxygen), ("H1", hydrogen), ("H2", hydrogen)))
        topology.add_bond(o, one)
        topology.add_bond(o, two)
    assert len(local_groups(topology)) == len(local_groups(molecule.topology)) == 3
    many = mdtraj.Topology()
    for count, groups in ((10, 20), (11, 0)):
        many = mdtraj.Topology()
        chain = many.add_chain()
        for _ in range(count):
            residue = many.add_residue("ETH", chain)
            carbons = [many.add_atom(f"C{k}", get_by_symbol("C"), residue) for k in range(2)]
            many.add_bond(*carbons)
            for k in range(6):
                many.add_bond(carbons[k // 3], many.add_atom(f"H{k}", hydrogen, residue))
        assert len(local_groups(many)) == groups
