import json
import shutil
import struct
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from tests.exports import export_generator
from tests.sharing.generators import an_export
from tests.strategies import PAIRS, run_config, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256, write_json
from voxflate.config.toml import load_config, save_config, with_values
from voxflate.runs.export import write_generator
from voxflate.runs.exported import CONFIG, SCHEMA, WEIGHTS, read_exported
from voxflate.runs.facts import FACTS_NAME, read_facts
from voxflate.runs.load import open_source
from voxflate.runs.shipped import shipped
from voxflate.runs.verify import verify_folder
from voxflate.sampling.generate import generate
from voxflate.training.run import train_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short 3D run; its data lies in a folder with a telling name."""
    folder = tmp_path_factory.mktemp("runs")
    prepared = write_prepared(folder / "MUSTERMANN")
    config = run_config(prepared, training__kimg=0.012, training__snapshot_kimg=0.004, evaluation__every=1)
    train_run(config, folder / "run")
    return folder / "run"


@pytest.fixture
def exported(run, tmp_path):
    export_generator(run, tmp_path / "exported")
    return tmp_path / "exported"


def test_an_export_generates_what_the_run_does_without_its_data(run, tmp_path):
    assert export_generator(run, tmp_path / "shared").n_images == 12
    ours = generate(run, 2, out=tmp_path / "ours")
    theirs = generate(tmp_path / "shared", 2, out=tmp_path / "theirs")
    for a, b in zip(map(nib.load, ours), map(nib.load, theirs), strict=True):
        np.testing.assert_array_equal(a.get_fdata(), b.get_fdata())
        np.testing.assert_array_equal(a.affine, b.affine)
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == [CONFIG, WEIGHTS]


def test_no_path_and_no_scan_goes_with_it(run, tmp_path):
    exported = tmp_path / "exported"
    shutil.copytree(run, tmp_path / "run")
    own = {"evaluation.extractor": str(tmp_path / "MUSTERMANN.pt")}
    save_config(with_values(load_config(run), own), tmp_path / "run")
    write_json(tmp_path / "run" / FACTS_NAME, read_facts(run) | {"twin": {"training.kimg": 1, **own}})
    export_generator(tmp_path / "run", exported)
    text = (exported / CONFIG).read_text()
    assert "MUSTERMANN" not in text
    assert str(exported.parent) not in text
    content = json.loads(text)
    assert content["schema"] == SCHEMA
    assert content["geometry"]["scans"] == []
    assert content["geometry"]["left_out"] == []


def test_the_account_of_the_files_stays_with_the_data(run, tmp_path):
    """Its notes name the table of subjects, and single scans by their pseudonyms."""
    source = open_source(run)
    notes = ["2 were taken from MUSTERMANN.tsv", "64 scans are unlike the others: scan-1c80db9d2e56 (0.25)"]
    manifest = replace(source.prepared.manifest, files={"seen": 2, "notes": notes})
    (tmp_path / "exported").mkdir()
    write_generator(tmp_path / "exported", source.load(), manifest, None)
    text = (tmp_path / "exported" / CONFIG).read_text()
    assert "MUSTERMANN" not in text
    assert "scan-" not in text


@pytest.mark.parametrize("folder", shipped().values(), ids=lambda folder: folder.name)
def test_no_generator_of_the_package_has_an_account_of_files(folder):
    assert json.loads((folder / CONFIG).read_text())["geometry"]["files"] == {}


def test_an_export_of_many_labelled_scans_is_read(tmp_path):
    folder = an_export(tmp_path / "x", layout=PAIRS)
    rows = sorted(["F", number % 20] for number in range(60_000))
    write_json(folder / CONFIG, json.loads((folder / CONFIG).read_text()) | {"label_rows": rows})
    assert (folder / CONFIG).stat().st_size > 2**20
    assert len(read_exported(folder).labels.rows) == 60_000


def test_the_best_snapshot_can_be_exported(run, tmp_path):
    from voxflate.runs.log import read_rows
    from voxflate.runs.snapshots import best_snapshot, images_of

    rows = read_rows(run / "metrics.jsonl")
    best = min(rows, key=lambda row: row["kid-random-heldout-avg"])["n_images"]
    assert images_of(best_snapshot(run)) == best
    assert export_generator(run, tmp_path / "best", "best").n_images == best


def test_a_2d_run_and_a_full_folder_are_refused(run, tmp_path):
    data = write_prepared(tmp_path / "data")
    train_run(run_config(data, training__phase="2d", training__kimg=0.004), tmp_path / "flat")
    with pytest.raises(VoxflateError, match="is a 2D run"):
        export_generator(tmp_path / "flat", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(VoxflateError, match="is not an empty folder"):
        export_generator(run, tmp_path / "flat")
    train_run(run_config(data, training__kimg=0.004), tmp_path / "deep")
    with pytest.raises(VoxflateError, match="has no snapshot best"):
        export_generator(tmp_path / "deep", tmp_path / "out", "best")


def change(exported, **values):
    content = json.loads((exported / CONFIG).read_text()) | values
    (exported / CONFIG).write_text(json.dumps(content))


def refused(exported, match):
    with pytest.raises(VoxflateError, match=match) as caught:
        generate(exported, 1, out=exported.parent / "new")
    assert "\n" not in str(caught.value)
    assert not (exported.parent / "new").exists()


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"schema": SCHEMA + 1}, rf"has schema version {SCHEMA + 1}, this voxflate \S+ reads {SCHEMA}"),
        ({"format": "other"}, "does not describe a generator"),
        ({"settings": {"version": 99}}, "has version = 99, this voxflate reads 0 to"),
        ({"settings": {"network": {"channels": -1}}}, "network.channels = -1"),
        ({"settings": []}, "its settings is not of type dict"),
        ({"geometry": {"shape": [4, 8, 8]}}, "its geometry is damaged"),
        ({"weights_sha256": "0" * 64}, "its SHA-256 differs"),
        ({"n_images": "12"}, "its n_images is not of type int"),
        ({"twin": "2d"}, "its twin is not of type dict"),
        ({"counts": {"train": {"scans": 90, "subjects": 88}}}, "its counts are not scans and subjects of"),
        ({"counts": {"train": {}, "heldout": {}}}, "its counts are not scans and subjects of"),
    ],
    ids=str,
)
def test_a_config_that_is_not_what_was_exported_is_refused_by_name(exported, values, match):
    change(exported, **values)
    refused(exported, match)


def test_weights_of_other_networks_are_refused_before_memory_is_taken(exported):
    content = json.loads((exported / CONFIG).read_text())
    content["settings"]["network"]["channels"] = 2**24  # its networks would have 10^16 weights
    change(exported, **content)
    refused(exported, "its networks are not those of its settings")


LIES = {
    "header longer than the file": lambda body: struct.pack("<Q", 2**40) + body[8:],
    "header of 2^63 bytes": lambda body: struct.pack("<Q", 2**63) + body[8:],
    "data that is not there": lambda body: body[:-1000],
    "a terabyte of numbers": lambda body: lying(body, shape=[2**38], offsets=[0, 2**40]),
    "more numbers than bytes": lambda body: lying(body, shape=[2**20]),
    "overlapping tensors": lambda body: lying(body, offsets=[0, 8]),
    "a header that is no JSON": lambda body: struct.pack("<Q", 4) + b"{{{{",
    "a header nested without end": lambda body: struct.pack("<Q", 200_000) + b"[" * 200_000,
    "nothing": lambda body: b"",
}


def lying(body, shape=None, offsets=None):
    """The file with another claim about its first tensor."""
    (length,) = struct.unpack("<Q", body[:8])
    header = json.loads(body[8 : 8 + length])
    first = header[next(name for name in header if name != "__metadata__")]
    first["shape"], first["data_offsets"] = shape or first["shape"], offsets or first["data_offsets"]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body[8 + length :]


@pytest.mark.parametrize("lie", LIES)
def test_safetensors_whose_header_lies_are_refused(exported, lie):
    path = exported / WEIGHTS
    path.write_bytes(LIES[lie](path.read_bytes()))
    change(exported, weights_sha256=sha256(path))
    refused(exported, "is not a safetensors file, or is cut short|its networks are not those")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_an_export_without_one_of_its_files_is_told_from_a_run(exported, name):
    (exported / name).unlink()
    refused(exported, f"is an export without its {name}; copy all of its files")
    with pytest.raises(VoxflateError, match="is an export without its"):
        verify_folder(exported)


def test_a_pickle_in_place_of_the_weights_is_refused(exported):
    torch.save(load((exported / WEIGHTS).read_bytes()), exported / WEIGHTS)
    change(exported, weights_sha256=sha256(exported / WEIGHTS))
    refused(exported, "is not a safetensors file")


def test_weights_of_another_kind_of_number_or_name_are_refused(exported):
    weights = load((exported / WEIGHTS).read_bytes())
    save_file({f"x.{name}": tensor for name, tensor in weights.items()}, exported / WEIGHTS)
    change(exported, weights_sha256=sha256(exported / WEIGHTS))
    with pytest.raises(VoxflateError, match="its networks are not those"):
        open_source(exported).load()


def test_an_export_is_not_exported_again(exported, tmp_path):
    with pytest.raises(VoxflateError, match="is already an export"):
        export_generator(exported, tmp_path / "again")


def test_the_hash_that_names_a_generator_is_that_of_the_shared_file(run, exported):
    for folder in (run, exported):
        assert open_source(folder).load().weights_sha256 == sha256(exported / WEIGHTS)


def test_what_older_versions_did_not_write_is_not_needed(exported):
    content = json.loads((exported / CONFIG).read_text())
    for later in ("snapshot", "seconds", "samples"):
        del content[later]
    (exported / CONFIG).write_text(json.dumps(content))
    loaded = open_source(exported).load("newest")
    assert (loaded.n_images, loaded.snapshot, loaded.seconds) == (12, "", None)
    assert [check.matches for check in verify_folder(exported)] == [None, True, None]


def test_an_export_is_verified_without_and_with_its_data(run, exported, tmp_path):
    data = run.parent / "MUSTERMANN"
    assert [check.matches for check in verify_folder(exported)] == [None, True, True]
    assert [check.matches for check in verify_folder(exported, data)] == [True, True, True]
    other = write_prepared(tmp_path / "other", seed=1).root
    assert [check.matches for check in verify_folder(exported, other)] == [False, True, True]
    with pytest.raises(VoxflateError, match="is an export with one generator"):
        verify_folder(exported, snapshot="0.004")
    body = bytearray((exported / WEIGHTS).read_bytes())
    body[-1] ^= 1
    (exported / WEIGHTS).write_bytes(body)
    assert [check.matches for check in verify_folder(exported)] == [None, False]


def test_samples_of_an_export_that_are_others_differ(exported):
    content = json.loads((exported / CONFIG).read_text())
    content["samples"]["sample-sha256"] = "0" * 64
    content["samples"]["probes"][3] += 0.1
    change(exported, samples=content["samples"])
    assert [check.matches for check in verify_folder(exported)] == [None, True, False]
