from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from voxflate._system.errors import VoxflateError
from voxflate.config.presets import PRESETS
from voxflate.config.schema import (
    ARCHITECTURES,
    AUGMENTATIONS,
    CRITIC_NORMS,
    DEFAULT_MODEL,
    MODELS,
    STRATEGIES,
    NetworkConfig,
    RunConfig,
    StartConfig,
    TrainingConfig,
)
from voxflate.config.toml import (
    describe_settings,
    from_toml,
    load_config,
    parse_assignments,
    save_config,
    to_toml,
    with_values,
)

SIDES = st.integers(1, 6)
CONFIGS = st.builds(
    RunConfig,
    data=st.text(),
    network=st.builds(
        NetworkConfig,
        architecture=st.sampled_from(ARCHITECTURES),
        base=st.tuples(SIDES, SIDES, SIDES),
        stages=st.integers(1, 6),
        channels=st.sampled_from([4, 32, 64]),
        position=st.just(True),
    ),
    start=st.builds(StartConfig, strategy=st.sampled_from(STRATEGIES), twin=st.text()),
    training=st.builds(
        TrainingConfig,
        kimg=st.floats(0.001, 1e6),
        lr_g=st.floats(1e-9, 1),
        batch=st.sampled_from([1, 3, 4, 8, 128]),
        augment=st.lists(st.sampled_from(AUGMENTATIONS), unique=True).map(",".join),
    ),
)


@given(CONFIGS, st.one_of(st.text(), st.sampled_from([*PRESETS])))
def test_toml_gives_the_same_settings_back(config: RunConfig, preset: str) -> None:
    config = with_values(config, {"preset": preset})
    assert from_toml(to_toml(config), "text") == config


def test_a_saved_run_loads_from_its_folder_and_from_its_file(tmp_path: Path) -> None:
    config = with_values(RunConfig(), {"training.kimg": 7, "data": "somewhere"})
    path = save_config(config, tmp_path / "run")
    assert load_config(path) == load_config(tmp_path / "run") == config


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("training.lr", "training.lr_g"),
        ("training.snapshots_kimg", "training.snapshot_kimg"),
        ("channels", "network.channels"),
        ("start.strategie", "start.strategy"),
        ("trainin", "training"),
    ],
)
def test_an_unknown_key_proposes_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(VoxflateError, match=rf"unknown key .*; did you mean {nearest}\?$"):
        with_values(RunConfig(), {key: 1})


