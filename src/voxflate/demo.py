"""The whole method on the built-in cohort, in the minutes that the user gives it.

Cohort -> two 2D twins, side by side -> three 3D trainings of the same length, side by side (from scratch,
the paper's inflate-1, our planar start) -> report. Budgets follow from speeds measured at the start, so the
demo takes about as long on any machine; a faster one trains further. Called again, it goes on where it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from voxflate.build import build_gan, build_run_networks
from voxflate.config import RunConfig
from voxflate.configfile import save_config, with_values
from voxflate.data.cohort import make_cohort
from voxflate.data.prepare import prepare
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.errors import VoxflateError
from voxflate.evaluation import Evaluator
from voxflate.figures import sample_sheet
from voxflate.files import read_json, write_json
from voxflate.generation import generate
from voxflate.presets import recommended
from voxflate.report import RunSummary, write_report
from voxflate.training.log import METRICS_NAME, read_rows
from voxflate.training.snapshots import list_snapshots, load_newest

Tell = Callable[[str, float], None]
"""(what is being done, share of it that is done)."""

SHAPE = (16, 32, 32)
SUBJECTS = 160
SAMPLES = 16
BATCH_2D = 8
SNAPSHOTS_3D = 4
EVALUATED = 96

# Shares of the demo's time. What is left over is for the cohort, the measurements and the report.
SHARE_2D, SHARE_3D = 0.28, 0.42

STARTS = {
    "none": ("from scratch", "Random weights, the usual way."),
    "inflate-1": ("inflate-1", "The paper's best: 2D kernels in the middle slice of the 3D ones."),
    "planar": ("planar", "Ours: the 2D twin knows the slice's position, so the start is ordered anatomy."),
}
TWINS = {"inflate-1": "plain", "planar": "planar"}


@dataclass(frozen=True)
class Plan:
    """What the minutes are enough for.

    Attributes:
        kimg_2d: Length of each 2D run.
        kimg_3d: Length of each 3D run, the same for all.
        images_per_s_2d: Measured speed of each 2D run when all run side by side.
        images_per_s_3d: The same in 3D.
        threads: CPU threads of every run.
        minutes: What was asked for.
    """

    kimg_2d: float
    kimg_3d: float
    images_per_s_2d: float
    images_per_s_3d: float
    threads: int
    minutes: float


def run_demo(out: Path, minutes: float = 15.0, seed: int = 0, tell: Tell | None = None) -> Path:
    """Run everything and write the report.

    Args:
        out: Folder for everything.
        minutes: Time to spend on two cores, roughly.
        seed: Of the cohort and of all trainings.
        tell: Called with what is being done and how far it is.

    Returns:
        The report, OUT/report.html.

    Raises:
        VoxflateError: If a training fails; the message names its log.
    """
    started = time.monotonic()
    say = tell or (lambda what, share: None)
    prepared = _data(out, seed, say)
    plan = _plan(out, prepared, minutes, seed, say)
    base_2d, base_3d = _settings(prepared, plan, seed)
    twins = {kind: out / f"2d-{kind}" for kind in TWINS.values()}
    configs = {
        run: with_values(base_2d, {"training.twin": kind, "network.position": kind == "planar"})
        for kind, run in twins.items()
    }
    _train_side_by_side("2D pre-training of the twins", configs, say)
    runs = {strategy: out / f"3d-{strategy}" for strategy in STARTS}
    _train_side_by_side(
        "3D training from three starts",
        {run: _config_3d(base_3d, strategy, twins) for strategy, run in runs.items()},
        say,
    )
    report = _report(out, prepared, plan, runs, say)
    seconds = time.monotonic() - started
    write_json(out / "demo.json", {**asdict(plan), "seed": seed, "seconds": round(seconds, 1)})
    return report


def _data(out: Path, seed: int, say: Tell) -> PreparedSet:
    data = out / "data"
    if (data / "manifest.json").exists():
        return open_prepared(data)
    make_cohort(
        out / "cohort",
        SUBJECTS,
        seed=seed,
        progress=lambda done, total: say("making the cohort of synthetic brains", done / total),
    )
    return prepare(
        out / "cohort",
        data,
        "adni",
        SHAPE,
        seed=seed,
        progress=lambda done, total: say("preparing the cohort", done / total),
    )


def _plan(out: Path, prepared: PreparedSet, minutes: float, seed: int, say: Tell) -> Plan:
    """Measure both speeds and turn the minutes into images; a plan made before stays."""
    path = out / "plan.json"
    if path.exists():
        return Plan(**read_json(path))
    say("measuring this machine's speed", 0.0)
    cores = os.cpu_count() or 1
    threads = max(1, cores // 2)
    seconds = minutes * 60
    draft = Plan(1.0, 1.0, 0.0, 0.0, threads, minutes)
    base_2d, base_3d = _settings(prepared, draft, seed)
    # All runs of a stage share the cores, so one run's speed alone is scaled by its share of them.
    speed_2d = _images_per_second(base_2d) * min(1.0, cores / (threads * len(TWINS)))
    say("measuring this machine's speed", 0.5)
    speed_3d = _images_per_second(base_3d) * min(1.0, cores / (threads * len(STARTS)))
    plan = Plan(
        kimg_2d=max(round(speed_2d * seconds * SHARE_2D / 1000, 1), 0.5),
        kimg_3d=max(round(speed_3d * seconds * SHARE_3D / 1000, 2), 0.1),
        images_per_s_2d=round(speed_2d, 1),
        images_per_s_3d=round(speed_3d, 2),
        threads=threads,
        minutes=minutes,
    )
    write_json(path, asdict(plan))
    return plan


def _images_per_second(config: RunConfig, seconds: float = 6.0) -> float:
    """Time training steps of a configuration on random images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.training.threads)
    generator, discriminator = build_run_networks(config)
    gan = build_gan(config, generator, discriminator)
    images = torch.zeros(config.training.batch, 1, *generator.synthesis.shape, device=gan.device)
    gan.step(images, None, number=0)  # the first step also picks kernels and makes the buffers
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        gan.step(images, None, number=steps)
        steps += 1
    elapsed = time.perf_counter() - started
    torch.set_num_threads(threads)
    return steps * config.training.batch / elapsed


