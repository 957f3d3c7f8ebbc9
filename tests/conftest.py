"""What tests of several folders share: runs, toy systems, workers in this process."""

import importlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import openmm
import pytest

from spacetime_tps.dynamics.annealing import AnnealingTask, RestraintSchedule, anneal
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, InProcessPool
from spacetime_tps.runs.beginning import prepared
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.inputs import sample_files, with_kept_inputs
from spacetime_tps.runs.layout import BEGINNING
from spacetime_tps.settings.files import load_settings, merge, open_run, parse_settings
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.statistics.mbar import Sampled

pytest.register_assert_rewrite("contracts")

SCRIPTS = Path(__file__).parents[1] / "scripts"


SLOW = ("attacks", "integration", "scripts")
"""Folders whose tests run whole jobs, or many small ones."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what lies in those folders, so that ``-m "not slow"`` leaves all of it out."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.relative_to(folder).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Ctrl-C works in the programs that tests start, also where the shell has it ignored, as in its background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark or a figure of the paper by name."""
    for folder in ("reproduce", "benchmarks"):
        monkeypatch.syspath_prepend(str(SCRIPTS / folder))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def begin_run() -> Callable[..., Run]:
    """Begin the run of a shipped system in a folder, with settings on top of the system's."""

    def make(folder: Path, system: str = "alanine_dipeptide", /, seed: int = 7, **changes: Any) -> Run:
        content = load_settings(find_system(system)).model_dump(mode="json", exclude_none=True, exclude_unset=True)
        settings = parse_settings(merge(content, changes), system)
        with prepared(folder, settings, seed, resume=False, overwrite=True):
            run = Run(folder, settings, seed)
            files = {"sample_files": sample_files(settings)} if isinstance(settings, RunSettings) else {}
            run.finish(BEGINNING, time.perf_counter(), results=files)
        return run

    return make


@pytest.fixture(scope="session")
def assert_same_settings() -> Callable[[Path, Any], None]:
    """The settings that a run has kept are those it was given, but that its inputs are the copies in its folder."""

    def check(folder: Path, given: Any) -> None:
        kept, _ = open_run(folder)
        contents = [with_kept_inputs(settings.model_dump(mode="json")) for settings in (kept, given)]
        assert contents[0][0] == contents[1][0]
        for name, source in contents[1][1].items():
            assert (folder / name).read_bytes() == source.read_bytes()

    return check


@pytest.fixture
def begun(tmp_path, begin_run) -> Callable[..., Path]:
    """Folder of a run, with seed 7, of a shipped system that has not done anything yet."""
    return lambda system="alanine_dipeptide", **changes: begin_run(tmp_path, system, **changes).folder


@pytest.fixture
def with_geodesic(begun, request) -> Path:
    """Folder of a run whose low-variance geodesic is the straight line between the structures at one SNR.

    Other settings are its parameter, if it has one.
    """
    run = Run.open(begun(**getattr(request, "param", {})))
    a, b = (run.structure(state) for state in (0, 1))
    share = np.linspace(0, 1, 65)[:, None, None]
    y = ((1 - share) * a + share * b)[:, list(run.coordinates.atoms)]
    run.made("geodesics")
    np.savez(
        run.path("geodesics/low_variance.npz"), y=y, mean=y, log_snr=np.full(len(y), 6.5), variance=np.ones(len(y))
    )
    for part in ("samples", "denoiser", "geodesics"):
        run.finish(part, time.perf_counter())
    return run.folder


KT = 300 * MOLAR_GAS_CONSTANT


@pytest.fixture(scope="session")
def system_settings():
    return load_settings(find_system("alanine_dipeptide")).system


@pytest.fixture(scope="session")
def molecule(system_settings):
    return MolecularSystem.from_settings(system_settings)


@pytest.fixture(scope="session")
def heavy_atoms(molecule):
    return molecule.topology.select("element != H")


@pytest.fixture(scope="session")
def wells():
    """Independent particles, each in the well ½ stiffness |x|² around the origin: a function that makes the System."""

    def build(particles: int, stiffness: float = 1000.0, mass: float = 10.0) -> openmm.System:
        system = openmm.System()
        force = openmm.CustomExternalForce("0.5*stiffness*(x^2+y^2+z^2)")
        force.addGlobalParameter("stiffness", stiffness)
        for _ in range(particles):
            force.addParticle(system.addParticle(mass), [])
        system.addForce(force)
        return system

    return build


