"""Mutated PDB, XML and prmtop files through ``MolecularSystem.from_settings``: only a SpacetimeError comes out.

Run as ``python tests/attacks/fuzz_structures.py --count 3000 --seed 0``.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import logging
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from spacetime_tps.dynamics.force_field import input_files
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import SpacetimeError
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.system import SystemSettings

LIMIT = 5.0
"""Seconds of processor time for one file."""
_NUMBERS = (
    "0",
    "-1",
    "1",
    "99999999",
    "-99999999",
    "1e308",
    "-1e308",
    "1e-308",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "1.5",
    "",
)
_TEXTS = ("", " ", "\x00", "é", "<", ">", "&", '"', "%", "\n", "\t", "A" * 300, "../../x", "<Script>1</Script>")

_spec = importlib.util.spec_from_file_location("prmtop", Path(__file__).parents[1] / "dynamics" / "prmtop.py")
assert _spec is not None and _spec.loader is not None
prmtop = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(prmtop)


class Cases:
    """Settings whose files may be overwritten, by kind, and the files' right contents.

    Parameters
    ----------
    folder : Path
        Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        plain = load_settings(find_system("alanine_dipeptide")).system.model_dump(mode="json", exclude_none=True)
        structures = {}
        for name, path in plain["structures"].items():
            structures[name] = str(folder / f"{name}.pdb")
            (folder / f"{name}.pdb").write_bytes(Path(path).read_bytes())
        (folder / "own.xml").write_text(_OWN)
        molecule = MolecularSystem.from_settings(SystemSettings.model_validate(plain))
        (folder / "system.xml").write_text(molecule.system_xml)
        (folder / "row").mkdir()
        own = ["amber99sbildn.xml", str(folder / "own.xml")]
        self.settings = {
            "pdb": plain | {"structures": structures},
            "xml": plain | {"structures": structures, "force_field": own},
            "system": plain | {"structures": structures, "force_field": [str(folder / "system.xml")]},
            "prmtop": prmtop.row_settings(folder / "row", "OCOH"),
        }
        self.files = {
            "pdb": folder / "c7ax.pdb",
            "xml": folder / "own.xml",
            "system": folder / "system.xml",
            "prmtop": folder / "row" / "row.prmtop",
        }
        self.contents = {kind: path.read_bytes() for kind, path in self.files.items()}


_OWN = """<ForceField>
 <AtomTypes><Type name="X1" class="X" element="C" mass="12.01"/></AtomTypes>
 <Residues><Residue name="XXX"><Atom name="C1" type="X1" charge="0.0"/><Atom name="C2" type="X1" charge="0.0"/>
  <Bond atomName1="C1" atomName2="C2"/><ExternalBond atomName="C1"/></Residue></Residues>
 <HarmonicBondForce><Bond class1="X" class2="X" length="0.15" k="200000"/></HarmonicBondForce>
 <NonbondedForce coulomb14scale="0.8333333333333334" lj14scale="0.5">
  <Atom type="X1" charge="0" sigma="0.3" epsilon="0.4"/></NonbondedForce>
 <CustomExternalForce energy="a*x^2"><GlobalParameter name="a" defaultValue="0"/></CustomExternalForce>
 <CustomBondForce energy="k*r"><PerBondParameter name="k"/><Bond class1="X" class2="X" k="1"/></CustomBondForce>
</ForceField>
"""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one to three changes: of numbers and lines mostly, which other parsers than XML's must meet."""
    anything = (_flip, _cut, _text, _repeat)
    for _ in range(rng.randint(1, 3)):
        change = rng.choice((_number, _number, _lines)) if rng.random() < 0.8 else rng.choice(anything)
        content = change(content, rng)
    return content


def _flip(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content or b"x")
    for _ in range(rng.choice((1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _number(content: bytes, rng: random.Random) -> bytes:
    """One word that has a digit becomes another number, of the same width where it has one."""
    text = content.decode("latin-1")
    places = [i for i, c in enumerate(text) if c.isdigit()]
    if not places:
        return content
    start = end = rng.choice(places)
    while start > 0 and text[start - 1] in "0123456789.eE+-":
        start -= 1
    while end < len(text) and text[end] in "0123456789.eE+-":
        end += 1
    other = rng.choice(_NUMBERS)
    if rng.random() < 0.7:
        other = other.rjust(end - start)[: end - start]
    return (text[:start] + other + text[end:]).encode("latin-1")


def _text(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(_TEXTS).encode() + content[place + rng.choice((0, 1, 5)) :]


def _lines(content: bytes, rng: random.Random) -> bytes:
    """Two lines are swapped, one is left out or one comes twice."""
    lines = content.splitlines(keepends=True)
    if len(lines) < 2:
        return content
    one, other = rng.sample(range(len(lines)), 2)
    what = rng.randrange(3)
    if what == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif what == 1:
        del lines[one]
    else:
        lines.insert(other, lines[one])
    return b"".join(lines)


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    piece = content[start : start + rng.randrange(200)]
    return content[:start] + piece * rng.choice((2, 3, 50)) + content[start:]


def fuzz(count: int, seed: int, folder: Path, tell: Callable[[str], None] = print) -> Counter[str]:
    """Try mutated files; return how often each kind was refused, accepted, slow or broken.

    Parameters
    ----------
    count : int
        Files in all, of four kinds in turn.
    seed : int
    folder : Path
        For the files.
    tell : callable
        Takes a line on each file that breaks something.
    """
    logging.getLogger("spacetime_tps").setLevel(logging.ERROR)
    cases, outcomes = Cases(folder), Counter[str]()
    kinds = list(cases.settings)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        content = mutated(cases.contents[kind], random.Random(f"{seed} {number}"))
        cases.files[kind].write_bytes(content)
        start = time.process_time()
        try:
            settings = SystemSettings.model_validate(cases.settings[kind])
            input_files(settings)
            MolecularSystem.from_settings(settings)
            outcomes[f"{kind}: accepted"] += 1
        except SpacetimeError:
            outcomes[f"{kind}: refused"] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            outcomes["broken"] += 1
            tell(f"{kind} {number}: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}")
        if time.process_time() - start > LIMIT:
            outcomes["slow"] += 1
            tell(f"{kind} {number}: {time.process_time() - start:.1f} s")
        cases.files[kind].write_bytes(cases.contents[kind])
    return outcomes


def main() -> int:
    """Fuzz as the command line asks; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="files to try")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fuzz(asked.count, asked.seed, Path(folder))
    for outcome, number in sorted(outcomes.items()):
        print(f"{outcome}: {number}")
    return int(outcomes["broken"] + outcomes["slow"] > 0)


if __name__ == "__main__":
    sys.exit(main())