def test_a_key_like_no_other_points_to_the_list() -> None:
    with pytest.raises(VoxflateError, match="voxflate presets --keys"):
        with_values(RunConfig(), {"qqqqqqqq": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training.batch": 0}, "training.batch = 0: "),
        ({"training.batch": 6}, "batch = 6: must be a multiple of mbstd_group = 4"),
        ({"training.kimg": float("nan")}, "training.kimg = nan: "),
        ({"training.augment": "cutout,rotate"}, "'rotate' is not one of translation, cutout, intensity"),
        ({"training.device": "gpu"}, "training.device = 'gpu': "),
        ({"training.device": "mps"}, "is not auto, cpu, cuda or cuda:N"),
        ({"training.device": "cuda:"}, "training.device = 'cuda:': "),
        ({"network.architecture": "resnet"}, "is not one of baseline, group-d"),
        ({"network.channels": 31}, "channels = 31: must be even"),
        ({"network.architecture": "group-d", "network.channels": 6}, "must be a multiple of 4"),
        ({"network.finest_channels": 9}, "finest_channels = 9: must be even"),
        (
            {"network.architecture": "baseline", "network.symmetric_d": True},
            "network.symmetric_d = true: the discriminator of baseline is not split; set false",
        ),
        ({"network.base": [4, 4]}, "network.base"),
        ({"start.strategy": "inflate-4"}, "is not one of none, inflate-1"),
        ({"start.strategy": "planar"}, "network.position = false"),
        ({"training.phase": "2d", "training.twin": "planar"}, "network.position = false"),
        ({"training.phase": "2d", "start.strategy": "inflate-1"}, "only a 3d run"),
        ({"model": "3d-gan"}, "is not one of stylegan2, wgan-gp"),
        ({"model": "vae-gan", "network.base": [3, 4, 4]}, "multiple of 16, the volume is 24x32x32"),
        ({"model": "vae-gan", "network.channels": 12}, "network.channels = 12 must be a multiple of 8"),
        ({"model": "vae-gan", "network.finest_channels": 8}, "network.finest_channels is for stylegan2"),
        ({"model": "vae-gan", "training.phase": "2d"}, "model = vae-gan: has no 2D twin"),
        ({"model": "alpha-gan", "start.strategy": "inflate-1"}, "has no start.strategy = inflate-1"),
        ({"training.phase": "2d", "network.position": True}, "network.position = true: a plain twin"),
        ({"model": "wgan-gp", "training.batch": 1}, "training.batch = 1 is too small"),
        ({"model": "wgan-gp", "training.augment": "cutout"}, "training.augment is for stylegan2"),
        ({"model": "wgan-gp", "training.precision": "bf16"}, "precision = bf16 is for stylegan2"),
        ({"training.precision": "fp16"}, "has too small a range for the gradients of R1"),
        ({"network.critic_norm": "group"}, "is not one of batch, layer"),
        ({"comparison.critic_steps": 0}, "comparison.critic_steps = 0: "),
        ({"data.folder": "x"}, "data has no keys of its own"),
        ({"training": 3}, "training = 3: "),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(values: dict[str, object], message: str) -> None:
    with pytest.raises(VoxflateError) as caught:
        with_values(RunConfig(), values, "run.toml")
    text = str(caught.value)
    assert text.startswith("run.toml: ")
    assert message in text
    assert "\n" not in text


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().training.batch = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("training.kimg=3", 3),
        ("training.flip = true", True),
        ("network.base=[2, 4, 4]", [2, 4, 4]),
        ("network.base=2,4,4", "2,4,4"),
        ("network.architecture=split", "split"),
        ('network.architecture="split"', "split"),
        ("data=2024", "2024"),
        ("data=a=b", "a=b"),
        ("start.twin=", ""),
    ],
)
def test_assignments_read_numbers_truths_lists_and_names(text: str, value: object) -> None:
    assert list(parse_assignments([text]).values()) == [value]


@pytest.mark.parametrize("text", ["training.kimg", "=3", "training.kimg 3"])
def test_an_assignment_needs_a_key_and_a_value(text: str) -> None:
    with pytest.raises(VoxflateError, match="expected key=value"):
        parse_assignments([text])


@pytest.mark.parametrize("base", ["2,4,4", "2x4x4", "2, 4, 4"])
def test_sizes_need_no_brackets_on_the_command_line(base: str) -> None:
    config = with_values(RunConfig(), parse_assignments([f"network.base={base}", "network.stages=5"]))
    assert config.network.shape == (32, 64, 64)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(RunConfig()), encoding="utf-8-sig")
    assert load_config(tmp_path / "run.toml") == RunConfig()


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("kimg: 3")
    with pytest.raises(VoxflateError, match=r"run\.toml: is not valid TOML"):
        load_config(path)


def test_a_missing_file_and_a_folder_without_a_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(VoxflateError, match="no such file or run folder"):
        load_config(tmp_path / "missing")
    with pytest.raises(VoxflateError, match="is not a run folder"):
        load_config(tmp_path)


def test_every_setting_says_what_it_means() -> None:
    for key, _, meaning in describe_settings():
        assert len(meaning) > 10, key


def test_the_names_are_those_of_the_tables() -> None:
    from voxflate.inflation.strategies import STRATEGIES as RULES
    from voxflate.nn.conv_modules import ARCHITECTURES as MODULES

    assert set(STRATEGIES) == {"none", *RULES}
    assert set(ARCHITECTURES) == set(MODULES)

    from voxflate.gans import GANS
    from voxflate.nn.dcgan import NORMS

    assert set(MODELS) == set(GANS)
    assert set(CRITIC_NORMS) == set(NORMS)


def test_a_file_from_before_there_were_models_is_of_stylegan2() -> None:
    assert from_toml('data = "brains"', "text").model == DEFAULT_MODEL == "stylegan2"


def test_one_sample_is_refused_and_none_means_as_many_as_real_volumes() -> None:
    assert RunConfig().evaluation.samples == 0
    with pytest.raises(ValueError, match="0 for as many as real volumes"):
        RunConfig(evaluation={"samples": 1})
