"""Sampling that is interrupted ends like sampling that is not; damaged checkpoints are refused by name."""

import shutil

import numpy as np
import pytest

from spacetime_tps.dynamics import checkpoint as checkpoints
from spacetime_tps.dynamics.checkpoint import STATE, Frames, SamplingCheckpoint, SamplingState
from spacetime_tps.dynamics.sampling import run_molecular_dynamics, run_replica_exchange
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.errors import OutputError
from spacetime_tps.settings.samples import MolecularDynamicsSettings, ReplicaExchangeSettings

EXCHANGE = ReplicaExchangeSettings(
    method="replica_exchange",
    temperatures=("300 K", "500 K", "900 K"),
    length="0.24 ps",
    exchange_interval="0.01 ps",
    frame_interval="0.02 ps",
    discard="0 ps",
    model_temperature="900 K",
)
PLAIN = MolecularDynamicsSettings(
    method="molecular_dynamics",
    length="0.24 ps",
    trajectories_per_state=2,
    frame_interval="0.02 ps",
    discard="0 ps",
    model_temperature="450 K",
)


class InterruptedPool:
    """Runs a number of tasks and is interrupted then."""

    workers = 1

    def __init__(self, pool, tasks: int) -> None:
        self.pool, self.left = pool, tasks

    def map(self, function, tasks, chunk=1, lost=None):
        for result in self.pool.map(function, tasks, chunk, lost):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield result


@pytest.fixture(params=["toy", "alanine dipeptide"])
def sampled(request, molecule, worker, wells, toy_engine, toy_molecule):
    """A molecule and the pool that simulates it."""
    if request.param == "toy":
        start = np.linspace(0.0, 0.1, 9).reshape(3, 3)
        return toy_molecule(start, 0.01), worker(toy_engine(wells(3), friction=2.0, time_step=0.01))
    return molecule, worker(Engine.for_system(molecule, ()))


def exchange(molecule, pool, checkpoint=None):
    result = run_replica_exchange(molecule, EXCHANGE, pool, np.random.SeedSequence(5), checkpoint)
    return result.ensembles, result.acceptance, result.evaluations


def plain(molecule, pool, checkpoint=None):
    return run_molecular_dynamics(molecule, PLAIN, pool, np.random.SeedSequence(5), checkpoint)


def assert_equal(one, other) -> None:
    assert one[1:] == other[1:]
    for mine, theirs in zip(one[0], other[0], strict=True):
        assert mine.temperature == theirs.temperature
        for name in ("positions", "time", "potential_energy"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), strict=True)


