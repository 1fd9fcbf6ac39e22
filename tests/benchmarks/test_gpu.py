"""The script for a GPU, rehearsed on the CPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import gpu, gpu_steps

from tests.evaluation.test_suite import a_set


def test_without_a_gpu_it_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="gpu: PyTorch sees no CUDA device; --rehearse"):
        gpu.main()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyTorch's own modules
def test_every_part_runs_and_leaves_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = a_set(tmp_path / "set", 16, 4)
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["gpu", str(prepared.root), "--out", str(out), "--minutes", "3", "--rehearse"]
    )
    gpu.main()
    found = json.loads((out / "gpu.json").read_text())
    assert found.keys() == {"machine", *gpu.PARTS}
    assert found["agreement"]["agrees"]
    assert found["compiled"][f"{gpu_steps.COMPILED_TOY.name}, default"]["gradients_apart"] < 1e-4
    assert "need a GPU" in found["compiled"][f"{gpu_steps.COMPILED_TOY.name}, graphs"]["failed"]
    assert found["steps"][gpu_steps.TOY[0].name]["images_per_s"] > 0
    assert (out / found["training"]["sheet"]).is_file()
    assert (out / "generator" / "generator.safetensors").is_file()
