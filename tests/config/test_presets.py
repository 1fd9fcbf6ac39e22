from __future__ import annotations

import re

import pytest

from voxflate._system.errors import VoxflateError
from voxflate.config.paper_rows import PAPER_ROWS
from voxflate.config.presets import (
    LEFT_OPEN,
    PRESETS,
    Phase,
    coca64,
    paper_row,
    preset_values,
    rows_of,
)
from voxflate.config.recommended import DEFAULT_STRATEGY
from voxflate.config.schema import ARCHITECTURES, DEFAULT_MODEL, MODELS, STRATEGIES, RunConfig
from voxflate.config.toml import describe_settings, from_toml, from_values, to_toml, with_values
from voxflate.config.values import flat


def preset(name: str, phase: Phase = "3d") -> RunConfig:
    return from_values({"preset": name, "training.phase": phase})


def recommended(phase: Phase, strategy: str = "none", model: str = DEFAULT_MODEL) -> RunConfig:
    return from_values({"training.phase": phase, "start.strategy": strategy, "model": model})


RUNS = {name: preset(name) for name in PRESETS}
STYLED = [name for name, run in RUNS.items() if run.model == DEFAULT_MODEL]
OTHERS = [name for name in PRESETS if name not in STYLED]
SCALED = [f"{name}{scale}" for name in PRESETS for scale in ("", "@paper", "@bench")]


@pytest.mark.parametrize("name", SCALED)
def test_every_preset_is_valid_in_both_phases_and_survives_toml(name: str) -> None:
    phases: tuple[Phase, ...] = ("2d", "3d") if name.partition("@")[0] in STYLED else ("3d",)
    for phase in phases:
        config = preset(name, phase)
        assert config.training.phase == phase
        assert config.preset == name
        assert from_toml(to_toml(config), name) == config


@pytest.mark.parametrize("name", PRESETS)
def test_the_printed_average_is_the_mean_of_the_planes(name: str) -> None:
    *planes, average = PRESETS[name].row.fid
    # The paper rounds 76.67 to 76.7 and prints one decimal.
    assert sum(planes) / 3 == pytest.approx(average, abs=0.051)


@pytest.mark.parametrize("name", STYLED)
def test_a_row_trains_as_section_4_2_3_says(name: str) -> None:
    training = preset(name).training
    assert (training.batch, training.kimg, training.r1_gamma) == (128, 5000, 0.0512)
    # What the section leaves open (decision 0010).
    assert (training.r1_every, training.mbstd_group, training.lr_decay) == (16, 4, 1)
    assert (training.ema_kimg, training.ema_halflife_fraction) == (10, 0.05)
    assert (training.flip, training.augment) == (False, "")
    expected = 0.0025 if RUNS[name].start.strategy == "none" else 0.002
    assert training.lr_g == training.lr_d == expected
    twin = preset(name, "2d")
    assert preset(name).network.low_pass_d
    assert not recommended("3d").network.low_pass_d
    assert (twin.training.kimg, twin.training.lr_g, twin.start.strategy) == (25000, 0.0025, "none")


@pytest.mark.parametrize("name", STYLED)
def test_the_2d_run_has_the_networks_of_its_3d_run(name: str) -> None:
    for scale in ("", "@bench"):
        assert preset(name + scale, "2d").network == preset(name + scale).network


@pytest.mark.parametrize(
    ("prefix", "paper", "bench"),
    [
        ("coca64-", (32, 64, 64), (16, 32, 32)),
        ("coca128-", (32, 128, 128), (16, 64, 64)),
        ("adni64-", (64, 64, 64), (32, 32, 32)),
    ],
)
def test_shapes(prefix: str, paper: tuple[int, ...], bench: tuple[int, ...]) -> None:
    names = [name for name in PRESETS if name.startswith(prefix)]
    assert names
    for name in names:
        assert preset(name).network.shape == paper
        assert preset(name + "@bench").network.shape == bench


def test_the_rows_of_tables_1_to_5_are_all_there() -> None:
    counts = {table: 0 for table in "12345"}
    for each in PRESETS.values():
        for table in counts:
            counts[table] += table in each.row.tables.split(", ")
    # Table 5 has two rows; ours has the discriminator of the text as a third.
    assert counts == {"1": 6, "2": 9, "3": 6, "4": 6, "5": 3}


def test_tables_3_and_4_have_every_architecture() -> None:
    for strategy in ("none", "inflate-1"):
        found = {
            run.network.architecture
            for name, run in RUNS.items()
            if name.startswith("coca64")
            and name in STYLED
            and (run.start.strategy, run.start.modules) == (strategy, "gd")
        }
        assert found == set(ARCHITECTURES)


def test_a_name_says_what_the_row_is() -> None:
    for name in STYLED:
        start, architecture = RUNS[name].start, RUNS[name].network.architecture
        assert f"-{architecture}" in name
        if start.strategy != "none":
            modules = "" if start.modules == "gd" else f"-{start.modules}"
            assert name.endswith(start.strategy + modules)
        else:
            assert "inflate" not in name


