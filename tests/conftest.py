"""What tests of several folders share."""

import importlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from spacetime_tps.config_files import load_settings
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.resources import find_system
from spacetime_tps.stages.context import make_coordinates

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Ctrl-C works in the programs that tests start, also where the shell has it ignored, as in its background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def script(monkeypatch):
    """Import a script by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture
def begun(tmp_path) -> Callable[[str], Path]:
    """Folder of a run, with seed 7, of a shipped system that has not done anything yet."""

    def make(system: str = "alanine_dipeptide") -> Path:
        settings = load_settings(find_system(system)).model_dump(mode="json", exclude_none=True)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"seed": 7, "versions": {}}))
        return tmp_path

    return make


@pytest.fixture
def with_geodesic(begun) -> Path:
    """Folder of a run whose low-variance geodesic is the straight line between the structures at one SNR."""
    folder = begun()
    settings = load_settings(find_system("alanine_dipeptide"))
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    a, b = (coordinates.superpose(molecule.structures[name][None])[0] for name in ("c5", "c7ax"))
    share = np.linspace(0, 1, 65)[:, None, None]
    y = ((1 - share) * a + share * b)[:, list(coordinates.atoms)]
    (folder / "stages").mkdir()
    (folder / "stages" / "geodesics.json").write_text(json.dumps({"results": {}}))
    (folder / "geodesics").mkdir()
    np.savez(
        folder / "geodesics" / "low_variance.npz", y=y, mean=y, log_snr=np.full(len(y), 6.5), variance=np.ones(len(y))
    )
    return folder
