import pytest
import torch

from voxflate._system.errors import VoxflateError
from voxflate.config.build import choose_device, least_content
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_a_gpu_and_a_number_must_be_there() -> None:
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(VoxflateError, match=r"cuda:2: PyTorch sees 2 CUDA devices, counted from 0; use cpu"):
        choose_device("cuda:2")


def test_without_a_gpu_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "cuda:99"):
        with pytest.raises(VoxflateError, match=f"{name}: PyTorch sees no CUDA device"):
            choose_device(name)


def test_a_planar_twin_is_compared_with_the_slices_that_it_learns() -> None:
    """It learns every position; settings of earlier runs name a content that only plain twins heed."""
    values = {"training.phase": "2d", "training.min_content": 0.02}
    plain = with_values(RunConfig(), values)
    planar = with_values(plain, {"training.twin": "planar", "network.position": True})
    assert (least_content(plain), least_content(planar)) == (0.02, 0.0)
