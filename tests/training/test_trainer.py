"""Training: it lowers the held-out error, goes on where it was interrupted bit for bit, and stops in good order."""

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import noise_space
from spacetime_tps.denoisers.files import read, write
from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser
from spacetime_tps.denoisers.noise_space import PlainNoiseSpace
from spacetime_tps.denoisers.potential import build_network
from spacetime_tps.errors import GeometryError
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.training import trainer as training
from spacetime_tps.training.trainer import Samples, Trainer, principal_directions

RANGE = (-2.0, 4.0)
SETTINGS = PotentialSettings(
    kind="potential",
    network="perceptron",
    width=24,
    depth=2,
    steps=30,
    batch=32,
    learning_rate=0.01,
    validation_interval=10,
    checkpoint_interval=0,
)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    """Targets averaged over as many samples as there are, and fewer to validate with: all that takes time here."""
    monkeypatch.setattr(noise_space, "OTHERS", 500)
    monkeypatch.setattr(training, "PER_LEVEL", 64)
    monkeypatch.setattr(training, "DRAWS", 4)


def ring(count: int = 2000, seed: int = 0) -> Samples:
    """Evenly on a ring of radius 1, 0.1 wide: nothing like the one Gaussian that is the base."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, count), 1 + 0.1 * rng.normal(size=count)
    x = torch.from_numpy(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]))
    return Samples(x, torch.ones(count).double() / count, torch.arange(count) % 4 == 3)


def trainer(samples: Samples, checkpoint=None, seed: int = 0, **changed) -> Trainer:
    settings = SETTINGS.model_copy(update=changed)
    kept = ~samples.held_out
    base = GaussianMixtureDenoiser.wiener(samples.x[kept], samples.weights[kept])
    mean, axes, variances = principal_directions(samples.x[kept], samples.weights[kept])
    constants = {"mean": mean, "axes": axes, "variances": variances}
    generator = torch.Generator().manual_seed(seed)
    network = build_network("perceptron", constants, RANGE, settings.width, settings.depth, generator)
    plain = PlainNoiseSpace(samples.x.shape[1])
    return Trainer(base, network, plain, samples, settings, RANGE, seed, checkpoint)


@pytest.mark.slow
def test_lowers_the_held_out_loss_of_a_ring():
    """In so few steps by a seventh at least; the noise of the targets, which no denoiser explains, stays in it.

    Against averages over ten times as many samples, nearly free of noise, the error falls by almost half at least.
    """
    trained = trainer(ring(), steps=200, chord_weight=0.0, validation_interval=50)
    result = trained.fit()
    assert result.step == 200
    assert result.best_loss < 0.85
    assert result.history[-1]["held_out"] < result.history[0]["held_out"]
    log_snr = torch.full((200,), 1.0).double()
    y, _, _ = trained.noise_space.noisy(ring(seed=2).x[:200], log_snr, torch.Generator().manual_seed(0))
    many = ring(20_000, seed=1)
    exact, _ = PlainNoiseSpace.average(y, log_snr, many.x, many.weights.log())
    ours, base = (float(((d.moments(y, log_snr).mean - exact) ** 2).sum()) for d in (trained.denoiser(), trained.base))
    assert ours < 0.6 * base


def test_a_network_that_says_nothing_has_the_loss_of_the_base():
    untrained = trainer(ring())
    untrained._validate(1.0)
    assert untrained.state.best_loss == pytest.approx(1, abs=1e-5)


def test_weights_of_hot_samples_count():
    """Even samples in [−1, 1] with the weights of N(0, 0.3²): the stable targets are those of the weighted density."""
    x = torch.linspace(-1, 1, 2000, dtype=torch.float64)[:, None] * torch.ones(1, 1).double()
    weights = torch.softmax(-0.5 * (x[:, 0] / 0.3) ** 2, 0)
    made = trainer(Samples(x, weights, torch.arange(2000) % 4 == 3))
    batch = made._batch(made.x, made.weights, torch.full((200,), 2.0).double(), torch.Generator().manual_seed(0))
    gain = 0.09 / (0.09 + np.exp(-2.0))
    slope = float((batch.y * batch.target).sum() / (batch.y**2).sum())
    assert slope == pytest.approx(gain, rel=0.05)


def states(checkpoint) -> dict[str, torch.Tensor]:
    return read(checkpoint, "training")[1]


class TestResume:
    def test_is_bit_identical(self, tmp_path):
        """Interrupted after a checkpoint, before the next."""
        whole = trainer(ring(), tmp_path / "whole")
        whole.fit()

        def until_step_15(steps):
            for step in steps:
                if step == 15:
                    raise KeyboardInterrupt
                yield step

        with pytest.raises(KeyboardInterrupt):
            trainer(ring(), tmp_path / "part").fit(until_step_15)
        assert read(tmp_path / "part", "training")[2]["training"]["step"] == 10
        resumed = trainer(ring(), tmp_path / "part")
        result = resumed.fit()
        assert result == whole.state
        for name, tensor in states(tmp_path / "whole").items():
            assert torch.equal(states(tmp_path / "part")[name], tensor), name
        for one, two in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
            assert torch.equal(one, two)

    @pytest.mark.parametrize("kept", [0.0, 0.4, 0.98])
    def test_truncated_checkpoint_is_refused(self, tmp_path, kept):
        trainer(ring(), tmp_path / "state", steps=10).fit()
        content = (tmp_path / "state").read_bytes()
        (tmp_path / "state").write_bytes(content[: int(kept * len(content))])
        with pytest.raises(GeometryError, match="state is not a readable"):
            trainer(ring(), tmp_path / "state", steps=10).fit()

    def test_checkpoint_of_other_samples_or_settings_is_refused(self, tmp_path):
        trainer(ring(), tmp_path / "state", steps=10).fit()
        for other in (trainer(ring(seed=1), tmp_path / "state", steps=10), trainer(ring(), tmp_path / "state")):
            with pytest.raises(GeometryError, match="other samples, coordinates or settings"):
                other.fit()

    def test_foreign_file_is_refused(self, tmp_path):
        write(tmp_path / "state", "gaussian_mixture", {"means": torch.zeros(1)}, {})
        with pytest.raises(GeometryError, match="does not hold a training"):
            trainer(ring(), tmp_path / "state").fit()


def test_a_loss_that_is_not_finite_keeps_the_batch_and_the_best_weights(tmp_path):
    """A sample so far out that its square overflows single precision is drawn sooner or later."""
    made = trainer(ring(), tmp_path / "state", steps=20)
    made.fit(lambda steps: list(steps)[:10])
    good = {name: tensor.clone() for name, tensor in made.best.items()}
    made = trainer(ring(), tmp_path / "state", steps=20)
    made._load()
    made.x = made.x * 1e30
    made._save()
    result = made.fit()
    assert result.message == "stopped: the loss was not finite in step 11"
    assert read(tmp_path / "not_finite.safetensors", "batch")[1]["y"].shape == (SETTINGS.batch, 2)
    for name, parameter in made.network.named_parameters():
        assert torch.equal(parameter, good[name].double())


def test_too_few_samples_are_refused():
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)).double()
    with pytest.raises(GeometryError, match=r"7 effective samples \(of 7\) are too few .* at least 8"):
        principal_directions(x, torch.ones(7).double())


def test_weights_on_few_samples_are_too_few():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.full((500,), 1e-9).double()
    weights[:5] = 1
    with pytest.raises(GeometryError, match=r"5 effective samples \(of 500\)"):
        principal_directions(x, weights)


def test_mixed_precision_trains():
    """bfloat16 has three digits: the loss falls all the same, if not as fast."""
    assert trainer(ring(), steps=60, learning_rate=0.02, chord_weight=0.0, mixed_precision=True).fit().best_loss < 0.99
