"""What a GPU is asked to do, on stand-ins: its settings, transfers, and which process uses which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from voxflate._system.devices import exact_float32, send, use_gpu
from voxflate._system.distributed import joined_world


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What PyTorch was asked to set; nothing is set."""
    found: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", found.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    return found


def test_settings_of_a_gpu_are_set_on_a_gpu_alone(asked: list[Any]) -> None:
    use_gpu(torch.device("cpu"), tf32=False, autotune=True)
    assert asked == []
    use_gpu(torch.device("cuda:1"), tf32=False, autotune=True)
    assert asked == [torch.device("cuda:1"), "highest"]
    assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32


def test_a_gpu_without_a_number_stays_the_current_one(asked: list[Any]) -> None:
    use_gpu(torch.device("cuda"), tf32=True, autotune=False)  # set_device needs a number
    assert asked == ["high"]
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark


def test_a_block_computes_without_tf32_and_the_settings_come_back(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    with exact_float32(torch.device("cpu")):
        assert asked == []
    with exact_float32(torch.device("cuda:1")):
        assert asked == ["highest"]
        assert not torch.backends.cudnn.allow_tf32
    assert asked == ["highest", "medium"]
    assert torch.backends.cudnn.allow_tf32


class OnTheHost:
    """A tensor that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def pin_memory(self) -> OnTheHost:
        self.asked.append("pin")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> OnTheHost:
        self.asked.append((str(device), non_blocking))
        return self


@pytest.mark.parametrize(
    ("device", "expected"), [("cuda:1", ["pin", ("cuda:1", True)]), ("cpu", [("cpu", False)])]
)
def test_a_gpu_copies_from_pinned_memory_and_is_not_waited_for(device: str, expected: list[Any]) -> None:
    tensor = OnTheHost()
    assert send(tensor, torch.device(device)) is tensor
    assert tensor.asked == expected


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [("auto", 2, [1, "nccl"]), ("cuda", 2, [1, "nccl"]), ("cuda", 1, ["nccl"]), ("auto", 0, ["gloo"])],
)
def test_each_process_takes_its_own_gpu(
    device: str, gpus: int, expected: list[Any], asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    stand_in = SimpleNamespace(
        init_process_group=lambda backend, timeout: asked.append(backend),
        barrier=lambda: None,
        destroy_process_group=lambda: None,
    )
    monkeypatch.setattr(torch, "distributed", stand_in)
    environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    with joined_world(device, environment) as world:
        assert (world.rank, world.local_rank) == (3, 1)
    assert asked == expected
