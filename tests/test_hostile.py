"""Files made by somebody else: none runs code, none reaches outside its folder, none takes the memory."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.exports import export_generator
from tests.runs.test_snapshots import sealed
from tests.strategies import run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.toml import load_config
from voxflate.data.prepared import open_prepared
from voxflate.runs.exported import CONFIG
from voxflate.runs.load import open_source
from voxflate.runs.snapshots import list_snapshots, load_snapshot, save_snapshot, snapshot_path
from voxflate.runs.verify import verify_run
from voxflate.sampling.generate import generate
from voxflate.training.run import train_run

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    prepared = write_prepared(folder / "data")
    train_run(run_config(prepared, training__kimg=0.004), folder / "run")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run from a stranger: a copy that may be changed."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.mark,)


def refused(do: Any, match: str) -> None:
    with pytest.raises(VoxflateError, match=match) as caught:
        do()
    assert "\n" not in str(caught.value)


def as_torch_file(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def in_good_company(mark: Path) -> bytes:
    """A payload between the parts of a true snapshot."""
    return as_torch_file({"format": 2, "n_images": 4, "gan": {"generator": Payload(mark)}})


PICKLES = {
    "torch": in_good_company,
    "plain pickle": lambda mark: pickle.dumps(Payload(mark)),
    "old torch format": lambda mark: pickle.dumps(119547037146038801333356) + pickle.dumps(Payload(mark)),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickled_payload_in_place_of_a_snapshot_does_not_run(
    kind: str, suffix: str, run: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "sprung"
    for path in list_snapshots(run):
        path.unlink()
        path.with_suffix(suffix).write_bytes(PICKLES[kind](mark))
    config = load_config(run)
    refused(lambda: train_run(config, run, resume=True), "none of its 2 snapshots can be read")
    refused(lambda: generate(run, 1, out=tmp_path / "new"), "none of its 2 snapshots can be read")
    assert [check.matches for check in verify_run(run)][3:] == [False, False]
    assert not mark.exists()
    assert not (tmp_path / "new").exists()


def test_pickled_voxels_are_not_unpickled(tmp_path: Path) -> None:
    data, mark = write_prepared(tmp_path / "data").root, tmp_path / "sprung"
    np.save(data / "train.npy", np.array([Payload(mark)], dtype=object), allow_pickle=True)
    refused(lambda: open_prepared(data), r"train\.npy: cannot be read")
    assert not mark.exists()


def test_an_array_that_claims_a_terabyte_is_refused(tmp_path: Path) -> None:
    data = write_prepared(tmp_path / "data").root
    with open(data / "train.npy", "wb") as file:
        header = {"descr": "<i2", "fortran_order": False, "shape": (2**31, 4, 8, 8)}
        np.lib.format.write_array_header_1_0(file, header)
    refused(lambda: open_prepared(data), r"train\.npy: cannot be read")


BOMBS = {
    "deep": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 1_000_000,
    "long number": b"9" * 100_000,
    "not a number": b'{"data": NaN}',
    "no text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_json_bombs_are_refused_in_one_line(bomb: str, run: Path, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.json"
    path.write_bytes(BOMBS[bomb])
    refused(lambda: read_json(path), "is not valid JSON")
    (run / "run.json").write_bytes(BOMBS[bomb])
    config = load_config(run)
    refused(lambda: train_run(config, run, resume=True), r"run\.json: is not valid JSON")
    data = shutil.copytree(trained / "data", tmp_path / "data")
    (data / "manifest.json").write_bytes(BOMBS[bomb])
    refused(lambda: open_prepared(data), r"manifest\.json: ")


@pytest.mark.parametrize("name", ["run.json", "config.toml", "data/manifest.json"])
def test_huge_text_is_refused_unread(name: str, run: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "data", run / "data")
    with open(run / name, "ab") as file:
        file.truncate(2**42)
    with pytest.raises(VoxflateError, match=r"at most [\d,]+ are read|is larger than"):
        train_run(load_config(run).model_copy(update={"data": str(run / "data")}), run, resume=True)


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 10_000, "[" + "a." * 100_000 + "a]"])
def test_toml_bombs_are_refused(text: str, run: Path) -> None:
    (run / "config.toml").write_text(text)
    refused(lambda: load_config(run), r"config\.toml: ")


def test_a_manifest_of_other_types_is_refused(trained: Path, tmp_path: Path) -> None:
    from voxflate.data.prepared import _checksum

    for change in ({"shape": 3}, {"scans": 3}, {"scans": [{"subject": 1}]}, {"unknown": 1}):
        data = shutil.copytree(trained / "data", tmp_path / "data", dirs_exist_ok=True)
        content = json.loads((trained / "data" / "manifest.json").read_text()) | change
        content.pop("manifest_sha256")
        (data / "manifest.json").write_text(json.dumps({**content, "manifest_sha256": _checksum(content)}))
        refused(lambda data=data: open_prepared(data), "is not a manifest")  # type: ignore[misc]


def test_networks_that_the_weights_do_not_fill_take_no_memory(run: Path, tmp_path: Path) -> None:
    text = (run / "config.toml").read_text().replace("channels = 4", "channels = 16777216")
    (run / "config.toml").write_text(text)
    (path,) = list_snapshots(run)[-1:]
    state = load_snapshot(path)
    state["network"]["channels"] = 2**24
    assert save_snapshot(run, state, keep=9) == path
    refused(lambda: generate(run, 1, out=tmp_path / "new"), "its networks are not those of its settings")


def in_the_file_of_the_version_before(run: Path, state: dict[str, Any]) -> Path:
    """Put a state in place of the run's snapshots."""
    for path in list_snapshots(run):
        path.unlink()
    path = snapshot_path(run, state["n_images"]).with_suffix(".pt")
    path.write_bytes(sealed(as_torch_file(state | {"format": 3})))
    return path


