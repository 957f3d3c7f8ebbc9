"""What a run without a reactive trajectory advises: one thing, by what happened."""

from dataclasses import replace
from typing import Any

import pytest

from spacetime_tps.cli.advice import advise
from spacetime_tps.pipeline.stage_results import (
    DenoiserResult,
    GeodesicsResult,
    PathFigures,
    PathsResult,
    ReactiveResult,
    SamplesResult,
)
from spacetime_tps.pipeline.summary import Summary
from spacetime_tps.spacetime.figures import GeodesicFigures
from spacetime_tps.statistics.intervals import MeanSd


def summary(hits: float | None = 80.0, geodesic: str = "", **reactive: Any) -> Summary:
    nothing = MeanSd(None, None, None)
    paths = None if hits is None else PathFigures(4, 0, hits, nothing, nothing, nothing)
    counts = ReactiveResult(
        shots=40,
        reactive=0,
        failed_shots=0,
        undecided_shots=0,
        evaluations_per_reactive=None,
        shooting_evaluations_per_reactive=None,
        mean_duration_ps=None,
        message=None,
    )
    return Summary(
        system="a_molecule",
        seed=0,
        platform="CPU",
        energy_evaluations={},
        wall_seconds={},
        samples=SamplesResult(100, 100.0, 300.0),
        denoiser=DenoiserResult("mixture", "nm", [], []),
        geodesics=GeodesicsResult(low_variance=GeodesicFigures(hits is not None, hits is not None, geodesic)),
        paths=PathsResult(500, "arc_length", {}, paths),
        reactive=replace(counts, **reactive),
    )


@pytest.mark.parametrize(
    "found, reason, change",
    [
        (summary(shots=0, hits=None, geodesic="bound 0.02 would do"), "bound 0.02 would do", "variance_bound"),
        (summary(shots=0, message="no frame between the states"), "no frame between", "this message names"),
        (summary(failed_shots=30), "30 of 40 shots broke down", "smaller system.time_step"),
        (summary(undecided_shots=25), "25 of 40 shots reached no state", "longer shooting.time_limit"),
        (summary(hits=0.0), "no annealed path reached the target", "longer paths.length"),
        (summary(), "all 40 shots ended in the same state", "shooting.max_shots"),
    ],
)
def test_says_what_to_change_first(found, reason, change):
    text = advise(found)
    assert text.startswith("no reactive trajectory was found: ")
    before, after = text.split("What to change first: ")
    assert reason in before and change in after
