"""The check of the planner's predictions."""

from __future__ import annotations

import pytest
from benchmarks.plan_check import CASES, QUICK, compared, line, settings, table

from voxflate.config.toml import from_values
from voxflate.training.planner import Machine, Measured


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_the_shape_of_its_name(name: str) -> None:
    config = settings(name)
    assert "x".join(map(str, config.network.shape)) == name.split("-")[0]
    assert config.training.mbstd_group == config.training.batch
    assert config.training.activation_checkpointing == ("checkpointed" in name or "128" in name)


@pytest.mark.parametrize("name", ["32x64x64", "64x64x64", "96x96x96"])
def test_what_is_recommended_for_a_shape_is_checked(name: str) -> None:
    config = settings(name)
    shape = {"network.base": config.network.base, "network.stages": config.network.stages}
    assert config == from_values(shape)
    assert config.training.batch == 4
    assert config.slice_discriminator.weight > 0


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
    machine = Machine("cpu", seconds_per_voxel=1 / voxels, gib_per_voxel=0.125 / voxels, gib_at_rest=0.5)
    row = compared("64x64x64", machine, Measured("cpu", seconds, gib))
    assert line("64x64x64", row) == f"64x64x64, batch 4: {words}"
    cells = table({"cases": {"64x64x64": row}}).splitlines()[2].split(" | ")
    assert cells[0] == "| 64x64x64, batch 4"
    assert [words.split()[0], words.split(": ")[-1]] == [cells[1], cells[-1].removesuffix(" |")]
    assert [cells[3], cells[4]] == [f"{gib:.2f}", words.split("GiB, predicted ")[1].split(":")[0]]


def test_large_cases_are_measured_on_request_alone() -> None:
    assert {"32x64x64", "64x64x64"} <= set(QUICK) < set(CASES)
    assert all(max(settings(name).network.shape) == 64 for name in QUICK)