def _settings(prepared: PreparedSet, plan: Plan, seed: int) -> tuple[RunConfig, RunConfig]:
    """What all 2D runs share, and what all 3D runs share."""
    common = {
        "data": str(prepared.root.absolute()),
        "training.seed": seed,
        "training.threads": plan.threads,
        "training.reuse_fakes": True,
        "evaluation.samples": EVALUATED,
    }
    two_d = {
        "training.kimg": plan.kimg_2d,
        "training.batch": BATCH_2D,
        "training.snapshot_kimg": plan.kimg_2d / 2,
    }
    three_d = {"training.kimg": plan.kimg_3d, "training.snapshot_kimg": plan.kimg_3d / SNAPSHOTS_3D}
    return (
        with_values(recommended("2d"), common | two_d),
        with_values(recommended("3d"), common | three_d),
    )


def _config_3d(base: RunConfig, strategy: str, twins: dict[str, Path]) -> RunConfig:
    own = recommended("3d", strategy)
    values = {
        "start.strategy": strategy,
        "start.twin": str(twins[TWINS[strategy]].absolute()) if strategy in TWINS else "",
        "network.position": own.network.position,
        "training.lr_g": own.training.lr_g,
        "training.lr_d": own.training.lr_d,
        "training.freeze_g_kimg": min(own.training.freeze_g_kimg, base.training.kimg / 10),
    }
    return with_values(base, values)


def _train_side_by_side(stage: str, configs: dict[Path, RunConfig], say: Tell) -> None:
    """Train every run in a process of its own, all at once; wait for all."""
    running = {run: _start(run, config) for run, config in configs.items() if not _finished(run, config)}
    try:
        while any(process.poll() is None for process in running.values()):
            shares = [
                min(1.0, _images(run) / (config.training.kimg * 1000)) for run, config in configs.items()
            ]
            say(stage, float(np.mean(shares)))
            time.sleep(1.0)
    finally:
        for process in running.values():
            process.terminate()
    for run, process in running.items():
        if process.wait() != 0:
            raise VoxflateError(f"{run}: its training failed; {_log_of(run)} says why")
    say(stage, 1.0)


