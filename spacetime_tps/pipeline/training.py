"""The training job: the neural denoiser of a run's samples, apart from the run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.pipeline.denoiser import denoising_errors
from spacetime_tps.pipeline.potential import train_potential
from spacetime_tps.pipeline.stage_results import DenoisingErrors
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log
from spacetime_tps.records import Record
from spacetime_tps.runs.denoiser import write_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import POTENTIAL, POTENTIAL_RESULTS, TRAINING_CHECKPOINT
from spacetime_tps.runs.read import read_training_set
from spacetime_tps.runs.requests import check_exclusive, check_options
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.settings.jobs import read_job_settings
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.threads import one_thread
from spacetime_tps.training.trainer import Training
from spacetime_tps.writing import remove, write_json


@dataclass(frozen=True)
class TrainingResult(Record):
    """Of a training.

    Attributes
    ----------
    system : str
    unit : str
        Of the latent coordinates; empty if they have none.
    training : Training
    denoising_error : list of DenoisingErrors
        On held-out samples.
    """

    system: str
    unit: str
    training: Training
    denoising_error: list[DenoisingErrors]


def train(
    run: str | Path,
    *,
    config: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> TrainingResult:
    """Train the neural denoiser on the samples of a run, and write it to ``potential.safetensors`` in its folder.

    Another run of the same system and atoms takes it by ``denoiser: {kind: potential, pretrained: FILE}``. What was
    learned, and the held-out errors, are in ``potential.json``.

    Parameters
    ----------
    run : str or Path
        Folder of a run that has its samples.
    config : str or Path, optional
        YAML file whose ``denoiser`` section says how to train, in place of the run's; by default the run's, if it is
        of a potential.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes that fit the coarse mixture, by default one a core.
    resume : bool
        Go on from the checkpoint that an interrupted training has left.
    overwrite : bool
        Replace an earlier denoiser, or a checkpoint.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    TrainingResult
        What ``potential.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work).
    """
    check_guard()
    started = time.perf_counter()
    check_options({"workers": (workers, 1), "seed": (seed, 0)})
    check_exclusive(resume, overwrite)
    opened = Run.open(run, "samples", seed=seed, trust_scripts=trust_scripts)
    denoiser = _denoiser_settings(opened.settings, config)
    opened.settings = opened.settings.model_copy(update={"denoiser": denoiser})
    checkpoint, file = opened.path(TRAINING_CHECKPOINT), opened.path(POTENTIAL)
    with opened.locked(), one_thread():
        if resume and not checkpoint.is_file():
            raise OutputError(f"{opened.folder} holds no training to resume (it has no {TRAINING_CHECKPOINT})")
        if not (resume or overwrite) and (checkpoint.is_file() or file.is_file()):
            raise OutputError(
                f"{opened.folder} already holds {(checkpoint if checkpoint.is_file() else file).name}; take --resume "
                "to go on with an interrupted training, or --overwrite to train anew"
            )
        if not resume:
            for name in (TRAINING_CHECKPOINT, POTENTIAL, POTENTIAL_RESULTS):
                remove(opened.path(name))
        training = read_training_set(opened)
        with opened.workers(workers):
            made = train_potential(opened, denoiser, training, opened.seed("train"))
        x = opened.coordinates.encode(training.positions[made.held_out])
        weights = training.weights[made.held_out]
        errors = denoising_errors(opened, made.compared, x, weights, opened.seed("train errors"))
        write_denoiser(opened, made.denoiser, file)
        assert made.results.training is not None  # nothing that is pretrained comes here
        results = TrainingResult(opened.molecule.name, opened.coordinates.unit, made.results.training, errors)
        write_json(opened.path(POTENTIAL_RESULTS), results.to_json())
        opened.finish("train", started, after=["samples"])
    log.info("the denoiser is in %s", file)
    return results


def _denoiser_settings(settings: RunSettings, config: str | Path | None) -> PotentialSettings:
    """How to train, of the file or of the run."""
    if config is None:
        if isinstance(settings.denoiser, PotentialSettings):
            return settings.denoiser.model_copy(update={"pretrained": None})  # to train is what is asked
        return PotentialSettings(kind="potential")
    changed = read_job_settings(settings, "train", Path(config)).denoiser
    if not isinstance(changed, PotentialSettings):
        raise ConfigError(f"{config}: its denoiser is not a potential; write 'denoiser: {{kind: potential}}'")
    return changed
