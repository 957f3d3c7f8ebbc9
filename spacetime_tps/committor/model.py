"""A model of the committor that learns from every shot, and knows what it does not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import mdtraj
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.dynamics.molecular_graph import bonded_atoms
from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import COMMITTOR_MODEL

_ATOMS = {"dihedral": 4, "angle": 3, "distance": 2}
_PRIOR_VARIANCES = 10.0 ** np.arange(-2.0, 2.5, 0.5)
_CONSTANT_VARIANCE = 100.0  # of the constant term: a logit of ±10 is next to certain
_MAX_NEWTON_STEPS = 50
_DRAW_WIDTH = 0.25  # of draws, in standard deviations of the posterior


@dataclass(frozen=True)
class Descriptors:
    """What the committor is a function of: collective variables to second order, other torsions to first.

    Periodic values enter by cosine and sine, so that nothing jumps at ±π.

    Attributes
    ----------
    variables : tuple of CollectiveVariable
    torsions : tuple of tuple of int
        Four atoms each: dihedrals about bonds, and out-of-plane angles.
    """

    variables: tuple[CollectiveVariable, ...]
    torsions: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of_molecule(cls, variables: Mapping[str, CollectiveVariable], topology: mdtraj.Topology) -> Self:
        """The collective variables, and every torsion of the skeleton of heavy atoms."""
        return cls(tuple(variables.values()), _skeleton_torsions(topology))

    @property
    def count(self) -> int:
        """Number of descriptors."""
        first = sum(2 if variable.periodic else 1 for variable in self.variables)
        return first + first * (first + 1) // 2 + 2 * len(self.torsions)

    def __call__(self, positions: FloatArray) -> FloatArray:
        """Descriptors (frames, n) of positions (frames, atoms, 3) in nm.

        Raises
        ------
        TrajectoryError
            If there are fewer atoms than it asks for.
        """
        last = max(atom for atoms in (*(v.atoms for v in self.variables), *self.torsions) for atom in atoms)
        if last >= positions.shape[1]:
            raise TrajectoryError(
                f"the committor model asks for atom {last} (0-based), but there are {positions.shape[1]}; it is of "
                "another molecule, or its file is damaged"
            )
        trajectory = mdtraj.Trajectory(np.asarray(positions), None)
        first: list[FloatArray] = []
        for variable in self.variables:
            value = variable(trajectory)
            first += [np.cos(value), np.sin(value)] if variable.periodic else [value]
        second = [one * other for index, one in enumerate(first) for other in first[index:]]
        columns = np.stack([*first, *second], axis=1)
        if not self.torsions:
            return columns
        angles = mdtraj.compute_dihedrals(trajectory, np.array(self.torsions), periodic=False).astype(float)
        return np.concatenate([columns, np.cos(angles), np.sin(angles)], axis=1)


class CommittorModel:
    """Bayesian logistic regression of the probability to reach B before A, p_B.

    logit p_B = w·z, z the descriptors in units of their spread and a constant. Every side of a shot is one outcome. w
    has a Gaussian prior whose variance maximises the evidence, and a posterior in Laplace's approximation: MacKay,
    Neural Computation 4, 720 (1992). The posterior says how sure the model is, and draws from it say where to shoot:
    widely while little is known, near p_B = ½ later (Thompson sampling; with draws narrower than the posterior, as
    Chapelle & Li, NIPS 24 (2011), found best).

    Parameters
    ----------
    descriptors : Descriptors
    reference : array, shape (frames, atoms, 3)
        Positions in nm whose descriptors' means and spreads are the unit.

    Raises
    ------
    TrajectoryError
        If there are no reference frames, or their descriptors are not finite.
    """

    def __init__(self, descriptors: Descriptors, reference: FloatArray) -> None:
        values = descriptors(reference)
        if not len(values) or not np.isfinite(values).all():
            raise TrajectoryError(
                f"the committor model needs reference frames with finite coordinates; of {len(values)} frames "
                f"{int((~np.isfinite(values).all(axis=1)).sum())} are broken"
            )
        spread = values.std(axis=0)
        self.descriptors = descriptors
        self.mean = values.mean(axis=0)
        self.spread = np.where(spread > 1e-6, spread, np.inf)  # what never changes says nothing
        self._set_posterior(np.zeros(len(spread) + 1), 1.0, np.diag(self._precision(1.0)))

    def fit(self, positions: FloatArray, reached_b: FloatArray) -> None:
        """Learn from shooting points and, for each, how many of its two sides reached B.

        Parameters
        ----------
        positions : array, shape (shots, atoms, 3)
            nm.
        reached_b : array, shape (shots,)
            0, 1 or 2; NaN where a side has not reached a state, which teaches nothing.
        """
        known = np.isfinite(reached_b)
        z, successes = self._inputs(positions)[known], reached_b[known]
        fits = [(variance, *self._maximise(z, successes, variance)) for variance in _PRIOR_VARIANCES]
        variance, weights, hessian, _ = max(fits, key=lambda fit: fit[-1])
        self._set_posterior(weights, float(variance), hessian)

    def __call__(self, positions: FloatArray) -> FloatArray:
        """p_B of positions (frames, atoms, 3) in nm, by the most probable weights; shape (frames,)."""
        p: FloatArray = expit(self._inputs(positions) @ self.weights)
        return p

    def choose(self, positions: FloatArray, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Frames to shoot from, each at most once: for each draw of weights that with p_B nearest to ½.

        Parameters
        ----------
        positions : array, shape (frames, atoms, 3)
            Candidates, at least ``count``.
        count : int
        rng : Generator
        """
        z = self._inputs(positions)
        noise = rng.normal(size=(len(self.weights), count))
        draws = self.weights[:, None] + _DRAW_WIDTH * np.linalg.solve(self._factor.T, noise)  # H = L Lᵀ
        distance = np.abs(z @ draws)
        chosen: list[int] = []
        for column in distance.T:
            column[chosen] = np.inf
            chosen.append(int(np.argmin(column)))
        return np.array(chosen)

    def to_json(self) -> dict[str, Any]:
        """Everything the model is, as JSON."""
        return {
            "variables": [{"name": v.name, "kind": v.kind, "atoms": list(v.atoms)} for v in self.descriptors.variables],
            "torsions": [list(atoms) for atoms in self.descriptors.torsions],
            "mean": self.mean.tolist(),
            "spread": [float(value) if np.isfinite(value) else None for value in self.spread],
            "weights": self.weights.tolist(),
            "prior_variance": self.prior_variance,
            "hessian": self.hessian.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The model that :meth:`to_json` has described.

        Raises
        ------
        ValueError, KeyError, TypeError, OverflowError, LinAlgError
            If it is not what :meth:`to_json` makes.
        """
        model = cls.__new__(cls)
        variables = tuple(CollectiveVariable(v["name"], v["kind"], tuple(v["atoms"])) for v in content["variables"])
        model.descriptors = Descriptors(variables, tuple(tuple(atoms) for atoms in content["torsions"]))
        model.mean = np.array(content["mean"], dtype=float)
        spread = [np.inf if value is None else value for value in content["spread"]]
        model.spread = np.array(spread, dtype=float)
        weights, hessian = np.array(content["weights"], dtype=float), np.array(content["hessian"], dtype=float)
        for atoms, size in [(v.atoms, _ATOMS[v.kind]) for v in variables] + [
            (t, 4) for t in model.descriptors.torsions
        ]:
            if len(set(atoms)) != size or any(not isinstance(atom, int) or atom < 0 for atom in atoms):
                raise ValueError(f"atoms {atoms} are not {size} atoms")
        n = model.descriptors.count
        shapes = [array.shape for array in (model.mean, model.spread, weights, hessian)]
        if not variables or shapes != [(n,), (n,), (n + 1,), (n + 1, n + 1)]:
            raise ValueError(f"{n} descriptors do not fit arrays of shapes {shapes}")
        if (
            not all(np.isfinite(array).all() for array in (model.mean, weights, hessian))
            or not (model.spread > 0).all()
        ):
            raise ValueError("a number is not finite, or a spread is not positive")
        model._set_posterior(weights, float(content["prior_variance"]), hessian)
        return model

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model in a file.

        Raises
        ------
        OutputError
            If it is not one of ours.
        """
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise OutputError(f"{path} is not a committor model of ours ({error}); run the stage again") from error

    def _set_posterior(self, weights: FloatArray, prior_variance: float, hessian: FloatArray) -> None:
        self.weights, self.prior_variance, self.hessian = weights, prior_variance, hessian
        self._factor = np.linalg.cholesky(hessian)

    def _inputs(self, positions: FloatArray) -> FloatArray:
        z = (self.descriptors(positions) - self.mean) / self.spread
        return np.concatenate([z, np.ones((len(z), 1))], axis=1)

    def _precision(self, variance: float) -> FloatArray:
        return np.append(np.full(len(self.mean), 1 / variance), 1 / _CONSTANT_VARIANCE)

    def _maximise(self, z: FloatArray, successes: FloatArray, variance: float) -> tuple[FloatArray, FloatArray, float]:
        """Most probable weights under a prior variance, the Hessian of −log posterior there, and the log evidence."""
        precision = self._precision(variance)

        def log_posterior(weights: FloatArray) -> float:
            logit = z @ weights
            outcomes = successes @ log_expit(logit) + (2 - successes) @ log_expit(-logit)
            return float(outcomes - 0.5 * precision @ weights**2)

        weights = np.zeros(len(precision))
        value = log_posterior(weights)
        for _ in range(_MAX_NEWTON_STEPS):
            p = expit(z @ weights)
            hessian = z.T @ (z * (2 * p * (1 - p))[:, None]) + np.diag(precision)
            gradient = z.T @ (successes - 2 * p) - precision * weights
            step = np.linalg.solve(hessian, gradient)
            if gradient @ step < 1e-10:
                break
            while log_posterior(weights + step) < value:  # concave: a shorter step goes up
                step *= 0.5
            weights = weights + step
            value = log_posterior(weights)
        determinant = np.linalg.slogdet(hessian)[1]
        return weights, hessian, value + 0.5 * (np.log(precision).sum() - determinant)


def _skeleton_torsions(topology: mdtraj.Topology) -> tuple[tuple[int, ...], ...]:
    """Dihedrals about every bond between heavy atoms, one each, and out-of-plane angles of atoms between others."""
    neighbours = bonded_atoms(topology)
    heavy = {atom.index for atom in topology.atoms if atom.element is not None and atom.element.symbol != "H"}

    def first_heavy(atom: int, without: int) -> int | None:
        return min((n for n in neighbours[atom] if n in heavy and n != without), default=None)

    found: list[tuple[int, ...]] = []
    for one, other in sorted(sorted((a.index, b.index)) for a, b in topology.bonds):
        if one in heavy and other in heavy:
            before, after = first_heavy(one, other), first_heavy(other, one)
            if before is not None and after is not None and before != after:
                found.append((before, one, other, after))
    for atom in sorted(heavy):
        around = sorted(neighbours[atom], key=lambda n: (n not in heavy, n))
        if len(around) >= 3 and around[1] in heavy:
            found.append((around[0], around[1], atom, around[2]))
    return tuple(found)


def read_committor_model(run: Run) -> CommittorModel:
    """The committor model that the shots of a run have trained.

    Raises
    ------
    OutputError
        If the run has none, or the file is not one of ours.
    """
    path = run.path(COMMITTOR_MODEL)
    if not path.is_file():
        raise OutputError(
            f"{run.folder} has no committor model ({COMMITTOR_MODEL}): it is made with the reactive trajectories; go "
            "on with the run by 'spacetime-tps run … --resume'"
        )
    return CommittorModel.load(path)
