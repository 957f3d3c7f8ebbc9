"""Files that hold no denoiser are refused; those that do are tested with each denoiser, by ``FileContract``."""

import pytest
import torch

from spacetime_tps.denoisers.files import load_denoiser, write
from spacetime_tps.errors import GeometryError


def test_other_files_are_refused(tmp_path):
    write(tmp_path / "other.safetensors", "training", {"x": torch.zeros(1)}, {})
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("other", "text", "absent"):
        with pytest.raises(GeometryError, match=f"{name}.safetensors is not a readable denoiser"):
            load_denoiser(tmp_path / f"{name}.safetensors")
