"""A stopped training is not a finished one; what a cluster is asked for; children that save their work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies import stage
from studies.__main__ import LOCAL, cores_of, limits, parsed
from studies.children import run_child
from studies.plan import Study, plan_of, run_path
from voxflate._system.cores import available_cores
from voxflate._system.errors import VoxflateError
from voxflate.runs.snapshots import snapshot_path

SLURM = LOCAL.with_name("slurm")
CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(0)))
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import sys
from studies.children import run_child
print(*run_child([sys.executable, "-c", {CHILD!r}]))
"""


@pytest.mark.parametrize(
    ("shown", "answer", "stopped", "kimg"),
    [
        ((), (0, 0), 0, 0.016),
        ((8,), (0, 0), 8, 0.016),
        ((16,), (0, signal.SIGTERM), 16, 0.016),
        ((8, 16), (0, 0), None, 0.016),
        ((16_100,), (0, 0), None, 16.1),  # 16.1 * 1000 is a little more than 16,100
    ],
)
def test_a_training_stopped_before_its_end_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown: tuple[int, ...],
    answer: tuple[int, int],
    stopped: int | None,
    kimg: float,
) -> None:
    rows, values = ("coca64-baseline-inflate-1",), {"training.kimg": kimg}
    study = Study(tmp_path, "toy", {"coca64": "data"}, 1, presets=rows, values=values)
    study.save()
    twin = plan_of(study)[0]
    for n_images in shown:
        path = snapshot_path(run_path(study, twin), n_images)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(stage, "run_child", lambda words: answer)
    train = stage.STAGES["train"]
    if stopped is None:
        train(study, twin.name)
        return
    with pytest.raises(VoxflateError, match=f"stopped after {stopped} of 16 images; the same command"):
        train(study, twin.name)


def test_a_failed_training_keeps_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path, "toy", {"coca64": "data"}, 1, presets=("coca64-baseline-inflate-1",))
    for status, wanted in ((2, 2), (-9, 137)):
        monkeypatch.setattr(stage, "run_child", lambda words, status=status: (status, 0))
        with pytest.raises(SystemExit) as ended:
            stage.STAGES["train"](study, plan_of(study)[0].name)
        assert ended.value.code == wanted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_parent_waits_until_its_child_has_saved(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(number)
        if number == signal.SIGINT:  # it is not passed on: a terminal sends it to both
            time.sleep(0.5)
            assert parent.poll() is None
            parent.terminate()
        assert parent.stdout.readline() == "saved\n"
        assert parent.stdout.readline() == f"0 {int(number)}\n"


def test_a_child_s_status_is_returned() -> None:
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"]) == (3, 0)


def test_only_this_machine_s_cores_and_gpus_limit_the_runs() -> None:
    words = ["--out", "study", "--gpus", "1"]
    assert limits(parsed(words)) == ["--cores", str(available_cores()), "--resources", "gpu=1"]
    assert limits(parsed([*words, "--cores", "3", "--all-gpus", "4"])) == [
        "--cores",
        "3",
        "--resources",
        "gpu=4",
    ]
    cluster = parsed([*words, "--profile", str(SLURM)])
    assert limits(cluster) == []
    assert cores_of(cluster) is None
    asked = [*words, "--profile", str(SLURM), "--cores", "64", "--all-gpus", "8"]
    assert limits(parsed(asked)) == ["--cores", "64", "--resources", "gpu=8"]
