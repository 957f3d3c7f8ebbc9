"""Settings of samples: the four methods by which a run comes to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.units import Duration, In, Kelvin


def _check_frames_left(length: float, frame_interval: float, discard: float) -> None:
    last = round(length / frame_interval) * frame_interval
    if last <= discard:
        raise ValueError(
            f"discard leaves no frames: the last is at {last:g} ps (length {length:g} ps, a frame every "
            f"{frame_interval:g} ps), and the first {discard:g} ps are left out"
        )


class ReplicaExchangeSettings(Settings):
    """Replica exchange over a ladder of temperatures."""

    method: Literal["replica_exchange"] = Field(description="method of sampling")
    temperatures: tuple[Kelvin, ...] = Field(
        (300.0, 405.0, 548.0, 740.0, 1000.0),
        min_length=2,
        max_length=1000,
        description="temperatures of the replicas, rising, in K",
    )
    length: Duration = Field(850.0, description="simulated time of each replica, in ps")
    exchange_interval: Duration = Field(0.25, description="time between two attempts to exchange, in ps")
    frame_interval: Duration = Field(0.25, description="time between two stored frames, in ps")
    discard: Annotated[float, Field(ge=0, le=1e9), In("ps")] = Field(
        20.0, description="time at the start of each replica that is left out, in ps"
    )
    model_temperature: Kelvin = Field(
        1000.0, description="temperature of the Boltzmann density that the model learns, in K"
    )
    weights: Literal["replica", "mbar"] = Field(
        "replica",
        description="samples that the model learns: frames of the replica at model_temperature, or of all replicas "
        "with MBAR weights",
    )

    @model_validator(mode="after")
    def _ladder(self) -> Self:
        if list(self.temperatures) != sorted(set(self.temperatures)):
            raise ValueError("temperatures must rise from one replica to the next")
        if self.weights == "replica" and self.model_temperature not in self.temperatures:
            raise ValueError(
                f"model_temperature {self.model_temperature:g} K is none of the replicas' temperatures; "
                "choose one of them or set weights: mbar"
            )
        if not self.temperatures[0] <= self.model_temperature <= self.temperatures[-1]:
            raise ValueError("model_temperature must lie within the ladder of temperatures")
        _check_frames_left(self.length, self.frame_interval, self.discard)
        return self


class MolecularDynamicsSettings(Settings):
    """Plain molecular dynamics started in each state."""

    method: Literal["molecular_dynamics"] = Field(description="method of sampling")
    length: Duration = Field(100.0, description="simulated time of each trajectory, in ps")
    trajectories_per_state: int = Field(
        2, ge=1, le=10_000, description="number of trajectories that start in each state"
    )
    frame_interval: Duration = Field(0.2, description="time between two stored frames, in ps")
    discard: Annotated[float, Field(ge=0, le=1e9), In("ps")] = Field(
        5.0, description="time at the start of each trajectory that is left out, in ps"
    )
    model_temperature: Kelvin = Field(300.0, description="temperature of the dynamics, in K")

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        _check_frames_left(self.length, self.frame_interval, self.discard)
        return self


class FilesSettings(Settings):
    """The user's own trajectories: DCD, XTC, TRR, NetCDF, HDF5, PDB or GRO."""

    method: Literal["files"] = Field(description="method of sampling")
    trajectories: tuple[Path, ...] = Field(min_length=1, description="files of trajectories, relative to the YAML file")
    weights: tuple[Path, ...] | None = Field(None, description="one text or .npy file of frame weights per trajectory")
    stride: int = Field(
        1, ge=1, le=10**9, description="number of frames from each that is taken to the next: 1 takes all"
    )
    model_temperature: Kelvin = Field(
        300.0, description="temperature of the ensemble that the (weighted) frames represent, in K"
    )

    @model_validator(mode="after")
    def _one_weight_file_each(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.trajectories):
            raise ValueError(f"{len(self.weights)} weight files for {len(self.trajectories)} trajectories")
        return self


class OtherRunSettings(Settings):
    """The samples of another run of the same molecule, with their weights: what ``--samples-of`` asks for."""

    method: Literal["run"] = Field(description="method of sampling")
    folder: Path = Field(description="folder of the other run, relative to the YAML file")
    model_temperature: Kelvin = Field(description="temperature of the ensemble that its samples represent, in K")


SamplesSettings = Annotated[
    ReplicaExchangeSettings | MolecularDynamicsSettings | FilesSettings | OtherRunSettings,
    Field(discriminator="method"),
]
