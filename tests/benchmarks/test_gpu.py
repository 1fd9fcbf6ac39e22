"""The script for a GPU, rehearsed on the CPU."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from benchmarks import gpu, gpu_checks, gpu_steps, gpu_training
from benchmarks.compiled import angle, apart
from benchmarks.gpu_session import KINDS, SMALL, Kind, Session, failures
from benchmarks.straight import StraightDiscriminator, StraightGenerator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.evaluation.test_suite import a_set
from tests.strategies import run_config
from voxflate._system.errors import VoxflateError
from voxflate.config.toml import with_values
from voxflate.gans.compiled import DEFAULT, OFF
from voxflate.nn import Discriminator, Generator
from voxflate.nn.draws import Draws
from voxflate.nn.run_stage import use_kernels
from voxflate.runs.log import read_rows
from voxflate.training.guard import Guard
from voxflate.training.run import train_run

CPU = torch.device("cpu")
TINY = Kind(SMALL._replace(stages=2, channels=4))


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(CPU, tmp_path, tmp_path, 540.0, time.monotonic() + 540, True)


@pytest.fixture(autouse=True)
def _plain_kernels() -> Any:
    use_kernels("plain")
    yield
    use_kernels("auto")


def test_without_a_gpu_it_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="gpu: PyTorch sees no CUDA device; --rehearse"):
        gpu.main()
    assert not (tmp_path / "out").exists()


class Mixed(TorchDispatchMode):
    """Notes operations with tensors of two devices; scalars on the CPU are allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, given)) if isinstance(x, torch.Tensor) and x.dim()]
        if len({x.device.type for x in tensors}) > 1:
            self.found[str(func)] += 1
        return given


def test_the_straight_lift_stays_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none of "meta"
    generator, discriminator = (network((1, 2, 2), 3, 8).to("meta") for network in (Generator, Discriminator))
    with Mixed() as mixed:
        images = StraightGenerator(generator)(torch.empty(4, 64, device="meta"))
        StraightDiscriminator(discriminator)(images).sum().backward()
    assert images.device.type == "meta"
    assert mixed.found == Counter()


def test_a_part_that_fails_keeps_its_results_and_the_next_one_runs(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Session) -> Any:
        yield "whole", {"speed": 1 / 3, "apart": math.inf}
        assert json.loads((session.out / "gpu.json").read_text())["half"]["whole"]["speed"] == 0.3333
        raise ValueError("the rest")

    def measured(_: Session, job: gpu_steps.Job) -> dict[str, Any]:
        if job.variant == "straight":
            raise RuntimeError("integer out of range")
        if job.name.endswith("slices"):
            raise torch.cuda.OutOfMemoryError
        return {"images_per_s": 1.0, "flops_per_s": 5.0}

    monkeypatch.setattr(gpu_steps, "measured", measured)
    monkeypatch.setattr(gpu_steps, "measured_alone", measured)
    session.results["ceilings"] = {"flops_per_s_tf32": 10.0}
    gpu.run(session, "half", half)
    gpu.run(session, "steps", gpu_steps.steps)
    found = json.loads((session.out / "gpu.json").read_text())
    assert found["half"]["whole"] == {"speed": 0.3333, "apart": "inf"}
    assert found["half"]["failed"].startswith("ValueError: the rest (test_gpu.py:")
    assert found["steps"][SMALL.name] == {"images_per_s": 1.0, "flops_per_s": 5.0, "share_of_flops": 0.5}
    assert found["steps"][f"{SMALL.name}, slices"] == {"fits": False}
    assert "integer out of range" in found["steps"][f"{SMALL.name}, straight lift"]["failed"]
    assert f"{SMALL.name}, alone" in found["steps"]
    assert failures(found) == ["half", f"steps, {SMALL.name}, straight lift"]


def test_the_exit_status_says_that_a_check_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"one": gpu.Part(lambda _: iter([("x", {"failed": "why"})])), "two": gpu.Part(lambda _: iter([]))}
    monkeypatch.setattr(gpu, "PARTS", parts)
    prepared = a_set(tmp_path / "set", 4, 4)
    words = ["gpu", str(prepared.root), "--rehearse", "--out", str(tmp_path / "out"), "--only"]
    monkeypatch.setattr(sys, "argv", [*words, "two"])
    gpu.main()
    monkeypatch.setattr(sys, "argv", [*words[:-2], str(tmp_path / "other"), "--only", "one", "two"])
    with pytest.raises(SystemExit, match="gpu: failed: one, x"):
        gpu.main()
    assert json.loads((tmp_path / "other" / "gpu.json").read_text()).keys() == {"machine", "one", "two"}


