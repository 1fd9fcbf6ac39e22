"""Plans the demo: settings and training lengths that fit the given minutes on this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from voxflate._system.cores import available_cores
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values, with_values

PLAN_NAME = "plan.json"
BATCH_2D = 8
PART = 4
"""The other two 3D runs train for a quarter of the recommended one's images, up to its first snapshot. There
all three can be compared."""
SNAPSHOTS_OTHERS = 2
EVALUATED = 96

# Shares of the demo's time. The rest is for the cohort, the measurements and the report.
SHARE_2D, SHARE_3D = 0.2, 0.66

RECOMMENDED = "preserving"
"""The run with the recommended settings. The others have the paper's starts and no slice discriminator."""

STARTS = ("none", "inflate-1", RECOMMENDED)
"""The 3D runs, by strategy."""


@dataclass(frozen=True)
class Plan:
    """The user's options, and what the minutes allow.

    Attributes:
        kimg_2d: Length of the 2D run.
        kimg_3d: Length of the recommended 3D run; the others take a quarter.
        images_per_s_2d: Measured speed of the 2D run.
        images_per_s_3d: Measured speed of the recommended 3D run.
        images_per_s_others: Measured speed of the 3D runs without slices, on all cores.
        threads: CPU threads of a run that runs alone.
        threads_shared: CPU threads of each of two runs side by side.
        minutes: Requested minutes.
        seed: Requested seed of the cohort and of all runs.
    """

    kimg_2d: float
    kimg_3d: float
    images_per_s_2d: float
    images_per_s_3d: float
    images_per_s_others: float
    threads: int
    threads_shared: int
    minutes: float
    seed: int

    @property
    def kimg_others(self) -> float:
        """Length of the 3D runs that are not the recommended one."""
        return self.kimg_3d / PART


def read_plan(out: Path, minutes: float, seed: int) -> Plan | None:
    """The plan of a demo started in this folder; None if there is none.

    Args:
        out: Folder of the demo.
        minutes: Requested minutes.
        seed: Requested seed.

    Raises:
        VoxflateError: If the demo there was started with other values, or the folder has other files.
    """
    path = out / PLAN_NAME
    if not path.exists():
        if out.is_dir() and any(out.iterdir()):
            raise VoxflateError(
                f"{out}: is not empty and has no demo; choose a new or empty folder with --out"
            )
        return None
    try:
        plan = Plan(**read_json(path))
    except TypeError as error:
        raise VoxflateError(f"{path}: was written by another version; choose another --out") from error
    if (plan.minutes, plan.seed) != (minutes, seed):
        raise VoxflateError(
            f"{out}: has a demo with seed {plan.seed}, {plan.minutes:g} minutes; "
            "choose another --out, or give the same values"
        )
    return plan


def make_plan(out: Path, minutes: float, seed: int) -> Plan:
    """Measure this machine's speeds, convert the minutes to images and write the plan.

    Args:
        out: Folder of the demo.
        minutes: Approximate time on two cores.
        seed: Seed of everything.
    """
    cores = available_cores()
    seconds = minutes * 60
    guess = Plan(1.0, 1.0, 0.0, 0.0, 0.0, cores, max(1, cores // 2), minutes, seed)
    base_2d, base_3d = common_settings(guess, "")
    speed_2d = _images_per_second(base_2d) * min(1.0, cores / (2 * guess.threads_shared))
    speed_3d = _images_per_second(base_3d)
    speed_others = _images_per_second(with_values(base_3d, {"slice_discriminator.weight": 0.0}))
    # One after the other, on all cores; the one from scratch runs alongside the 2D run.
    images = seconds * SHARE_3D / (1 / speed_3d + 1 / (PART * speed_others))
    # Whole steps between snapshots, so that the last snapshot is at the end.
    step = PART * SNAPSHOTS_OTHERS * base_3d.training.batch
    plan = replace(
        guess,
        kimg_2d=max(round(speed_2d * seconds * SHARE_2D / 1000, 1), 0.5),
        kimg_3d=max(round(images) // step, 1) * step / 1000,
        images_per_s_2d=round(speed_2d, 1),
        images_per_s_3d=round(speed_3d, 2),
        images_per_s_others=round(speed_others, 2),
    )
    write_json(out / PLAN_NAME, asdict(plan))
    return plan


def common_settings(plan: Plan, data: str) -> tuple[RunConfig, RunConfig]:
    """Settings of the 2D run, and those shared by all 3D runs.

    Args:
        plan: Lengths, threads and seed.
        data: The prepared folder.
    """
    common = {
        "data": data,
        "training.seed": plan.seed,
        "training.reuse_fakes": True,
        "evaluation.samples": EVALUATED,
    }
    two_d = {
        "training.kimg": plan.kimg_2d,
        "training.batch": BATCH_2D,
        "training.threads": plan.threads_shared,
        "training.snapshot_kimg": plan.kimg_2d / 2,
    }
    three_d = {
        "training.kimg": plan.kimg_3d,
        "training.threads": plan.threads,
        "training.snapshot_kimg": plan.kimg_3d / PART,
    }
    return from_values({"training.phase": "2d", **common, **two_d}), from_values(common | three_d)


def settings_3d(plan: Plan, base: RunConfig, strategy: str, twin: Path | None) -> RunConfig:
    """Settings of the 3D run that starts from a 2D run by this strategy. Only ours has slices.

    Args:
        plan: Lengths and threads.
        base: Settings shared by all 3D runs.
        strategy: One of `STARTS`.
        twin: The 2D run; None from scratch, alongside which the 2D run trains.
    """
    own = from_values({"start.strategy": strategy})
    values: dict[str, Any] = {
        "start.strategy": strategy,
        "start.twin": str(twin.absolute()) if twin else "",
        "training.lr_g": own.training.lr_g,
        "training.lr_d": own.training.lr_d,
        "training.train_noise": own.training.train_noise,
    }
    if strategy != RECOMMENDED:
        values["training.kimg"] = plan.kimg_others
        values["training.snapshot_kimg"] = plan.kimg_others / SNAPSHOTS_OTHERS
        values["slice_discriminator.weight"] = 0.0
    if twin is None:
        values["training.threads"] = plan.threads_shared
    return with_values(base, values)


def _images_per_second(config: RunConfig, seconds: float = 4.0) -> float:
    """Time training steps of a configuration on random images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.training.threads)
    gan = build_gan(config, build_run_networks(config))
    shape = config.network.shape if config.training.phase == "3d" else config.network.shape[1:]
    images = torch.zeros(config.training.batch, 1, *shape, device=gan.device)
    gan.step(images, None, number=0)  # the first step also chooses kernels and allocates buffers
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        gan.step(images, None, number=steps)
        steps += 1
    elapsed = time.perf_counter() - started
    torch.set_num_threads(threads)
    return steps * config.training.batch / elapsed
