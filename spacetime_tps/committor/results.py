"""What the committor job is asked for, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spacetime_tps.committor.statistics import HistogramTest
from spacetime_tps.dynamics.shooting import Outcome


@dataclass(frozen=True)
class CommittorRequest:
    """What the committor job is asked for.

    Attributes
    ----------
    source : str
        Where the frames come from: ``"model"``, ``"reactive"`` or the path of a trajectory file.
    shots : int
        Number of shots from each frame.
    max_frames : int or None
        Largest number of frames; None takes all of them.
    band : tuple of float
        Lowest and highest p_B of a transition state.
    confidence : float
        Confidence level of the interval of p_B.
    seed : int
    settings : mapping of str to object
        Settings that the job goes by, as in YAML, by names such as ``shooting.time_limit``.
    """

    source: str
    shots: int
    max_frames: int | None
    band: tuple[float, float]
    confidence: float
    seed: int
    settings: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """The request as JSON; band and confidence stand among the settings."""
        return {
            "source": self.source,
            "shots": self.shots,
            "max_frames": self.max_frames,
            "seed": self.seed,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True)
class ShotRow:
    """The outcome of one shot.

    Attributes
    ----------
    frame, shot : int
        Number of the frame, and of the shot from it.
    outcome : str
        ``"A"`` or ``"B"`` (the state that the shot reached first), ``"none"`` (it reached no state in time) or
        ``"failed"``.
    time_ps : float
        Simulated time, ps.
    evaluations : int
        Number of energy evaluations.
    failure : str
        What broke; empty if nothing did.
    """

    frame: int
    shot: int
    outcome: Outcome
    time_ps: float
    evaluations: int
    failure: str

    def to_json(self) -> dict[str, object]:
        """The row as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ShotRow:
        """The row that :meth:`to_json` has described.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the content is not what :meth:`to_json` makes.
        """
        return cls(
            frame=int(content["frame"]),
            shot=int(content["shot"]),
            outcome=content["outcome"],
            time_ps=float(content["time_ps"]),
            evaluations=int(content["evaluations"]),
            failure=str(content["failure"]),
        )


@dataclass(frozen=True)
class FrameCommittor:
    """The committor of one frame.

    Attributes
    ----------
    frame : int
        Number of the frame.
    source : str
        Name of the file that the frame comes from.
    index : int
        Place of the frame in that file.
    predicted : float or None
        p_B by the run's committor model; None if the run has no model.
    state : str or None
        Name of the state that the frame lies in. There are no shots from such a frame.
    shots : int
        Number of shots.
    reached_a, reached_b, undecided, failed : int
        Number of shots with each outcome.
    p_b : float or None
        Share of B among the shots that reached a state; None if no shot did.
    low, high : float
        Limits of the interval of p_B. Any shot that reached no state may have gone to A or to B.
    mean_time_ps : float or None
        Mean time until a state was reached, ps; None if no shot reached one.
    """

    frame: int
    source: str
    index: int
    predicted: float | None
    state: str | None
    shots: int
    reached_a: int
    reached_b: int
    undecided: int
    failed: int
    p_b: float | None
    low: float
    high: float
    mean_time_ps: float | None

    @property
    def decided(self) -> int:
        """Number of shots that reached a state."""
        return self.reached_a + self.reached_b

    def to_json(self) -> dict[str, object]:
        """The row as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CommittorResult:
    """What ``committor.json`` holds.

    Attributes
    ----------
    system : str
        Name of the molecule.
    temperature : float
        K.
    request : CommittorRequest
    evaluations : int
        Number of energy evaluations of all shots.
    outcomes : mapping of str to int
        Number of shots with each outcome.
    histogram : HistogramTest or None
        None if fewer than two frames have two decided shots or more.
    frames : tuple of FrameCommittor
        A row for each frame, in the order of their numbers.
    """

    system: str
    temperature: float
    request: CommittorRequest
    evaluations: int
    outcomes: Mapping[Outcome, int]
    histogram: HistogramTest | None
    frames: tuple[FrameCommittor, ...]

    @property
    def interval(self) -> str:
        """Name of the interval of p_B, with its confidence level."""
        return f"Wilson, {100 * self.request.confidence:g} %"

    @property
    def in_a_state(self) -> int:
        """Number of frames that lie in a state."""
        return sum(row.state is not None for row in self.frames)

    @property
    def transition_states(self) -> tuple[int, ...]:
        """Numbers of the frames whose p_B is within the band."""
        low, high = self.request.band
        return tuple(row.frame for row in self.frames if row.p_b is not None and low <= row.p_b <= high)

    def to_json(self) -> dict[str, object]:
        """The result as JSON."""
        return {
            "system": self.system,
            "temperature": self.temperature,
            "request": self.request.to_json(),
            "interval": self.interval,
            "evaluations": self.evaluations,
            "outcomes": dict(self.outcomes),
            "in_a_state": self.in_a_state,
            "histogram": None if self.histogram is None else self.histogram.to_json(),
            "transition_states": list(self.transition_states),
            "frames": [row.to_json() for row in self.frames],
        }
