"""Every way we know in which a file that describes a molecule could run code: each must be refused and leave no trace.

Run as ``python tests/attacks/run_code.py``, or by the test beside it.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import openmm

from spacetime_tps.dynamics.force_field import input_files
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import SpacetimeError
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.system import SystemSettings

Attack = Callable[[Path, str], list[str]]
"""Writes files to a folder whose code would run a Python expression; returns the force field to ask for."""
ATTACKS: dict[str, Attack] = {}
BASE = "amber99sbildn.xml"


def attack(function: Attack) -> Attack:
    """Register an attack by its name."""
    ATTACKS[function.__name__] = function
    return function


def write(folder: Path, name: str, content: str | bytes) -> str:
    """Write a file, and return its path."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def script(code: str, tag: str = "Script") -> str:
    """A force field that is a script."""
    return f"<ForceField><{tag}>{code}</{tag}></ForceField>"


class _Payload:
    """Runs Python code when it is unpickled."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (self.code,)


def python_force(code: str) -> str:
    """A force whose pickled function runs code."""
    function = pickle.dumps(_Payload(code)).hex()
    return (
        f'<Force forceGroup="0" function="{function}" name="PythonForce" type="PythonForce" usesPeriodic="0" '
        'version="2"><GlobalParameters/><Particles/></Force>'
    )


def system(inside: str) -> str:
    """The System of alanine dipeptide with more forces."""
    molecule = MolecularSystem.from_settings(settings())
    return molecule.system_xml.replace("</Forces>", f"{inside}</Forces>")


def settings(force_field: list[str] | None = None) -> SystemSettings:
    """Alanine dipeptide, with another force field."""
    plain = load_settings(find_system("alanine_dipeptide")).system
    if force_field is None:
        return plain
    content = plain.model_dump(mode="json", exclude_none=True)
    return SystemSettings.model_validate(content | {"force_field": force_field})


@attack
def script_element(folder: Path, code: str) -> list[str]:
    return [BASE, write(folder, "own.xml", script(code))]


@attack
def initialization_script(folder: Path, code: str) -> list[str]:
    return [BASE, write(folder, "own.xml", script(code, "InitializationScript"))]


@attack
def script_in_character_data(folder: Path, code: str) -> list[str]:
    return [BASE, write(folder, "own.xml", script(f"<![CDATA[{code}]]>"))]


@attack
def script_behind_a_namespace(folder: Path, code: str) -> list[str]:
    return [BASE, write(folder, "own.xml", f'<ForceField xmlns:x=""><x:Script>{code}</x:Script></ForceField>')]


@attack
def script_in_utf16(folder: Path, code: str) -> list[str]:
    content = ('<?xml version="1.0" encoding="utf-16"?>' + script(code)).encode("utf-16")
    return [BASE, write(folder, "own.xml", content)]


@attack
def script_in_utf7(folder: Path, code: str) -> list[str]:
    content = b'<?xml version="1.0" encoding="utf-7"?>' + script(code).encode("utf-7")
    return [BASE, write(folder, "own.xml", content)]


@attack
def script_of_another_name(folder: Path, code: str) -> list[str]:
    return [BASE, write(folder, "own.prm", script(code))]


@attack
def include(folder: Path, code: str) -> list[str]:
    write(folder, "sub/part.xml", script(code))
    return [BASE, write(folder, "own.xml", '<ForceField><Include file="sub/part.xml"/></ForceField>')]


@attack
def include_of_an_include(folder: Path, code: str) -> list[str]:
    write(folder, "sub/part.xml", '<ForceField><Include file="../last.xml"/></ForceField>')
    write(folder, "last.xml", script(code, "InitializationScript"))
    return [BASE, write(folder, "own.xml", '<ForceField><Include file="sub/part.xml"/></ForceField>')]


@attack
def include_by_absolute_path(folder: Path, code: str) -> list[str]:
    part = write(folder, "part.xml", script(code))
    return [BASE, write(folder, "own.xml", f'<ForceField><Include file="{part}"/></ForceField>')]


@attack
def include_in_the_working_directory(folder: Path, code: str) -> list[str]:
    """OpenMM looks there for what is not beside the file."""
    write(folder, "part.xml", script(code))
    return [BASE, write(folder, "sub/own.xml", '<ForceField><Include file="part.xml"/></ForceField>')]


@attack
def openmms_name_in_the_working_directory(folder: Path, code: str) -> list[str]:
    write(folder, "nonesuch.xml", script(code))
    return [BASE, "nonesuch.xml"]


@attack
def link_to_a_script(folder: Path, code: str) -> list[str]:
    target = write(folder, "elsewhere/part.xml", script(code))
    (folder / "own.xml").symlink_to(target)
    return [BASE, str(folder / "own.xml")]


@attack
def path_through_openmms_folder(folder: Path, code: str) -> list[str]:
    own = write(folder, "own.xml", script(code))
    data = Path(openmm.__file__).parent / "app" / "data"
    return [BASE, f"{data}/{os.path.relpath(own, data.resolve())}"]


@attack
def entity(folder: Path, code: str) -> list[str]:
    content = f'<!DOCTYPE ForceField [<!ENTITY e "<Script>{code}</Script>">]><ForceField>&e;</ForceField>'
    return [BASE, write(folder, "own.xml", content)]


@attack
def external_entity(folder: Path, code: str) -> list[str]:
    part = write(folder, "part.txt", f"<Script>{code}</Script>")
    content = f'<!DOCTYPE ForceField [<!ENTITY e SYSTEM "{part}">]><ForceField>&e;</ForceField>'
    return [BASE, write(folder, "own.xml", content)]


@attack
def evaluated_attribute(folder: Path, code: str) -> list[str]:
    attribute = f"exec({code!r})".replace('"', "&quot;")
    content = (
        '<ForceField><NonbondedForce coulomb14scale="0.8333333333333334" lj14scale="0.5" '
        f'useDispersionCorrection="{attribute}"/></ForceField>'
    )
    return [BASE, write(folder, "own.xml", content)]


@attack
def evaluated_attribute_of_lennard_jones(folder: Path, code: str) -> list[str]:
    attribute = f"exec({code!r})".replace('"', "&quot;")
    content = f'<ForceField><LennardJonesForce lj14scale="1" useDispersionCorrection="{attribute}"/></ForceField>'
    return [BASE, write(folder, "own.xml", content)]


@attack
def python_force_in_a_system(folder: Path, code: str) -> list[str]:
    return [write(folder, "system.xml", system(python_force(code)))]


@attack
def python_force_in_a_comment(folder: Path, code: str) -> list[str]:
    """OpenMM's parser ends a comment at the first > that it does not expect."""
    return [write(folder, "system.xml", system(f"<!-- > {python_force(code)} -->"))]


