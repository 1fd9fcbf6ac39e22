import errno
import io
import json
import os
import resource
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from voxflate._system.errors import VoxflateError
from voxflate.gans.state import FORMAT
from voxflate.runs import snapshots
from voxflate.runs.chosen import load_run_snapshot
from voxflate.runs.snapshots import (
    best_snapshot,
    list_snapshots,
    load_newest,
    load_snapshot,
    save_snapshot,
    snapshot_path,
)


def state(n_images):
    """A snapshot as far as it is looked at before it meets its networks."""
    return {
        "format": FORMAT,
        "n_images": n_images,
        "steps": n_images // 8,
        "seconds": 1.0,
        "lr_scale": 1.0,
        "restores": 0,
        "network": {},
        "gan": {"weights": torch.full((100_000,), float(n_images))},
        "ema": {},
        "rng": torch.get_rng_state(),
    }


def numbers(run):
    return [int(path.stem.split("-")[1]) for path in list_snapshots(run)]


def leftovers(run):
    return [path.name for path in (run / snapshots.FOLDER).iterdir() if not path.name.startswith("snapshot-")]


def test_the_newest_stay_and_the_newest_is_loaded(tmp_path):
    for n_images in (0, 800, 10_000_000, 20_000_000):
        path = save_snapshot(tmp_path, state(n_images), keep=2)
        assert path == snapshot_path(tmp_path, n_images)
    assert numbers(tmp_path) == [10_000_000, 20_000_000]
    loaded, path = load_newest(tmp_path)
    assert path == snapshot_path(tmp_path, 20_000_000)
    assert torch.equal(loaded["gan"]["weights"], state(20_000_000)["gan"]["weights"])
    assert not leftovers(tmp_path)


def test_damaged_snapshots_after_the_one_written_go(tmp_path):
    save_snapshot(tmp_path, state(8), keep=1)
    save_snapshot(tmp_path, state(32), keep=2).write_bytes(b"damaged")
    path = save_snapshot(tmp_path, state(16), keep=1)
    assert path.exists()
    assert numbers(tmp_path) == [16]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_off_snapshot_is_passed_over(tmp_path, share):
    for n_images in (8, 16):
        path = save_snapshot(tmp_path, state(n_images), keep=2)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(VoxflateError, match="is damaged"):
        load_snapshot(path)
    assert load_newest(tmp_path)[0]["n_images"] == 8


def test_where_no_snapshot_is_whole_one_line_says_so(tmp_path):
    with pytest.raises(VoxflateError, match="no snapshot to load"):
        load_newest(tmp_path)
    save_snapshot(tmp_path, state(8), keep=1).write_bytes(b"PK nothing")
    with pytest.raises(VoxflateError, match="none of its 1 snapshots can be read") as caught:
        load_newest(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"format": FORMAT + 1}, {"n_images": 3}, [1, 2]])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(VoxflateError, match="snapshot format"):
        load_snapshot(tmp_path / "other.pt")


def test_loading_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"format": FORMAT, "trap": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(VoxflateError, match="has more than tensors and numbers"):
        load_snapshot(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("module", "name"), [(os, "fsync"), (Path, "write_bytes"), (os, "replace")])
def test_a_full_disk_leaves_the_snapshot_before(tmp_path, monkeypatch, module, name):
    save_snapshot(tmp_path, state(8), keep=1)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, name, full)
    with pytest.raises(VoxflateError, match="No space left on device"):
        save_snapshot(tmp_path, state(16), keep=1)
    monkeypatch.undo()
    assert load_newest(tmp_path)[0]["n_images"] == 8
    assert numbers(tmp_path) == [8]
    assert not leftovers(tmp_path)


