"""The prediction of a training's memory and speed."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from types import SimpleNamespace

import pytest
import torch

from voxflate._system.devices import peak_gib
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.gans.gan import Gan, Shown, Step
from voxflate.training import planner
from voxflate.training.planner import Machine, Measured, measure_machine, predict

GIB = 2**30
LARGE = {
    "network.base": [4, 4, 4],
    "network.stages": 6,
    "training.reuse_fakes": False,
    "slice_discriminator.weight": 0,
}


def test_a_cost_with_a_fixed_part_is_predicted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def measured(config: RunConfig, rounds: int) -> Measured:
        seen.append(config)
        voxels = prod(config.network.shape)
        return Measured("cpu", 0.03 + 2e-5 * voxels, 0.4 + 2e-6 * voxels * config.training.batch, 0.4)

    monkeypatch.setattr(planner, "measure_shape", measured)
    settings = {"training.batch": 8, "training.micro_batch": 4, "network.channels": 64}
    config = with_values(RunConfig(), {**LARGE, **settings, "training.activation_checkpointing": True})
    gib, speed = predict(config, measure_machine(config))
    voxels = 128**3
    assert speed == pytest.approx(1 / (0.03 + 2e-5 * voxels))
    assert gib == pytest.approx(0.4 + 2e-6 * voxels * 4 + 4 * voxels * 4 / GIB)  # 4 waiting images, 4 bytes
    assert {one.training.batch for one in seen} == {4}
    assert all(one.training.activation_checkpointing and one.network.channels == 64 for one in seen)
    assert len({one.network.shape for one in seen}) == 2


@pytest.mark.parametrize(
    ("batch", "micro_batch", "group", "images"),
    [
        (8, 0, 4, 4),
        (8, 4, 4, 4),
        (128, 0, 4, 4),
        (128, 32, 16, 16),
        (2, 0, 4, 2),
        (12, 0, 3, 3),
        (8, 1, 1, 1),
    ],
)
def test_a_large_batch_is_measured_by_a_few_images(
    batch: int, micro_batch: int, group: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def measured(config: RunConfig, rounds: int) -> Measured:
        seen.append(config.training.batch)
        return Measured("cpu", 1.0, 1e-6 * prod(config.network.shape) * config.training.batch)

    monkeypatch.setattr(planner, "measure_shape", measured)
    values = {"batch": batch, "micro_batch": micro_batch, "mbstd_group": group}
    config = with_values(RunConfig(), {f"training.{key}": value for key, value in values.items()})
    assert measure_machine(config).gib_per_voxel == pytest.approx(1e-6)
    assert set(seen) == {images}


def test_a_gpu_is_measured_with_the_settings_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(planner, "use_gpu", lambda device, **values: asked.append((str(device), values)))
    monkeypatch.setattr(Gan, "step", lambda *given, **values: asked.append("step"))
    small = {"network.base": [1, 1, 1], "network.stages": 2, "network.channels": 4}
    settings = {"training.device": "cpu", "training.tf32": False, "training.autotune": False}
    planner.measure_shape(with_values(RunConfig(), {**LARGE, **small, **settings}), rounds=1)
    assert asked[:2] == [("cpu", {"tf32": False, "autotune": False}), "step"]


@pytest.mark.parametrize("stages", [5, 6])
def test_the_memory_of_the_slices_does_not_hide_that_of_the_volumes(
    stages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At small shapes the peak is that of the slice discriminator: 0.57 GiB at 16^3, 0.64 at 32^3."""

    def peak(voxels: int) -> float:
        return max(0.55 + 2.5e-6 * voxels, 0.4 + 6.2e-6 * voxels)

    def measured(config: RunConfig, rounds: int) -> Measured:
        return Measured("cpu", 1.0, peak(prod(config.network.shape)), 0.4)

    monkeypatch.setattr(planner, "measure_shape", measured)
    config = with_values(RunConfig(), {"network.base": [3, 3, 3], "network.stages": stages})
    assert predict(config, measure_machine(config))[0] == pytest.approx(peak(prod(config.network.shape)))


