"""From the outcomes of shots to committors: p_B of each frame, its interval, and the test of their histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.committor.candidates import ChosenFrames
from spacetime_tps.committor.results import CommittorRequest, CommittorResult, FrameCommittor, ShotRow
from spacetime_tps.committor.statistics import HistogramTest, histogram_test
from spacetime_tps.dynamics.shooting import Outcome
from spacetime_tps.statistics.intervals import wilson_interval

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def frame_committors(
    chosen: ChosenFrames,
    states: NDArray[np.intp],
    predicted: FloatArray,
    shots: Sequence[ShotRow],
    state_names: tuple[str, str],
    confidence: float,
) -> tuple[FrameCommittor, ...]:
    """Committors of frames by the shots from them.

    p_B is the share of B among the shots that reached a state. The interval allows for shots that reached none: any of
    them may have gone to A or to B. A frame in A has p_B = 0 and a frame in B has p_B = 1.

    Parameters
    ----------
    chosen : ChosenFrames
    states : array of int, shape (frames,)
        State of each frame: 0 for A, 1 for B, -1 for neither.
    predicted : array, shape (frames,)
        p_B by a model; NaN without a model.
    shots : sequence of ShotRow
    state_names : tuple of str
        Names of A and B.
    confidence : float
        Confidence level of the intervals.
    """
    by_frame: list[list[ShotRow]] = [[] for _ in states]
    for shot in shots:
        by_frame[shot.frame].append(shot)
    rows = []
    for frame, (state, of_frame) in enumerate(zip(states.tolist(), by_frame, strict=True)):
        outcomes = [shot.outcome for shot in of_frame]
        count, a, b = len(outcomes), outcomes.count("A"), outcomes.count("B")
        p_b = b / (a + b) if a + b else None
        low = float(wilson_interval(b, count, confidence)[0])
        high = float(wilson_interval(count - a, count, confidence)[1])
        if state >= 0:
            p_b = low = high = float(state)
        times = [shot.time_ps for shot in of_frame if shot.outcome in ("A", "B")]
        rows.append(
            FrameCommittor(
                frame=frame,
                source=str(chosen.source[frame]),
                index=int(chosen.index[frame]),
                predicted=float(predicted[frame]) if np.isfinite(predicted[frame]) else None,
                state=state_names[state] if state >= 0 else None,
                shots=count,
                reached_a=a,
                reached_b=b,
                undecided=outcomes.count("none"),
                failed=outcomes.count("failed"),
                p_b=p_b,
                low=low,
                high=high,
                mean_time_ps=float(np.mean(times)) if times else None,
            )
        )
    return tuple(rows)


def decided_shots(rows: Sequence[FrameCommittor]) -> tuple[FloatArray, FloatArray]:
    """Shots that reached B, and shots that reached A or B, of each frame between the states; both (frames,)."""
    between = [row for row in rows if row.state is None]
    return np.array([row.reached_b for row in between], float), np.array([row.decided for row in between], float)


def committor_result(
    system: str,
    temperature: float,
    request: CommittorRequest,
    frames: tuple[FrameCommittor, ...],
    shots: Sequence[ShotRow],
    seed: np.random.SeedSequence,
) -> CommittorResult:
    """All that ``committor.json`` holds.

    Parameters
    ----------
    system : str
        Name of the molecule.
    temperature : float
        K.
    request : CommittorRequest
    frames : tuple of FrameCommittor
    shots : sequence of ShotRow
        Every shot from these frames.
    seed : SeedSequence
        For the bootstrap of the histogram test.
    """
    outcomes = [shot.outcome for shot in shots]
    return CommittorResult(
        system=system,
        temperature=temperature,
        request=request,
        evaluations=sum(shot.evaluations for shot in shots),
        outcomes={outcome: outcomes.count(outcome) for outcome in OUTCOMES},
        histogram=_test(frames, seed),
        frames=frames,
    )


def _test(rows: Sequence[FrameCommittor], seed: np.random.SeedSequence) -> HistogramTest | None:
    """The histogram test of the frames with two decided shots or more; None if there are fewer than two of them."""
    reached_b, decided = decided_shots(rows)
    enough = decided >= 2
    if enough.sum() < 2:
        return None
    return histogram_test(reached_b[enough], decided[enough], np.random.default_rng(seed))
