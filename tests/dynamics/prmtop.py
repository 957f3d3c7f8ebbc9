"""A small Amber topology for tests: three atoms in a row."""

TYPES = {"C": (12.011, 6, 4e6, 3e3), "H": (1.008, 1, 8e3, 20.0), "O": (15.999, 8, 6e5, 6e2)}
"""Mass (amu), atomic number, and A and B of Lennard-Jones (kcal/mol, Å)."""


def prmtop_text(elements: str = "OCO", length: float = 1.16, stiffness: float = 800.0, box: float | None = None) -> str:
    """Prmtop of atoms in a row, each bonded to the next (Å, kcal/mol/Å²), and the length of a cubic box (Å)."""
    count = len(elements)
    bonds = [(i, i + 1) for i in range(count - 1)]
    angles = [(i, i + 1, i + 2) for i in range(count - 2)]
    kinds = sorted(set(elements))
    light = [pair for pair in bonds if "H" in elements[pair[0]] + elements[pair[1]]]
    heavy = [pair for pair in bonds if pair not in light]
    with_h = [triple for triple in angles if any(elements[i] == "H" for i in triple)]
    without_h = [triple for triple in angles if triple not in with_h]
    excluded = [[j + 1 for j in range(i + 1, min(i + 3, count))] or [0] for i in range(count)]
    pairs = [(a, b) for b in range(len(kinds)) for a in range(b + 1)]
    index = {pair: number + 1 for number, pair in enumerate(pairs)}
    pointers = [0] * 31
    pointers[:12] = [count, len(kinds), len(light), len(heavy), len(with_h), len(without_h), 0, 0, 0, 0, 0, 1]
    pointers[10] = sum(map(len, excluded))
    pointers[12:18] = [len(heavy), len(without_h), 0, 1, 1, 0]
    pointers[18] = len(kinds)
    pointers[27], pointers[28] = int(box is not None), count

    def coefficient(which: int) -> list[float]:
        return [(TYPES[kinds[a]][which] * TYPES[kinds[b]][which]) ** 0.5 for a, b in pairs]

    sections: dict[str, tuple[str, list]] = {
        "TITLE": ("20a4", ["ROW"]),
        "POINTERS": ("10I8", pointers),
        "ATOM_NAME": ("20a4", [f"{e}{i + 1}" for i, e in enumerate(elements)]),
        "CHARGE": ("5E16.8", [0.0] * count),
        "ATOMIC_NUMBER": ("10I8", [TYPES[e][1] for e in elements]),
        "MASS": ("5E16.8", [TYPES[e][0] for e in elements]),
        "ATOM_TYPE_INDEX": ("10I8", [kinds.index(e) + 1 for e in elements]),
        "NUMBER_EXCLUDED_ATOMS": ("10I8", [len(e) for e in excluded]),
        "NONBONDED_PARM_INDEX": (
            "10I8",
            [index[min(a, b), max(a, b)] for a in range(len(kinds)) for b in range(len(kinds))],
        ),
        "RESIDUE_LABEL": ("20a4", ["ROW"]),
        "RESIDUE_POINTER": ("10I8", [1]),
        "BOND_FORCE_CONSTANT": ("5E16.8", [stiffness]),
        "BOND_EQUIL_VALUE": ("5E16.8", [length]),
        "ANGLE_FORCE_CONSTANT": ("5E16.8", [50.0]),
        "ANGLE_EQUIL_VALUE": ("5E16.8", [3.0]),
        "DIHEDRAL_FORCE_CONSTANT": ("5E16.8", []),
        "DIHEDRAL_PERIODICITY": ("5E16.8", []),
        "DIHEDRAL_PHASE": ("5E16.8", []),
        "SCEE_SCALE_FACTOR": ("5E16.8", []),
        "SCNB_SCALE_FACTOR": ("5E16.8", []),
        "LENNARD_JONES_ACOEF": ("5E16.8", coefficient(2)),
        "LENNARD_JONES_BCOEF": ("5E16.8", coefficient(3)),
        "BONDS_INC_HYDROGEN": ("10I8", [x for i, j in light for x in (3 * i, 3 * j, 1)]),
        "BONDS_WITHOUT_HYDROGEN": ("10I8", [x for i, j in heavy for x in (3 * i, 3 * j, 1)]),
        "ANGLES_INC_HYDROGEN": ("10I8", [x for a in with_h for x in (*(3 * i for i in a), 1)]),
        "ANGLES_WITHOUT_HYDROGEN": ("10I8", [x for a in without_h for x in (*(3 * i for i in a), 1)]),
        "DIHEDRALS_INC_HYDROGEN": ("10I8", []),
        "DIHEDRALS_WITHOUT_HYDROGEN": ("10I8", []),
        "EXCLUDED_ATOMS_LIST": ("10I8", [atom for atoms in excluded for atom in atoms]),
        "HBOND_ACOEF": ("5E16.8", []),
        "HBOND_BCOEF": ("5E16.8", []),
        "AMBER_ATOM_TYPE": ("20a4", list(elements)),
        "RADII": ("5E16.8", [1.5] * count),
        "SCREEN": ("5E16.8", [0.8] * count),
    }
    if box is not None:
        sections["BOX_DIMENSIONS"] = ("5E16.8", [90.0, box, box, box])
    return "%VERSION  VERSION_STAMP = V0001.000  DATE = 01/01/00  00:00:00\n" + "".join(
        f"%FLAG {name}\n%FORMAT({form})\n{_lines(form, values)}" for name, (form, values) in sections.items()
    )