@pytest.fixture(scope="session")
def toy_engine():
    """An Engine at 300 K for any System."""

    def build(system: openmm.System, restrained=(), friction=20.0, time_step=0.05, periodic=False) -> Engine:
        return Engine(
            system_xml=openmm.XmlSerializer.serialize(system),
            restrained_atoms=tuple(restrained),
            temperature=300.0,
            friction=friction,
            time_step=time_step,
            kt=KT,
            periodic=periodic,
            platform="Reference",
            states=(),
        )

    return build


@pytest.fixture
def worker():
    """Make this process the worker of an engine, so that tasks can be called directly; gives the pool.

    The engine that was asked for last counts.
    """
    with ExitStack() as stack:
        yield lambda engine: stack.enter_context(InProcessPool(engine))


@pytest.fixture
def toy_molecule():
    """What samplers ask of a molecule, both of whose states have the given positions."""

    def build(positions: np.ndarray, time_step: float = 0.05):
        state = SimpleNamespace(structure="start")
        return SimpleNamespace(structures={"start": positions}, states=(state, state), time_step=time_step)

    return build


@pytest.fixture
def interpolation(molecule, heavy_atoms):
    """The straight line of the heavy atoms from C7eq to C7ax, and all atoms of its start."""
    first = molecule.trajectory(molecule.structures["c7eq"][None])
    last = molecule.trajectory(molecule.structures["c7ax"][None]).superpose(first, atom_indices=heavy_atoms)
    ends = [t.xyz[0, heavy_atoms].astype(float) for t in (first, last)]
    centres = np.linspace(*ends, 16)
    return RestraintSchedule(centres, np.full(16, np.log(6000.0))), first.xyz[0].astype(float)


@pytest.fixture
def annealed_path(molecule, heavy_atoms, interpolation, worker):
    """A path of alanine dipeptide along that line, 600 steps of 1 fs."""
    worker(Engine.for_system(molecule, heavy_atoms))
    schedule, start = interpolation
    return anneal(AnnealingTask("path 0", schedule, start, 600, 7, 300.0, 0.001, np.random.SeedSequence(3)))


@pytest.fixture
def run(tmp_path, worker, request) -> Iterator[Run]:
    """Of alanine dipeptide, with nothing done yet; its tasks run in this process.

    Other settings are its parameter, if it has one.
    """
    content = load_settings(find_system("alanine_dipeptide")).model_dump(mode="json", exclude_unset=True)
    made = Run(tmp_path, parse_settings(merge(content, getattr(request, "param", {})), ""), 0)
    with made.working(worker(Engine.for_system(made.molecule, made.coordinates.atoms))):
        yield made


@pytest.fixture(scope="session")
def harmonic_series() -> Callable[..., tuple[Sampled, np.ndarray]]:
    """Frames of ensembles in one dimension whose free energies are known exactly."""

    def series(frames: int, seed: int, replicas: int = 4, offsets: float = 0.0) -> tuple[Sampled, np.ndarray]:
        """Frames of exp(−x²/2 − b_k), b_k = s_k (x − y_k)²/2 in one dimension, and the exact free energies."""
        y, s = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]), np.array([9.0, 5.0, 4.0, 3.0, 5.0, 9.0])
        rng = np.random.default_rng(seed)
        moved = offsets * rng.normal(size=replicas)[:, None, None]  # replicas that have not come to equilibrium
        x = y * s / (1 + s) + (rng.normal(size=(replicas, frames, len(y))) + moved) / np.sqrt(1 + s)
        ensemble = np.repeat(np.arange(len(y)), replicas * frames)
        replica = np.tile(np.repeat(np.arange(replicas), frames), len(y))
        flat = x.transpose(2, 0, 1).ravel()
        exact = 0.5 * np.log(1 + s) + 0.5 * s * y**2 / (1 + s)
        return Sampled(0.5 * s[:, None] * (flat - y[:, None]) ** 2, ensemble, replica), exact - exact[0]

    return series
