"""Groups of a molecule whose atoms can be named in several ways: methyls, carboxylates, phenyls, tert-butyls.

The graph of a molecule says which namings are alike: its automorphisms. Only local ones count. The molecule is walked
from an atom in its middle outwards. At each atom, branches that are alike change places, and a ring system that hangs
on one bond is laid on itself with that bond held. What the walk has passed stays where it is, so the rest of the
molecule says how the group stands. An automorphism that moves the middle is never used: it takes one conformation of a
symmetric molecule to another one (both chairs of cyclohexane are one up to names), and that may be the transition.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import mdtraj

from spacetime_tps.dynamics.molecular_graph import MolecularGraph

_MOST_BRANCHES = 5
"""Alike at one atom; more than 5! namings are not tried."""
_MOST_NAMINGS = 120
"""Of a ring system; one that is laid on itself in more ways keeps its names."""
_SHELLS = 6
"""Enough to leave a straight chain of three triple bonds."""


@dataclass(frozen=True)
class LocalGroup:
    """Atoms of a group, and the ways to name them.

    Attributes
    ----------
    centre : int
        The atom that holds the group.
    shells : tuple of tuple of int
        Atoms that say how the group stands: bonded to the centre and not of the group, then one bond further, and on.
    compared : tuple of int
        Atoms of the group whose places tell the namings apart.
    namings : tuple of dict of int to int
        For each atom of the group, the atom that takes its name. The first one changes nothing.
    stereo : tuple of tuple of int
        Four neighbours of every centre whose handedness a naming settles.
    """

    centre: int
    shells: tuple[tuple[int, ...], ...]
    compared: tuple[int, ...]
    namings: tuple[dict[int, int], ...]
    stereo: tuple[tuple[int, ...], ...]


def local_groups(topology: mdtraj.Topology) -> list[LocalGroup]:
    """Local groups of all molecules but solvent, each after those that it hangs on."""
    graph = MolecularGraph.of(topology)
    return [group for molecule in graph.molecules() for group in _Walk(graph, molecule).groups()]


class _Walk:
    """From the middle of a molecule outwards."""

    def __init__(self, graph: MolecularGraph, molecule: Sequence[int]) -> None:
        self.graph = graph
        self.start = _middle(graph, molecule)
        self.passed: set[int] = set()

    def groups(self) -> Iterator[LocalGroup]:
        waiting = deque([self.start])
        while waiting:
            entry = waiting.popleft()
            ring = self.graph.rings[entry]
            if entry != self.start:
                yield from self._of_ring(entry)
            self.passed |= ring
            for atom in sorted(ring):
                outward = self._outward(atom)
                yield from self._of_branches(atom, outward)
                self.passed.update(outward)
                waiting.extend(outward)

    def _outward(self, atom: int) -> list[int]:
        """Neighbours behind a bond that no ring closes, away from the middle."""
        ring = self.graph.rings[atom]
        return [other for other in self.graph.neighbours[atom] if other not in ring and other not in self.passed]

    def _of_branches(self, atom: int, outward: Sequence[int]) -> Iterator[LocalGroup]:
        """One group for each set of branches that are alike; the largest branches come first."""
        branches = {other: self.graph.branch(other, [atom]) for other in outward}
        alike: defaultdict[int, list[int]] = defaultdict(list)
        for other in outward:
            alike[self.graph.colours[other]].append(other)
        sets = sorted((found for found in alike.values() if len(found) > 1), key=lambda found: -len(branches[found[0]]))
        held = {other for other in self.graph.neighbours[atom] if not any(other in found for found in sets)}
        for found in sets:
            if held and len(found) <= _MOST_BRANCHES:
                yield from self._of_set(atom, {other: branches[other] for other in found}, held)
            held.update(found)

    def _of_set(self, atom: int, branches: dict[int, list[int]], held: Collection[int]) -> Iterator[LocalGroup]:
        first, *others = branches
        laid = {first: {one: one for one in branches[first]}}
        for other in others:
            way = self._laid(branches[first], first, branches[other], other)
            if way is not None:
                laid[other] = way
        if len(laid) < 2:
            return
        namings = tuple(
            {laid[old][one]: laid[new][one] for old, new in zip(laid, order, strict=True) for one in branches[first]}
            for order in permutations(laid)
        )
        stereo = [atom] + [one for branch in branches.values() for one in branch if self._is_stereo_centre(one)]
        yield self._group(atom, held, tuple(laid), namings, stereo)

    def _of_ring(self, entry: int) -> Iterator[LocalGroup]:
        """A ring system laid on itself, the atom by which it hangs held."""
        ring = self.graph.rings[entry]
        if len(ring) == 1:
            return
        ways = self.graph.isomorphisms(ring, entry, ring, entry, _MOST_NAMINGS + 1)
        if not 1 < len(ways) <= _MOST_NAMINGS:
            return
        outward = {atom: self._outward(atom) for atom in ring}
        namings = [naming for way in ways if (naming := self._with_branches(way, outward)) is not None]
        moved = sorted({one for naming in namings for one, other in naming.items() if one != other})
        if not moved:
            return
        namings.sort(key=lambda naming: sum(naming.get(one, one) != one for one in moved))
        stereo = [one for one in moved if one not in ring and self._is_stereo_centre(one)]
        stereo += [
            one for one in ring if len({self.graph.colours[other] for other in outward[one]}) == len(outward[one])
        ]
        held = [other for other in self.graph.neighbours[entry] if other not in ring and other not in moved]
        complete = tuple({one: naming.get(one, one) for one in moved} for naming in namings)
        yield self._group(entry, held, tuple(one for one in moved if one in ring), complete, stereo)

    def _with_branches(self, way: dict[int, int], outward: dict[int, list[int]]) -> dict[int, int] | None:
        """A ring system laid on itself, together with what hangs on it; None if that differs."""
        naming = dict(way)
        for one, other in way.items():
            if one == other:
                continue
            mine, theirs = (sorted(outward[atom], key=self.graph.colours.__getitem__) for atom in (one, other))
            if len(mine) != len(theirs):
                return None
            for here, there in zip(mine, theirs, strict=True):
                branches = self.graph.branch(here, [one]), self.graph.branch(there, [other])
                laid = self._laid(branches[0], here, branches[1], there)
                if laid is None:
                    return None
                naming |= laid
        return naming

    def _laid(self, branch: list[int], start: int, other: list[int], other_start: int) -> dict[int, int] | None:
        """A way to lay a branch on another; None if they differ."""
        if self.graph.colours[start] != self.graph.colours[other_start] or len(branch) != len(other):
            return None
        return next(iter(self.graph.isomorphisms(branch, start, other, other_start, 1)), None)

    def _is_stereo_centre(self, atom: int) -> bool:
        neighbours = self.graph.neighbours[atom]
        return len(neighbours) == 4 == len({self.graph.colours[other] for other in neighbours})

    def _group(
        self,
        centre: int,
        held: Collection[int],
        compared: tuple[int, ...],
        namings: tuple[dict[int, int], ...],
        stereo: Collection[int],
    ) -> LocalGroup:
        shells, seen = [tuple(sorted(held))], {centre, *namings[0]}
        for _ in range(_SHELLS - 1):
            seen.update(shells[-1])
            further = {other for one in shells[-1] for other in self.graph.neighbours[one]} - seen
            shells.append(tuple(sorted(further if centre == self.start else further & self.passed)))
        neighbours = [self.graph.neighbours[one] for one in stereo]
        settled = (four for four in neighbours if len(four) == 4 and not namings[0].keys().isdisjoint(four))
        return LocalGroup(centre, tuple(shells), compared, namings, tuple(map(tuple, settled)))


def _middle(graph: MolecularGraph, molecule: Sequence[int]) -> int:
    """The atom nearest to the middle of the longest way through a molecule that no automorphism turns about.

    It is like no other, and so are two of its neighbours. If there is none, it is the middle itself.
    """
    counts = Counter(graph.colours[atom] for atom in molecule)
    unlike = {atom for atom in molecule if counts[graph.colours[atom]] == 1}
    end = graph.branch(molecule[0], ())[-1]
    before = {end: end}
    reached = [end]
    for atom in reached:  # grows on the way
        new = [other for other in graph.neighbours[atom] if other not in before]
        before |= dict.fromkeys(new, atom)
        reached += new
    way = [reached[-1]]
    while way[-1] != end:
        way.append(before[way[-1]])
    middle = way[len(way) // 2]
    held = (one for one in graph.branch(middle, ()) if one in unlike and len(unlike & {*graph.neighbours[one]}) > 1)
    return next(held, middle)