def test_a_slow_machine_measures_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    taken: list[int] = []

    def take(gan: Gan, step: Step, shown: Shown) -> dict[str, torch.Tensor]:
        clock.now += 4.0
        taken.append(1)
        return {}

    monkeypatch.setattr(Gan, "take", take)
    monkeypatch.setattr(planner, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    small = {"network.base": [4, 4, 4], "network.stages": 3, "network.channels": 8, "training.batch": 4}
    config = with_values(RunConfig(), {**small, "slice_discriminator.weight": 0, "training.r1_every": 1})
    assert planner.measure_shape(config, rounds=5).seconds == pytest.approx(4.0 * len(taken) / 4)
    assert len(taken) == 3  # the discriminator, R1 and the generator, once


@pytest.mark.parametrize("extra", [{}, {"training.activation_checkpointing": True}])
def test_the_measured_memory_is_predicted(extra: dict[str, object]) -> None:
    """At the larger measured shape itself, whatever the machine."""
    settings = {"network.base": [3, 3, 3], "network.stages": 5, "network.channels": 4, "training.batch": 2}
    config = with_values(RunConfig(), {**settings, "training.mbstd_group": 2, **extra})
    gib, _ = predict(config, measure_machine(config, rounds=1))
    assert gib == pytest.approx(
        peak_gib(torch.device("cpu")), rel=0.01
    )  # the system counts pages with a delay


def test_only_images_computed_at_a_time_and_those_that_wait_count() -> None:
    machine = Machine("cpu", seconds_per_voxel=1e-6, gib_per_voxel=1e-6, gib_at_rest=0.5)

    def gib(**values: object) -> float:
        named = {f"training.{key}": value for key, value in values.items()}
        return predict(with_values(RunConfig(), LARGE | named), machine)[0]

    image = 128**3
    assert gib(batch=8) == pytest.approx(0.5 + 8e-6 * image)
    assert gib(batch=8, micro_batch=128) == gib(batch=8)
    assert gib(batch=128, micro_batch=4) == pytest.approx(0.5 + 4e-6 * image + 124 * 4 * image / GIB)
    reused = gib(batch=128, micro_batch=4, reuse_fakes=True) - gib(batch=128, micro_batch=4)
    assert reused == pytest.approx(124 * 4 * image / GIB)


def test_features_that_wait_for_the_slice_discriminator_s_step_count() -> None:
    """As many values as the judge keeps in a real step."""
    small = {"network.base": [2, 4, 4], "network.stages": 3, "network.channels": 4}
    slices = {"weight": 1, "side": 32, "per_volume": 3, "features": "random", "channels": "grey"}
    values = {"training.batch": 4, "training.mbstd_group": 2, "training.micro_batch": 2}
    config = with_values(
        RunConfig(),
        small | values | {f"slice_discriminator.{key}": value for key, value in slices.items()},
    )
    gan = build_gan(config, build_run_networks(config))
    step = next(step for step in gan.steps if step.name == "s")
    gan.take(gan.steps[0], Shown(torch.rand(4, 1, *config.network.shape), seen=0))
    kept = step.loss.__self__._fakes  # type: ignore[attr-defined]
    values_kept = sum(x.numel() for maps in kept[0] for x in maps)
    without = with_values(config, {"slice_discriminator.weight": 0})
    assert len(kept) == 2
    assert planner.values_waiting(config) - planner.values_waiting(without) == values_kept > 0


@pytest.mark.parametrize(
    ("batch", "micro_batch", "group", "allowed"),
    [
        (4, 0, 4, []),
        (8, 0, 4, [4]),
        (8, 4, 4, []),
        (12, 0, 3, [9, 6, 3]),
        (2, 0, 4, []),
        (1, 0, 1, []),
        (16, 128, 4, [12, 8, 4]),
    ],
)
def test_only_micro_batches_that_the_settings_allow_are_proposed(
    batch: int, micro_batch: int, group: int, allowed: list[int]
) -> None:
    values = {"batch": batch, "micro_batch": micro_batch, "mbstd_group": group}
    config = with_values(RunConfig(), {f"training.{key}": value for key, value in values.items()})
    assert planner.micro_batches(config) == allowed
    for size in allowed:
        with_values(config, {"training.micro_batch": size})
    small = {"model": "wgan-gp", "network.base": [4, 4, 4], "network.stages": 3, "training.batch": 8}
    assert planner.micro_batches(with_values(RunConfig(), small)) == []


def test_memory_fits_with_a_margin_for_the_prediction() -> None:
    machine = Machine("cpu", 1e-6, gib_per_voxel=1e-6, gib_at_rest=0.5, gib_available=10.0)
    assert machine.fits(8.5)
    assert not machine.fits(8.51)


def test_micro_batches_come_before_checkpointing_and_the_largest_that_fits_first() -> None:
    machine = Machine("cpu", 1e-6, gib_per_voxel=1e-6, gib_at_rest=0.5, gib_available=10.0)
    less = Machine("cpu", 1e-6, gib_per_voxel=1e-7, gib_at_rest=0.5)
    config = with_values(RunConfig(), {**LARGE, "training.batch": 16})

    def found(checkpointed: Machine | None, **values: float) -> dict[str, object]:
        return planner.settings_that_fit(config, replace(machine, **values), checkpointed)

    recomputed = {"training.activation_checkpointing": True}
    assert found(less, gib_available=40.0) == {"training.micro_batch": 12}
    assert found(less) == recomputed
    assert found(less, gib_available=11.0) == {"training.micro_batch": 4}
    assert found(less, gib_available=2.0) == {"training.micro_batch": 4, **recomputed}
    assert found(None) == {}
    assert found(less, gib_available=1.0) == {}


def test_the_memory_left_is_that_before_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def left(device: torch.device) -> float:
        done.append(f"left on {device}")
        return 12.5

    def measured(config: RunConfig, rounds: int) -> Measured:
        done.append("measured")
        return Measured("cpu", 1.0, 1.0)

    monkeypatch.setattr(planner, "available_gib", left)
    monkeypatch.setattr(planner, "measure_shape", measured)
    config = with_values(RunConfig(), {"training.device": "cpu"})
    assert measure_machine(config).gib_available == 12.5
    assert done == ["left on cpu", "measured", "measured"]


@pytest.mark.parametrize(
    ("small", "large", "fixed", "slope"),
    [(3.0, 10.0, 2.0, 1.0), (5.0, 5.0, 5.0, 0.0), (5.0, 4.0, 4.0, 0.0), (0.5, 8.0, 0.0, 1.0)],
)
def test_no_part_of_a_cost_is_negative(small: float, large: float, fixed: float, slope: float) -> None:
    assert planner._line((1, 8), (small, large)) == pytest.approx((fixed, slope))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"model": "wgan-gp", "comparison.critic_steps": 5}, 1 + 2 / 5),
        ({"model": "wgan-gp", "comparison.critic_steps": 2}, 1 + 2 / 2),
        ({"model": "wgan-gp", "comparison.critic_steps": 1}, 1 + 2),
        ({"training.r1_every": 16}, 1 + 2 + 8 / 16),
        ({"training.r1_every": 1}, 1 + 2 + 8),
    ],
)
def test_a_step_that_is_not_due_at_every_batch_counts_with_its_share(
    values: dict[str, object], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    costs = {"d": 1.0, "g": 2.0, "r1": 8.0}

    def take(gan: Gan, step: Step, shown: Shown) -> dict[str, torch.Tensor]:
        clock.now += costs[step.name]
        return {}

    monkeypatch.setattr(Gan, "take", take)
    monkeypatch.setattr(planner, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    small = {"network.base": [4, 4, 4], "network.stages": 3, "network.channels": 8, "training.batch": 4}
    settings = {**small, "slice_discriminator.weight": 0, "training.r1_every": 16, **values}
    measured = planner.measure_shape(with_values(RunConfig(), settings), rounds=2)
    assert measured.seconds == pytest.approx(seconds / 4)


@pytest.mark.parametrize(
    "values",
    [
        {"network.label_width": 2, "training.micro_batch": 2, "training.mbstd_group": 2},
        {"model": "wgan-gp", "network.channels": 8},
    ],
)
def test_labelled_networks_and_comparison_models_are_measured(values: dict[str, object]) -> None:
    config = with_values(RunConfig(), {"training.batch": 4, "network.channels": 4, **values})
    machine = measure_machine(config, rounds=1)
    for shape in ((16, 32, 32), (32, 64, 64)):
        assert 0.01 < machine.images_per_second(shape) < 10_000
    assert machine.images_per_second((16, 32, 32)) >= machine.images_per_second((32, 64, 64))
    assert machine.gib((64, 64, 64), 8) >= machine.gib((16, 32, 32), 8) > 0.05
