"""Denoisers are loaded by the kind that their file says."""

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import FreeRotations, GaussianMixtureDenoiser, PotentialDenoiser, VonMisesMixtureDenoiser
from spacetime_tps.denoisers.files import load_denoiser, write
from spacetime_tps.denoisers.potential import build_network
from spacetime_tps.errors import GeometryError

MIXTURE = GaussianMixtureDenoiser([0.3, 0.7], [[0.0, 1.0], [2.0, 0.0]], np.tile(np.eye(2), (2, 1, 1)))
CONSTANTS = {name: torch.ones(2).double() for name in ("mean", "variances")} | {"axes": torch.eye(2).double()}
NETWORK = build_network("perceptron", CONSTANTS, (-2.0, 3.0), 8, 2).double()
DENOISERS = [
    MIXTURE,
    VonMisesMixtureDenoiser(*(torch.tensor(v).double() for v in ([1.0], [[0.4]], [[3.0]]))),
    PotentialDenoiser(FreeRotations(MIXTURE), NETWORK, (-2.0, 3.0)),
]


@pytest.mark.parametrize("denoiser", DENOISERS, ids=lambda denoiser: type(denoiser).__name__)
def test_whatever_is_saved_is_loaded(denoiser, tmp_path):
    denoiser.save(tmp_path / "denoiser.safetensors", {"system": "toy"})
    loaded, description = load_denoiser(tmp_path / "denoiser.safetensors")
    assert type(loaded) is type(denoiser)
    assert description["system"] == "toy"
    y, log_snr = torch.tensor([[0.3, -0.8]]).double(), torch.tensor([0.5]).double()
    torch.testing.assert_close(loaded.moments(y, log_snr).mean, denoiser.moments(y, log_snr).mean)


def test_other_files_are_refused(tmp_path):
    write(tmp_path / "other.safetensors", "training", {"x": torch.zeros(1)}, {})
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("other", "text", "absent"):
        with pytest.raises(GeometryError, match=f"{name}.safetensors is not a readable denoiser"):
            load_denoiser(tmp_path / f"{name}.safetensors")