def row_pdb(elements: str, positions: list[tuple[float, float, float]], box: float | None = None) -> str:
    """A PDB file (Å) of such a molecule, without CONECT records."""
    lines = [f"CRYST1{box:9.3f}{box:9.3f}{box:9.3f}  90.00  90.00  90.00 P 1           1"] if box else []
    for i, (element, (x, y, z)) in enumerate(zip(elements, positions, strict=True)):
        name = f"{element}{i + 1}"
        lines.append(
            f"HETATM{i + 1:5d}  {name:<3s} ROW A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2s}"
        )
    return "\n".join([*lines, "END"]) + "\n"


def row_settings(folder, elements: str = "OCO", **sections) -> dict:
    """Settings of the system of a row whose files are written to a folder: straight in A, bent in B."""
    step = 1.16
    straight = [(step * i, 0.0, 0.0) for i in range(len(elements))]
    bent = [straight[0], straight[1], *((step + 0.6 * i, i * 1.0, 0.0) for i in range(1, len(elements) - 1))]
    (folder / "row.prmtop").write_text(prmtop_text(elements))
    for name, positions in (("a", straight), ("b", bent)):
        (folder / f"{name}.pdb").write_text(row_pdb(elements, positions, sections.get("box")))
    sections.pop("box", None)
    return {
        "name": "row",
        "structures": {name: str(folder / f"{name}.pdb") for name in "ab"},
        "force_field": [str(folder / "row.prmtop")],
        "temperature": "300 K",
        "time_step": "1 fs",
        "friction": "1 / ps",
        "collective_variables": {"bend": {"angle": [0, 1, 2]}},
        "states": {
            "A": {"structure": "a", "boxes": [{"bend": ["2.9 rad", "3.2 rad"]}]},
            "B": {"structure": "b", "boxes": [{"bend": ["1.5 rad", "2.5 rad"]}]},
        },
        "target": {"collective_variables": ["bend"], "tolerance": "0.1 rad"},
    } | sections


def _lines(form: str, values: list) -> str:
    if form == "20a4":
        texts, per_line = [f"{value:<4s}" for value in values], 20
    elif form == "10I8":
        texts, per_line = [f"{value:8d}" for value in values], 10
    else:
        texts, per_line = [f"{value:16.8E}" for value in values], 5
    rows = ["".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
    return "\n".join(rows or [""]) + "\n"
