"""A run whose tasks are done in this process."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacetime_tps.config_files import load_settings
from spacetime_tps.dynamics import workers
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.resources import find_system
from spacetime_tps.stages.context import RunContext, make_coordinates


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunContext:
    """Of alanine dipeptide, with nothing done yet."""
    monkeypatch.setattr(workers, "_contexts", {})
    settings = load_settings(find_system("alanine_dipeptide"))
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    monkeypatch.setattr(workers, "_engine", Engine.for_system(molecule, coordinates.atoms))
    pool = SimpleNamespace(map=lambda function, tasks, chunk=1: map(function, tasks))
    return RunContext(settings, molecule, coordinates, tmp_path, pool, np.random.SeedSequence(0))
