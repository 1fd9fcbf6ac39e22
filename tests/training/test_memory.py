"""A training, an evaluation and a generation that run out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import voxflate
from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.gans.gan import Gan
from voxflate.nn import Generator
from voxflate.reports.audited import audit_source
from voxflate.reports.evaluations import Place
from voxflate.reports.measure import Sampling
from voxflate.runs.load import open_source
from voxflate.sampling.generate import generate
from voxflate.training import memory
from voxflate.training.run import train_run

FULL = RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: ...")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


def full(*_: object, **__: object) -> None:
    raise FULL


def out_of_memory_on_the_gpu(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize("step", [full, out_of_memory_on_the_gpu])
def test_a_training_names_what_takes_memory_and_what_the_plan_predicts(
    step: object, prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gan, "step", step)
    monkeypatch.setattr(memory, "predicted_gib", lambda config: 16.8)
    with pytest.raises(VoxflateError, match=r"^out of memory: training on 4x8x8 voxels") as caught:
        train_run(run_config(prepared), tmp_path / "run")
    line = str(caught.value)
    assert "training.batch = 4, training.micro_batch = 0, training.activation_checkpointing = false" in line
    assert "for which the plan predicts 16.8 GiB" in line
    assert "try --set training.activation_checkpointing=true, --set training.micro_batch=2, a smaller" in line
    assert "\n" not in line
    monkeypatch.undo()
    assert train_run(run_config(prepared), tmp_path / "run", resume=True) is None  # nothing is spoilt


def test_what_is_tried_already_is_not_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "predicted_gib", lambda config: None)
    config = run_config(
        Path("set"),
        training__batch=1,
        training__mbstd_group=1,
        training__activation_checkpointing=True,
        training__phase="2d",
    )
    line = memory.advice(config)
    assert "training on 8x8 voxels" in line
    assert "predicts" not in line
    assert line.endswith("; try a smaller network.channels, or a smaller shape (voxflate prepare --plan)")


def test_only_settings_that_the_model_allows_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "predicted_gib", lambda config: None)
    whole = run_config(Path("set"), training__mbstd_group=4)  # the batch is one group
    assert "micro_batch=2" not in memory.advice(whole)
    assert "; try --set training.activation_checkpointing=true, a smaller training.batch" in memory.advice(
        whole
    )
    parts = run_config(Path("set"), training__batch=12, training__mbstd_group=4)
    assert "--set training.micro_batch=4," in memory.advice(parts)
    sides = {"network__base": (4, 4, 4), "network__stages": 3, "network__channels": 8}
    comparison = run_config(Path("set"), model="wgan-gp", **sides)
    assert "; try a smaller training.batch, or a smaller shape" in memory.advice(comparison)
    assert memory.checkpointed_machine(comparison) is None
    assert (
        memory.checkpointed_machine(run_config(Path("set"), training__activation_checkpointing=True)) is None
    )


@pytest.mark.slow
def test_the_prediction_is_measured_by_another_process() -> None:
    config = run_config(Path("set"))
    found = memory.predicted_gib(config)
    assert found is not None
    assert 0.05 < found < 20
    assert memory.predicted_gib(run_config(Path("set"), training__phase="2d")) is None


def test_generation_and_audit_name_the_batch(
    prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run(run_config(prepared, training__kimg=0.004), tmp_path / "run")
    generator = voxflate.load(tmp_path / "run")
    monkeypatch.setattr(Generator, "forward", full)
    with pytest.raises(VoxflateError, match="out of memory: volumes of 4x8x8 voxels, 5 at a time; lower"):
        generate(tmp_path / "run", 7, out=tmp_path / "new", batch=5)
    assert not (tmp_path / "new").exists()
    with pytest.raises(VoxflateError, match="out of memory: volumes of 4x8x8 voxels, 5 at a time; lower"):
        generator.sample(7, batch=5)
    source = open_source(tmp_path / "run", scans=True)
    with pytest.raises(VoxflateError, match="out of memory: samples of 4x8x8 voxels, 3 at a time"):
        audit_source(source, Place(tmp_path / "out", None), Sampling(batch=3))
