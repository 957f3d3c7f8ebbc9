"""Rules of the house that a program can check: who imports whom, who names files, how long modules are."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import spacetime_tps
from spacetime_tps.runs import layout

PACKAGE = Path(spacetime_tps.__file__).parent
NAME = PACKAGE.name

ORDER = (
    "errors arrays",
    "records progress writing threads processes drawing",
    "interruption",  # it ends the processes
    "settings",
    "statistics",
    "denoisers",
    "spacetime",
    "training",
    "coordinates",
    "dynamics",
    "runs",
    # surfaces are a job like the others, but the main job runs them when its settings are those of a surface; the main
    # job also asks how a curve is calibrated and how a committor is learned
    "generation calibration committor edit_distance surfaces",
    "pipeline",
    "path_ensemble free_energy export",
    "cli",
)
"""Rooms from the lowest to the highest; those on one line do not know each other."""

LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms.split()}
FRONT = ("__init__", "__main__")
"""They hand the jobs over to whoever imports the package, or runs it."""

WITHOUT = {
    "denoisers": {"openmm", "mdtraj"},
    "spacetime": {"openmm", "mdtraj"},
    "statistics": {"openmm", "mdtraj", "torch"},
    "training": {"openmm", "mdtraj"},
    "dynamics": {"torch"},
}
"""What a room must not import, wherever in its code."""

WITH_OPENMM = {"dynamics", "export"}
"""Rooms that may import OpenMM."""

MODULES_WITH_OPENMM = {"runs.trajectories"}  # topologies of openmm.app, to write PDB files

FILE_NAME = re.compile(r"^\S*[^\s./]\.(trr|h5|npz|npy|csv|jsonl?|yaml|pdb|png|safetensors|xml|lock)$")
OTHER_NAMES = {
    # a room below the runs' that reads one file of a folder that it is given
    "settings.files": {"config.yaml"},
    "training.trainer": {"not_finite.safetensors"},
    # the inside of the folder of a checkpoint, which no other module reads or writes
    "dynamics.checkpoint": {"state.npz", "frames_{}.npz"},
    # shipped systems
    "settings.shipped": {"system.yaml", "*/system.yaml"},
    # files for other programs
    "export.formats": {"{}.trr", "{}.pdb", "topology.pdb"},
    "export.openpathsampling": {"topology.pdb", "system.xml", "integrator.xml", "settings.json", "{}.npz"},
    "export.load_openpathsampling": {"topology.pdb", "system.xml", "integrator.xml", "settings.json", "*.npz"},
    "export.plumed": {"reference.pdb"},
}
"""Names of files outside ``runs/layout.py``, by module."""

MOST_LINES = 400
LONGER = {"cli.app"}
"""Modules that are longer still; put none in."""

CONTENTS = {
    # what a file holds is a mapping until it has become settings, or a denoiser with what it was made from
    "settings.files",
    "settings.run.spelled_out",
    "runs.inputs.with_kept_inputs",
    "denoisers",
    # JSON of objects, and what other programs read
    "export.openpathsampling.describe",
}
"""Modules, rooms and functions that give mappings because the mapping is the thing itself."""


@cache
def modules() -> dict[str, Path]:
    """Files of the package by the name of their module in it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts if len(parts) == 1 or parts[-1] != "__init__" else parts[:-1])] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def room(module: str) -> str:
    return module.split(".")[0]


def imported(module: str) -> Iterator[tuple[str, int]]:
    """Full names that a module imports and the lines, wherever they stand: also in functions or for types alone."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: imports have full names"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def rooms_of(module: str) -> Iterator[tuple[str, int]]:
    """Rooms that a module imports from, and the lines."""
    for name, line in imported(module):
        first, _, rest = name.partition(".")
        if first == NAME and room(rest) in LEVELS:
            yield room(rest), line


def text(node: ast.AST) -> str | None:
    """A string in the code, with ``{}`` for what an f-string puts into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def strings(module: str) -> Iterator[tuple[str, int]]:
    """All strings in the code of a module but docstrings, and their lines."""
    nodes = list(ast.walk(tree(module)))
    left_out = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    left_out |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if (found := text(node)) is not None and id(node) not in left_out:
            yield found, node.lineno


def layout_names() -> set[str]:
    """All names of files and folders in the layout."""
    values = {value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)}
    return values - {layout.BEGINNING}


def file_names(module: str) -> Iterator[tuple[str, int]]:
    """Strings of a module that are names of files, in whatever folder."""
    for found, line in strings(module):
        names_folder = "/" in found and found.partition("/")[0] in layout_names()
        if FILE_NAME.match(found) or (names_folder and " " not in found):
            yield found, line


def test_every_room_has_its_place():
    assert {room(module) for module in modules()} == LEVELS.keys() | set(FRONT)


def test_imports_go_down():
    """Also no two rooms import each other, for one of them would have to go up."""
    assert not {
        (module, line, name)
        for module in modules()
        if (own := room(module)) not in FRONT
        for name, line in rooms_of(module)
        if name != own and LEVELS[name] >= LEVELS[own]
    }


def test_front_is_imported_by_nothing_but_the_command_line():
    """The package's own names are its jobs: whoever imports them imports all."""
    names = set(spacetime_tps.__all__) - {"__version__"}
    assert not {
        (module, line)
        for module in modules()
        for name, line in imported(module)
        if name in {f"{NAME}.{n}" for n in names}
    }


@pytest.mark.parametrize("name", WITHOUT)
def test_rooms_that_know_no_molecule_or_no_denoiser(name):
    assert not {
        (module, line, library)
        for module in modules()
        for library, line in imported(module)
        if room(module) == name and library.partition(".")[0] in WITHOUT[name]
    }


def test_openmm_has_its_rooms():
    using = {module for module in modules() for library, _ in imported(module) if library.partition(".")[0] == "openmm"}
    assert {module for module in using if room(module) not in WITH_OPENMM} == MODULES_WITH_OPENMM


def test_dynamics_knows_no_denoiser():
    below = {name for module in modules() if room(module) == "dynamics" for name, _ in rooms_of(module)}
    assert not below & {"denoisers", "spacetime", "training"}


def test_names_of_files_stand_in_the_layout():
    found = {module: {name for name, _ in file_names(module)} for module in modules() if module != "runs.layout"}
    assert {module: names for module, names in found.items() if names} == OTHER_NAMES


def test_folders_of_a_run_are_named_by_the_layout():
    """Neither ``folder / "paths"`` nor ``run.path("paths")``."""
    named = set()
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                name = text(node.right)
                if name in layout_names() - OTHER_NAMES.get(module, set()):
                    named.add((module, node.lineno, name))
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("path", "made")
            ):
                named |= {(module, node.lineno, name) for argument in node.args if (name := text(argument))}
    assert not named


def test_layout_has_every_name_once():
    names = [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice


def untyped() -> set[str]:
    """Functions whose result, or a part of it, is a ``dict[str, Any]`` or a mapping of the kind."""
    found = set()
    for module in modules():
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                result = ast.unparse(node.returns)
                name = f"{module}.{node.name}"
                is_content = node.name == "to_json" or {room(module), module, name} & CONTENTS
                if re.search(r"(dict|Mapping)\[str, Any\]", result) and not is_content:
                    found.add(name)
    return found


def test_results_are_types():
    assert not untyped()


def test_modules_are_short():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in modules().items()}
    assert {module for module, lines in lengths.items() if lines > MOST_LINES} <= LONGER


def test_every_module_says_what_it_is():
    assert not {module for module in modules() if not ast.get_docstring(tree(module))}
