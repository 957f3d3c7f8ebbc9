"""A disk that does not do as it is asked: messages name the file and say what is kept, and nothing half is left."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from spacetime_tps.cli.app import app
from spacetime_tps.errors import OutputError
from spacetime_tps.export.job import export_run
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.trajectories import write_hdf5, write_trr
from spacetime_tps.writing import make_folder, replacing, write_json, write_table

SYSTEM = "alanine_dipeptide"
KEPT = "what was finished before is kept"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("mine")
    return folder / "file" / "run"


def dangling_link(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "gone")
    return folder / "link"


def link_loop(folder: Path) -> Path:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return folder / "one"


def long_name(folder: Path) -> Path:
    return folder / ("n" * 300)


def no_permission(folder: Path) -> Path:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    (folder / "closed").mkdir(mode=0o500)
    return folder / "closed" / "run"


WAYS = (below_a_file, dangling_link, link_loop, long_name, no_permission)


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_cannot_be_written(way, tmp_path):
    output = way(tmp_path)
    before = tree(tmp_path)
    result = CliRunner().invoke(app, ["run", SYSTEM, "--output", str(output)])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert str(output)[:60] in "".join(result.output.split())
    assert "Traceback" not in result.output
    assert tree(tmp_path) == before


@pytest.mark.parametrize("way", WAYS)
def test_an_export_that_cannot_be_written(way, with_geodesic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    output = way(folder)
    before = tree(folder)
    with pytest.raises(OutputError, match=f"{folder}"):
        export_run(with_geodesic, "plumed", what="low_variance", output=output)
    assert tree(folder) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_cannot_be_made(way, tmp_path):
    path = way(tmp_path)
    with pytest.raises(OutputError, match=rf"{path} cannot be made \(.+\); {KEPT}"):
        make_folder(path)


FULL = """
import resource, signal, sys
from pathlib import Path
import test_disk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from spacetime_tps.errors import OutputError
try:
    test_disk.WRITERS[sys.argv[1]](Path(sys.argv[2]))
except OutputError as error:
    print(error)
else:
    sys.exit("it was written")
"""
"""A process whose files cannot grow beyond 5,000 bytes: its disk is full."""


def _hdf5(path: Path) -> None:
    import mdtraj

    topology = mdtraj.Topology()
    residue = topology.add_residue("A", topology.add_chain())
    for _ in range(50):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    positions = np.random.default_rng(0).random((100, 50, 3))
    write_hdf5(path, mdtraj.Trajectory(positions, topology))


def _arrays(path: Path) -> None:
    with replacing(path) as partial:
        np.savez(partial, x=np.zeros(10_000))


def _journal(path: Path) -> None:
    with Journal(path).appending() as appender:
        for index in range(100):
            appender.add({"index": index, "text": "x" * 100})


WRITERS = {
    "file.json": lambda path: write_json(path, ["x" * 100] * 100),
    "file.csv": lambda path: write_table(path, [{"x": "y" * 100}] * 100),
    "file.trr": lambda path: write_trr(path, np.zeros((20, 50, 3)), None, np.arange(20.0)),
    "late.trr": lambda path: write_trr(path, np.zeros((9, 40, 3)), None, np.arange(9.0)),  # is full as it is closed
    "file.h5": _hdf5,
    "file.npz": _arrays,
    "file.jsonl": _journal,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name, tmp_path):
    path = tmp_path / name
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", FULL, name, str(path)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")
    }  # it writes too
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    assert f"{path} cannot be written" in done.stdout and KEPT in done.stdout
    assert "Traceback" not in done.stderr
    if name == "file.jsonl":  # its whole lines are kept, and the last one is cut
        assert 0 < len(Journal.read(path).records) < 100
    else:
        assert tree(tmp_path) == []


@pytest.mark.parametrize("name", WRITERS)
def test_files_have_ordinary_permissions(name, tmp_path):
    before = os.umask(0o022)
    try:
        WRITERS[name](tmp_path / name)
    finally:
        os.umask(before)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o644
    assert tree(tmp_path) == [tmp_path / name]


def test_every_file_of_a_run_has_ordinary_permissions(with_geodesic):
    """The umask of this process is what it is."""
    mask = os.umask(0)
    os.umask(mask)
    files = [path for path in tree(with_geodesic) if path.is_file()]
    assert files and {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}