def _start(run: Path, config: RunConfig) -> subprocess.Popen[bytes]:
    run.mkdir(parents=True, exist_ok=True)
    command = "pretrain" if config.training.phase == "2d" else "train"
    settings = save_config(config, run.parent / "settings" / run.name)
    arguments = [sys.executable, "-m", "voxflate", command, "--out", str(run)]
    arguments += ["--resume"] if list_snapshots(run) else ["--config", str(settings)]
    with open(_log_of(run), "ab") as log:
        return subprocess.Popen(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _log_of(run: Path) -> Path:
    return run.with_suffix(".log")


def _images(run: Path) -> int:
    rows = read_rows(run / "log.jsonl")
    return int(rows[-1]["n_images"]) if rows else 0


def _finished(run: Path, config: RunConfig) -> bool:
    snapshots = list_snapshots(run)
    if not snapshots:
        return False
    return int(load_newest(run)[0]["n_images"]) >= config.training.kimg * 1000


def _report(out: Path, prepared: PreparedSet, plan: Plan, runs: dict[str, Path], say: Tell) -> Path:
    say("measuring the real volumes", 0.0)
    floor = Evaluator(prepared).real_floor()
    real_sheet = out / "real.png"
    heldout = prepared.volumes("heldout")[:8]
    sample_sheet(heldout, real_sheet, title="Held-out volumes of the cohort", spacing=prepared.spacing)
    summaries = []
    for index, (strategy, run) in enumerate(runs.items()):
        say("writing volumes and the report", index / len(runs))
        summaries.append(_summary(strategy, run))
    path = out / "report.html"
    write_report(
        path,
        "Three starts for a 3D GAN",
        summaries,
        real_sheet,
        floor,
        introduction=_introduction(prepared, plan),
        settings=_listed(prepared, plan, runs),
    )
    say("writing volumes and the report", 1.0)
    return path


def _summary(strategy: str, run: Path) -> RunSummary:
    label, description = STARTS[strategy]
    samples = run / "samples"
    if not samples.exists():
        generate(run, SAMPLES, out=samples)
    facts, snapshot = read_json(run / "run.json"), load_newest(run)[0]
    rows = read_rows(run / METRICS_NAME)
    figures = [key for key in rows[-1] if key.startswith(("frechet", "pairwise"))]
    sheets = sorted((run / "sheets").glob("*.png"))
    return RunSummary(
        label=label,
        generator_parameters=facts["parameters"]["generator"],
        discriminator_parameters=facts["parameters"]["discriminator"],
        kimg=snapshot["n_images"] / 1000,
        seconds=snapshot["seconds"],
        curves={key: [(row["n_images"] / 1000, row[key]) for row in rows] for key in figures},
        metrics=rows[-1],
        sheet_start=sheets[0],
        sheet_end=sheets[-1],
        samples=samples,
        description=description,
    )


def _introduction(prepared: PreparedSet, plan: Plan) -> str:
    train, heldout = len(prepared.stored("train")), len(prepared.stored("heldout"))
    shape = "x".join(map(str, prepared.shape))
    return (
        f"{train} synthetic brains of {shape} voxels ({heldout} more held out), deformed from an average "
        "brain. "
        f"Two 2D networks saw {plan.kimg_2d:g} thousand of their slices each; then three 3D "
        f"Split&Shuffle networks saw {plan.kimg_3d:g} thousand volumes each, and differ only in their start."
    )


def _listed(prepared: PreparedSet, plan: Plan, runs: dict[str, Path]) -> dict[str, str]:
    return {
        "Command": f"voxflate demo --minutes {plan.minutes:g}",
        "Data": f"{prepared.root} (sha256 {prepared.content_hash[:12]})",
        "2D": f"{plan.kimg_2d:g} kimg, batch {BATCH_2D}",
        "3D": f"{plan.kimg_3d:g} kimg each",
        "Measured on": f"{EVALUATED} generated volumes of each run, at every snapshot",
        "Repeat a run": f"voxflate train --config {next(iter(runs.values()))}/config.toml --out NEW",
    }
