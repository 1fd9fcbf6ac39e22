import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.exports import export_generator
from tests.strategies import PAIRS, run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.cli import app
from voxflate.config.toml import load_config, save_config, with_values
from voxflate.data.channels import Layout
from voxflate.data.prepared import open_prepared
from voxflate.runs.snapshots import list_snapshots
from voxflate.runs.verify import verify_export, verify_run
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train_run(run_config(write_prepared(folder / "data")), folder / "run")
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a finished run and its data."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    config = with_values(load_config(tmp_path / "run"), {"data": str(tmp_path / "data")})
    save_config(config, tmp_path / "run")
    return tmp_path / "run"


def wrong(run):
    return [check.name for check in verify_run(run) if check.matches is False]


def test_an_untouched_run_matches_bit_for_bit(run):
    done = []
    checks = verify_run(run, progress=lambda *at: done.append(at))
    assert {check.matches for check in checks} == {True}
    assert [check.found for check in checks if check.name.startswith("samples")] == ["bitwise equal"] * 2
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    result = CliRunner().invoke(app, ["verify", str(run)])
    assert result.exit_code == 0
    assert "everything matches" in result.stdout


def test_one_changed_voxel_differs(run, tmp_path):
    voxels = np.load(tmp_path / "data" / "train.npy")
    voxels[0, 0, 0, 0] ^= 1
    np.save(tmp_path / "data" / "train.npy", voxels)
    assert wrong(run) == ["data"]
    result = CliRunner().invoke(app, ["verify", str(run)])
    assert result.exit_code == 1
    assert "1 of 7 checks differ" in result.stdout


def test_other_data_differs(run, tmp_path):
    other = write_prepared(tmp_path / "other", seed=1)
    checks = verify_run(run, other.root)
    assert [check.name for check in checks if check.matches is False] == ["data"]


def test_one_flipped_bit_of_a_snapshot_differs(run):
    path = list_snapshots(run)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert wrong(run) == [path.name]


def test_other_samples_differ_and_rounding_does_not(run):
    path = run / "snapshots.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["sample-sha256"] = "0" * 64
    rows[-1]["probes"][3] += 0.1
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert wrong(run) == [f"samples of {list_snapshots(run)[-1].name}"]
    assert any(
        "not bitwise equal, voxels differ by up to 0;" in f"{check.found};" for check in verify_run(run)
    )


def test_other_versions_of_any_process_are_said_and_no_fault(run):
    facts = json.loads((run / "run.json").read_text())
    (session,) = facts["sessions"]
    earlier = session | {"versions": session["versions"] | {"torch": "1.0"}, "threads": 3}
    facts["sessions"] = [earlier, session | {"from_images": 12}]
    (run / "run.json").write_text(json.dumps(facts))
    check = verify_run(run)[0]
    assert check.matches is None
    assert "torch 1.0 ->" in check.found
    assert "threads 3 -> 1" in check.found


@pytest.mark.parametrize(
    ("recorded", "then"),
    [
        (
            {"device": "cuda:0", "gpu": "NVIDIA A100, CUDA 12.8, cuDNN 91500"},
            "NVIDIA A100, CUDA 12.8, cuDNN 91500",
        ),
        ({"device": "cuda:0"}, "cuda:0"),  # of an earlier version
    ],
)
def test_a_run_of_a_gpu_is_not_said_to_be_of_this_machine(run, recorded, then):
    facts = json.loads((run / "run.json").read_text())
    facts["sessions"] = [session | recorded for session in facts["sessions"]]
    (run / "run.json").write_text(json.dumps(facts))
    check = verify_run(run)[0]
    assert check.matches is None
    assert f"device {then} -> cpu" in check.found


