"""Files of a molecule that are broken in any way are refused with an error of ours."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("fuzz_structures", Path(__file__).with_name("fuzz_structures.py"))
fuzz_structures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzz_structures)


@pytest.mark.parametrize("count", [80, pytest.param(2000, marks=pytest.mark.attack)])
def test_only_our_errors_come_out(count, tmp_path):
    told: list[str] = []
    outcomes = fuzz_structures.fuzz(count, 1, tmp_path, told.append)
    assert told == []
    kinds = {name.partition(":")[0] for name in outcomes}
    assert kinds == {"pdb", "xml", "system", "prmtop"}
    assert sum(n for name, n in outcomes.items() if name.endswith("refused")) > count / 4
