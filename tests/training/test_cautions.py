"""Warnings before the first step."""

from __future__ import annotations

from typing import Any

import pytest

from tests.strategies import PAIRS, write_prepared
from voxflate.config.presets import COMPARISON_MODELS, PRESETS
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values
from voxflate.data.prepared import PreparedSet
from voxflate.training.cautions import IGNORED_BY_COMPARISON, cautions

COMPARISON = [name for name, preset in PRESETS.items() if preset.values["model"] in COMPARISON_MODELS]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return write_prepared(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return write_prepared(tmp_path_factory.mktemp("data") / "pairs", layout=PAIRS)


def said(prepared: PreparedSet, **values: Any) -> list[str]:
    config = from_values({key.replace("__", "."): value for key, value in values.items()})
    return cautions(config, prepared, None)


@pytest.mark.parametrize(
    ("batch", "per_volume", "planes"),
    [
        (1, 1, "axial slices"),
        (2, 1, "axial and coronal slices"),
        (1, 2, "axial and coronal slices"),
        (2, 2, ""),
        (3, 1, ""),
        (1, 3, ""),
    ],
)
def test_planes_that_no_batch_shows_are_warned_of(
    batch: int, per_volume: int, planes: str, prepared: PreparedSet
) -> None:
    slices = {
        "slice_discriminator__weight": 1,
        "slice_discriminator__per_volume": per_volume,
        "slice_discriminator__channels": "grey",
        "training__batch": batch,
    }
    lines = said(prepared, **slices)
    assert len(lines) == bool(planes)
    if planes:
        assert f"only sees {planes}, because training.batch = {batch} and" in lines[0]
        assert lines[0].endswith("set slice_discriminator.per_volume=3")
    assert said(prepared, training__phase="2d", **slices) == []
    assert said(prepared, **slices | {"slice_discriminator__weight": 0}) == []


def test_scaled_masks_are_warned_of(prepared: PreparedSet, pairs: PreparedSet) -> None:
    (line,) = said(pairs, training__augment="translation,intensity", data="pairs")
    assert "training.augment=translation,intensity: intensity also scales the masks of pairs" in line
    assert said(pairs, training__augment="translation,cutout") == []
    assert said(prepared, training__augment="intensity") == []


@pytest.mark.parametrize("name", [*COMPARISON, *(f"{name}@bench" for name in COMPARISON)])
def test_nobody_is_warned_of_what_a_preset_brings(name: str, prepared: PreparedSet) -> None:
    assert said(prepared, preset=name) == []
    assert said(prepared, model=PRESETS[name.partition("@")[0]].values["model"]) == []
    (line,) = said(prepared, preset=name, training__r1_gamma=1, network__low_pass_d=False)
    assert "network.low_pass_d=false, training.r1_gamma=1.0; leave them out" in line


def test_a_resumed_run_is_not_warned_of_what_an_older_version_chose(prepared: PreparedSet) -> None:
    config = from_values({"model": "wgan-gp", "training.r1_gamma": 1})
    assert len(cautions(config, prepared, None)) == 1
    assert cautions(config, prepared, None, resumed=True) == []


def test_every_ignored_setting_is_named_in_one_line(prepared: PreparedSet) -> None:
    values = {
        "network__architecture": "split",
        "network__w_dim": 32,
        "network__mapping_layers": 8,
        "network__symmetric_d": True,
        "network__position": True,
        "network__low_pass_d": True,
        "training__r1_gamma": 1,
        "training__r1_every": 2,
        "training__mbstd_group": 8,
        "training__train_noise": False,
        "training__augment_p": 0.5,
        "training__reuse_fakes": True,
    }
    (line,) = said(prepared, model="wgan-gp", **values)
    assert line.startswith("warning: wgan-gp ignores these settings, which are for stylegan2: network.arch")
    assert [word.partition("=")[0] for word in line.split() if "=" in word] == list(IGNORED_BY_COMPARISON)
    stylegan2 = {key: value for key, value in values.items() if key != "training__mbstd_group"}
    assert said(prepared, slice_discriminator__weight=0, **stylegan2) == []


def test_neighbours_read_the_group(prepared: PreparedSet) -> None:
    slices = {"slice_discriminator__channels": "neighbours", "training__mbstd_group": 8}
    assert said(prepared, model="wgan-gp", slice_discriminator__weight=1, **slices) == []
    assert len(said(prepared, model="wgan-gp", slice_discriminator__weight=0, **slices)) == 1


def test_a_preset_that_is_only_a_label_is_no_error(prepared: PreparedSet) -> None:
    values = RunConfig(model="wgan-gp").model_dump() | {"preset": "mine"}
    assert cautions(RunConfig(**values), prepared, None) == []


def test_fields_that_comparison_models_ignore_say_so() -> None:
    for key in IGNORED_BY_COMPARISON:
        section, _, name = key.partition(".")
        field = type(getattr(RunConfig(), section)).model_fields[name]
        if key != "training.mbstd_group":
            assert "stylegan2" in (field.description or ""), key
