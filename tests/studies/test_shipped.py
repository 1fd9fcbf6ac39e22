"""The generators that come with the package are made from runs by one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import voxflate
from studies import shipped
from tests.sharing.generators import an_export
from voxflate.config.toml import from_values
from voxflate.config.values import flat
from voxflate.runs.shipped import ROOT


def test_a_folder_is_made_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "generators"
    for seed in (0, 1):
        run = an_export(tmp_path / f"run{seed}", seed=seed)
        assert shipped.main([f"brains-16={run}", "--out", str(out)]) == 0
        folder = out / "brains-16"
        assert voxflate.load(folder).weights_sha256 == voxflate.load(run).weights_sha256
        assert "attribution" in (folder / "LICENSE.txt").read_text()
        card = (folder / "README.md").read_text()
        assert "license: cc-by-sa-3.0" in card
        assert f"## Provenance\n\n{shipped.SHIPPED['brains-16'].provenance}\n" in card
        assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize("name", shipped.SHIPPED)
def test_the_cards_in_the_package_say_how_they_were_trained(name: str) -> None:
    said = shipped.SHIPPED[name].provenance
    assert (ROOT / name / "README.md").read_text().endswith(f"\n## Provenance\n\n{said}\n")
    # A rate that is recommended no longer must be named.
    settings = json.loads((ROOT / name / "config.json").read_text())["settings"]
    chosen = ("network.base", "network.stages", "network.image_channels", "start.strategy")
    values = flat(settings)
    today = from_values({key: values[key] for key in chosen}).training.lr_g
    assert values["training.lr_g"] == today or f"learning rate of {values['training.lr_g']:g}" in said


def test_what_cannot_be_shipped_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = an_export(tmp_path / "run"), tmp_path / "generators"
    monkeypatch.setattr(shipped, "LARGEST", 1000)
    for name, words in (("livers", "is not in SHIPPED"), ("brains-16", "at most 1,000")):
        assert shipped.main([f"{name}={run}", "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
    assert not out.exists()
