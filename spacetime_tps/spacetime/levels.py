"""Level of noise and bounds of a constrained geodesic, found from the denoiser and the samples alone.

At log SNR λ three variances say what a variance bound can do: v_end, the larger one of the two ends; v_line, the
largest on the straight line between them; v*, the smallest variance bound under which a graph of the samples connects
them. The contrast v_line/v* is how much the way round differs from the straight line. Below some λ noise hides the ends
from each other; far above it a stiff restraint drags both modes along, v_line comes down to v_end and the variance sees
no barrier. In between the contrast is largest, and there the bounds are set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.records import Record
from spacetime_tps.spacetime.constraints import Constraint, LikelihoodBound, VarianceBound
from spacetime_tps.spacetime.curve import resample_polyline
from spacetime_tps.spacetime.family import Points, depth, moments_at, point
from spacetime_tps.spacetime.search import SpacetimeGraph

_STEP = 0.5  # between the levels of log SNR that are tried
_REACH = 10.0  # how far levels are looked for, on both sides of the one whose noise reaches from end to end
_NEIGHBOURS = 48  # of a node: with few, the narrowest place of a graph is one that has no edge where it could have
_LINE = 101  # points on the straight line
_NEARLY = 0.05
"""Relative difference of contrasts that says nothing: at one level, four sets of samples of one molecule differ so."""
_PATH_MARGIN, _VARIANCE_MARGIN, _DEPTH_MARGIN = 1.15, 1.3, 0.05
_LEAST_MARGIN = 0.1  # nats of depth: less is no wall
_PATH_POINTS = 400
_ROOM = 0.05  # of log SNR above the ends: a spline of bounded λ does not come to its bounds


@dataclass(frozen=True)
class Level(Record):
    """What was found at one level of noise.

    Attributes
    ----------
    log_snr : float
    end_variance, line_variance : float
        v_end and v_line.
    connecting_variance : float, optional
        v*; None where it was not needed: the contrast is at most v_line/v_end, and that was too low already.
    """

    log_snr: float
    end_variance: float
    line_variance: float
    connecting_variance: float | None = None

    @property
    def contrast(self) -> float | None:
        """v_line/v*."""
        return None if self.connecting_variance is None else self.line_variance / self.connecting_variance

    @property
    def largest_contrast(self) -> float:
        """What the contrast cannot exceed, for no path is narrower than its ends."""
        return self.line_variance / self.end_variance

    def to_json(self) -> dict[str, object]:
        """What is kept of it; the contrast too."""
        return super().to_json() | ({} if self.contrast is None else {"contrast": self.contrast})


@dataclass(frozen=True)
class LevelChoice:
    """The level and the bounds of a problem, and where they come from.

    Attributes
    ----------
    levels : tuple of Level
        All that were tried, by λ.
    level : Level
        The chosen one: the lowest whose contrast is within 5 % of the largest.
    log_snr_bounds : (float, float)
        The SNR may not rise above the ends': else every bound can be met by a stiff restraint.
    variance_bound : float
        1.3 v*.
    path_depth, depth_bound : float, optional
        D*, the largest depth along ``path`` from A, and the bound: D* and a twentieth of the rise from the most likely
        point of the path to the least likely, at least a tenth of a nat. None if the denoiser knows no log-normalizer.
    path : Points
        The shortest path through the graph under 1.15 v*, from A to B: where to start.
    """

    levels: tuple[Level, ...]
    level: Level
    log_snr_bounds: tuple[float, float]
    variance_bound: float
    path_depth: float | None
    depth_bound: float | None
    path: Points

    @property
    def log_snr(self) -> float:
        """λ of the ends."""
        return self.level.log_snr

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The variance bound and, if depths are known, the depth bound."""
        variance = VarianceBound(self.variance_bound)
        return (variance,) if self.depth_bound is None else (variance, LikelihoodBound(self.path[:1], self.depth_bound))

    @property
    def reason(self) -> str:
        """Why this level and these bounds, in one line."""
        level, best = self.level, max(level.contrast or 0 for level in self.levels)
        text = (
            f"log SNR {level.log_snr:g}: contrast {level.contrast:.2f} of at most {best:.2f}; variance of the ends "
            f"{level.end_variance:.4g}, of the straight line {level.line_variance:.4g}, smallest that connects "
            f"{level.connecting_variance:.4g}, bound {self.variance_bound:.4g}"
        )
        if self.depth_bound is None:
            return text
        return f"{text}; depth of the path {self.path_depth:.2f} nats, bound {self.depth_bound:.2f}"

    def to_json(self) -> dict[str, object]:
        """What is kept of it: everything but the path."""
        return {
            "log_snr": self.log_snr,
            "log_snr_bounds": list(self.log_snr_bounds),
            "variance_bound": self.variance_bound,
            "path_depth": self.path_depth,
            "depth_bound": self.depth_bound,
            "levels": [level.to_json() for level in self.levels],
            "reason": self.reason,
        }


