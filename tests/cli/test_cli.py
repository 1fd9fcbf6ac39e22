from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.strategies import write_prepared
from voxflate.cli import app
from voxflate.config.presets import DEFAULT_STRATEGY, preset, recommended
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_toml, load_config, save_config, with_values
from voxflate.training.planner import Machine, measure_machine

COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]
WITH_SETTINGS = ("pretrain", "train")


def voxflate(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command is refused."""
    result = voxflate(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("voxflate: ")
    return line


def resolved(*arguments: object) -> RunConfig:
    """The settings that `--dry-run` prints."""
    result = voxflate(*arguments, "--dry-run")
    assert result.exit_code == 0, result.output
    return from_toml(result.stdout, "--dry-run")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    for subject in range(5):
        voxels = rng.random((16, 16, 8), dtype=np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 4.0, 1.0])), folder / f"subject{subject}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def prepared(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    result = voxflate("prepare", scans, out, "--shape", "8,16,16", "--held-out", "0.2")
    assert result.exit_code == 0, result.output
    assert "4 volumes to train on, 1 held out" in result.stdout
    return out


def twin_run(folder: Path, kind: str) -> Path:
    """A 2D run as far as the command line looks at it: its settings."""
    values = {
        "data": "the twin's data",
        "training.twin": kind,
        "network.position": kind == "planar",
        "network.channels": 16,
    }
    save_config(with_values(recommended("2d"), values), folder)
    return folder


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[RunConfig, Path, bool]]:
    """Replace the training; gives the calls that were made."""
    calls: list[tuple[RunConfig, Path, bool]] = []

    def train_run(config: RunConfig, out: Path, resume: bool = False, *_: object, **__: object) -> None:
        calls.append((config, out, resume))

    fake = SimpleNamespace(train_run=train_run)
    monkeypatch.setitem(sys.modules, "voxflate.training.run", fake)  # type: ignore[arg-type]
    return calls


def test_the_commands_of_the_tool() -> None:
    assert COMMANDS == [
        "demo", "prepare", "pretrain", "inflate", "train", "generate", "evaluate", "compare", "audit",
        "verify", "export",
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


@pytest.mark.parametrize("command", WITH_SETTINGS)
def test_dry_run_prints_settings_that_load_back(command: str, tmp_path: Path) -> None:
    config = resolved(command, "--set", "training.kimg=3.5", "--set", "network.channels=16")
    assert (config.training.kimg, config.network.channels) == (3.5, 16)
    file = tmp_path / "settings.toml"
    file.write_text(voxflate(command, "--config", save_config(config, tmp_path), "--dry-run").stdout)
    assert load_config(file) == config


def trained_run(folder: Path, data: Path) -> Path:
    """A 3D run as far as a command looks at it before it loads a network."""
    save_config(with_values(recommended("3d"), {"data": str(data), "network.stages": 3}), folder)
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "snapshot-000000008.safetensors").touch()
    return folder


def test_dry_run_of_the_other_commands_writes_nothing(
    scans: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run(tmp_path / "run", prepared)
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
    run, out = trained_run(tmp_path / "run", prepared), tmp_path / "out"
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
    run = trained_run(tmp_path / "run", tmp_path / "gone")
    assert "--data FOLDER" in refused("generate", run, "--out", tmp_path / "out", "--dry-run")
    shown = voxflate("generate", run, "--out", tmp_path / "out", "--data", prepared, "--dry-run")
    assert f'data = "{prepared}"' in shown.stdout
    assert resolved("evaluate", run, "--data", prepared).data == str(prepared)
    assert resolved("evaluate", run, "--set", f"data={prepared}", "--device", "cpu").training.device == "cpu"


def test_a_folder_with_another_demo_is_refused(tmp_path: Path) -> None:
    from voxflate.demo.plan import PLAN_NAME, Plan

    (tmp_path / PLAN_NAME).write_text(json.dumps(asdict(Plan(1.0, 1.0, 1.0, 1.0, 1, 1, 15.0, 0))))
    for arguments in (("--seed", "1"), ("--minutes", "5", "--dry-run")):
        assert "holds a demo of seed 0, 15 minutes" in refused("demo", "--out", tmp_path, *arguments)


def test_without_options_the_recommended_settings_hold() -> None:
    assert resolved("train") == recommended("3d")
    assert resolved("pretrain") == with_values(
        recommended("2d"), {"start.modules": "gd", "network.position": False}
    )


def test_later_sources_win(tmp_path: Path) -> None:
    name = "coca64-baseline-inflate-1@bench"
    config = resolved(
        "train", "--preset", name, "--modules", "g", "--start", twin_run(tmp_path / "2d", "plain")
    )
    assert config.network == preset(name).network
    assert (config.start.strategy, config.start.modules) == ("inflate-1", "g")
    config = resolved("train", "--preset", name, "--modules", "g", "--set", "start.modules=d")
    assert config.start.modules == "d"


def test_the_data_decides_on_the_shape(prepared: Path) -> None:
    for command in WITH_SETTINGS:
        config = resolved(command, prepared)
        assert (config.network.base, config.network.stages) == ((2, 4, 4), 3)
        assert config.data == str(prepared)


def test_data_of_another_shape_is_refused(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = refused("train", prepared, "--preset", "coca64-split-shuffle@bench", "--out", out)
    assert "8x16x16" in line
    assert "16x32x32" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("kind", "strategy", "expected"),
    [("plain", None, DEFAULT_STRATEGY), ("planar", None, "planar"), ("plain", "inflate-3", "inflate-3")],
)
def test_the_2d_run_decides_on_networks_and_start(
    kind: str, strategy: str | None, expected: str, tmp_path: Path
) -> None:
    run = twin_run(tmp_path, kind)
    config = resolved("train", "--start", run, *(("--strategy", strategy) if strategy else ()))
    assert config.network == load_config(run).network
    assert (config.start.strategy, config.start.twin) == (expected, str(run))
    assert config.training == recommended("3d", expected).training
    assert config.data == "the twin's data"


def test_volumes_of_another_depth_than_the_twins_get_a_base_of_theirs(tmp_path: Path) -> None:
    twin = twin_run(tmp_path / "2d", "plain")  # base 2, 4, 4 and 4 stages
    deeper = write_prepared(tmp_path / "deeper", (24, 32, 32), 3, 1)
    config = resolved("train", deeper.root, "--start", twin)
    assert (config.network.base, config.network.stages) == ((3, 4, 4), 4)
    for name, shape in (("wide", (16, 64, 64)), ("odd", (12, 32, 32))):
        data = write_prepared(tmp_path / name, shape, 3, 1).root
        assert "the network makes 16x32x32" in refused(
            "train", data, "--start", twin, "--out", tmp_path / "r"
        )


def test_a_planar_twin_keeps_the_low_pass_and_its_3d_run_takes_it_over(tmp_path: Path) -> None:
    plain, planar = (resolved("pretrain", "--twin", kind) for kind in ("plain", "planar"))
    assert (plain.network.low_pass_d, plain.training.lr_d) == (False, 0.01)
    assert (planar.network.low_pass_d, planar.training.lr_d) == (True, 0.0025)
    save_config(planar, tmp_path)
    assert resolved("train", "--start", tmp_path).network == planar.network


def test_a_training_gets_what_the_dry_run_shows(
    prepared: Path, tmp_path: Path, trainings: list[tuple[RunConfig, Path, bool]]
) -> None:
    arguments = ("pretrain", prepared, "--out", tmp_path / "run", "--twin", "planar")
    result = voxflate(*arguments)
    assert result.exit_code == 0, result.output
    assert trainings == [(resolved(*arguments), tmp_path / "run", False)]


def test_resume_takes_the_settings_of_the_run(
    tmp_path: Path, trainings: list[tuple[RunConfig, Path, bool]]
) -> None:
    config = with_values(preset("coca64-split@bench"), {"data": "somewhere"})
    save_config(config, tmp_path)
    assert voxflate("train", "--out", tmp_path, "--resume", "--set", "training.kimg=99").exit_code == 0
    assert trainings == [(with_values(config, {"training.kimg": 99}), tmp_path, True)]


@pytest.mark.parametrize(
    "assignment",
    [
        "training.lr_g=0.001",
        "training.snapshot_kimg=1",
        "training.keep=5",
        "training.device=cpu",
        "training.precision=fp32",
        "evaluation.samples=10",
        "data=elsewhere",
        "training.seed=0",  # as it was
    ],
)
def test_what_a_resumed_run_may_change(
    assignment: str, tmp_path: Path, trainings: list[tuple[RunConfig, Path, bool]]
) -> None:
    save_config(with_values(recommended("3d"), {"data": "somewhere"}), tmp_path)
    result = voxflate("train", "--out", tmp_path, "--resume", "--set", assignment)
    assert result.exit_code == 0, result.output
    assert len(trainings) == 1


@pytest.mark.parametrize(
    ("assignment", "was"),
    [
        ("training.seed=5", "0"),
        ("training.batch=16", "8"),
        ("training.flip=true", "False"),
        ("training.phase=2d", "3d"),
        ("network.channels=16", "32"),
        ("start.modules=g", "gd"),
        ("preset=mine", ""),
    ],
)
def test_what_a_resumed_run_has_done_is_not_rewritten(
    assignment: str, was: str, tmp_path: Path, trainings: list[tuple[RunConfig, Path, bool]]
) -> None:
    save_config(recommended("3d"), tmp_path)
    line = refused("train", "--out", tmp_path, "--resume", "--set", assignment)
    assert assignment.partition("=")[0] in line
    assert f"was begun with {was}" in line
    assert not trainings


def test_a_command_trains_its_own_phase(prepared: Path, tmp_path: Path) -> None:
    flat, deep = twin_run(tmp_path / "2d", "plain"), tmp_path / "3d"
    save_config(recommended("3d"), deep)
    line = refused("pretrain", "--resume", "--out", deep)
    assert f"is a 3d run; go on with voxflate train --out {deep} --resume" in line
    assert "is a 2d run; go on with voxflate pretrain" in refused("train", "--resume", "--out", flat)
    assert "2d is voxflate pretrain" in refused("train", prepared, "--set", "training.phase=2d")
    assert "3d is voxflate train" in refused("pretrain", prepared, "--set", "training.phase=3d")


def test_what_a_training_refuses(prepared: Path, tmp_path: Path) -> None:
    run, twin = tmp_path / "run", twin_run(tmp_path / "twin", "plain")
    assert "no data" in refused("train", "--out", run)
    assert "--out RUN" in refused("train", prepared)
    assert "give --start RUN2D" in refused("train", prepared, "--strategy", "inflate-1", "--out", run)
    assert "is no prepared set" in refused("pretrain", tmp_path, "--out", run)
    assert "no such file or run folder" in refused("train", prepared, "--start", run, "--out", run)
    assert "nothing is inflated" in refused("train", "--start", twin, "--strategy", "none")
    assert "give one of them" in refused("train", "--preset", "x", "--config", "y")
    assert "--resume: which run?" in refused("train", "--resume")
    assert "continues with its own settings" in refused("train", "--resume", "--out", twin, "--preset", "x")
    assert "no such file or run folder" in refused("train", "--resume", "--out", run)
    assert not run.exists()


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
    assert result.stderr == "voxflate: interrupted; the same command goes on: voxflate demo --minutes 5\n"


def test_ctrl_c_in_prepare_says_that_the_same_command_goes_on(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("voxflate.data.preparing.prepare"), "prepare", interrupted)
    monkeypatch.setattr(sys, "argv", ["voxflate", "prepare", "scans", "set"])
    result = voxflate("prepare", scans, tmp_path / "set")
    assert result.exit_code == 130
    assert result.stderr == "voxflate: interrupted; the same command goes on: voxflate prepare scans set\n"


def test_a_plan_is_printed_and_nothing_is_made(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine("cpu", seconds_per_voxel=1e-6, gib_per_voxel=1e-6, gib_at_rest=0.5)
    monkeypatch.setattr("voxflate.training.planner.measure_machine", lambda config: machine)
    shown = voxflate("prepare", scans, tmp_path / "set", "--plan")
    assert shown.exit_code == 0
    assert "images/s" in shown.stdout
    assert "batch 8" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_a_machine_costs_is_measured_and_scaled() -> None:
    config = with_values(RunConfig(), {"training.batch": 2, "network.channels": 4})
    machine = measure_machine(config)
    assert 0.1 < machine.images_per_second((16, 32, 32)) < 10_000
    assert machine.images_per_second((32, 64, 64)) == pytest.approx(
        machine.images_per_second((16, 32, 32)) / 8
    )
    assert machine.gib((64, 64, 64), 8) >= machine.gib((16, 32, 32), 8) > 0


def test_presets_are_listed_and_printed() -> None:
    listed = voxflate("presets").stdout
    name = "coca128-split-shuffle-text-inflate-1"
    assert name in listed
    assert from_toml(voxflate("presets", name).stdout, name) == preset(name)
    assert from_toml(voxflate("presets", name, "--2d").stdout, name) == preset(name, "2d")
    assert "did you mean" in refused("presets", "coca64-splt")
    assert "training.r1_gamma = 0.0512" in voxflate("presets", "--keys").stdout


def test_params_shows_all_rows_of_the_paper_as_equal() -> None:
    result = voxflate("params")
    assert result.exit_code == 0
    assert "18 of 18 rows equal the paper" in result.stderr
    for text in ("0.291", "1.414", "1.121", "312,718", "11.001", "9,184,120", "316,929"):
        assert text in result.stdout


def test_a_comparison_model_named_with_set_brings_its_own_settings() -> None:
    config = from_toml(voxflate("train", "--set", "model=wgan-gp", "--dry-run").stdout, "output")
    assert (config.model, config.network.z_dim, config.comparison.critic_steps) == ("wgan-gp", 100, 5)


def test_the_version() -> None:
    from voxflate import __version__

    assert voxflate("--version").stdout.strip() == f"voxflate {__version__}"
