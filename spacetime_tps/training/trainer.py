"""Training of the neural denoiser: denoising score matching in y and in λ, with chords kept positive.

At a noised sample y the mean of p(x|z) is learned from x, and E|x − y|², the derivative in λ, from |x − y|² (Vincent,
Neural Comput. 23, 1661 (2011), and the same identity in time). Every direction of x is measured in what the coarse
denoiser gets wrong there at that level of noise, so that no level and no direction drowns another. J of chords is
pushed above a part of what it is for the coarse denoiser, whose log-partition is convex.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser, Moments
from spacetime_tps.denoisers.files import read, write
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.denoisers.potential import Network, PotentialDenoiser, corrected
from spacetime_tps.errors import GeometryError
from spacetime_tps.progress import log
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.spacetime.family import Points, symmetric_divergence
from spacetime_tps.statistics.correlation import kish_size

LEVELS = 27  # of noise, where the base is measured and the network validated
PER_LEVEL = 512  # samples at each
DRAWS = 32  # batches that these come in: the noise of targets that are averaged over the same samples is the same
KEPT_SHARE = 0.1  # of the coarse denoiser's J: below that a chord is penalised


@dataclass(frozen=True)
class Samples:
    """What is learned.

    Attributes
    ----------
    x : tensor, shape (samples, dimension)
    weights : tensor, shape (samples,)
        Positive.
    held_out : tensor of bool, shape (samples,)
        What training does not see.
    """

    x: Tensor
    weights: Tensor
    held_out: Tensor


@dataclass
class Training:
    """How a training went.

    Attributes
    ----------
    step : int
        Steps done.
    best_step : int
        That whose averaged weights were kept.
    best_loss : float
        Its held-out loss; 1 is the coarse denoiser's.
    history : list of dict
        Of each look at the held-out samples: ``step``, ``training`` loss and ``held_out`` loss.
    message : str
        Why it ended.
    """

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    message: str = ""


def principal_directions(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), principal directions (D, D) as columns and variances (D,) of weighted samples (samples, D).

    Raises
    ------
    GeometryError
        If the samples are too few to know them.
    """
    effective = kish_size(weights.numpy())
    dimension = x.shape[1]
    if effective < 4 * dimension:
        raise GeometryError(
            f"{effective:.0f} effective samples (of {len(x)}) are too few to train a network on {dimension} "
            f"coordinates: it takes at least {4 * dimension} to know the variance in every direction; sample for "
            "longer, take frames more often or choose fewer atoms"
        )
    w = weights / weights.sum()
    mean = w @ x
    variances, axes = torch.linalg.eigh((x - mean).T @ ((x - mean) * w[:, None]))
    return mean, axes, variances.clamp(min=1e-6 * float(variances.mean()))


