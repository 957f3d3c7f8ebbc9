"""The molecular graph: what is bonded to what, which atoms are alike, and the bonds that part a molecule in two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import mdtraj
import networkx as nx

_SOLVENT_COPIES = 10
"""A molecule of which there are more copies than this is solvent."""


@dataclass(frozen=True, eq=False)
class MolecularGraph:
    """Atoms and bonds of the molecules that are not solvent.

    Attributes
    ----------
    neighbours : list of list of int
        Atoms that each atom of the topology is bonded to, in rising order.
    colours : dict of int to int
        Of every atom that is not solvent. Atoms of one colour have the same element, and so have their neighbours,
        their neighbours' neighbours, and so on (colour refinement).
    rings : dict of int to frozenset of int
        The ring system of every such atom: what stays together when the bonds are cut that no ring closes. Itself alone
        if it is in no ring.
    """

    neighbours: list[list[int]]
    colours: dict[int, int]
    rings: dict[int, frozenset[int]]

    @classmethod
    def of(cls, topology: mdtraj.Topology) -> MolecularGraph:
        """The graph of a topology with bonds."""
        neighbours = bonded_atoms(topology)
        atoms = _solute(topology, neighbours)
        elements = {atom: _element(topology, atom) for atom in atoms}
        graph = nx.Graph((one, two) for one in atoms for two in neighbours[one])
        graph.add_nodes_from(atoms)
        graph.remove_edges_from(list(nx.bridges(graph)))
        rings = {atom: frozenset(ring) for ring in nx.connected_components(graph) for atom in ring}
        return cls(neighbours, _refined(neighbours, elements), rings)

    def molecules(self) -> Iterator[list[int]]:
        """Atoms of each molecule, nearest to the first one first."""
        seen: set[int] = set()
        for atom in self.colours:
            if atom not in seen:
                molecule = self.branch(atom, ())
                seen.update(molecule)
                yield molecule

    def branch(self, atom: int, without: Collection[int]) -> list[int]:
        """Atoms that are reached from one without passing others, nearest first."""
        found, seen = [atom], {atom, *without}
        for one in found:  # grows on the way
            new = [other for other in self.neighbours[one] if other not in seen]
            seen.update(new)
            found += new
        return found

    def isomorphisms(
        self, atoms: Collection[int], start: int, others: Collection[int], other: int, most: int
    ) -> list[dict[int, int]]:
        """Ways to lay some atoms on others, bonds on bonds and each on one of its colour, so that start lies on other.

        At most ``most`` ways.
        """
        one, two = (self._coloured(*part) for part in ((atoms, start), (others, other)))
        return list(islice(nx.vf2pp_all_isomorphisms(one, two, node_label="colour"), most))

    def _coloured(self, atoms: Collection[int], start: int) -> nx.Graph:
        graph, inside = nx.Graph(), set(atoms)
        for atom in sorted(inside):
            graph.add_node(atom, colour=-1 if atom == start else self.colours[atom])
        graph.add_edges_from((one, two) for one in sorted(inside) for two in self.neighbours[one] if two in inside)
        return graph


def bonded_atoms(topology: mdtraj.Topology) -> list[list[int]]:
    """Atoms that each atom is bonded to, in rising order."""
    neighbours: list[list[int]] = [[] for _ in range(topology.n_atoms)]
    for one, two in topology.bonds:
        neighbours[one.index].append(two.index)
        neighbours[two.index].append(one.index)
    return [sorted(bonded) for bonded in neighbours]


def _element(topology: mdtraj.Topology, atom: int) -> str:
    element = topology.atom(atom).element
    return element.symbol if element is not None else ""


def _solute(topology: mdtraj.Topology, neighbours: list[list[int]]) -> list[int]:
    """Atoms of molecules of three atoms or more that are neither water nor in many copies."""
    whole = MolecularGraph(neighbours, dict.fromkeys(range(topology.n_atoms), 0), {})
    kinds: defaultdict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for molecule in whole.molecules():
        if len(molecule) > 2:
            elements = sorted(_element(topology, atom) for atom in molecule)
            kinds[tuple(filter(None, elements))].append(molecule)  # sites without mass are no element
    kinds.pop(("H", "H", "O"), None)
    few = (copies for copies in kinds.values() if len(copies) <= _SOLVENT_COPIES)
    return sorted(atom for copies in few for molecule in copies for atom in molecule)


def _refined(neighbours: list[list[int]], elements: dict[int, str]) -> dict[int, int]:
    """Colours that tell apart what elements, and colours of neighbours, tell apart."""
    colours: dict[int, object] = dict(elements)
    count = 0
    while True:
        names = {colour: index for index, colour in enumerate(sorted(set(colours.values()), key=repr))}
        numbers = {atom: names[colour] for atom, colour in colours.items()}
        if len(names) == count:
            return numbers
        count = len(names)
        colours = {atom: (numbers[atom], *sorted(numbers[n] for n in neighbours[atom])) for atom in numbers}
