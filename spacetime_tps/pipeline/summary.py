"""The summary of a run: what all stages of the main job have reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spacetime_tps.pipeline.stage_results import (
    DenoiserResult,
    GeodesicsResult,
    PathFigures,
    PathsResult,
    ReactiveResult,
    SamplesResult,
)
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import STAGES, SUMMARY
from spacetime_tps.writing import write_json


@dataclass(frozen=True)
class Summary:
    """Of the main job.

    Attributes
    ----------
    system : str
    seed : int
    platform : str
        Of OpenMM.
    energy_evaluations : mapping of str to int
        By purpose.
    wall_seconds : mapping of str to float
        By stage.
    samples : SamplesResult
    denoiser : DenoiserResult
    geodesics : GeodesicsResult
    paths : PathsResult
    reactive : ReactiveResult
    """

    system: str
    seed: int
    platform: str
    energy_evaluations: Mapping[str, int]
    wall_seconds: Mapping[str, float]
    samples: SamplesResult
    denoiser: DenoiserResult
    geodesics: GeodesicsResult
    paths: PathsResult
    reactive: ReactiveResult

    @property
    def total_evaluations(self) -> int:
        """Energy evaluations for all purposes."""
        return sum(self.energy_evaluations.values())

    @property
    def total_seconds(self) -> float:
        """Wall time of all stages."""
        return sum(self.wall_seconds.values())

    def to_json(self) -> dict[str, object]:
        """What ``summary.json`` holds."""
        geodesics, paths = self.geodesics.to_json(), self.paths
        steps: dict[str, object] = {"steps_per_path": paths.steps_per_path}
        driven = steps | {
            "schedule": paths.schedule,
            "spring_temperature": paths.spring_temperature,
            "narrowing": paths.narrowing,
        }
        return {
            "system": self.system,
            "seed": self.seed,
            "platform": self.platform,
            "energy_evaluations": {**self.energy_evaluations, "total": self.total_evaluations},
            "wall_seconds": {**self.wall_seconds, "total": self.total_seconds},
            "samples": self.samples.to_json(),
            "denoiser": self.denoiser.to_json(),
            "geodesics": {name: figures.to_json() for name, figures in self.geodesics.geodesics.items()},
            "channels": geodesics.get("channels"),
            "rounds": geodesics.get("rounds"),
            "region": geodesics.get("region"),
            "paths": driven | _paths_to_json(paths.paths),
            "paths_region_avoiding": driven | _paths_to_json(paths.paths_region_avoiding),
            "baselines": {name: steps | figures.to_json() for name, figures in paths.baselines.items()},
            "reactive": self.reactive.to_json(),
        }


def read_summary(run: Run) -> Summary:
    """The summary of a run whose stages have all finished.

    Raises
    ------
    OutputError
        If one has not finished, or its report is damaged.
    """
    reports = [run.report(name) for name in STAGES]
    return Summary(
        system=run.molecule.name,
        seed=run.base_seed,
        platform=run.molecule.platform,
        energy_evaluations={purpose: count for report in reports for purpose, count in report.evaluations.items()},
        wall_seconds={report.part: report.wall_seconds for report in reports},
        samples=run.results("samples", SamplesResult),
        denoiser=run.results("denoiser", DenoiserResult),
        geodesics=run.results("geodesics", GeodesicsResult),
        paths=run.results("paths", PathsResult),
        reactive=run.results("reactive", ReactiveResult),
    )


def write_summary(run: Run) -> Summary:
    """Write ``summary.json``, and return what it holds."""
    summary = read_summary(run)
    write_json(run.path(SUMMARY), summary.to_json())
    return summary


def _paths_to_json(figures: PathFigures | None) -> dict[str, object]:
    return {} if figures is None else figures.to_json()
