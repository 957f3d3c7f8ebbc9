"""Results of a calibration: what is derived from model and dynamics, and the names that files give it."""

import json

import pytest

from spacetime_tps.calibration.results import (
    CalibrationResult,
    ChordComparison,
    Compared,
    CurveComparison,
    CurveWindow,
    MomentComparison,
    PointComparison,
)


def test_compared_by_hand():
    """The ratio is 3/2; an error of 0.2 in the 2 below the bar makes one of 0.15 in it."""
    compared = Compared(3.0, 2.0, 0.2)
    assert compared.z == pytest.approx(5.0)
    assert compared.ratio == pytest.approx(1.5)
    assert compared.ratio_error == pytest.approx(0.15)


def test_json():
    """Every quantity under a name of its own, the rows flat, as the tables need them."""
    moments = MomentComparison(0.02, 0.005, 0.03, 0.04, Compared(3.0, 2.0, 0.2))
    curve = CurveComparison(
        name="low_variance",
        windows=(CurveWindow(4.0, -1.0, False), CurveWindow(4.5, 0.5, True), CurveWindow(5.0, 0.0, False)),
        chords=(ChordComparison(4.0, 4.5, Compared(1.5, 1.0, 0.25)), ChordComparison(4.5, 5.0, Compared(-0.5, 0.1, 1))),
        energy=Compared(3.0, 2.0, 0.2),
        length=Compared(6.0, 4.0, 0.4),
        length_md_of_halves=(3.9, 4.1),
    )
    point, evaluations = PointComparison(4.0, moments, 0.5), {"points": 10, "curve": 20}
    result = CalibrationResult("molecule", "mixture", "nm", 1000.0, 7, 4, 10, evaluations, (point,), curve, {})
    found = result.to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["points"] == [
        {
            **{"log_snr": 4.0, "mean_distance": 0.02, "mean_distance_error": 0.005},
            **{"variance_model": 0.03, "variance_md": 0.04, "mean_square_displacement_model": 3.0},
            **{"mean_square_displacement_md": 2.0, "mean_square_displacement_md_error": 0.2},
            **{"mean_z": 4.0, "mean_square_displacement_z": 5.0, "halves_z": 0.5},
        }
    ]
    assert found["curve"]["chords"][0] == {
        **{"log_snr_a": 4.0, "log_snr_b": 4.5, "divergence_model": 1.5, "divergence_md": 1.0},
        **{"divergence_md_error": 0.25, "divergence_z": 2.0},
    }
    assert found["curve"]["windows"][1] == {"log_snr": 4.5, "halves_z": 0.5, "turned": True}
    assert found["curve"]["negative_chords_model"] == 1
    assert found["curve"]["length_ratio"] == found["curve"]["energy_ratio"] == 1.5
    assert (found["curve"]["length_md"], found["curve"]["energy_md"]) == (4.0, 2.0)
    assert (found["curve"]["length_ratio_error"], found["curve"]["energy_ratio_error"]) == pytest.approx((0.15, 0.15))
