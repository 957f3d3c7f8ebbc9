"""PDB files: what is told of them and what is refused."""

import pytest

from spacetime_tps.dynamics.structures import box_text, common_box, read_pdb, read_structures
from spacetime_tps.errors import MoleculeError


def pdb_line(serial: int, name: str, x: float, altloc: str = " ", residue: int = 1, element: str | None = None) -> str:
    element = name[0] if element is None else element
    place = f"{x:8.3f}{0:8.3f}{0:8.3f}"
    return f"ATOM  {serial:5d}  {name:<3s}{altloc}HOH A{residue:4d}    {place}  1.00  0.00          {element:>2s}"


WATER = [pdb_line(1, "O", 0), pdb_line(2, "H1", 0.957), pdb_line(3, "H2", -0.24)]


@pytest.fixture
def read(tmp_path):
    def write(lines: list[str]):
        (tmp_path / "x.pdb").write_text("\n".join([*lines, "END"]) + "\n")
        return read_pdb("x", tmp_path / "x.pdb")

    return write


def test_a_plain_file_is_read_without_a_word(read, caplog):
    structure = read(WATER)
    assert structure.positions[:, 0] == pytest.approx([0, 0.0957, -0.024])
    assert structure.box is None
    assert caplog.text == ""


def test_alternate_locations_are_told(read, caplog):
    structure = read([pdb_line(1, "O", 0, "A"), pdb_line(2, "O", 0.5, "B"), *WATER[1:]])
    assert structure.positions[:, 0] == pytest.approx([0, 0.0957, -0.024])
    assert "x.pdb has alternate locations of HOH 1 O; the first is taken" in caplog.text


def test_models_are_told(read, caplog):
    second = [pdb_line(1, "O", 5), pdb_line(2, "H1", 6), pdb_line(3, "H2", 7)]
    structure = read(["MODEL        1", *WATER, "ENDMDL", "MODEL        2", *second, "ENDMDL"])
    assert structure.positions[0, 0] == 0
    assert "x.pdb has 2 models; the first is taken" in caplog.text


def test_missing_elements_are_told(read, caplog):
    read([WATER[0], pdb_line(2, "H1", 0.957, element=""), WATER[2]])
    assert "x.pdb names no element of HOH 1 H1; it is taken from their names" in caplog.text


def test_an_atom_that_comes_twice_is_refused(read):
    """OpenMM would leave one out."""
    with pytest.raises(MoleculeError, match=r"x\.pdb, line 4: HOH 1 H2 comes twice in its residue"):
        read([*WATER, pdb_line(4, "H2", 0.3)])
    assert read([*WATER, *(line[:22] + "   2" + line[26:] for line in WATER)]).topology.getNumAtoms() == 6


def test_boxes(tmp_path):
    record = "CRYST1   20.000   20.000   {:6.3f}  90.00  90.00  90.00 P 1           1"
    for name, length in (("a", 20), ("b", 20.005), ("c", 20.02)):
        (tmp_path / f"{name}.pdb").write_text("\n".join([record.format(length), *WATER]))
    (tmp_path / "none.pdb").write_text("\n".join(WATER))
    files = {name: tmp_path / f"{name}.pdb" for name in ("a", "b", "c", "none")}
    box = common_box(read_structures({"a": files["a"], "b": files["b"]}))
    assert box_text(box) == "2.000 × 2.000 × 2.000 nm"
    for other, text in (("c", r"2\.000 × 2\.000 × 2\.002 nm"), ("none", "no box")):
        with pytest.raises(MoleculeError, match=rf"'a' and '{other}' have different boxes: 2\.000 .* and {text}"):
            common_box(read_structures({"a": files["a"], other: files[other]}))


def test_a_box_that_is_none_is_refused(read):
    with pytest.raises(MoleculeError, match=r"structure 'x': .*x\.pdb"):
        read(["CRYST1   20.000   20.000   20.000 180.00  10.00  90.00 P 1           1", *WATER])
