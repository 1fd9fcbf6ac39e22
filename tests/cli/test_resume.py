"""How a training is taken up from the command line, and how settings of other versions are read."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.calls import preset, recommended, refused, voxflate
from tests.strategies import run_config, write_prepared
from voxflate._system.errors import TrainingStopped, VoxflateError
from voxflate.config.migrations import MIGRATIONS, migrate
from voxflate.config.schema import VERSION, RunConfig
from voxflate.config.toml import from_dict, from_toml, load_config, save_config, to_toml, with_values
from voxflate.runs.snapshots import FOLDER, list_snapshots, load_newest


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
    assert "was started with 0" in line
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
    assert f"voxflate: continuing from {before}" in result.stderr


def test_settings_removed_from_a_run_are_missed(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", "--config", settings, "--out", run, "--resume", "auto")
    voxflate(*command)
    (run / "config.toml").unlink()
    assert f"{run}: is not a run folder, it has no config.toml" in refused(*command)
    assert len(list_snapshots(run)) == 2


@pytest.mark.parametrize(
    ("n_images", "said"),
    [(1234, "stopped and saved after 1234 images; continue with"), (None, "the same command continues")],
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
    monkeypatch.setattr("voxflate.config.migrations.MIGRATIONS", later)
    monkeypatch.setattr("voxflate.config.migrations.VERSION", 3)
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
        "training.tf32=false",
        "training.autotune=false",
        "training.kernels=plain",
        "training.compile=graphs",
        "training.micro_batch=4",
        "training.activation_checkpointing=true",
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
        ("training.batch=16", "4"),
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
    assert f"was started with {was}" in line
    assert not trainings


def test_a_run_that_ran_out_of_memory_is_rescued_with_smaller_pieces(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    less = (
        "training.micro_batch=2",
        "training.activation_checkpointing=true",
        "training.kernels=plain",
        "training.kimg=0.016",
    )
    command = ("train", "--out", run, "--resume", *(word for value in less for word in ("--set", value)))
    result = voxflate(*command)
    assert result.exit_code == 0, result.output
    assert load_newest(run)[0]["n_images"] == 16
    assert load_config(run).training.micro_batch == 2


def test_what_a_resumed_run_changes_stands_in_run_json_and_verify_shows_it(
    settings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    assert "never changed" in voxflate("verify", run).stdout
    rates = ("--set", "training.lr_g=0.001", "--set", "training.kimg=0.016")
    assert voxflate("train", "--out", run, "--resume", *rates).exit_code == 0
    first, second = json.loads((run / "run.json").read_text())["settings"]
    assert (first["from_images"], second["from_images"]) == (0, 8)
    assert (first["settings"]["training.lr_g"], first["settings"]["training.kimg"]) == (0.004, 0.008)
    assert second["settings"] == {"training.lr_g": 0.001, "training.kimg": 0.016}
    assert voxflate("train", "--out", run, "--resume").exit_code == 0  # changes nothing
    assert len(json.loads((run / "run.json").read_text())["settings"]) == 2
    shown = voxflate("verify", run)
    assert shown.exit_code == 0, shown.output
    assert "training.lr_g 0.004 -> 0.001 from 8 images" in shown.stdout
    save_config(with_values(load_config(run), {"training.lr_g": 0.5}), run)
    shown = voxflate("verify", run)
    assert shown.exit_code != 0
    assert "config.toml has training.lr_g = 0.5, trained with 0.001" in shown.stdout


def test_a_run_of_an_older_version_is_taken_up_with_its_first_settings_recorded(
    settings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    facts = json.loads((run / "run.json").read_text())
    del facts["settings"]
    (run / "run.json").write_text(json.dumps(facts))
    assert "older than this record" in voxflate("verify", run).stdout
    changes = ("--set", "training.lr_d=0.001", "--set", "training.kimg=0.016")
    assert voxflate("train", "--out", run, "--resume", *changes).exit_code == 0
    first, second = json.loads((run / "run.json").read_text())["settings"]
    assert first["settings"]["training.lr_d"] == 0.004
    assert second == {"from_images": 8, "settings": {"training.lr_d": 0.001, "training.kimg": 0.016}}


def test_auto_compares_what_is_named_and_keeps_the_rest(
    prepared: Path, tmp_path: Path, trainings: list[tuple[RunConfig, Path, bool]]
) -> None:
    """So a new version with better recommendations takes up the runs of an old one."""
    run, file = tmp_path / "run", tmp_path / "mine.toml"
    begun = run_config(prepared, network__low_pass_d=True, training__lr_g=0.004)
    save_config(begun, run)
    (run / FOLDER).mkdir()
    (run / FOLDER / "snapshot-000000008.pt").touch()
    file.write_text("[training]\nbatch = 4\n")
    command = ("train", "--config", file, "--out", run, "--resume", "auto")
    assert voxflate(*command).exit_code == 0
    assert trainings == [(begun, run, True)]
    file.write_text("[training]\nbatch = 2\n")
    assert "the command says training.batch = 2" in refused(*command)


def test_a_run_continues_after_it_and_its_2d_run_were_moved(prepared: Path, tmp_path: Path) -> None:
    """The 2D run is known by its settings, not by its path; another 2D run is still refused."""
    here, there = tmp_path / "here", tmp_path / "there"
    first = run_config(prepared, training__phase="2d", training__kimg=0.004)
    assert (
        voxflate("pretrain", "--config", save_config(first, tmp_path / "a"), "--out", here / "2d").exit_code
        == 0
    )
    other = with_values(first, {"training.lr_g": 0.0001})  # which a continued run may change
    assert (
        voxflate(
            "pretrain", "--config", save_config(other, tmp_path / "b"), "--out", here / "other"
        ).exit_code
        == 0
    )
    settings = save_config(run_config(prepared, training__kimg=0.004), tmp_path / "c")
    begin = ("train", prepared, "--config", settings, "--strategy", "inflate-1")
    started = voxflate(*begin, "--start", here / "2d", "--out", here / "3d")
    assert started.exit_code == 0, started.output
    here.rename(there)
    again = ("train", prepared, "--out", there / "3d", "--resume", "auto", "--set", "training.kimg=0.008")
    line = refused(*again, "--start", there / "other")
    assert f"was started with {here / '2d'}" in line
    assert f"by --out {there / '3d'} --resume" in line
    continued = voxflate(*again, "--start", there / "2d")
    assert continued.exit_code == 0, continued.output
    assert load_newest(there / "3d")[0]["n_images"] == 8
    assert load_config(there / "3d").start.twin == str(there / "2d")
    (there / "2d").rename(tmp_path / "gone")
    assert voxflate(*again, "--start", there / "2d").exit_code == 0  # the same command, again and again


def test_moved_data_gets_its_next_step(settings: Path, prepared: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    gone = tmp_path / "gone"
    save_config(with_values(load_config(run), {"data": str(gone)}), run)
    assert "if the data was moved, give its folder as the first argument" in refused(
        "train", "--out", run, "--resume"
    )
    assert "if the data was moved, give its folder with --data FOLDER" in refused("verify", run)


def test_a_new_run_overwrites_no_files(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("train", "--config", settings, "--out", run)
    run.mkdir()
    (run / "report.html").write_text("mine")
    assert "is not empty, it has report.html; choose a new or empty folder" in refused(*command)
    assert (run / "report.html").read_text() == "mine"
    (run / "report.html").unlink()
    assert voxflate(*command).exit_code == 0
    rows = (run / "log.jsonl").read_text()
    shutil.rmtree(run / FOLDER)
    for words in ((), ("--resume", "auto")):
        assert "but its snapshots are missing; put" in refused(*command, *words)
    assert (run / "log.jsonl").read_text() == rows


def test_a_run_that_stopped_before_its_first_snapshot_begins_again(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    command = ("train", "--config", settings, "--out", run, "--resume", "auto")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("voxflate.training.recorder.save_snapshot", killed)
        assert voxflate(*command).exit_code != 0
    assert (run / "run.json").is_file()
    assert voxflate(*command).exit_code == 0
    assert load_newest(run)[0]["n_images"] == 8


def test_a_run_is_not_shortened_below_what_it_trained(settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert voxflate("train", "--config", settings, "--out", run).exit_code == 0
    result = voxflate("train", "--out", run, "--resume", "--set", "training.kimg=0.004")
    assert result.exit_code == 2
    said = "training.kimg = 0.004, but 0.008 kimg are already trained; set training.kimg=0.008 or more\n"
    assert result.stderr.endswith(said)
    assert load_config(run).training.kimg == 0.008
