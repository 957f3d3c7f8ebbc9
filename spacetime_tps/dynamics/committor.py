"""A model of the committor that learns from every shot where to shoot next."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from spacetime_tps.states import CollectiveVariable, FloatArray, Values


class CommittorModel:
    """Logistic model of the probability to reach B before A, p_B, on the collective variables.

    Features are the cosine and sine of dihedrals, and the other variables in units of their spread.
    Until both outcomes have been seen it says 0.5 everywhere, so that shots are spread evenly.

    Parameters
    ----------
    variables : sequence of CollectiveVariable
    """

    def __init__(self, variables: list[CollectiveVariable]) -> None:
        self.variables = variables
        self._model: LogisticRegression | None = None
        self._scale = np.ones(1)

    def fit(self, values: Values, reached_b: FloatArray) -> None:
        """Learn from shooting points and, for each, how many of its two sides reached B (0, 1 or 2; NaN: unknown)."""
        known = np.isfinite(reached_b)
        outcomes = np.concatenate([reached_b[known] >= 1, reached_b[known] >= 2])
        if len(set(outcomes.tolist())) < 2:
            return
        features = self._features(values)[known]
        self._scale = np.where(features.std(0) > 0, features.std(0), 1.0)
        self._model = LogisticRegression().fit(np.tile(features / self._scale, (2, 1)), outcomes)

    def __call__(self, values: Values) -> FloatArray:
        """p_B of frames, shape (frames,)."""
        features = self._features(values)
        if self._model is None:
            return np.full(len(features), 0.5)
        return np.asarray(self._model.predict_proba(features / self._scale)[:, 1])

    def _features(self, values: Values) -> FloatArray:
        columns: list[FloatArray] = []
        for variable in self.variables:
            value = values[variable.name]
            columns += [np.cos(value), np.sin(value)] if variable.periodic else [value]
        return np.stack(columns, axis=1)