def choose_levels(denoiser: Denoiser, y_a: ArrayLike, y_b: ArrayLike, samples: Tensor) -> LevelChoice:
    """Find the level of noise and the bounds for a constrained geodesic between two structures.

    Levels of log SNR are tried in steps of 0.5, where the ends' own variance is less than that of their mixture, d²/4
    for means d apart, and less than that of the straight line. v* is sought only where it may matter: the levels come
    in the order of v_line/v_end, which the contrast cannot exceed. A contrast near 1 says that the samples hold no way
    that is much narrower than the straight line. Linear algebra runs on one thread.

    Parameters
    ----------
    denoiser : Denoiser
    y_a, y_b : array, shape (dimension,)
        The structures of A and B.
    samples : tensor, shape (n, dimension)

    Raises
    ------
    GeometryError
        If the ends are the same, or the straight line between them is nowhere wider than they are.
    NoPathError
        If no samples connect them at the level chosen.
    """
    a, b = (np.asarray(y, dtype=np.float64) for y in (y_a, y_b))
    for name, y in (("A", a), ("B", b)):
        if y.shape != (denoiser.dimension,) or not np.isfinite(y).all():
            raise GeometryError(f"{name} must be finite and of shape ({denoiser.dimension},), but has shape {y.shape}")
    if samples.dim() != 2 or samples.shape[1] != denoiser.dimension or not len(samples):
        raise GeometryError(f"samples of shape (n, {denoiser.dimension}) are needed, not {tuple(samples.shape)}")
    samples = samples.double()
    with threadpool_limits(1):
        found = {level.log_snr: level for level in _levels(denoiser, a, b)}
        best = 0.0
        for level in sorted(found.values(), key=lambda level: -level.largest_contrast):
            if level.largest_contrast < (1 - _NEARLY) * best:
                break
            found[level.log_snr] = known = _connected(denoiser, a, b, samples, level)
            best = max(best, known.contrast or 0.0)
        levels = tuple(found.values())
        chosen = next(level for level in levels if (level.contrast or 0.0) >= (1 - _NEARLY) * best)
        return _bounded(denoiser, a, b, samples, levels, chosen)


def _levels(denoiser: Denoiser, a: np.ndarray, b: np.ndarray) -> list[Level]:
    """The levels at which the ends are told apart and the straight line is wider than they are, by λ; without v*."""
    distance = float(np.linalg.norm(b - a))
    if distance == 0:
        raise GeometryError("the structures of A and B are the same in these coordinates: nothing to connect")
    middle = math.log(4 * denoiser.dimension / distance**2)
    low, high = (max(middle - _REACH, denoiser.log_snr_range[0]), min(middle + _REACH, denoiser.log_snr_range[1]))
    line = torch.from_numpy(a + np.linspace(0, 1, _LINE)[:, None] * (b - a))
    found = []
    for step in range(math.ceil(low / _STEP), math.floor(high / _STEP) + 1):
        log_snr = step * _STEP
        with torch.no_grad():
            moments = moments_at(denoiser, Points(line, torch.full((_LINE,), log_snr, dtype=torch.float64)))
        level = Level(log_snr, float(moments.variance[[0, -1]].max()), float(moments.variance.max()))
        apart = float(((moments.mean[-1] - moments.mean[0]) ** 2).sum()) / 4
        if level.end_variance < apart and level.largest_contrast > 1 + _NEARLY:
            found.append(level)
    if not found:
        raise GeometryError(
            f"the straight line between A and B is nowhere wider than the ends, at any log SNR from {low:.3g} to "
            f"{high:.3g}: the denoiser knows no barrier between them, and a variance bound excludes nothing. Take the "
            "straight line, or samples that tell the two states apart"
        )
    return found


def _connected(denoiser: Denoiser, a: np.ndarray, b: np.ndarray, samples: Tensor, level: Level) -> Level:
    """A level with its v*. Variance falls with λ, so a graph of this level alone has the narrowest path."""
    graph = SpacetimeGraph(
        denoiser,
        point(a, level.log_snr),
        point(b, level.log_snr),
        [VarianceBound(level.line_variance)],
        samples=samples,
        log_snr_bounds=(level.log_snr, level.log_snr),
        levels=1,
        neighbours=_NEIGHBOURS,
    )
    violation = graph.smallest_connecting_violation(level.end_variance / level.line_variance - 1)
    connecting = max((1 + violation) * level.line_variance, level.end_variance)
    return replace(level, connecting_variance=connecting)


def _bounded(
    denoiser: Denoiser, a: np.ndarray, b: np.ndarray, samples: Tensor, levels: tuple[Level, ...], chosen: Level
) -> LevelChoice:
    """The bounds at a level, from the graph's own path."""
    assert chosen.connecting_variance is not None
    low, high = denoiser.log_snr_range
    bounds = max(chosen.log_snr - _REACH, low), min(chosen.log_snr + _ROOM, high)
    graph = SpacetimeGraph(
        denoiser,
        point(a, chosen.log_snr),
        point(b, chosen.log_snr),
        [VarianceBound(_PATH_MARGIN * chosen.connecting_variance)],
        samples=samples,
        log_snr_bounds=bounds,
        neighbours=_NEIGHBOURS,
    )
    path = graph.shortest_path()
    deepest = limit = None
    try:
        with torch.no_grad():
            along = depth(denoiser, path[:1], resample_polyline(denoiser, path, _PATH_POINTS))
        deepest = float(along.max())
        limit = deepest + max(_DEPTH_MARGIN * (deepest - float(along.min())), _LEAST_MARGIN)
    except GeometryError:
        pass  # the denoiser knows no log-normalizer
    return LevelChoice(
        levels=levels,
        level=chosen,
        log_snr_bounds=bounds,
        variance_bound=_VARIANCE_MARGIN * chosen.connecting_variance,
        path_depth=deepest,
        depth_bound=limit,
        path=path,
    )