class Trainer:
    """Trains the network of a potential denoiser.

    Parameters
    ----------
    base : Denoiser
        The coarse denoiser.
    network : Network
        Trained in place.
    noise_space : NoiseSpace
    samples : Samples
    settings : PotentialSettings
    log_snr_range : tuple of float
    seed : int
        Of every random draw.
    checkpoint : Path, optional
        Where the state of training is kept, every ``settings.checkpoint_interval`` and at the end.
    """

    def __init__(
        self,
        base: Denoiser,
        network: Network,
        noise_space: NoiseSpace,
        samples: Samples,
        settings: PotentialSettings,
        log_snr_range: tuple[float, float],
        seed: int,
        checkpoint: Path | None = None,
    ) -> None:
        self.base, self.noise_space, self.settings, self.range = base, noise_space, settings, log_snr_range
        self.checkpoint = checkpoint
        self.device = torch.device(settings.device)
        self.network = network.to(self.device, torch.float32).requires_grad_(True)
        self.parameters = dict(self.network.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.state = Training()
        kept, left_out = ~samples.held_out, samples.held_out
        self.x, self.weights = samples.x[kept], samples.weights[kept]
        self.axes = principal_directions(self.x, self.weights)[1]
        fixed = torch.Generator().manual_seed(seed)
        self.residuals = self._residuals(fixed)
        levels = torch.linspace(*self.range, LEVELS, dtype=torch.float64).repeat_interleave(PER_LEVEL // DRAWS)
        self.validation = [
            self._batch(samples.x[left_out], samples.weights[left_out], levels, fixed) for _ in range(DRAWS)
        ]
        precise = [batch.errors(batch.base, self.axes) * self._precision(batch.log_snr) for batch in self.validation]
        self.base_loss = float((torch.stack(precise) ** 2).mean())
        self.identity = _digest(settings, samples.x, samples.weights, samples.held_out)

    def fit(self, progress: Callable[[Sequence[int]], Iterable[int]] = iter) -> Training:
        """Train to the end, and leave the best averaged weights in the network, in float64.

        If there is a checkpoint training goes on from it; on a CPU the result is that of a training never interrupted,
        bit for bit.

        Parameters
        ----------
        progress : callable
            Passes on an iterable of steps, and shows it.

        Raises
        ------
        GeometryError
            If the checkpoint cannot be read, or is of another training.
        """
        if self.checkpoint is not None and self.checkpoint.is_file():
            self._load()
        saved = time.monotonic()
        losses: list[float] = []
        settings, state = self.settings, self.state
        for _ in progress(range(state.step, settings.steps)):
            loss = self._step()
            if not math.isfinite(loss):
                state.message = f"stopped: the loss was not finite in step {state.step + 1}"
                break
            losses.append(loss)
            state.step += 1
            if state.step % settings.validation_interval == 0 or state.step == settings.steps:
                self._validate(sum(losses) / len(losses))
                losses.clear()
                if state.step - state.best_step >= settings.patience:
                    state.message = f"stopped: the held-out loss has not fallen for {settings.patience} steps"
                    break
                if time.monotonic() - saved > settings.checkpoint_interval:
                    self._save()
                    saved = time.monotonic()
        state.message = state.message or f"{settings.steps} steps"
        self._save()
        self._set(self.best)
        self.network.to("cpu", torch.float64).requires_grad_(False)
        return state

    def denoiser(self) -> PotentialDenoiser:
        """The denoiser that has been trained."""
        return PotentialDenoiser(self.base, self.network, self.range)

    def _batch(self, x: Tensor, weights: Tensor, log_snr: Tensor, generator: torch.Generator) -> Batch:
        """Noised samples, one at each log SNR, with what the base says of them."""
        y, target, square = self.noise_space.draw(x, weights, log_snr, generator)
        with torch.no_grad():
            return Batch(y, log_snr, target, square, self.base.moments(y, log_snr))

    def _levels(self, count: int) -> Tensor:
        """``count`` random levels of noise."""
        low, high = self.range
        return low + (high - low) * torch.rand(count, generator=self.generator, dtype=torch.float64)

    def _residuals(self, generator: torch.Generator) -> Tensor:
        """Log mean square error of the base at each level, shape (levels, D + 1)."""
        count = PER_LEVEL // DRAWS
        levels = torch.linspace(*self.range, LEVELS, dtype=torch.float64).repeat_interleave(count)
        batches = [self._batch(self.x, self.weights, levels, generator) for _ in range(DRAWS)]
        squares = torch.stack([batch.errors(batch.base, self.axes) ** 2 for batch in batches])
        return squares.reshape(DRAWS, LEVELS, count, -1).mean((0, 2)).log()

    def _precision(self, log_snr: Tensor) -> Tensor:
        """Reciprocal of the base's error at log SNR (B,), shape (B, D + 1)."""
        low, high = self.range
        place = (log_snr - low) / (high - low) * (LEVELS - 1)
        left = place.long().clamp(0, LEVELS - 2)
        share = (place - left)[:, None]
        return torch.exp(-0.5 * ((1 - share) * self.residuals[left] + share * self.residuals[left + 1]))

    def _loss(self, batch: Batch) -> Tensor:
        """Mean square error in units of the base's."""
        precision = self._precision(batch.log_snr).to(self.device, torch.float32)
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.mixed_precision):
            moments = corrected(batch.base, self.network, batch.y, batch.log_snr)
        return ((batch.errors(moments, self.axes.to(precision)) * precision) ** 2).mean()

    def _chord_ratios(self) -> Tensor:
        """J over the base's J of chords, long and short, between points such as geodesics have: where noise is mean."""
        count = self.settings.batch // 8
        batch = self._batch(self.x, self.weights, self._levels(2 * count), self.generator)
        y, log_snr = batch.base.mean, batch.log_snr
        share = 10 ** (-2 * torch.rand(count, generator=self.generator, dtype=torch.float64))
        end = y[:count] + share[:, None] * (y[count:] - y[:count])
        level = log_snr[:count] + share * (log_snr[count:] - log_snr[:count])
        points = Points(torch.cat([y[:count], end]), torch.cat([log_snr[:count], level]))
        with torch.no_grad():
            base = self.base.moments(points.y, points.log_snr)
        points = Points(*(t.to(self.device, torch.float32) for t in (points.y, points.log_snr)))
        base = Moments(*(t.to(self.device, torch.float32) for t in (base.mean, base.variance)))
        ours = corrected(base, self.network, points.y, points.log_snr)
        a, b = slice(None, count), slice(count, None)
        mine, theirs = (symmetric_divergence(points[a], m[a], points[b], m[b]) for m in (ours, base))
        return mine / theirs

    def _step(self) -> float:
        """One step of the optimiser; the loss before it."""
        settings, step = self.settings, self.state.step
        batch = self._batch(self.x, self.weights, self._levels(settings.batch), self.generator)
        loss = self._loss(batch)
        if settings.chord_weight:
            loss = loss + settings.chord_weight * torch.relu(KEPT_SHARE - self._chord_ratios()).mean()
        if not torch.isfinite(loss):
            self._keep_batch(batch)
            return math.nan
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        decay = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self.average[name].lerp_(parameter, 1 - decay)
        return float(loss.detach())

    def _validate(self, training_loss: float) -> None:
        """Look at the held-out samples with the averaged weights; keep these if they are the best so far."""
        current = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._set(self.average)
        losses = [float(self._loss(batch).detach()) for batch in self.validation]
        self._set(current)
        state, loss = self.state, sum(losses) / len(losses) / self.base_loss
        if loss < state.best_loss:
            state.best_loss, state.best_step = loss, state.step
            self.best = {name: average.clone() for name, average in self.average.items()}
        state.history.append({"step": state.step, "training": training_loss, "held_out": loss})
        log.info("step %d: loss %.4f, held out %.4f (1 is the coarse denoiser's)", state.step, training_loss, loss)

    def _set(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def _keep_batch(self, batch: Batch) -> None:
        if self.checkpoint is not None:
            file = self.checkpoint.with_name("not_finite.safetensors")
            tensors = {"y": batch.y, "log_snr": batch.log_snr, "target": batch.target, "square": batch.square}
            write(file, "batch", tensors, {"step": self.state.step})
            log.error("the loss is not finite; the batch is kept in %s", file)

    def _save(self) -> None:
        """Everything that the next step depends on."""
        if self.checkpoint is None:
            return
        tensors = {"generator": self.generator.get_state()}
        for name, parameter in self.parameters.items():
            tensors |= {f"weights.{name}": parameter.detach(), f"average.{name}": self.average[name]}
            tensors[f"best.{name}"] = self.best[name]
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"{key}.{name}"] = value
        description = {"identity": self.identity, "training": asdict(self.state)}
        write(self.checkpoint, "training", tensors, description)

    def _load(self) -> None:
        assert self.checkpoint is not None
        _, tensors, description = read(self.checkpoint, "training")
        if description["identity"] != self.identity:
            raise GeometryError(
                f"{self.checkpoint} is of a training with other samples, coordinates or settings; remove it to begin "
                "anew"
            )
        self.state = Training(**description["training"])
        self.generator.set_state(tensors["generator"])
        for name, parameter in self.parameters.items():
            self.average[name], self.best[name] = (
                tensors[f"{key}.{name}"].to(self.device) for key in ("average", "best")
            )
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in tensors]
            if keys:  # none for what has had no gradient, as the constant of a potential
                self.optimizer.state[parameter] = {key: tensors[f"{key}.{name}"].to(self.device) for key in keys}
        self._set({name: tensors[f"weights.{name}"] for name in self.parameters})


