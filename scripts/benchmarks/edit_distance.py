"""Whether the Diffusion Edit Distance tells the basins of alanine dipeptide apart, and whether RMSD does.

Takes frames of the basins C5, C7eq and C7ax (boxes in φ, ψ) from the coldest and the hottest replica of a finished run,
as they are and with Gaussian noise on every coordinate (structures of limited resolution), and compares distances
between them: how often a pair of one basin is nearer than a pair of two (AUC), the silhouette of the basins, and the
adjusted Rand index of average-linkage clustering into three. "AUC states" counts C5 and C7eq as one, as the states of
the shipped system do. The denoiser has seen the hottest replica; it has seen neither the coldest one nor the noise.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import MDAnalysis
import mdtraj
import numpy as np
import torch
from common import Bench, Result, number, table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from MDAnalysis.coordinates.memory import MemoryReader
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score, roc_auc_score, roc_curve, silhouette_score

from spacetime_tps.edit_distance import EditDistance
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import REPLICAS

BASINS = {
    "C5": lambda phi, psi: (phi < -120) & ((psi > 120) | (psi < -160)),
    "C7eq": lambda phi, psi: (phi > -120) & (phi < -50) & (psi > 20) & (psi < 110),
    "C7ax": lambda phi, psi: (phi > 40) & (phi < 90) & (psi > -90) & (psi < 10),
}
SPLINE = {"points": 32, "knots": 6}  # too long by 1 %, which is enough to rank pairs
COLOURS = ("tab:blue", "tab:green", "tab:red")


def dihedrals(frames: mdtraj.Trajectory) -> np.ndarray:
    """φ and ψ in degrees, shape (2, frames)."""
    return np.degrees([mdtraj.compute_phi(frames)[1][:, 0], mdtraj.compute_psi(frames)[1][:, 0]])


def choose_frames(path: Path, per_basin: int, rng: np.random.Generator) -> tuple[mdtraj.Trajectory, np.ndarray]:
    """As many frames of each basin at random, and the number of each one's basin."""
    frames = mdtraj.load(path)
    phi, psi = dihedrals(frames)
    chosen = []
    for name, inside in BASINS.items():
        found = np.flatnonzero(inside(phi, psi))
        if len(found) < per_basin:
            raise SystemExit(f"{path} has only {len(found)} frames in {name}, and {per_basin} are needed")
        chosen.append(np.sort(rng.choice(found, per_basin, replace=False)))
    return frames[np.concatenate(chosen)], np.repeat(np.arange(len(BASINS)), per_basin)


def rmsd(frames: mdtraj.Trajectory, selection: str) -> np.ndarray:
    """RMSD in Å of all pairs of frames, each pair superposed."""
    part = frames.atom_slice(frames.topology.select(selection))
    part.center_coordinates()
    matrix = np.array([10 * mdtraj.rmsd(part, part, k, precentered=True) for k in range(len(part))], dtype=float)
    matrix = 0.5 * (matrix + matrix.T)
    np.fill_diagonal(matrix, 0)
    return matrix


def distance_matrices(run: Path, frames: mdtraj.Trajectory, anchors: Sequence[float], workers: int) -> dict[str, Any]:
    """Every distance between frames, and the seconds and unconverged pairs of each edit distance."""
    universe = MDAnalysis.Universe(str(run / "topology.pdb"), 10 * frames.xyz.astype(float), format=MemoryReader)
    matrices = {
        "RMSD, heavy atoms": {"matrix": rmsd(frames, "element != H")},
        "RMSD, all atoms": {"matrix": rmsd(frames, "all")},
    }
    means, edits = {}, {}
    for anchor in anchors:
        start = time.perf_counter()
        analysis = EditDistance.from_run(universe, run, anchor, workers=workers, **SPLINE).run()
        edits[f"edit distance, λ = {anchor:g}"] = {
            "matrix": analysis.results.distances,
            "seconds": time.perf_counter() - start,
            "unconverged": len(analysis.results.unconverged),
        }
        latent = torch.from_numpy(analysis.results.latent)
        mean = analysis.denoiser.moments(latent, torch.full((len(latent),), anchor, dtype=torch.float64)).mean
        means[f"posterior means, λ = {anchor:g}"] = {"matrix": squareform(pdist(mean.numpy()))}
    matrices["Euclidean, superposed on C7eq"] = {"matrix": squareform(pdist(latent.numpy()))}
    return matrices | means | edits


def scores(matrix: np.ndarray, basin: np.ndarray) -> tuple[float, float, float, float]:
    """Agreement of distances with basins: AUC of basins and of states, silhouette, adjusted Rand index."""
    i, j = np.triu_indices(len(basin), 1)
    clusters = fcluster(linkage(squareform(matrix), "average"), len(BASINS), "maxclust")
    state = basin == len(BASINS) - 1
    return (
        float(roc_auc_score(basin[i] != basin[j], matrix[i, j])),
        float(roc_auc_score(state[i] != state[j], matrix[i, j])),
        float(silhouette_score(matrix, basin, metric="precomputed")),
        float(adjusted_rand_score(basin, clusters)),
    )


@dataclass(frozen=True)
class Row:
    """Agreement of one distance with the basins, over one set of frames."""

    frames: str
    distance: str
    auc: float
    auc_states: float
    silhouette: float
    adjusted_rand: float
    seconds: float | None = None
    unconverged: int | None = None