def test_parts_keep_time_for_those_after_them(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(gpu.PARTS)[3:] == ["steps", "sampling", "compiled", "training"]
    session.toy, session.kept = False, 100.0
    session.ends = time.monotonic() + 120
    assert session.has_time()
    assert session.has_time(15)
    assert not session.has_time(30)  # as long as the first compiling is expected to take, and more
    monkeypatch.setattr(gpu_steps, "compiled_as", lambda *_: {"images_per_s": 1.0})
    assert [name for name, _ in gpu_steps.compiled(session)] == [
        f"{gpu_steps.ROUNDED[0].case.name}, {OFF}",
        "left_out",
    ]
    session.ends = time.monotonic() + 90
    assert [name for name, _ in gpu_steps.steps(session)] == ["left_out"]


def test_the_smallest_steps_come_first_and_the_largest_are_alone(session: Session) -> None:
    session.toy = False
    jobs = list(gpu_steps.jobs(session))
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    batches = [job.kind.case.batch for job in jobs]
    assert batches == sorted(batches)
    assert [job.name for job in jobs if job.alone] == names[-4:]  # 64x64x64 and 32x128x128, batch 128
    assert {job.kind.case.shape for job in jobs if job.variant == "straight"} == {
        (32, 64, 64),
        (64, 64, 64),
        (32, 128, 128),
    }
    assert any(job.kind.values.get("slice_discriminator.weight") for job in jobs)


def test_a_step_is_measured_with_the_settings_of_a_training(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, bool]] = []
    monkeypatch.setattr(gpu_steps, "use_gpu", lambda device, **how: asked.append(how))
    found = gpu_steps.measured(session, gpu_steps.Job("tiny", TINY))
    assert asked == [{"tf32": True, "autotune": True}]
    assert found.keys() == {"images_per_s", "step_ms", "with_r1_ms", "flops_per_s", "bytes_per_s"}
    # Gradients are compared exactly without TF32; speeds are those with it.
    for kind in (gpu_steps.EXACT, gpu_steps.ROUNDED[1]):
        monkeypatch.setattr(gpu_steps, "compiled_step", lambda *_: ({}, {"g": [torch.ones(2)]}))
        monkeypatch.setattr(Kind, "gan", lambda *_: None)
        gpu_steps.compiled_as(session, kind, OFF, {})
    assert [how["tf32"] for how in asked[1:]] == [False, True]


def test_one_gradient_that_is_off_is_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, calls = gpu_checks.gradients, []

    def off(*given: Any) -> Any:
        found = exact(*given)
        calls.append(given)
        if len(calls) == 4:  # the device's of the second kind of step
            (tensors,) = found.values()
            tensors[3].view(-1)[0] += 1e-3 * tensors[3].abs().max()
        return found

    monkeypatch.setattr(gpu_checks, "gradients", off)
    found = gpu_checks.agreement_of(session, TINY)
    assert found["g"] == found["r1"] == 0
    assert found["d"] == pytest.approx(1e-3, rel=0.01)
    assert "by more than 0.0001" in found["failed"]


def test_gradients_are_compared_with_the_largest_of_their_tensor_or_network() -> None:
    known = {"d": [torch.tensor([1.0, 2.0]), torch.tensor([1e-9])], "g": [torch.tensor([1e-9])]}
    noisy = {"d": [torch.tensor([1.0, 2.0]), torch.tensor([2e-9])], "g": [torch.tensor([1e-9])]}
    assert apart(noisy, known) < 1e-6  # rounding beside gradients of 2
    assert apart(known | {"g": [torch.tensor([1.1e-9])]}, known) == pytest.approx(0.1, rel=1e-3)
    assert apart(known | {"g": [torch.tensor([math.nan])]}, known) == math.inf
    assert angle(noisy, known) == pytest.approx(1)


def test_a_compiled_step_with_other_gradients_fails_and_keeps_its_speed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.linspace(1, 2, 9)
    seen = iter([plain, plain * (1 + 2e-3), plain, plain * (1 + 2e-3), plain.flip(0) * torch.tensor([-1.0])])
    monkeypatch.setattr(
        gpu_steps, "compiled_step", lambda *_: ({"images_per_s": 5.0}, {"generator": [next(seen)]})
    )
    found, rounded = [], []
    known: dict[str, Any] = {}
    for mode in (OFF, DEFAULT):
        found.append(gpu_steps.compiled_as(session, gpu_steps.EXACT, mode, known))
    assert "failed" not in found[0]
    assert found[1]["images_per_s"] == 5.0
    assert "by more than 0.001" in found[1]["failed"]
    known = {}
    monkeypatch.setattr(Kind, "gan", lambda *_: None)
    for mode in (OFF, DEFAULT, DEFAULT):
        rounded.append(gpu_steps.compiled_as(session, gpu_steps.ROUNDED[0], mode, known))
    assert ["failed" in one for one in rounded] == [False, False, True]


def test_a_step_that_does_more_for_more_images_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_checks.work_of_batches(session, TINY)["batch 4"]["operations"] > 100
    exact = gpu_checks.take_all

    def one_by_one(gan: Any, shown: Any) -> None:
        exact(gan, shown)
        for image in shown.reals:
            image.sum()

    monkeypatch.setattr(gpu_checks, "take_all", one_by_one)
    with pytest.raises(VoxflateError, match=r"operations differ by Counter\({'sum': 4}\)"):
        gpu_checks.work_of_batches(session, TINY)
    monkeypatch.setattr(gpu_checks, "take_all", exact)
    monkeypatch.setattr(gpu_checks, "launches", lambda _, __, shown: 100 * len(shown.reals))
    with pytest.raises(VoxflateError, match="launches more kernels"):
        gpu_checks.work_of_batches(session, TINY)


