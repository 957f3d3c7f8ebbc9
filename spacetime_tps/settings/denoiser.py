"""Settings of denoisers, and the base of all settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Field(gt=0, allow_inf_nan=False)


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, objects are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MixtureSettings(Settings):
    """The Gaussian-mixture denoiser."""

    kind: Literal["mixture"] = "mixture"
    components: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (8, 16, 24), min_length=1, description="of one fit: candidates; the held-out likelihood chooses"
    )
    covariance: Literal["full", "low_rank", "shrunk"] = Field("full", description="of the Gaussians of positions")
    rank: int = Field(16, ge=1, description="axes of each low-rank covariance")
    fits: int = Field(3, ge=1, le=100, description="fits from different starts, whose average is the model")
    shrinkage: float = Field(
        24.0, ge=0, description="pseudo-counts of the pooled covariance in each component's covariance"
    )
    held_out: float = Field(0.2, gt=0, lt=0.9, description="fraction of the samples, in blocks of time")
    max_frames: int = Field(4000, ge=100, description="frames used, evenly spaced, when there are more")
    check_points: int = Field(3, ge=0, description="spacetime points where restrained MD checks the model")


class PotentialSettings(Settings):
    """The neural denoiser: a network's log-density on top of a coarse mixture's."""

    kind: Literal["potential"]
    pretrained: Path | None = Field(
        None, description="file of 'spacetime-tps train', of the same system and atoms; it is taken as it is"
    )
    network: Literal["perceptron", "message_passing"] = Field(
        "perceptron",
        description="perceptron: of latent vectors; message_passing: of atoms that hear their neighbours, more "
        "accurate for the same training but several times slower to ask",
    )
    components: int = Field(8, ge=1, le=1000, description="of each fit of the coarse mixture")
    fits: int = Field(3, ge=1, le=100, description="fits from different starts, whose average is the coarse mixture")
    shrinkage: float = Field(24.0, ge=0, description="as that of a mixture")
    width: int = Field(128, ge=1, description="16 for message passing")
    depth: int = Field(3, ge=1)
    steps: int = Field(2500, ge=1)
    batch: int = Field(512, ge=8, description="128 for message passing")
    learning_rate: float = Field(2e-3, gt=0, description="0.01 for message passing")
    weight_decay: float = Field(0.01, ge=0)
    average: float = Field(0.999, ge=0, lt=1, description="decay of the running average of the weights")
    chord_weight: float = Field(1.0, ge=0, description="of the term that keeps J of chords positive")
    held_out: float = Field(0.2, gt=0, lt=0.9, description="fraction of the samples, in blocks of time")
    validation_interval: int = Field(250, ge=1, description="steps between two looks at the held-out samples")
    patience: int = Field(1000, ge=1, description="steps without a better held-out loss before training stops")
    checkpoint_interval: float = Field(30.0, ge=0, description="seconds between two checkpoints")
    device: Literal["cpu", "cuda"] = "cpu"
    mixed_precision: bool = False
    check_points: int = Field(3, ge=0, description="spacetime points where restrained MD checks the model")

    @model_validator(mode="before")
    @classmethod
    def _of_the_network(cls, content: Any) -> Any:
        """Defaults that suit the network."""
        if isinstance(content, dict) and content.get("network") == "message_passing":
            return {"width": 16, "batch": 128, "learning_rate": 0.01} | content
        return content


DenoiserSettings = Annotated[MixtureSettings | PotentialSettings, Field(discriminator="kind")]
