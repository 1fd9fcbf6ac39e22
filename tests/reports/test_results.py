"""One small file per run: everything that tables and figures need, nothing of where the run lies."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.test_suite import a_set
from tests.reports.test_evaluations import SET, voxflate
from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.cli.result import check_replaced
from voxflate.config.toml import load_config, save_config, with_values
from voxflate.evaluation.assessment import MEASUREMENT
from voxflate.reports.results import Result, read_result, read_results, write_result
from voxflate.reports.run_result import result_of
from voxflate.runs.exported import weights_sha256
from voxflate.runs.log import METRICS_NAME, SNAPSHOTS_NAME, read_rows
from voxflate.runs.snapshots import load_newest
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny 3D run, evaluated twice."""
    folder = tmp_path_factory.mktemp("results")
    a_set(folder / "set", 16, 4)
    voxflate("train", folder / "set", "--out", folder / "run", *SET, "--set", "training.seed=7")
    for snapshot in ("newest", "best"):
        voxflate(
            "evaluate", folder / "run", "--snapshot", snapshot, "--replicates", 5, "--no-tsne",
            "--volume-extractor", "none",
        )  # fmt: skip
    return folder / "run"


def test_a_file_gives_back_what_was_written(run: Path, tmp_path: Path) -> None:
    result = result_of(run, pictures=True)
    write_result(result, tmp_path / "one.json")
    found = read_result(tmp_path / "one.json")
    assert found.as_dict() == json.loads((tmp_path / "one.json").read_text()) == result.as_dict()
    assert [found.seed, found.n_images, found.finished] == [7, 8, True]
    assert list(found.snapshots["n_images"]) == [0, 4, 8]
    assert found.pictures["start"].startswith(b"\x89PNG")
    assert found.points["real"].shape == (20, 20)
    assert found.points["generated"].shape == (12, 20)
    assert found.machine["processor"]
    assert found.machine["cores"] >= 1


def test_its_metrics_are_the_run_s(run: Path) -> None:
    result, rows = result_of(run), read_rows(run / METRICS_NAME)
    key = "frechet-random-avg"
    assert result.at(key, 8) == rows[-1][key]
    assert result.at(key, 5) is None
    assert result.at("no-metric", 8) is None
    assert result.curve(key) == [(row["n_images"] / 1000, row[key]) for row in rows]
    best = min(rows, key=lambda row: row["kid-random-heldout-avg"])
    assert result.best == best["n_images"]
    hashes = {row["n_images"]: row["sample-sha256"] for row in read_rows(run / SNAPSHOTS_NAME)}
    assert dict(zip(result.snapshots["n_images"], result.snapshots["sample-sha256"], strict=True)) == hashes


def test_nothing_says_where_the_run_lies(run: Path, tmp_path: Path) -> None:
    where = shutil.copytree(run, tmp_path / "SECRET" / "run")
    (tmp_path / "SECRET" / "A B").mkdir()
    other = a_set(tmp_path / "SECRET" / "A B" / "set", 12, 4)
    for command in (("evaluate", "--replicates", 0, "--no-tsne", "--volume-extractor", "none"), ("audit",)):
        voxflate(command[0], where, *command[1:], "--data", other.root, "--other-data")
    own = {"evaluation.extractor": str(tmp_path / "SECRET" / "net.pt")}
    save_config(with_values(load_config(where), own), where)
    voxflate("result", where, "--out", tmp_path / "one.json", "--pictures")
    text = (tmp_path / "one.json").read_text()
    assert str(run.parent) not in text
    assert "SECRET" not in text
    assert json.loads(text)["settings"]["data"] == ""
    assert len(text) < 150_000
    assert json.loads(text)["pictures"].keys() == {"start", "best"}
    (audit,) = json.loads(text)["audits"]
    assert audit["other_data"].startswith("set: is not the data that run was trained on")
    assert audit["data"] == other.content_hash


