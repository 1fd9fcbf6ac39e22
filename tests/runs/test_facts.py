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
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91500)
    (tmp_path / "run").mkdir()
    write_facts(config, tmp_path / "run", prepared, state)
    facts = read_facts(tmp_path / "run")
    assert (facts["device"], facts["kernels"]) == ("cuda:0", "plain")
    assert facts["sessions"][0]["kernels"] == "plain"
    assert facts["gpu"] == facts["sessions"][0]["gpu"] == "card of cuda:0, CUDA 12.8, cuDNN 91500"


def test_a_run_on_a_cpu_names_no_gpu(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "data")
    config = run_config(prepared)
    gan = build_gan(config, build_run_networks(config))
    (tmp_path / "run").mkdir()
    write_facts(config, tmp_path / "run", prepared, TrainingState(gan, Ema(gan.generator, 0.05)))
    assert "gpu" not in read_facts(tmp_path / "run")
