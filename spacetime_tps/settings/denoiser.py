"""Settings of denoisers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.units import Length


class MixtureSettings(Settings):
    """The Gaussian-mixture denoiser."""

    kind: Literal["mixture"] = Field("mixture", description="kind of the denoiser")
    components: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (8, 16, 24),
        min_length=1,
        max_length=100,
        description="numbers of components of one fit that are tried; the held-out likelihood chooses one",
    )
    covariance: Literal["full", "low_rank", "shrunk"] = Field(
        "full", description="form of the covariances of Gaussians of positions"
    )
    rank: int = Field(16, ge=1, le=1000, description="number of axes of each low-rank covariance")
    fits: int = Field(3, ge=1, le=100, description="number of fits from different starts, whose average is the model")
    shrinkage: float = Field(
        24.0, ge=0, le=1e6, description="pseudo-counts of the pooled covariance in each component's covariance"
    )
    held_out: float = Field(
        0.2, ge=1e-3, le=0.9, description="fraction of the samples that is held out, in blocks of time"
    )
    max_frames: int = Field(
        4000, ge=100, le=1_000_000, description="largest number of frames that the fits use, evenly spaced"
    )
    check_points: int = Field(
        3, ge=0, le=1000, description="number of spacetime points where restrained MD checks the model"
    )


class PotentialSettings(Settings):
    """The neural denoiser: a network's log-density on top of a coarse mixture's."""

    kind: Literal["potential"] = Field(description="kind of the denoiser")
    pretrained: Path | None = Field(
        None, description="file of 'spacetime-tps train', of the same system and atoms; it is taken as it is"
    )
    network: Literal["perceptron", "message_passing"] = Field(
        "perceptron",
        description="network: a perceptron of latent vectors, or message passing between neighbouring atoms, which is "
        "more accurate for the same training but several times slower to ask",
    )
    components: int = Field(8, ge=1, le=1000, description="number of components of each fit of the coarse mixture")
    fits: int = Field(
        3, ge=1, le=100, description="number of fits from different starts, whose average is the coarse mixture"
    )
    shrinkage: float = Field(
        24.0, ge=0, le=1e6, description="pseudo-counts of the pooled covariance in the coarse mixture"
    )
    cutoff: Annotated[Length, Field(ge=1e-3, le=1e3)] = Field(
        0.35, description="distance in nm below which two atoms of a sample hear each other, for message passing"
    )
    log_snr_margin: float = Field(
        2.0,
        ge=0,
        le=100,
        description="how far above log geodesics.snr_bounds the network is trained: generated samples end with little "
        "noise",
    )
    width: int = Field(128, ge=1, le=4096, description="width of each layer; 16 by default for message passing")
    depth: int = Field(3, ge=1, le=64, description="number of layers")
    steps: int = Field(2500, ge=1, le=100_000_000, description="largest number of training steps")
    batch: int = Field(
        512, ge=8, le=65_536, description="number of samples in each training step; 128 by default for message passing"
    )
    learning_rate: float = Field(
        2e-3, ge=1e-9, le=10, description="learning rate at the start; 0.01 by default for message passing"
    )
    weight_decay: float = Field(0.01, ge=0, le=100, description="weight decay of AdamW")
    average: float = Field(0.999, ge=0, lt=1, description="decay of the running average of the weights")
    chord_weight: float = Field(1.0, ge=0, le=1e6, description="weight of the term that keeps J of chords positive")
    held_out: float = Field(
        0.2, ge=1e-3, le=0.9, description="fraction of the samples that is held out, in blocks of time"
    )
    validation_interval: int = Field(
        250, ge=1, le=100_000_000, description="training steps between two looks at the held-out samples"
    )
    patience: int = Field(
        1000, ge=1, le=100_000_000, description="training steps without a better held-out loss before training stops"
    )
    checkpoint_interval: float = Field(30.0, ge=0, le=1e6, description="time between two checkpoints, in s")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the network is trained")
    mixed_precision: bool = Field(False, description="whether the network is trained in mixed precision")
    check_points: int = Field(
        3, ge=0, le=1000, description="number of spacetime points where restrained MD checks the model"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_the_network(cls, content: Any) -> Any:
        """Defaults that suit the network."""
        if isinstance(content, dict) and content.get("network") == "message_passing":
            return {"width": 16, "batch": 128, "learning_rate": 0.01} | content
        return content


DenoiserSettings = Annotated[MixtureSettings | PotentialSettings, Field(discriminator="kind")]
