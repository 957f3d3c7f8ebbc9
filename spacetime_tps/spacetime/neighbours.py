"""Near neighbours of many points in n log n operations (hierarchical navigable small worlds, arXiv 1603.09320)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from usearch.index import Index

from spacetime_tps.arrays import FloatArray

Indices = NDArray[np.intp]

_EXACT = 2048  # up to as many points, comparing with all of them is faster and exact


def nearest(points: FloatArray, queries: FloatArray, count: int) -> Indices:
    """Places of the ``count`` points nearest to each query, shape (queries, count); the nearest first.

    Exact among few points; among many a rare one is missed. Points are compared in single precision about their mean.
    """
    centre = points.mean(axis=0)
    count = min(count, len(points))
    index = Index(
        ndim=points.shape[1], metric="l2sq", dtype="f32", expansion_add=64, expansion_search=max(64, 2 * count)
    )
    index.add(np.arange(len(points)), (points - centre).astype(np.float32), threads=1)
    few = len(points) <= _EXACT
    found = index.search((queries - centre).astype(np.float32), count, threads=1, exact=few)
    return np.asarray(found.keys).reshape(len(queries), count).astype(np.intp)


def distances(queries: FloatArray, points: FloatArray) -> FloatArray:
    """Distance of each query to the nearest point, shape (queries,)."""
    return np.asarray(np.linalg.norm(queries - points[nearest(points, queries, 1)[:, 0]], axis=1))


def nearest_pairs(y: FloatArray, here: Indices, there: Indices, neighbours: int) -> Indices:
    """Pairs of each node of ``here`` with its nearest nodes of ``there``, shape (pairs, 2)."""
    found = nearest(y[there], y[here], neighbours)
    return np.stack([np.repeat(here, found.shape[1]), there[found.ravel()]], axis=1)


def link_components(y: FloatArray, pairs: Indices) -> Indices:
    """Pairs that join every connected component to the largest one, where they come nearest; shape (pairs, 2)."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(y), len(y)))
    count, label = connected_components(graph, directed=False)
    if count == 1:
        return np.empty((0, 2), dtype=np.intp)
    largest = int(np.argmax(np.bincount(label)))
    inside, outside = np.flatnonzero(label == largest), np.flatnonzero(label != largest)
    candidates = nearest_pairs(y, outside, inside, 1)
    gap = np.linalg.norm(y[candidates[:, 0]] - y[candidates[:, 1]], axis=1)
    order = np.lexsort((gap, label[outside]))
    first = np.unique(label[outside][order], return_index=True)[1]
    return np.asarray(candidates[order[first]])


def covering(points: FloatArray, most: int) -> Indices:
    """Places of at most so many points that cover all: each is the farthest from those before (Gonzalez 1985)."""
    if len(points) <= most:
        return np.arange(len(points))
    chosen = [0]
    gap = ((points - points[0]) ** 2).sum(axis=1)
    while len(chosen) < most:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return np.sort(chosen)
