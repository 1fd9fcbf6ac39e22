"""One stage of a study, called by the workflow: `python -m studies.stage STAGE OUT NAME`.

Every stage can be repeated: a training continues from its newest snapshot, an evaluation writes a new folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from studies.checks import check_folder
from studies.children import run_child
from studies.figures import PICTURED
from studies.gpus import own_gpu
from studies.own import OWN
from studies.plan import Run, Study, data_path, plan_of, result_path, run_path
from studies.scales import scale_of
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import open_prepared
from voxflate.runs.snapshots import best_snapshot, images_of, list_snapshots


def prepare_command(study: Study, cohort: str) -> list[str]:
    """The arguments of `voxflate prepare` for a cohort."""
    wanted = scale_of(study.scale).cohorts[cohort]
    shape = ",".join(map(str, wanted.shape))
    out = str(data_path(study, cohort))
    return ["prepare", study.data[cohort], out, "--recipe", wanted.recipe, "--shape", shape]


def train_command(study: Study, run: Run) -> list[str]:
    """The arguments of `voxflate pretrain` or `voxflate train` for a run; they start and continue it.

    Raises:
        VoxflateError: If its data is not prepared.
    """
    data = data_path(study, run.cohort)
    values = {**run.values, "training.seed": run.seed}
    if run.phase == "3d":  # as many as real volumes, unless the study says how many
        values.setdefault("evaluation.samples", len(open_prepared(data).manifest.scans))
    words = ["pretrain" if run.phase == "2d" else "train", str(data), "--out", str(run_path(study, run))]
    if run.preset:
        words += ["--preset", run.preset]
    if run.twin:
        words += ["--start", str(run_path(study, run.twin))]
    for key, value in values.items():
        words += ["--set", f"{key}={_text(value)}"]
    return [*words, "--resume", "auto"]


def evaluate_commands(study: Study, run: Run) -> list[list[str]]:
    """The commands that make a trained run's result: evaluate the best snapshot (3D), then write a file.

    Our own rows are also audited.
    """
    folder = run_path(study, run)
    commands = []
    if run.phase == "3d":
        snapshot = "best" if best_snapshot(folder) is not None else "newest"
        replicates = str(scale_of(study.scale).replicates)
        commands.append(
            ["evaluate", str(folder), "--snapshot", snapshot, "--replicates", replicates, "--no-tsne"]
        )
        if run.row in OWN:
            # A row that copies still gets its result, which shows the share.
            commands.append(["audit", str(folder), "--snapshot", snapshot, "--allow", "1"])
    pictures = (
        "--pictures" if run.seed == 0 and run.row in PICTURED and run.phase == "3d" else "--no-pictures"
    )
    commands.append(["result", str(folder), "--out", str(result_path(study, run)), pictures])
    return commands


def _prepare(study: Study, name: str) -> None:
    _become(prepare_command(study, name))


def _train(study: Study, name: str) -> None:
    """Train a run to its end; a training that was stopped ends with exit status 0, which is not enough here.

    Otherwise the workflow would take it for finished and evaluate it.
    """
    run = _run_of(study, name)
    if run.twin:
        check_folder(study, _run_of(study, run.twin))
    asked = _run_all(study, [train_command(study, run)])
    snapshots = list_snapshots(run_path(study, run))
    shown = images_of(snapshots[-1]) if snapshots else 0
    wanted = round(run.settings().training.kimg * 1000)
    if asked or shown < wanted:
        raise VoxflateError(f"{name}: stopped after {shown} of {wanted} images; the same command continues")


def _evaluate(study: Study, name: str) -> None:
    run = _run_of(study, name)
    check_folder(study, run)
    if asked := _run_all(study, evaluate_commands(study, run)):
        sys.exit(128 + asked)


def _run_all(study: Study, commands: Sequence[list[str]]) -> int:
    """Run voxflate with some commands; return the signal that asked for the end, or 0.

    This process ends with the status of the first command that fails.
    """
    with own_gpu(study.out, study.gpus) as (variables, locks):
        for words in commands:
            status, asked = run_child([sys.executable, "-m", "voxflate", *words], variables, locks)
            if status:
                sys.exit(status if status > 0 else 128 - status)
            if asked:
                return asked
    return 0


STAGES: Mapping[str, Callable[[Study, str], None]] = {
    "prepare": _prepare,
    "train": _train,
    "evaluate": _evaluate,
}


def _run_of(study: Study, name: str) -> Run:
    return next(run for run in plan_of(study) if run.name == name)


def _become(words: list[str]) -> None:
    """Replace this process by voxflate, so that it receives signals itself and can save its work."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "voxflate", *words])


def _text(value: object) -> str:
    """A setting in the form of `--set`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("out", type=Path)
    parser.add_argument("name", help="run, or cohort to prepare")
    arguments = parser.parse_args()
    try:
        STAGES[arguments.stage](Study.load(arguments.out), arguments.name)
    except VoxflateError as error:
        sys.exit(f"voxflate: {error}")


if __name__ == "__main__":
    main()
