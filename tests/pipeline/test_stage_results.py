"""What stages report comes back from JSON as it was."""

import json

import pytest

from spacetime_tps.calibration.results import Compared, MomentComparison
from spacetime_tps.errors import GeometryError
from spacetime_tps.pipeline.stage_results import (
    ChannelFigures,
    DenoiserResult,
    DenoisingErrors,
    FiguresResult,
    GeodesicsResult,
    MomentsCheck,
    PathFigures,
    PathsResult,
    ReactiveResult,
    RegionFigures,
    Round,
    SamplesResult,
    WindowFriction,
)
from spacetime_tps.spacetime.figures import GeodesicFigures
from spacetime_tps.statistics.intervals import MeanSd
from spacetime_tps.training.mixtures import FitResult
from spacetime_tps.training.trainer import Training

TRAINING = Training(20, 10, 0.5, [{"step": 10, "training": 0.6, "held_out": 0.5}], "20 steps")
SOLVED = GeodesicFigures(True, True, "solved", 50.0, 10.0, 1.0, 0.0, 0.02, 40, None)
FAILED = GeodesicFigures.of_failure(GeometryError("no way through"))
PATHS = PathFigures(
    8,
    1,
    87.5,
    MeanSd(1.0, 0.1, 0.04),
    MeanSd(None, None, None),
    MeanSd(3.0, 1.0, 0.4),
    0.25,
    [WindowFriction(*[0.5] * 4)],
)
RESULTS = [
    SamplesResult(100, 80.5, 300.0, [0.3, 0.4]),
    SamplesResult(100, 100.0, 300.0),
    DenoiserResult("mixture", "nm", [DenoisingErrors(5.0, mixture=0.1)], [MomentsCheck(*[0.5] * 8)], 8, {"4": -1.5}),
    DenoiserResult("potential", "", [], [], training=TRAINING),
    GeodesicsResult(
        SOLVED,
        FAILED,
        channels={"low_variance": [ChannelFigures(9.5, 3, None, None), ChannelFigures(9.5, 3, 0.5, 40.0, 4.5)]},
        region=RegionFigures(6.0, 20.0, {"phi": 1.0}),
        rounds=[Round(9.0, 9.5, 0.5, True, FitResult(training=TRAINING)), Round(9.0, 9.1, 0.5, False)],
    ),
    GeodesicsResult(),
    PathsResult(500, "friction", {"straight_snr_200": PATHS}, PATHS),
    ReactiveResult(10, 2, 0, 1, 500.0, 100.0, 0.4, None),
    FiguresResult(["profiles.png"]),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_comes_back_the_same(result):
    assert type(result).from_json(json.loads(json.dumps(result.to_json(), allow_nan=False))) == result


def test_geodesics_that_were_sought():
    assert GeodesicsResult(SOLVED, FAILED).geodesics == {"unconstrained": SOLVED, "low_variance": FAILED}


def test_only_a_solved_geodesic_has_a_violation():
    assert SOLVED.to_json()["max_violation"] is None
    assert FAILED.to_json() == {"feasible": False, "converged": False, "message": "no way through"}


def test_check_of_moments_has_the_numbers_of_the_comparison():
    compared = MomentComparison(0.1, 0.2, 0.3, 0.4, Compared(0.5, 0.6, 0.7))
    assert MomentsCheck.of(5.0, compared) == MomentsCheck(5.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def test_errors_of_the_models_that_there_are():
    assert DenoisingErrors(5.0, mixture=0.1, single_component=0.3).by_model == {"mixture": 0.1, "single_component": 0.3}
    assert DenoisingErrors(5.0, potential=0.2).by_model == {"potential": 0.2}
