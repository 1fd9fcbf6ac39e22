"""A stopped training is not a finished one; what a cluster is asked for; children that save their work."""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies import gpus, stage
from studies.__main__ import LOCAL, cores_of, limits, parsed, study_of
from studies.children import run_child
from studies.gpus import own_gpu
from studies.plan import Study, plan_of, run_path
from voxflate._system.cores import available_cores
from voxflate._system.errors import VoxflateError
from voxflate.config.toml import save_config, with_values
from voxflate.runs.facts import FACTS_NAME
from voxflate.runs.history import extended
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
    monkeypatch.setattr(stage, "run_child", lambda words, *more: answer)
    train = stage.STAGES["train"]
    if stopped is None:
        train(study, twin.name)
        return
    with pytest.raises(VoxflateError, match=f"stopped after {stopped} of 16 images; the same command"):
        train(study, twin.name)


def test_a_failed_training_keeps_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path, "toy", {"coca64": "data"}, 1, presets=("coca64-baseline-inflate-1",))
    for status, wanted in ((2, 2), (-9, 137)):
        monkeypatch.setattr(stage, "run_child", lambda words, *more, status=status: (status, 0))
        with pytest.raises(SystemExit) as ended:
            stage.STAGES["train"](study, plan_of(study)[0].name)
        assert ended.value.code == wanted


def trained_before(study: Study, name: str, **settings: object) -> Path:
    """The folder of a run with a marker, as an earlier study left it."""
    run = next(run for run in plan_of(study) if run.name == name)
    folder = run_path(study, run)
    folder.mkdir(parents=True)
    (folder / "trained").touch()
    config = run.settings()
    entries = extended([], 0, config)
    if settings:
        config = with_values(config, {key.replace("__", "."): value for key, value in settings.items()})
    save_config(config, folder)
    facts = {"data": "d", "seed": 0, "threads": 1, "versions": {}, "settings": entries}
    (folder / FACTS_NAME).write_text(json.dumps(facts))
    return folder


def test_a_run_of_other_settings_is_not_evaluated_for_this_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, "toy", {"coca64": "data"}, 1, presets=("coca64-baseline-inflate-1",))
    twin, run = plan_of(study)
    commands: list[list[str]] = []
    monkeypatch.setattr(stage, "run_child", lambda words, *more: (commands.append(words), (0, 0))[1])
    trained_before(study, twin.name, training__kimg=0.008)
    for name, of in (("evaluate", twin), ("train", run)):  # the twin itself, and what starts from it
        with pytest.raises(VoxflateError, match=f"{twin.name}: was trained with training.kimg = 0.008, this"):
            stage.STAGES[name](study, of.name)
    assert commands == []
    folder = trained_before(study, run.name)
    stage.STAGES["evaluate"](study, run.name)
    assert [words[3] for words in commands] == ["evaluate", "result"]
    facts = json.loads((folder / FACTS_NAME).read_text())
    changes = [{"from_images": 8, "settings": {"training.lr_g": 0.5}}]
    (folder / FACTS_NAME).write_text(json.dumps(facts | {"settings": facts["settings"] + changes}))
    with pytest.raises(
        VoxflateError, match=r"half-way = training.lr_g 0\.\d+ -> 0.5 from 8 images, this study"
    ):
        stage.STAGES["evaluate"](study, run.name)


def test_a_stopped_evaluation_is_not_a_finished_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path, "toy", {"coca64": "data"}, 1, presets=("coca64-baseline",))
    (run,) = plan_of(study)
    trained_before(study, run.name)
    monkeypatch.setattr(stage, "run_child", lambda words, *more: (0, signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        stage.STAGES["evaluate"](study, run.name)
    assert ended.value.code == 128 + signal.SIGTERM


def test_runs_at_one_time_have_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    name = "CUDA_VISIBLE_DEVICES"
    with own_gpu(tmp_path, 1) as (first, files), own_gpu(tmp_path, 1) as (second, _):
        assert [first[name], second[name]] == ["2", "GPU-5"]
        said = run_child(
            [sys.executable, "-c", f"import os; raise SystemExit(os.environ['{name}'] != '2')"], first
        )
        assert said == (0, 0)
        sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=files)
    with own_gpu(tmp_path, 1) as (third, _):
        assert third[name] == "GPU-5"  # a process of the first run still works
    sleeper.communicate(b"\n")
    with own_gpu(tmp_path, 1) as (fourth, _):
        assert fourth[name] == "2"
    with own_gpu(tmp_path, 0) as (none, _):
        assert none == {}
    monkeypatch.setenv(name, "3")  # as in a job of SLURM
    with own_gpu(tmp_path, 1) as (none, _), own_gpu(tmp_path, 1) as (nor, _):
        assert none == nor == {}


def test_a_run_waits_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    held = contextlib.ExitStack()
    for _ in range(2):
        held.enter_context(own_gpu(tmp_path, 1))
    monkeypatch.setattr(gpus.time, "sleep", lambda seconds: held.close())
    with own_gpu(tmp_path, 1) as (variables, _):
        assert variables == {"CUDA_VISIBLE_DEVICES": "0"}


def test_a_run_takes_one_gpu_at_most() -> None:
    with pytest.raises(VoxflateError, match=r"--gpus 2: a run of a study uses one GPU; .* --all-gpus 2$"):
        study_of(parsed(["--out", "study", "--gpus", "2"]))


def test_a_study_is_known_by_its_real_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for out in (tmp_path / "link" / "study", tmp_path / "real" / "other" / ".." / "study"):
        assert study_of(parsed(["--out", str(out)])).out == tmp_path / "real" / "study"


def test_a_lock_lasts_as_long_as_the_child(tmp_path: Path) -> None:
    code = f"""
import fcntl, sys
from studies.children import run_child
lock = open({str(tmp_path / "lock")!r}, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
run_child([sys.executable, "-c", "print('ready', flush=True); input()"], keep=[lock.fileno()])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        parent.wait()
        with open(tmp_path / "lock", "w") as lock:
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            parent.stdin.write("\n")
            parent.stdin.close()
            fcntl.flock(lock, fcntl.LOCK_EX)


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
