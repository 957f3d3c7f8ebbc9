"""Series of ensembles from state to state along a curve: where they are, how long and how damped their dynamics is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.settings.windows import FreeEnergySettings


@dataclass(frozen=True)
class Series:
    """Ensembles from the free state A, by restraints that stiffen, along a curve, to B and free again.

    Attributes
    ----------
    centres : array, shape (ensembles, atoms, 3) or (ensembles, dihedrals, 2)
    log_snr : array, shape (ensembles,)
        −∞ for the first and the last if these are the free states.
    curve : slice
        The windows on the curve, its ends among them.
    progress : array, shape (windows,)
        Where these are on the curve.
    """

    centres: FloatArray
    log_snr: FloatArray
    curve: slice
    progress: FloatArray

    @property
    def windows(self) -> Series:
        """Those on the curve alone."""
        alone = slice(0, len(self.progress))
        return Series(self.centres[self.curve], self.log_snr[self.curve], alone, self.progress)

    @property
    def names(self) -> list[str]:
        """Of the ensembles, for messages."""
        return [
            f"window {index} (log SNR {log_snr:.2f})" if np.isfinite(log_snr) else f"state {'B' if index else 'A'}"
            for index, log_snr in enumerate(self.log_snr)
        ]


def make_series(schedule: RestraintSchedule, windows: int, settings: FreeEnergySettings) -> Series:
    """Windows at equal steps of a schedule's time, and ramps from its ends to the free states.

    The weakest restraint of a ramp still keeps the molecule at its end: windows below would have to be in both states.
    """
    progress = np.linspace(0, 1, windows)
    points = [schedule.at(float(at)) for at in progress]
    weakest = np.log(2 * settings.selectivity / ((schedule.centres[0] - schedule.centres[-1]) ** 2).sum())
    ramps = []
    for _, end in (points[0], points[-1]):
        steps = max(1, int(np.ceil((end - weakest) / settings.ramp)))
        ramps.append(np.linspace(min(weakest, end - settings.ramp), end, steps + 1)[:-1])
    before, after = ramps[0], ramps[1][::-1]
    centres = [points[0][0]] * (1 + len(before)) + [y for y, _ in points] + [points[-1][0]] * (1 + len(after))
    log_snr = np.concatenate([[-np.inf], before, [value for _, value in points], after, [-np.inf]])
    first = 1 + len(before)
    return Series(np.array(centres), log_snr, slice(first, first + windows), progress)


def frame_intervals(series: Series, settings: FreeEnergySettings) -> FloatArray:
    """Time between frames of each ensemble (ensembles,) in ps: on ramps as springs relax, up to a limit."""
    ends = series.log_snr[[series.curve.start, series.curve.stop - 1]]
    intervals = np.full(len(series.log_snr), settings.frame_interval)
    for ramp, end in ((slice(None, series.curve.start), ends[0]), (slice(series.curve.stop, None), ends[1])):
        relaxed = settings.frame_interval * np.exp(end - series.log_snr[ramp])
        intervals[ramp] = np.minimum(settings.weak_frame_interval, relaxed)
    return np.where(np.isfinite(series.log_snr), intervals, settings.free_frame_interval)


def frictions(series: Series, median: float, own: float) -> FloatArray:
    """Friction (ensembles,) in 1/ps: ``median`` in the curve's median window, and ``own`` without a restraint.

    Between it goes as the restraint's frequency.

    A stiff restraint makes oscillators that exchange little energy with anything but the thermostat: at a friction far
    below their frequency their energies, which MBAR needs, stay correlated for the inverse of the friction.
    """
    frequency = np.exp(0.5 * (series.log_snr - np.median(series.log_snr[series.curve])))
    return np.where(np.isfinite(series.log_snr), median * frequency, own)
