"""The check of the planner's predictions."""

from __future__ import annotations

import pytest
from benchmarks.plan_check import CASES, line, settings

from voxflate.training.planner import Machine, Measured


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_the_shape_of_its_name(name: str) -> None:
    config = settings(name)
    assert "x".join(map(str, config.network.shape)) == name
    assert config.training.mbstd_group == config.training.batch


def test_the_paper_s_larger_networks_are_checked() -> None:
    config = settings("32x128x128")
    assert config.network.channels == 64
    assert config.training.activation_checkpointing


@pytest.mark.parametrize(
    ("seconds", "gib", "words"),
    [
        (1.0, 1.0, "1 images/s, predicted 1 (+0%); 1.00 GiB, predicted 1.00 (+0%): met"),
        (1.3, 1.0, "0.769 images/s, predicted 1 (+30%); 1.00 GiB, predicted 1.00 (+0%): missed"),
        (1.0, 1.25, "1 images/s, predicted 1 (+0%); 1.25 GiB, predicted 1.00 (-20%): missed"),
    ],
)
def test_a_line_tells_whether_the_aims_are_met(seconds: float, gib: float, words: str) -> None:
    voxels = 64**3
    machine = Machine("cpu", seconds_per_voxel=1 / voxels, gib_per_voxel=0.5 / voxels, gib_at_rest=0.5)
    assert line("64x64x64", machine, Measured("cpu", seconds, gib)) == f"64x64x64, batch 1: {words}"
