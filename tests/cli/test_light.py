"""What is refused is refused before anything large is imported; whatever it is printed to, printing works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from spacetime_tps.cli.messages import make_console
from spacetime_tps.cli.tables import print_path_ensemble
from spacetime_tps.path_ensemble.results import Observable, PathEnsembleRequest, PathEnsembleResult
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system

ROOT = Path(__file__).resolve().parents[2]
LARGE = {"torch", "openmm", "mdtraj", "scipy.linalg", "scipy.sparse", "matplotlib", "MDAnalysis", "sklearn", "tables"}
"""What takes long to import; of scipy pint imports the empty top alone."""
CODE = """
import sys
from spacetime_tps.cli.app import main
try:
    main()
finally:
    print("imported:", *sys.modules)
"""


def command(*arguments: str | Path, cwd: Path, **environment: str) -> tuple[int, str, set[str]]:
    """Exit status, output and the modules that a command has imported."""
    result = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in result.stderr, result.stderr
    output, _, imported = result.stdout.decode(errors="surrogateescape").rpartition("imported:")
    return result.returncode, output, set(imported.split())


@pytest.mark.parametrize("arguments", [["--help"], ["free-energy", "--help"], ["systems"], ["run"], ["--version"]])
def test_help_imports_almost_nothing(arguments, tmp_path):
    status, output, imported = command(*arguments, cwd=tmp_path)
    assert status == (2 if arguments == ["run"] else 0)
    assert ("spacetime_tps" in imported and output) or arguments == ["run"]
    assert not imported & (LARGE | {"numpy", "pint", "rich"})


@pytest.fixture
def folders(tmp_path):
    """Folders and files with one fault each."""
    (tmp_path / "typo.yaml").write_text("paths: {cuont: 3}\n")
    system = load_settings(find_system("alanine_dipeptide")).model_dump(mode="json", exclude_none=True)
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(system | {"smaples": {}}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "config.yaml").write_text("seed: 1")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text(yaml.safe_dump(system | {"seed": 7, "versions": {}}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text(yaml.safe_dump(system | {"seed": 7, "versions": {}, "cuont": 1}))
    return tmp_path


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "alanine_dipeptide", "--output", "new", "--config", "typo.yaml"], "paths.cuont: unknown key"),
        (["run", "system.yaml", "--output", "new"], "smaples: unknown key; did you mean 'samples'?"),
        (["run", "alanine", "--output", "new"], "unknown system 'alanine'"),
        (["run", "alanine_dipeptide", "--output", "full"], "already holds a run; take --resume"),
        (["run", "alanine_dipeptide", "--output", "new", "--resume"], "holds no run to resume"),
        (["run", "alanine_dipeptide", "--output", "new", "--workers", "0"], "--workers must be at least 1, not 0"),
        (["train", "begun", "--resume", "--overwrite"], "exclude each other"),
        (["free-energy", "broken"], "cuont: unknown key"),
        (["path-ensemble", "begun", "--move", "sideways"], "--move must be one_way or two_way, not 'sideways'"),
        (["committor", "begun", "--band", "0.6", "0.4"], "--band must rise within 0 and 1, not 0.6 0.4"),
        (["export", "begun", "--to", "abacus"], "--to must be openpathsampling, plumed, gromacs"),
        (["calibrate", "nowhere"], "nowhere holds no run"),
    ],
)
def test_refusals_import_nothing_large(folders, arguments, message):
    status, output, imported = command(*arguments, cwd=folders)
    assert status == 1
    assert message in output
    assert not imported & (LARGE | {"rich"})
    assert not (folders / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_output_that_is_not_utf_8(folders, environment):
    """Of errors, with a system of a Greek name and lone surrogates of a file name; and of help."""
    for arguments, expected in (
        (["run", "αλανίνη", "--output", "new"], "unknown system"),
        (["calibrate", os.fsdecode(b"caf\xe9 \xe2\x86\x92")], "holds no run"),
        (["run", "alanine_dipeptide", "--output", "ö"], "path that is not ASCII"),
    ):
        status, output, _ = command(*arguments, cwd=folders, **environment)
        assert status == 1
        assert expected in output
    assert command("free-energy", "--help", cwd=folders, **environment)[0] == 0


def test_text_of_the_user_is_printed_as_it_is(tmp_path, capsys):
    """Brackets are no markup and colons no pictures: in errors and in tables."""
    name = "out[/bold]:dog:[red]"
    status, output, _ = command("calibrate", name, cwd=tmp_path)
    assert status == 1 and f"{name} holds no run" in output
    figures = Observable(mean=1.0, sd=0.1, autocorrelation_moves=2.0, effective_size=3.0)
    request = PathEnsembleRequest("two_way", "uniform", chains=1, keep_every=10, seed=0, settings={})
    result = PathEnsembleResult("toy", request, 6, 9.0, 0.5, {"accepted": 3}, 3, 0, 10, 1.0, figures, {name: figures})
    print_path_ensemble(make_console(), result)
    assert name in capsys.readouterr().out
    assert isinstance(make_console(), Console)
