"""A run's folder: what it must hold, whose files are trusted, and seeds by name."""

import time

import numpy as np
import pytest

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.folder import Run, named_seed
from spacetime_tps.runs.read import geodesic_names, need_geodesic, read_geodesic


def test_a_run_must_have_come_so_far(begun):
    folder = begun()
    assert Run.open(folder).base_seed == 7
    assert Run.open(folder, seed=3).base_seed == 3
    with pytest.raises(
        OutputError,
        match=r"has not finished its stage 'samples' yet; go on with it by .*--resume.*reports/samples\.json",
    ):
        Run.open(folder, "samples")
    Run.open(folder).finish("samples", time.perf_counter())
    assert Run.open(folder, "samples").settings.system.name == "alanine_dipeptide"


def test_surfaces_are_refused(begun):
    with pytest.raises(OutputError, match="is a run on a model surface"):
        Run.open(begun("c_channel"))


def test_curves_are_named(begun):
    run = Run.open(begun())
    assert read_geodesic(run, "low_variance") is None
    with pytest.raises(ConfigError, match=r"no geodesic 'low_variance'; it has none"):
        need_geodesic(run, "low_variance")
    run.made("geodesics")
    arrays = {"y": np.zeros((2, 1, 3)), "mean": np.ones((2, 1, 3)), "log_snr": np.zeros(2), "variance": np.ones(2)}
    np.savez(run.path("geodesics/unconstrained.npz"), **arrays)
    run.finish("geodesics", time.perf_counter())
    assert geodesic_names(run) == ["unconstrained"]
    np.testing.assert_array_equal(need_geodesic(run, "unconstrained").mean, arrays["mean"])
    with pytest.raises(ConfigError, match=r"it has unconstrained"):
        need_geodesic(run, "low_variance")
    np.savez(run.path("geodesics/unconstrained.npz"), **(arrays | {"mean": np.zeros((2, 1, 3))}))
    with pytest.raises(OutputError, match=r"geodesics/unconstrained\.npz is not the file that was written there"):
        read_geodesic(run, "unconstrained")


@pytest.mark.parametrize("damage", [b"", None, "half", "flip"])
def test_files_that_are_not_as_they_were_written_are_refused_by_name(with_geodesic, damage):
    path = with_geodesic / "geodesics" / "low_variance.npz"
    content = bytearray(path.read_bytes())
    if damage is None:
        path.unlink()
    elif damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(damage)
    with pytest.raises(OutputError, match=r"geodesics/low_variance.npz is (missing|damaged|not the file)"):
        Run.open(with_geodesic, "geodesics")


def test_a_stage_is_finished_as_long_as_those_before_it_are_the_same(begun):
    run = Run.open(begun())
    run.finish("samples", time.perf_counter(), {"sampling": 1}, after=["beginning"])
    run.finish("denoiser", time.perf_counter(), after=["samples"])
    assert run.is_finished("denoiser")
    run.finish("samples", time.perf_counter(), {"sampling": 1}, after=["beginning"])  # the same, at another time
    assert run.is_finished("denoiser")
    run.finish("samples", time.perf_counter(), {"sampling": 2}, after=["beginning"])
    assert run.is_finished("samples") and not run.is_finished("denoiser")


def test_seeds_go_by_names():
    draws = {
        (seed, name, indices): named_seed(seed, name, *indices).generate_state(2).tolist()
        for seed in (0, 1)
        for name in ("paths", "shooting")
        for indices in ((), (0,), (1,), (0, 1))
    }
    assert len({tuple(state) for state in draws.values()}) == len(draws)
    assert named_seed(0, "paths", 1).generate_state(2).tolist() == draws[0, "paths", (1,)]
