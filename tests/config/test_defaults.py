"""What is not named is recommended, however the rest arrives; older files keep their meaning."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from pydantic import ValidationError

from tests.strategies import run_config
from voxflate._system.errors import VoxflateError
from voxflate.config import build
from voxflate.config.migrations import UNNAMED_IN_1
from voxflate.config.schema import (
    INFLATIONS,
    MODELS,
    STRATEGIES,
    VERSION,
    NetworkConfig,
    RunConfig,
    StartConfig,
    TrainingConfig,
)
from voxflate.config.toml import (
    describe_settings,
    from_dict,
    from_toml,
    from_values,
    load_config,
    resolve,
    save_config,
    to_toml,
    with_values,
)
from voxflate.config.values import flat, nested, overlay
from voxflate.gans.settings import NetworkPlan, Settings
from voxflate.runs.load import check_networks

CASES: list[dict[str, Any]] = [
    {},
    {"training.phase": "2d"},
    {"training.phase": "2d", "training.twin": "planar", "training.kimg": 3},
    *({"start.strategy": strategy, "training.batch": 16} for strategy in STRATEGIES),
    *({"model": model} for model in MODELS),
    {"preset": "coca64-split-shuffle-inflate-1@bench", "training.kimg": 3},
    {"preset": "coca64-split-shuffle-inflate-1@bench", "training.phase": "2d"},
]


@pytest.mark.parametrize("named", CASES, ids=str)
def test_every_way_to_settings_gives_the_same(named: dict[str, Any], tmp_path: Path) -> None:
    expected = from_values(named)
    text = tomli_w.dumps(nested(named))
    path = tmp_path / "config.toml"  # the name of a run's, but nobody trained here
    path.write_text(text)
    sections = {
        "network": NetworkConfig,
        "start": StartConfig,
        "training": TrainingConfig,
    }
    objects = {
        name: sections[name](**value) if name in sections else value for name, value in nested(named).items()
    }
    assert RunConfig(**nested(named)) == expected
    assert RunConfig(**objects) == expected
    assert from_dict(nested(named), "test") == expected
    assert from_toml(text, "test") == expected
    assert load_config(path) == expected
    assert load_config(save_config(expected, tmp_path / "run")) == expected


def test_recommended_values_depend_on_what_is_trained() -> None:
    scratch, flat_run = RunConfig(), RunConfig(training={"phase": "2d"})
    assert (scratch.training.kimg, flat_run.training.kimg) == (25, 60)
    assert scratch.training.reuse_fakes
    assert flat_run.training.reuse_fakes
    paper = RunConfig(preset="coca64-split-shuffle-inflate-1")
    assert not paper.training.reuse_fakes  # nor the paper's rows, nor models whose steps share nothing
    assert not RunConfig(model="vae-gan").training.reuse_fakes
    assert (scratch.training.lr_d, flat_run.training.lr_d) == (0.004, 0.01)
    assert not scratch.network.low_pass_d
    assert not flat_run.network.low_pass_d
    for strategy in INFLATIONS:
        config = RunConfig(start={"strategy": strategy})
        assert config.training.train_noise == (strategy not in ("preserving", "planar"))


@pytest.mark.parametrize(("base", "small"), [((2, 4, 4), True), ((1, 4, 4), True), ((3, 4, 4), False)])
def test_small_volumes_are_learned_faster(base: tuple[int, ...], small: bool) -> None:
    network = {"base": base, "stages": 4}
    for strategy in STRATEGIES:
        training = RunConfig(network=network, start={"strategy": strategy}).training
        large = {"none": 0.0025, "planar": 0.001}.get(strategy, 0.002)
        expected = 0.004 if small and strategy != "planar" else large
        assert training.lr_g == training.lr_d == expected
    assert RunConfig(network={**network, "image_channels": 2}).training.lr_g == 0.0025
    assert RunConfig(network=network, training={"phase": "2d"}).training.lr_g == 0.0025
    paper = RunConfig(preset="coca64-split-shuffle-inflate-1@bench", network=network)
    assert paper.training.lr_g == 0.002


def test_slices_are_judged_in_both_phases() -> None:
    for strategy in STRATEGIES:
        config = RunConfig(start={"strategy": strategy})
        slices = config.slice_discriminator
        assert (slices.weight, slices.per_volume, slices.channels) == (1, 3, "neighbours")
        assert config.training.batch == 4
    twin = RunConfig(training={"phase": "2d"})
    assert (twin.slice_discriminator.weight, twin.slice_discriminator.channels) == (1, "colours")
    assert twin.training.batch == 8
    # Scan and masks are the colours of a slice, so that the discriminator sees whether they match.
    assert RunConfig(network={"image_channels": 3}).slice_discriminator.channels == "colours"
    without: list[dict[str, Any]] = [
        {"training": {"phase": "2d", "twin": "planar"}},
        {"preset": "coca64-split-shuffle-inflate-1@bench"},
        *({"model": model} for model in MODELS if model != "stylegan2"),
    ]
    for named in without:
        assert RunConfig(**named).slice_discriminator.weight == 0


@pytest.mark.parametrize(
    ("base", "stages", "gamma", "side"),
    [
        ((2, 4, 4), 4, 0.0512, 64),
        ((2, 4, 4), 2, 0.0512, 64),
        ("2x4x4", 5, 0.4096, 128),
        ([4, 4, 4], 5, 0.8192, 128),
        ((3, 3, 3), 4 + 1, 0.3456, 96),
        ((1, 4, 4), 6, 0.8192, 128),
    ],
)
def test_larger_volumes_get_more_r1_and_larger_slices(
    base: object, stages: int, gamma: float, side: int
) -> None:
    config = RunConfig(network={"base": base, "stages": stages})
    assert (config.training.r1_gamma, config.slice_discriminator.side) == (gamma, side)
    flat_run = RunConfig(network={"base": base, "stages": stages}, training={"phase": "2d"})
    assert (flat_run.training.r1_gamma, flat_run.slice_discriminator.side) == (0.0512, 64)


@pytest.mark.parametrize("network", [{"base": 7}, {"base": "a"}, {"stages": "many"}, {"stages": 10**9}])
def test_a_bad_shape_is_refused_by_the_schema(network: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunConfig(network=network)


def test_a_2d_run_without_a_strategy_is_inflated_as_recommended() -> None:
    assert RunConfig(start={"twin": "runs/2d"}) == RunConfig(
        start={"twin": "runs/2d", "strategy": "preserving"}
    )


def test_a_section_of_complete_settings_is_taken_whole() -> None:
    scratch = RunConfig()
    flat_run = RunConfig(network=scratch.network, training={"phase": "2d", "twin": "plain"})
    assert flat_run.network == scratch.network
    low_pass = with_values(scratch, {"network.low_pass_d": True}).network
    assert RunConfig(network=low_pass).network.low_pass_d


def test_a_complete_file_is_what_it_says_whatever_its_label() -> None:
    config = with_values(RunConfig(preset="coca64-baseline"), {"preset": "gone", "training.kimg": 3})
    assert from_toml(to_toml(config), "test") == config


def test_later_sources_win_and_the_first_bad_one_is_named() -> None:
    first, second = {"training": {"batch": 6}}, {"training": {"mbstd_group": 3}}
    assert resolve(("a", first), ("b", second)).training.batch == 6
    with pytest.raises(VoxflateError, match=r"^a: training\.batch = 6"):
        resolve(("a", first), ("b", {"training": {"kimg": 3}}))
    with pytest.raises(VoxflateError, match=r"^b: unknown key training\.kmig; did you mean training\.kimg"):
        resolve(("a", {}), ("b", {"training": {"kmig": 3}}), ("c", {"data": "x"}))


def test_wrong_types_are_refused_by_the_schema_alone() -> None:
    for named in ({"preset": 3}, {"model": ["x"]}, {"training": 3}, {"start": {"strategy": {}}}):
        with pytest.raises(VoxflateError):
            from_dict(named, "test")


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"training.phase": "2d"},
        {"model": "wgan-gp", "training.lr_g": 0.1},
        {"start.strategy": "planar", "network.position": True},
        {"preset": "coca64-baseline", "training.kimg": 3},
        {"preset": "a label of its own"},
    ],
    ids=str,
)
def test_files_of_version_1_mean_what_they_meant(named: dict[str, Any]) -> None:
    expected = {**flat(UNNAMED_IN_1), **named, "version": VERSION}
    config = from_dict({"version": 1, **nested(named)}, "test")
    got = flat(config.model_dump())
    assert got == expected


def test_a_run_from_before_versions_means_what_it_meant(tmp_path: Path) -> None:
    text = '[training]\nphase = "2d"\n'
    (tmp_path / "config.toml").write_text(text)
    assert load_config(tmp_path).training.lr_d == 0.01  # somebody's file
    (tmp_path / "run.json").write_text("{}")
    for path in (tmp_path, tmp_path / "config.toml"):
        assert load_config(path).training.lr_d == 0.0025
        assert load_config(path).network.low_pass_d


def test_version_1_has_a_value_for_every_setting() -> None:
    """Add a new setting to `UNNAMED_IN_1` too: what did runs do before it existed?"""
    assert flat(UNNAMED_IN_1).keys() | {"version"} == {key for key, _, _ in describe_settings()}
    assert VERSION == 3


def test_a_snapshot_from_before_a_setting_fits_the_settings_of_its_run() -> None:
    config = from_dict({"version": 1}, "test")
    network = config.network.model_dump(mode="json")
    check_networks({"network": {**network}}, config, Path("snapshot"))
    del network["low_pass_d"]
    check_networks({"network": network}, config, Path("snapshot"))
    with pytest.raises(VoxflateError, match="low_pass_d = True, the settings say False"):
        check_networks({"network": network}, RunConfig(), Path("snapshot"))


def test_no_default_of_a_network_or_a_training_step_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {}

    def spy(kind: Any) -> Any:
        def made(**values: Any) -> Any:
            seen[kind.__name__] = set(values)
            return kind(**values)

        return made

    for kind in (NetworkPlan, Settings):
        monkeypatch.setattr(build, kind.__name__, spy(kind))
    config = run_config(Path())
    build.build_gan(config, build.build_run_networks(config))
    for kind in (NetworkPlan, Settings):
        assert seen[kind.__name__] == {field.name for field in fields(kind)}


def test_values_are_merged_section_by_section() -> None:
    below, above = {"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 4}, "b": {"z": 5}}
    assert overlay(below, above) == {"a": {"x": 1, "y": 4}, "b": {"z": 5}}
    assert below == {"a": {"x": 1, "y": 2}, "b": 3}
    assert nested(flat(overlay(below, above))) == overlay(below, above)
    with pytest.raises(VoxflateError, match=r"a\.b: a has no keys of its own"):
        nested({"a": 1, "a.b": 2})