def test_a_disk_that_fills_up_on_the_way_leaves_the_snapshot_before(tmp_path):
    """The operating system itself stops the writing in the middle of the file."""
    save_snapshot(tmp_path, state(8), keep=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(VoxflateError, match="File too large") as caught:
            save_snapshot(tmp_path, state(16), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert load_newest(tmp_path)[0]["n_images"] == 8
    assert not leftovers(tmp_path)


def test_any_flipped_bit_is_noticed_and_said(tmp_path):
    save_snapshot(tmp_path, state(8), keep=2)
    path = save_snapshot(tmp_path, state(16), keep=2)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = {*range(0, header, 3), len(content) - 1}
    for place in sorted(places | set(rng.integers(0, len(content), 100).tolist())):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        told = []
        assert load_newest(tmp_path, told.append)[0]["n_images"] == 8, place
        (line,) = told
        assert str(path) in line
        assert "\n" not in line


def trained(n_images):
    """A snapshot with an optimizer that has taken a step, a network in bfloat16 and a number without axes."""
    network = torch.nn.Linear(3, 2)
    adam = torch.optim.Adam(network.parameters(), lr=0.1, betas=(0.0, 0.99))
    network(torch.rand(4, 3)).sum().backward()
    adam.step()
    gan = {"generator": network.state_dict(), "optimizer_g": adam.state_dict()}
    weights = torch.rand(2, 3).T  # not contiguous
    return state(n_images) | {"gan": gan, "ema": {"a.b": weights, "half": torch.rand(5).bfloat16()}}


def assert_same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert type(a) is type(b)
        assert (a.dtype == b.dtype and torch.equal(a, b)) if isinstance(a, torch.Tensor) else a == b


def test_a_state_comes_back_bit_for_bit(tmp_path):
    before = trained(8) | {"seconds": 0.1 + 0.2}
    after = load_snapshot(save_snapshot(tmp_path, before, keep=1))
    assert_same(before, after)
    assert list(after["gan"]["optimizer_g"]["state"]) == [0, 1]


def test_a_snapshot_is_a_plain_safetensors_file_with_json(tmp_path):
    path = save_snapshot(tmp_path, trained(8), keep=1)
    assert {"gan/generator/weight", "gan/optimizer_g/state/0/exp_avg", "ema/a.b"} < load_file(path).keys()
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["state"])["n_images"] == 8
    assert len(metadata["sha256"]) == 64


def sealed(content):
    """A ZIP with the SHA-256 of what comes before it as its comment: a snapshot of format 3."""
    content = content[:-2] + (64).to_bytes(2, "little")
    return content + sha256(content).hexdigest().encode()


def as_zip(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_snapshots_of_earlier_formats_are_upgraded(tmp_path):
    path = tmp_path / "old.pt"
    path.write_bytes(sealed(as_zip(trained(8) | {"format": 3, "restores": 2})))
    loaded = load_snapshot(path)
    assert (loaded["format"], loaded["lr_scale"], loaded["restores"]) == (FORMAT, 1.0, 2)
    assert list(loaded["gan"]["optimizer_g"]["state"]) == [0, 1]
    old = {key: value for key, value in state(8).items() if key not in ("lr_scale", "restores")}
    path.write_bytes(as_zip(old | {"format": 2}))
    loaded = load_snapshot(path)
    assert (loaded["format"], loaded["lr_scale"], loaded["restores"]) == (FORMAT, 1.0, 0)


def test_a_snapshot_of_format_3_with_a_flipped_bit_or_without_its_checksum_is_refused(tmp_path):
    content, path = as_zip(state(8) | {"format": 3}), tmp_path / "old.pt"
    whole = sealed(content)
    flipped = whole[:5000] + bytes([whole[5000] ^ 4]) + whole[5001:]
    for damaged in (content, whole[:-1], flipped):
        path.write_bytes(damaged)
        with pytest.raises(VoxflateError, match="is damaged"):
            load_snapshot(path)


def test_the_formats_of_the_two_files_are_not_mixed_up(tmp_path):
    (tmp_path / "new.pt").write_bytes(as_zip(state(8)))
    with pytest.raises(VoxflateError, match=f"snapshot format {FORMAT}, this version"):
        load_snapshot(tmp_path / "new.pt")
    path = save_snapshot(tmp_path, state(8) | {"format": 3}, keep=1)
    with pytest.raises(VoxflateError, match="snapshot format 3, this version"):
        load_snapshot(path)


def test_a_run_of_the_version_before_goes_on_in_new_files(tmp_path):
    folder = tmp_path / snapshots.FOLDER
    folder.mkdir()
    for n_images in (8, 16):
        content = sealed(as_zip(state(n_images) | {"format": 3}))
        (folder / f"snapshot-{n_images:09d}.pt").write_bytes(content)
    assert load_newest(tmp_path)[1].name == "snapshot-000000016.pt"
    save_snapshot(tmp_path, state(16), keep=2)  # as after a restore
    names = ["snapshot-000000008.pt", "snapshot-000000016.safetensors"]
    assert [path.name for path in list_snapshots(tmp_path)] == names
    assert load_newest(tmp_path)[1].name == names[1]


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        (None, "__metadata__"),
        ({"state": "{}"}, "sha256"),
        ({"state": "{}", "sha256": "0" * 64}, "its checksum differs"),
        ({"state": "[" * 100_000, "sha256": ""}, "its checksum differs"),
    ],
    ids=["none", "no checksum", "wrong checksum", "nested"],
)
def test_other_safetensors_files_are_no_snapshots(tmp_path, metadata, match):
    save_file({"ema/weight": torch.zeros(2)}, tmp_path / "other.safetensors", metadata)
    with pytest.raises(VoxflateError, match=match) as caught:
        load_snapshot(tmp_path / "other.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 100_000, "is damaged"),
        ("{}", "'ema'"),
        ('{"ema": 3}', "does not support item assignment"),
        ('{"ema": {}}', "snapshot format None"),
        ('{"ema": {}, "format": 1e999}', "snapshot format inf"),
        (f'{{"ema": {{}}, "format": {FORMAT}, "n_images": "8"}}', "its n_images is not of type int"),
    ],
)
def test_json_that_lies_under_a_true_checksum_is_refused(tmp_path, text, match):
    tensors = {"ema/weight": torch.zeros(2)}
    metadata = {"state": text, "sha256": snapshots._digest(text, tensors)}
    save_file(tensors, tmp_path / "lie.safetensors", metadata)
    with pytest.raises(VoxflateError, match=match) as caught:
        load_snapshot(tmp_path / "lie.safetensors")
    assert "\n" not in str(caught.value)