@pytest.mark.parametrize("every_round", [True, False], ids=["written each round", "written at the end"])
@pytest.mark.parametrize("sample", [exchange, plain])
def test_interrupted_sampling_goes_on_exactly(sampled, sample, tmp_path, monkeypatch, every_round):
    """Interrupted in the first round, between rounds, within rounds, in the last one, and when all is done."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0 if every_round else 1e9)
    monkeypatch.setattr(checkpoints, "FILE_BYTES", 5 * 3 * 3 * 3 * 8)  # several files
    molecule, pool = sampled
    whole = sample(molecule, pool)
    assert len(whole[0][0].positions) == 12
    folder = tmp_path / "checkpoint"
    for tasks in (1, 3, 7, 12, 20):
        with pytest.raises(KeyboardInterrupt):
            sample(molecule, InterruptedPool(pool, tasks), SamplingCheckpoint(folder, "mine"))
    assert_equal(sample(molecule, pool, SamplingCheckpoint(folder, "mine")), whole)
    assert len(list(folder.glob("frames_*.npz"))) > 1
    assert not list(folder.glob("partial-*"))
    assert_equal(sample(molecule, InterruptedPool(pool, 0), SamplingCheckpoint(folder, "mine")), whole)


def test_nothing_is_kept_of_a_first_round(toy_molecule, worker, wells, toy_engine, tmp_path):
    pool = worker(toy_engine(wells(3), time_step=0.01))
    with pytest.raises(KeyboardInterrupt):
        plain(
            toy_molecule(np.zeros((3, 3)), 0.01), InterruptedPool(pool, 2), SamplingCheckpoint(tmp_path / "c", "mine")
        )
    assert not (tmp_path / "c").exists()


class TestFiles:
    """Three trajectories of two atoms, 25 frames, ten in a file."""

    rng = np.random.default_rng(0)
    positions = tuple(rng.normal(size=(25, 3, 2, 3)))
    energies = tuple(rng.normal(size=(25, 3)))
    state = SamplingState(50, positions[-1], rng.normal(size=(3, 2, 3)), np.array([25.0, 25.0]), np.array([3.0, 4.0]))

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkpoints, "FILE_BYTES", 10 * 3 * 2 * 3 * 8)
        SamplingCheckpoint(tmp_path / "kept", "mine").save(
            self.state, Frames(list(self.positions), list(self.energies)), 25
        )
        return tmp_path / "kept"

    def test_files(self, folder):
        assert {path.name for path in folder.iterdir()} == {STATE, *(f"frames_{i:04d}.npz" for i in range(3))}
        state, frames = SamplingCheckpoint(folder, "mine").load()
        assert state.rounds == 50
        for name in ("positions", "velocities", "attempts", "accepted"):
            np.testing.assert_array_equal(getattr(state, name), getattr(self.state, name))
        np.testing.assert_array_equal(frames.positions, self.positions)
        np.testing.assert_array_equal(frames.energies, self.energies)

    def test_only_new_frames_are_written(self, folder):
        before = {path.name: path.stat().st_ino for path in folder.iterdir()}
        kept = SamplingCheckpoint(folder, "mine")
        state, frames = kept.load()
        frames.positions.append(self.positions[0])
        frames.energies.append(self.energies[0])
        kept.save(state, frames, 26)
        same = {name for name, inode in before.items() if (folder / name).stat().st_ino == inode}
        assert same == {"frames_0000.npz", "frames_0001.npz"}
        assert len(SamplingCheckpoint(folder, "mine").load()[1].positions) == 26

    def test_frames_that_were_written_before_the_state(self, folder):
        """The program was killed between the two: the frames beyond the state do not count."""
        old = (folder / STATE).read_bytes()
        kept = SamplingCheckpoint(folder, "mine")
        state, frames = kept.load()
        kept.save(state, Frames(frames.positions * 2, frames.energies * 2), 50)
        (folder / STATE).write_bytes(old)
        np.testing.assert_array_equal(SamplingCheckpoint(folder, "mine").load()[1].positions, self.positions)

    def test_another_request(self, folder):
        with pytest.raises(
            OutputError, match=r"state\.npz is a checkpoint of sampling with other settings.*remove .*kept"
        ):
            SamplingCheckpoint(folder, "another").load()

    @pytest.mark.parametrize("name", [STATE, "frames_0000.npz", "frames_0002.npz"])
    @pytest.mark.parametrize("damage", ["empty", "half", "zeros", "neighbour", "pickled", "flips", "deleted"])
    def test_damage_is_refused_by_name(self, folder, name, damage):
        path = folder / name
        whole = path.read_bytes()
        if damage == "empty":
            path.write_bytes(b"")
        elif damage == "half":
            path.write_bytes(whole[: len(whole) // 2])
        elif damage == "zeros":
            path.write_bytes(bytes(len(whole)))
        elif damage == "deleted":
            path.unlink()
        elif damage == "neighbour":
            shutil.copy(folder / "frames_0001.npz", path)
        elif damage == "pickled":
            np.savez(path, request=np.array([object()]))
        if (damage, name) == ("deleted", STATE):
            assert SamplingCheckpoint(folder, "mine").load() is None
            return
        if damage != "flips":
            with pytest.raises(OutputError, match=rf"{name} is damaged .*; remove .*kept to sample anew"):
                SamplingCheckpoint(folder, "mine").load()
            return
        for place in range(0, len(whole), 97):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            try:
                state, frames = SamplingCheckpoint(folder, "mine").load()
            except OutputError as error:
                assert name in str(error)
                continue
            np.testing.assert_array_equal(frames.positions, self.positions)
            np.testing.assert_array_equal(frames.energies, self.energies)
            np.testing.assert_array_equal(state.velocities, self.state.velocities)

    def test_a_disk_that_does_not_take_it(self, folder):
        shutil.rmtree(folder)
        folder.write_text("a file")
        with pytest.raises(OutputError, match=r"kept cannot be made .*go on with --resume"):
            SamplingCheckpoint(folder, "mine").save(self.state, Frames(list(self.positions), list(self.energies)), 25)
