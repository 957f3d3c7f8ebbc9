"""Inputs that are kept with a run: it can be moved, and inputs that have changed are refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from openmm import app

from spacetime_tps.errors import OutputError
from spacetime_tps.pipeline.run import run as run_pipeline
from spacetime_tps.runs.beginning import prepared
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.inputs import with_kept_inputs
from spacetime_tps.runs.trajectories import write_hdf5

SYSTEM = "alanine_dipeptide"
AMBER = Path(app.__file__).parent / "data" / "amber99sbildn.xml"
INCLUDING = '<ForceField><Include file="{}"/></ForceField>'


@pytest.fixture
def sources(tmp_path) -> Path:
    """A folder with a force field in three files, and another force field of the same names in a folder of it."""
    folder = tmp_path / "sources"
    (folder / "parts").mkdir(parents=True)
    (folder / "own.xml").write_text(INCLUDING.format("parts/one.xml"))
    (folder / "parts" / "one.xml").write_text(INCLUDING.format("../two.xml"))
    shutil.copy(AMBER, folder / "two.xml")
    return folder


def begin(begin_run, folder: Path, files: list[Path]) -> Run:
    return begin_run(folder, system={"force_field": [*map(str, files)]})


def test_a_run_is_moved_with_the_files_that_its_force_field_includes(begin_run, sources, tmp_path, molecule):
    begin(begin_run, tmp_path / "run", [sources / "own.xml"])
    moved = tmp_path / "elsewhere" / "run"
    shutil.move(tmp_path / "run", moved)
    shutil.rmtree(sources)
    assert yaml.safe_load((moved / "config.yaml").read_text())["system"]["force_field"] == [
        "inputs/force_field/own.xml"
    ]
    run = Run.open(moved)
    assert run.molecule.system_xml == molecule.system_xml
    assert {Path(name).name for name in run.report("beginning").files} >= {"own.xml", "one.xml", "two.xml"}


@pytest.mark.parametrize("name", ["own.xml", "parts/one.xml", "two.xml"])
def test_a_changed_include_is_refused_by_name(begin_run, sources, tmp_path, name):
    run = begin(begin_run, tmp_path / "run", [sources / "own.xml"])

    def resume() -> None:
        with prepared(run.folder, run.settings, None, resume=True, overwrite=False):
            pass

    resume()
    path = sources / name
    before = path.read_text()
    path.write_text(before + "<!-- changed -->")
    with pytest.raises(OutputError, match=rf"{path} has changed since .* which kept .*/inputs/force_field/{name}"):
        resume()
    path.write_text(before)
    kept = run.folder / "inputs" / "force_field" / name
    kept.write_text(kept.read_text() + "<!-- changed -->")
    for refused in (resume, lambda: Run.open(run.folder)):
        with pytest.raises(OutputError, match=rf"{kept} is damaged"):
            refused()


def test_force_fields_of_several_folders_stay_apart(tmp_path):
    files = {name: tmp_path / name for name in ("a/own.xml", "a/sub/part.xml", "b/own.xml", "b/part.xml")}
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        include = {"a/own.xml": "sub/part.xml", "b/own.xml": "part.xml"}.get(name)
        path.write_text(INCLUDING.format(include) if include else "<ForceField/>")
    asked = [files["a/sub/part.xml"], files["a/own.xml"], files["b/own.xml"]]
    content, kept = with_kept_inputs({"system": {"structures": {}, "force_field": [*map(str, asked), "tip3p.xml"]}})
    assert content["system"]["force_field"] == [
        "inputs/force_field/sub/part.xml",
        "inputs/force_field/own.xml",
        "inputs/force_field_2/own.xml",
        "tip3p.xml",
    ]
    assert kept["inputs/force_field/sub/part.xml"] == files["a/sub/part.xml"]
    assert kept["inputs/force_field_2/part.xml"] == files["b/part.xml"]


@pytest.mark.parametrize("way", ["above", "absolute", "link"])
def test_includes_that_lead_out_are_refused(begin_run, sources, tmp_path, way):
    outside = tmp_path / "outside.xml"
    shutil.copy(AMBER, outside)
    if way == "link":
        (sources / "link.xml").symlink_to(outside)
    name = {"above": "../outside.xml", "absolute": str(outside), "link": "link.xml"}[way]
    (sources / "own.xml").write_text(INCLUDING.format(name))
    with pytest.raises(OutputError, match=rf"own\.xml includes {name}, which is not in .*sources; .* put the file"):
        begin(begin_run, tmp_path / "run", [sources / "own.xml"])
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("which", ["frames.h5", "weights.npy"])
def test_changed_samples_are_refused_until_they_have_been_read(begin_run, tmp_path, molecule, which):
    positions = np.repeat(np.stack(list(molecule.structures.values())), 4, axis=0)
    write_hdf5(tmp_path / "frames.h5", molecule.trajectory(positions))
    np.save(tmp_path / "weights.npy", np.ones(len(positions)))
    samples = {
        "method": "files",
        "trajectories": [str(tmp_path / "frames.h5")],
        "weights": [str(tmp_path / "weights.npy")],
        "model_temperature": "300 K",
    }
    run = begin_run(tmp_path / "run", samples=samples)
    assert set(run.report("beginning").results["sample_files"]) == {*samples["trajectories"], *samples["weights"]}
    positions[0] += 0.01
    if which == "frames.h5":
        write_hdf5(tmp_path / which, molecule.trajectory(positions))
    else:
        np.save(tmp_path / which, np.arange(1.0, len(positions) + 1))
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"samples": samples}))
    with pytest.raises(OutputError, match=rf"{which} has changed since the run in"):
        run_pipeline(SYSTEM, run.folder, config=config, resume=True, workers=1)