@dataclass(frozen=True)
class Distances:
    """Distances between frames of a main-job run, as :class:`Section`.

    Attributes
    ----------
    per_basin : int
        Number of frames of each basin.
    anchors : tuple of float
        Log SNR (of nm⁻²) of edit distances.
    noise : float
        Standard deviation of every coordinate of noisy frames, nm.
    workers : int
    """

    name: ClassVar[str] = "edit_distance"
    cost: ClassVar[str] = "25 minutes"
    every_seed: ClassVar[bool] = False
    per_basin: int = 10
    anchors: tuple[float, ...] = (3.0, 4.0, 5.0, 6.0)
    noise: float = 0.04
    workers: int = 2

    def measure(self, bench: Bench, seed: int) -> Result[Row]:
        """From the coldest and the hottest replica of a seed's run; the figure is of the last and hardest set."""
        run = bench.main_job(seed)
        replicas = Run.open(run, "samples").files("samples", REPLICAS)
        rng = np.random.default_rng(seed)
        rows, last = [], {}
        for path in (replicas[0], replicas[-1]):
            frames, basin = choose_frames(path, self.per_basin, rng)
            for noise in (0.0, self.noise):
                noisy = mdtraj.Trajectory(frames.xyz + rng.normal(0, noise, frames.xyz.shape), frames.topology)
                name = path.stem.split("_")[-1] + (f" + {noise:g} nm" if noise else "")
                matrices = distance_matrices(run, noisy, self.anchors, self.workers)
                for distance, found in matrices.items():
                    cost = (found.get("seconds"), found.get("unconverged"))
                    rows.append(Row(name, distance, *scores(found["matrix"], basin), *cost))
                last = {"name": name, "basin": basin, "matrices": matrices, "dihedrals": dihedrals(frames)}
        draw(bench.picture(self.name), last, best_anchor(rows))
        return Result(seed, 0, rows)

    def tables(self, results: Sequence[Result[Row]]) -> list[str]:
        """A line for each set of frames and distance."""
        columns = ("frames", "distance", "AUC basins", "AUC states", "silhouette", "adjusted Rand", "s", "unconverged")
        blocks = []
        for result in results:
            lines = [
                [
                    *(row.frames, row.distance, number(row.auc, 3), number(row.auc_states, 3)),
                    *(number(row.silhouette, 2), number(row.adjusted_rand, 2), number(row.seconds)),
                    number(row.unconverged),
                ]
                for row in result.rows
            ]
            blocks += [
                table(columns, lines),
                f"Best anchor by AUC over all frames: {best_anchor(result.rows)} (log SNR, SNR in nm⁻²)",
            ]
        return blocks


def best_anchor(rows: Sequence[Row]) -> str:
    """Edit distance with the highest AUC over all sets of frames."""
    edits = dict.fromkeys(row.distance for row in rows if row.distance.startswith("edit"))
    return max(edits, key=lambda name: np.mean([row.auc for row in rows if row.distance == name]))


def draw(path: Path, last: dict[str, Any], best: str) -> None:
    """Matrices sorted by basin, their two-dimensional embeddings, and ROC curves."""
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    panels = figure.subplots(2, 3)
    basin, matrices = last["basin"], last["matrices"]
    anchor = best.split(", ")[1]
    shown = ("RMSD, heavy atoms", best)
    for (upper, lower), name in zip(panels[:, :2].T, shown, strict=True):
        image = upper.imshow(matrices[name]["matrix"], cmap="viridis")
        figure.colorbar(image, ax=upper, shrink=0.8, label="Å" if name.startswith("RMSD") else "edit distance")
        edges = np.flatnonzero(np.diff(basin)) + 0.5
        for edge in edges:
            upper.axhline(edge, color="white", linewidth=1)
            upper.axvline(edge, color="white", linewidth=1)
        middles = [np.flatnonzero(basin == k).mean() for k in range(len(BASINS))]
        upper.set(title=name, xticks=middles, yticks=middles, xticklabels=BASINS, yticklabels=BASINS)
        scatter(lower, embed(matrices[name]["matrix"]), basin)
        lower.set(title=f"classical scaling, {name}", xticks=[], yticks=[])
        lower.set_aspect("equal", "datalim")
    i, j = np.triu_indices(len(basin), 1)
    for name in (*shown, f"posterior means, {anchor}", "RMSD, all atoms"):
        wrong, right, _ = roc_curve(basin[i] == basin[j], -matrices[name]["matrix"][i, j])
        panels[0, 2].plot(wrong, right, label=f"{name}: {scores(matrices[name]['matrix'], basin)[0]:.3f}")
    panels[0, 2].set(
        title="pairs nearer than a threshold",
        xlabel="share of pairs of two basins",
        ylabel="share of pairs of one basin",
    )
    panels[0, 2].legend(title="area under the curve", loc="lower right")
    scatter(panels[1, 2], last["dihedrals"].T, basin)
    panels[1, 2].set(title="where the frames are", xlabel="φ (degrees)", ylabel="ψ (degrees)")
    panels[1, 2].set(xlim=(-180, 180), ylim=(-180, 180), xticks=range(-180, 181, 60), yticks=range(-180, 181, 60))
    panels[1, 2].set_box_aspect(1)
    figure.suptitle(f"Alanine dipeptide, frames of {last['name']}")
    figure.savefig(path, dpi=130)


def scatter(axes: Axes, points: np.ndarray, basin: np.ndarray) -> None:
    """Frames in the colours of their basins."""
    for k, (name, colour) in enumerate(zip(BASINS, COLOURS, strict=True)):
        axes.scatter(*points[basin == k].T, color=colour, label=name, s=22)
    axes.legend()


def embed(matrix: np.ndarray) -> np.ndarray:
    """Classical multidimensional scaling to the plane."""
    centred = matrix**2 - (matrix**2).mean(0)
    values, vectors = np.linalg.eigh(-0.5 * (centred - centred.mean(1, keepdims=True)))
    return vectors[:, -1:-3:-1] * np.sqrt(values[-1:-3:-1].clip(min=0))
