"""How a training is taken up from the command line, and how settings of other versions are read."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.strategies import run_config, write_prepared
from voxflate._system.errors import TrainingStopped, VoxflateError
from voxflate.cli import app
from voxflate.config.schema import MIGRATIONS, VERSION, RunConfig, migrate
from voxflate.config.toml import from_dict, from_toml, load_config, save_config, to_toml
from voxflate.runs.snapshots import FOLDER, list_snapshots, load_newest


def voxflate(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    result = voxflate(*arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return str(line)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data") / "set").root


@pytest.fixture
def settings(prepared: Path, tmp_path: Path) -> Path:
    """A file of settings, as `--config` takes it."""
    return save_config(run_config(prepared, training__kimg=0.008), tmp_path / "settings")


def test_one_command_begins_goes_on_and_finds_nothing_left_to_do(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", "--config", settings, "--out", run, "--resume", "auto")
    assert voxflate(*command).exit_code == 0
    assert [path.name for path in list_snapshots(run)] == [
        "snapshot-000000000.safetensors",
        "snapshot-000000008.safetensors",
    ]
    assert voxflate(*command, "--set", "training.kimg=0.016").exit_code == 0
    assert load_newest(run)[0]["n_images"] == 16
    before = {path: path.read_bytes() for path in (run / FOLDER).iterdir()}
    assert voxflate(*command, "--set", "training.kimg=0.016").exit_code == 0
    assert {path: path.read_bytes() for path in (run / FOLDER).iterdir()} == before
    line = refused(*command, "--set", "training.seed=1")
    assert "the command says training.seed = 1" in line
    assert "was begun with 0" in line
    assert voxflate("train", "--out", run, "--resume", "auto").exit_code == 0


def test_resume_alone_means_the_last_run_and_leaves_other_words_alone(
    settings: Path, prepared: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert "no such file or run folder" in refused("train", "--out", run, "--resume")
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    for words in (("--resume", prepared), ("--resume=last",), ("--resume", "last"), ("--resume",)):
        result = voxflate("train", *words, "--out", run)
        assert result.exit_code == 0, result.output
    assert "with --config: a run continues with its own settings" in refused(
        "train", "--config", settings, "--out", run, "--resume"
    )
    assert voxflate("train", "--out", run, "--resume=often").exit_code == 2


def test_a_skipped_snapshot_is_said(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    voxflate("train", "--config", settings, "--out", run)
    damaged, before = list_snapshots(run)[-1], list_snapshots(run)[-2]
    damaged.write_bytes(damaged.read_bytes()[:5000])
    result = voxflate("train", "--config", settings, "--out", run, "--resume", "auto")
    assert result.exit_code == 0
    assert f"voxflate: skipped {damaged}: is not a snapshot, or is damaged" in result.stderr
    assert f"voxflate: going on from {before}" in result.stderr


def test_settings_removed_from_a_run_are_missed(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", "--config", settings, "--out", run, "--resume", "auto")
    voxflate(*command)
    (run / "config.toml").unlink()
    assert f"{run}: is no run folder, it has no config.toml" in refused(*command)
    assert len(list_snapshots(run)) == 2


@pytest.mark.parametrize(
    ("n_images", "said"),
    [(1234, "stopped after 1234 images, all saved; go on with"), (None, "the same command goes on")],
)
def test_a_stopped_training_exits_0_with_a_hint(
    n_images: int | None, said: str, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise TrainingStopped(n_images)

    fake = SimpleNamespace(train_run=stopped)
    monkeypatch.setitem(sys.modules, "voxflate.training.run", fake)  # type: ignore[arg-type]
    words = ["train", "--config", str(settings), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["voxflate", *words])
    result = voxflate(*words)
    assert result.exit_code == 0
    again = " --resume auto" if n_images else ""
    assert said in result.stderr
    assert result.stderr.endswith(f": voxflate {' '.join(words)}{again}\n")


def test_settings_say_their_version_and_those_without_are_migrated() -> None:
    assert f"version = {VERSION}" in to_toml(RunConfig())
    assert from_dict({"training": {"kimg": 5}}, "test").version == VERSION
    assert sorted(MIGRATIONS) == list(range(VERSION))


@pytest.mark.parametrize("version", [VERSION + 1, -1, "new", 1.5, []])
def test_settings_of_an_unknown_version_are_refused_by_name(version: object, tmp_path: Path) -> None:
    with pytest.raises(
        VoxflateError, match=r"has version = .*, this voxflate reads 0 to \d+; update voxflate"
    ):
        from_dict({"version": version}, "run/config.toml")
    with pytest.raises(VoxflateError, match=r"config\.toml: has version = 99"):
        from_toml("version = 99", "config.toml")


def test_migrations_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they will be: a renamed setting, then a setting whose unit changed."""
    later = {
        0: MIGRATIONS[0],
        1: lambda content: {"kimg": content["kilo"]},
        2: lambda content: {"images": content["kimg"] * 1000},
    }
    monkeypatch.setattr("voxflate.config.schema.MIGRATIONS", later)
    monkeypatch.setattr("voxflate.config.schema.VERSION", 3)
    expected = {"version": 3, "images": 2000}
    assert migrate({"kilo": 2}) == migrate({"version": 1, "kilo": 2}) == expected
    assert migrate({"version": 2, "kimg": 2}) == expected


def test_a_run_from_before_versions_is_taken_up(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    path = run / "config.toml"
    path.write_text(path.read_text().replace(f"version = {VERSION}\n", ""))
    assert "version" not in path.read_text()
    assert voxflate("train", "--out", run, "--resume", "--set", "training.kimg=0.016").exit_code == 0
    assert load_config(run).version == VERSION
