"""What to change first where a run has found no reactive trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacetime_tps.pipeline.summary import Summary


def advise(summary: Summary) -> str:
    """The likely reason why no shot was reactive, and the setting to change first.

    Parameters
    ----------
    summary : Summary
        Of the run.
    """
    reactive, paths, geodesic = summary.reactive, summary.paths.paths, summary.geodesics.low_variance
    shots = reactive.shots
    if not shots and paths is None:
        message = "it was not solved for" if geodesic is None else geodesic.message
        reason = f"no low-variance geodesic was found ({message})"
        change = "raise geodesics.variance_bound to the bound that this message names, or sample longer"
    elif not shots:
        reason, change = str(reactive.message), "change what this message names"
    elif reactive.failed_shots > 0.5 * shots:
        reason = f"{reactive.failed_shots} of {shots} shots broke down (see 'failure' in reactive/shots.csv)"
        change = "take a smaller system.time_step"
    elif reactive.undecided_shots > 0.5 * shots:
        reason = f"{reactive.undecided_shots} of {shots} shots reached no state within shooting.time_limit"
        change = "take a longer shooting.time_limit, or larger boxes in system.states"
    elif paths is None or not paths.target_hit_percentage:
        reason = "no annealed path reached the target, so the shots may have started far from the barrier"
        change = "take a longer paths.length, or a higher geodesics.end_snr"
    else:
        reason = f"all {shots} shots ended in the same state on both sides"
        change = "raise shooting.max_shots and paths.count: more and other frames are then shot from"
    return (
        f"no reactive trajectory was found: {reason.rstrip('.')}.\nWhat to change first: {change}. Then run again with "
        "--config and a new --output."
    )
