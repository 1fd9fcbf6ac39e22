"""The command: from a run to utility.json, its chart, its table, its part of the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exports import export_generator
from tests.reports.test_evaluations import voxflate
from tests.strategies import OF_PAIRS, PAIRS, run_config, write_prepared
from voxflate.evaluation.utility import cells
from voxflate.evaluation.utility.examples import real_examples
from voxflate.reports.evaluations import UTILITY
from voxflate.reports.places import place_for, reserved
from voxflate.reports.utility import _missing
from voxflate.runs.load import open_source
from voxflate.training.run import train_run

QUICK = ("--steps", 2, "--seeds", 1, "--generated", 6, "--no-augment")
SEX = ("--task", "sex")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    prepared = write_prepared(folder / "set", layout=PAIRS)
    train_run(run_config(prepared, training__kimg=0.008, evaluation__samples=8, **OF_PAIRS), folder / "run")
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "run", tmp_path / "run")
    return tmp_path / "run"


def content(folder: Path) -> Any:
    return json.loads((folder / "utility.json").read_text())


def test_the_command_writes_every_metric_and_never_over_an_older_one(run: Path) -> None:
    tasks = ("--task", "mask", "--task", "age")
    shown = " ".join(voxflate("utility", run, "--real", "4,all", *tasks, *QUICK).split())
    folder = run / "evaluation" / "001-newest"
    assert "using the generator after 0.008 kimg" in shown
    for words in (
        "real alone",
        "real and generated",
        "generated, then real",
        "Agreement: mask",
        "has seen all 10 training subjects",
    ):
        assert words in shown
    found = content(folder)
    facts = found["facts"]
    assert (facts["real"], facts["generated"], facts["n-heldout-subjects"]) == ([4, 10], 6, 4)
    assert len(facts["generator_sha256"]) == 64
    metrics = {(row["task"], row["arm"], row["real"], row["metric"]) for row in found["rows"]}
    assert {
        ("mask", "real", 4, "dice"),
        ("mask", "both", 10, "hd95-back"),
        ("mask", "agreement", 10, "agreement-dice-front"),
        ("age", "blind", 0, "mae-age"),
        ("age", "agreement", 10, "agreement-r-age"),
    } <= metrics
    assert len(found["networks"]) == 2 * 7
    assert len(found["networks"][0]["outcomes"]["dice-front"]) == len(found["heldout"]) == 4
    asked = [each["agreement"] for each in found["networks"] if each["agreement"] and each["task"] == "age"]
    assert len(asked) == 1
    assert asked[0]["true"] == pytest.approx([20 + 60 * (k + 0.5) / 20 for k in range(20)])
    assert (folder / "utility.png").is_file()
    before = (folder / "utility.json").read_bytes()
    voxflate("utility", run, *QUICK)
    assert (folder / "utility.json").read_bytes() == before
    second = content(run / "evaluation" / "002-newest")
    assert [each["real"] for each in second["networks"]] == [10, 0, 10, 10]
    first = {json.dumps(row, sort_keys=True) for row in found["rows"]}
    assert {json.dumps(row, sort_keys=True) for row in second["rows"]} <= first


def test_a_killed_call_goes_on_where_it_stopped(
    run: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    fit = cells.fit

    def third_time_killed(*arguments: Any, **options: Any) -> Any:
        trained.append(options["seed"])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(cells, "fit", third_time_killed)
    assert "the same command continues: " in voxflate("utility", run, *QUICK, *SEX, status=130)
    assert not list(run.rglob("utility.json"))
    voxflate("utility", run, *QUICK, *SEX)
    assert len(trained) == 2 + 1 + 2
    shutil.copytree(home / "run", tmp_path / "other" / "run")
    voxflate("utility", tmp_path / "other" / "run", *QUICK, *SEX)
    ours, theirs = (
        content(place / "evaluation" / "001-newest") for place in (run, tmp_path / "other" / "run")
    )
    assert ours["rows"] == theirs["rows"]


def test_two_calls_at_once_do_not_write_one_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, others = cells.fit, set()

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        place = place_for(open_source(run, scans=True), None, "newest", UTILITY)
        with reserved(place, UTILITY) as other:
            others.add(other.folder.name)
        return fit(*arguments, **options)

    monkeypatch.setattr(cells, "fit", meanwhile)
    voxflate("utility", run, *QUICK, *SEX)
    assert (run / "evaluation" / "001-newest" / "utility.json").is_file()
    assert others == {"002-newest"}


def test_the_report_has_it(run: Path) -> None:
    voxflate("evaluate", run, "--replicates", 0, "--volume-extractor", "none", "--no-tsne")
    folder = run / "evaluation" / "001-newest"
    assert "Utility" not in (folder / "report.html").read_text()
    assert f"report: {folder / 'report.html'}" in voxflate("utility", run, *QUICK, *SEX)
    page = (folder / "report.html").read_text()
    for words in (
        "Does training on generated volumes help? run",
        "Utility: sex",
        "Agreement: sex",
        "to real alone, paired",
    ):
        assert words in page


def test_generated_masks_without_a_structure_are_told(home: Path) -> None:
    source = open_source(home / "run", scans=True)
    whole = real_examples(source.prepared, "train")
    assert _missing(whole, source) == []
    empty = replace(whole, classes=np.where(whole.classes == 2, 0, whole.classes))
    assert _missing(empty, source) == ["Warning: 10 of 10 generated masks lack back."]


def test_a_dry_run_says_how_long_it_takes(run: Path) -> None:
    shown = voxflate("utility", run, *QUICK, "--real", "4,all", "--dry-run")
    assert "real = [\n    4,\n    10,\n]" in shown
    assert "# 7 networks of 2 steps: about 0:00:" in shown
    assert not (run / "evaluation").exists()


def test_an_export_and_what_cannot_be_measured(home: Path, run: Path, tmp_path: Path) -> None:
    export_generator(run, tmp_path / "export")
    call = ("utility", tmp_path / "export", *QUICK, *SEX)
    assert "--data FOLDER" in voxflate(*call, "--out", tmp_path / "out", status=2)
    assert "--out FOLDER" in voxflate(*call, "--data", home / "set", status=2)
    voxflate(*call, "--data", home / "set", "--out", tmp_path / "out")
    assert content(tmp_path / "out")["facts"]["generated"] == 6
    assert "already exists" in voxflate(*call, "--data", home / "set", "--out", tmp_path / "out", status=2)
    assert "neither all nor a number" in voxflate("utility", run, "--real", "99", status=2)
    assert "choose one of mask, sex, age" in voxflate("utility", run, "--task", "weight", status=2)
