from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.calls import recommended, refused, resolved, twin_run, voxflate
from voxflate._system.files import write_json
from voxflate.cli import app
from voxflate.config.toml import save_config, with_values
from voxflate.data.prepared import open_prepared
from voxflate.training.planner import Machine

COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


def test_the_commands_of_the_tool() -> None:
    assert COMMANDS == [
        "demo", "prepare", "pretrain", "inflate", "train", "generate", "evaluate", "compare", "result",
        "audit", "utility", "verify", "export", "invert",
        "params", "presets",
    ]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_every_option(command: str) -> None:
    from typer.main import get_command

    result = voxflate(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.count("\n") > 5
    function: Any = get_command(app).commands[command]  # type: ignore[attr-defined]
    assert len(function.help.splitlines()[0]) > 20
    for parameter in function.params:
        assert parameter.help, f"{command} {parameter.name}"


def test_start_up_does_not_load_pytorch() -> None:
    code = (
        "import sys, voxflate.cli; print(*({'torch', 'scipy', 'matplotlib', 'nibabel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_installed_command_prints_one_line_and_exits_2() -> None:
    command = [
        sys.executable,
        "-c",
        "from voxflate.cli import main; main()",
        "train",
        "--set",
        "training.lr=1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "voxflate: --set: unknown key training.lr; did you mean training.lr_g?\n"


def trained_run(folder: Path, data: Path, prepared: Path) -> Path:
    """A 3D run, trained on `prepared` when it lay at `data`, as far as a command looks at it at first."""
    facts = {"data": open_prepared(prepared).content_hash, "seed": 0, "threads": 1, "versions": {}}
    write_json(folder / "run.json", facts)
    save_config(with_values(recommended("3d"), {"data": str(data), "network.stages": 3}), folder)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "snapshot-000000008.safetensors").touch()
    return folder


def test_dry_run_of_the_other_commands_writes_nothing(
    scans: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run(tmp_path / "run", prepared, prepared)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for arguments in (
        ("demo", "--minutes", "1"),
        ("prepare", scans, "out"),
        ("generate", run, "--out", "new"),
    ):
        result = voxflate(*arguments, "--dry-run")
        assert result.exit_code == 0, result.output
        assert "seed = 0" in result.stdout
    assert list(Path().iterdir()) == []


def test_dry_run_refuses_what_the_command_would_refuse(scans: Path, prepared: Path, tmp_path: Path) -> None:
    run, out = trained_run(tmp_path / "run", prepared, prepared), tmp_path / "out"
    for refusal, *arguments in (
        ("base of at most 8", "prepare", scans, out, "--shape", "7,13,11"),
        ("no recipe is called", "prepare", scans, out, "--recipe", "mri"),
        ("no such folder", "prepare", tmp_path / "nope", out),
        ("not an empty folder", "prepare", scans, prepared),
        ("no such file or run folder", "generate", tmp_path / "nope", "--out", out),
        ("no snapshot", "generate", twin_run(tmp_path / "2d", "plain"), "--out", out),
        ("not an empty folder", "generate", run, "--out", prepared),
        ("no such folder", "generate", run, "--out", out, "--data", tmp_path / "nope"),
        ("is not auto, cpu", "generate", run, "--out", out, "--device", "gpu"),
        ("no such folder", "evaluate", run, "--data", tmp_path / "nope"),
        ("network.base=2,4,4 and network.stages=3", "train", prepared, "--set", "network.stages=4"),
    ):
        assert refusal in refused(*arguments, "--dry-run")
    assert not out.exists()


def test_generate_and_evaluate_find_data_that_moved(prepared: Path, tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", tmp_path / "gone", prepared)
    assert "--data FOLDER" in refused("generate", run, "--out", tmp_path / "out", "--dry-run")
    shown = voxflate("generate", run, "--out", tmp_path / "out", "--data", prepared, "--dry-run")
    assert f'data = "{prepared}"' in shown.stdout
    assert resolved("evaluate", run, "--data", prepared).data == str(prepared)
    assert resolved("evaluate", run, "--set", f"data={prepared}", "--device", "cpu").training.device == "cpu"


@pytest.mark.parametrize("command", ["evaluate", "audit"])
def test_what_a_generator_was_trained_with_cannot_be_changed(
    command: str, prepared: Path, tmp_path: Path
) -> None:
    run = trained_run(tmp_path / "run", prepared, prepared)
    for setting in ("training.seed=99", "training.kimg=9", "training.batch=2"):
        line = refused(command, run, "--dry-run", "--set", setting)
        assert f"--set {setting.partition('=')[0]}: cannot be changed after the training" in line
    assert voxflate(command, run, "--dry-run", "--set", "training.threads=1").exit_code == 0


def test_a_folder_with_another_demo_is_refused(tmp_path: Path) -> None:
    from voxflate.demo.plan import PLAN_NAME, Plan

    plan = Plan(1.0, 1.0, 1.0, 1.0, 1.0, threads=1, threads_shared=1, minutes=15.0, seed=0)
    (tmp_path / PLAN_NAME).write_text(json.dumps(asdict(plan)))
    for arguments in (("--seed", "1"), ("--minutes", "5", "--dry-run")):
        assert "has a demo with seed 0, 15 minutes" in refused("demo", "--out", tmp_path, *arguments)


def test_what_prepare_refuses_leaves_nothing_behind(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    assert "empty" in refused("prepare", tmp_path / "empty", out)
    assert "three whole numbers" in refused("prepare", scans, out, "--shape", "16,32")
    assert "32x64x64" in refused("prepare", scans, out, "--shape", "30,60,70")
    assert "mr" in refused("prepare", scans, out, "--recipe", "mri")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_ctrl_c_exits_130_and_says_how_to_go_on(
    command: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "voxflate.training.run", SimpleNamespace(train_run=interrupted))  # type: ignore[arg-type]
    arguments = [command, str(prepared), "--out", str(tmp_path / "my run")]
    monkeypatch.setattr(sys, "argv", ["voxflate", *arguments])
    result = voxflate(*arguments)
    assert result.exit_code == 130
    hint = f"voxflate {command} {prepared} --out '{tmp_path / 'my run'}' --resume auto"
    assert result.stderr.splitlines() == [
        f"voxflate: interrupted; continue from the last snapshot with: {hint}"
    ]


def test_ctrl_c_in_the_demo_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "voxflate.demo.run", SimpleNamespace(run_demo=interrupted))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "argv", ["voxflate", "demo", "--minutes", "5"])
    result = voxflate("demo", "--minutes", "5")
    assert result.exit_code == 130
    assert result.stderr == "voxflate: interrupted; the same command continues: voxflate demo --minutes 5\n"


def test_ctrl_c_in_prepare_says_that_the_same_command_goes_on(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("voxflate.data.preparing.prepare"), "prepare", interrupted)
    monkeypatch.setattr(sys, "argv", ["voxflate", "prepare", "scans", "set"])
    result = voxflate("prepare", scans, tmp_path / "set")
    assert result.exit_code == 130
    assert result.stderr == "voxflate: interrupted; the same command continues: voxflate prepare scans set\n"


def test_a_plan_is_printed_and_nothing_is_made(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine("cpu", 1e-6, gib_per_voxel=1e-6, gib_at_rest=0.5, gib_available=64)
    monkeypatch.setattr("voxflate.training.planner.measure_machine", lambda config: machine)
    shown = voxflate("prepare", scans, tmp_path / "set", "--plan")
    assert shown.exit_code == 0
    assert "images/s" in shown.stdout
    assert "batch 4" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_training_says_what_it_will_cost_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine("cpu", 1e-6, gib_per_voxel=1e-4, gib_at_rest=0.5, gib_available=1000)
    monkeypatch.setattr("voxflate.training.planner.measure_machine", lambda config: machine)
    network = ("network.base=4,4,4", "network.stages=6", "network.channels=64")
    training = ("training.batch=8", "training.micro_batch=4", "training.kimg=10")
    words = [word for one in (*network, *training) for word in ("--set", one)]
    shown = voxflate("train", *words, "--out", tmp_path / "run", "--plan")
    assert shown.exit_code == 0
    first, second, third, fourth = shown.stdout.splitlines()
    assert first == (
        "128x128x128, network.channels = 64, training.batch = 8, training.micro_batch = 4, "
        "training.activation_checkpointing = false"
    )
    assert second.startswith("predicted: 839.4 GiB, 0.477 images/s, 5.83 hours for 10 kimg")
    assert third == "memory left: 1000.0 GiB, which is enough"
    assert "measured on cpu at 32x32x32 and 48x48x48" in fourth
    assert list(tmp_path.iterdir()) == []


def test_the_version() -> None:
    from voxflate import __version__

    assert voxflate("--version").stdout.strip() == f"voxflate {__version__}"
