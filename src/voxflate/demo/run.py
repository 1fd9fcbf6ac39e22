"""The whole method on the built-in cohort, within the user's minutes.

Cohort -> a 2D twin, and alongside it a 3D run from scratch -> the paper's inflate-1 -> our recommended
settings, for four times as many images -> report. Lengths follow from speeds measured at the start, so the
demo takes about the same time on any machine; a faster one trains longer. A second call continues.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.config.schema import RunConfig
from voxflate.config.toml import save_config
from voxflate.data.outside import check_outside_sets
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.preparing.prepare import prepare
from voxflate.data.synthetic.cohort import load_template, make_cohort
from voxflate.demo.plan import (
    BATCH_2D,
    EVALUATED,
    STARTS,
    Plan,
    common_settings,
    make_plan,
    read_plan,
    settings_3d,
)
from voxflate.drawing.sheets import sample_sheet
from voxflate.evaluation import Evaluator
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.page import RunSummary, number_text, write_report
from voxflate.runs.log import METRICS_NAME, read_rows
from voxflate.runs.snapshots import list_snapshots, load_newest
from voxflate.sampling.generate import generate

Tell = Callable[[str, float], None]
"""(current task, share of it that is done)."""

SHAPE = (16, 32, 32)
SUBJECTS = 160
SAMPLES = 16
POLL_SECONDS = 1.0

LABELS = {
    "none": ("from scratch", "Random weights, as usual."),
    "inflate-1": ("inflate-1", "The paper's best: 2D kernels in the middle slice of the 3D ones."),
    "preserving": (
        "recommended",
        "Ours: as inflate-1, but the discriminator responds as strongly as its 2D twin, and nothing random "
        "is added around the middle slice (start preserving). A second discriminator judges single slices "
        "by features of a pretrained network.",
    ),
}


def run_demo(out: Path, minutes: float = 15.0, seed: int = 0, tell: Tell | None = None) -> Path:
    """Run everything and write the report.

    Args:
        out: Folder for everything.
        minutes: Approximate time on two cores.
        seed: Seed of the cohort and of all runs.
        tell: Called with the current task and its progress.

    Returns:
        The report, OUT/report.html.

    Raises:
        VoxflateError: If a run fails (the message names its log), or `out` has a demo with another seed
            or other minutes.
    """
    started = time.monotonic()
    say = tell or (lambda what, share: None)
    check_outside_sets(out)
    plan = _plan(out, minutes, seed, say)
    prepared = _data(out, seed, say)
    base_2d, base_3d = common_settings(plan, str(prepared.root.absolute()))
    twin = out / "2d-plain"
    runs = {strategy: out / f"3d-{strategy}" for strategy in STARTS}
    configs = {
        run: settings_3d(plan, base_3d, strategy, None if strategy == "none" else twin)
        for strategy, run in runs.items()
    }
    scratch, *inflated = configs
    first = {twin: base_2d, scratch: configs[scratch]}
    _train_side_by_side("2D pre-training, and 3D training from scratch", first, say)
    for run in inflated:
        _train_side_by_side(f"3D training, {run.name}", {run: configs[run]}, say)
    report = _report(out, prepared, plan, runs, say)
    seconds = time.monotonic() - started
    write_json(out / "demo.json", {**asdict(plan), "seconds": round(seconds, 1)})
    return report


def _plan(out: Path, minutes: float, seed: int, say: Tell) -> Plan:
    """The existing plan, or a new one. It is written first, because it identifies the demo in a folder."""
    if (plan := read_plan(out, minutes, seed)) is not None:
        return plan
    load_template()  # before anything is written, in case it is missing
    say("measuring this machine's speed", 0.0)
    plan = make_plan(out, minutes, seed)
    say("measuring this machine's speed", 1.0)
    return plan


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
        salt=b"made-up brains need no secret",
    )


def _train_side_by_side(stage: str, configs: dict[Path, RunConfig], say: Tell) -> None:
    """Train every run in its own process, all at once, until all are done or one has failed.

    Raises:
        VoxflateError: If one fails; the others are stopped, and continue from their snapshots next time.
    """
    running: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for run, config in configs.items():
            if not _finished(run, config):
                running[run] = _start(run, config)
        while not _all_done(running):
            shares = [
                min(1.0, _images(run) / (config.training.kimg * 1000)) for run, config in configs.items()
            ]
            say(stage, float(np.mean(shares)))
            time.sleep(POLL_SECONDS)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    say(stage, 1.0)


def _all_done(running: dict[Path, subprocess.Popen[bytes]]) -> bool:
    """Tell whether all runs have succeeded; raise as soon as one has failed."""
    statuses = {run: process.poll() for run, process in running.items()}
    for run, status in statuses.items():
        if status:
            raise VoxflateError(f"{run}: training failed; see {_log_of(run)}; the same command continues")
    return all(status == 0 for status in statuses.values())


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
    return int(load_newest(run)[0]["n_images"]) >= round(config.training.kimg * 1000)


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
        verdict=_verdict(summaries, plan.kimg_others, frechet_name(str(floor["extractor"])) + "-avg"),
    )
    say("writing volumes and the report", 1.0)
    return path


def _summary(strategy: str, run: Path) -> RunSummary:
    label, description = LABELS[strategy]
    samples = run / "samples"
    if not samples.exists():  # it appears only when complete
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


def _verdict(summaries: Sequence[RunSummary], kimg: float, metric: str) -> list[str]:
    """The runs' distances after the same number of images."""
    at = {run.label: dict(run.curves[metric]).get(kimg) for run in summaries}
    there = ", ".join(f"{label} {number_text(value)}" for label, value in at.items() if value is not None)
    return [
        f"After {kimg:g} kimg each, the mean distances are: {there}.",
        "There is one seed each: another seed can reverse the order.",
    ]


def _introduction(prepared: PreparedSet, plan: Plan) -> str:
    train, heldout = len(prepared.stored("train")), len(prepared.stored("heldout"))
    shape = "x".join(map(str, prepared.shape))
    return (
        f"{train} synthetic brains of {shape} voxels ({heldout} more held out), deformed from an average "
        "brain. "
        f"A 2D network saw {plan.kimg_2d:g} thousand of their slices; then 3D Split&Shuffle networks saw "
        f"volumes: the recommended one {plan.kimg_3d:g} thousand, the other two {plan.kimg_others:g} "
        "thousand, so compare them there. "
        "They have the same learning rates and differ in their start. Only the recommended one has a slice "
        "discriminator, and only it keeps the noise strengths of the 2D run."
    )


def _listed(prepared: PreparedSet, plan: Plan, runs: dict[str, Path]) -> dict[str, str]:
    first = next(iter(runs.values()))
    return {
        "Command": f"voxflate demo --minutes {plan.minutes:g} --seed {plan.seed}",
        "Data": f"{prepared.root} (sha256 {prepared.content_hash[:12]})",
        "2D": f"{plan.kimg_2d:g} kimg, batch {BATCH_2D}",
        "3D": f"{plan.kimg_3d:g} kimg recommended, {plan.kimg_others:g} kimg each of the others",
        "Measured on": f"{EVALUATED} generated volumes of each run, at every snapshot",
        "Repeat a run": f"voxflate train --config {quote(str(first / 'config.toml'))} --out NEW",
    }