@dataclass(frozen=True)
class Batch:
    """Noised samples, what is to be said of them, and what the base says.

    Attributes
    ----------
    y, target : tensor, shape (B, D)
    log_snr, square : tensor, shape (B,)
    base : Moments
    """

    y: Tensor
    log_snr: Tensor
    target: Tensor
    square: Tensor
    base: Moments

    def to(self, device: torch.device) -> Batch:
        """It in single precision, on a device."""
        y, log_snr, target, square, mean, variance = (
            t.to(device, torch.float32)
            for t in (self.y, self.log_snr, self.target, self.square, self.base.mean, self.base.variance)
        )
        return Batch(y, log_snr, target, square, Moments(mean, variance))

    def errors(self, moments: Moments, axes: Tensor) -> Tensor:
        """Those of the mean along the axes, and that of SNR |x − y|²/2, shape (B, D + 1)."""
        square = ((moments.mean - self.y) ** 2).sum(1) + moments.variance
        by_log_snr = 0.5 * torch.exp(self.log_snr) * (square - self.square)
        return torch.cat([(moments.mean - self.target) @ axes, by_log_snr[:, None]], dim=1)


def _digest(settings: PotentialSettings, *tensors: Tensor) -> str:
    """What a training is of: the same for the same samples and settings, however long they take to save."""
    digest = hashlib.sha256(settings.model_dump_json(exclude={"checkpoint_interval", "device"}).encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
