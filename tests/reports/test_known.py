"""What is known of an evaluated generator besides its metrics."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest

from tests.exports import export_generator
from tests.reports.test_evaluations import voxflate
from tests.reports.test_rows import a_run
from tests.strategies import run_config, write_prepared
from voxflate.reports.evaluations import load_evaluated, place_of
from voxflate.reports.known import counts_of, same_generator
from voxflate.reports.notes import notes
from voxflate.reports.rows import grouped
from voxflate.reports.tables import beside, table
from voxflate.training.run import train_run

FAST = ("--replicates", 0, "--volume-extractor", "none", "--no-tsne")


def test_the_slice_discriminator_counts_by_itself() -> None:
    parts = {"generator": 129_355, "discriminator": 87_457, "slice_discriminator": 590_985}
    assert counts_of(parts) == {
        "parameters": 216_812,
        "generator_parameters": 129_355,
        "slice_discriminator_parameters": 590_985,
    }
    assert counts_of({"generator": 1, "encoder": 2})["parameters"] == 3


@pytest.mark.parametrize("key", ["n_images", "generator_sha256", "volumes_sha256"])
def test_an_audit_of_another_generator_or_of_other_volumes_is_told_apart(key: str) -> None:
    assert same_generator({key: "a"}, {key: "a"})
    assert not same_generator({key: "a"}, {key: "b"})
    assert same_generator({}, {key: "a"})  # older audits lack it


def test_a_run_is_shown_with_its_networks_and_its_2d_run(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data")
    twin, run = tmp_path / "2d", tmp_path / "3d"
    train_run(run_config(data, training__phase="2d", training__kimg=0.008), twin)
    train_run(
        run_config(data, start__strategy="preserving", start__twin=str(twin), training__kimg=0.004), run
    )
    voxflate("evaluate", run, *FAST)
    path = run / "evaluation" / "001-newest" / "metrics.json"
    content, known = json.loads(path.read_text()), json.loads((run / "run.json").read_text())
    pair = known["parameters"]["generator"] + known["parameters"]["discriminator"]
    assert content["facts"]["parameters"] == pair
    assert content["facts"]["slice_discriminator_parameters"] == 0
    assert content["facts"]["twin_n_images"] == 8
    assert content["facts"]["twin_seconds"] > 0

    def budget() -> dict[str, str]:
        headings, lines = beside(grouped([load_evaluated(place_of(run))]))
        return dict(zip(headings, lines[1], strict=True))

    shown = budget()
    assert (shown["2D kimg"], shown["3D kimg"]) == ("0.008", "0.004")
    assert shown["2D time"].endswith(" s")
    # An earlier version wrote one sum, with the heads, and nothing about the 2D run.
    known["parameters"]["slice_discriminator"] = 590_985
    (run / "run.json").write_text(json.dumps(known))
    facts = content["facts"]
    old = {name: value for name, value in facts.items() if not name.startswith(("slice_", "twin_"))}
    path.write_text(json.dumps({**content, "facts": {**old, "parameters": pair + 590_985}}))
    assert budget() == shown
    assert table(grouped([load_evaluated(place_of(run))]))[1][1][2] == f"{pair / 1e6:.3f}M"
    assert "slice discriminator" in " ".join(notes(grouped([load_evaluated(place_of(run))])))
    # An earlier version had fewer settings.
    twin_settings = dict(known["twin"])
    del twin_settings["network.critic_norm"]
    (run / "run.json").write_text(json.dumps({**known, "twin": twin_settings}))
    assert budget() == shown
    # Another 2D run in its folder, or none, says nothing about the time.
    rmtree(twin)
    assert budget()["2D time"] == "?"
    train_run(run_config(data, training__phase="2d", training__kimg=0.008, training__lr_g=0.1), twin)
    assert (budget()["2D kimg"], budget()["2D time"]) == ("0.008", "?")


def test_an_evaluation_of_a_run_with_a_slice_discriminator_counts_the_pair(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data")
    settings = {"weight": 1.0, "features": "random"}
    run = tmp_path / "run"
    train_run(
        run_config(data, **{f"slice_discriminator__{key}": value for key, value in settings.items()}), run
    )
    export_generator(run, tmp_path / "export")
    voxflate("evaluate", run, *FAST)
    voxflate("evaluate", tmp_path / "export", "--data", data.root, "--out", tmp_path / "out", *FAST)
    counts = json.loads((run / "run.json").read_text())["parameters"]
    for folder in (run / "evaluation" / "001-newest", tmp_path / "out"):
        facts = json.loads((folder / "metrics.json").read_text())["facts"]
        assert facts["parameters"] == counts["generator"] + counts["discriminator"]
        assert facts["slice_discriminator_parameters"] == counts["slice_discriminator"] > 0
        assert f"{counts['slice_discriminator'] / 1e6:.3f}M" in (folder / "table.md").read_text()


def test_an_older_evaluation_of_an_export_may_count_the_slice_discriminator() -> None:
    export = a_run("an-export", 50, generator_parameters=129_355)
    assert "#param of an-export may include" in " ".join(notes(grouped([export])))
    new = a_run("new", 50, slice_discriminator_parameters=0)
    volumes = replace(a_run("v", 50, None, source="volumes", n_images=None, snapshot=""), parameters=None)
    assert "#param" not in " ".join(notes(grouped([new, volumes])))