def test_an_audit_of_an_earlier_version_is_collected(run: Path, tmp_path: Path) -> None:
    """It did not say how its volumes were drawn."""
    folder = shutil.copytree(run, tmp_path / "run") / "evaluation" / "009-newest"
    folder.mkdir()
    numbers = {key: 4 for key in ("n_images", "n-generated", "n-train", "n-heldout", "n-null")}
    (folder / "audit.json").write_text(json.dumps({**numbers, "extractor": "random", "flagged": {"3": []}}))
    assert result_of(tmp_path / "run").audits[-1] == {**numbers, "extractor": "random", "flagged": 1}


def test_points_are_those_of_the_best_snapshot(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    before = result_of(run, pictures=True)
    other = next(n for n in (4, 8) if n != before.best)
    voxflate(
        "evaluate", tmp_path / "run", "--snapshot", other / 1000, "--replicates", 5, "--no-tsne",
        "--volume-extractor", "none",
    )  # fmt: skip
    after = result_of(tmp_path / "run", pictures=True)
    assert after.evaluations[-1].facts["n_images"] == other
    assert after.evaluations[-2].facts["n_images"] == before.best
    assert np.array_equal(after.points["generated"], before.points["generated"])


def test_points_of_the_real_volumes_keep_their_distances(run: Path) -> None:
    """Up to half precision: 20 components hold all of 20 volumes."""
    from voxflate.reports.evaluations import SAMPLES, evaluations_of, load_arrays

    points = Result.from_dict(result_of(run, pictures=True).as_dict(), "test").points["real"]
    real = load_arrays(evaluations_of(run)[-1] / SAMPLES)["real_features"]
    ours = np.linalg.norm(points[:, None] - points, axis=-1)
    wanted = np.linalg.norm(real[:, None] - real, axis=-1)
    assert np.allclose(ours, wanted, rtol=5e-3, atol=5e-3 * wanted.max())


def test_several_runs_go_into_a_folder(run: Path, tmp_path: Path) -> None:
    voxflate("result", run, run, "--out", tmp_path / "results")
    assert [result.name for result in read_results(tmp_path / "results")] == ["run"]
    assert "give a folder" in voxflate("result", run, run, "--out", tmp_path / "one.json", status=2)
    assert not (tmp_path / "one.json").exists()


def test_runs_of_one_name_do_not_overwrite_each_other(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    line = voxflate("result", run, copy, "--out", tmp_path / "results", status=2)
    assert f"{copy}: has the same name as {run}, and both would be written to" in line
    assert "give each its own --out FILE.json" in line
    assert not (tmp_path / "results").exists()


def test_only_the_result_of_the_same_run_is_replaced(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    voxflate("result", run, "--out", out)
    voxflate("result", run, "--out", out, "--pictures")
    kept = out / "run.json"
    assert read_result(kept).pictures
    content = json.loads(kept.read_text())
    wanted = {
        "training.seed = 8, not 7": {"settings": content["settings"] | {"training.seed": 8}},
        "network.channels = 9, not 8": {"settings": content["settings"] | {"network.channels": 9}},
        "data = 'other', not": {"data": "other"},
        "name = 'walk', not 'run'": {"name": "walk"},
        "n_images = 12, more than 8": {"n_images": 12},
    }
    for message, change in wanted.items():
        kept.write_text(json.dumps(content | change))
        line = voxflate("result", run, "--out", out, status=2)
        assert f"{kept}: is the result of another run ({message}" in line, line
        assert "give another --out, or delete it first" in line
        assert json.loads(kept.read_text()) == content | change
    kept.write_text("notes")
    assert f"{kept}: already exists and is not a result" in voxflate("result", run, "--out", out, status=2)
    assert kept.read_text() == "notes"
    shorter = {"settings": content["settings"] | {"training.kimg": 0.004}, "n_images": 4}
    kept.write_text(json.dumps(content | shorter))
    voxflate("result", run, "--out", out)  # the run was continued since
    assert read_result(kept).n_images == 8


def test_runs_of_other_2d_runs_are_other_runs(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_result(replace(result_of(run), twin={"name": "2d", "seed": 3}), path)
    check_replaced(replace(result_of(run), twin={"name": "2d"}), path)  # it was moved since
    for twin in ({"name": "2d", "seed": 4}, {"name": "other"}):
        with pytest.raises(VoxflateError, match="is the result of another run \\(twin "):
            check_replaced(replace(result_of(run), twin=twin), path)


def test_the_2d_run_is_that_of_the_start_and_not_of_today(tmp_path: Path) -> None:
    prepared, twin, run = write_prepared(tmp_path / "set"), tmp_path / "2d", tmp_path / "3d"
    flat = run_config(prepared, training__phase="2d")
    train_run(flat, twin, stop_at=12)
    state, _ = load_newest(twin)
    start = {"start__strategy": "preserving", "start__twin": str(twin), "training__kimg": 0.004}
    train_run(run_config(prepared, **start), run, stop_at=0)
    assert result_of(twin).weights_sha256 == weights_sha256(state["ema"])
    train_run(with_values(flat, {"training.kimg": 0.048}), twin, resume=True)
    assert result_of(twin).weights_sha256 not in (None, weights_sha256(state["ema"]))
    assert result_of(run).weights_sha256 is None
    train_run(run_config(prepared, **start), run, resume=True)
    weights = weights_sha256(state["ema"])
    assert result_of(run).twin == {
        "name": "2d", "seed": 0, "kimg": 0.012, "data": prepared.content_hash, "weights_sha256": weights
    }  # fmt: skip
    train_run(run_config(prepared, **start | {"training__kimg": 0.008}), run, resume=True)
    assert result_of(run).twin["weights_sha256"] == weights
    facts = read_json(run / "run.json")
    write_json(run / "run.json", {key: facts[key] for key in facts if key != "started_from"})
    assert result_of(run).twin == {"name": "2d", "seed": 0, "kimg": 0.048, "data": prepared.content_hash}


def test_a_setting_of_the_row_that_changed_half_way_is_told(tmp_path: Path) -> None:
    prepared, run = write_prepared(tmp_path / "set"), tmp_path / "run"
    config = run_config(prepared, training__phase="2d")
    train_run(config, run, stop_at=12)
    assert result_of(run).changes == []
    rate = config.training.lr_g
    later = {"training.lr_g": rate / 2, "training.kimg": 0.024, "training.keep": 9}
    train_run(with_values(config, later), run, resume=True)
    write_result(result_of(run), tmp_path / "one.json")
    changes = [{"n_images": 12, "key": "training.lr_g", "before": rate, "after": rate / 2}]
    assert read_result(tmp_path / "one.json").changes == changes


def test_metrics_of_another_version_of_the_measurement_are_not_shown(run: Path) -> None:
    result, key = result_of(run), "frechet-random-avg"
    assert result.measurements == [MEASUREMENT] * 3
    mixed = replace(result, snapshots={**result.snapshots, "measurement": [None, MEASUREMENT, MEASUREMENT]})
    assert mixed.curve(key) == result.curve(key)[1:]
    assert mixed.at(key, 0) is None
    assert mixed.at(key, 4) == result.at(key, 4)
    without = replace(mixed, evaluations=[])  # as in 2D: the newest snapshot counts
    assert without.curve(key) == mixed.curve(key)
    old = replace(result, snapshots={**result.snapshots, "measurement": [1, 1, 1]})
    assert old.curve(key) == []
    assert replace(old, evaluations=[]).curve(key) == result.curve(key)


def test_a_refused_file_leaves_all_others_as_they_are(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("notes")
    voxflate("result", other, run, "--out", tmp_path / "out", status=2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "is not a result"),
        ([], "is not a result"),
        ({"kind": "voxflate-result", "format": 99}, "reads 1"),
        ({"kind": "voxflate-result", "format": 1}, "is damaged"),
    ],
)
def test_other_files_are_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    with pytest.raises(VoxflateError, match=message):
        read_result(path)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VoxflateError, match="has no results"):
        read_results(tmp_path)
    for name in ("missing", "one.json"):
        (tmp_path / "one.json").write_text("{}")
        with pytest.raises(VoxflateError, match=f"{name}: is not a folder; write results into one"):
            read_results(tmp_path / name)
    with pytest.raises(VoxflateError, match=r"config\.toml"):
        result_of(tmp_path)
