import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.cli import app
from voxflate.config.toml import load_config, save_config, with_values
from voxflate.runs.snapshots import list_snapshots
from voxflate.runs.verify import verify_run
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


def test_other_versions_are_said_and_no_fault(run):
    facts = json.loads((run / "run.json").read_text())
    facts["versions"]["torch"] = "1.0"
    (run / "run.json").write_text(json.dumps(facts))
    check = verify_run(run)[0]
    assert check.matches is None
    assert "torch 1.0 ->" in check.found


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
    monkeypatch.setattr("voxflate.runs.facts.__version__", "99")
    train_run(config, run, resume=True)
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    assert [session["from_images"] for session in sessions] == [0, 32]
    assert sessions[1]["versions"]["voxflate"] == "99"


def test_one_snapshot_can_be_verified_alone(run):
    names = [check.name for check in verify_run(run, snapshot="0.012")]
    assert [name for name in names if "snapshot" in name] == [
        "snapshot-000000012.safetensors",
        "samples of snapshot-000000012.safetensors",
    ]
    assert {"environment", "data"} < set(names)
    with pytest.raises(VoxflateError, match="has no snapshot 9"):
        verify_run(run, snapshot=9)
