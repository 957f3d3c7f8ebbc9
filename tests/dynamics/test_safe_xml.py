"""What is seen in an XML file, and what OpenMM is given of it."""

import openmm
import pytest

from spacetime_tps.dynamics.safe_xml import read_xml
from spacetime_tps.errors import MoleculeError


@pytest.fixture
def written(tmp_path):
    def write(content: str | bytes, name: str = "file.xml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_elements_are_written_anew_without_comments_and_includes(written):
    file = read_xml(
        written(
            '<?xml version="1.0"?><ForceField><!-- > <Force/> -->'
            '<Include file="a.xml"/><?php x?><A b="&lt;&quot;&#10;">'
            "1 &amp; 2<![CDATA[<C/>]]></A></ForceField>"
        )
    )
    assert file.root == "ForceField"
    assert file.includes == ("a.xml",)
    assert file.text == '<ForceField><A b="&lt;&quot;&#10;">1 &amp; 2&lt;C/&gt;</A></ForceField>'


def test_a_system_is_the_same_after_reading(molecule, written):
    text = read_xml(written(molecule.system_xml)).text
    assert openmm.XmlSerializer.serialize(openmm.XmlSerializer.deserialize(text)) == molecule.system_xml


@pytest.mark.parametrize(
    "inside, code",
    [
        ("<Script>1</Script>", "<Script>"),
        ("<InitializationScript>1</InitializationScript>", "<InitializationScript>"),
        ("<A><Script>1</Script></A>", "<Script>"),
        ('<NonbondedForce useDispersionCorrection="print(1)"/>', "useDispersionCorrection='print(1)'"),
        ('<Force type="PythonForce"/>', "a pickled PythonForce"),
    ],
)
def test_code_is_found(inside, code, written):
    assert read_xml(written(f"<ForceField>{inside}</ForceField>")).code == (code,)


def test_forces_within_forces_are_found(written):
    inner = (
        '<CollectiveVariables><CollectiveVariable><Force type="DrudeForce"/></CollectiveVariable></CollectiveVariables>'
    )
    text = f'<System><Forces><Force type="CustomCVForce">{inner}</Force></Forces></System>'
    assert read_xml(written(text)).forces == ("CustomCVForce", "DrudeForce")


@pytest.mark.parametrize(
    "content, message",
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "has a <!DOCTYPE>"),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>', "has a <!DOCTYPE>"),
        ("<a>&b;</a>", "is not valid XML"),
        ("<a><b></a>", "is not valid XML"),
        ("", "is not valid XML"),
        (b"\xff\xfe\x00", "is not valid XML"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "is not valid XML"),
        ("<a>" * 10000 + "</a>" * 10000, "nests more than 100 elements"),
        ("<a><Include/></a>", "names no file"),
    ],
    ids=["entity", "external", "undefined", "crossed", "empty", "bytes", "encoding", "deep", "include"],
)
def test_what_is_no_such_file(content, message, written):
    with pytest.raises(MoleculeError, match=rf"file\.xml.*{message}"):
        read_xml(written(content))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "loop.xml").symlink_to(tmp_path / "loop.xml")
    for name in ("nowhere.xml", "loop.xml", ""):
        with pytest.raises(MoleculeError):
            read_xml(tmp_path / name)
