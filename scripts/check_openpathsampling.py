"""Check of an exported folder in OpenPathSampling's own environment: python check_openpathsampling.py FOLDER JSON.

The trajectories load as initial conditions, velocities have the right temperature, a committor runs, and so do 20
one-way shooting moves and as many more as decorrelate the path. Wall times and energy evaluations go to the JSON file.
It exits non-zero if anything fails. Nothing of spacetime_tps is imported.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openpathsampling as paths
from openmm import unit
from openpathsampling.experimental.storage import Storage, monkey_patch_all

SEED = 0
CHAINS = 8  # initial trajectories, each decorrelated on its own
MOVES = 20
SHOTS_EACH = 5  # of a committor frame
DRAWS = 1000  # of velocities, whose temperature is measured


class Counter:
    """Counts the energy evaluations of an engine: one a step, and one when a trajectory is started.

    BAOAB needs the force once a step, and anew after positions have been set.
    """

    def __init__(self, engine: Any) -> None:
        self.evaluations = 0
        next_frame, iterate = engine.generate_next_frame, engine.iter_generate

        def counted() -> Any:
            self.evaluations += engine.options["n_steps_per_frame"]
            return next_frame()

        def started(*arguments: Any, **options: Any) -> Iterator[Any]:
            self.evaluations += 1
            return iterate(*arguments, **options)

        engine.generate_next_frame, engine.iter_generate = counted, started


@contextmanager
def measured(counter: Counter, figures: dict[str, Any]) -> Iterator[None]:
    """Put wall time and evaluations of what is done inside into a dictionary."""
    before, begun = counter.evaluations, time.perf_counter()
    yield
    figures["wall_seconds"] = time.perf_counter() - begun
    figures["evaluations"] = counter.evaluations - before


def temperature(snapshots: list[Any]) -> tuple[float, float]:
    """Mean instantaneous temperature in K, and its standard error."""
    values = np.array([snapshot.instantaneous_temperature.value_in_unit(unit.kelvin) for snapshot in snapshots])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def check_velocities(loaded: Any, wanted: float) -> dict[str, float]:
    """Temperature of drawn velocities, which must be right within four standard errors, and of the stored ones."""
    snapshot = loaded.trajectories[0][len(loaded.trajectories[0]) // 2]
    drawn, error = temperature([loaded.velocities(snapshot) for _ in range(DRAWS)])
    if abs(drawn - wanted) > 4 * error:
        raise SystemExit(f"velocities drawn for {wanted:g} K have {drawn:.1f} ± {error:.1f} K")
    stored, spread = temperature([snapshot for trajectory in loaded.trajectories for snapshot in trajectory])
    if not 0.5 * wanted < stored < 2 * wanted:
        raise SystemExit(f"stored velocities of dynamics at {wanted:g} K have {stored:.1f} K: they are wrong")
    return {"drawn_kelvin": drawn, "drawn_error": error, "stored_kelvin": stored, "stored_error": spread}


def check_committor(loaded: Any, storage: Any, counter: Counter) -> dict[str, Any]:
    """Committor of frames half way and three quarters of the way along two trajectories: all shots together."""
    frames = [t[quarters * len(t) // 4] for t in loaded.trajectories[:2] for quarters in (2, 3)]
    shots = len(frames) * SHOTS_EACH
    figures: dict[str, Any] = {"frames": len(frames), "shots": shots}
    simulation = paths.CommittorSimulation(
        storage=storage,
        engine=loaded.engine,
        states=list(loaded.states),
        randomizer=loaded.velocities,
        initial_snapshots=frames,
        direction=1,
    )
    simulation.output_stream = io.StringIO()
    with measured(counter, figures):
        simulation.run(n_per_snapshot=SHOTS_EACH)
    ends = [step.change.trials[0].trajectory[-1] for step in storage.steps]
    reached = [sum(bool(state(end)) for end in ends) for state in loaded.states]
    if sum(reached) != shots:
        raise SystemExit(f"{sum(reached)} of {shots} committor shots reached a state")
    return figures | {"reached_a": reached[0], "reached_b": reached[1]}


def decorrelate(loaded: Any, trajectory: Any, storage: Any, counter: Counter) -> dict[str, Any]:
    """One-way shooting moves from a trajectory: 20, or until no frame of it is left if that takes longer."""
    network = paths.TPSNetwork(*loaded.states)
    scheme = paths.OneWayShootingMoveScheme(network, selector=paths.UniformSelector(), engine=loaded.engine)
    with redirect_stdout(io.StringIO()):
        conditions = scheme.initial_conditions_from_trajectories(trajectory)
    scheme.assert_initial_conditions(conditions)  # first frame in A, last in B, none between in either
    sampler = paths.PathSampling(storage=storage, move_scheme=scheme, sample_set=conditions)
    sampler.output_stream = io.StringIO()
    figures: dict[str, Any] = {"frames": len(trajectory), "moves_to_decorrelation": None}
    whole: dict[str, Any] = {"moves": 0, "accepted": 0}
    begun = counter.evaluations
    with measured(counter, whole):
        while whole["moves"] < MOVES or figures["moves_to_decorrelation"] is None:
            before = sampler.sample_set[0].trajectory
            sampler.run(1)
            after = sampler.sample_set[0].trajectory
            whole["moves"] += 1
            whole["accepted"] += after is not before
            alike = conditions[0].trajectory.is_correlated(sampler.sample_set[0], time_reversal=True)
            if figures["moves_to_decorrelation"] is None and not alike:
                figures["moves_to_decorrelation"] = whole["moves"]
                figures["evaluations_to_decorrelation"] = counter.evaluations - begun
    if not network.sampling_ensembles[0](after):
        raise SystemExit("the path after shooting does not lead from A to B")
    return figures | whole


def main(folder: Path, output: Path) -> None:
    sys.path.insert(0, str(folder))
    from load_openpathsampling import load

    np.random.seed(SEED)
    monkey_patch_all(paths)
    settings = json.loads((folder / "settings.json").read_text())
    begun = time.perf_counter()
    loaded = load(folder)
    content: dict[str, Any] = {
        "versions": {name: version(name) for name in ("openpathsampling", "openmm", "numpy")},
        "platform": loaded.engine.platform,
        "trajectories": len(loaded.trajectories),
        "loading_seconds": time.perf_counter() - begun,
        "velocities": check_velocities(loaded, settings["temperature"]),
    }
    counter = Counter(loaded.engine)
    storage = Storage(str(output.with_suffix(".committor.db")), "w")
    content["committor"] = check_committor(loaded, storage, counter)
    storage.close()
    file = output.with_suffix(".sampling.db")
    storage = Storage(str(file), "w")
    chosen = loaded.trajectories[:: max(1, len(loaded.trajectories) // CHAINS)][:CHAINS]
    chains = [decorrelate(loaded, trajectory, storage, counter) for trajectory in chosen]
    storage.close()
    totals = {key: sum(chain[key] for chain in chains) for key in ("moves", "accepted", "evaluations", "wall_seconds")}
    content["one_way_shooting"] = {
        **totals,
        "acceptance": totals["accepted"] / totals["moves"],
        "evaluations_per_move": totals["evaluations"] / totals["moves"],
        "seconds_per_move": totals["wall_seconds"] / totals["moves"],
        "moves_to_decorrelation": sum(chain["moves_to_decorrelation"] for chain in chains) / len(chains),
        "evaluations_to_decorrelation": sum(chain["evaluations_to_decorrelation"] for chain in chains) / len(chains),
        "storage_megabytes": file.stat().st_size / 1e6,
        "chains": chains,
    }
    output.write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
