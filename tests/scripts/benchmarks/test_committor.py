"""The committor section of the benchmark of dynamics: its figures are those of the job."""

import numpy as np
import pytest


@pytest.fixture
def job(monkeypatch, script):
    """The script, with a job that measures nothing: four frames, one of them undecided."""
    module = script("committor")
    asked = {}

    def committors(output, **settings):
        asked.update(settings, output=output)
        rows = [{"predicted": 0.5, "p_b": p_b} for p_b in (0.45, 0.55, 1.0, None)]
        test = {"frames": 3, "mean": 0.667, "mean_error": 0.17, "observed_variance": 0.09, "standard_deviation": 0.28}
        outcomes = {"A": 9, "B": 18, "none": 2, "failed": 1}
        return {
            "frames": rows,
            "outcomes": outcomes,
            "histogram": test,
            "transition_states": [0, 1],
            "evaluations": 12345,
        }

    monkeypatch.setattr(module, "committors", committors)
    return module, asked


def test_section(job, tmp_path):
    module, asked = job
    figures = module.section(tmp_path, 7, module.Effort(frames=4, shots=25))
    assert asked == {
        "output": tmp_path,
        "count": 4,
        "shots": 25,
        "band": (0.4, 0.6),
        "seed": 7,
        "overwrite": True,
    }
    assert sum(figures["histogram"]) == 3
    assert np.flatnonzero(figures["histogram"]).tolist() == [4, 6, 10]
    assert (figures["undecided"], figures["frames"], figures["transition_states"]) == (3, 4, 2)
    assert figures["counting_noise"] == pytest.approx(0.1)


def test_table(job, tmp_path, capsys):
    module, _ = job
    module.print_tables([module.section(tmp_path, 7, module.Effort(frames=4, shots=25))])
    lines = capsys.readouterr().out.splitlines()
    assert len({line.count("|") for line in lines[:3]}) == 1
    assert "| 7 | 4 × 25 | 0.500 | 0.667 ± 0.170 | 0.280 (observed 0.300) | 0.100 | 12,345 |" in lines
    assert lines[-1].endswith("seed 7: 0 0 0 0 1 0 1 0 0 0 1")
