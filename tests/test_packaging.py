"""A built wheel works on its own, and the parts of the package depend on each other as they should."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
from pathlib import Path
import spacetime_tps
from spacetime_tps.settings.files import load_settings
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.settings.shipped import find_system, shipped_systems
for name in shipped_systems():
    load_settings(find_system(name))
molecule = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)
native = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide_obc2")).system)
print(Path(spacetime_tps.__file__).resolve().parent)
print(molecule.topology.n_atoms, native.topology.n_atoms, *shipped_systems())
"""


def python(*arguments: str, cwd: Path, path: Path) -> str:
    """What Python prints with these arguments, with ``path`` before everything installed."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder, path=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder with nothing but the installed wheel."""
    folder = tmp_path_factory.mktemp("installed")
    arguments = ["--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    python("-m", "pip", "install", *arguments, cwd=folder, path=folder)
    return folder


def test_wheel_holds_all_that_is_needed(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert "spacetime_tps/py.typed" in names
    for kind in ("systems", "forcefields"):
        files = [path for path in (ROOT / kind).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        assert {f"spacetime_tps/data/{path.relative_to(ROOT).as_posix()}" for path in files} <= names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "spacetime_tps").rglob("*.py")}
    code = {name for name in names if name.endswith(".py")}
    assert modules == {name for name in code if not name.startswith("spacetime_tps/data/")}
    assert not any(name.endswith("__init__.py") for name in code - modules)  # data is no part of the package
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.parametrize("source", ["wheel", "tree"])
def test_works_from_any_directory(installed, tmp_path, source):
    place = installed if source == "wheel" else ROOT
    package, described = python("-c", PROBE, cwd=tmp_path, path=place).splitlines()
    assert Path(package) == place.resolve() / "spacetime_tps"
    assert described.split() == ["22", "22", *sorted(path.parent.name for path in ROOT.glob("systems/*/system.yaml"))]


def test_command_of_the_wheel(installed, tmp_path):
    listed = python("-m", "spacetime_tps", "systems", cwd=tmp_path, path=installed)
    assert "alanine_dipeptide" in listed.split()


def imported_by(*packages: str) -> set[str]:
    """Names of all modules there are once every module of some packages has been imported."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    ]
    assert modules
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = set(python("-c", code, cwd=ROOT.parent, path=ROOT).split())
    assert set(modules) <= loaded
    return loaded


def test_workers_do_without_torch():
    loaded = python(
        "-c", "import spacetime_tps.dynamics.workers, sys\nprint(*sys.modules)", cwd=ROOT.parent, path=ROOT
    ).split()
    assert "openmm" in loaded
    assert "torch" not in loaded


@pytest.mark.slow
def test_geometry_and_denoisers_know_no_molecules():
    loaded = imported_by("spacetime_tps/spacetime", "spacetime_tps/denoisers")
    assert "torch" in loaded
    assert not loaded & {"openmm", "mdtraj", "MDAnalysis"}


def test_statistics_know_no_molecules():
    loaded = imported_by("spacetime_tps/statistics")
    assert "scipy" in loaded
    assert not loaded & {"openmm", "mdtraj", "MDAnalysis", "torch", "pydantic"}


def test_dynamics_know_no_denoiser():
    loaded = imported_by("spacetime_tps/dynamics")
    assert not loaded & {"torch", "spacetime_tps.denoisers", "spacetime_tps.spacetime"}


@pytest.mark.parametrize("folder", ["spacetime_tps", "scripts", "systems", "forcefields"])
def test_no_code_hides_in_data(folder):
    """Loading what a run has written never runs code."""
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sh", ".yaml", ".xml")]
    assert files
    loads = r"torch\.(save|load\((?!.*weights_only=True))"
    unsafe = re.compile(rf"\bpickle\b|allow_pickle\s*=\s*True|{loads}|joblib|yaml\.(unsafe_|full_)?load\(")
    assert [path for path in files if unsafe.search(path.read_text())] == []
