"""XML files of force fields and Systems, read so that nothing in them can run.

OpenMM runs scripts in force fields, evaluates an attribute as Python and unpickles functions. Its own parser of Systems
also sees elements where other parsers see a comment. So a file is read here once, code is found, and OpenMM is given
the text that is written anew from what was read, never the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from spacetime_tps.errors import MoleculeError

_LARGEST = 1 << 29
"""Bytes; the System of a million atoms has about 2e8."""
_DEEPEST = 100
"""Elements within each other. OpenMM's files have 7, and its parser runs out of stack somewhere."""
_EVALUATED = "useDispersionCorrection"
"""OpenMM gives the value of this attribute to Python's ``eval``."""


@dataclass(frozen=True)
class XmlFile:
    """What a file holds.

    Attributes
    ----------
    path : Path
        The file, its links followed.
    root : str
        Name of the outermost element.
    text : str
        The elements written anew, without comments, processing instructions and ``Include``.
    includes : tuple of str
        Files that it includes, as written.
    code : tuple of str
        What OpenMM would run: descriptions for error messages.
    forces : tuple of str
        Types of the forces of a serialised System, those within other forces too.
    """

    path: Path
    root: str
    text: str
    includes: tuple[str, ...]
    code: tuple[str, ...]
    forces: tuple[str, ...]


def read_xml(path: Path) -> XmlFile:
    """Read an XML file.

    Raises
    ------
    MoleculeError
        If the file cannot be read, is no XML, is too large or too deeply nested, or has a document type (which is
        where XML declares entities).
    """
    try:
        path = path.resolve()
        if not path.is_file():
            raise MoleculeError(f"{path} is not a file")
        if path.stat().st_size > _LARGEST:
            raise MoleculeError(f"{path} has {path.stat().st_size} bytes; a force field may have {_LARGEST}")
        content = path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        raise MoleculeError(f"{path} cannot be read ({error})") from error
    reader = _Reader(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, MoleculeError):
            raise
        raise MoleculeError(f"{path} is not valid XML ({error})") from error
    return XmlFile(
        path=path,
        root=reader.root,
        text="".join(reader.text),
        includes=tuple(reader.includes),
        code=tuple(dict.fromkeys(reader.code)),
        forces=tuple(dict.fromkeys(reader.forces)),
    )


@dataclass
class _Reader:
    """Takes what expat meets, and writes it anew."""

    path: Path
    root: str = ""
    depth: int = 0
    text: list[str] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    forces: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self.depth += 1
        if self.depth > _DEEPEST:
            raise MoleculeError(f"{self.path} nests more than {_DEEPEST} elements; no force field does")
        self._look_for_code(name, attributes)
        if self._is_include(name):
            if not attributes.get("file"):
                raise MoleculeError(f"{self.path} has an <Include> that names no file")
            self.includes.append(attributes["file"])
            return
        written = (f' {key}="{_attribute(value)}"' for key, value in attributes.items())
        self.text.append(f"<{name}{''.join(written)}>")

    def end(self, name: str) -> None:
        if not self._is_include(name):
            self.text.append(f"</{name}>")
        self.depth -= 1

    def characters(self, data: str) -> None:
        self.text.append(escape(data))

    def refuse_doctype(self, *_: Any) -> None:
        raise MoleculeError(f"{self.path} has a <!DOCTYPE>, which can declare entities; remove it")

    def _is_include(self, name: str) -> bool:
        return name == "Include" and self.depth == 2 and self.root != "System"

    def _look_for_code(self, name: str, attributes: dict[str, str]) -> None:
        if name.lower().endswith("script"):
            self.code.append(f"<{name}>")
        value = attributes.get(_EVALUATED, "True").strip()
        if self.root != "System" and value not in ("True", "False", "0", "1"):
            self.code.append(f"{_EVALUATED}={value[:40]!r}")
        kind = attributes.get("type", "")
        if kind == "PythonForce":
            self.code.append("a pickled PythonForce")
        if self.root == "System" and re.fullmatch(r"\w*(Force|Thermostat|Barostat|Remover)", kind):
            self.forces.append(kind)


def _attribute(value: str) -> str:
    return escape(value, {'"': "&quot;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})
