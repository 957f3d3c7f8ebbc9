"""How stiff the restraints of a spacetime curve are: natural springs, narrowed about the curve's means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.base import Coordinates
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import GeometryError


def set_springs(
    coordinates: Coordinates,
    schedule: RestraintSchedule,
    means: FloatArray,
    spring_temperature: float,
    temperature: float,
    narrowing: float = 1.0,
) -> RestraintSchedule:
    """A curve of a model with the restraints that hold a molecule on it, for dynamics at a temperature of their own.

    The model's denoising distribution at its temperature T_m is p ∝ exp(−U/k_B T_m − SNR/2 |x − y|²). Dynamics at T
    with the *natural spring* k_B T_m SNR samples p^(T_m/T): molecule and restraint have the same energy together as in
    p, and differ only in temperature. So their modes are those of p, and where p has one maximum no window must cross
    a barrier to come to equilibrium. In units of the dynamics' kT this is an SNR that is T_m/T times as large, also
    where the model is the colder one: any other spring pulls the molecule off the means.

    A stiffer spring about the same y would drag the molecule to y, which is no molecule. *Narrowing* s keeps the pull
    at the mean x̂ in place of y: k' = s k and y' = x̂ + (y − x̂)/s, and its counterpart for dihedrals
    (:meth:`Coordinates.narrowed`). In a harmonic molecule of precision P at T_m, windows have the precision
    (T_m/T)(P + s SNR) and the mean x̂, exactly and for all T and s.

    Parameters
    ----------
    coordinates : Coordinates
    schedule : RestraintSchedule
        Centres y and log SNR as the model has them.
    means : array, shape (points, restrained, 3 or 2)
        Posterior means x̂ at its points; the centres themselves for a line of structures that has no model.
    spring_temperature : float
        That of the spring constant k_B T SNR, in K: the model's for the natural spring.
    temperature : float
        Of the dynamics, in K.
    narrowing : float
        How many times as stiff the restraint is about the means.

    Returns
    -------
    RestraintSchedule
        At the same times; its log SNR is of spring constants in units of the dynamics' kT.

    Raises
    ------
    GeometryError
        If the means are not of the schedule's points, or a temperature or the narrowing is not above zero.
    """
    if np.shape(means) != schedule.centres.shape:
        raise GeometryError(
            f"the means have the shape {np.shape(means)}, but the curve's centres {schedule.centres.shape}; give the "
            "posterior mean at each of its points"
        )
    factor = narrowing * spring_temperature / temperature if temperature > 0 else np.nan
    if not (np.isfinite(factor) and min(narrowing, spring_temperature) > 0):
        raise GeometryError(
            f"temperatures ({spring_temperature:g} K of the springs, {temperature:g} K of the dynamics) and narrowing "
            f"({narrowing:g}) must be above zero"
        )
    centres = coordinates.narrowed(schedule.centres, means, narrowing)
    return replace(schedule, centres=centres, log_snr=schedule.log_snr + np.log(factor))
