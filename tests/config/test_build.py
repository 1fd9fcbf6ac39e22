from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.strategies import run_config
from voxflate._system.errors import VoxflateError
from voxflate.config.build import (
    build_gan,
    build_run_networks,
    choose_device,
    least_content,
    use_bfloat16,
)
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.gans.settings import Settings, SliceSettings


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


def test_bfloat16_is_taken_where_the_run_s_own_gpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch also counts GPUs that emulate it, and asks the current one."""
    generations = {"cuda:0": 7, "cuda:1": 8, "cuda:2": 9, "cuda": 9}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=generations[str(device)])
    )
    assert {name: use_bfloat16("auto", torch.device(name)) for name in generations} == {
        "cuda:0": False,
        "cuda:1": True,
        "cuda:2": True,
        "cuda": True,
    }
    assert use_bfloat16("bf16", torch.device("cuda:0"))
    assert not use_bfloat16("fp32", torch.device("cuda:1"))


def test_a_planar_twin_is_compared_with_the_slices_that_it_learns() -> None:
    """It learns every position; settings of earlier runs name a content that only plain twins heed."""
    values = {"training.phase": "2d", "training.min_content": 0.02}
    plain = with_values(RunConfig(), values)
    planar = with_values(plain, {"training.twin": "planar", "network.position": True})
    assert (least_content(plain), least_content(planar)) == (0.02, 0.0)


def test_every_setting_of_the_steps_arrives_with_its_value(tmp_path: Path) -> None:
    """All values differ, so that no setting can stand for another one."""
    values = {
        "training__lr_g": 0.11,
        "training__lr_d": 0.12,
        "training__r1_gamma": 0.13,
        "training__r1_every": 3,
        "training__augment": "translation,cutout",
        "training__augment_p": 0.14,
        "training__reuse_fakes": True,
        "training__train_noise": False,
        "training__batch": 24,
        "training__micro_batch": 12,
        "training__seed": 5,
        "comparison__beta1": 0.15,
        "comparison__beta2": 0.16,
        "comparison__critic_steps": 4,
        "comparison__gp_lambda": 17.0,
        "comparison__reconstruction": 18.0,
        "comparison__kl": 19.0,
        "slice_discriminator__weight": 2.5,
        "slice_discriminator__per_volume": 2,
        "slice_discriminator__side": 32,
        "slice_discriminator__lr_s": 0.2,
        "slice_discriminator__ramp_kimg": 0.007,
        "slice_discriminator__channels": "grey",
        "slice_discriminator__features": "random",
        "training__mbstd_group": 6,
    }
    config = run_config(tmp_path, **values)
    assert build_gan(config, build_run_networks(config)).settings == Settings(
        lr_g=0.11,
        lr_d=0.12,
        r1_gamma=0.13,
        r1_every=3,
        augmentations=("translation", "cutout"),
        augment_p=0.14,
        reuse_fakes=True,
        train_noise=False,
        micro_batch=12,
        seed=5,
        betas=(0.15, 0.16),
        critic_steps=4,
        gp_lambda=17.0,
        reconstruction=18.0,
        kl=19.0,
        slices=SliceSettings(
            weight=2.5,
            per_volume=2,
            side=32,
            lr=0.2,
            ramp_images=7,
            channels="grey",
            group=6,
            features="random",
        ),
    )