@pytest.mark.parametrize("name", OTHERS)
def test_a_comparison_model_has_the_papers_budget_and_networks_at_both_scales(name: str) -> None:
    paper, bench = preset(name), preset(name + "@bench")
    assert name in (f"coca64-{paper.model}", f"adni64-{paper.model}")
    assert (paper.training.batch, paper.training.kimg) == (128, 5000)
    assert (bench.training.batch, bench.training.kimg) == (8, 60)
    assert paper.comparison == bench.comparison
    for config in (paper, bench):
        assert (config.network.channels, config.network.z_dim) == (128, 100)
    with pytest.raises(VoxflateError, match=f"model = {paper.model}: has no 2D twin"):
        preset(name, "2d")


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("wgan-gp", (1e-4, 5, 0, 0.9, 10, 10, 1)),
        ("vae-gan", (2e-4, 1, 0.5, 0.999, 10, 10, 1)),
        ("alpha-gan", (2e-4, 1, 0.5, 0.9, 10, 10, 1)),
        ("alpha-wgan-gp", (2e-4, 1, 0.5, 0.9, 10, 10, 1)),
    ],
)
def test_a_comparison_model_has_its_own_rates_and_weights(model: str, values: tuple[float, ...]) -> None:
    for name in (f"coca64-{model}", f"adni64-{model}"):
        t, c = preset(name).training, preset(name).comparison
        assert t.lr_g == t.lr_d
        found = t.lr_g, c.critic_steps, c.beta1, c.beta2, c.gp_lambda, c.reconstruction, c.kl
        assert found == values


def test_tables_6_and_7_are_complete_with_psnr_and_ms_ssim() -> None:
    for table, prefix in (("6", "coca64"), ("7", "adni64")):
        rows = {name: each.row for name, each in PRESETS.items() if table in each.row.tables.split(", ")}
        assert len(rows) == 6
        assert all(name.startswith(prefix) for name in rows)
        assert {RUNS[name].model for name in rows} == set(MODELS)
        assert all(row.psnr and row.ms_ssim and row.millions for row in rows.values())


def test_no_two_rows_are_the_same_run() -> None:
    runs = [to_toml(with_values(run, {"preset": ""})) for run in RUNS.values()]
    assert len(set(runs)) == len(runs)


@pytest.mark.parametrize(
    "name", ["coca64-splitshuffle", "coca64-split-shuffle@tiny", "coca64-split-shuffle@"]
)
def test_an_unknown_preset_proposes_the_nearest(name: str) -> None:
    with pytest.raises(VoxflateError, match=re.escape("did you mean coca64-split-shuffle")):
        preset(name)


@pytest.mark.parametrize("name", SCALED)
def test_a_row_names_every_setting_that_changes_results(name: str) -> None:
    keys = {key for key, _, _ in describe_settings()}
    for phase in ("2d", "3d"):
        assert preset_values(name, phase).keys() == keys - set(LEFT_OPEN)


def test_what_a_row_leaves_open_is_a_setting() -> None:
    assert set(LEFT_OPEN) < {key for key, _, _ in describe_settings()}


def test_the_papers_rows_do_not_depend_on_our_recommendations(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: preset(name) for name in SCALED}
    assert coca64("split-shuffle", "inflate-1")["training.lr_g"] == 0.002
    assert coca64("split-shuffle")["training.augment"] == ""
    for table in ("_PRETRAIN", "_PRETRAIN_PLANAR", "_STARTS"):
        monkeypatch.setattr(f"voxflate.config.recommended.{table}", {})
    assert {name: preset(name) for name in SCALED} == before


def test_every_figure_of_the_paper_has_a_preset() -> None:
    assert PAPER_ROWS.keys() <= PRESETS.keys()
    assert all(each.row in PAPER_ROWS.values() for each in PRESETS.values())


@pytest.mark.parametrize("name", SCALED)
def test_a_run_of_a_preset_stands_for_its_row(name: str) -> None:
    assert paper_row(flat(preset(name).model_dump())) is PRESETS[name.partition("@")[0]].row


@pytest.mark.parametrize(
    ("changes", "stands"),
    [
        ({"training.kimg": 3, "training.seed": 2, "training.lr_g": 0.004}, True),
        ({"network.stages": 3, "data": "brains"}, True),
        ({"start.strategy": "preserving"}, False),
        ({"start.strategy": "planar", "network.position": True}, False),
        ({"start.modules": "g"}, False),
        ({"network.architecture": "split"}, False),
        ({"slice_discriminator.weight": 1.0}, False),
        ({"network.low_pass_d": False}, False),
        ({"network.finest_channels": 8}, False),
        ({"network.image_channels": 2}, False),
        ({"network.label_width": 3}, False),
        ({"network.mapping_layers": 3}, False),
        ({"training.augment": "translation"}, False),
        ({"preset": ""}, False),
        ({"preset": "mine"}, False),
    ],
)
def test_a_run_that_changes_the_method_does_not_stand_for_the_row(
    changes: dict[str, object], stands: bool
) -> None:
    config = with_values(preset("coca64-split-shuffle-inflate-1@bench"), changes)
    assert bool(paper_row(flat(config.model_dump()))) == stands


def test_our_own_settings_stand_for_no_row_of_the_paper() -> None:
    for strategy in STRATEGIES:
        assert paper_row(flat(recommended("3d", strategy).model_dump())) is None


def test_rows_are_found_by_the_names_of_presets() -> None:
    assert rows_of(["coca64-split@bench"]) == [PAPER_ROWS["coca64-split"]]
    with pytest.raises(
        VoxflateError, match="preset = coca64-splt: no such preset; did you mean coca64-split"
    ):
        rows_of(["coca64-splt"])


def test_we_recommend_settings_for_every_start() -> None:
    assert DEFAULT_STRATEGY in STRATEGIES
    assert recommended("2d").training.phase == "2d"
    for strategy in STRATEGIES:
        config = recommended("3d", strategy)
        assert config.start.strategy == strategy
        assert isinstance(config, RunConfig)
    for model in MODELS:
        assert recommended("3d", model=model).model == model
