"""Costs of a study: hours and disk space, from expected speeds or from existing results."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, pow, prod, sqrt

from studies.plan import Run, Study, result_path, to_train, unfinished
from voxflate.config.params import count_parameters
from voxflate.reports.results import read_result

SPEEDS = {
    "baseline": 8.3,
    "group-d": 8.5,
    "depthwise-d": 8.5,
    "split-shuffle-d": 9.5,
    "split": 14.0,
    "split-shuffle": 14.0,
    "wgan-gp": 15.0,
    "vae-gan": 7.5,
    "alpha-gan": 7.0,
    "alpha-wgan-gp": 7.0,
}
"""Expected 3D images per second of one thread at 16x32x32, bench channels, float32, compiled kernels.

Baseline and Split&Shuffle are half of the two-thread speeds in docs/performance.md; WGAN-GP and VAE-GAN were
timed once, on another processor; the others are estimates between these.
"""
SPEED_2D = 40.0
"""2D images per second of one thread at 32x32, batch 8; from the log of one Split&Shuffle run."""
SLICE_SECONDS = 0.008
"""Seconds of the slice discriminator per picture of side 64, one thread.

From 2D runs at 32x32 with and without it (docs/benchmarks/variety: 2d-s0-slices, 2d-s0-two-layers), bfloat16.
"""
_VOXELS = 16 * 32 * 32
_CHANNELS = 32
_EVALUATION_SECONDS = 45.0  # of a finished 3D run at 16x32x32
_SNAPSHOT_SECONDS = 6.0  # the metrics of a snapshot there
_STATES = 7  # numbers per parameter in a snapshot: weights, average, Adam's moments
_RUN_BYTES = 2_000_000  # sheets and logs


def seconds_of(run: Run) -> float:
    """Expected seconds of a run on one thread, including the metrics at snapshots and the evaluation."""
    settings = run.settings()
    network, slices = settings.network, settings.slice_discriminator
    images = settings.training.kimg * 1000
    pictures = slices.per_volume * (slices.side / 64) ** 2 if slices.weight else 0.0
    sliced = images * pictures * SLICE_SECONDS
    if run.phase == "2d":
        pixels: float = prod(network.shape[1:]) / 1024
        return images * pixels / SPEED_2D * pow(network.channels / _CHANNELS, 1.5) + sliced
    name = network.architecture if settings.model == "stylegan2" else settings.model
    width = network.channels / _CHANNELS if settings.model == "stylegan2" else 1.0
    size: float = prod(network.shape) / _VOXELS
    return images * size * pow(width, 1.5) / SPEEDS[name] + sliced + _measuring_seconds(run)


def _measuring_seconds(run: Run, snapshots: bool = True) -> float:
    """The part for metrics, which the seconds of a result do not include; in 2D it is not counted.

    Args:
        run: The run.
        snapshots: Whether those at snapshots are included, besides those of the evaluation.
    """
    settings = run.settings()
    if run.phase == "2d":
        return 0.0
    size: float = prod(settings.network.shape) / _VOXELS
    count = ceil(round(settings.training.kimg / settings.training.snapshot_kimg, 6)) + 1 if snapshots else 0
    return sqrt(size) * (count * _SNAPSHOT_SECONDS + _EVALUATION_SECONDS)


def bytes_of(run: Run) -> int:
    """Expected bytes of a run's folder: the newest and the best snapshot, and one being written."""
    settings = run.settings()
    dims = 2 if run.phase == "2d" else 3
    parameters = sum(count_parameters(settings.network, dims, settings.model).values())
    return 3 * 4 * _STATES * parameters + _RUN_BYTES


def describe(study: Study, runs: Sequence[Run], cores: int | None) -> list[str]:
    """The plan in words: one line per run, then the totals of the rest.

    Args:
        study: Names the folder of the results.
        runs: All runs of the study.
        cores: Cores that the runs share; None if unknown, as on a cluster.
    """
    todo, training = unfinished(study, runs), to_train(study, runs)
    done = [run for run in runs if run not in todo]
    # A finished run of the same row tells more than an expected speed.
    known = {_kind(run): _measured(study, run) for run in done}
    lines = [f"study of scale {study.scale} in {study.out}: {len(runs)} runs, {len(done)} of them done"]
    total, left = 0.0, [run for run in runs if run in todo or run in training]
    for run in runs:
        hours = known.get(_kind(run), _expected(study, run))
        if run in training:
            state = "to do" if run in todo else "to train again, because its folder is gone"
        elif run in todo:
            state, hours = "trained, to evaluate", _measuring_seconds(run, False) / study.threads / 3600
        else:
            state, hours = "done", _measured(study, run)
        total += hours if run in left else 0.0
        start = f" from {run.twin}" if run.twin else ""
        lines.append(
            f"  {run.name}: {run.phase}, {run.cohort}, {run.settings().training.kimg:g} kimg{start}; "
            f"{_number(hours, 2)} h; {state}"
        )
    duration = ""
    if cores is not None:
        lanes = max(1, cores // study.threads)
        wall = total / lanes
        duration = f"{_number(wall)} hours{_days(wall)} on {cores} cores at {lanes} runs at a time, "
    disk, work = sum(bytes_of(run) for run in training) / 1e6, total * study.threads
    lines.append(
        f"left: {len(left)} runs, about {_number(work)} core hours{_days(work)}, {duration}and {disk:,.0f} "
        "MB of disk. Where a seed of a row is done, the others get its hours. Other hours are those expected "
        "of one CPU: other machines differ, GPUs by far."
    )
    return lines


def _number(value: float, digits: int = 3) -> str:
    """A number of hours or days; large ones in full.

    >>> _number(0.2667, 2), _number(99.7, 2), _number(113_000)
    ('0.27', '100', '113,000')
    """
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _days(hours: float) -> str:
    """Hours in days, if they are more than two."""
    return f" ({_number(hours / 24)} days)" if hours > 48 else ""


def _kind(run: Run) -> str:
    """What the seeds of a row have in common."""
    return run.name.removesuffix(f"-s{run.seed}")


def _expected(study: Study, run: Run) -> float:
    """Hours of a run on the study's threads, as if twice as many were twice as fast."""
    return seconds_of(run) / study.threads / 3600


def _measured(study: Study, run: Run) -> float:
    """Hours that a finished run took, and those expected for its metrics."""
    seconds = read_result(result_path(study, run)).seconds
    return (seconds + _measuring_seconds(run) / study.threads) / 3600
