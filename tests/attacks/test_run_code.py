"""No file that describes a molecule runs code."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("run_code", Path(__file__).with_name("run_code.py"))
run_code = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_code)

HARMLESS = {
    "python_force_in_a_comment",
    "python_force_in_character_data",
    "python_force_in_an_instruction",
}
"""OpenMM is given a text in which the force is no element."""


@pytest.mark.parametrize("name", run_code.ATTACKS)
def test_nothing_runs(name):
    accepted = run_code.run(name) == "accepted, and nothing ran"
    assert not accepted or name in HARMLESS
