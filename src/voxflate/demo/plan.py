"""Plans the demo: settings and training lengths that fit the given minutes on this machine."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
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
CHANNELS = 16
"""Half of the paper's: a 3D step takes 0.4 of the time, and in so few minutes more images help more
than width (decision 0021)."""
SNAPSHOTS_3D = 4
EVALUATED = 96

# Shares of the demo's time. The rest is for the cohort, the measurements and the report.
SHARE_2D, SHARE_3D = 0.2, 0.55

TWINS = {"inflate-1": "plain", "preserving": "plain"}
"""3D starts that need a 2D run, and the kind of twin that they need."""

STARTS = ("none", *TWINS)
"""The 3D runs, by strategy."""

RECOMMENDED = "preserving"
"""The run with the recommended settings. The others have the paper's starts and no slice discriminator."""


@dataclass(frozen=True)
class Plan:
    """The user's options, and what the minutes allow.

    Attributes:
        kimg_2d: Length of the 2D run.
        kimg_3d: Length of each 3D run, the same for all.
        images_per_s_2d: Measured speed of the 2D run.
        images_per_s_3d: Measured speed of each 3D run while all run side by side.
        threads_2d: CPU threads of the 2D run.
        threads_3d: CPU threads of each 3D run.
        minutes: Requested minutes.
        seed: Requested seed of the cohort and of all trainings.
    """

    kimg_2d: float
    kimg_3d: float
    images_per_s_2d: float
    images_per_s_3d: float
    threads_2d: int
    threads_3d: int
    minutes: float
    seed: int


def read_plan(out: Path, minutes: float, seed: int) -> Plan | None:
    """The plan of a demo started in this folder; None if there is none.

    Args:
        out: Folder of the demo.
        minutes: Requested minutes.
        seed: Requested seed.

    Raises:
        VoxflateError: If the demo there was started with other values.
    """
    path = out / PLAN_NAME
    if not path.exists():
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
    kinds, threads_3d = len(set(TWINS.values())), max(1, cores // 2)
    threads_2d = max(1, cores // kinds)
    seconds = minutes * 60
    base_2d, base_3d = common_settings(Plan(1.0, 1.0, 0.0, 0.0, threads_2d, threads_3d, minutes, seed), "")
    # All runs of a stage share the cores, so the speed of a single run is scaled by its share.
    speed_2d = _images_per_second(base_2d) * min(1.0, cores / (threads_2d * kinds))
    speed_3d = _images_per_second(base_3d) * min(1.0, cores / (threads_3d * len(STARTS)))
    # Whole steps between snapshots, so that the last snapshot is at the end.
    step = SNAPSHOTS_3D * base_3d.training.batch
    plan = Plan(
        kimg_2d=max(round(speed_2d * seconds * SHARE_2D / 1000, 1), 0.5),
        kimg_3d=max(round(speed_3d * seconds * SHARE_3D) // step, 1) * step / 1000,
        images_per_s_2d=round(speed_2d, 1),
        images_per_s_3d=round(speed_3d, 2),
        threads_2d=threads_2d,
        threads_3d=threads_3d,
        minutes=minutes,
        seed=seed,
    )
    write_json(out / PLAN_NAME, asdict(plan))
    return plan


def common_settings(plan: Plan, data: str) -> tuple[RunConfig, RunConfig]:
    """Settings shared by all 2D runs, and by all 3D runs.

    Args:
        plan: Lengths, threads and seed.
        data: The prepared folder.
    """
    common = {
        "data": data,
        "network.channels": CHANNELS,
        "training.seed": plan.seed,
        "training.reuse_fakes": True,
        "evaluation.samples": EVALUATED,
    }
    two_d = {
        "training.kimg": plan.kimg_2d,
        "training.batch": BATCH_2D,
        "training.threads": plan.threads_2d,
        "training.snapshot_kimg": plan.kimg_2d / 2,
    }
    three_d = {
        "training.kimg": plan.kimg_3d,
        "training.threads": plan.threads_3d,
        "training.snapshot_kimg": plan.kimg_3d / SNAPSHOTS_3D,
    }
    return from_values({"training.phase": "2d", **common, **two_d}), from_values(common | three_d)


def settings_2d(base: RunConfig, kind: str) -> RunConfig:
    """Settings of the 2D run for a kind of twin."""
    return with_values(base, {"training.twin": kind, "network.position": kind == "planar"})


def settings_3d(base: RunConfig, strategy: str, twin: Path | None) -> RunConfig:
    """Settings of the 3D run that starts from a twin by this strategy. Only ours has slices."""
    own = from_values({"start.strategy": strategy})
    values: dict[str, Any] = {
        "start.strategy": strategy,
        "start.twin": str(twin.absolute()) if twin else "",
        "network.position": own.network.position,
        "training.lr_g": own.training.lr_g,
        "training.lr_d": own.training.lr_d,
        "training.train_noise": own.training.train_noise,
        "training.freeze_g_kimg": min(own.training.freeze_g_kimg, base.training.kimg / 10),
        "slice_discriminator.weight": own.slice_discriminator.weight if strategy == RECOMMENDED else 0.0,
    }
    return with_values(base, values)


def _images_per_second(config: RunConfig, seconds: float = 6.0) -> float:
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
