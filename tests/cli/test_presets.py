"""The tables of presets and parameter counts."""

from __future__ import annotations

import tomllib

import pytest

from tests.cli.calls import preset, refused, resolved, voxflate
from voxflate.cli.presets import other_cases
from voxflate.config.toml import describe_settings, from_toml
from voxflate.config.values import flat


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
    assert "18 of 18 rows equal the paper; second readings of a row, not counted: 1" in result.stderr
    for text in ("0.291", "1.414", "1.121", "312,718", "11.001", "9,184,120", "316,929"):
        assert text in result.stdout


def explained(*arguments: str) -> dict[str, list[str]]:
    """Every line that `presets --keys` prints below "key = value", by key; the value comes first."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in voxflate("presets", *arguments, "--keys").stdout.splitlines():
        if line.startswith(" "):
            found[key].append(line.strip())
        else:
            key, _, value = line.partition(" = ")
            found[key] = [value]
    return found


@pytest.mark.parametrize("said", ["", *other_cases()])
def test_the_keys_are_explained_with_what_would_really_be_used(said: str) -> None:
    command = said.split() if said.startswith("pretrain") else ["train", *said.split()]
    named = other_cases().get(said, {})
    used = from_toml(voxflate(*command, "--dry-run").stdout, said)
    lines, values = explained(), flat(used.model_dump(mode="json"))
    assert lines.keys() == values.keys() == {key for key, _, _ in describe_settings()}
    for key, value in values.items():
        shown = lines[key][0]
        for line in lines[key][2:]:
            other, _, commands = line.partition(" with ")
            shown = other if said in commands.split(", ") else shown
        text = f"value = {shown}"
        if key not in named:
            assert tomllib.loads(text)["value"] == value, key


def test_the_keys_show_what_large_volumes_and_several_channels_have() -> None:
    lines = explained()
    assert any(line.startswith("0.002 with --strategy preserving --set") for line in lines["training.lr_g"])
    assert any(line.startswith("0.8192 with ") for line in lines["training.r1_gamma"])
    assert any("network.image_channels=2" in line for line in lines["slice_discriminator.channels"])


def test_the_keys_of_a_preset_are_explained_with_its_values() -> None:
    name = "coca64-wgan-gp@bench"
    lines, values = explained(name), flat(preset(name).model_dump(mode="json"))
    assert {key: tomllib.loads(f"value = {line[0]}")["value"] for key, line in lines.items()} == values
    assert explained("--2d")["training.lr_d"][0] == str(resolved("pretrain").training.lr_d) == "0.01"