def test_a_step_that_waits_is_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU by PyTorch; here a stand-in refuses in its place."""
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(gpu_checks, "Guard", lambda state: Guard(state, every=16))
    assert gpu_checks.waits(session, TINY) == {"passed": True}
    assert modes == ["default", "default"] * 2 + ["error", "default"]
    send = gpu_checks.send

    def refuse(*given: Any) -> torch.Tensor:
        if modes[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        return send(*given)

    monkeypatch.setattr(gpu_checks, "send", refuse)
    with pytest.raises(RuntimeError, match="synchronizing"):
        gpu_checks.waits(session, TINY)
    assert modes[-1] == "default"


def test_checks_of_a_step_refuse_what_is_wrong(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "volumes", TINY)
    monkeypatch.setitem(KINDS, "volumes with slices", TINY)
    assert gpu_checks.random_numbers(session) == {"uniform": 0, "normal": 0}
    assert gpu_checks.nan_gradient(session) == {"passed": True}
    assert gpu_checks.snapshot(session)["loss_apart"] == 0
    with monkeypatch.context() as patch:
        patch.setattr(gpu_checks, "Draws", lambda n, name, *_, **__: Draws(n, CPU, [int(name == "cpu")] * n))
        with pytest.raises(VoxflateError, match="uniform numbers differ"):
            gpu_checks.random_numbers(session)
    with monkeypatch.context() as patch:
        patch.setattr(Guard, "_skip_bad_step", lambda *_: None)
        with pytest.raises(
            VoxflateError, match=r"with a NaN gradient moves \['generator', 'discriminator'\]"
        ):
            gpu_checks.nan_gradient(session)
    with monkeypatch.context() as patch:
        patch.setattr(Guard, "_note", lambda *_: None)
        with pytest.raises(VoxflateError, match="the guard did not see"):
            gpu_checks.nan_gradient(session)
    with monkeypatch.context() as patch:
        patch.setattr(
            gpu_checks, "load_newest", lambda run: (gpu_checks.state_of(TINY.gan(CPU)).state_dict(),)
        )
        with pytest.raises(VoxflateError, match="differs after loading"):
            gpu_checks.snapshot(session)


class Timer:
    """Stands for a timer: the test says when its time has come."""

    def __init__(self, seconds: float, function: Any) -> None:
        self.ring = function

    def start(self) -> None:
        Timer.last = self

    def cancel(self) -> None:
        pass


def test_what_is_measured_at_the_end_is_the_state_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"training.snapshot_kimg": 10.0, "evaluation.every": 0, "evaluation.samples": 4}
    config = with_values(run_config(a_set(tmp_path / "set", 8, 4), training__kimg=60.0), values)
    run = tmp_path / "run"

    def stopped_after_three_steps(config: Any, run: Path, **options: Any) -> None:
        train_run(config, run, on_progress=lambda at: at.n_images < 12 or Timer.last.ring(), **options)

    monkeypatch.setattr(gpu_training.threading, "Timer", Timer)
    monkeypatch.setattr(gpu_training, "train_run", stopped_after_three_steps)
    assert gpu_training.trained(config, run, 5.0) == gpu_training.images_shown(run) == 12
    assert not read_rows(run / "metrics.jsonl")
    monkeypatch.setattr(gpu_training, "train_run", train_run)
    assert gpu_training.metrics_at_the_end(config, run)["n_images"] == 12
    assert (run / "sheets" / "kimg-000000.012.png").is_file()
    assert gpu_training.images_shown(run) == 12


def test_the_versions_of_what_computes_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(total_memory=2**37)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H200")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="570.1\n570.1\n"))
    expected = {"card": "H200, CUDA 12.8, cuDNN 91002", "memory_gib": 128.0, "driver": "570.1"}
    assert gpu.facts_of(torch.device("cuda:0")) == expected

    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert gpu.facts_of(torch.device("cuda:0")) == expected | {"driver": ""}
    assert gpu.facts_of(CPU) == {}


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
    assert list(found) == ["machine", *gpu.PARTS]
    assert found["checks"]["a NaN gradient moves no weight"]["passed"]
    assert found["agreement"].keys() == {*KINDS, "took_s"}
    case = gpu_steps.EXACT.case
    assert found["compiled"][f"{case.name}, default"]["gradients_apart"] < 1e-4
    assert "need a GPU" in found["compiled"][f"{case.name}, graphs"]["left_out"]
    for name in ("", ", slices", ", straight lift", ", alone"):
        assert found["steps"][SMALL.name + name]["images_per_s"] > 0
    assert (out / found["training"]["sheet"]).is_file()
    assert found["training"]["metrics"]["n_images"] == found["training"]["images_3d"]
    assert (out / "generator" / "generator.safetensors").is_file()