@attack
def python_force_in_character_data(folder: Path, code: str) -> list[str]:
    return [write(folder, "system.xml", system(f"<![CDATA[ ]] > {python_force(code)} ]]>"))]


@attack
def python_force_in_an_instruction(folder: Path, code: str) -> list[str]:
    return [write(folder, "system.xml", system(f"<?x > {python_force(code)} ?>"))]


@attack
def python_force_in_an_attribute(folder: Path, code: str) -> list[str]:
    inside = python_force(code).replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    return [write(folder, "system.xml", system(f'<!-- --><X a="&quot;&gt;{inside}"/>'))]


@attack
def python_force_within_a_variable(folder: Path, code: str) -> list[str]:
    outer = (
        '<Force energy="a" forceGroup="0" name="CustomCVForce" type="CustomCVForce" version="0"><GlobalParameters/>'
        '<EnergyParameterDerivatives/><CollectiveVariables><CollectiveVariable name="a">'
        f"{python_force(code)}</CollectiveVariable></CollectiveVariables><Functions/></Force>"
    )
    return [write(folder, "system.xml", system(outer))]


@attack
def python_force_before_the_system(folder: Path, code: str) -> list[str]:
    return [write(folder, "system.xml", python_force(code))]


@attack
def system_behind_a_long_comment(folder: Path, code: str) -> list[str]:
    content = system(python_force(code))
    return [write(folder, "system.xml", f"<!-- {'x' * 5000} -->" + content.partition("?>")[2])]


def run(name: str) -> str:
    """Try one attack; return why it was refused, or that it did nothing.

    Raises
    ------
    AssertionError
        If its code ran, or anything but a SpacetimeError came out.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trace = folder / "trace"
        force_field = ATTACKS[name](folder, f"open({str(trace)!r}, 'w').close()")
        os.chdir(folder)
        outcomes = []
        try:
            for use in (MolecularSystem.from_settings, input_files):
                try:
                    use(settings(force_field))
                    outcomes.append("accepted, and nothing ran")
                except SpacetimeError as error:
                    outcomes.append(str(error))
                assert not trace.exists(), f"{name}: its code ran"
        finally:
            os.chdir(before)
    return outcomes[0]


if __name__ == "__main__":
    for each in ATTACKS:
        print(f"{each}: {run(each)}")
    sys.exit(0)