@pytest.mark.parametrize(
    ("key", "value", "matches"),
    [
        ("slice_discriminator.lr_s", 0.5, False),
        ("training.lr_g", 0.5, False),
        ("training.keep", 9, True),
        ("evaluation.every", 3, True),
    ],
)
def test_a_changed_setting_differs_if_results_depend_on_it(run, key, value, matches):
    save_config(with_values(load_config(run), {key: value}), run)
    (check,) = (check for check in verify_run(run) if check.name == "settings")
    assert check.matches is matches
    assert (f"config.toml has {key} = {value}, trained with" in check.found) is not matches


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A run that knows labels, and sets of the same voxels with other labels."""
    folder = tmp_path_factory.mktemp("labelled")
    data = write_prepared(folder / "data", layout=Layout(labels=PAIRS.labels))
    train_run(run_config(data, network__label_width=3, training__kimg=0.004), folder / "run")
    export_generator(folder / "run", folder / "export")
    return folder


def no_columns(manifest):
    return replace(manifest, layout=replace(manifest.layout, labels=()))


def other_columns(manifest):
    sex, age = manifest.layout.labels
    columns = (replace(sex, name="six"), age)
    scans = [replace(scan, labels=scan.labels | {"six": "F"}) for scan in manifest.scans]
    return replace(manifest, layout=replace(manifest.layout, labels=columns), scans=scans)


def other_people(manifest):
    return replace(manifest, scans=[replace(s, labels={"sex": "F", "age": 50}) for s in manifest.scans])


def test_labels_are_verified(labelled):
    checks = verify_run(labelled / "run") + verify_export(labelled / "export", labelled / "data")
    assert {check.matches for check in checks} == {True}
    assert [check.name for check in checks].count("labels") == 2


@pytest.mark.parametrize("change", [no_columns, other_columns, other_people])
def test_other_labels_differ_and_no_sample_is_blamed(labelled, change, tmp_path):
    other = shutil.copytree(labelled / "data", tmp_path / "other")
    change(open_prepared(other).manifest).write(other)
    checks = {check.name: check.matches for check in verify_run(labelled / "run", other)}
    samples = {matches for name, matches in checks.items() if name.startswith("samples")}
    assert (checks["data"], checks["labels"], samples) == (True, False, {None})
    exported = {check.name: check.matches for check in verify_export(labelled / "export", other)}
    assert exported["labels"] is (change is other_people)  # an export does not know who has which labels
    assert exported["samples"]


def test_what_is_no_run_is_refused(run, tmp_path):
    with pytest.raises(VoxflateError, match="no such file or run folder"):
        verify_run(tmp_path / "nothing")
    (run / "run.json").write_text('{"data": 3}')
    with pytest.raises(VoxflateError, match=r"run\.json: was not written by voxflate"):
        verify_run(run)


def test_a_run_records_versions_seed_threads_data_and_every_change_of_them(run, monkeypatch):
    facts = json.loads((run / "run.json").read_text())
    assert {"voxflate", "source", "python", "torch", "numpy"} == facts["versions"].keys()
    assert (facts["seed"], facts["threads"], len(facts["data"])) == (0, 1, 64)
    assert len(facts["sessions"]) == 1
    config = run_config(run.parent / "data", training__kimg=0.032)
    train_run(config, run, resume=True)
    assert len(json.loads((run / "run.json").read_text())["sessions"]) == 1
    with monkeypatch.context() as later:
        later.setattr("voxflate.runs.facts.__version__", "99")
        train_run(config, run, resume=True)
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    assert [session["from_images"] for session in sessions] == [0, 32]
    assert sessions[1]["versions"]["voxflate"] == "99"
    list_snapshots(run)[-1].unlink()  # it was damaged: training continues from an older one
    train_run(config, run, resume=True)
    assert len(json.loads((run / "run.json").read_text())["sessions"]) == 1


def test_one_snapshot_can_be_verified_alone(run):
    names = [check.name for check in verify_run(run, snapshot="0.012")]
    assert [name for name in names if "snapshot" in name] == [
        "snapshot-000000012.safetensors",
        "samples of snapshot-000000012.safetensors",
    ]
    assert {"environment", "data"} < set(names)
    with pytest.raises(VoxflateError, match="has no snapshot 9"):
        verify_run(run, snapshot=9)
