"""Which settings a command resolves to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calls import preset, recommended, refused, resolved, twin_run, voxflate
from tests.strategies import PAIRS, write_prepared
from voxflate.config.presets import PRESETS
from voxflate.config.recommended import DEFAULT_STRATEGY
from voxflate.config.schema import DEFAULT_MODEL, MODELS, STRATEGIES, RunConfig
from voxflate.config.toml import from_toml, load_config, save_config, with_values

WITH_SETTINGS = ("pretrain", "train")


@pytest.mark.parametrize("command", WITH_SETTINGS)
def test_dry_run_prints_settings_that_load_back(command: str, tmp_path: Path) -> None:
    config = resolved(command, "--set", "training.kimg=3.5", "--set", "network.channels=16")
    assert (config.training.kimg, config.network.channels) == (3.5, 16)
    file = tmp_path / "settings.toml"
    file.write_text(voxflate(command, "--config", save_config(config, tmp_path), "--dry-run").stdout)
    assert load_config(file) == config


STARTS = [
    ("pretrain",),
    ("pretrain", "--twin", "planar"),
    *(("train", "--strategy", strategy) for strategy in STRATEGIES),
    *(("train", "--set", f"model={model}") for model in MODELS),
    *(("train", "--preset", f"{name}{scale}") for name in PRESETS for scale in ("", "@bench")),
    *(
        ("pretrain", "--preset", f"{name}{scale}")
        for name, row in PRESETS.items()
        for scale in ("", "@bench")
        if row.values["model"] == DEFAULT_MODEL
    ),
]


@pytest.mark.parametrize("command", STARTS, ids=" ".join)
def test_a_dry_run_is_a_file_that_gives_the_same_dry_run(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(voxflate(*command, "--dry-run").stdout)
    again = voxflate(command[0], "--config", file, "--dry-run")
    assert again.exit_code == 0, again.output
    assert again.stdout == file.read_text() != ""


def test_a_file_of_one_line_changes_that_line_alone(prepared: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[training]\nkimg = 0.2\n")
    twin = twin_run(tmp_path / "2d", "plain")
    for command in (
        ("pretrain",),
        ("pretrain", "--twin", "planar"),
        ("pretrain", prepared),
        ("train", prepared),
        ("train", "--start", twin),
        ("train", "--start", twin, "--strategy", "inflate-1"),
    ):
        expected = with_values(resolved(*command), {"training.kimg": 0.2})
        assert resolved(*command, "--config", file) == expected
        assert resolved(*command, "--set", "training.kimg=0.2") == expected


def test_a_file_names_a_preset_and_changes_from_there(tmp_path: Path) -> None:
    file, name = tmp_path / "my.toml", "coca64-split-shuffle-inflate-1@bench"
    file.write_text(f'preset = "{name}"\n[training]\nkimg = 7\n')
    for command, phase in (("train", "3d"), ("pretrain", "2d")):
        config = with_values(preset(name, phase), {"training.kimg": 7})  # type: ignore[arg-type]
        assert resolved(command, "--config", file) == config
        assert resolved(command, "--set", f"preset={name}", "--set", "training.kimg=7") == config
    file.write_text('preset = "coca64-splt"\n')
    line = refused("train", "--config", file)
    assert line == f"voxflate: {file}: preset = coca64-splt: no such preset; did you mean coca64-split?"


def test_a_preset_trains_on_the_2d_runs_data(tmp_path: Path) -> None:
    twin = twin_run(tmp_path / "2d", "plain")
    config = resolved("train", "--preset", "coca64-split-shuffle-inflate-1@bench", "--start", twin)
    assert (config.data, config.start.strategy) == ("the twin's data", "inflate-1")


def test_a_file_that_names_the_2d_run_starts_as_the_option_does(tmp_path: Path) -> None:
    for kind in ("plain", "planar"):
        twin, file = twin_run(tmp_path / kind, kind), tmp_path / f"{kind}.toml"
        file.write_text(f'[start]\ntwin = "{twin}"\n')
        assert resolved("train", "--config", file) == resolved("train", "--start", twin)


def test_a_repeated_run_does_not_need_its_2d_run_to_be_shown(tmp_path: Path) -> None:
    config = with_values(recommended("3d", "preserving"), {"start.twin": "gone", "data": "gone"})
    save_config(config, tmp_path)
    assert resolved("train", "--config", tmp_path) == config


def test_a_bad_value_is_blamed_on_its_source(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[training]\nbatch = 6\n")
    assert refused("train", "--config", file).startswith(f"voxflate: {file}: training.batch = 6: must be")
    assert resolved("train", "--config", file, "--set", "training.mbstd_group=3").training.batch == 6
    file.write_text("[training]\nbatch = 8\n")
    assert refused("train", "--config", file, "--set", "training.batch=6").startswith("voxflate: --set: ")
    assert "data.x: data has no keys" in refused("train", "--set", "data=a", "--set", "data.x=1")


def test_a_file_of_the_other_phase_is_refused(tmp_path: Path) -> None:
    flat, deep = (save_config(recommended(phase), tmp_path / phase) for phase in ("2d", "3d"))  # type: ignore[arg-type]
    assert "training.phase = 2d: the command sets the phase" in refused("train", "--config", flat)
    assert "training.phase = 3d: the command sets the phase" in refused("pretrain", "--config", deep)


def test_advice_works_when_it_is_followed(prepared: Path, tmp_path: Path) -> None:
    twin, file = twin_run(tmp_path / "2d", "plain"), tmp_path / "my.toml"
    file.write_text('[start]\nstrategy = "none"\n')
    command = ("train", "--config", file, "--start", twin)
    assert "choose --strategy preserving (ours) or inflate-1" in refused(*command)
    assert resolved(*command, "--strategy", "inflate-1").start.strategy == "inflate-1"
    command = ("train", prepared, "--preset", "coca64-split-shuffle@bench")
    advice = refused(*command).rpartition("; set ")[2].split(" and ")
    assert advice == ["network.base=2,4,4", "network.stages=3"]
    settings = [word for assignment in advice for word in ("--set", assignment)]
    assert resolved(*command, *settings).network.shape == (8, 16, 16)


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


def test_a_command_trains_its_own_phase(prepared: Path, tmp_path: Path) -> None:
    flat, deep = twin_run(tmp_path / "2d", "plain"), tmp_path / "3d"
    save_config(recommended("3d"), deep)
    line = refused("pretrain", "--resume", "--out", deep)
    assert f"is a 3d run; continue with voxflate train --out {deep} --resume" in line
    assert "is a 2d run; continue with voxflate pretrain" in refused("train", "--resume", "--out", flat)
    assert "2d is voxflate pretrain" in refused("train", prepared, "--set", "training.phase=2d")
    assert "3d is voxflate train" in refused("pretrain", prepared, "--set", "training.phase=3d")


def test_what_a_training_refuses(prepared: Path, tmp_path: Path) -> None:
    run, twin = tmp_path / "run", twin_run(tmp_path / "twin", "plain")
    assert "no data" in refused("train", "--out", run)
    assert "--out RUN" in refused("train", prepared)
    assert "give --start RUN2D" in refused("train", prepared, "--strategy", "inflate-1", "--out", run)
    assert "is not a prepared set" in refused("pretrain", tmp_path, "--out", run)
    assert "no such file or run folder" in refused("train", prepared, "--start", run, "--out", run)
    assert "nothing is inflated" in refused("train", "--start", twin, "--strategy", "none")
    assert "give one of them" in refused("train", "--preset", "x", "--config", "y")
    assert "--resume: needs the folder of the run" in refused("train", "--resume")
    assert "continues with its own settings" in refused("train", "--resume", "--out", twin, "--preset", "x")
    assert "no such file or run folder" in refused("train", "--resume", "--out", run)
    assert not run.exists()


def test_a_comparison_model_named_with_set_brings_its_own_settings() -> None:
    config = from_toml(voxflate("train", "--set", "model=wgan-gp", "--dry-run").stdout, "output")
    assert (config.model, config.network.z_dim, config.comparison.critic_steps) == ("wgan-gp", 100, 5)


def test_channels_and_labels_come_from_the_prepared_set(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "pairs", (16, 32, 32), layout=PAIRS).root
    for command in ("pretrain", "train"):
        network = resolved(command, data).network
        assert (network.image_channels, network.label_width) == (4, 3)
        network = resolved(command, data, "--set", "network.label_width=0").network
        assert (network.image_channels, network.label_width) == (4, 0)
    message = "have 4 channels (t1, t2, front, back), the network 1; set network.image_channels=4"
    assert message in refused("train", data, "--set", "network.image_channels=1")
    assert message in refused("train", data, "--preset", "coca64-baseline@bench")
    assert "takes no labels" in refused("train", data, "--set", "model=wgan-gp")


def test_a_prepared_set_in_the_place_of_a_run_is_named_with_the_next_step(
    prepared: Path, tmp_path: Path
) -> None:
    for command in (
        ("generate", prepared, "--out", tmp_path / "new"),
        ("train", prepared, "--start", prepared),
    ):
        line = refused(*command)
        assert f"{prepared}: is a prepared set, not a run folder" in line
        assert f"voxflate pretrain {prepared} --out RUN2D" in line


def test_a_2d_run_of_other_data_is_blamed_instead_of_the_settings(tmp_path: Path) -> None:
    twin = twin_run(tmp_path / "2d", "plain")
    finer = write_prepared(tmp_path / "finer", (4, 16, 16)).root
    line = refused("train", finer, "--start", twin)
    assert f"because the 2D run {twin} was trained on other data; pretrain on this set" in line
    assert "set network.base" not in line


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("training.kimg=1e308", "less than or equal to 1000000000"),
        ("training.kimg=1e-9", "greater than or equal to 0.001"),
        ("training.snapshot_kimg=1e308", "less than or equal to 1000000000"),
        ("training.seed=99999999999999999999", "less than or equal to 9223372036854775807"),
        ("training.threads=100000", "less than or equal to 1024"),
        ("start={twin=5}", "start.twin = 5: input should be a valid string"),
        ("training=3", "--set: training = 3: is a section, not a value; give its settings as training.KEY"),
    ],
)
def test_a_value_out_of_its_limits_is_one_line(assignment: str, said: str) -> None:
    assert said in refused("train", "--dry-run", "--set", assignment)


@pytest.mark.parametrize("text", ["[[training]]\nkimg = 3\n", "training = 3\n"])
def test_a_section_that_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(text)
    line = refused("train", "--dry-run", "--config", file)
    assert line.startswith(f"voxflate: {file}: training = ")
    assert "is a section, not a value" in line


def test_a_section_after_its_own_settings_is_refused() -> None:
    words = ("--set", "training.seed=7", "--set", "training={kimg=3}")
    assert "training: its own settings are given, too" in refused("train", "--dry-run", *words)


def test_folders_given_by_set_are_stored_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved("train", "--set", "data=brains").data == str(tmp_path / "brains")
