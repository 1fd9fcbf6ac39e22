"""What `run.json` says of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.strategies import run_config, write_prepared
from voxflate.config.build import build_gan, build_run_networks
from voxflate.gans.ema import Ema
from voxflate.gans.state import TrainingState
from voxflate.nn.fused import build
from voxflate.runs.facts import read_facts, write_facts


def test_a_run_on_a_gpu_builds_no_kernels_and_says_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = write_prepared(tmp_path / "data")
    config = run_config(prepared)
    gan = build_gan(config, build_run_networks(config))
    state = TrainingState(gan, Ema(gan.generator, 0.05))
    gan.device = torch.device("cuda:0")
    monkeypatch.setattr(build, "kernels", lambda: pytest.fail("built"))
    (tmp_path / "run").mkdir()
    write_facts(config, tmp_path / "run", prepared, state)
    facts = read_facts(tmp_path / "run")
    assert (facts["device"], facts["kernels"]) == ("cuda:0", "plain")
    assert facts["sessions"][0]["kernels"] == "plain"