TENSORS = {
    "average": lambda state: (state["ema"], "synthesis.const"),
    "weight": lambda state: (state["gan"]["discriminator"], "from_image.weight"),
    "moment": lambda state: (state["gan"]["optimizer_g"]["state"][0], "exp_avg"),
    "random state": lambda state: (state, "rng"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_a_terabyte_of_one_number_is_refused_before_memory_is_taken(
    kind: str, run: Path, tmp_path: Path
) -> None:
    """Files of the version before can repeat a number; safetensors cannot."""
    state = load_snapshot(list_snapshots(run)[-1])
    part, name = TENSORS[kind](state)
    part[name] = torch.zeros(1, dtype=part[name].dtype).expand(2**40)
    in_the_file_of_the_version_before(run, state)
    config = run_config(load_config(run).data, training__kimg=0.008)
    refused(lambda: train_run(config, run, resume=True), "does not fit the settings")
    if kind == "average":
        refused(lambda: generate(run, 1, out=tmp_path / "new"), "its networks are not those of its settings")


def outside(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["log.jsonl", "config.toml", "sheets", "snapshots", "tensorboard", "events.jsonl"]
)
def test_links_in_a_run_do_not_lead_its_writes_elsewhere(name: str, run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    target = precious / name
    if (run / name).exists():
        (run / name).rename(target)
    else:
        target.write_text("{}")
    (run / name).symlink_to(target)
    before = outside(precious)
    config = run_config(load_config(run).data, training__kimg=0.012)
    refused(lambda: train_run(config, run, resume=True), f"{name}: is a link that leads out of its folder")
    assert outside(precious) == before


def test_a_link_inside_the_run_and_a_run_that_is_a_link_are_fine(run: Path, tmp_path: Path) -> None:
    (run / "latest").symlink_to(list_snapshots(run)[-1])
    (tmp_path / "link").symlink_to(run)
    train_run(run_config(load_config(run).data, training__kimg=0.008), tmp_path / "link", resume=True)
    assert list_snapshots(run)[-1].name == "snapshot-000000008.safetensors"


def test_names_inside_an_archive_are_never_paths(run: Path, tmp_path: Path) -> None:
    path = in_the_file_of_the_version_before(run, load_snapshot(list_snapshots(run)[-1]))
    load_snapshot(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped", b"content")
        archive.writestr("/tmp/voxflate-escaped", b"content")
    with pytest.raises(VoxflateError, match="is damaged"):  # it is no longer what was sealed
        load_snapshot(path)
    assert not (tmp_path / "escaped").exists()
    assert not Path("/tmp/voxflate-escaped").exists()


def test_paths_in_an_export_are_not_followed(trained: Path, tmp_path: Path) -> None:
    exported, new = tmp_path / "exported", tmp_path / "new"
    export_generator(trained / "run", exported)
    content = json.loads((exported / CONFIG).read_text())
    content["settings"] |= {"data": "../../../../etc", "start": {"twin": "/etc/passwd"}}
    content["settings"]["evaluation"]["extractor"] = str(tmp_path / "theirs.pt")
    content["weights"] = "/etc/passwd"
    (exported / CONFIG).write_text(json.dumps(content))
    assert open_source(exported).settings.evaluation.extractor == ""
    generate(exported, 1, out=new)
    assert sorted(path.name for path in new.iterdir()) == ["generation.json", "sample-0000.nii.gz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported", "new"]


def test_a_log_of_somebody_else_is_only_text(run: Path) -> None:
    (run / "log.jsonl").write_text('{"n_images": 4, "__class__": "os.system"}\n' + "[" * 100_000 + "\n")
    train_run(run_config(load_config(run).data, training__kimg=0.008), run, resume=True)
    assert list_snapshots(run)[-1].name == "snapshot-000000008.safetensors"


FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "os.system",
    "os.popen",
    "shutil.unpack_archive",
    "yaml.load",
    "joblib.load",
    "torch.hub.load",
    "torch.jit.load",
}
UNPACKERS = {"extract", "extractall"}
# A feature network that the user names, or whose hash is known. TorchScript computes; it starts no programs.
ALLOWED = {("weights.py", "torch.jit.load")}


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> str:
    return next((ast.unparse(word.value) for word in call.keywords if word.arg == name), "")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_source_file_runs_or_unpacks_what_it_reads(path: Path) -> None:
    for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
        assert name not in FORBIDDEN or (path.name, name) in ALLOWED, name
        assert name.rpartition(".")[2] not in UNPACKERS, name
        assert keyword(call, "shell") != "True", name
        assert keyword(call, "allow_pickle") in ("", "False"), name
        if name == "torch.load":
            assert keyword(call, "weights_only") == "True"