def old_format(content):
    """Bytes of a snapshot without a seal, as anybody can write one."""
    return as_zip(state(8) | {"format": 2} | content)


def compressed(content):
    """The same archive with its entries deflated: a small file that is large in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(buffer, "w") as bomb:
        for entry in archive.infolist():
            bomb.writestr(entry.filename, archive.read(entry), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            compressed(old_format({"gan": {"weights": torch.zeros(1_000_000)}})),
            r"would unpack to 4,\d+,\d+ bytes",
        ),
        (old_format({"rng": "none"}), "its rng is not of type Tensor"),
        (old_format({"n_images": "8"}), "its n_images is not of type int"),
        (b"PK\x05\x06" + b"\xff" * 18, "is damaged"),
        (b"\x80\x04" + b"(" * 100_000, "is damaged"),
    ],
    ids=["zip bomb", "no tensor", "no number", "broken directory", "deep pickle"],
)
def test_a_snapshot_that_lies_is_refused_before_memory_is_taken(tmp_path, content, match):
    path = tmp_path / "lie.pt"
    path.write_bytes(content)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, limits[1]))
    try:
        with pytest.raises(VoxflateError, match=match):
            load_snapshot(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_file_of_a_terabyte_of_nothing_is_refused_unread(tmp_path):
    with open(tmp_path / "sparse.pt", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(VoxflateError, match="at most"):
        load_snapshot(tmp_path / "sparse.pt")


def measured(run, n_images, kid, extractor="random", weights="00"):
    row = {"n_images": n_images, f"kid-{extractor}-heldout-avg": kid}
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({**row, "extractor": extractor, "weights-sha256": weights}) + "\n")


@pytest.mark.parametrize("change", [{"extractor": "mobilenetv2"}, {"weights": "11"}])
def test_the_best_is_chosen_among_distances_that_compare(tmp_path, change):
    """Distances of another feature network, or of other weights, are on another scale."""
    for n_images in (0, 8, 16, 24):
        save_snapshot(tmp_path, state(n_images), keep=9)
    measured(tmp_path, 0, 0.001)
    measured(tmp_path, 8, 0.9, **change)
    assert best_snapshot(tmp_path) == snapshot_path(tmp_path, 8)
    measured(tmp_path, 16, 0.7, **change)
    measured(tmp_path, 24, 0.8, **change)
    assert best_snapshot(tmp_path) == snapshot_path(tmp_path, 16)


def test_untrained_weights_are_best_only_alone(tmp_path):
    """By the KID, noise may be nearer to real volumes than the first brains."""
    for n_images in (0, 8, 16):
        save_snapshot(tmp_path, state(n_images), keep=9)
    measured(tmp_path, 0, 1.5)
    assert best_snapshot(tmp_path) == snapshot_path(tmp_path, 0)
    measured(tmp_path, 8, 1.7)
    measured(tmp_path, 16, 1.6)
    assert best_snapshot(tmp_path) == snapshot_path(tmp_path, 16)


def test_the_best_stays_beside_the_newest(tmp_path):
    distances = {0: 0.9, 8: 0.2, 16: 0.5, 24: 0.4, 32: 0.3}
    for n_images, kid in distances.items():
        best = best_snapshot(tmp_path)
        save_snapshot(tmp_path, state(n_images), keep=2, protect=[best] if best else [])
        measured(tmp_path, n_images, kid)
    assert numbers(tmp_path) == [8, 24, 32]
    assert load_run_snapshot(tmp_path, "best")[0]["n_images"] == 8
    assert load_run_snapshot(tmp_path, "newest")[0]["n_images"] == 32


def test_newest_means_most_images_whatever_the_clock_says(tmp_path):
    for n_images in (8, 999_999_999, 1_000_000_000):
        os.utime(save_snapshot(tmp_path, state(n_images), keep=3), (10**9 - n_images, 10**9 - n_images))
    assert load_newest(tmp_path)[0]["n_images"] == 1_000_000_000
    assert numbers(tmp_path) == [8, 999_999_999, 1_000_000_000]
